"""
``ConversationCache``: what ``chat_context`` has of one session, kept by its owner.

Nothing, until the name is used in this process; from then on the latest messages, read with the
session when it is taken from the store and kept up with every entry of its log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from chatsessions.conf import settings
from chatsessions.handlers.context import Conversation
from chatsessions.storage.changes import Entry
from chatsessions.storage.session import Session
from chatsessions.storage.thread_rows import (
    Mark,
    Part,
    ThreadKey,
    read_context,
)
from chatsessions.storage.transcript import (
    Recent,
    Said,
)

from .pending import PendingChange, SessionLog
from .ports import Host


class ConversationHost(Protocol):
    """What a recall needs of its session."""

    loop: asyncio.AbstractEventLoop
    session: Session
    owner_id: Any
    draft: PendingChange
    log: SessionLog

    @property
    def host(self) -> Host: ...

    @property
    def texts(self) -> dict[str, str]:
        """The text so far of each message that is being streamed, by id."""


class ConversationCache(Conversation):
    """The latest messages of a session's conversation."""

    __slots__ = (
        "_after_change",
        "_before_change",
        "_dirty",
        "_gathered",
        "_host",
        "_loading",
        "_mark",
        "_recent",
        "_thread",
    )

    def __init__(
        self,
        host: ConversationHost,
        mark: Mark,
        said: list[Said] | None,
        *,
        before_change: Callable[[], None],
        after_change: Callable[[], None],
    ) -> None:
        self._host = host
        self._mark = mark
        self._before_change = before_change
        self._after_change = after_change
        self._dirty = False
        #: Entries that came while the store was asked for those before them.
        self._gathered: list[Entry] | None = None
        #: Held by whoever asks the store: all others wait for what it says.
        self._loading = asyncio.Lock()
        self._recent: Recent | None = None
        self._thread = threading.get_ident()
        if said is not None:
            self._fill(said, [])

    # For the session

    def take(self, entry: Entry) -> None:
        """One more entry of the log."""
        if self._gathered is not None:
            self._gathered.append(entry)
        if self._recent is not None:
            self._keep(self._recent, entry)

    def collect(self, draft: PendingChange) -> None:
        """What was cleared and added goes with the next commit."""
        if self._dirty:
            self._dirty = False
            draft.set(chat_context=self._mark.as_json())

    # For chat_context

    def messages(self) -> list[Said]:
        """
        The latest messages, oldest first.

        In a session that has kept none so far they are read now, which holds up the event loop
        for as long as that takes; :meth:`aload` does not.
        """
        texts = self._host.texts  # of what is being streamed; the log has its beginning
        return [
            msgspec.structs.replace(said, content=texts[said.id])
            if said.n is None and said.id in texts
            else said
            for said in self._get()
        ]

    def has_sent(self, said: Said) -> bool:
        """Whether it is a message of this session's log."""
        return said.session == self._host.session.id

    async def aload(self) -> None:
        """See that the messages are here; :meth:`messages` then waits for nothing."""
        loop = self._host.loop
        if asyncio.get_running_loop() is loop:
            await self._load()
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._load(), loop))

    async def _load(self) -> None:
        """In the owner's event loop."""
        async with self._loading:
            if self._recent is not None:
                return
            read, self._gathered = self._reading(), self._unstored()
            try:
                said = await self._host.host.read(read)
                if self._recent is None:
                    self._fill(said, self._gathered)
            finally:
                self._gathered = None

    def add(self, said: Said) -> None:
        """One more message that is not in the log. One that is there already stays as it is."""
        self._before_change()
        recent = self._get()
        if said in recent:
            return
        recent.put(said)
        added = [*self._mark.added, (self._host.log.head, said)]
        self._mark.added = [(seq, one) for seq, one in added if one in recent]
        self._note()

    def clear(self) -> None:
        """Forget everything so far."""
        self._before_change()
        self._get().clear()
        self._mark = Mark(after=self._host.log.head)
        self._note()

    # Inside

    def _get(self) -> Recent:
        if self._recent is None:
            if threading.get_ident() == self._thread:
                self._load_now()
            else:
                asyncio.run_coroutine_threadsafe(self._load(), self._host.loop).result()
        if self._recent is None:
            raise RuntimeError("the messages of chat_context were not loaded")  # never
        return self._recent

    def _load_now(self) -> None:
        read, entries = self._reading(), self._unstored()
        self._fill(self._host.host.read_now(read), entries)

    def _reading(self) -> Callable[[], list[Said]]:
        """What asks the store for everything that is stored by now."""
        session, log = self._host.session, self._host.log
        return partial(
            read_context,
            ThreadKey(id=session.thread_id, user_id=self._host.owner_id, chat=session.chat),
            Part(session=session.id, mark=self._mark, up_to=log.stored),
            before=session.created_at,
        )

    def _unstored(self) -> list[Entry]:
        """The entries that the store does not have yet."""
        stored = self._host.log.stored
        return [one for one in self._host.draft.unstored if one.seq > stored]

    def _fill(self, said: list[Said], entries: list[Entry]) -> None:
        recent = Recent(
            self._host.session.id,
            max_messages=settings.CHAT_CONTEXT_MESSAGES,
            max_bytes=settings.CHAT_CONTEXT_BYTES,
        )
        for one in said:
            recent.put(one)
        for entry in entries:
            self._keep(recent, entry)
        self._recent = recent

    def _keep(self, recent: Recent, entry: Entry) -> None:
        sent = recent.take(entry)
        if sent is not None and any(one.id == sent for _, one in self._mark.added):
            # What was added has been sent: from now on it is the log's.
            self._mark.added = [item for item in self._mark.added if item[1].id != sent]
            self._dirty = True

    def _note(self) -> None:
        self._dirty = True
        self._after_change()
