"""The one module that talks to Redis: scripts, and messages to other brokers.

Nothing here is durable, and nothing that must be right depends on it. Every call has a budget; what
goes wrong is a RedisLost, never anything else.
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
QUIET_S = 60.0  # a silent subscription is asked for a sign of life after this


class RedisLost(Exception):
    """Redis did not do it: not there, too slow, full, or not understood."""


class Script:
    """A Lua script and its digest."""

    def __init__(self, text: str) -> None:
        """Take the text."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """A pool of connections that are made when they are needed."""

    def __init__(self, url: Secret, *, budget_s: float) -> None:
        """``url``: redis://, rediss:// or unix://. Connects to nothing yet.

        ``budget_s``: for one call, connecting included.
        """
        self._budget_s = budget_s
        options: dict[str, Any] = {"decode_responses": True, "retry": Retry(NoBackoff(), 0)}
        pool = driver.BlockingConnectionPool.from_url(
            url.reveal(), max_connections=CONNECTIONS, timeout=budget_s, **options
        )
        self._client = driver.Redis(connection_pool=pool)
        # Waits for ever on one connection, which must not be one of those that are counted.
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
        """Run a script, behind the commands ``before`` in the same message. Raises RedisLost.

        What becomes of ``before`` is not looked at: in a full Redis it comes to nothing.
        ``patience``: so many times the budget, where nobody's request waits.
        """
        call = ("EVALSHA", script.sha, len(keys), *keys, *args)
        try:
            async with asyncio.timeout(self._budget_s * patience):
                return (await self._send([*before, call], each=False))[-1]
        except NoScriptError:
            return await self._teach(script, keys, args)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisLost(type(error).__name__) from error

    async def say(self, *commands: Sequence[str | int]) -> Any:
        """Send commands together; return the last one's answer. Raises RedisLost."""
        try:
            async with asyncio.timeout(self._budget_s):
                return (await self._send(commands))[-1]
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisLost(type(error).__name__) from error

    async def listen(self, channel: str) -> AsyncIterator[None]:
        """Yield once for each message on ``channel``, after a first time when it is heard.

        Raises RedisLost when the line breaks.
        """
        ear = self._listener.pubsub()
        try:
            await ear.subscribe(channel)
            while True:
                heard = await ear.get_message(timeout=QUIET_S)
                if heard is None:
                    await ear.ping()
                elif heard["type"] in {"subscribe", "message"}:
                    yield None
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisLost(type(error).__name__) from error
        finally:
            with suppress(RedisError, OSError):
                await ear.aclose()  # type: ignore[no-untyped-call]  # of the library

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

    async def _teach(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Redis has not seen the script, or has forgotten it; what went before it is done."""
        return await self.say(("EVAL", script.text, len(keys), *keys, *args))
