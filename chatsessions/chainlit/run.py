"""The frame of a handler's run: set lost values again before it, and make the run's step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, cast

import chatsessions

from .chat_context import chat_context
from .registry import call, functions_of
from .session import BaseSession, current_session, here, local_steps, rebuilding
from .step import Step
from .types import ThreadDict

#: The hooks whose calls are runs.
RUN_NAMES = ("on_chat_start", "on_message")
#: The hooks that set the values which other hooks need.
BUILD = ("on_chat_start", "on_chat_resume")


class Run(Step):
    """The run of a handler: the parent of the handler's steps, which itself is not shown."""

    def __init__(self, hook: str, message: Any) -> None:
        parent = message.id if hook == "on_message" else None
        super().__init__(name=hook, type="run", parent_id=parent)

    async def send(self) -> Self:
        """Do nothing."""
        return self

    async def update(self) -> bool:
        """Do nothing."""
        return True

    async def remove(self) -> bool:
        """Do nothing."""
        return True

    async def stream_token(
        self,
        token: str,
        is_sequence: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        is_input: bool = False,  # noqa: FBT001, FBT002, RUF100
    ) -> None:
        """Do nothing."""


@asynccontextmanager
async def running(chat: chatsessions.Chat, hook: str, given: Any = None) -> AsyncIterator[None]:
    """
    Frame the call of a handler's function, after setting lost values again.

    A call for ``on_chat_start`` or ``on_message`` is a :class:`Run`; calls for other hooks have no
    step.
    """
    session = current_session()
    if hook in BUILD:
        session.is_built = True
        session.thread_id_to_resume = session.thread_id if hook == "on_chat_resume" else None
    elif hook != "on_chat_end":
        await _build_again(chat, session)
    token = local_steps.set([Run(hook, given)] if hook in RUN_NAMES else None)
    try:
        yield
    finally:
        local_steps.reset(token)


async def _build_again(chat: chatsessions.Chat, session: BaseSession) -> None:
    """
    Set values again that an earlier worker had only in memory, once per worker.

    The bot's ``on_chat_resume`` sets them, or ``on_chat_start`` if the bot has no other. Messages
    of that function are not shown, its questions are asked, and it cannot change stored values.
    """
    if session.is_built:
        return
    async with session.building:
        functions = functions_of(chat)
        if not session.is_built and here().user_session.lost:
            token = rebuilding.set(True)
            try:
                if "on_chat_resume" in functions:
                    await call(functions["on_chat_resume"], _thread(session))
                elif "on_chat_start" in functions:
                    await call(functions["on_chat_start"])
            finally:
                rebuilding.reset(token)
        session.is_built = True


def _thread(session: BaseSession) -> ThreadDict:
    """Return the session's own thread, as ``on_chat_resume`` gets an old one."""
    user = session.user
    messages = chat_context.get()
    thread: Any = {
        "id": session.thread_id,
        "createdAt": here().session.created_at.isoformat(),
        "name": next((one.content for one in messages if one.type == "user_message"), None),
        "userId": user and user.id,
        "userIdentifier": user and user.identifier,
        "tags": [],
        "metadata": session.to_persistable(),
        "steps": [message.to_dict() for message in messages],
        "elements": [],
    }
    return cast("ThreadDict", thread)
