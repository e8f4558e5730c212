"""
A client of ``chatsessions.v1``, written from the protocol alone.

It keeps every frame it was ever sent (``record``), applies the log as a page would, and notes
whatever breaks a promise of the protocol in ``problems``; :func:`assert_whole` looks at all of it
together with the server's database.
"""

# ruff: noqa: ASYNC110  # waits with a deadline of the caller's, for what no event tells

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import websockets
from websockets.asyncio.client import ClientConnection

from .harness import Database, Row, Server

SUBPROTOCOL = "chatsessions.v1"
OUTCOMES = ("done", "failed", "stopped", "interrupted")
#: Acknowledged at the latest after so many events, characters, or seconds.
ACK_EVERY = 16
ACK_SIZE = 300_000
ACK_AFTER = 0.4

Frame = dict[str, Any]
Predicate = Callable[[Frame], bool] | Frame


@dataclass(slots=True)
class Stream:
    """A streaming message, as put together from what arrived."""

    text: str
    index: int
    #: Whether all of it was seen on the connection of now.
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of the log, as the client knows it."""

    n: int | None
    name: str
    data: Any


@dataclass(slots=True, eq=False)
class Client:
    """
    One chat page. ``connect()`` opens a line, ``hello()`` says hello, ``start()`` does both.

    It comes back with :meth:`resume`, and remembers ``session``, ``token``, ``received`` and what
    was not accepted, as a page does. With ``acks=False`` it acknowledges nothing by itself.
    """

    url: str
    origin: str | None
    cookie: str | None = None
    acks: bool = True
    #: Whether it takes several frames in one message, and asks for that.
    bundles: bool = False
    #: Every frame of every connection, in order of arrival.
    record: list[Frame] = field(default_factory=list)
    #: What broke the protocol.
    problems: list[str] = field(default_factory=list)
    session: str | None = None
    token: str | None = None
    #: The highest entry up to which it has everything.
    received: int = 0
    #: The log as applied, by seq.
    entries: dict[int, Seen] = field(default_factory=dict)
    #: What it sent and the server has not accepted, by n.
    unaccepted: dict[int, Seen] = field(default_factory=dict)
    #: What it sent, by n.
    sent: dict[int, Seen] = field(default_factory=dict)
    #: The outcomes that were told, by turn.
    outcomes: dict[int, str] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    next_n: int = 1
    close_code: int | None = None
    #: How often it connected.
    connections: int = 0
    ws: ClientConnection | None = None
    welcome: Frame | None = None
    _reader: asyncio.Task[None] | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _acked: int = 0
    _unacked_size: int = 0
    _acker: asyncio.Task[None] | None = None

    @classmethod
    def of(
        cls, server: Server, bot: str = "counter", *, cookie: str | None = None, **options: bool
    ) -> Self:
        """A client for a bot of ``server``, not connected yet."""
        return cls(server.url(bot), server.origin, cookie, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # The line

    async def connect(
        self, *, subprotocols: Iterable[str] | None = (SUBPROTOCOL,), **options: Any
    ) -> Self:
        """Open the websocket. Nothing is said yet."""
        assert self.ws is None, "connected already"
        self.welcome = None
        self.close_code = None
        self.connections += 1
        defaults: dict[str, Any] = {
            "compression": None,
            "max_size": None,
            "max_queue": None,
            "ping_interval": None,
            "close_timeout": 2,
            "open_timeout": 10,
            "proxy": None,
            "additional_headers": {"Cookie": self.cookie} if self.cookie else None,
        }
        self.ws = await websockets.connect(
            self.url,
            origin=self.origin,  # type: ignore[arg-type]
            subprotocols=None if subprotocols is None else list(subprotocols),  # type: ignore[arg-type]
            **(defaults | options),
        )
        self._reader = asyncio.create_task(self._read(self.ws))
        return self

    async def hello(self, *, timeout: float = 10.0, **keys: Any) -> Frame:
        """
        Say hello and wait for the welcome.

        A session it has is asked for. ``keys`` are keys of the frame; None leaves one out.
        """
        hello: Frame = {"type": "hello"} | ({"bundles": True} if self.bundles else {})
        if self.session is not None:
            hello |= {"session": self.session, "token": self.token, "received": self.received}
        hello = {key: value for key, value in (hello | keys).items() if value is not None}
        if self.session is not None and hello.get("received", 0) < self.received:
            self._forget_from(hello.get("received", 0))
        since = self.here
        await self.send(hello)
        return await self.until({"type": "welcome"}, timeout, since=since)

    async def start(self, **keys: Any) -> Self:
        """Connect and say hello."""
        await self.connect()
        await self.hello(**keys)
        return self

    async def resume(self, *, resend: bool = True, **keys: Any) -> Frame:
        """Come back: connect, say hello with what it has, send again what was not accepted."""
        if self.ws is not None:
            await self.close()
        await self.connect()
        welcome = await self.hello(**keys)
        if resend:
            await self.resend()
        return welcome

    async def resend(self) -> None:
        for event in list(self.unaccepted.values()):
            await self._send_numbered(event)

    async def drop(self) -> None:
        """Break the TCP connection without a close frame."""
        assert self.ws is not None
        self.ws.transport.abort()
        await self._end_reader()

    async def close(self) -> None:
        """Close the websocket in an orderly way, if it is open."""
        if self.ws is not None:
            with suppress(websockets.WebSocketException, OSError):
                await self.ws.close()
            if self._reader is not None and not self._reader.done() and self.ws is not None:
                self.ws.transport.abort()
            await self._end_reader()

    async def left(self, database: Database, timeout: float = 20.0) -> None:
        """Close, and wait until no worker holds the session in memory."""
        await self.close()
        await self.until_away(database, timeout)

    async def until_away(self, database: Database, timeout: float = 20.0) -> None:
        """Wait until no worker holds the session in memory."""
        session = self.session
        assert session is not None
        await wait_for(lambda: database.session(session)["worker_id"] is None, timeout)

    async def closed(self, timeout: float = 20.0) -> int | None:
        """Wait until the server has closed the line; the close code."""
        async with asyncio.timeout(timeout):
            await self._end_reader()
        return self.close_code

    def pause_reading(self) -> None:
        """Read nothing more from the socket: the kernel's buffers fill up."""
        assert self.ws is not None
        self.ws.transport.pause_reading()

    def continue_reading(self) -> None:
        assert self.ws is not None
        self.ws.transport.resume_reading()

    @property
    def is_open(self) -> bool:
        return self.ws is not None

    async def _end_reader(self) -> None:
        if self._reader is not None:
            await asyncio.shield(self._reader)
            self._reader = None

    # Sending

    async def send(self, frame: Frame) -> None:
        """Any frame, as it is."""
        await self.send_text(json.dumps(frame))

    async def send_text(self, text: str | bytes) -> None:
        """Anything at all. A line that closes meanwhile is found out by :meth:`closed`."""
        assert self.ws is not None, "not connected"
        with suppress(websockets.ConnectionClosed):
            await self.ws.send(text)

    async def event(self, name: str, data: Any = None) -> int:
        """Send the next event; its number."""
        n = self.next_n
        self.next_n += 1
        self.unaccepted[n] = self.sent[n] = Seen(n, name, data)
        await self._send_numbered(self.sent[n])
        return n

    async def answer(self, call: str, data: Any) -> int:
        """Answer a question; the number of the answer."""
        return await self.event("answer", {"call": call, "data": data})

    async def _send_numbered(self, event: Seen) -> None:
        if event.name == "answer":
            await self.send({"type": "answer", "n": event.n, **event.data})
        else:
            frame = {"type": "event", "n": event.n, "name": event.name, "data": event.data}
            await self.send(frame)

    async def message(self, content: str) -> int:
        """Send the next message of the user; its number."""
        return await self.event("message", {"content": content})

    async def stop(self) -> None:
        await self.send({"type": "stop"})

    async def ack(self, seq: int | None = None) -> None:
        self._acked = self.received if seq is None else seq
        self._unacked_size = 0
        await self.send({"type": "ack", "seq": self._acked})

    async def end(self) -> None:
        await self.send({"type": "end"})

    async def ping(self, timeout: float = 20.0) -> Frame:
        """Ping, and wait for the pong: everything sent before was dealt with."""
        since = self.here
        await self.send({"type": "ping"})
        return await self.until({"type": "pong"}, timeout, since=since)

    # Waiting

    @property
    def here(self) -> int:
        """The end of the record now, for ``since``."""
        return len(self.record)

    async def until(self, wanted: Predicate, timeout: float = 20.0, *, since: int = 0) -> Frame:
        """
        The first frame from ``record[since]`` on that is ``wanted``: a function, or a dict whose
        keys the frame must have with these values. Fails when the line closes before it comes.
        """
        position = since

        def found() -> Frame | None:
            nonlocal position
            while position < len(self.record):
                frame = self.record[position]
                position += 1
                if matches(frame, wanted):
                    return frame
            return None

        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    frame = found()
                    if frame is not None:
                        return frame
                    assert self.ws is not None, (
                        f"closed with {self.close_code} before {wanted}; {self.tail()}"
                    )
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted} within {timeout} s; {self.tail()}") from None

    async def caught_up(self, timeout: float = 20.0) -> None:
        """Wait until it has all that the welcome announced."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while self.welcome is None or self.received < self.welcome["head"]:
                    assert self.ws is not None, f"closed with {self.close_code}; {self.tail()}"
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.received} of {self.welcome}; {self.tail()}") from None

    async def outcome(self, turn: int, timeout: float = 20.0) -> str:
        """Wait until the server tells what became of a turn."""
        frame = await self.until(
            lambda frame: (
                frame["type"] == "turn" and frame["turn"] == turn and frame["status"] in OUTCOMES
            ),
            timeout,
        )
        status: str = frame["status"]
        return status

    async def said(self, content: str, timeout: float = 20.0, *, since: int = 0) -> Frame:
        """Wait for a message of the bot with this content."""
        return await self.until(
            lambda frame: (
                frame["type"] == "event"
                and frame["name"] in ("message", "message_update")
                and frame["data"]["content"] == content
            ),
            timeout,
            since=since,
        )

    async def settled(self, timeout: float = 20.0) -> None:
        """Wait until every event it sent is accepted and its outcome told."""
        for n in range(1, self.next_n):
            await self.outcome(n, timeout)

    def events(self, name: str | None = None) -> list[Frame]:
        """The event frames of the record, of one name or all."""
        return [
            frame
            for frame in self.record
            if frame["type"] == "event" and name in (None, frame["name"])
        ]

    def of_type(self, kind: str, *, since: int = 0) -> list[Frame]:
        """The frames of one type."""
        return [frame for frame in self.record[since:] if frame["type"] == kind]

    @property
    def contents(self) -> list[str]:
        """What the bot's messages say, as a page would show them now."""
        shown: dict[str, str] = {}
        for seq in sorted(self.entries):
            entry = self.entries[seq]
            if entry.n is None and entry.name in ("message", "message_update"):
                shown[entry.data["id"]] = entry.data["content"]
            elif entry.name == "message_remove":
                shown.pop(entry.data["id"], None)
        return list(shown.values())

    def tail(self) -> str:
        """The end of the record, for a failure's message."""
        frames = [json.dumps(frame)[:300] for frame in self.record[-8:]]
        return "the last frames were:\n" + "\n".join(frames)

    # Reading

    async def _read(self, ws: ClientConnection) -> None:
        self._acker = asyncio.create_task(self._acknowledge()) if self.acks else None
        try:
            async for text in ws:
                if isinstance(text, bytes):
                    self.problems.append("a binary frame")
                    continue
                found = json.loads(text)
                if isinstance(found, list) and not (self.bundles and len(found) > 1):
                    self.problems.append(f"a bundle of {len(found)}, with bundles {self.bundles}")
                for frame in found if isinstance(found, list) else [found]:
                    try:
                        self._take(frame)
                    except (KeyError, TypeError, ValueError) as error:
                        self.problems.append(f"{error!r} at {frame}")
                    self.record.append(frame)
                async with self._news:
                    self._news.notify_all()
                self._unacked_size += len(text)
                if self.acks and (
                    self.received - self._acked >= ACK_EVERY
                    or (self.received > self._acked and self._unacked_size >= ACK_SIZE)
                ):
                    await self.ack()
        except (websockets.WebSocketException, OSError):
            pass
        finally:
            if self._acker is not None:
                self._acker.cancel()
            self.close_code = ws.close_code
            self.ws = None
            async with self._news:
                self._news.notify_all()

    async def _acknowledge(self) -> None:
        while True:
            await asyncio.sleep(ACK_AFTER)
            if self.received > self._acked and self.welcome is not None:
                await self.ack()

    def _take(self, frame: Frame) -> None:
        kind = frame["type"]
        if kind in ("event", "accepted", "turn", "token", "stream", "pong", "ended"):
            self._expect(self.welcome is not None, f"before the welcome: {frame}")
        take = getattr(self, f"_take_{kind}", None)
        if take is not None:
            take(frame)
        else:
            self._expect(kind in ("pong", "error", "ended"), f"an unknown frame: {frame}")

    def _expect(self, fact: bool, problem: str) -> None:
        if not fact:
            self.problems.append(problem)

    def _take_welcome(self, frame: Frame) -> None:
        self._expect(self.welcome is None, "two welcomes")
        self._expect(set(frame) == WELCOME_KEYS, f"the welcome's keys: {sorted(frame)}")
        self.welcome = frame
        if not frame["resumed"]:
            waiting = list(self.unaccepted.values())
            self._forget_from(0)
            self.outcomes = {}
            self.sent = {
                n: Seen(n, event.name, event.data) for n, event in enumerate(waiting, start=1)
            }
            self.unaccepted = dict(self.sent)
            self.next_n = len(waiting) + 1
            # Frames behind the hello may have been faster than the welcome.
            self._accept(range(1, frame["received"] + 1))
            self._expect((frame["first"], frame["head"]) == (1, 0) or frame["head"] > 0, f"{frame}")
        else:
            self._accept(range(1, frame["received"] + 1))
            if frame["first"] > self.received + 1:
                self._forget_from(0)
                self.received = frame["first"] - 1
            self._expect(frame["head"] >= self.received, f"the log has shrunk: {frame}")
        self._acked = self.received
        self.session, self.token = frame["session"], frame["token"]
        for stream in self.streams.values():
            stream.whole = False

    def _take_event(self, frame: Frame) -> None:
        self._expect(frame.get("turn") is None or frame.get("n") is None, f"n and turn: {frame}")
        self._apply(frame["seq"], Seen(frame.get("n"), frame["name"], frame["data"]))
        if "n" in frame:
            self._accept([frame["n"]])
            return
        if frame["name"] in ("message", "message_update"):
            self._show(frame["data"])

    def _take_accepted(self, frame: Frame) -> None:
        n, seq = frame["n"], frame["seq"]
        event = self.sent.get(n)
        if event is None:
            self.problems.append(f"accepted what was never sent: {frame}")
            return
        self._accept([n])
        if seq == 0 or seq in self.entries:
            self._expect(
                seq == 0 or self.entries[seq].n == n, f"accepted as another entry: {frame}"
            )
        elif seq == self.received + 1:
            self._apply(seq, event)

    def _apply(self, seq: int, seen: Seen) -> None:
        if seq <= self.received:
            self.problems.append(f"entry {seq} came twice")
            return
        self._expect(seq == self.received + 1, f"a hole: {seq} after {self.received}")
        self.received = seq
        self.entries[seq] = seen

    def _accept(self, numbers: Iterable[int]) -> None:
        for n in numbers:
            self.unaccepted.pop(n, None)

    def _take_turn(self, frame: Frame) -> None:
        turn, status = frame["turn"], frame["status"]
        self._expect(turn not in self.outcomes, f"after its outcome: {frame}")
        if status in OUTCOMES:
            self.outcomes[turn] = status
        else:
            self._expect(status == "running", f"an unknown status: {frame}")

    def _show(self, message: Frame) -> None:
        stream = self.streams.get(message["id"])
        if message["streaming"]:
            self.streams[message["id"]] = Stream(message["content"], 0)
        elif stream is not None:
            self._expect(
                not stream.whole or stream.index == 0 or stream.text == message["content"],
                f"streamed {stream.text!r}, but it is {message['content']!r}",
            )
            del self.streams[message["id"]]

    def _take_stream(self, frame: Frame) -> None:
        self._expect(frame["message"] in self.streams, f"a stream of nothing: {frame}")
        self.streams[frame["message"]] = Stream(frame["content"], frame["index"])

    def _take_token(self, frame: Frame) -> None:
        stream = self.streams.get(frame["message"])
        if stream is None:
            self.problems.append(f"a token of nothing: {frame}")
            return
        self._expect(
            frame["index"] == stream.index, f"token {frame['index']}, not {stream.index}: {frame}"
        )
        stream.text += frame["text"]
        stream.index = frame["index"] + 1

    def _forget_from(self, seq: int) -> None:
        """Go back to what it had when ``seq`` was the last entry applied."""
        self.received = seq
        self.entries = {key: entry for key, entry in self.entries.items() if key <= seq}
        self.streams = {}


WELCOME_KEYS = {
    *("type", "session", "token", "resumed", "reason", "received", "first", "head", "turn"),
    *("heartbeat", "max_frame", "window", "owner"),
}


def matches(frame: Frame, wanted: Predicate) -> bool:
    if callable(wanted):
        return bool(wanted(frame))
    return all(key in frame and frame[key] == value for key, value in wanted.items())


async def wait_for(fact: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait for something that only looking tells, in the database for instance."""
    async with asyncio.timeout(timeout):
        while not fact():
            await asyncio.sleep(0.02)


async def assert_whole(
    client: Client,
    database: Database,
    *,
    state: dict[str, Any] | None = None,
    timeout: float = 20.0,
) -> None:
    """
    The client has seen exactly what the database holds, and every promise was kept.

    Entries 1, 2, 3, … without a hole or a repeat, equal on both sides; every accepted event is one
    entry and has one outcome; ``user_session`` is ``state``. Waits until the session is at rest.
    """
    assert client.session is not None
    row: dict[str, Any] = {}
    log: list[Row] = []
    deadline = asyncio.get_running_loop().time() + timeout
    while asyncio.get_running_loop().time() < deadline:
        row = database.session(client.session)
        # What a hook says after its turn may be stored between one look and the other.
        log = database.log(client.session)
        whole = not log or log[-1].seq == row["head"]
        at_rest = whole and row["running"] is None and row["handled"] == row["accepted"]
        turns = {n for n, sent in client.sent.items() if sent.name != "answer"}
        told = client.connections > 1 or turns <= client.outcomes.keys()
        if at_rest and told and row["head"] == client.received and not client.unaccepted:
            break
        await asyncio.sleep(0.02)
    assert client.problems == []
    facts = {key: row[key] for key in ("running", "handled", "accepted", "head")}
    assert row["running"] is None, f"a turn runs still: {facts}"
    assert row["handled"] == row["accepted"], f"accepted, and never handled: {facts}"
    assert row["head"] == client.received, f"seen up to {client.received}: {facts}"
    assert client.unaccepted == {}, "sent, and never accepted"
    first = min(client.entries, default=1)
    assert [entry.seq for entry in log] == list(range(row["head"] - len(log) + 1, row["head"] + 1))
    stored = {row.seq: Seen(row.n, row.name, row.data) for row in log if row.seq >= first}
    assert client.entries == stored
    numbers = [entry.n for entry in log if entry.n is not None]
    assert numbers == list(range(row["accepted"] - len(numbers) + 1, row["accepted"] + 1))
    for entry in log:
        if entry.n in client.outcomes:
            assert client.outcomes[entry.n] == (entry.status or "done"), f"of turn {entry.n}"
        elif entry.name == "answer":
            pass  # it has no turn
        elif entry.n in client.sent and client.connections == 1:
            raise AssertionError(f"the outcome of turn {entry.n} was not told")
    if state is not None:
        assert database.state(client.session) == state
