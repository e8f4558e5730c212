"""
One websocket of a crowd: the socket, the handshake and the frames, as cheap as Python allows.

A client has to need a fraction of the CPU of the server, or it limits the figures. So it uses
sockets and a selector instead of an event loop, and makes frames by hand. The key of their mask is
all zeros: it is valid, and the client need not change the payload. Servers unmask it all the same.
"""

from __future__ import annotations

import selectors
import socket
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable

HOST = "127.0.0.1"
#: Seconds after which the benchmark gives up waiting.
PATIENCE = 120.0

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
#: The bit that marks a compressed message, and the four bytes that its sender leaves out.
COMPRESSED = 0x40
DEFLATE_END = b"\0\0\xff\xff"

now = time.perf_counter


class BenchmarkError(Exception):
    """A measurement is impossible, or would be worthless."""


def make_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a frame of a client."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size, 0, 0, 0, 0)) + payload
    return bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big") + b"\0\0\0\0" + payload


def parse_frames(data: bytes, take: Callable[[int, bytes], None]) -> bytes:
    """
    Call ``take`` for each whole frame in ``data``, and return the rest of ``data``.

    ``take`` gets the first byte without the final bit, and the payload.
    """
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
        take(first & 0x7F, data[start:stop])
        position = stop
    return data[position:]


class Network:
    """The sockets of all crowds. Crowds that are not measured go on answering pings."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, client: Socket) -> None:
        self._selector.register(client.socket, selectors.EVENT_WRITE, client)

    def remove(self, client: Socket) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()

    def close(self) -> None:
        self._selector.close()

    def step(self, timeout: float) -> None:
        """Handle what has arrived; wait for it for at most ``timeout`` seconds."""
        for key, events in self._selector.select(timeout):
            client: Socket = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    client.connected()
                    self._selector.modify(client.socket, selectors.EVENT_READ, client)
                else:
                    client.readable()
            except OSError as error:
                raise BenchmarkError(f"a connection is gone: {error}") from error

    def until(self, met: Callable[[], bool]) -> None:
        """Handle events until ``met()``. Raises ``BenchmarkError`` after ``PATIENCE`` seconds."""
        deadline = now() + PATIENCE
        while not met():
            self.step(1.0)
            if now() > deadline:
                raise BenchmarkError(f"nothing came of it in {PATIENCE:g} seconds")


class Socket(ABC):
    """A websocket. Subclasses interpret the messages."""

    subprotocol: str | None = None

    def __init__(self, port: int, path: str, *, compressed: bool = False) -> None:
        self._port = port
        self._path = path
        self._compressed = compressed
        self.dial()

    def dial(self) -> None:
        """Open a new connection, without waiting for it."""
        self._buffer = b""
        self._open = False
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if self._compressed else None
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex((HOST, self._port))

    def connected(self) -> None:
        """Send the handshake of the websocket, when the TCP connection is open."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise BenchmarkError(f"connecting failed with error {error}")
        address = f"{HOST}:{self._port}"
        lines = [
            f"GET {self._path} HTTP/1.1",
            f"Host: {address}",
            f"Origin: http://{address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
        ]
        if self.subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        if self._compressed:
            # Offer what browsers offer.
            lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
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
            self._shaken(head)
        self._buffer = parse_frames(data, self._take)

    def _shaken(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101"):
            raise BenchmarkError(f"the handshake failed: {head.splitlines()[0]!r}")
        if self._compressed and b"permessage-deflate" not in head:
            raise BenchmarkError("the server does not compress")
        self._open = True
        self.opened()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == TEXT:
            self.heard(payload)
        elif kind == TEXT | COMPRESSED and self._inflate is not None:
            self.heard(self._inflate.decompress(payload + DEFLATE_END))
        elif kind == PING:
            self.socket.send(make_frame(payload, PONG))
        elif kind == CLOSE:
            raise BenchmarkError(f"the server closed a connection: {payload!r}")

    def say(self, payload: bytes) -> None:
        self.socket.send(make_frame(payload))

    @abstractmethod
    def opened(self) -> None:
        """Called when the handshake is done."""

    @abstractmethod
    def heard(self, payload: bytes) -> None:
        """Called for each message of the server."""
