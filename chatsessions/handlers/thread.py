"""``Thread``: an earlier conversation, as ``on_chat_resume`` is given it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from chatsessions.storage.log import Said
from chatsessions.storage.thread_rows import Page

from .chat_context import to_message
from .messages import (
    ErrorMessage,
    Message,
)

#: The messages that one call of ``messages()`` gives at most.
MAX_MESSAGES = 1000

#: Reads the last so many messages, or those before an entry of a session.
ReadPage = Callable[[int, tuple[UUID, int] | None], Awaitable[Page]]


@dataclass(kw_only=True, eq=False)
class Thread(Mapping[str, Any]):
    """
    The thread that a new session goes on with.

    It also has the keys of Chainlit's thread: ``id``, ``name``, ``userId``, ``userIdentifier``,
    ``createdAt``, ``tags``, ``metadata`` (the values of ``user_session``, with ``chat_settings``
    and ``chat_profile``), ``steps`` (the transcript) and ``elements`` (always empty).
    """

    id: UUID
    #: The name of the ``Chat``.
    chat: str
    #: The beginning of what the user said first; "" if they have said nothing.
    title: str
    #: The ids of its sessions before this one, the oldest first.
    sessions: list[UUID]
    #: When the first of them began.
    created_at: datetime
    user: Any
    #: What of the last session's ``user_session`` is carried over, and its settings and profile.
    metadata: dict[str, Any]
    read: ReadPage = field(repr=False)
    said: list[Said] = field(repr=False)
    _given: dict[str, tuple[UUID, int]] = field(default_factory=dict, repr=False)

    @property
    def transcript(self) -> list[Message]:
        """
        The latest messages, oldest first; each a new object that is not sent in this session.

        At most ``CHAT_CONTEXT_MESSAGES``, and of them no more than ``CHAT_CONTEXT_BYTES``.
        """
        return [to_message(said) for said in self.said]

    async def messages(
        self, limit: int = 100, *, before: Message | str | None = None
    ) -> list[Message]:
        """
        The last ``limit`` messages, at most 1000, oldest first.

        They are fewer where there are no more, and where they would take more than
        ``CHAT_CONTEXT_BYTES``: an empty list says that there are none.

        ``before`` is a message of the thread (or its id) that was given out by this object: those
        that were said before it. Raises ``ValueError`` for any other, and for a limit below 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}, which is not at least 1.")
        page = await self.read(min(limit, MAX_MESSAGES), self._position(before))
        self._given.update(_positions(page.messages))
        return [to_message(said) for said in page.messages]

    def _position(self, message: Message | str | None) -> tuple[UUID, int] | None:
        if message is None:
            return None
        id_ = message.id if isinstance(message, Message) else message
        found = self._given.get(id_) or _positions(self.said).get(id_)
        if found is None:
            raise ValueError(f"before={id_!r} is no message that this thread has given out.")
        return found

    # Chainlit's dict

    def __getitem__(self, key: str) -> Any:
        return _KEYS[key](self)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)


def _positions(messages: list[Said]) -> dict[str, tuple[UUID, int]]:
    return {said.id: (said.session, said.seq) for said in messages if said.session is not None}


def _steps(thread: Thread) -> list[dict[str, Any]]:
    return [
        {
            "id": message.id,
            "threadId": str(thread.id),
            "parentId": None,
            "type": message.type,
            "name": message.author,
            "output": message.content,
            "input": "",
            "createdAt": message.created_at.isoformat(),
            "metadata": message.metadata or {},
            "isError": isinstance(message, ErrorMessage),
        }
        for message in thread.transcript
    ]


_KEYS: dict[str, Callable[[Thread], Any]] = {
    "id": lambda thread: str(thread.id),
    "createdAt": lambda thread: thread.created_at.isoformat(),
    "name": lambda thread: thread.title or None,
    "userId": lambda thread: str(thread.user.pk),
    "userIdentifier": lambda thread: thread.user.get_username(),
    "tags": lambda thread: [],
    "metadata": lambda thread: thread.metadata,
    "steps": _steps,
    "elements": lambda thread: [],
}
