"""What a session starts from: its thread, the work of its last owner, its conversation."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from chatsessions.conf import for_database, settings, with_offset
from chatsessions.exceptions import NotLoadable
from chatsessions.handlers.bridge import in_loop, submit, wait_for
from chatsessions.handlers.chat import START, InterruptedTurn
from chatsessions.handlers.chat_context import Thread, in_use
from chatsessions.handlers.context import MessageHistory
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import RESERVED
from chatsessions.models import ChatSession
from chatsessions.protocol.delivery import Handled
from chatsessions.storage import serializer
from chatsessions.storage.conversation import (
    MESSAGE_NAMES,
    ConversationMessage,
    ConversationReducer,
    MessageChange,
)
from chatsessions.storage.database import Executors
from chatsessions.storage.log import Entry
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded, Store
from chatsessions.storage.thread_rows import (
    Mark,
    Page,
    ThreadKey,
    ThreadPart,
    read_context,
    read_page,
)

from .pending import SessionLog

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

logger = logging.getLogger("chatsessions.threads")

#: The most messages removed by chat_context.remove() that a session remembers.
MAX_REMOVED = 1000


def work_left(
    loaded: Loaded,
) -> tuple[list[InterruptedTurn], list[tuple[int, Entry | None]]]:
    """
    Return what the last owner has left undone, as a crash or a shutdown has interrupted it.

    That is the turn that ran and the one beside it, and the events that wait: their numbers and
    entries, with None for an entry that is missing.
    """
    row = loaded.row
    entries = {entry.n: entry for entry in loaded.pending}
    running = [n for n in (row.running, row.aside) if n is not None]
    handled = Handled(row.handled, row.handled_ahead)
    waiting = [
        (n, entries.get(n))
        for n in range(row.handled + 1, row.accepted + 1)
        if n not in running and n not in handled
    ]
    return [_cut(n, entries.get(n)) for n in running], waiting


def _cut(n: int, entry: Entry | None) -> InterruptedTurn:
    if entry is None:
        return InterruptedTurn(turn=n, name="event" if n else START, data=None)
    return InterruptedTurn(turn=n, name=entry.name, data=msgspec.json.decode(entry.data))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadContinuation:
    """An earlier thread, and the data of its last session."""

    thread: Thread
    #: The values of ``user_session``, encoded.
    values: dict[str, bytes]
    #: Whether there were more values, which are lost.
    values_lost: bool
    chat_settings: dict[str, Any]
    #: The inputs that the settings are checked against.
    inputs: list[dict[str, Any]]
    profile: str
    #: The first messages of chat_context; None if no application uses it.
    said: list[ConversationMessage] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    row: ChatSession
    sessions: list[UUID]
    started: ChatSession
    title: str
    state: bytes
    state_lost: bool
    page: Page
    said: list[ConversationMessage] | None


async def find_thread(
    threads: Executors,
    store: Store,
    *,
    chat: str,
    user: AbstractBaseUser | AnonymousUser,
    thread_id: str | None,
) -> ThreadContinuation | None:
    """
    Return the thread that ``user`` asks for, if it is theirs and this chat's.

    Returns None for an anonymous user, a malformed id, another user's thread and one that does not
    exist, so that a client cannot tell which. Raises database errors, and ``CacheFailed``.
    """
    if thread_id is None or not user.is_authenticated:
        return None
    try:
        key = ThreadKey(id=UUID(thread_id), user_id=user.pk, chat=chat)
    except ValueError:
        return None
    found = await threads.read(_find, store, key)
    return None if found is None else _continuation(threads, key, found, user)


def _find(store: Store, key: ThreadKey) -> _Found | None:
    rows = key.sessions().defer("state")
    # The values are those of the session that was used last, not of the newest one.
    latest = rows.order_by("-last_seen_at", "-created_at", "-pk")
    row = latest.first()
    started = rows.first()
    if row is None or started is None:
        return None
    state, lost = store.read_state(row)
    return _Found(
        row=row,
        sessions=list(rows.values_list("pk", flat=True)),
        started=started,
        title=rows.exclude(topic="").values_list("topic", flat=True).first() or "",
        state=state,
        state_lost=lost,
        page=read_page(
            key, limit=settings.CHAT_CONTEXT_MESSAGES, max_bytes=settings.CHAT_CONTEXT_BYTES
        ),
        said=read_context(key, None) if in_use() else None,
    )


def _continuation(
    threads: Executors, key: ThreadKey, found: _Found, user: Any
) -> ThreadContinuation:
    row = found.row
    kept, values, whole = _loadable(found.state, row.pk)
    if found.state_lost:
        logger.warning("Thread %s: the cache has thrown the user_session away", key.id)

    async def read(limit: int, before: tuple[UUID, int] | None) -> Page:
        max_bytes = settings.CHAT_CONTEXT_BYTES
        page = partial(read_page, key, limit=limit, max_bytes=max_bytes, before=before)
        return await threads.read(page)

    thread = Thread(
        id=key.id,
        chat=key.chat,
        title=found.title,
        sessions=found.sessions,
        created_at=with_offset(found.started.created_at),
        user=user,
        metadata=values
        | {"chat_settings": dict(row.chat_settings), "chat_profile": row.profile or None},
        read=read,
        said=found.page.messages,
    )
    return ThreadContinuation(
        thread=thread,
        values=kept,
        values_lost=found.state_lost or not whole,
        chat_settings=dict(row.chat_settings),
        inputs=row.inputs,
        profile=row.profile,
        said=found.said,
    )


def _loadable(state: bytes, session_id: UUID) -> tuple[dict[str, bytes], dict[str, Any], bool]:
    """Return the loadable values, encoded and decoded, and whether those are all values."""
    kept: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    try:
        encoded = split_state(state)
    except NotLoadable as error:
        logger.warning("The values of session %s are left behind: %s", session_id, error)
        return kept, values, False
    for key, raw in encoded.items():
        try:
            if key in RESERVED:
                raise NotLoadable(f"{key!r} is reserved now")
            if not serializer.is_in_memory(raw):  # a placeholder is kept, for user_session.lost
                values[key] = serializer.loads(raw)
        except Exception as error:  # an application's from_storable can raise anything
            logger.warning("The value %r of session %s is left behind: %s", key, session_id, error)
        else:
            kept[key] = raw
    return kept, values, len(kept) == len(encoded)


class ConversationCache(MessageHistory):
    """The latest messages of a session's conversation."""

    def __init__(
        self,
        session: Session,
        log: SessionLog,
        threads: Executors,
        *,
        loop: asyncio.AbstractEventLoop,
        mark: Mark,
        said: list[ConversationMessage] | None,
        texts: Callable[[], dict[str, str]],
        before_change: Callable[[], None],
        after_change: Callable[[], None],
    ) -> None:
        self._session = session
        self._log = log
        self._threads = threads
        self._loop = loop
        #: The text so far of each message that is being streamed, by id.
        self._texts = texts
        self._mark = mark
        self._before_change = before_change
        self._after_change = after_change
        #: Whether messages were added or removed, and this change is not stored yet.
        self.is_changed = False
        #: The unstored entries, and those that are added while the stored ones are read.
        self._gathered: list[Entry] | None = None
        #: Held while the store is read, so that it is read once.
        self._loading = asyncio.Lock()
        self._reducer: ConversationReducer | None = None
        self._thread = threading.get_ident()
        if said is not None:
            self._fill(said, [])

    # For the session

    def _take(self, entry: Entry) -> None:
        """Add a new entry of the log."""
        if self._gathered is not None:
            self._gathered.append(entry)
        if self._reducer is not None:
            self._keep(self._reducer, entry)

    def collect(self) -> None:
        """Store the added and removed messages with the next commit."""
        self.is_changed = False
        self._log.set(chat_context=self._mark.as_json())

    # For chat_context

    def messages(self) -> list[ConversationMessage]:
        """
        Return the latest messages, oldest first.

        If they are not in memory yet, they are read now, which blocks the event loop meanwhile;
        :meth:`aload` does not.
        """
        texts = self._texts()  # of open streams; the log has only their beginnings
        return [
            msgspec.structs.replace(said, content=texts[said.id])
            if said.n is None and said.id in texts
            else said
            for said in self._get().messages
        ]

    def has_sent(self, said: ConversationMessage) -> bool:
        """Return True if a message belongs to this session."""
        return said.session == self._session.id

    async def aload(self) -> None:
        """Read the messages if they are not in memory, so that :meth:`messages` does not block."""
        await in_loop(self._load(), self._loop)

    async def _load(self) -> None:
        """Read the messages if they are not in memory; runs in the owner's event loop."""
        async with self._loading:
            if self._reducer is not None:
                return
            read, self._gathered = self._reading(), self._unstored()
            self._log.heard = self._take
            try:
                said = await self._threads.read(read)
                if self._reducer is None:
                    self._fill(said, self._gathered)
            finally:
                self._gathered = None

    def add(self, said: ConversationMessage) -> None:
        """Add a message that is not in the log. Does nothing if it is in the conversation."""
        self._before_change()
        reducer = self._get()
        if said in reducer:
            return
        reducer.put(said)
        added = [*self._mark.added, (self._log.head, said)]
        self._mark.added = [(seq, one) for seq, one in added if one in reducer]
        self._note()

    def remove(self, key: str | tuple[UUID, int]) -> bool:
        """Remove a message, but not its entry in the log; return False if it was not there."""
        self._before_change()
        if self._get().remove(key) is None:
            return False
        added = [item for item in self._mark.added if item[1].key != key]
        if len(added) == len(self._mark.added):
            self._mark.removed = [*self._mark.removed, key][-MAX_REMOVED:]
        self._mark.added = added
        self._note()
        return True

    def clear(self) -> None:
        """Remove all messages so far."""
        self._before_change()
        self._get().clear()
        self._mark = Mark(after=self._log.head)
        self._note()

    # Inside

    def _get(self) -> ConversationReducer:
        if self._reducer is None:
            if threading.get_ident() == self._thread:
                read, entries = self._reading(), self._unstored()
                self._fill(self._threads.read_now(read), entries)
            else:
                wait_for(submit(self._load(), self._loop), self._loop)
        if self._reducer is None:
            raise RuntimeError("the messages of chat_context were not loaded")  # never
        return self._reducer

    def _reading(self) -> Callable[[], list[ConversationMessage]]:
        """Return a function that reads all messages that are stored by now."""
        session, log = self._session, self._log
        return partial(
            read_context,
            ThreadKey(id=session.thread_id, user_id=self._session.user_id, chat=session.chat),
            ThreadPart(session=session.id, mark=self._mark, up_to=log.stored),
            before=for_database(session.created_at),
        )

    def _unstored(self) -> list[Entry]:
        """Return the entries that the store does not have yet."""
        stored = self._log.stored
        return [one for one in self._log.unstored if one.seq > stored]

    def _fill(self, said: list[ConversationMessage], entries: list[Entry]) -> None:
        reducer = ConversationReducer(
            self._session.id,
            max_messages=settings.CHAT_CONTEXT_MESSAGES,
            max_bytes=settings.CHAT_CONTEXT_BYTES,
        )
        for one in said:
            reducer.put(one)
        for entry in entries:
            self._keep(reducer, entry)
        self._reducer = reducer
        self._log.heard = self._take

    def _keep(self, reducer: ConversationReducer, entry: Entry) -> None:
        change = reducer.take(entry) if entry.name in MESSAGE_NAMES else None
        match change:
            case MessageChange(what="added", new=ConversationMessage(n=None, id=sent)):
                # A message that add() or remove() has changed was sent: now the log has it.
                mark = self._mark
                added = [one for one in mark.added if one[1].id != sent]
                removed = [key for key in mark.removed if key != sent]
                self.is_changed |= (added, removed) != (mark.added, mark.removed)
                mark.added, mark.removed = added, removed

    def _note(self) -> None:
        self.is_changed = True
        self._after_change()
