"""``Waiter``: waits for what a client is told, and fails with all that it was told instead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from .client import Client
from .failures import ChatAssertionError, ChatRefused
from .story import tell

T = TypeVar("T")


class Waiter:
    """Waits for ``client``; ``records`` is what the server logs meanwhile."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.records: list[logging.LogRecord] = []

    async def wait(
        self, find: Callable[[], T | None], what: str, seconds: float, *, line: bool = True
    ) -> T:
        """
        What ``find`` finds, which is asked again with everything that comes.

        Raises ``ChatAssertionError`` after ``seconds`` without it. With ``line``, as what is to
        come can only come by an open one, it does so as soon as the line is closed.
        """
        found = await self.wait_or_none(find, seconds, line=line)
        if found is not None:
            return found
        if line and not self.client.connected:
            self.fail_without_line(what)
        raise self.failure(f"{what} did not come within {seconds:g} s")

    async def wait_or_none(
        self, find: Callable[[], T | None], seconds: float, *, line: bool = False
    ) -> T | None:
        """:meth:`wait`, but None where that fails."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (found := find()) is None:
            if loop.time() >= end or (line and not self.client.connected):
                break
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self.client.news.wait()
        return found

    def failure(self, what: str) -> ChatAssertionError:
        """The error for a test that went wrong in the way that ``what`` says."""
        return ChatAssertionError(what, self._story(), errors=self.client.told.errors)

    def fail_without_line(self, what: str) -> NoReturn:
        """Raise the error that says why the line is down, with its code."""
        line = self.client.line
        if line is None or line.code is None:
            raise RuntimeError("not connected: write 'async with ChatCommunicator(…) as chat:'")
        if line.crash is not None:
            raise self.failure(f"the application failed before {what} came") from line.crash
        if not line.accepted:
            raise ChatRefused(
                f"the handshake was refused (origin {self.client.origin!r}, "
                f"path {self.client.path!r})",
                self._story(),
                code=None,
            )
        if not line.welcomed:
            raise ChatRefused(
                f"the server closed the connection ({line.code}) instead of a welcome",
                self._story(),
                code=line.code,
                errors=self.client.told.errors,
            )
        raise self.failure(f"the line is down ({line.code}), so {what} cannot come")

    def _story(self) -> str:
        return tell(self.client.told, self.records)
