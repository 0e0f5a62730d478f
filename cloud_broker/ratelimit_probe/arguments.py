"""Declares and reads the options of the command line."""

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

ALL_LABELS = "ABCD"
MOST_REQUESTS = 10_000
_CALL = re.compile(r"\A[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}\Z")
_TOKEN = re.compile(r"\A[!-~]{1,4096}\Z")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_EXAMPLES = """Without --api-url the probe rehearses: it starts a sandbox of its own on
loopback, uses three tokens of it, and skips all waiting times.

examples:
  cloud-broker ratelimit-probe
  cloud-broker ratelimit-probe --sandbox-scope workspace --json
  cloud-broker ratelimit-probe --api-url https://api.notion.com --same-integration \\
      --token-env TOKEN_A --token-file b.token

Exit code 1 also means: the result is inconclusive, or the probe stopped early."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Experiment:
    """The options of one experiment. ``origin`` is None for a rehearsal with its own tokens.

    ``integrations`` and ``workspaces``: the operator's statements about the tokens.
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
    add("--api-url", type=_typed(_origin), metavar="URL", help="API to probe; https, or loopback")
    add(
        "--token-env",
        dest="tokens",
        action="append",
        type=lambda name: ("environment variable", name),
        metavar="NAME",
        help="environment variable that holds a token; repeat it for each token",
    )
    add(
        "--token-file",
        dest="tokens",
        action="append",
        type=lambda path: ("file", path),
        metavar="PATH",
        help="file that holds a token; tokens are labelled A, B, C, D in order",
    )
    add("--same-integration", action="store_true", help="all tokens belong to one integration")
    add("--integrations", metavar="X,X,Y", help="integration of each token, in your own names")
    add("--workspaces", metavar="X,Y,X", help="workspace of each token; default: from users/me")
    add("--pairs", metavar="AB,AC", help="pairs to probe together (all)")
    _declare_numbers(parser)
    add("--call", type=_typed(_call), default="users/me", help="path to GET (%(default)s)")
    add("--notion-version", type=_typed(version), default="2026-03-11", metavar="DATE")
    add("--sandbox-scope", choices=SCOPES, help=f"scope of the limit in a rehearsal ({SCOPES[0]})")
    add("--json", action="store_true", help="print one JSON object")


def _declare_numbers(parser: argparse.ArgumentParser) -> None:
    add, seconds = parser.add_argument, _typed(number(1, 7200))
    add(
        "--rate",
        type=_typed(number(0.1, 50)),
        default=4.0,
        metavar="N",
        help="requests per second and token (%(default)g)",
    )
    add(
        "--duration",
        type=seconds,
        default=180.0,
        metavar="S",
        help="seconds per phase (%(default)g)",
    )
    add(
        "--cool-down",
        type=seconds,
        default=60.0,
        metavar="S",
        help="minimum seconds between phases (%(default)g)",
    )
    add(
        "--expect",
        type=_typed(_limit),
        default=Limit(180, 60.0),
        metavar="N/S",
        help="expected limit: N requests in S seconds (180/60)",
    )
    add(
        "--max-requests",
        type=_typed(whole(1, 1_000_000)),
        default=MOST_REQUESTS,
        metavar="N",
        help="refuse an experiment with more requests (%(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="seed of the random numbers (%(default)s)")


def read(args: argparse.Namespace) -> Experiment:
    """Check the options together; a conflict ends with exit code 2.

    Raises ProbeFailed when a token's file cannot be read.
    """
    if args.api_url is None:
        if args.tokens or args.same_integration or args.integrations or args.workspaces:
            args.wrong("options about tokens need --api-url; a rehearsal creates its own tokens")
        tokens: dict[str, Secret] = {}
        labels: tuple[str, ...] = LABELS
    else:
        if args.sandbox_scope:
            args.wrong("--sandbox-scope is for a rehearsal; remove it or --api-url")
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
    """Read the tokens without ever showing them."""
    given = args.tokens or []
    if not 2 <= len(given) <= len(ALL_LABELS):
        args.wrong(f"give 2 to {len(ALL_LABELS)} tokens, with --token-env or --token-file")
    tokens: dict[str, Secret] = {}
    for label, (kind, name) in zip(ALL_LABELS, given, strict=False):
        found = args.environment.get(name, "") if kind != "file" else _content(label, name)
        if not _TOKEN.match(found.strip()):
            args.wrong(f"token {label}: the {kind} {name} holds no token")
        secret = Secret(found.strip())
        if any(secret == other for other in tokens.values()):
            args.wrong(f"token {label} equals an earlier one")
        tokens[label] = secret
    return tokens


def _content(label: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeFailed(f"The file of token {label}, {path}, cannot be read.") from error


def _plan(args: argparse.Namespace, labels: tuple[str, ...]) -> Plan:
    known: dict[str, Pair] = {a + b: (a, b) for a, b in all_pairs(labels)}
    wanted = list(known)
    if args.pairs is not None:
        wanted = ["".join(sorted(each.strip().upper())) for each in args.pairs.split(",")]
        if not set(wanted) <= known.keys():
            args.wrong(f"--pairs takes some of {','.join(known)}")
    pairs = tuple(known[each] for each in dict.fromkeys(wanted))
    plan = Plan(labels, pairs, args.rate, args.duration, args.cool_down, args.expect)
    if plan.per_token < 1:
        args.wrong("a phase ends before the first request: raise --rate or --duration")
    if plan.requests > args.max_requests:
        args.wrong(f"the experiment takes {plan.requests} requests: raise --max-requests")
    return plan


def _names(args: argparse.Namespace, option: str, labels: tuple[str, ...]) -> dict[str, str]:
    stated = getattr(args, option)
    if stated is None:
        return {}
    names = [name.strip() for name in stated.split(",")]
    if len(names) != len(labels) or not all(names):
        args.wrong(f"--{option} takes {len(labels)} names, one for each token")
    return dict(zip(labels, names, strict=True))


def _typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show the message of a settings parser."""

    def read_text(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_text


def _origin(text: str) -> URL:
    url = URL(origin(text))
    if url.scheme != "https" and url.host not in _LOOPBACK:
        raise ValueError("must be https, to protect the tokens")
    return url


def _call(text: str) -> str:
    if not _CALL.match(text):
        raise ValueError("must be a path below /v1, such as users/me or blocks/ID")
    return text


def _limit(text: str) -> Limit:
    requests, _, seconds = text.partition("/")
    return Limit(whole(1, 1_000_000)(requests), number(0.1, 86_400)(seconds))
