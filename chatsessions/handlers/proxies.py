"""``context``: a proxy of the current session's context."""

from __future__ import annotations

from .chat import Chat
from .context import current, find_context
from .emitter import Emitter, Turn
from .session import Session
from .user_session import UserSession


class ContextProxy:
    """A proxy whose attributes are those of the current context."""

    __slots__ = ()

    @property
    def session(self) -> Session:
        """The session, with its ``id``, ``user``, ``chat_settings`` and more."""
        return current("context.session").session

    @property
    def emitter(self) -> Emitter:
        """The emitter, which sends events to the session's client."""
        return current("context.emitter").emitter

    @property
    def user_session(self) -> UserSession:
        """The values that the application keeps in the session."""
        return current("context.user_session").user_session

    @property
    def chat(self) -> Chat:
        """The ``Chat`` whose handlers serve the session."""
        chat: Chat = current("context.chat").chat
        return chat

    @property
    def turn(self) -> Turn | None:
        """The turn; None outside of turns."""
        return current("context.turn").turn

    def __repr__(self) -> str:
        found = find_context()
        return f"<context of {found.session.id}>" if found else "<context: none here>"


context = ContextProxy()
