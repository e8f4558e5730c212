"""
Clients of bare consumers, and of ``chatsessions.v1``.

They use the frames of the package, but not the client of ``chatsessions.testing``: that one records
every frame, and would limit the figures. These clients number, acknowledge and resume, but handle
no failure and no loss: they raise ``BenchmarkError`` at anything unexpected.
"""

from __future__ import annotations

import msgspec

from chatsessions.protocol import frames

from .crowd import Client, Crowd
from .wire import BenchmarkError

#: The protocol asks for an ack at least every 32 entries.
ACK_EVERY = 32


class _Said(msgspec.Struct):
    """A message of a bare consumer."""

    type: str
    content: str = ""
    index: int = 0


class BareClient(Client):
    """A client of the consumers in ``rivals.py``, which greet and count."""

    def opened(self) -> None:
        """Do nothing: the consumer sends the first message."""

    def message(self) -> bytes:
        return b'{"type":"message","content":"message %d"}' % self.sent

    def heard(self, payload: bytes) -> None:
        self.take(_decode_said(payload))

    def take(self, said: _Said) -> None:
        if not self.sent:
            self.crowd.greeted()
            self.crowd.settled()
            return
        self.check(said.content)
        self.crowd.replied(self)
        self.crowd.ended(self)


class BareListener(BareClient):
    """A client of a bare consumer that streams; counts the tokens."""

    pieces = 0

    def take(self, said: _Said) -> None:
        if said.type == "token":
            self.pieces = _next(self.pieces, said.index)
            return
        self.crowd.load.tokens += self.pieces
        self.pieces = 0
        super().take(said)


class _Reply(msgspec.Struct):
    content: str
    streaming: bool = False


class ChatClient(Client):
    """A client of ``chatsessions.v1``, which acknowledges the log and notes the ends of turns."""

    subprotocol = frames.SUBPROTOCOL

    def __init__(self, crowd: Crowd) -> None:
        super().__init__(crowd)
        self._unacked = self._n = 0
        #: The ``seq`` of the last entry received, and the credentials of the session.
        self.received = 0
        self.session = self.token = ""
        #: The ``seq`` up to which a resumed client catches up; None when it has all entries.
        self._behind: int | None = None

    def opened(self) -> None:
        hello = frames.Hello(bundles=True)
        if self.session:
            hello.session, hello.token, hello.received = self.session, self.token, self.received
        self.say(frames.encode(hello).encode())

    def come_back(self, *, whole: bool) -> None:
        if whole:
            self.received = 0
        self._unacked = 0
        self.dial()

    def message(self) -> bytes:
        return self._event(b"message", b'{"content":"message %d"}' % self.sent)

    def command(self, name: str, data: str) -> None:
        self.say(self._event(name.encode(), data.encode()))

    def _event(self, name: bytes, data: bytes) -> bytes:
        self._n += 1
        return b'{"type":"event","n":%d,"name":"%b","data":%b}' % (self._n, name, data)

    def heard(self, payload: bytes) -> None:
        for frame in frames.decode_message(payload):
            self.take(frame)

    def take(self, frame: frames.ServerFrame) -> None:
        if isinstance(frame, frames.ServerEvent):
            self.entry(frame)
            self._receive(frame.seq)
        elif isinstance(frame, frames.Accepted):
            self._receive(frame.seq)
        elif isinstance(frame, frames.TurnStatus):
            self._turn(frame)
        elif isinstance(frame, frames.Token):
            self.piece(frame.index)
        elif isinstance(frame, frames.Welcome):
            self.welcomed(frame)
        else:
            raise BenchmarkError(f"the server sent {frame!r}")

    def welcomed(self, frame: frames.Welcome) -> None:
        if self.session:
            if not frame.resumed:
                raise BenchmarkError("the server did not resume a session")
            self._behind = frame.head
            self._catch_up()
        self.session, self.token = frame.session, frame.token

    def _catch_up(self) -> None:
        if self.received == self._behind:
            self._behind = None
            self.crowd.greeted()

    def entry(self, event: frames.ServerEvent) -> None:
        """Handle an event of the server: the greeting, or the reply to a message."""
        if self._behind is not None:
            return
        if event.turn == 0:
            self.crowd.greeted()
        elif event.name.startswith("message"):
            reply = _decode_reply(event.data)
            if not reply.streaming:
                self.reply(reply.content)

    def reply(self, content: str) -> None:
        self.check(content)
        self.crowd.replied(self)

    def piece(self, index: int) -> None:
        raise BenchmarkError(f"piece {index} of a stream that nobody asked for")

    def _turn(self, turn: frames.TurnStatus) -> None:
        if turn.status == "running":
            return
        if turn.status != "done":
            raise BenchmarkError(f"turn {turn.turn} ended as {turn.status}")
        if turn.turn == 0:
            self.crowd.settled()
        elif self.unended:
            self.crowd.ended(self)
        else:
            self.crowd.settled()

    def _receive(self, seq: int) -> None:
        self.received = seq
        self._unacked += 1
        if self._unacked >= ACK_EVERY:
            self._unacked = 0
            self.say(frames.encode(frames.Ack(seq)).encode())
        if self._behind is not None:
            self._catch_up()


class ChatListener(ChatClient):
    """A client of a chat that streams; counts the tokens."""

    pieces = 0

    def piece(self, index: int) -> None:
        self.pieces = _next(self.pieces, index)

    def reply(self, content: str) -> None:
        self.crowd.load.tokens += self.pieces
        self.pieces = 0
        super().reply(content)


def _next(pieces: int, index: int) -> int:
    if index != pieces:
        raise BenchmarkError(f"piece {index} of a stream came after {pieces} pieces")
    return pieces + 1


_decode_said = msgspec.json.Decoder(_Said).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode
