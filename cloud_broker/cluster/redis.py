"""Talks to Redis, as the only module: scripts, and messages to other brokers.

Nothing here is durable, and no promise depends on it. Every call has a budget of time; every
failure is a RedisLost.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from redis import asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from cloud_broker.secret import Secret

CONNECTIONS = 64
QUIET_S = 5.0  # without a message; then the subscription is pinged, and ends without an answer
REMEDIES = {
    "unreachable": "cannot be reached. Check that it runs at the address in BROKER_REDIS_URL",
    "slow": "does not answer in time. Check its load, the network and BROKER_REDIS_BUDGET_MS",
    "login": "refuses the user or the password. Correct BROKER_REDIS_URL and restart the brokers",
    "read_only": "is a read-only replica. Make it the primary, or point its address at the primary",
    "cluster": "is a Redis cluster, which brokers do not support. Set BROKER_REDIS_URL to a single"
    " Redis and restart the brokers",
    "forbidden": "forbids a command, key or channel. Allow the user +@all ~v1:* &v1:*",
    "failed": "refused a command. Read the log of Redis",
}
LASTING = frozenset({"login", "read_only", "cluster", "forbidden"})  # trying again cannot help


class RedisLost(Exception):
    """Redis did not do it; ``why`` is a key of REMEDIES."""

    def __init__(self, error: Exception | str) -> None:
        """Find ``why`` by the driver's ``error``."""
        super().__init__(error if isinstance(error, str) else type(error).__name__)
        self.why = _why(error)


def _why(error: Exception | str) -> str:
    inner = error.__context__ if type(error) is driver.ConnectionError else None
    if isinstance(inner, RedisError):  # the driver wraps what the server answered to a login
        return _why(inner)
    match error:
        case AuthenticationError() | AuthorizationError():
            return "login"
        case ReadOnlyError() | MasterDownError():
            return "read_only"
        case NoPermissionError():
            return "forbidden"
        case MovedError() | ClusterCrossSlotError() | ClusterDownError():
            return "cluster"
        case TimeoutError() | RedisTimeout() | BusyLoadingError():
            return "slow"
        case ConnectionError() | driver.ConnectionError() | OSError():
            return "unreachable"
        case _:
            return _why_by_text(str(error))


def _why_by_text(text: str) -> str:
    """Find the cause in the text of an error that a script or a command raised."""
    for code, why in (
        ("READONLY", "read_only"),
        ("CROSSSLOT", "cluster"),
        ("same slot", "cluster"),
        ("non local key", "cluster"),
        ("CLUSTERDOWN", "cluster"),
        ("NOPERM", "forbidden"),
        ("ACL failure", "forbidden"),
        ("NOAUTH", "login"),
        ("WRONGPASS", "login"),
    ):
        if code in text:
            return why
    return "failed"


class Script:
    """A Lua script and its digest."""

    def __init__(self, text: str) -> None:
        """Compute the digest by which Redis finds the script."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """A pool of connections, opened on use."""

    def __init__(self, url: Secret, *, budget_s: float) -> None:
        """Take a redis://, rediss:// or unix:// ``url``; connect on the first call.

        ``budget_s`` limits one call, connecting included.
        """
        self._budget_s = budget_s
        self.name = _name(url.reveal())
        options: dict[str, Any] = {"decode_responses": True, "retry": Retry(NoBackoff(), 0)}
        pool = driver.BlockingConnectionPool.from_url(
            url.reveal(), max_connections=CONNECTIONS, timeout=budget_s, **options
        )
        self._client = driver.Redis(connection_pool=pool)
        # A subscription waits for ever, so its connection must not come from the pool.
        self._listener = driver.Redis.from_url(url.reveal(), socket_timeout=None, **options)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | int],
        before: Sequence[Sequence[str | int]] = (),
        *,
        patience: int = 1,
    ) -> Any:
        """Run a script after the commands ``before`` in the same message. Raises RedisLost.

        Errors of ``before`` are ignored: a full Redis refuses them. ``patience`` multiplies the
        budget of calls for which no request waits.
        """
        call = ("EVALSHA", script.sha, len(keys), *keys, *args)
        try:
            async with asyncio.timeout(self._budget_s * patience):
                return (await self._send([*before, call], each=False))[-1]
        except NoScriptError:
            return await self._run_by_text(script, keys, args)
        except (RedisError, OSError, TimeoutError) as error:
            raise await self._lost(error) from error

    async def execute(self, *commands: Sequence[str | int]) -> Any:
        """Send commands together; return the last one's answer. Raises RedisLost."""
        try:
            async with asyncio.timeout(self._budget_s):
                return (await self._send(commands))[-1]
        except (RedisError, OSError, TimeoutError) as error:
            raise await self._lost(error) from error

    async def listen(self, channel: str) -> AsyncIterator[None]:
        """Yield once when subscribed to ``channel``, then once for each message.

        Raises RedisLost when the connection breaks.
        """
        subscription = self._listener.pubsub()
        try:
            async with asyncio.timeout(QUIET_S):
                await subscription.subscribe(channel)
            is_pinged = False
            while True:
                message = await subscription.get_message(timeout=QUIET_S)
                if message is None:
                    if is_pinged:
                        raise RedisLost(TimeoutError())
                    await subscription.ping()
                is_pinged = message is None
                if message is None:
                    continue
                if message["type"] in {"subscribe", "message"}:
                    yield None
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisLost(error) from error
        finally:
            with suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call]  # of the library

    async def close(self) -> None:
        """Close every connection."""
        for client in (self._client, self._listener):
            with suppress(RedisError, OSError):
                await client.aclose()
        await self._client.connection_pool.disconnect()

    async def _lost(self, error: Exception) -> RedisLost:
        """Return the error to raise. After a failover, reconnect: the address may have moved."""
        lost = RedisLost(error)
        if lost.why == "read_only":
            with suppress(RedisError, OSError):
                await self._client.connection_pool.disconnect(inuse_connections=False)
        return lost

    async def _send(self, commands: Sequence[Sequence[str | int]], *, each: bool = True) -> Any:
        """Every answer. Raises the first error, or with ``each`` false only that of the last."""
        if len(commands) == 1:
            # (the library gives no types here)
            call = self._client.execute_command(*commands[0])  # type: ignore[no-untyped-call]
            return [await call]
        pipe = self._client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        answers = await pipe.execute(raise_on_error=each)
        if isinstance(answers[-1], RedisError):
            raise answers[-1]
        return answers

    async def _run_by_text(
        self, script: Script, keys: Sequence[str], args: Sequence[str | int]
    ) -> Any:
        """Send the text of a script that Redis does not know; ``before`` has run already."""
        return await self.execute(("EVAL", script.text, len(keys), *keys, *args))


def _name(url: str) -> str:
    """Return the address without user and password, for a log line."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
