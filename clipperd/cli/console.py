"""The environment of a verb: streams, variables, browser, settings, the daemon's client."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from clipperd.cli import layout

if TYPE_CHECKING:  # importing these takes longer than printing the help
    from queue import Queue

    from clipperd.client import Client
    from clipperd.settings.config import Settings
    from clipperd.settings.locations import Locations

FLAGS = ("home", "port", "broker_url", "secrets", "log_level")


class Console:
    """The environment of one command; tests pass their own."""

    def __init__(
        self,
        *,
        out: TextIO,
        err: TextIO,
        stdin: BinaryIO,
        stdin_is_terminal: bool,
        env: Mapping[str, str],
        browse: Callable[[str], bool],
    ) -> None:
        """``browse`` opens an address in the browser and returns whether it succeeded."""
        # Not a dataclass: importing dataclasses takes as long as the rest of the help.
        self.out = out
        self.err = err
        self.stdin = stdin
        self.stdin_is_terminal = stdin_is_terminal
        self.env = env
        self.browse = browse

    def lines(self) -> Queue[str]:
        """Return a queue that receives the lines of standard input, read in the background."""
        import os
        from io import FileIO, UnsupportedOperation
        from queue import Queue
        from threading import Thread

        received: Queue[str] = Queue()
        source: BinaryIO | FileIO = self.stdin
        try:
            # Unbuffered: a thread that waits in a buffered file aborts the interpreter's exit.
            source = FileIO(self.stdin.fileno(), closefd=False)
            if source.isatty() and os.tcgetpgrp(source.fileno()) != os.getpgrp():
                return received  # a job in the background: reading would stop it
        except (UnsupportedOperation, AttributeError, OSError):
            pass  # not a file, or Windows

        def read() -> None:
            for raw in iter(source.readline, b""):
                if line := raw.decode("utf-8", "replace").strip():
                    received.put(line)

        Thread(target=read, daemon=True).start()
        return received

    def say(self, text: str = "") -> None:
        """Print a line to standard output."""
        print(text, file=self.out, flush=True)

    def warn(self, text: str) -> None:
        """Print a line to standard error."""
        print(text, file=self.err, flush=True)

    def report(self, args: Namespace, value: Any, text: str) -> None:
        """Print ``value`` as JSON if ``--json`` was given, else ``text``."""
        if args.json:
            self.emit(value)
        else:
            self.say(text)

    def emit(self, value: Any) -> None:
        """Print ``value`` as JSON."""
        print(json.dumps(value, ensure_ascii=False, indent=2), file=self.out, flush=True)

    def settings(self, args: Namespace) -> Settings:
        """Load the settings as the daemon does. Raises ConfigInvalid."""
        from clipperd.settings import config

        flags = {name: getattr(args, name, None) for name in FLAGS}
        return config.load(self.env, flags, self.config_text(args))

    def config_text(self, args: Namespace) -> str:
        """Return the text of config.toml, empty when there is none. Raises ConfigInvalid."""
        from clipperd.settings.errors import ConfigInvalid

        file = self.places(args).config_file
        try:
            return file.read_text("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(
                f"{file} cannot be read. Check that it is UTF-8 text and that you may read it."
            ) from error

    def places(self, args: Namespace) -> Locations:
        """Return the locations of the files, from --home and CLIPPERD_HOME alone."""
        from clipperd.settings import config
        from clipperd.settings.locations import locate

        home = {"CLIPPERD_HOME": self.env["CLIPPERD_HOME"]} if "CLIPPERD_HOME" in self.env else {}
        return locate(config.load(home, {"home": getattr(args, "home", None)}, "").home)

    def client(self, args: Namespace) -> Client:
        """Return a client of the daemon; it connects at its first call."""
        from clipperd.client import Client
        from clipperd.process import endpoint

        file = self.places(args).endpoint_file
        return Client(lambda: endpoint.read(file))

    def reader(self, args: Namespace) -> Client:
        """Return a client that reads: of the daemon, or of its files while none runs."""
        from clipperd.process.errors import DaemonDown

        client = self.client(args)
        try:
            client.hello()
        except DaemonDown:
            places = self.places(args)
            if not places.outbox.is_file():
                raise
            from clipperd.cli.files import Files

            self.warn(
                "clipperd is not running; this comes from its files. Start it with: clipperd start"
            )
            return Files(places)
        return client

    def ago(self, stamp: str | None) -> str | None:
        """Return the age of an RFC 3339 time as text, such as ``3 minutes ago``."""
        from clipperd.clock import SystemClock, from_rfc3339

        if stamp is None:
            return None
        return layout.ago(SystemClock().now(), from_rfc3339(stamp))
