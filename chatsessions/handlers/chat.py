"""``Chat``: the handlers of a conversation, and the table of chats."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from asgiref.sync import iscoroutinefunction, sync_to_async

from chatsessions.auth import env
from chatsessions.auth.access import Access
from chatsessions.exceptions import ChatError, StorageError
from chatsessions.protocol import frames
from chatsessions.storage.conversation import FORMATS, Format
from chatsessions.storage.database import call_in_thread

from .profiles import ChatProfile, Starter, checked_profiles, checked_starters

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from .chat_context import Thread
    from .messages import Action, Feedback, Message

    User = AbstractBaseUser | AnonymousUser

logger = logging.getLogger("chatsessions.user_session")

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")

# The types of handlers: async or not, with their argument or without. A type checker reports a
# parameter that is annotated otherwise.
NoArgument = TypeVar("NoArgument", bound=Callable[[], Any])
OnResume = TypeVar("OnResume", bound="Callable[[Thread], Any] | Callable[[], Any]")
OnMessage = TypeVar("OnMessage", bound="Callable[[Message], Any] | Callable[[], Any]")
OnAction = TypeVar("OnAction", bound="Callable[[Action], Any] | Callable[[], Any]")
OnFeedback = TypeVar("OnFeedback", bound="Callable[[Feedback], Any] | Callable[[], Any]")
OnData = TypeVar("OnData", bound=Callable[[Any], Any] | Callable[[], Any])
OnSettings = TypeVar("OnSettings", bound=Callable[[dict[str, Any]], Any] | Callable[[], Any])
OnEnd = TypeVar("OnEnd", bound=Callable[[str], Any] | Callable[[], Any])
OnInterrupted = TypeVar(
    "OnInterrupted", bound="Callable[[InterruptedTurn], Any] | Callable[[], Any]"
)
Lifespan = TypeVar("Lifespan", bound=Callable[[], AsyncIterator[Any]])

#: The longest name of a chat: it is a column of the session's row.
MAX_NAME = 200

#: The most keys of a chat that are logged as kept in memory only.
MAX_KEYS = 1000

#: The name of entries that answer a question. No event may have it.
ANSWER = "answer"

#: The name of the turn that begins a new session.
START = "start"

#: Events that have hooks of their own.
NAMED_HOOKS = {
    "message": "on_message",
    "settings": "on_settings_update",
    "action": "on_action",
    "feedback": "on_feedback",
    "window_message": "on_window_message",
}


#: Hooks whose handlers get no argument.
WITHOUT_ARGUMENT = frozenset(
    {"chat_start", "stop", "connect", "disconnect", "session_load", "session_unload"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function of the application, and how it is called."""

    function: Callable[..., Any]
    takes_argument: bool
    is_async: bool

    def __call__(self, argument: object) -> Any:
        """Call the function, with ``argument`` if it takes one."""
        return self.function(argument) if self.takes_argument else self.function()


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptedTurn:
    """A turn that a crash has cut short: the argument of ``on_interrupted``."""

    #: The number of the event; 0 for the start of the chat.
    turn: int
    #: The name of the event (``message``, …), ``start`` for the start of the chat.
    name: str
    #: The data of the event; None for the start, or if the entry is no longer kept.
    data: Any


class Chat:
    """
    The handlers of one kind of conversation.

    A handler is ``async def`` or ``def``, and takes its argument or nothing. ``name`` is stored
    with each session; a session is resumed only by a chat of the same name. ``user_env`` names the
    keys of ``env`` that every client has to send. ``beside`` names events, such as ``action`` and
    ``window_message``, whose handlers do not wait for the running handler. With
    ``keeps_unstorable`` a value that ``user_session`` cannot store is kept in the memory of the
    worker, and lost with it, instead of being refused. ``feedback`` offers thumbs under the answers
    even without an :meth:`on_feedback`. With ``edits`` users may send their last message again, as
    it was or changed; the old one and what followed it are dropped from the conversation.
    ``message_format``, ``text`` or ``markdown``, is the format of messages and questions that set
    none; its default is the setting ``MESSAGE_FORMAT``. Raises ``ChatError`` for invalid names and
    formats.
    """

    def __init__(
        self,
        name: str,
        *,
        user_env: Iterable[str] | None = None,
        beside: Iterable[str] = (),
        keeps_unstorable: bool = False,
        feedback: bool = False,
        edits: bool = False,
        message_format: Format | None = None,
    ) -> None:
        self.name = name
        self.feedback = feedback
        self.edits = edits
        self.user_env = env.checked_names(user_env)
        self.beside = _checked_events(beside)
        self.keeps_unstorable = keeps_unstorable
        self.message_format = message_format if message_format is None else _format(message_format)
        #: The keys of ``user_session`` that were logged as kept in memory only.
        self._in_memory: set[str] = set()
        self.hooks: dict[str, Handler] = {}
        self.events: dict[str, Handler] = {}
        self.actions: dict[str, Handler] = {}
        # Whether a consumer or view of this process uses it; resolve_chat() sets it.
        self.routed = False
        #: The access rules of its consumers and views, each once.
        self.access_rules: set[Access] = set()
        #: The functions that return what users may choose from: ``profiles`` and ``starters``.
        self._choices: dict[str, Handler] = {}
        #: Whether any profile that was offered here has starters of its own.
        self._profiles_have_starters = False

    def __repr__(self) -> str:
        return f"<Chat {self.name}>"

    def on_chat_start(self, function: NoArgument) -> NoArgument:
        """Register the handler that begins a new session; it runs once and takes no argument."""
        return self._add(self.hooks, "chat_start", function)

    def on_chat_resume(self, function: OnResume) -> OnResume:
        """
        Register the handler that begins a session of an old thread, instead of ``on_chat_start``.

        It runs once per session; its argument is a ``Thread``.
        """
        return self._add(self.hooks, "chat_resume", function)

    def on_message(self, function: OnMessage) -> OnMessage:
        """Register the handler of the user's messages; its argument is a ``Message``."""
        return self._add(self.hooks, "message", function)

    def on_event(self, name: str) -> Callable[[OnData], OnData]:
        """
        Register the handler of the application's own events ``name``; its argument is their data.

        Raises ``ChatError`` for a name that an event of the application cannot have.
        """
        if name in NAMED_HOOKS:
            raise ChatError(f"Events named {name!r} go to {NAMED_HOOKS[name]}, not to on_event.")
        if name == ANSWER:
            raise ChatError(f"{name!r} is no event's name: answers have a frame of their own.")
        try:
            msgspec.convert(name, frames.EventName)
        except msgspec.ValidationError as error:
            raise ChatError(
                f'{name!r} cannot be an event\'s name ({error}); write @chat.on_event("name").'
            ) from error
        return lambda function: self._add(self.events, name, function)

    def on_action(self, name: str) -> Callable[[OnAction], OnAction]:
        """Register the handler of chosen actions ``name``; its argument is an ``Action``."""
        if not isinstance(name, str) or not name:
            raise ChatError(f'{name!r} cannot be an action\'s name; write @chat.on_action("name").')
        return lambda function: self._add(self.actions, name, function)

    def on_feedback(self, function: OnFeedback) -> OnFeedback:
        """
        Register the handler of ratings, given or taken back; its argument is a ``Feedback``.

        Ratings are stored with or without a handler.
        """
        return self._add(self.hooks, "feedback", function)

    @property
    def offers(self) -> list[str]:
        """What a client may offer its user, as ``welcome`` lists it: ``feedback``, ``edits``."""
        feedback = self.feedback or "feedback" in self.hooks
        return [*(["feedback"] if feedback else []), *(["edits"] if self.edits else [])]

    def on_settings_update(self, function: OnSettings) -> OnSettings:
        """Register the handler of changed chat settings; its argument is a dict of all settings."""
        return self._add(self.hooks, "settings", function)

    def on_window_message(self, function: OnData) -> OnData:
        """Register the handler of messages from the window around the page; it gets their data."""
        return self._add(self.hooks, "window_message", function)

    def on_stop(self, function: NoArgument) -> NoArgument:
        """Register the handler that runs after the user has stopped a turn, without argument."""
        return self._add(self.hooks, "stop", function)

    def on_connect(self, function: NoArgument) -> NoArgument:
        """Register the handler that runs for every connection, after ``on_chat_start``."""
        return self._add(self.hooks, "connect", function)

    def on_disconnect(self, function: NoArgument) -> NoArgument:
        """Register the handler that runs when a connection is gone. The session stays."""
        return self._add(self.hooks, "disconnect", function)

    def on_chat_end(self, function: OnEnd) -> OnEnd:
        """Register the handler that runs once when the session ends; its argument is the reason."""
        return self._add(self.hooks, "chat_end", function)

    def on_session_load(self, function: NoArgument) -> NoArgument:
        """
        Register the handler that runs whenever a worker takes the session, new or stored.

        It takes no argument, and runs before the other handlers of the session. It is the place to
        rebuild ``user_session.local``. Open what has to be closed in :meth:`session_lifespan`, or
        close it in :meth:`on_session_unload`.
        """
        return self._add(self.hooks, "session_load", function)

    def on_session_unload(self, function: NoArgument) -> NoArgument:
        """
        Register the handler that runs when this worker no longer owns the session.

        The worker has released the session, the session has moved or ended, or the server stops.
        The handler takes no argument. It can read ``user_session``, and can set and send nothing
        any more. It has ``LIFESPAN_TIMEOUT`` seconds, and does not run after a crash.
        """
        return self._add(self.hooks, "session_unload", function)

    def session_lifespan(self, function: Lifespan) -> Lifespan:
        """
        Register the async generator that opens and closes what a session needs in a worker.

        The part before its one ``yield`` runs when a worker takes the session, before all other
        handlers. The part after it runs when the worker no longer owns the session, after all
        others. Each has ``LIFESPAN_TIMEOUT`` seconds, and both run in one task. Raises
        ``ChatError`` for anything but an async generator function without arguments.
        """
        is_generator = inspect.isasyncgenfunction(function)
        if not is_generator:
            raise ChatError(
                f"{_describe(function)} cannot be a session_lifespan: write an 'async def' "
                "without arguments and with one 'yield'."
            )
        if _handler(function).takes_argument:
            raise ChatError(f"{_describe(function)}: a session_lifespan takes no arguments.")
        return self._add(self.hooks, "session_lifespan", function)

    def on_interrupted(self, function: OnInterrupted) -> OnInterrupted:
        """
        Register the handler that runs when a worker takes a session whose turn a crash cut short.

        Its argument is an ``InterruptedTurn``. The turn itself is not run again.
        """
        return self._add(self.hooks, "interrupted", function)

    def profiles(self, function: OnData) -> OnData:
        """
        Register the function that returns the list of ``ChatProfile`` that a user may choose from.

        Its argument is the Django user, or an ``AnonymousUser``. It runs outside of sessions:
        before a session is made, and for pages that offer the choice.
        """
        return self._add(self._choices, "profiles", function)

    @property
    def has_profiles(self) -> bool:
        """Whether the chat offers profiles; if not, a client may ask for any profile."""
        return "profiles" in self._choices

    async def get_profiles(
        self,
        user: User,
        *,
        run_in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None,
    ) -> list[ChatProfile]:
        """
        Return the profiles that ``user`` may choose from; none without ``@chat.profiles``.

        ``run_in_thread`` runs a function written as ``def``; by default ``sync_to_async`` does.
        Raises ``ChatError`` for a result that is no list of profiles, and what the function raises.
        """
        handler = self._choices.get("profiles")
        if handler is None:
            return []
        found = await self._ask(handler, user, checked_profiles, run_in_thread)
        if any(one.starters for one in found):
            self._profiles_have_starters = True
        return found

    def starters(self, function: OnData) -> OnData:
        """
        Register the function that returns the list of ``Starter`` that a user may begin with.

        Its argument is the user. It runs once per new session, in the session's context, before
        ``on_chat_start``. A profile that has ``starters`` of its own offers those instead.
        """
        return self._add(self._choices, "starters", function)

    @property
    def may_have_starters(self) -> bool:
        """Whether there may be starters for a new session."""
        return "starters" in self._choices or self._profiles_have_starters

    async def get_starters(
        self,
        user: User,
        profile: str,
        *,
        run_in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None,
    ) -> list[Starter]:
        """Return what ``user`` may begin with. Raises as :meth:`get_profiles`."""
        if self._profiles_have_starters:
            for one in await self.get_profiles(user, run_in_thread=run_in_thread):
                if one.name == profile and one.starters:
                    return list(one.starters)
        handler = self._choices.get("starters")
        if handler is None:
            return []
        return await self._ask(handler, user, checked_starters, run_in_thread)

    async def _ask(
        self,
        handler: Handler,
        user: User,
        check: Callable[[object, str], list[T]],
        run_in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] | None,
    ) -> list[T]:
        """Call a function of the application with ``user``; return its checked result."""
        if handler.is_async:
            return check(await handler(user), repr(self))

        def call() -> list[T]:
            # Checked in the thread too: the result may be a generator that makes queries.
            return check(call_in_thread(handler, user), repr(self))

        found: list[T] = await (run_in_thread(call) if run_in_thread else sync_to_async(call)())
        return found

    def kept_in_memory(self, key: str, error: StorageError) -> None:
        """Log, once per key, that a value of ``user_session`` is in memory only, and why."""
        if key not in self._in_memory and len(self._in_memory) < MAX_KEYS:
            self._in_memory.add(key)
            logger.warning(
                "%r: user_session[%r] is kept in the memory of this worker only. It is gone when "
                "the server restarts and when the session moves to another worker. %s",
                self,
                key,
                error,
            )

    def _add(self, handlers: dict[str, Handler], name: str, function: F) -> F:
        known = handlers.get(name)
        if known is not None and not _is_same(known.function, function):
            raise ChatError(
                f"{self!r} has a handler for {name!r} already: {_describe(known.function)}. "
                f"{_describe(function)} would replace it; remove one of the two."
            )
        is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        if is_generator and handlers is not self._choices and name != "session_lifespan":
            raise ChatError(
                f"{_describe(function)} is a generator, and nobody would run it: send what it "
                "yields, for instance with Message.stream_token()."
            )
        gets_argument = handlers is not self.hooks or name not in WITHOUT_ARGUMENT
        handlers[name] = _handler(function, gets_argument=gets_argument)
        return function


# The chats of this process by name: those of modules' decorators, and those that resolve_chat()
# has returned.
_chats: dict[str, Chat] = {}


def module_chat(module: str) -> Chat:
    """
    Return the ``Chat`` of a module's own decorators: ``module_chat(__name__)``.

    The first call makes it. A consumer with the module's name as its ``chat`` serves this chat.
    """
    return _chats.setdefault(module, Chat(module))


def find_chat(name: str) -> Chat:
    """Return the chat of this name, or a new one without handlers."""
    return _chats.get(name) or Chat(name)


def resolve_chat(chat: Chat | str) -> Chat:
    """
    Return the chat of a consumer, given as a ``Chat``, a dotted path to one or a module's name.

    Raises ``ChatError`` if there is none.
    """
    found = _import_chat(chat) if isinstance(chat, str) else chat
    if not isinstance(found, Chat):
        raise ChatError(f"{chat!r} is a {type(found).__name__}, not a chatsessions.Chat.")
    if not found.name or len(found.name) > MAX_NAME:
        raise ChatError(f"A chat's name has 1 to {MAX_NAME} characters, not {found.name!r}.")
    _chats[found.name] = found
    found.routed = True
    return found


def routed_chat(name: str) -> Chat | None:
    """Return the chat of this name if something serves it in this process."""
    found = _chats.get(name)
    return found if found is not None and found.routed else None


def routed_chats() -> list[Chat]:
    """Return all chats that something serves in this process."""
    return [chat for chat in list(_chats.values()) if chat.routed]


def _checked_events(names: Iterable[str]) -> frozenset[str]:
    """Return ``names`` as a set. Raises ``ChatError`` if they are no names of events."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ChatError(f"beside={names!r}: write a list of events, such as ['action'].")
    try:
        return frozenset(msgspec.convert(list(names), list[frames.EventName]))
    except msgspec.ValidationError as error:
        raise ChatError(f"beside={names!r} are no names of events: {error}") from error


def _format(given: Format) -> Format:
    """Return ``given``. Raises ``ChatError`` if it is no format."""
    if given not in FORMATS:
        raise ChatError(f"message_format is {given!r}; there are: {', '.join(FORMATS)}.")
    return given


def _import_chat(path: str) -> Any:
    if not path or path.startswith("."):
        raise ChatError(f"chat={path!r}: give the dotted path of a Chat, or a module's name.")
    module = _import_module(path)
    if module is not None:
        if path in _chats:
            return _chats[path]
        if hasattr(module, "chat"):
            return module.chat
        names = [name for name, value in vars(module).items() if isinstance(value, Chat)]
        if names:
            raise ChatError(
                f"The module {path!r} has no Chat named 'chat'. Name one of those that it has: "
                f"{' or '.join(f'{path}.{name}' for name in names)}."
            )
        raise ChatError(
            f"The module {path!r} has no handlers: decorate functions with "
            "@chatsessions.on_message and the like, or make a Chat named 'chat' in it."
        )
    parent, _, attribute = path.rpartition(".")
    module = _import_module(parent) if parent else None
    if module is None:
        nor = f", nor a module {parent!r}" if parent else ""
        raise ChatError(f"chat={path!r}: there is no module {path!r}{nor}.")
    if not hasattr(module, attribute):
        raise ChatError(f"chat={path!r}: the module {parent!r} has no {attribute!r}.")
    return getattr(module, attribute)


def _import_module(name: str) -> ModuleType | None:
    """Return the module, or None if there is none. Raises the errors inside the module."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise


def _handler(function: Callable[..., Any], *, gets_argument: bool = True) -> Handler:
    """
    Return the handler of a function. Raises ``ChatError`` if it cannot be one.

    Unless it ``gets_argument``, parameters with a default keep it.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ChatError(f"{function!r} cannot be a handler: {error}") from error
    takes_none, takes_one = _takes(signature), _takes(signature, None)
    if not takes_none and not takes_one:
        needed = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        raise ChatError(
            f"{_describe(function)} needs {len(needed)} arguments; a handler takes one or none."
        )
    return Handler(
        function=function,
        takes_argument=not takes_none or (gets_argument and takes_one),
        is_async=iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__),
    )


def _takes(signature: inspect.Signature, *arguments: object) -> bool:
    """Return True if a function can be called with ``arguments``."""
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _is_same(known: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Return True if both are one function, perhaps defined again by a reload of its module."""
    if known is function or _describe(known) != _describe(function):
        return known is function
    # All lambdas of a module have one name; two of them are on two lines.
    lines = [getattr(f, "__code__", None) and f.__code__.co_firstlineno for f in (known, function)]
    return "<lambda>" not in _describe(function) or lines[0] == lines[1]


def _describe(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    return f"{module}.{name}" if name else repr(function)


def _caller() -> str:
    """
    Return the name of the module that uses a decorator.

    The decorated function's ``__module__`` may be another: that of a decorator below this one, or
    ``functools`` for a partial.
    """
    return str(sys._getframe(2).f_globals["__name__"])


def _in_module_chat(method: Callable[[Chat, C], R], name: str = "") -> Callable[[C], R]:
    def decorate(function: C) -> R:
        return method(module_chat(_caller()), function)

    decorate.__name__ = decorate.__qualname__ = name or method.__name__
    decorate.__doc__ = f"{inspect.cleandoc(method.__doc__ or '')}\n\nFor the Chat of the module."
    return decorate


# As in Chainlit: the decorators that a module uses make the Chat of that module.
on_chat_start = _in_module_chat(Chat.on_chat_start)
on_chat_resume = _in_module_chat(Chat.on_chat_resume)
on_message = _in_module_chat(Chat.on_message)
on_feedback = _in_module_chat(Chat.on_feedback)
on_settings_update = _in_module_chat(Chat.on_settings_update)
on_window_message = _in_module_chat(Chat.on_window_message)
on_stop = _in_module_chat(Chat.on_stop)
on_connect = _in_module_chat(Chat.on_connect)
on_disconnect = _in_module_chat(Chat.on_disconnect)
on_chat_end = _in_module_chat(Chat.on_chat_end)
on_session_load = _in_module_chat(Chat.on_session_load)
on_session_unload = _in_module_chat(Chat.on_session_unload)
session_lifespan = _in_module_chat(Chat.session_lifespan)
on_interrupted = _in_module_chat(Chat.on_interrupted)
set_chat_profiles = _in_module_chat(Chat.profiles, "set_chat_profiles")
set_starters = _in_module_chat(Chat.starters, "set_starters")


def on_event(name: str) -> Callable[[OnData], OnData]:
    """
    Register the handler of the application's own events ``name``; its argument is their data.

    For the Chat of the module. Raises ``ChatError``.
    """
    return module_chat(_caller()).on_event(name)


def on_action(name: str) -> Callable[[OnAction], OnAction]:
    """
    Register the handler of chosen actions ``name``; its argument is an ``Action``.

    For the Chat of the module. Raises ``ChatError``.
    """
    return module_chat(_caller()).on_action(name)


#: Chainlit's name.
action_callback = on_action


def user_env(*names: str) -> None:
    """Name the keys of ``env`` that every client of the module's Chat has to send."""
    module_chat(_caller()).user_env = env.checked_names(names)


def message_format(name: Format) -> None:
    """Set the default format of messages of the module's Chat: ``text`` or ``markdown``."""
    module_chat(_caller()).message_format = _format(name)
