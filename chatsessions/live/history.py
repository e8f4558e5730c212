"""``History``: the stored entries of a session's log, from memory or from the store."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.ids import message_key
from chatsessions.store.changes import Entry
from chatsessions.store.store import find_message, outcome_of

from .log import SessionLog
from .ports import Host


class HistoryHost(Protocol):
    """What the history needs of its session."""

    host: Host
    log: SessionLog

    @property
    def id(self) -> UUID: ...


class History:
    """Reads what a session's log keeps. Where it is in memory, nobody else is asked."""

    __slots__ = ("_host",)

    def __init__(self, host: HistoryHost) -> None:
        self._host = host

    async def read(self, after: int, limit: int) -> list[Entry]:
        """Entries behind ``after``, oldest first."""
        remembered = self._host.log.remembered(after, limit)
        if remembered is not None:
            return remembered
        return await self._host.host.read_log(self._host.id, after, limit)

    async def find_seq(self, n: int) -> int | None:
        """The entry that event ``n`` became, from the store."""
        return await self._host.host.find_seq(self._host.id, n)

    async def find_message(self, message: str) -> dict[str, Any] | None:
        """A message as it was sent or updated last, if that is still kept."""
        remembered = self._host.log.remembered(0, settings.MAX_LOG_ENTRIES)
        if remembered is None:
            return await self._host.host.find_message(self._host.id, message)
        return find_message(remembered, message)

    async def find_posted(self, message: str) -> Entry | None:
        """The client's message with this id."""
        key = message_key(message)
        remembered = self._host.log.remembered(0, settings.MAX_LOG_ENTRIES)
        if remembered is None:
            return await self._host.host.find_posted(self._host.id, key)
        return next((entry for entry in remembered if entry.key == key), None)

    async def find_outcome(self, n: int) -> str:
        """How event ``n`` has ended, from the store. Nothing more comes of it."""
        return await self._host.host.read(partial(outcome_of, self._host.id, n))
