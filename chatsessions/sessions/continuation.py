"""``ThreadContinuation``: what a new session on an old thread takes over from the last one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.exceptions import NotLoadable
from chatsessions.handlers.chat_context import in_use
from chatsessions.handlers.thread import Thread
from chatsessions.handlers.user_session import RESERVED
from chatsessions.models import ChatSession
from chatsessions.storage import serializer
from chatsessions.storage.executors import Executors
from chatsessions.storage.store import Store
from chatsessions.storage.thread_rows import (
    Page,
    ThreadKey,
    read_context,
    read_page,
)
from chatsessions.storage.transcript import Said
from chatsessions.storage.values import split_state

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

logger = logging.getLogger("chatsessions.threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadContinuation:
    """An old thread, and what its last session had."""

    thread: Thread
    #: Of ``user_session``, as it is encoded.
    values: dict[str, bytes]
    #: Whether there were more, which cannot be had any more.
    values_lost: bool
    chat_settings: dict[str, Any]
    #: What they are checked against.
    inputs: list[dict[str, Any]]
    profile: str
    #: What chat_context begins with, if it is kept.
    said: list[Said] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    row: ChatSession
    sessions: list[UUID]
    started: ChatSession
    title: str
    state: bytes
    state_lost: bool
    page: Page
    said: list[Said] | None


async def find_thread(
    threads: Executors,
    store: Store,
    *,
    chat: str,
    user: AbstractBaseUser | AnonymousUser,
    thread_id: str | None,
) -> ThreadContinuation | None:
    """
    The thread that ``user`` asks for, if it is theirs and this chat's.

    None for an anonymous user, a malformed id, another's thread and one that there is not: they
    look alike. Raises what the database raises, and ``CacheFailed``.
    """
    if thread_id is None or not user.is_authenticated:
        return None
    try:
        key = ThreadKey(id=UUID(thread_id), user_id=user.pk, chat=chat)
    except ValueError:
        return None
    found = await threads.read(_find, store, key)
    return None if found is None else _resumption(threads, key, found, user)


def _find(store: Store, key: ThreadKey) -> _Found | None:
    rows = key.sessions().defer("state")
    # The values of the one that was used last, whichever began last.
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


def _resumption(threads: Executors, key: ThreadKey, found: _Found, user: Any) -> ThreadContinuation:
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
        created_at=found.started.created_at,
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
    """The values that can be loaded, encoded and as they are, and whether that is all of them."""
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
            values[key] = serializer.loads(raw)
        except Exception as error:  # an application's from_storable may raise anything
            logger.warning("The value %r of session %s is left behind: %s", key, session_id, error)
        else:
            kept[key] = raw
    return kept, values, len(kept) == len(encoded)
