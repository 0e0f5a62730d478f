"""What the command line asks for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from yarl import URL

from cloud_broker.errors import ProbeFailed
from cloud_broker.ratelimit_probe.plan import Limit, Pair, Plan, all_pairs
from cloud_broker.ratelimit_probe.rehearsal import LABELS, SCOPES
from cloud_broker.secret import Secret
from cloud_broker.settings.parsers import number, origin, version, whole

MOST_TOKENS = "ABCD"
MOST_REQUESTS = 10_000
_CALL = re.compile(r"\A[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}\Z")
_TOKEN = re.compile(r"\A[!-~]{1,4096}\Z")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_EXAMPLES = """Without --api-url it rehearses: against a sandbox of its own on loopback, with three
tokens of that, in time that need not be waited for.

examples:
  cloud-broker ratelimit-probe
  cloud-broker ratelimit-probe --sandbox-scope workspace --json
  cloud-broker ratelimit-probe --api-url https://api.notion.com --same-integration \\
      --token-env TOKEN_A --token-file b.token

Exit code 1 also means: inconclusive, or stopped early."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment as asked for. ``origin`` is None for a rehearsal, which has its own tokens.

    ``integrations`` and ``workspaces``: what the operator says that tokens belong to.
    """

    plan: Plan
    call: str
    notion_version: str
    seed: int
    origin: URL | None
    tokens: Mapping[str, Secret]
    integrations: Mapping[str, str]
    workspaces: Mapping[str, str]
    sandbox_scope: str


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EXAMPLES
    parser.set_defaults(wrong=parser.error)
    add = parser.add_argument
    add("--api-url", type=_typed(_origin), metavar="URL", help="ask here; https, or loopback")
    add(
        "--token-env",
        dest="tokens",
        action="append",
        type=lambda name: ("environment variable", name),
        metavar="NAME",
        help="environment variable that holds a token; again for the next",
    )
    add(
        "--token-file",
        dest="tokens",
        action="append",
        type=lambda path: ("file", path),
        metavar="PATH",
        help="file that holds one; in the order given they are A, B, C, D",
    )
    add("--same-integration", action="store_true", help="all tokens are of one integration")
    add("--integrations", metavar="X,X,Y", help="whose each token is, by names of your choice")
    add("--workspaces", metavar="X,Y,X", help="the same for workspaces; else as users/me says")
    add("--pairs", metavar="AB,AC", help="which to ask with together (all)")
    _declare_numbers(parser)
    add("--call", type=_typed(_call), default="users/me", help="what to GET (%(default)s)")
    add("--notion-version", type=_typed(version), default="2026-03-11", metavar="DATE")
    add("--sandbox-scope", choices=SCOPES, help=f"whose limit to rehearse with ({SCOPES[0]})")
    add("--json", action="store_true", help="print one JSON object")


def _declare_numbers(parser: argparse.ArgumentParser) -> None:
    add, seconds = parser.add_argument, _typed(number(1, 7200))
    add(
        "--rate",
        type=_typed(number(0.1, 50)),
        default=4.0,
        metavar="N",
        help="requests a second and token (%(default)g)",
    )
    add(
        "--duration",
        type=seconds,
        default=180.0,
        metavar="S",
        help="seconds of a phase (%(default)g)",
    )
    add(
        "--cool-down",
        type=seconds,
        default=60.0,
        metavar="S",
        help="least seconds between phases (%(default)g)",
    )
    add(
        "--expect",
        type=_typed(_limit),
        default=Limit(180, 60.0),
        metavar="N/S",
        help="the limit that is looked for: N requests in S seconds (180/60)",
    )
    add(
        "--max-requests",
        type=_typed(whole(1, 1_000_000)),
        default=MOST_REQUESTS,
        metavar="N",
        help="begin nothing that takes more (%(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of what is left to chance (%(default)s)")


def read(args: argparse.Namespace) -> Experiment:
    """Check the options together; what does not fit ends with exit code 2.

    Raises ProbeFailed when a token's file cannot be read.
    """
    if args.api_url is None:
        if args.tokens or args.same_integration or args.integrations or args.workspaces:
            args.wrong("options about tokens need --api-url; a rehearsal makes its own")
        tokens: dict[str, Secret] = {}
        labels: tuple[str, ...] = LABELS
    else:
        if args.sandbox_scope:
            args.wrong("--sandbox-scope is for a rehearsal, which has no --api-url")
        tokens = _tokens(args)
        labels = tuple(tokens)
    integrations = _names(args, "integrations", labels)
    if args.same_integration:
        integrations = dict.fromkeys(labels, "one")
    return Experiment(
        plan=_plan(args, labels),
        call=args.call,
        notion_version=args.notion_version,
        seed=args.seed,
        origin=args.api_url,
        tokens=tokens,
        integrations=integrations,
        workspaces=_names(args, "workspaces", labels),
        sandbox_scope=args.sandbox_scope or SCOPES[0],
    )


def _tokens(args: argparse.Namespace) -> dict[str, Secret]:
    """Read the tokens. What is in them is never told."""
    given = args.tokens or []
    if not 2 <= len(given) <= len(MOST_TOKENS):
        args.wrong(f"give 2 to {len(MOST_TOKENS)} tokens, by --token-env or --token-file")
    tokens: dict[str, Secret] = {}
    for label, (kind, name) in zip(MOST_TOKENS, given, strict=False):
        found = args.environment.get(name, "") if kind != "file" else _content(label, name)
        if not _TOKEN.match(found.strip()):
            args.wrong(f"token {label}: the {kind} {name} holds no token")
        secret = Secret(found.strip())
        if any(secret == other for other in tokens.values()):
            args.wrong(f"token {label} is the same as one before it")
        tokens[label] = secret
    return tokens


def _content(label: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeFailed(f"The file of token {label}, {path}, cannot be read.") from error


def _plan(args: argparse.Namespace, labels: tuple[str, ...]) -> Plan:
    known: dict[str, Pair] = {a + b: (a, b) for a, b in all_pairs(labels)}
    asked = list(known)
    if args.pairs is not None:
        asked = ["".join(sorted(each.strip().upper())) for each in args.pairs.split(",")]
        if not set(asked) <= known.keys():
            args.wrong(f"--pairs takes some of {','.join(known)}")
    pairs = tuple(known[each] for each in dict.fromkeys(asked))
    plan = Plan(labels, pairs, args.rate, args.duration, args.cool_down, args.expect)
    if plan.per_token < 1:
        args.wrong("at that rate a phase ends before the first request")
    if plan.requests > args.max_requests:
        args.wrong(f"that takes {plan.requests} requests, more than --max-requests allows")
    return plan


def _names(args: argparse.Namespace, option: str, labels: tuple[str, ...]) -> dict[str, str]:
    said = getattr(args, option)
    if said is None:
        return {}
    names = [name.strip() for name in said.split(",")]
    if len(names) != len(labels) or not all(names):
        args.wrong(f"--{option} takes {len(labels)} names, one for each token")
    return dict(zip(labels, names, strict=True))


def _typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse tell what a parser of settings has to say."""

    def read_text(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_text


def _origin(text: str) -> URL:
    url = URL(origin(text))
    if url.scheme != "https" and url.host not in _LOOPBACK:
        raise ValueError("must be https, so that nobody reads the tokens on the way")
    return url


def _call(text: str) -> str:
    if not _CALL.match(text):
        raise ValueError("must be a path below /v1, such as users/me or blocks/ID")
    return text


def _limit(text: str) -> Limit:
    requests, _, seconds = text.partition("/")
    return Limit(whole(1, 1_000_000)(requests), number(0.1, 86_400)(seconds))
