"""Maps the language tags of Markdown fences to the languages of Notion's code blocks."""

from __future__ import annotations

PLAIN = "plain text"

LANGUAGES: frozenset[str] = frozenset(
    """abap|abc|agda|arduino|ascii art|assembly|bash|basic|bnf|c|c#|c++|clojure|coffeescript|coq|css
    |dart|dhall|diff|docker|ebnf|elixir|elm|erlang|f#|flow|fortran|gherkin|glsl|go|graphql|groovy
    |haskell|hcl|html|idris|java|javascript|json|julia|kotlin|latex|less|lisp|livescript|llvm ir|lua
    |makefile|markdown|markup|matlab|mathematica|mermaid|nix|notion formula|objective-c|ocaml|pascal
    |perl|php|plain text|powershell|prolog|protobuf|purescript|python|r|racket|reason|ruby|rust|sass
    |scala|scheme|scss|shell|smalltalk|solidity|sql|swift|toml|typescript|vb.net|verilog|vhdl
    |visual basic|webassembly|xml|yaml|java/c/c++/c#""".replace("\n    ", "").split("|")
)
"""LanguageRequest of @notionhq/client 5.26: the only values that the API accepts."""

_ALIASES: dict[str, str] = {
    alias: language
    for language, aliases in {
        "assembly": "asm nasm s armasm x86asm",
        "bash": "zsh bashrc",
        "basic": "bas",
        "c": "h",
        "c#": "cs csharp",
        "c++": "cpp cxx cc hpp hxx hh cplusplus",
        "clojure": "clj cljs cljc edn",
        "coffeescript": "coffee cson",
        "diff": "patch udiff",
        "docker": "dockerfile containerfile",
        "elixir": "ex exs heex",
        "erlang": "erl hrl",
        "f#": "fs fsharp fsx fsi",
        "fortran": "f90 f95 f77 for",
        "gherkin": "feature cucumber",
        "glsl": "vert frag hlsl wgsl",
        "go": "golang gomod",
        "graphql": "gql",
        "groovy": "gradle jenkinsfile",
        "haskell": "hs lhs",
        "hcl": "terraform tf tfvars",
        "html": "htm xhtml vue svelte astro ejs erb jinja jinja2 handlebars hbs",
        "java": "jsp",
        "javascript": "js jsx mjs cjs node ecmascript",
        "json": "jsonc json5 jsonl ndjson geojson webmanifest",
        "julia": "jl",
        "kotlin": "kt kts",
        "latex": "tex katex",
        "less": "lesscss",
        "lisp": "cl el elisp emacs-lisp common-lisp commonlisp",
        "livescript": "ls",
        "llvm ir": "llvm ll",
        "makefile": "make mk mak gnumakefile cmake",
        "markdown": "md mdx mkd rmd",
        "markup": "svg mathml",
        "mathematica": "wolfram wl nb",
        "objective-c": "objc objectivec obj-c mm",
        "ocaml": "ml mli",
        "pascal": "pas delphi objectpascal",
        "perl": "pl pm",
        "php": "php3 php7 php8 phtml",
        PLAIN: "text txt plain plaintext none nohighlight raw output",
        "powershell": "ps1 pwsh posh psm1 ps",
        "protobuf": "proto proto3",
        "purescript": "purs",
        "python": "py py3 python3 pyi pycon ipython gyp",
        "r": "rlang rscript",
        "racket": "rkt",
        "reason": "re reasonml rei",
        "ruby": "rb gemspec rakefile irb jruby",
        "rust": "rs",
        "scheme": "scm ss",
        "shell": "sh console shellsession shell-session terminal cmd fish ksh csh bat batch dos",
        "smalltalk": "st",
        "solidity": "sol",
        "sql": "mysql postgres postgresql pgsql psql sqlite tsql plsql mssql",
        "toml": "ini cfg conf properties",
        "typescript": "ts tsx mts cts",
        "vb.net": "vbnet",
        "verilog": "v sv systemverilog",
        "vhdl": "vhd",
        "visual basic": "vb vba vbs vbscript visualbasic",
        "webassembly": "wasm wat wast",
        "xml": "rss atom xsl xslt xsd plist wsdl",
        "yaml": "yml",
    }.items()
    for alias in aliases.split()
}


def notion_language(name: str) -> str | None:
    """Return Notion's name for a language tag such as ``py`` or ``language-js``, or None.

    An empty tag is plain text.
    """
    tag = name.strip().lower().removeprefix("language-").removeprefix("lang-")
    if not tag:
        return PLAIN
    if tag in LANGUAGES:
        return tag
    spaced = tag.replace("_", " ").replace("-", " ")
    return _ALIASES.get(tag) or (spaced if spaced in LANGUAGES else None)
