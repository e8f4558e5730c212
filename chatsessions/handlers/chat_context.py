"""
``chat_context``: the conversation as a list of messages, as a language model wants it.

A session that uses it keeps its latest messages in memory. Most applications do not, and pay
nothing: sessions begin to keep them when the name is first used in the process.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from chatsessions.exceptions import ContextNotFound
from chatsessions.storage.log import ASSISTANT, SYSTEM, USER, Said

from .actions import Action
from .context import (
    Conversation,
    current,
)
from .emitter import encode_data
from .messages import (
    USER_AUTHOR,
    ErrorMessage,
    Message,
)

M = TypeVar("M", bound=Message)

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
