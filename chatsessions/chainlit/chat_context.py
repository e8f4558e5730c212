"""``chat_context``: the conversation of the session, as a list of messages."""

from __future__ import annotations

from typing import Any

import chatsessions

from .element import ELEMENT
from .message import Message, MessageBase
from .session import here, rebuilding


class ChatContext:
    """
    The latest messages of the user and the application, without steps and elements.

    While a hook sets lost values again, it cannot change what is stored.
    """

    def get(self) -> list[Message]:
        """Return the messages, oldest first; each is a new object."""
        here()
        messages = [Message.of(message) for message in chatsessions.chat_context.get()]
        return [message for message in messages if ELEMENT not in (message.metadata or {})]

    def add(self, message: MessageBase) -> MessageBase:
        """Add a message without sending it; sent messages need not be added."""
        here()
        if not rebuilding.get():
            message._describe()
            chatsessions.chat_context.add(message.core)
        return message

    def remove(self, message: MessageBase) -> bool:
        """Forget a message, which stays on the page; return True if it was there."""
        here()
        return not rebuilding.get() and chatsessions.chat_context.remove(message.core)

    def clear(self) -> None:
        """Forget what was said so far."""
        here()
        if not rebuilding.get():
            chatsessions.chat_context.clear()

    def to_openai(self) -> list[Any]:
        """Return the messages as ``{"role": …, "content": …}``."""
        return [
            {"role": message.type.removesuffix("_message"), "content": message.content}
            for message in self.get()
        ]


chat_context = ChatContext()
