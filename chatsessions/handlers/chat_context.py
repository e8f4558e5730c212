"""
The conversation as messages: ``chat_context`` of this session, ``Thread`` of earlier ones.

A session keeps its latest messages in memory only if the process uses ``chat_context``: sessions
begin to keep them at the first use of that name.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec

from chatsessions.exceptions import ContextNotFound
from chatsessions.storage.conversation import ASSISTANT, SYSTEM, USER, ConversationMessage

from .context import MessageHistory, current
from .emitter import encode_data
from .messages import USER_AUTHOR, Action, ErrorMessage, Message

if TYPE_CHECKING:
    from chatsessions.storage.thread_rows import Page

M = TypeVar("M", bound=Message)

#: The most messages that one call of ``messages()`` returns.
MAX_MESSAGES = 1000

#: Reads a number of a thread's messages: the last ones, or the last ones before an entry.
ReadPage = Callable[[int, tuple[UUID, int] | None], "Awaitable[Page]"]

_ROLES = {USER: "user", ASSISTANT: "assistant", SYSTEM: "system"}


def to_message(said: ConversationMessage, *, sent: bool = False) -> Message:
    """
    Return a new ``Message`` for a message of the conversation.

    With ``sent`` it counts as sent in the current session: its ``update()`` replaces it there.
    """
    metadata = said.metadata
    cls = Message
    if metadata is not None and metadata.get("error") is True:
        cls = ErrorMessage
        metadata = {key: value for key, value in metadata.items() if key != "error"} or None
    message = cls(
        said.content,
        format=said.format,
        author=said.author or (USER_AUTHOR if said.type == USER else ""),
        metadata=metadata,
        # Buttons work only in the session that has offered them.
        actions=[Action.offered(action) for action in said.actions] if sent else (),
        id=said.id,
        created_at=said.created_at,
        type=said.type,
    )
    message.mark_sent(sent)
    if sent:
        # For the client's own files the log may have only ids: an update leaves those out.
        message.files_in_log = [file for file in said.files if isinstance(file, dict)]
    if sent and said.n is not None and said.session is not None:
        message.came_as(said.session, said.n)
    return message


def to_said(message: Message) -> ConversationMessage:
    """Return ``message`` as a conversation keeps it. Raises ``NotStorable`` and ``TooLarge``."""
    event = message.as_event()
    raw = encode_data("message", event)
    said = msgspec.json.decode(raw, type=_Event)
    return ConversationMessage(
        id=said.id,
        type=message.type,
        content=said.content,
        format=message.format,
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


#: Set when this process uses ``chat_context``.
_used = threading.Event()


def in_use() -> bool:
    """Return True if sessions have to keep their latest messages in memory."""
    return _used.is_set()


def use_chat_context() -> ChatContext:
    """Return ``chat_context``, and make sessions keep their latest messages from now on."""
    _used.set()
    return chat_context


class ChatContext:
    """
    The current session's conversation, as a list of messages (``chat_context``).

    It has the messages of the user and of the application, in order and as they are now: with their
    changes, without removed ones, and with the tokens so far of a message that is streamed. They
    are the latest ``CHAT_CONTEXT_MESSAGES``, of at most ``CHAT_CONTEXT_BYTES``. A session that
    continues a thread begins with the messages of the thread. Every method raises
    ``ContextNotFound`` where no session is current.
    """

    __slots__ = ()

    def get(self) -> list[Message]:
        """
        Return the messages, oldest first; each is a new object.

        If nothing in the process has used ``chat_context`` before, the live sessions have kept no
        messages. Each session then reads its own once, and the event loop waits for that.
        :meth:`aget` does not block the event loop. An import of ``chat_context`` by its name in the
        bot's module counts as a use, and avoids this read.
        """
        return _messages(_recall("chat_context.get"))

    async def aget(self) -> list[Message]:
        """Return the messages as :meth:`get` does, without blocking the event loop."""
        recall = _recall("chat_context.aget")
        await recall.aload()
        return _messages(recall)

    # Any: a type checker does not accept a plain dict where a model's client declares TypedDicts.

    def to_openai(self) -> list[Any]:
        """
        Return the messages as ``{"role": …, "content": …}``, as OpenAI's client takes them.

        A role is ``user``, ``assistant`` or ``system``. Messages without text are left out, and so
        are error messages. Each dict is a ``dict[str, str]``.
        """
        return _for_openai(self.get())

    async def ato_openai(self) -> list[Any]:
        """Return what :meth:`to_openai` returns, without blocking the event loop."""
        return _for_openai(await self.aget())

    def add(self, message: M) -> M:
        """
        Add ``message`` to the conversation without sending it, and return it.

        It is stored with the session, and the user does not see it. Sent messages need not be
        added. Raises ``NotStorable``, ``TooLarge`` beyond ``MAX_EVENT_BYTES``, ``TurnStopped``.
        """
        _recall("chat_context.add").add(to_said(message))
        return message

    def remove(self, message: Message) -> bool:
        """
        Forget ``message``, and return whether it was there.

        The log and what the user sees stay as they are. Raises ``TurnStopped``.
        """
        return _recall("chat_context.remove").remove(message.event or message.id)

    def clear(self) -> None:
        """
        Forget all messages so far, of this session and of its thread.

        The log and what the user sees stay as they are. Raises ``TurnStopped``.
        """
        _recall("chat_context.clear").clear()

    def __repr__(self) -> str:
        return "<chat_context>"


def _recall(what: str) -> MessageHistory:
    _used.set()
    found = current(what).recall
    if found is None:
        raise ContextNotFound(what)
    return found


def _messages(recall: MessageHistory) -> list[Message]:
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
    The thread that a new session continues.

    It also is a mapping with the keys of Chainlit's thread: ``id``, ``name``, ``userId``,
    ``userIdentifier``, ``createdAt``, ``tags``, ``metadata`` (the values of ``user_session``, with
    ``chat_settings`` and ``chat_profile``), ``steps`` (the transcript) and ``elements`` (always
    empty).
    """

    id: UUID
    #: The name of the ``Chat``.
    chat: str
    #: The beginning of what the user said first; "" if they have said nothing.
    title: str
    #: The ids of its sessions before this one, the oldest first.
    sessions: list[UUID]
    #: When the first of these sessions began.
    created_at: datetime
    user: Any
    #: The last session's chat settings, its profile, and those of its values that are carried over.
    metadata: dict[str, Any]
    read: ReadPage = field(repr=False)
    said: list[ConversationMessage] = field(repr=False)
    _given: dict[str, tuple[UUID, int]] = field(default_factory=dict, repr=False)

    @property
    def transcript(self) -> list[Message]:
        """
        The latest messages, oldest first; each is a new object, and not sent in this session.

        They are at most ``CHAT_CONTEXT_MESSAGES`` messages, of at most ``CHAT_CONTEXT_BYTES``.
        """
        return [to_message(said) for said in self.said]

    async def messages(
        self, limit: int = 100, *, before: Message | str | None = None
    ) -> list[Message]:
        """
        Return the last ``limit`` messages, at most 1000, oldest first.

        ``before`` is a message that this object has returned, or its id: the messages are then the
        last ones before it. There are fewer than ``limit`` if the thread has no more, or if more
        would take more than ``CHAT_CONTEXT_BYTES``; an empty list means that there are none.
        Raises ``ValueError`` for any other ``before``, and for a limit below 1.
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


def _positions(messages: list[ConversationMessage]) -> dict[str, tuple[UUID, int]]:
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
