"""
The client of ``chatsessions.testing`` on a real websocket, and a witness of what it is told.

The witness knows the protocol's promises and nothing of how the client keeps to the protocol: it
looks at every frame (``witness``), and :func:`assert_whole` compares what it has seen with the
server's database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from chatsessions.testing.client import Recorded
from tests.support.client import OUTCOMES, Frame, StepClient
from tests.support.sessions import until
from tests.support.websocket import WebsocketTransport

from .harness import Database, Row, Server


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
class Witness:
    """Follows the frames of one client, and notes what breaks a promise of the protocol."""

    problems: list[str]
    #: The welcome of this connection.
    welcome: Frame | None = None
    #: The highest entry up to which it has seen everything.
    received: int = 0
    #: The log as applied, by seq.
    entries: dict[int, Seen] = field(default_factory=dict)
    #: What was sent, by n.
    sent: dict[int, Seen] = field(default_factory=dict)
    #: The outcomes that were told, by turn.
    outcomes: dict[int, str] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    #: The position that the last hello said to have.
    _claimed: int = 0
    #: The numbers that were accepted, and those that were sent on this connection.
    _accepted: set[int] = field(default_factory=set)
    _sent_here: set[int] = field(default_factory=set)

    def look(self, recorded: Recorded) -> None:
        """Take the next frame of the record."""
        frame = recorded.frame
        if recorded.sent:
            self._look_at_sent(frame)
            return
        kind = frame["type"]
        if kind in ("event", "accepted", "turn", "token", "stream", "pong", "ended"):
            self._expect(self.welcome is not None, f"before the welcome: {frame}")
        take = getattr(self, f"_take_{kind}", None)
        if take is None:
            self._expect(kind in ("pong", "error", "ended"), f"an unknown frame: {frame}")
            return
        try:
            take(frame)
        except (KeyError, TypeError, ValueError) as error:
            self.problems.append(f"{error!r} at {frame}")

    def _look_at_sent(self, frame: Frame) -> None:
        if frame["type"] == "hello":
            self.welcome = None
            self._sent_here.clear()
            self._claimed = frame.get("received", 0)
        elif frame["type"] == "event":
            self._send(Seen(frame["n"], frame["name"], frame["data"]))
        elif frame["type"] == "answer":
            data = {"call": frame["call"], "data": frame["data"]}
            self._send(Seen(frame["n"], "answer", data))

    def _send(self, event: Seen) -> None:
        assert event.n is not None
        self._sent_here.add(event.n)
        if event.n not in self._accepted:  # the server takes no other event of that number
            self.sent[event.n] = event

    def _expect(self, fact: bool, problem: str) -> None:
        if not fact:
            self.problems.append(problem)

    def _take_welcome(self, frame: Frame) -> None:
        self._expect(set(frame) == WELCOME_KEYS, f"the welcome's keys: {sorted(frame)}")
        self.welcome = frame
        if not frame["resumed"]:
            self._forget_from(0)
            self.outcomes = {}
            self._accepted = set()
            # Frames behind the hello may have been faster than the welcome.
            self.sent = {n: event for n, event in self.sent.items() if n in self._sent_here}
            self._expect((frame["first"], frame["head"]) == (1, 0) or frame["head"] > 0, f"{frame}")
        else:
            if self._claimed < self.received:
                self._forget_from(self._claimed)
            if frame["first"] > self.received + 1:
                self._forget_from(0)
                self.received = frame["first"] - 1
            self._expect(frame["head"] >= self.received, f"the log has shrunk: {frame}")
        for stream in self.streams.values():
            stream.whole = False

    def _take_event(self, frame: Frame) -> None:
        self._expect(frame.get("turn") is None or frame.get("n") is None, f"n and turn: {frame}")
        self._apply(frame["seq"], Seen(frame.get("n"), frame["name"], frame["data"]))
        if "n" not in frame and frame["name"] in ("message", "message_update"):
            self._show(frame["data"])

    def _take_accepted(self, frame: Frame) -> None:
        n, seq = frame["n"], frame["seq"]
        self._accepted.add(n)
        event = self.sent.get(n)
        if event is None:
            self.problems.append(f"accepted what was never sent: {frame}")
        elif seq == 0 or seq in self.entries:
            same = seq == 0 or self.entries[seq].n == n
            self._expect(same, f"accepted as another entry: {frame}")
        elif seq == self.received + 1:
            self._apply(seq, event)

    def _apply(self, seq: int, seen: Seen) -> None:
        if seq <= self.received:
            self.problems.append(f"entry {seq} came twice")
            return
        self._expect(seq == self.received + 1, f"a hole: {seq} after {self.received}")
        self.received = seq
        self.entries[seq] = seen

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


class Client(StepClient):
    """A :class:`StepClient` on a real websocket, with a witness beside it."""

    def __init__(
        self, url: str, origin: str | None, cookie: str | None = None, **options: bool
    ) -> None:
        super().__init__(**options)
        self.url = url
        self.origin = origin
        self.cookie = cookie
        self.witness = Witness(self.problems)

    @classmethod
    def of(
        cls, server: Server, bot: str = "counter", *, cookie: str | None = None, **options: bool
    ) -> Self:
        """A client for a bot of ``server``, not connected yet."""
        return cls(server.url(bot), server.origin, cookie, **options)

    def _note(self, sent: bool, frame: Frame) -> None:
        super()._note(sent, frame)
        self.witness.look(self.record[-1])

    def _transport_with(self, **options: Any) -> WebsocketTransport:
        headers = {"Cookie": self.cookie} if self.cookie else None
        given = {"origin": self.origin, "additional_headers": headers}
        return WebsocketTransport(self.url, **given | options)

    @property
    def transport(self) -> WebsocketTransport:
        assert isinstance(self._transport, WebsocketTransport), "not connected"
        return self._transport

    async def drop(self) -> None:
        """Break the TCP connection without a close frame."""
        self.transport.abort()
        await self._end_reader()

    async def left(self, database: Database) -> None:
        """Close, and wait until no worker holds the session in memory."""
        await self.close()
        await self.until_away(database)

    async def until_away(self, database: Database) -> None:
        """Wait until no worker holds the session in memory."""
        session = self.session
        await until(lambda: database.session(session)["worker_id"] is None)

    def pause_reading(self) -> None:
        """Read nothing more from the socket: the kernel's buffers fill up."""
        self.transport.ws.transport.pause_reading()

    def continue_reading(self) -> None:
        self.transport.ws.transport.resume_reading()

    # What it was told

    @property
    def welcome(self) -> Frame | None:
        return self.witness.welcome

    @property
    def entries(self) -> dict[int, Seen]:
        return self.witness.entries

    @property
    def sent(self) -> dict[int, Seen]:
        return self.witness.sent

    @property
    def streams(self) -> dict[str, Stream]:
        return self.witness.streams

    @property
    def outcomes(self) -> dict[int, str]:
        return self.witness.outcomes


#: The fixture ``client_of``: ``client_of(server, "counter")``.
ClientOf = Callable[..., Client]


async def assert_whole(
    client: Client, database: Database, *, state: dict[str, Any] | None = None
) -> None:
    """
    The client has seen exactly what the database holds, and every promise was kept.

    Entries 1, 2, 3, … without a hole or a repeat, equal on both sides; every accepted event is one
    entry and has one outcome; ``user_session`` is ``state``. Waits until the session is at rest.
    """
    row: dict[str, Any] = {}
    log: list[Row] = []
    deadline = asyncio.get_running_loop().time() + 90
    while asyncio.get_running_loop().time() < deadline:
        row = database.session(client.session)
        # What a hook says after its turn may be stored between one look and the other.
        log = database.log(client.session)
        accepted = row["accepted"]
        whole = not log or log[-1].seq == row["head"]
        at_rest = whole and row["running"] is None and row["handled"] == row["accepted"]
        turns = {n for n, sent in client.sent.items() if sent.name != "answer" and n <= accepted}
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
