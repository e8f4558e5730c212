"""
A client that comes back by itself and forgets nothing: every frame with its time, line and worker.

Written from the protocol alone; it shares no code with what it is a witness of.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

SUBPROTOCOL = "chatsessions.v1"
OUTCOMES = ("done", "failed", "stopped", "interrupted")
#: Back-off with full jitter: the first longest wait and the last, in seconds. Shorter than a
#: page's, for scenarios that are to take no minute.
PAUSES = (0.1, 2.0)
#: Those of a page.
PAGE_PAUSES = (0.5, 30.0)
#: How long the way to the welcome may take, in seconds, and how much of it the handshake.
WELCOME_TIMEOUT = 10.0
OPEN_TIMEOUT = 5.0
#: Not accepted for so long: sent again, in seconds.
RESEND_AFTER = 5.0
ACK_EVERY = 16
#: How often it looks at its clocks.
TICK = 0.2

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """Where a worker, or what stands before several of them, is reached."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class Note:
    """One frame of the record."""

    at: float
    #: The number of the connection, from 1.
    line: int
    sent: bool
    frame: Frame


@dataclass(slots=True)
class Line:
    """One connection of the record."""

    number: int
    door: str
    opened: float
    welcomed: float | None = None
    closed: float | None = None
    code: int | None = None


@dataclass(slots=True)
class Sent:
    """An event of the client's, as long as it is not accepted."""

    name: str
    data: Any
    at: float = 0.0


@dataclass(eq=False)
class Tab:
    """
    One browser tab. ``pick`` chooses the door of each connection; by default one after another.

    It lives in a task from :meth:`begin` to :meth:`leave`.
    """

    doors: Sequence[Door]
    source: random.Random = field(default_factory=random.Random)
    pick: Callable[[], Door] | None = None
    bot: str = "books"
    record: list[Note] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    session: str | None = None
    token: str | None = None
    received: int = 0
    #: All that was sent, by number.
    sent: dict[int, Sent] = field(default_factory=dict)
    unaccepted: dict[int, Sent] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    #: Why it will not come back: a close code from 4500 on.
    over: int | None = None
    next_n: int = 1
    ws: ClientConnection | None = None
    welcome: Frame | None = None
    #: Whether it stays away for now.
    away: bool = False
    acks: bool = True
    #: Whether it takes several frames in one message.
    bundles: bool = False
    pauses: tuple[float, float] = PAUSES
    patience: float = OPEN_TIMEOUT
    _acked: int = 0
    _heard: float = 0.0
    _spoke: float = 0.0
    _not_before: float = 0.0
    #: The number of the last hole that was reported: what was sent behind it reports it again.
    _hole: int | None = None
    _failures: int = 0
    _next_door: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _come: asyncio.Event = field(default_factory=asyncio.Event)
    _life: asyncio.Task[None] | None = None

    # Life

    def begin(self) -> Tab:
        """Live from now on."""
        self._life = asyncio.create_task(self._live())
        return self

    async def begun(self) -> Tab:
        """Live, and wait for the welcome."""
        self.begin()
        await self.until(lambda: self.welcome is not None, 15)
        return self

    async def leave(self) -> None:
        """Close the line as a closed tab does, and do not come back."""
        self.away = True
        self._come.set()
        if self.ws is not None:
            with suppress(WebSocketException, OSError, TimeoutError):
                async with asyncio.timeout(3):
                    await self.ws.close()
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
            self._life = None

    def drop(self) -> None:
        """Break the line without a word; it comes back."""
        if self.ws is not None:
            self.ws.transport.abort()

    async def stay_away(self) -> None:
        """Break the line, and do not come back until :meth:`come_back`."""
        self.away = True
        self._come.clear()
        self.drop()
        await self.until(lambda: self.ws is None, 5)

    def come_back(self) -> None:
        self.away = False
        self._failures = 0
        self._come.set()

    def knows(self, other: Tab) -> Tab:
        """It comes with the session of another one, as a second tab of the same browser does."""
        self.session, self.token = other.session, other.token
        return self

    def reload(self) -> None:
        """As a reloaded page: it knows its session and nothing else, and comes back."""
        self.received = 0
        self.drop()

    async def _live(self) -> None:
        while self.over is None:
            if self.away:
                await self._come.wait()
                if self.away:
                    return
            await self._connect()
            if self.over is None and not self.away:
                first, last = self.pauses
                longest = min(last, first * 2**self._failures)
                self._failures += 1
                await asyncio.sleep(self.source.uniform(0, longest))

    async def _connect(self) -> None:
        door = self._door()
        line = Line(len(self.lines) + 1, door.name, time.monotonic())
        self.lines.append(line)
        self.welcome = None
        ticker = asyncio.create_task(self._tick(line))
        try:
            async with connect(
                f"ws://127.0.0.1:{door.port}/ws/{self.bot}/",
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
                compression=None,
                max_size=None,
                ping_interval=None,
                open_timeout=self.patience,
                close_timeout=1,
                proxy=None,
            ) as ws:
                self.ws = ws
                self._heard = time.monotonic()
                await self._greet()
                async for text in ws:
                    found = json.loads(text)
                    for frame in found if isinstance(found, list) else [found]:
                        await self._take(line, frame)
        except (OSError, WebSocketException, TimeoutError):
            pass
        finally:
            ticker.cancel()
            line.closed = time.monotonic()
            line.code = None if self.ws is None else self.ws.close_code
            self.ws = self.welcome = None
            if line.code is not None and line.code >= 4500:
                self.over = line.code
            async with self._news:
                self._news.notify_all()

    def _door(self) -> Door:
        if self.pick is not None:
            return self.pick()
        door = self.doors[self._next_door % len(self.doors)]
        self._next_door += 1
        return door

    # Sending

    async def event(self, name: str, data: Any = None) -> int:
        """Number an event and send it, now or when there is a welcome again."""
        n = self.next_n
        self.next_n += 1
        self.sent[n] = self.unaccepted[n] = Sent(name, data)
        if self.welcome is not None:
            await self._send_numbered(n)
        return n

    async def message(self, content: str = "hello") -> int:
        return await self.event("message", {"content": content})

    async def answer(self, call: str, content: str) -> int:
        return await self.event("answer", {"call": call, "data": {"content": content}})

    async def stop(self) -> None:
        await self._send({"type": "stop"})

    async def end(self) -> None:
        await self._send({"type": "end"})

    async def _greet(self) -> None:
        hello: Frame = {"type": "hello", "bundles": self.bundles}
        if self.session is not None:
            known = {"session": self.session, "token": self.token, "received": self.received}
            hello |= known
        await self._send(hello)

    async def _send_numbered(self, n: int) -> None:
        event = self.unaccepted.get(n)
        if event is None or time.monotonic() < self._not_before:
            return
        event.at = time.monotonic()
        if event.name == "answer":
            await self._send({"type": "answer", "n": n, **event.data})
        else:
            await self._send({"type": "event", "n": n, "name": event.name, "data": event.data})

    async def _resend(self, first: int = 1) -> None:
        for n in [n for n in self.unaccepted if n >= first]:
            await self._send_numbered(n)

    async def _send(self, frame: Frame) -> None:
        ws = self.ws
        if ws is None:
            return
        self._spoke = time.monotonic()
        self.record.append(Note(self._spoke, len(self.lines), True, frame))
        with suppress(WebSocketException, OSError):
            await ws.send(json.dumps(frame))

    async def _tick(self, line: Line) -> None:
        """Acknowledge, ping, send again, and give up a line that is dead."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if self.welcome is None:
                if now - line.opened > WELCOME_TIMEOUT:
                    self.drop()
                continue
            heartbeat = self.welcome["heartbeat"]
            if now - self._heard > 2.5 * heartbeat:
                self.drop()
            elif now - min(self._spoke, self._heard) > heartbeat:
                await self._send({"type": "ping"})
            if self.acks and self.received > self._acked:
                await self._ack()
            late = [sent for sent in self.unaccepted.values() if now - sent.at > RESEND_AFTER]
            if late and now >= self._not_before:
                await self._resend()

    async def _ack(self) -> None:
        self._acked = self.received
        await self._send({"type": "ack", "seq": self._acked})

    # Receiving

    async def _take(self, line: Line, frame: Frame) -> None:
        self._heard = time.monotonic()
        self.record.append(Note(self._heard, line.number, False, frame))
        kind = frame["type"]
        if kind == "welcome":
            line.welcomed = self._heard
            await self._take_welcome(frame)
        elif kind == "event":
            self._apply(frame["seq"])
            if "n" in frame:
                self.unaccepted.pop(frame["n"], None)
        elif kind == "accepted":
            self.unaccepted.pop(frame["n"], None)
            self._apply(frame["seq"])
        elif kind == "turn" and frame["status"] in OUTCOMES:
            self.outcomes[frame["turn"]] = frame["status"]
        elif kind == "error":
            await self._take_error(frame)
        if self.acks and self.received - self._acked >= ACK_EVERY:
            await self._ack()
        async with self._news:
            self._news.notify_all()

    async def _take_welcome(self, frame: Frame) -> None:
        self._failures = 0
        self._not_before = 0.0
        self._hole = None
        self.session, self.token = frame["session"], frame["token"]
        if not frame["resumed"]:
            self.received = 0
            rest = list(self.unaccepted.values())
            self.sent = dict(enumerate(rest, start=1))
            self.unaccepted = dict(self.sent)
            self.next_n = len(rest) + 1
        elif frame["first"] > self.received + 1:
            self.received = frame["first"] - 1
        for n in [n for n in self.unaccepted if n <= frame["received"]]:
            del self.unaccepted[n]
        # One that knows no more than its session counts on from there.
        self.next_n = max(self.next_n, frame["received"] + 1)
        self._acked = self.received
        self.welcome = frame
        await self._resend()

    def _apply(self, seq: int) -> None:
        if seq == self.received + 1:
            self.received = seq

    async def _take_error(self, frame: Frame) -> None:
        n = frame.get("n")
        if n is None or n not in self.unaccepted:
            return
        if frame["code"] == "n_gap":
            if n != self._hole:
                self._hole = n
                await self._resend(n)
        elif "retry_after" in frame:
            self._not_before = max(self._not_before, time.monotonic() + frame["retry_after"])
            # Sent again by the next tick after that.
            for sent in self.unaccepted.values():
                sent.at = 0.0

    # Waiting and looking

    async def until(self, fact: Callable[[], Any], seconds: float = 20.0) -> None:
        """Wait until ``fact`` is true; it is asked again with every frame and every end."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(fact)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; {self.story()}") from None

    async def outcome(self, n: int, seconds: float = 20.0) -> str:
        await self.until(lambda: n in self.outcomes, seconds)
        return self.outcomes[n]

    def got(self, kind: str, **keys: Any) -> list[Note]:
        """The frames of a type that have these keys."""
        wanted = {"type": kind} | keys
        return [
            note for note in self.record if not note.sent and wanted.items() <= note.frame.items()
        ]

    @property
    def is_settled(self) -> bool:
        return not self.unaccepted

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
            f"{note.at:.3f} line {note.line} {'>' if note.sent else '<'} "
            f"{json.dumps(note.frame)[:200]}"
            for note in self.record[-12:]
        ]
        lines = [str(line) for line in self.lines[-4:]]
        return "\n".join([f"session {self.session}; its last lines and frames:", *lines, *told])
