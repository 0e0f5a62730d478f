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

from redis import asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from cloud_broker.secret import Secret

CONNECTIONS = 64
QUIET_S = 60.0  # without a message; then the subscription is pinged


class RedisLost(Exception):
    """Redis did not do it: unreachable, too slow, full, or it refused the command."""


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
            raise RedisLost(type(error).__name__) from error

    async def execute(self, *commands: Sequence[str | int]) -> Any:
        """Send commands together; return the last one's answer. Raises RedisLost."""
        try:
            async with asyncio.timeout(self._budget_s):
                return (await self._send(commands))[-1]
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisLost(type(error).__name__) from error

    async def listen(self, channel: str) -> AsyncIterator[None]:
        """Yield once when subscribed to ``channel``, then once for each message.

        Raises RedisLost when the connection breaks.
        """
        subscription = self._listener.pubsub()
        try:
            await subscription.subscribe(channel)
            while True:
                message = await subscription.get_message(timeout=QUIET_S)
                if message is None:
                    await subscription.ping()
                elif message["type"] in {"subscribe", "message"}:
                    yield None
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisLost(type(error).__name__) from error
        finally:
            with suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call]  # of the library

    async def close(self) -> None:
        """Close every connection."""
        for client in (self._client, self._listener):
            with suppress(RedisError, OSError):
                await client.aclose()
        await self._client.connection_pool.disconnect()

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
