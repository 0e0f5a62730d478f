"""Linux: reports changes of links, addresses and routes (rtnetlink(7))."""

from __future__ import annotations

import asyncio
import errno
import socket

from clipperd.machine.os_events import Notify

# Groups of <linux/rtnetlink.h>: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_ROUTE = 0  # NETLINK_ROUTE
_BYTES = 65536  # of one read


class NetworkEvents:
    """Notifies of network changes; does not parse the messages."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def open(self, notify: Notify) -> None:
        """See :class:`OsEvents`."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        made = socket.socket(socket.AF_NETLINK, kind, _ROUTE)
        try:
            made.bind((0, _GROUPS))
            asyncio.get_running_loop().add_reader(made, self._ready, notify)
        except BaseException:
            made.close()
            raise
        self._socket = made

    def close(self) -> None:
        """See :class:`OsEvents`."""
        made, self._socket = self._socket, None
        if made is not None:
            asyncio.get_running_loop().remove_reader(made)
            made.close()

    def _ready(self, notify: Notify) -> None:
        assert self._socket is not None, "close() removes the reader with the socket"
        while True:
            try:
                self._socket.recv(_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # overflow: messages were lost
                    raise
        notify()
