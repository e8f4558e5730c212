"""
A crowd of websocket clients in one thread, as lean as Python allows.

Sockets and a selector, no event loop: handling one frame has to cost a fraction of what it costs
the server, or it is the client that is measured. Frames are made by hand. They are masked with a
key of zeros, which is a valid one and spares the client the masking; servers unmask all the same.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from chatsessions import frames

HOST = "127.0.0.1"
#: How long anything may take before the benchmark gives up, in seconds.
PATIENCE = 60.0
#: The protocol asks for an ack at least every 32 entries.
ACK_EVERY = 32

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10

now = time.perf_counter


class BenchmarkError(Exception):
    """The server did something that makes the measurement worthless."""


def make_frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A client's frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size, 0, 0, 0, 0)) + payload
    return bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big") + b"\0\0\0\0" + payload


def parse_frames(data: bytes, take: Callable[[int, bytes], None]) -> bytes:
    """Hand each whole frame of ``data`` to ``take``, and return the rest."""
    position, end = 0, len(data)
    while end - position >= 2:
        first, size = data[position], data[position + 1]
        start = position + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if start > end:
                break
            size = int.from_bytes(data[position + 2 : start], "big")
        if not first & 0x80:
            raise BenchmarkError("fragmented frames are not understood")
        stop = start + size
        if stop > end:
            break
        take(first & 0x0F, data[start:stop])
        position = stop
    return data[position:]


@dataclass(slots=True)
class Load:
    """What a crowd was served in one measurement."""

    messages: int = 0
    seconds: float = 0.0
    #: CPU seconds of the client.
    client_cpu: float = 0.0
    #: Seconds from sending a message to its reply, and to the end of its turn.
    replies: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    #: The most that a paced message was sent late.
    lateness: float = 0.0

    @property
    def client_busy(self) -> float:
        """How much of its core the client used: near 1 it is the client that is measured."""
        return self.client_cpu / self.seconds


class Client:
    """One websocket: the handshake and the frames. Subclasses know what the frames say."""

    path: str
    subprotocol: str | None = None

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._buffer = b""
        self._open = False
        self.sent = self.answered = 0
        #: When the messages were sent that wait for their reply, and for the end of their turn.
        self.unanswered: deque[float] = deque()
        self.unended: deque[float] = deque()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex((HOST, crowd.port))

    def connected(self) -> None:
        """TCP is through: ask for the websocket."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise BenchmarkError(f"connecting failed with error {error}")
        address = f"{HOST}:{self._crowd.port}"
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: {address}",
            f"Origin: http://{address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
        ]
        if self.subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        self.socket.send("\r\n".join([*lines, "", ""]).encode())

    def readable(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise BenchmarkError("the server closed a connection")
        if self._buffer:
            data = self._buffer + data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise BenchmarkError(f"the handshake failed: {head.splitlines()[0]!r}")
            self._open = True
            self.opened()
        self._buffer = parse_frames(data, self._take)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self.heard(payload)
        elif opcode == _PING:
            self.socket.send(make_frame(payload, _PONG))
        elif opcode == _CLOSE:
            raise BenchmarkError(f"the server closed a connection: {payload!r}")

    def say(self, payload: bytes) -> None:
        self.socket.send(make_frame(payload))

    def send_message(self) -> None:
        """One more message; the counter's answer is to count it."""
        self.sent += 1
        moment = now()
        self.unanswered.append(moment)
        self.unended.append(moment)
        self.say(self.message())

    def check(self, content: str) -> None:
        self.answered += 1
        if content != f"You have sent {self.answered} message(s)!":
            raise BenchmarkError(f"message {self.answered} was answered by {content!r}")

    def opened(self) -> None:
        """The handshake is done."""

    def message(self) -> bytes:
        raise NotImplementedError

    def heard(self, payload: bytes) -> None:
        raise NotImplementedError


class BareClient(Client):
    """Talks to ``BareCounter``."""

    path = "/ws/bare/"

    def message(self) -> bytes:
        return b'{"type":"message","content":"message %d"}' % self.sent

    def heard(self, payload: bytes) -> None:
        content = json.loads(payload)["content"]
        if not self.sent:
            self._crowd.greeted()
            self._crowd.settled()
            return
        self.check(content)
        self._crowd.replied(self)
        self._crowd.ended(self)


class _Reply(msgspec.Struct):
    content: str


class ChatClient(Client):
    """Speaks ``chatsessions.v1``: acknowledges the log, and knows when a turn is over."""

    path = "/ws/counter/"
    subprotocol = frames.SUBPROTOCOL

    def __init__(self, crowd: Crowd) -> None:
        super().__init__(crowd)
        self._unacked = 0

    def opened(self) -> None:
        self.say(b'{"type":"hello"}')

    def message(self) -> bytes:
        return b'{"type":"event","n":%d,"name":"message","data":{"content":"message %d"}}' % (
            self.sent,
            self.sent,
        )

    def heard(self, payload: bytes) -> None:
        frame = _decode(payload)
        kind = type(frame)
        if kind is frames.ServerEvent:
            self._event(frame)
            self._received(frame.seq)
        elif kind is frames.Accepted:
            self._received(frame.seq)
        elif kind is frames.TurnStatus:
            self._turn(frame)
        elif kind is not frames.Welcome:
            raise BenchmarkError(f"the server sent {payload!r}")

    def _event(self, event: frames.ServerEvent) -> None:
        if event.turn == 0:
            self._crowd.greeted()
        else:
            self.check(_decode_reply(event.data).content)
            self._crowd.replied(self)

    def _turn(self, turn: frames.TurnStatus) -> None:
        if turn.status == "running":
            return
        if turn.status != "done":
            raise BenchmarkError(f"turn {turn.turn} ended as {turn.status}")
        if turn.turn == 0:
            self._crowd.settled()
        else:
            self._crowd.ended(self)

    def _received(self, seq: int) -> None:
        self._unacked += 1
        if self._unacked >= ACK_EVERY:
            self._unacked = 0
            self.say(b'{"type":"ack","seq":%d}' % seq)


_decode = msgspec.json.Decoder(frames.ServerFrame).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode


class Crowd:
    """Many clients of one server, and what is being measured of them."""

    def __init__(self, client: type[Client], port: int) -> None:
        self.port = port
        self._client = client
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._greeted = self._settled = self._running = 0
        self._load = Load()
        self._sending_until = 0.0

    # What clients say

    def greeted(self) -> None:
        self._greeted += 1

    def settled(self) -> None:
        """The greeting is through: the chat's start is over."""
        self._settled += 1

    def replied(self, client: Client) -> None:
        moment = now()
        self._load.replies.append(moment - client.unanswered.popleft())
        if moment < self._sending_until:
            self._send(client)

    def ended(self, client: Client) -> None:
        self._running -= 1
        self._load.ends.append(now() - client.unended.popleft())

    def _send(self, client: Client) -> None:
        self._running += 1
        client.send_message()

    # Measurements

    def connect(self, count: int) -> Load:
        """``count`` clients at once; the time is that to the last one's greeting."""
        load = self._begin()
        target = self._greeted + count
        started = now()
        for _ in range(count):
            client = self._client(self)
            self._clients.append(client)
            self._selector.register(client.socket, selectors.EVENT_WRITE, client)
        self._until(lambda: self._greeted >= target)
        load.messages = count
        load.seconds = now() - started
        self._until(lambda: self._settled >= len(self._clients))
        return self._finish(load)

    def closed_loop(self, seconds: float) -> Load:
        """Everybody sends the next message as soon as the last one is answered."""
        load = self._begin()
        started = now()
        self._sending_until = started + seconds
        for client in self._clients:
            self._send(client)
        self._until(lambda: now() >= self._sending_until and not self._running)
        load.messages = len(load.replies)
        load.seconds = now() - started
        return self._finish(load)

    def paced(self, rate: float, seconds: float) -> Load:
        """``rate`` messages a second in all, evenly, whatever the answers do."""
        load = self._begin()
        self._sending_until = 0.0
        started = now()
        for number in range(int(rate * seconds)):
            due = started + number / rate
            while (left := due - now()) > 0:
                self._step(left)
            load.lateness = max(load.lateness, -left)
            self._send(self._clients[number % len(self._clients)])
        self._until(lambda: not self._running)
        load.messages = len(load.replies)
        load.seconds = now() - started
        return self._finish(load)

    def one_each(self) -> None:
        """One message from everybody, answered."""
        self._begin()
        for client in self._clients:
            self._send(client)
        self._until(lambda: not self._running)

    def close(self) -> None:
        for client in self._clients:
            client.socket.close()
        self._selector.close()

    def _begin(self) -> Load:
        self._sending_until = 0.0
        self._cpu = time.process_time()
        self._load = Load()
        return self._load

    def _finish(self, load: Load) -> Load:
        load.client_cpu = time.process_time() - self._cpu
        return load

    def _until(self, met: Callable[[], bool]) -> None:
        deadline = now() + PATIENCE
        while not met():
            self._step(1.0)
            if now() > deadline:
                raise BenchmarkError(f"nothing came of it in {PATIENCE:g} seconds")

    def _step(self, timeout: float) -> None:
        for key, events in self._selector.select(timeout):
            client: Client = key.data
            if events & selectors.EVENT_WRITE:
                client.connected()
                self._selector.modify(client.socket, selectors.EVENT_READ, client)
            else:
                client.readable()
