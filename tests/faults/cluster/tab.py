"""The client of ``chatsessions.testing`` as a browser tab: it comes back by itself."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from websockets.exceptions import WebSocketException

from chatsessions.protocol import frames
from chatsessions.testing.client import Recorded
from tests.support.client import OUTCOMES, PageClient
from tests.support.websocket import WebsocketTransport

#: Back-off with full jitter: the first longest wait and the last, in seconds. Shorter than a
#: page's, for scenarios that are to take no minute.
PAUSES = (0.1, 2.0)
#: Those of a page.
PAGE_PAUSES = (0.5, 30.0)
#: How long the way to the welcome may take at the first attempt, in seconds, and how much of it the
#: handshake. Both double with every failure, up to so many times as long.
WELCOME_TIMEOUT = 10.0
OPEN_TIMEOUT = 5.0
MAX_SLACK = 3.0
#: Seconds that a test waits for what happens in a moment, and a request for its answer, on a
#: machine that is busy with others: more than any call takes that is documented to give up.
PATIENCE = 90.0


class Door(Protocol):
    """A worker, or what stands before one: where it is reached."""

    name: str
    port: int


@dataclass(slots=True)
class Line:
    """One connection, or the attempt to have one; its number is that of its frames' record."""

    number: int
    door: str
    opened: float
    welcomed: float | None = None
    closed: float | None = None
    code: int | None = None


class Tab(PageClient):
    """
    One browser tab. ``pick`` chooses the door of each connection.

    It lives in a task from :meth:`begin` to :meth:`leave`.
    """

    def __init__(
        self,
        pick: Callable[[], Door],
        source: random.Random,
        *,
        bot: str = "books",
        acks: bool = True,
        bundles: bool = False,
        pauses: tuple[float, float] = PAUSES,
        patience: float = OPEN_TIMEOUT,
    ) -> None:
        super().__init__(frames.Hello(bundles=bundles), acks=acks)
        self.source = source
        self.bot = bot
        self.lines: list[Line] = []
        #: Why it will not come back: a close code from 4500 on.
        self.over: int | None = None
        #: Whether it stays away for now.
        self.away = False
        self._pick = pick
        self._pauses = pauses
        self._patience = patience
        self._failures = 0
        self._slack = 1.0
        self._come = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    # Life

    def live(self) -> Tab:
        """Live from now on."""
        self._life = asyncio.create_task(self._come_and_go())
        return self

    async def begun(self, seconds: float = PATIENCE) -> Tab:
        """Live, and wait for the welcome."""
        self.live()
        await self.until(lambda: self.is_welcome, seconds)
        return self

    async def leave(self) -> None:
        """Close the connection as a closed tab does, and do not come back."""
        self.away = True
        self._come.set()
        if self._transport is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await self._transport.close()
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
            self._life = None

    def drop(self) -> None:
        """Break the connection without a word; it comes back."""
        if self.connected:
            self.transport.abort()

    async def stay_away(self) -> None:
        """Break the connection, and do not come back until :meth:`come_back`."""
        self.away = True
        self._come.clear()
        self.drop()
        await self.until(lambda: not self.connected)

    def come_back(self) -> None:
        self.away = False
        self._failures = 0
        self._come.set()

    def reload(self) -> None:
        """As a reloaded page: it knows its session and nothing else, and comes back."""
        self._forget()
        self.drop()

    async def _come_and_go(self) -> None:
        while self.over is None:
            if self.away:
                await self._come.wait()
                if self.away:
                    return
            await self._connect()
            if self.over is None and not self.away:
                first, last = self._pauses
                longest = min(last, first * 2**self._failures)
                self._failures += 1
                await asyncio.sleep(self.source.uniform(0, longest))

    async def _connect(self) -> None:
        door = self._pick()
        line = Line(len(self.lines) + 1, door.name, time.monotonic())
        self.lines.append(line)
        url = f"ws://127.0.0.1:{door.port}/ws/{self.bot}/"
        self._slack = min(MAX_SLACK, 2.0**self._failures)
        patience = self._patience * self._slack
        transport = WebsocketTransport(url, open_timeout=patience, close_timeout=1)
        self.welcomed = False
        try:
            await transport.open()
            self._transport = transport
            self.begin()
            self.say_hello()
            await self._live(transport, is_open=True)
            line.code = self.close_code
        except (OSError, WebSocketException, TimeoutError):
            pass
        finally:
            line.closed = time.monotonic()
            transport.abort()
            if line.code is not None and line.code >= 4500:
                self.over = line.code
            self._notify()

    def begin(self) -> None:
        self.connections = len(self.lines) - 1
        super().begin()

    def tick(self) -> None:
        """Also give up a connection that is dead, or on which no welcome comes."""
        late = time.monotonic() - self.lines[-1].opened > WELCOME_TIMEOUT * self._slack
        if self.is_dead or (late and not self.welcomed):
            self.drop()
        super().tick()

    def _take_welcome(self, welcome: frames.Welcome) -> None:
        super()._take_welcome(welcome)
        self._failures = 0
        self.lines[-1].welcomed = time.monotonic()

    # Waiting and looking

    async def until(self, fact: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until ``fact`` is true; it is asked again with every frame and every end."""
        try:
            async with asyncio.timeout(seconds):
                while not fact():
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; {self.story()}") from None

    async def outcome(self, n: int, seconds: float = PATIENCE) -> str:
        await self.until(lambda: n in self.outcomes, seconds)
        return self.outcomes[n]

    def got(self, kind: str, **keys: Any) -> list[Recorded]:
        """The frames of a type that have these keys."""
        wanted = {"type": kind} | keys
        return [
            note for note in self.record if not note.sent and wanted.items() <= note.frame.items()
        ]

    @property
    def is_welcome(self) -> bool:
        return self.connected and self.welcomed

    @property
    def transport(self) -> WebsocketTransport:
        assert isinstance(self._transport, WebsocketTransport), "not connected"
        return self._transport

    @property
    def outcomes(self) -> dict[int, str]:
        """How turns ended, of those that have."""
        return {turn: status for turn, status in self._turns.items() if status in OUTCOMES}

    @property
    def door(self) -> str:
        """Of the connection of now, or the last one."""
        return self.lines[-1].door

    @property
    def moves(self) -> int:
        """How often it resumed on another worker than before."""
        doors = [line.door for line in self.lines if line.welcomed is not None]
        return sum(one != other for one, other in pairwise(doors))

    def story(self) -> str:
        """The end of the record, for a failure's message."""
        told = [
            f"{note.at:.3f} line {note.connection} {'>' if note.sent else '<'} "
            f"{json.dumps(note.frame)[:200]}"
            for note in self.record[-12:]
        ]
        lines = [str(line) for line in self.lines[-4:]]
        return "\n".join([f"session {self.session}; its last lines and frames:", *lines, *told])
