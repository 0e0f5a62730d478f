"""``config``: shows and changes settings."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from clipperd.cli import exits, layout
from clipperd.cli.console import Console
from clipperd.cli.exits import UsageError
from clipperd.cli.verbs import Verbs

VERBS = ("config",)


def declare(verbs: Verbs) -> None:
    """Declare ``config`` and its verbs."""
    group = verbs.group(
        "config", show, "see and change settings", ["clipperd config", "clipperd config path"]
    )
    group.add(
        "show",
        show,
        "show every setting and the origin of its value",
        ["clipperd config show", "clipperd config show --json"],
        prints_data=True,
    )
    group.add(
        "path", path, "show the paths of the files", ["clipperd config path"], prints_data=True
    )
    parser = group.add(
        "set",
        set_value,
        "change a setting in config.toml",
        ["clipperd config set log_level debug", "clipperd config set port 51234"],
        prints_data=True,
    )
    parser.add_argument("name", metavar="NAME", help="a name that clipperd config show lists")
    parser.add_argument(
        "value", metavar="VALUE", help="the value; lists comma-separated; '' removes the setting"
    )


def show(args: Namespace, console: Console) -> int:
    """Print the value and origin of every setting, but no secret."""
    from clipperd.settings import config

    settings = console.settings(args)
    rows = []
    for name in config.names():
        value = getattr(settings, name)
        if config.describe(name).secret and value is not None:
            value = "(set)"
        rows.append((name, value, settings.origin(name)))
    if args.json:
        console.emit({n: {"value": _jsonable(v), "origin": o} for n, v, o in rows})
    else:
        cells = [[n, "-" if v in (None, ()) else _shown(v), o] for n, v, o in rows]
        console.say(layout.table(["SETTING", "VALUE", "FROM"], cells))
    return exits.OK


def path(args: Namespace, console: Console) -> int:
    """Print the paths of the files."""
    places = console.places(args)
    shown = {
        "settings": places.config_file,
        "endpoint": places.endpoint_file,
        "outbox": places.outbox,
        "cache": places.cache,
        "log": places.log_file,
    }
    if args.json:
        console.emit({name: str(file) for name, file in shown.items()})
    else:
        console.say(layout.facts(list(shown.items())))
    return exits.OK


def set_value(args: Namespace, console: Console) -> int:
    """Change one setting, after a check of all settings together."""
    from clipperd.settings import config
    from clipperd.settings import file as config_file
    from clipperd.settings.locations import secure
    from clipperd.settings.private_file import write_private

    if args.name not in config.names():
        raise UsageError(
            f"There is no setting {args.name!r}.", "List them with: clipperd config show"
        )
    places = console.places(args)
    old = console.config_text(args)
    new = config_file.edit(old, args.name, args.value)
    config.load({}, {}, new)
    secure(places)
    write_private(places.config_file, new)
    winner = console.settings(args).origin(args.name)
    if args.json:
        console.emit({"name": args.name, "file": str(places.config_file), "origin": winner})
        return exits.OK
    console.say(f"{args.name} is set in {places.config_file}.")
    if winner in ("environment", "flag"):
        console.say(f"  CLIPPERD_{args.name.upper()} overrides it.")
    console.say("  Restart clipperd to apply it: clipperd restart")
    return exits.OK


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _jsonable(value: Any) -> Any:
    from pathlib import Path

    return str(value) if isinstance(value, Path) else value
