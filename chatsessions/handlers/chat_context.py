"""
What was said, as messages: ``chat_context`` of this session, ``Thread`` of earlier ones.

A session keeps its latest messages in memory only if the process uses ``chat_context``: sessions
begin to keep them at the first use of that name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec

from chatsessions.exceptions import ContextNotFound
from chatsessions.storage.log import ASSISTANT, SYSTEM, USER, Said

from .context import (
    Conversation,
    current,
)
from .emitter import encode_data
from .messages import (
    USER_AUTHOR,
    Action,
    ErrorMessage,
    Message,
)

if TYPE_CHECKING:
    from chatsessions.storage.thread_rows import Page

M = TypeVar("M", bound=Message)

#: The messages that one call of ``messages()`` gives at most.
MAX_MESSAGES = 1000

#: Reads the last so many messages, or those before an entry of a session.
ReadPage = Callable[[int, tuple[UUID, int] | None], "Awaitable[Page]"]

_ROLES = {USER: "user", ASSISTANT: "assistant", SYSTEM: "system"}


def to_message(said: Said, *, sent: bool = False) -> Message:
    """
    A message that was said, as an object of its own.

    One that was ``sent`` in the current session is changed in its place by ``update()``.
    """
    metadata = said.metadata
    cls = Message
    if metadata is not None and metadata.get("error") is True:
        cls = ErrorMessage
        metadata = {key: value for key, value in metadata.items() if key != "error"} or None
    message = cls(
        said.content,
        author=said.author or (USER_AUTHOR if said.type == USER else ""),
        metadata=metadata,
        # Buttons are the session's that has offered them.
        actions=[Action.offered(action) for action in said.actions] if sent else (),
        id=said.id,
        created_at=said.created_at,
        type=said.type,
    )
    message.mark_sent(sent)
    if sent:
        message.files_in_log = said.files
    if sent and said.n is not None and said.session is not None:
        message.came_as(said.session, said.n)
    return message


def to_said(message: Message) -> Said:
    """A message as a conversation keeps it. Raises ``NotStorable`` and ``TooLarge``."""
    event = message.as_event()
    raw = encode_data("message", event)
    said = msgspec.json.decode(raw, type=_Event)
    return Said(
        id=said.id,
        type=message.type,
        content=said.content,
        created_at=said.created_at,
        author=said.author,
        metadata=said.metadata,
        size=len(raw),
        session=None if message.event is None else message.event[0],
        n=None if message.event is None else message.event[1],
    )


class _Event(msgspec.Struct):
    id: str
    author: str
    content: str
    created_at: datetime
    metadata: dict[str, Any] | None = None


class _Use:
    """Whether anybody in this process wants conversations to be kept."""

    def __init__(self) -> None:
        self.begun = False


_use = _Use()


def in_use() -> bool:
    """Whether sessions are to keep their latest messages in memory."""
    return _use.begun


def use_chat_context() -> ChatContext:
    """``chat_context``, for somebody who is going to use it."""
    _use.begun = True
    return chat_context


class ChatContext:
    """
    The current session's conversation, as a list of messages (``chat_context``).

    The user's messages and the application's, in order and as they are now: changed ones as
    changed, without those that were removed, a streamed one as far as it is. The latest
    ``CHAT_CONTEXT_MESSAGES``, and of them no more than ``CHAT_CONTEXT_BYTES``. A session on an
    old thread begins with the thread's. Every method raises ``ContextNotFound`` where no session
    is current.
    """

    __slots__ = ()

    def get(self) -> list[Message]:
        """
        The messages, oldest first; each a new object.

        Where it is the first use in a process, the sessions that are live by then have kept none,
        and each reads its own once, while the event loop waits. :meth:`aget` waits without that,
        and naming ``chat_context`` in an import makes it unnecessary.
        """
        return _messages(_recall("chat_context.get"))

    async def aget(self) -> list[Message]:
        """As :meth:`get`; what has to be read holds up nobody else."""
        recall = _recall("chat_context.aget")
        await recall.aload()
        return _messages(recall)

    # Any: to a type checker no dict is one of the dicts that a client of a model declares.

    def to_openai(self) -> list[Any]:
        """
        The messages as ``{"role": …, "content": …}``, with ``user``, ``assistant`` or ``system``.

        Without those that have no text, and without error messages, which the assistant has not
        said. Each is a ``dict[str, str]``; ``messages=`` of OpenAI's client takes the list as it
        is.
        """
        return _for_openai(self.get())

    async def ato_openai(self) -> list[Any]:
        """As :meth:`to_openai`; see :meth:`aget`."""
        return _for_openai(await self.aget())

    def add(self, message: M) -> M:
        """
        Have ``message`` in the conversation without sending it; the same message.

        What was sent is there already. It is stored with the session, and its user does not see
        it. Raises ``NotStorable``, ``TooLarge`` beyond ``MAX_EVENT_BYTES``, ``TurnStopped``.
        """
        _recall("chat_context.add").add(to_said(message))
        return message

    def clear(self) -> None:
        """
        Begin anew: forget what was said so far, here and before in the thread.

        The log and what the user sees stay as they are. Raises ``TurnStopped``.
        """
        _recall("chat_context.clear").clear()

    def __repr__(self) -> str:
        return "<chat_context>"


def _recall(what: str) -> Conversation:
    _use.begun = True
    found = current(what).recall
    if found is None:
        raise ContextNotFound(what)
    return found


def _messages(recall: Conversation) -> list[Message]:
    return [to_message(said, sent=recall.has_sent(said)) for said in recall.messages()]


def _for_openai(messages: list[Message]) -> list[dict[str, str]]:
    return [
        {"role": _ROLES[message.type], "content": message.content}
        for message in messages
        if message.content and not isinstance(message, ErrorMessage)
    ]


chat_context = ChatContext()


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
