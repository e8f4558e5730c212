"""
The decorators: the functions that a bot decorates become handlers of the ``Chat`` of its module.

A function that is decorated in an imported module also belongs to the importing bot. If a hook has
several functions, the last one counts. Before a function runs, values that an earlier worker had
only in memory are set again.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import FrameType
from typing import Any, TypeVar, cast

from django.utils.translation import gettext

import chatsessions
from chatsessions import Chat
from chatsessions.handlers import chat as core
from chatsessions.storage.conversation import MARKDOWN

from .action import Action
from .chat_context import chat_context
from .message import Message
from .registry import call, functions_of
from .session import BaseSession, current_session, here, local_steps, rebuilding
from .step import Step
from .types import ChatProfile, Feedback, Starter, ThreadDict
from .user import PersistedUser

F = TypeVar("F", bound=Callable[..., Any])

#: The hooks whose calls are runs: steps that are not shown, the parents of the handler's steps.
RUN_NAMES = ("on_chat_start", "on_message")
#: The hooks that set the values which other hooks need.
BUILD = ("on_chat_start", "on_chat_resume")


def on_chat_start(func: F) -> F:
    """Runs once per session, before anything else: ``()``."""
    return _take("on_chat_start", func, Chat.on_chat_start)


def on_chat_resume(func: F) -> F:
    """Runs instead of ``on_chat_start`` in a session on an old thread: ``(thread)``, a dict."""
    return _take("on_chat_resume", func, Chat.on_chat_resume, dict)


def on_message(func: F) -> F:
    """Runs for every message of the user: ``(message)``."""
    return _take("on_message", func, Chat.on_message, Message.received)


def on_window_message(func: F) -> F:
    """Runs when the window around the page has sent something: ``(data)``."""
    return _take("on_window_message", func, Chat.on_window_message)


def on_settings_update(func: F) -> F:
    """Runs when the user has changed the chat settings: ``(settings)``, all of them."""
    return _take("on_settings_update", func, Chat.on_settings_update)


def on_stop(func: F) -> F:
    """Runs after the user has stopped a turn, and the chat has said so: ``()``."""
    return _take("on_stop", func)


def on_chat_end(func: F) -> F:
    """Runs once when the session is over, not when a connection is lost: ``()``."""
    return _take("on_chat_end", func, Chat.on_chat_end)


def action_callback(name: str) -> Callable[[F], F]:
    """Runs when the user has chosen an action of this name: ``(action)``."""

    def register(chat: Chat, run: Run) -> None:
        chat.on_action(name)(run)

    return lambda func: _take(f"action {name}", func, register, Action.of)


def on_feedback(func: F) -> F:
    """Runs when the user has given an answer a thumb: ``(feedback)``."""

    def register(chat: Chat, run: Run) -> None:
        async def given(feedback: chatsessions.Feedback) -> None:
            # In Chainlit a user cannot take feedback back.
            if feedback.value is not None:
                await run(feedback)

        chat.on_feedback(given)

    return _take("on_feedback", func, register, _feedback)


def author_rename(func: F) -> F:
    """Returns the name to show for an author: ``(author)``."""
    return _take("author_rename", func)


def set_chat_profiles(func: F) -> F:
    """Returns the profiles to choose from: ``(user, language)``; ``user`` may be None."""
    return _take("set_chat_profiles", func, _offer_profiles)


def set_starters(func: F) -> F:
    """Returns the starters, buttons at the beginning of a chat: ``(user, language)``."""
    return _take("set_starters", func, _offer_starters)


def set_starter_categories(func: F) -> F:
    """Returns categories of starters: ``(user, language, profile)``."""
    return _take("set_starter_categories", func, _offer_starters)


async def send_window_message(data: Any) -> None:
    """Send ``data`` to the window around the page."""
    await current_session().emit("window_message", data)


# How they are registered

#: The handler of a hook in a chat, called with the hook's argument if it has one.
Run = Callable[..., Awaitable[None]]


def _take(
    hook: str,
    func: F,
    register: Callable[[Chat, Run], Any] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> F:
    """
    Record a bot's function as that of ``hook``, in the chats of its modules.

    ``register`` adds the hook's handler to a chat, once for each chat. ``convert`` turns the
    argument of the chat's handler into that of Chainlit's function.
    """
    for module in _modules(sys._getframe(2)):
        chat = chatsessions.module_chat(module)
        functions = functions_of(chat)
        if not functions:
            _prepare(chat)
        if hook not in functions and register is not None:
            register(chat, _runner(chat, hook, convert))
        functions[hook] = func
    return func


def _runner(chat: Chat, hook: str, convert: Callable[[Any], Any] | None) -> Run:
    """Return a handler that calls the function that is the hook's when the handler runs."""

    async def run(*given: Any) -> None:
        if convert is not None and given:
            converted = convert(*given)
            given = (await converted if isawaitable(converted) else converted,)
        session = current_session()
        if hook in BUILD:
            session.is_built = True
            session.thread_id_to_resume = session.thread_id if hook == "on_chat_resume" else None
        elif hook != "on_chat_end":
            await _build_again(chat, session)
        steps = None
        if hook in RUN_NAMES:
            step = Step(hook, "run", parent_id=given[0].id if hook == "on_message" else None)
            step.is_shown = False
            steps = [step]
        token = local_steps.set(steps)
        try:
            await call(functions_of(chat)[hook], *given)
        finally:
            local_steps.reset(token)

    return run


async def _build_again(chat: Chat, session: BaseSession) -> None:
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


def _prepare(chat: Chat) -> None:
    """Set the options and the stop handler of a chat in which Chainlit's chats differ."""
    chat.keeps_unstorable = True
    chat.beside = frozenset(("action", "settings", "window_message"))
    chat.message_format = chat.message_format or MARKDOWN

    async def stop() -> None:
        await Message(gettext("Task manually stopped.")).send()
        function = functions_of(chat).get("on_stop")
        if function is not None:
            await call(function)

    chat.on_stop(stop)


def _modules(frame: FrameType | None) -> list[str]:
    """Return the module that uses a decorator, and those that are importing it."""
    modules: list[str] = []
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == core.__name__:
            break  # the module that imports the bot is no bot
        spec = frame.f_globals.get("__spec__")
        is_importing = frame.f_code.co_name == "<module>" and getattr(spec, "_initializing", False)
        if (not modules or is_importing) and name not in modules:
            modules.append(name)
        frame = frame.f_back
    return modules


def _offer_profiles(chat: Chat, _run: Run) -> None:
    async def profiles(user: Any) -> list[chatsessions.ChatProfile]:
        # Outside of sessions there is no language yet.
        found = await call(functions_of(chat)["set_chat_profiles"], PersistedUser.of(user), None)
        return [_profile(one) for one in found or ()]

    chat.profiles(profiles)


def _offer_starters(chat: Chat, _run: Run) -> None:
    """Let a chat offer the starters of ``set_starters`` and of ``set_starter_categories``."""
    functions = functions_of(chat)
    if "set_starters" in functions or "set_starter_categories" in functions:
        return  # the other hook has done it

    async def starters() -> list[chatsessions.Starter]:
        session = current_session()
        given = (session.user, session.language, session.chat_profile)
        found: list[Starter] = []
        if "set_starters" in functions:
            found += await call(functions["set_starters"], *given) or []
        if "set_starter_categories" in functions:
            for category in await call(functions["set_starter_categories"], *given) or []:
                found += category.starters
        return [_starter(one) for one in found]

    chat.starters(starters)


def _feedback(given: chatsessions.Feedback) -> Feedback:
    return Feedback(
        forId=given.message_id,
        value=1 if given.value == "up" else 0,
        threadId=current_session().thread_id,
        comment=given.comment or None,
    )


def _starter(starter: Starter) -> chatsessions.Starter:
    return chatsessions.Starter(starter.label, starter.message, _sign(starter.icon))


def _profile(profile: ChatProfile) -> chatsessions.ChatProfile:
    return chatsessions.ChatProfile(
        name=profile.name,
        markdown_description=profile.markdown_description,
        icon=_sign(profile.icon),
        default=profile.default,
        display_name=profile.display_name,
        starters=[_starter(one) for one in profile.starters or ()] or None,
    )


def _sign(icon: str | None) -> str | None:
    """Return an icon that is a word or a sign; None for a URL or a path, which is not shown."""
    return icon if icon and "/" not in icon and "." not in icon else None
