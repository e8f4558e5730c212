"""``Line``: one connection of a client, to an application that runs in the same event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chatsessions.protocol import frames

try:
    from channels.testing import WebsocketCommunicator
except ImportError as error:
    raise ImportError(
        "chatsessions.testing is built upon channels.testing, which needs daphne. Install both "
        'with: pip install "chatsessions[testing]"'
    ) from error

#: What ends the output of an application that has returned or raised.
_RETURNED = "chatsessions.returned"

#: What a browser is told of a connection that ended without a close.
LOST = 1006


class Line:
    """
    Says hello as soon as the server accepts, and hands every frame that comes to ``take``.

    ``take`` is called with None when there is no more; ``code`` then says why.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        *,
        headers: list[tuple[bytes, bytes]],
        scope: dict[str, Any],
        hello: frames.Hello,
        take: Callable[[frames.ServerFrame | None], None],
    ) -> None:
        self._websocket = WebsocketCommunicator(
            application, path, headers=headers, subprotocols=[frames.SUBPROTOCOL]
        )
        self._websocket.scope.update(scope)
        self._hello = hello
        self._take = take
        self._reader: asyncio.Task[None] | None = None
        #: Whether the server accepted the handshake.
        self.accepted = False
        #: Whether it has welcomed the client, which who takes the frames says.
        self.welcomed = False
        #: The code of the close; None while the line is open.
        self.code: int | None = None
        #: Whether it was the server that ended it.
        self.closed_by_server = False
        #: What the application raised, or what was wrong with a frame of its.
        self.crash: BaseException | None = None

    @property
    def is_open(self) -> bool:
        return self._reader is not None and self.code is None

    def open(self) -> None:
        """Start the handshake."""
        self._websocket.input_queue.put_nowait({"type": "websocket.connect"})
        self._websocket.future.add_done_callback(self._returned)
        self._reader = asyncio.create_task(self._read(), name="chatsessions-test-client")

    def send(self, frame: frames.ClientFrame) -> None:
        """Send a frame. On a line that is down it is lost."""
        if self.is_open:
            text = frames.encode(frame)
            self._websocket.input_queue.put_nowait({"type": "websocket.receive", "text": text})

    async def unplug(self) -> None:
        """Neither hear nor say anything any more; the server is not told."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        if self.code is None:
            self.code = LOST

    async def hang_up(self, code: int, seconds: float) -> None:
        """
        Tell the server that the line is gone with ``code``, and wait until it is through with it.

        Raises what the application raises, and ``TimeoutError`` if it goes on after ``seconds``.
        """
        await self.unplug()
        self._websocket.input_queue.put_nowait({"type": "websocket.disconnect", "code": code})
        await self._websocket.wait(timeout=seconds)
        if self._websocket.future.cancelled():
            raise TimeoutError(f"it went on for {seconds:g} s after the client had left")

    async def _read(self) -> None:
        try:
            while self.code is None:
                self._read_one(await self._websocket.output_queue.get())
        except Exception as error:  # noqa: BLE001, RUF100  # a test that waits is to see it
            self.crash = error
            self._lost(LOST)

    def _read_one(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            self._take(frames.decode_server(message["text"]))
        elif kind == "websocket.accept":
            self.accepted = True
            self.send(self._hello)
        elif kind == "websocket.close":
            self._lost(message.get("code") or 1000)
        elif kind == _RETURNED:
            self._lost(LOST)

    def _returned(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            self.crash = self.crash or future.exception()
        self._websocket.output_queue.put_nowait({"type": _RETURNED})

    def _lost(self, code: int) -> None:
        self.code = code
        self.closed_by_server = True
        self._take(None)
