"""Opens an address in the user's browser, without waiting for the browser's end."""

from __future__ import annotations

import subprocess
import webbrowser
from pathlib import Path

_TEXT_BROWSERS = frozenset(
    {"www-browser", "lynx", "w3m", "links", "links2", "elinks", "browsh", "cha", "retawq"}
)
"""They would take over the terminal, and the sign-in's last page opens no other program."""


def browse(url: str) -> bool:
    """Open ``url``; return False when there is no graphical browser."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if not isinstance(browser, webbrowser.GenericBrowser):
        return browser.open(url)
    if Path(browser.name).name in _TEXT_BROWSERS:
        return False
    command = [browser.name, *(argument.replace("%s", url) for argument in browser.args)]
    try:
        child = subprocess.Popen(  # noqa: S603  # the user's own choice of a browser
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    child.returncode = 0  # it keeps running; Popen must not warn that it was not awaited
    return True
