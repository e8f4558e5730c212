"""
A client of the protocol: which frames it sends and when, and its connections.

All tests that speak the protocol use :class:`ProtocolClient`, and add their assertions.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import msgspec

from chatsessions.protocol import frames

from .conversation import Conversation, Sent
from .transport import LOST, Transport, TransportClosed

#: Errors after which an event is sent again, after ``retry_after`` seconds.
RETRIED = frozenset({"rate_limited", "busy", "storage_unavailable"})
#: Errors after which an event is never sent again.
GIVEN_UP = frozenset({"bad_frame", "forbidden", "too_large", "unauthorized"})
#: The client acknowledges after this many entries, characters or seconds, whichever comes first.
ACK_EVERY = 16
ACK_SIZE = 300_000
ACK_AFTER = 0.4
#: Seconds after which an event that was not accepted is sent again.
RESEND_AFTER = 5.0
#: Heartbeats of silence after which a connection is dead.
DEAD_AFTER = 2.5
#: The longest time between two calls of :meth:`ProtocolClient.tick`, in seconds.
TICK = 0.2


@dataclass(frozen=True, slots=True)
class Recorded:
    """A frame that was sent or received."""

    at: float
    #: The number of the connection, from 1.
    connection: int
    sent: bool
    frame: dict[str, Any]


class ProtocolClient(Conversation):
    """
    Sends hello, numbers and repeats its events, acknowledges the server's, and resumes its session.

    It has connections, one after another. :meth:`take_outgoing` returns the texts to send,
    :meth:`receive` takes those of the server, and :meth:`tick` does what is due; none of them
    waits. With ``acks=False`` it acknowledges nothing. With ``repeats=False`` it sends each event
    immediately and only once, even beyond the server's window, and never pings by itself.
    """

    def __init__(self, hello: frames.Hello, *, acks: bool = True, repeats: bool = True) -> None:
        super().__init__()
        #: Its first frame; the session, token and owner are those of the last welcome.
        self._hello = hello
        #: Every frame of every connection, in order.
        self.record: list[Recorded] = []
        #: The server's violations of the protocol.
        self.problems: list[str] = []
        #: How many connections there were.
        self.connections = 0
        #: Whether the server has welcomed the client on this connection.
        self.welcomed = False
        #: Whether it acknowledges without being told.
        self.acks = acks
        self._repeats = repeats
        self._outgoing: deque[str] = deque()
        self._acked = 0
        self._unacked_size = 0
        #: When the first unacknowledged entry came.
        self._unacked_since = 0.0
        #: When refused events may be sent again; None if none were refused.
        self._retry_at: float | None = None
        #: When it last received something, sent something, and had an event accepted.
        self._heard = self._spoke = self._progress = 0.0
        #: The code of the last close, 1006 for a lost connection; None while it is open.
        self.close_code: int | None = None
        #: Whether the server closed the last connection.
        self.closed_by_server = False
        self._transport: Transport | None = None
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        #: Set, and cleared at once, whenever something came from the server.
        self._news = asyncio.Event()

    @property
    def received(self) -> int:
        """The ``seq`` up to which the client has every entry."""
        return self._delivery.received

    @property
    def next_n(self) -> int:
        """The number that its next event will have."""
        return self._delivery.next_n

    # Sending

    def begin(self) -> None:
        """Start on a new, open connection."""
        self.connections += 1
        self.welcomed = False
        self._outgoing.clear()
        self._retry_at = None
        self._heard = self._spoke = time.monotonic()

    def say_hello(self, **changes: Any) -> None:
        """
        Send hello: ask for the client's session, from the last received entry on.

        ``changes`` are other values for keys of the frame; None leaves a key out. With a lower
        ``received`` the client forgets its entries, as a reloaded page does.
        """
        known = msgspec.to_builtins(self._hello) | {"received": self.received}
        hello = {key: value for key, value in (known | changes).items() if value is not None}
        received = hello.get("received", 0)
        if received < self.received:
            self._forget(received)
        self._acked = self.received
        self._put_frame(hello)

    def _put_frame(self, frame: frames.ClientFrame | dict[str, Any]) -> None:
        """Send a frame as it is; without a connection it is lost."""
        if not self.connected:
            return
        text = msgspec.json.encode(frame).decode()
        self._spoke = time.monotonic()
        self._note(True, frame if isinstance(frame, dict) else msgspec.json.decode(text))
        self._outgoing.append(text)

    def add(self, sent: Sent) -> None:
        """Number ``sent``, and send it until the server accepts it."""
        self._delivery.add(sent)
        if self._repeats:
            self._send_waiting()
        else:
            self._put_frame(sent.frame())

    def send_again(self) -> None:
        """Send all unaccepted events again, even beyond the server's window."""
        for _, sent in self._delivery.unaccepted:
            self._put_frame(sent.frame())

    def acknowledge(self, seq: int | None = None) -> None:
        """Acknowledge the entries up to ``seq``, by default all received ones."""
        self._acked = self.received if seq is None else seq
        self._unacked_size = 0
        self._put_frame(frames.Ack(self._acked))

    def take_outgoing(self) -> str | None:
        """Return the next text to be sent; None if there is none."""
        return self._outgoing.popleft() if self._outgoing else None

    def _send_waiting(self) -> None:
        """Send as many waiting events as the server's window allows."""
        if self._repeats and self.welcomed and self._retry_at is None:
            for _, sent in self._delivery.to_send():
                self._progress = time.monotonic()
                self._put_frame(sent.frame())

    # Time

    @property
    def is_dead(self) -> bool:
        """Whether the server has been silent for too long."""
        welcome = self._welcome
        if welcome is None or not self.welcomed:
            return False
        return time.monotonic() - self._heard > DEAD_AFTER * welcome.heartbeat

    @property
    def due_in(self) -> float:
        """The seconds until :meth:`tick` is due, unless something comes before."""
        if self._retry_at is None:
            return TICK
        return min(TICK, max(0.0, self._retry_at - time.monotonic()))

    def tick(self) -> None:
        """Repeat events, acknowledge and ping, as far as each is due."""
        welcome, now = self._welcome, time.monotonic()
        if welcome is None or not self.welcomed:
            return
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
        elif self._repeats and now - self._progress > RESEND_AFTER:
            waiting = self._delivery.unaccepted
            if waiting and self._retry_at is None:
                self._delivery.send_again(waiting[0][0])
        self._send_waiting()
        if self.acks and self.received > self._acked and now - self._unacked_since > ACK_AFTER:
            self.acknowledge()
        if self._repeats and now - min(self._spoke, self._heard) > welcome.heartbeat:
            self._put_frame(frames.Ping())

    # Receiving

    def receive(self, text: str | bytes) -> None:
        """Take a text of the server: a frame, or several in a bundle."""
        self._heard = time.monotonic()
        if isinstance(text, bytes):
            self.problems.append("a binary frame")
            return
        try:
            told, known = msgspec.json.decode(text), frames.decode_message(text)
        except msgspec.MsgspecError as error:
            self.problems.append(f"{error}, at {text[:200]}")
            return
        if isinstance(told, list) and (not self._hello.bundles or len(told) < 2):
            self.problems.append(f"a bundle of {len(told)}")
        for raw, frame in zip(told if isinstance(told, list) else [told], known, strict=True):
            self._note(False, raw)
            try:
                self._apply(frame)
            except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
                self.problems.append(f"{error!r} at {raw}")
        self._unacked_size += len(text)
        unacked = self.received - self._acked
        if self.acks and (unacked >= ACK_EVERY or (unacked > 0 and self._unacked_size >= ACK_SIZE)):
            self.acknowledge()

    def _note(self, sent: bool, frame: dict[str, Any]) -> None:
        self.record.append(Recorded(time.monotonic(), self.connections, sent, frame))

    def _apply(self, frame: frames.ServerFrame) -> None:
        received = self.received
        if isinstance(frame, frames.Welcome):
            self._take_welcome(frame)
            return
        if not self.welcomed and not isinstance(frame, frames.Error):
            self.problems.append(f"before the welcome: {frame}")
        super()._apply(frame)
        if isinstance(frame, frames.Error) and frame.n is not msgspec.UNSET:
            self._handle_refusal(frame, frame.n)
        if isinstance(frame, frames.Accepted):
            self._progress = time.monotonic()
        if received == self._acked < self.received:
            self._unacked_since = time.monotonic()
        self._send_waiting()

    def _take_welcome(self, welcome: frames.Welcome) -> None:
        if self.welcomed:
            self.problems.append("two welcomes")
        known = self._welcome
        if known is not None and not welcome.resumed and known.owner != welcome.owner:
            # The events that wait are of another user.
            self._delivery.refuse_all()
            self._hello = msgspec.structs.replace(self._hello, env=None, thread=None, profile=None)
        super()._apply(welcome)
        self._hello.session, self._hello.token = welcome.session, welcome.token
        if welcome.owner is not msgspec.UNSET:
            self._hello.owner = welcome.owner
        self.welcomed = True
        self._acked = self.received
        self._retry_at = None
        self._send_waiting()

    def _handle_refusal(self, error: frames.Error, n: int) -> None:
        """Act on an error that the server has sent about event ``n``."""
        if error.code in GIVEN_UP:
            self._delivery.refuse(n)
        elif error.code == "n_gap":
            self._delivery.missing(n)
        elif error.code in RETRIED:
            retry_after = 1.0 if error.retry_after is msgspec.UNSET else error.retry_after
            wait = self._delivery.refused(n, retry_after)
            if wait is not None:
                self._retry_at = time.monotonic() + wait

    # The connection

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._transport is not None

    def _start(self, transport: Transport) -> None:
        """Start to open a connection and to resume the session on it, without waiting."""
        self._transport = transport
        self.close_code = None
        self.closed_by_server = self.welcomed = False
        self._reader = asyncio.create_task(self._live(transport), name="chatsessions-test-client")

    async def _live(self, transport: Transport, *, is_open: bool = False) -> None:
        """Use ``transport`` until it ends; unless it is open, open it and say hello first."""
        code = LOST
        try:
            if not is_open:
                await transport.open()
                self.begin()
                self.say_hello()
            await self._talk(transport)
        except TransportClosed as closed:
            self.closed_by_server = True
            code = closed.code
        finally:
            if self._transport is transport:
                self._transport = None
                self.close_code = code
            self._notify()

    async def _talk(self, transport: Transport) -> None:
        """Receive and send by ``transport``, until it ends."""
        while True:
            await self.flush()
            try:
                async with asyncio.timeout(self.due_in):
                    text = await transport.receive()
            except TimeoutError:
                pass
            else:
                self.receive(text)
                self._notify()
            self.tick()

    async def _unplug(self) -> None:
        """Stop reading and writing, without telling the server."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
            if self._transport is not None:  # it was cancelled before its first step
                self._transport, self.close_code = None, LOST
            if not reader.cancelled():
                reader.result()

    async def _send_numbered(self, sent: Sent) -> int:
        """Send ``sent`` as :meth:`add` does, and return its number."""
        self.add(sent)
        await self.flush()
        return sent.n

    async def flush(self) -> None:
        """Send all outgoing texts."""
        async with self._sending:
            while self._transport is not None and (text := self.take_outgoing()) is not None:
                await self._transport.send(text)

    def _notify(self) -> None:
        self._news.set()
        self._news.clear()
