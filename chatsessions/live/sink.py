"""``SessionSink``: what a session's emitters fill, on its way to the log and to the client."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from uuid import UUID

from chatsessions import frames
from chatsessions.conf import settings
from chatsessions.emitter import Streaming, Turn, encode_data
from chatsessions.exceptions import StorageError
from chatsessions.journal import Journal

from .asks import Asks
from .draft import Draft
from .log import SessionLog
from .offers import Offers
from .ports import Host
from .streams import Streams


class SinkHost(Protocol):
    """What a sink needs of its session."""

    host: Host
    loop: asyncio.AbstractEventLoop
    draft: Draft
    log: SessionLog
    asks: Asks
    offers: Offers

    @property
    def id(self) -> UUID: ...

    @property
    def journal(self) -> Journal: ...

    def check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not change the session any more."""

    def check_values(self, turn: Turn | None) -> None:
        """Raise what keeps a change inside a value from being stored."""

    def emit(self, name: str, data: bytes, *, turn: int | None = None) -> int:
        """One more entry of the server's in the log."""

    def tell(self, frame: frames.ServerFrame) -> None: ...

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The settings' inputs from now on, and their values."""

    def note(self) -> None: ...


class SessionSink:
    """Takes what the emitters of all turns and visitors make, and holds them back."""

    def __init__(self, host: SinkHost) -> None:
        self.loop = host.loop
        self._host = host
        self.streams = Streams(host)
        #: What a commit could not store; it surfaces at the next emit or flush.
        self.error: StorageError | None = None

    # Sink

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        self._check(turn)
        return self._host.emit(name, data, turn=None if turn is None else turn.n)

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self.streams.open(stream, turn)

    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        self._host.check(turn)
        if replaces:
            stream.replace_content(text)
            self.streams.replace(stream.id, text)
        else:
            stream.add_content(text)
            self.streams.add(stream.id, text)

    def close_stream(self, stream_id: str) -> None:
        self.streams.close(stream_id)

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        self._host.offers.offer(message, actions)

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        self._host.check(turn)
        message = self._host.offers.withdraw(action)
        if message is None:
            return
        await self.flush()
        event = await self._host.host.find_message(self._host.id, message)
        if event is not None:
            event["actions"] = self._host.offers.of(message)
            self.append("message_update", encode_data("message_update", event), turn)

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        self._check(turn)
        self._host.declare_settings(inputs, values, turn=None if turn is None else turn.n)

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        self._check(turn)
        return await self._host.asks.call(kind, data, timeout=timeout, turn=turn)

    @property
    def is_crowded(self) -> bool:
        return self._is_ahead or self._host.journal.is_full

    @property
    def _is_ahead(self) -> bool:
        """Whether more of this session waits to be stored than may."""
        log = self._host.log
        return log.head - log.stored > settings.MAX_UNCOMMITTED or self.streams.is_crowded

    async def room(self) -> None:
        while self._is_ahead:
            await self.flush()
        if self._host.journal.is_full:
            await self._host.journal.room()

    async def flush(self, turn: Turn | None = None) -> None:
        self._host.check(None)
        self.raise_error()
        self._host.check_values(turn)
        if self._host.journal.failure is not None:
            raise self._host.journal.failure
        waiter = self._host.draft.waiter()
        self._host.note()
        await waiter
        self.raise_error()

    def _check(self, turn: Turn | None) -> None:
        """Raise if ``turn`` may not tell the client anything now."""
        self._host.check(turn)
        self.raise_error()
        self._host.check_values(turn)

    # For the session

    def raise_error(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
