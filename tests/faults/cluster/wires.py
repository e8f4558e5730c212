"""
TCP lines that can be cut at an exact byte or word.

They run in a thread with an event loop of their own, so that a busy test does not slow them.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field

CHUNK = 65536


@dataclass(eq=False)
class _Pair:
    """Both ends of one connection through a wire."""

    writers: list[asyncio.StreamWriter]
    #: Whether what the far side says is thrown away, until it has said something.
    deaf: bool = False

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Wire:
    """Listens on ``port`` and passes everything on to ``target``, in both directions."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.target = target
        self.port = 0
        #: How often it was cut at an armed place.
        self.strikes = 0
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._word: bytes | None = None
        self._bytes_left: int | None = None

    # For tests, from any thread

    def cut_after_word(self, word: bytes) -> None:
        """
        The next time that ``word`` is sent to the target, it arrives, and the line is cut before
        the answer comes back: what happened there, the sender cannot know.
        """
        self._set(_word=word)

    def cut_after_bytes(self, count: int) -> None:
        """After ``count`` more bytes of both directions the line that carries the last is cut."""
        self._set(_bytes_left=count)

    def disarm(self) -> None:
        self._set(_word=None, _bytes_left=None)

    def _set(self, **values: object) -> None:
        self._loop.call_soon_threadsafe(vars(self).update, values)

    # In the event loop

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for pair in list(self._pairs):
            pair.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        pair = _Pair([writer])
        self._pairs.add(pair)
        try:
            await self._connect(pair, reader, writer)
        finally:
            pair.cut()
            self._pairs.discard(pair)
            self._tasks.discard(task)

    async def _connect(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            there, to_there = await asyncio.open_connection("127.0.0.1", self.target)
            pair.writers.append(to_there)
            ways = (
                self._pass(pair, reader, to_there, True),
                self._pass(pair, there, writer, False),
            )
            both = [asyncio.create_task(way) for way in ways]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in both:
                    way.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _pass(
        self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter, outward: bool
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if not outward and pair.deaf:
                    self.strikes += 1
                    return
                data, last = self._judge(pair, data, outward)
                sink.write(data)
                await sink.drain()
                if last:
                    self.strikes += 1
                    return
            # What is left in the buffer goes before the end.
            if sink.can_write_eof():
                sink.write_eof()
                await asyncio.sleep(0.05)

    def _judge(self, pair: _Pair, data: bytes, outward: bool) -> tuple[bytes, bool]:
        """What of ``data`` passes, and whether the line is cut behind it."""
        if outward and self._word is not None and self._word in data:
            self._word = None
            pair.deaf = True
        if self._bytes_left is None:
            return data, False
        if len(data) < self._bytes_left:
            self._bytes_left -= len(data)
            return data, False
        passed, self._bytes_left = data[: self._bytes_left], None
        return passed, True


@dataclass
class Wires:
    """Makes wires, and the thread that they live in."""

    _wires: list[Wire] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def to(self, target: int) -> Wire:
        wire = Wire(self._loop, target)
        self._run(wire.open())
        self._wires.append(wire)
        return wire

    def stop(self) -> None:
        for wire in self._wires:
            self._run(wire.close())
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)  # type: ignore[arg-type]
