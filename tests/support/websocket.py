"""A real websocket, for the client of ``chatsessions.testing``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from chatsessions.protocol.frames import SUBPROTOCOL
from chatsessions.testing.transport import LOST, Transport, TransportClosed

#: Options that turn off the library's own limits, pings, compression and proxy.
OPTIONS: dict[str, Any] = {
    "compression": None,
    "max_size": None,
    "max_queue": None,
    "ping_interval": None,
    "close_timeout": 2,
    "open_timeout": 90,
    "proxy": None,
}


class WebsocketTransport(Transport):
    """A connection to a server, or to a proxy before it. ``options`` are the library's."""

    def __init__(
        self, url: str, *, subprotocols: Iterable[str] | None = (SUBPROTOCOL,), **options: Any
    ) -> None:
        self._url = url
        self._subprotocols: Any = None if subprotocols is None else list(subprotocols)
        self._options = OPTIONS | options
        self._ws: ClientConnection | None = None

    @property
    def ws(self) -> ClientConnection:
        assert self._ws is not None, "not open"
        return self._ws

    async def open(self) -> None:
        self._ws = await websockets.connect(
            self._url, subprotocols=self._subprotocols, **self._options
        )

    async def send(self, text: str | bytes) -> None:
        with suppress(websockets.ConnectionClosed):
            await self.ws.send(text)

    async def receive(self) -> str | bytes:
        try:
            return await self.ws.recv()
        except (websockets.ConnectionClosed, OSError):
            raise TransportClosed(self.ws.close_code or LOST) from None

    async def close(self, code: int = 1000) -> None:
        with suppress(websockets.WebSocketException, OSError):
            await self.ws.close(code)
        self.abort()

    def abort(self) -> None:
        """Break the TCP connection without a close frame, if there is one."""
        if self._ws is not None:
            self._ws.transport.abort()
