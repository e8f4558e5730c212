"""
The decorators: what a bot decorates becomes the handlers of the ``Chat`` of its module.

A function that an imported module decorates belongs to the bot that imports the module, too. Of
several for one hook the last one counts.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import chatsessions
from chatsessions.handlers import chat as core

from .action import Action
from .message import Message
from .names import missing
from .registry import call, functions_of
from .run import running
from .session import current_session
from .types import ChatProfile, Starter
from .user import PersistedUser

F = TypeVar("F", bound=Callable[..., Any])

#: Events whose handlers do not wait for the handler that runs.
BESIDE = ("action", "settings", "window_message")
#: What the chat says when the user has stopped a turn.
STOPPED = "Task manually stopped."


def on_chat_start(func: F) -> F:
    """Runs once per session, before anything else: ``()``."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def chat_start() -> None:
            await run()

        chat.on_chat_start(chat_start)

    return _take("on_chat_start", func, register)


def on_chat_resume(func: F) -> F:
    """Runs instead of ``on_chat_start`` in a session on an old thread: ``(thread)``, a dict."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def resume(thread: chatsessions.Thread) -> None:
            await run(dict(thread))

        chat.on_chat_resume(resume)

    return _take("on_chat_resume", func, register)


def on_message(func: F) -> F:
    """Runs for every message of the user: ``(message)``."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def message(message: chatsessions.Message) -> None:
            session = current_session()
            session.has_first_interaction = True
            await run(await Message.received(message))

        chat.on_message(message)

    return _take("on_message", func, register)


def on_window_message(func: F) -> F:
    """Runs when the window around the page has sent something: ``(data)``."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def window_message(data: Any) -> None:
            await run(data)

        chat.on_window_message(window_message)

    return _take("on_window_message", func, register)


def on_settings_update(func: F) -> F:
    """Runs when the user has changed the chat settings: ``(settings)``, all of them."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def settings_update(settings: dict[str, Any]) -> None:
            await run(settings)

        chat.on_settings_update(settings_update)

    return _take("on_settings_update", func, register)


def on_stop(func: F) -> F:
    """Runs after the user has stopped a turn, and the chat has said so: ``()``."""
    return _take("on_stop", func, lambda chat, run: None)


def on_chat_end(func: F) -> F:
    """Runs once when the session is over, not when a connection is lost: ``()``."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def chat_end() -> None:
            await run()

        chat.on_chat_end(chat_end)

    return _take("on_chat_end", func, register)


def action_callback(name: str) -> Callable[[F], F]:
    """Runs when the user has chosen an action of this name: ``(action)``."""

    def register(chat: chatsessions.Chat, run: Run) -> None:
        async def chosen(action: chatsessions.Action) -> None:
            await run(Action.of(action))

        chat.on_action(name)(chosen)

    def decorate(func: F) -> F:
        return _take(f"action {name}", func, register)

    return decorate


def author_rename(func: F) -> F:
    """Returns the name to show for an author: ``(author)``."""
    return _take("author_rename", func, lambda chat, run: None)


def set_chat_profiles(func: F) -> F:
    """Returns the profiles to choose from: ``(user, language)``; ``user`` may be None."""

    def register(chat: chatsessions.Chat, _run: Run) -> None:
        async def profiles(user: Any) -> list[chatsessions.ChatProfile]:
            function = functions_of(chat)["set_chat_profiles"]
            return [_profile(one) for one in await _choices(function, user)]

        chat.profiles(profiles)

    return _take("set_chat_profiles", func, register)


def set_starters(func: F) -> F:
    """Returns the starters, buttons at the beginning of a chat: ``(user, language)``."""
    return _take("set_starters", func, lambda chat, run: None)


def set_starter_categories(func: F) -> F:
    """Returns categories of starters: ``(user, language, profile)``."""
    return _take("set_starter_categories", func, lambda chat, run: None)


async def starters_of(chat: chatsessions.Chat, user: Any) -> list[Starter]:
    """Return the starters that a chat offers to a user."""
    functions = functions_of(chat)
    found: list[Starter] = []
    if "set_starters" in functions:
        found += await _choices(functions["set_starters"], user)
    if "set_starter_categories" in functions:
        for category in await _choices(functions["set_starter_categories"], user):
            found += category.starters
    return found


async def send_window_message(data: Any) -> None:
    """Send ``data`` to the window around the page."""
    current_session()
    await chatsessions.send_window_message(data)


# How they are registered

Run = Callable[..., Awaitable[None]]


def _take(hook: str, func: F, register: Callable[[chatsessions.Chat, Run], Any]) -> F:
    """Note a bot's function, and see that its chats run it."""
    for module in _modules(sys._getframe(2)):
        chat = chatsessions.module_chat(module)
        functions = functions_of(chat)
        if not functions:
            _prepare(chat)
        if hook not in functions:
            register(chat, partial(_run, chat, hook))
        functions[hook] = func
    return func


def _prepare(chat: chatsessions.Chat) -> None:
    """Let a chat be as Chainlit's are."""
    chat.keeps_unstorable = True
    chat.beside = frozenset(BESIDE)

    async def stop() -> None:
        await Message(STOPPED).send()
        function = functions_of(chat).get("on_stop")
        if function is not None:
            await call(function)

    chat.on_stop(stop)


async def _run(chat: chatsessions.Chat, hook: str, *arguments: Any) -> None:
    """Run the function of a hook in a run of its own."""
    async with running(chat, hook):
        await call(functions_of(chat)[hook], *arguments)


def _modules(frame: FrameType | None) -> list[str]:
    """Return the module that uses a decorator, and those that are importing it."""
    modules: list[str] = []
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == core.__name__:
            break  # who imports the bot is no bot
        spec = frame.f_globals.get("__spec__")
        is_importing = frame.f_code.co_name == "<module>" and getattr(spec, "_initializing", False)
        if (not modules or is_importing) and name not in modules:
            modules.append(name)
        frame = frame.f_back
    return modules


async def _choices(function: Callable[..., Any], user: Any) -> list[Any]:
    # Outside of sessions: there is no language yet, and no profile.
    return list(await call(function, PersistedUser.of(user), None, None) or [])


def _profile(profile: ChatProfile) -> chatsessions.ChatProfile:
    icon = profile.icon
    return chatsessions.ChatProfile(
        name=profile.name,
        markdown_description=profile.markdown_description,
        # An address cannot be shown there.
        icon=icon if icon and "/" not in icon and "." not in icon else None,
        default=profile.default,
        display_name=profile.display_name,
    )


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
