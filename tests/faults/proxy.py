"""A TCP line between client and server that can be cut, or go silent, at any frame."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True, eq=False)
class Line:
    """One connection through the proxy."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    #: Whether nothing passes any more, while both sides believe in it.
    silent: bool = False

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@dataclass(slots=True, eq=False)
class Proxy:
    """
    Passes websocket frames on in both directions, until it is armed to strike at one of them.

    Counted are the frames of both directions together, from the moment it was armed.
    """

    port: int
    server: asyncio.Server | None = None
    listens_on: int = 0
    strikes_at: int | None = None
    swallows: bool = False
    stalls: bool = False
    passed: int = 0
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    _lines: list[Line] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.listens_on = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self.server is not None
        self.server.close()
        for line in self._lines:
            line.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.server.wait_closed()

    def arm(self, strikes_at: int, *, swallows: bool, stalls: bool) -> None:
        """
        Strike at a frame: it is the last to pass, or with ``swallows`` the first that does not.

        With ``stalls`` the line is not cut, but nothing passes any more.
        """
        self.strikes_at, self.swallows, self.stalls = strikes_at, swallows, stalls
        self.passed = 0
        self.struck.clear()

    def disarm(self) -> None:
        """Strike no more."""
        self.strikes_at = None

    @property
    def is_silent(self) -> bool:
        """Whether nothing passes any more on the latest connection."""
        return bool(self._lines) and self._lines[-1].silent

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            there, to_there = await asyncio.open_connection("127.0.0.1", self.port)
            line = Line((writer, to_there))
            self._lines.append(line)
            to_there.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await there.readuntil(b"\r\n\r\n"))
            for source, sink in ((reader, to_there), (there, writer)):
                self._tasks.add(asyncio.create_task(self._pass(line, source, sink)))

    async def _pass(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                strikes = self.passed == self.strikes_at
                self.passed += 1
                if not line.silent and not (strikes and self.swallows):
                    writer.write(frame)
                    await writer.drain()
                if strikes:
                    self._strike(line)
        if not line.silent:
            writer.close()

    def _strike(self, line: Line) -> None:
        self.struck.set()
        self.strikes_at = None
        line.silent = self.stalls
        if not self.stalls:
            line.cut()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One websocket frame, as it is on the line (RFC 6455, 5.2)."""
    head = await reader.readexactly(2)
    length = head[1] & 0x7F
    if length > 125:
        extended = await reader.readexactly(2 if length == 126 else 8)
        head += extended
        length = int.from_bytes(extended, "big")
    mask = 4 if head[1] & 0x80 else 0
    return head + await reader.readexactly(mask + length)
