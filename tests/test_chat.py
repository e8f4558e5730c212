"""``Chat``: how handlers are declared, which ones are refused, and how a chat is found."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import pytest

import chatsessions
from chatsessions.exceptions import ChatError
from chatsessions.handlers import chat as chat_module
from chatsessions.handlers.chat import (
    MAX_NAME,
    Chat,
    Handler,
    InterruptedTurn,
    find_chat,
    resolve_chat,
)

HOOKS = {
    "on_chat_start": "chat_start",
    "on_message": "message",
    "on_settings_update": "settings",
    "on_stop": "stop",
    "on_connect": "connect",
    "on_disconnect": "disconnect",
    "on_chat_end": "chat_end",
    "on_session_load": "session_load",
    "on_interrupted": "interrupted",
}

WriteModule = Callable[..., str]


@pytest.fixture(autouse=True)
def _own_chats() -> Iterator[None]:
    """What a test resolves or decorates is forgotten after it."""
    before = dict(chat_module._chats)
    yield
    chat_module._chats.clear()
    chat_module._chats.update(before)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Write the source of a module; the name to import it by, which no other test has."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    # A module written twice within a second must not be taken from a cache.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source: str, *, name: str = "") -> str:
        name = name or f"bot_{uuid4().hex}"
        path = tmp_path.joinpath(*name.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(dedent(source))
        importlib.invalidate_caches()
        return name

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


async def a_message(message: object) -> object:
    return message


# Declaring


@pytest.mark.parametrize("decorator", HOOKS)
def test_a_decorator_keeps_the_handler_and_gives_the_function_back(decorator: str) -> None:
    chat = Chat("test")
    assert getattr(chat, decorator)(a_message) is a_message
    handler = chat.hooks[HOOKS[decorator]]
    assert handler.function is a_message
    assert handler.takes_argument
    assert handler.is_async


def test_every_event_of_the_applications_own_has_a_handler() -> None:
    chat = Chat("test")

    @chat.on_event("vote")
    async def vote(data: object) -> None: ...

    @chat.on_event("skip")
    def skip() -> None: ...

    assert chat.events["vote"].function is vote
    assert chat.events["skip"].function is skip
    assert chat.hooks == {}


@pytest.mark.parametrize(
    ("name", "hook"), [("message", "on_message"), ("settings", "on_settings_update")]
)
def test_events_with_a_hook_of_their_own_are_refused(name: str, hook: str) -> None:
    with pytest.raises(ChatError, match=f"'{name}' go to {hook}"):
        Chat("test").on_event(name)


def test_an_answer_is_no_event() -> None:
    with pytest.raises(ChatError, match="'answer'"):
        Chat("test").on_event("answer")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", 5, a_message])
def test_on_event_refuses_a_name_that_no_event_has(name: Any) -> None:
    with pytest.raises(ChatError):
        Chat("test").on_event(name)


def test_a_chat_shows_its_name() -> None:
    assert repr(Chat("counter")) == "<Chat counter>"


def test_chats_are_apart() -> None:
    first, second = Chat("first"), Chat("second")
    first.on_message(a_message)
    assert second.hooks == {}


# How a handler is called


class Bot:
    async def answer(self, message: object) -> object:
        return message

    def greet(self) -> str:
        return "hello"

    @staticmethod
    async def static(message: object) -> object:
        return message

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


class AsyncCallable:
    async def __call__(self, message: object) -> object:
        return message


class SyncCallable:
    def __call__(self) -> str:
        return "called"


def optional(message: object = None) -> object:
    return message


def any_number(*messages: object) -> tuple[object, ...]:
    return messages


def only_keywords(**options: object) -> dict[str, object]:
    return options


def optional_keyword(message: object, *, loud: bool = False) -> object:
    return message, loud


def position_only(message: object, /) -> object:
    return message


def second_is_optional(message: object, retries: int = 3) -> object:
    return message, retries


async def with_prefix(prefix: str, message: object) -> str:
    return f"{prefix}{message}"


def nothing() -> str:
    return "nothing"


async def nothing_async() -> str:
    return "nothing"


def handler_of(function: Callable[..., Any]) -> Handler:
    chat = Chat("test")
    chat.on_message(function)
    return chat.hooks["message"]


@pytest.mark.parametrize(
    ("function", "result"),
    [
        pytest.param(a_message, "x", id="async def, one argument"),
        pytest.param(nothing_async, "nothing", id="async def, no argument"),
        pytest.param(Bot().answer, "x", id="async method"),
        pytest.param(Bot.static, "x", id="static method"),
        pytest.param(AsyncCallable(), "x", id="object with async __call__"),
        pytest.param(functools.partial(with_prefix, "a-"), "a-x", id="partial of async def"),
    ],
)
async def test_what_is_async_is_awaited(function: Callable[..., Any], result: object) -> None:
    handler = handler_of(function)
    assert handler.is_async
    assert await handler("x") == result


@pytest.mark.parametrize(
    ("function", "result"),
    [
        pytest.param(nothing, "nothing", id="def, no argument"),
        pytest.param(lambda message: message, "x", id="lambda"),
        pytest.param(lambda: "nothing", "nothing", id="lambda, no argument"),
        pytest.param(optional, "x", id="an argument with a default"),
        pytest.param(any_number, ("x",), id="*args"),
        pytest.param(only_keywords, {}, id="**kwargs"),
        pytest.param(optional_keyword, ("x", False), id="optional keyword"),
        pytest.param(position_only, "x", id="positional only"),
        pytest.param(second_is_optional, ("x", 3), id="a second one with a default"),
        pytest.param(Bot().greet, "hello", id="method"),
        pytest.param(Bot.of_class, "Bot", id="class method"),
        pytest.param(SyncCallable(), "called", id="object with __call__"),
        pytest.param(functools.partial(optional), "x", id="partial"),
        pytest.param(functools.partial(optional, "given"), "given", id="partial with all it needs"),
    ],
)
def test_a_plain_function_is_called_with_what_it_names(
    function: Callable[..., Any], result: object
) -> None:
    handler = handler_of(function)
    assert not handler.is_async
    assert handler("x") == result


def test_a_decorated_handler_is_looked_at_through_its_wrapper() -> None:
    @functools.wraps(a_message)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await a_message(*args, **kwargs)

    handler = handler_of(wrapper)
    assert handler.is_async
    assert handler.takes_argument


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda a, b: None, 2),
        (lambda a, b, c, d=1: None, 3),
        (lambda *, key: None, 1),
        (lambda a, *, key: None, 2),
        (Bot.answer, 2),
        (with_prefix, 2),
    ],
)
def test_a_handler_that_needs_more_is_refused(function: Callable[..., Any], count: int) -> None:
    chat = Chat("test")
    with pytest.raises(ChatError, match=f"needs {count} arguments") as caught:
        chat.on_message(function)
    assert function.__qualname__ in str(caught.value)
    assert chat.hooks == {}


class WithoutSignature:
    __signature__ = "unknown"

    def __call__(self) -> None: ...


@pytest.mark.parametrize("function", [5, "handler", None, WithoutSignature()])
def test_what_cannot_be_called_or_looked_into_is_refused(function: Any) -> None:
    with pytest.raises(ChatError, match="cannot be a handler"):
        Chat("test").on_message(function)


async def yields(message: object) -> Any:
    yield message


def yields_in_a_thread(message: object) -> Any:
    yield message


@pytest.mark.parametrize("function", [yields, yields_in_a_thread])
def test_a_generator_is_refused(function: Callable[..., Any]) -> None:
    """Nobody would run it: the turn was done at once, without a word."""
    chat = Chat("test")
    for decorate in (chat.on_message, chat.on_event("vote"), chat.on_action("buy")):
        with pytest.raises(ChatError, match="is a generator"):
            decorate(function)
    assert (chat.hooks, chat.events, chat.actions) == ({}, {}, {})


@pytest.mark.parametrize(
    "decorator", ["on_chat_start", "on_stop", "on_connect", "on_disconnect", "on_session_load"]
)
def test_a_hook_without_an_argument_leaves_defaults_alone(decorator: str) -> None:
    chat = Chat("test")
    getattr(chat, decorator)(lambda greeting="hello": greeting)
    chat.on_session_unload(lambda *greetings: greetings)
    [handler, unload] = chat.hooks.values()
    assert handler(None) == "hello"
    assert unload(None) == ()


# Twice


def test_a_second_handler_is_refused_and_both_are_named() -> None:
    chat = Chat("counter")
    chat.on_message(a_message)
    with pytest.raises(ChatError) as caught:
        chat.on_message(nothing)
    assert "<Chat counter>" in str(caught.value)
    assert f"{__name__}.a_message" in str(caught.value)
    assert f"{__name__}.nothing" in str(caught.value)
    assert chat.hooks["message"].function is a_message


def test_a_second_handler_of_an_event_is_refused() -> None:
    chat = Chat("test")
    chat.on_event("vote")(a_message)
    chat.on_event("other")(a_message)
    with pytest.raises(ChatError, match="'vote'"):
        chat.on_event("vote")(nothing)


def test_the_same_handler_twice_is_one() -> None:
    chat = Chat("test")
    chat.on_message(a_message)
    chat.on_message(a_message)
    assert chat.hooks["message"].function is a_message


def test_one_function_may_handle_several_things() -> None:
    chat = Chat("test")
    chat.on_connect(nothing)
    chat.on_disconnect(nothing)
    assert chat.hooks.keys() == {"connect", "disconnect"}


def test_two_lambdas_are_two_handlers() -> None:
    chat = Chat("test")
    chat.on_message(lambda message: "first")
    with pytest.raises(ChatError):
        chat.on_message(lambda message: "second")


def test_a_reloaded_module_replaces_its_handlers(write_module: WriteModule) -> None:
    name = write_module("""
        from chatsessions import on_event, on_message

        @on_message
        async def handle(message): ...

        @on_event("vote")
        def vote(data): ...
    """)
    chat = resolve_chat(name)
    before = chat.hooks["message"].function, chat.events["vote"].function
    importlib.reload(sys.modules[name])
    again = resolve_chat(name)
    assert again is chat
    assert again.hooks["message"].function is sys.modules[name].handle
    assert again.events["vote"].function is sys.modules[name].vote
    assert again.hooks["message"].function is not before[0]


def test_a_reloaded_module_with_a_chat_has_a_new_one(write_module: WriteModule) -> None:
    name = write_module("""
        from chatsessions import Chat

        chat = Chat("reloaded")

        @chat.on_message
        async def handle(message): ...
    """)
    before = resolve_chat(f"{name}.chat")
    importlib.reload(sys.modules[name])
    after = resolve_chat(f"{name}.chat")
    assert after is not before
    assert find_chat("reloaded") is after


# The decorators of a module


def test_the_decorators_of_a_module_make_its_chat(write_module: WriteModule) -> None:
    name = write_module("""
        import chatsessions

        @chatsessions.on_chat_start
        async def start(): ...

        @chatsessions.on_message
        async def handle(message): ...

        @chatsessions.on_event("vote")
        def vote(data): ...
    """)
    chat = resolve_chat(name)
    assert chat.name == name
    assert chat.hooks.keys() == {"chat_start", "message"}
    assert chat.events.keys() == {"vote"}
    assert chat.hooks["message"].function is sys.modules[name].handle


@pytest.mark.parametrize("decorator", HOOKS)
def test_every_decorator_of_a_chat_is_there_for_modules(decorator: str) -> None:
    of_module = getattr(chatsessions, decorator)
    assert of_module.__name__ == decorator
    assert getattr(Chat, decorator).__doc__.strip().splitlines()[0] in of_module.__doc__
    assert of_module(a_message) is a_message
    assert find_chat(__name__).hooks[HOOKS[decorator]].function is a_message


def test_a_decorator_of_a_module_without_its_name_is_refused() -> None:
    """The function was no handler, and nobody said so."""
    for decorator in (chatsessions.on_event, chatsessions.on_action, chatsessions.action_callback):
        with pytest.raises(ChatError, match=r"write @chat\.on_"):
            decorator(a_message)  # type: ignore[arg-type]


def test_the_decorators_of_two_modules_are_apart(write_module: WriteModule) -> None:
    source = """
        from chatsessions import on_message

        @on_message
        async def handle(message): ...
    """
    first, second = write_module(source), write_module(source)
    assert resolve_chat(first) is not resolve_chat(second)
    assert resolve_chat(second).hooks["message"].function.__module__ == second


def test_a_second_handler_in_a_module_is_refused(write_module: WriteModule) -> None:
    name = write_module("""
        from chatsessions import on_message

        @on_message
        async def first(message): ...

        @on_message
        async def second(message): ...
    """)
    with pytest.raises(ChatError, match=rf"{name}\.second would replace it"):
        resolve_chat(name)


@pytest.mark.parametrize(
    "decorated",
    [
        pytest.param("@without_wraps\nasync def handle(message): ...", id="decorator"),
        pytest.param("handle = functools.partial(with_prefix, 'a-')", id="partial"),
        pytest.param("handle = AsyncCallable()", id="object"),
        pytest.param("handle = a_message", id="imported function"),
    ],
)
def test_a_handler_belongs_to_the_module_that_declares_it(
    write_module: WriteModule, decorated: str
) -> None:
    """Not to the one of a decorator around it, or of the class it is made of."""
    name = write_module(
        "import functools\n"
        "from chatsessions import on_message\n"
        f"from {__name__} import AsyncCallable, a_message, with_prefix, without_wraps\n"
        f"{decorated}\n"
        "on_message(handle)\n"
    )
    assert resolve_chat(name).hooks["message"].function is sys.modules[name].handle


def without_wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    """As decorators of libraries sometimes are."""

    async def wrapper(message: object) -> object:
        return await function(message)

    return wrapper


# Finding a chat


def test_a_chat_is_resolved_to_itself_and_found_by_its_name() -> None:
    chat = Chat(uuid4().hex)
    assert resolve_chat(chat) is chat
    assert find_chat(chat.name) is chat


def test_a_dotted_path_is_resolved_to_its_chat(write_module: WriteModule) -> None:
    name = write_module("""
        from chatsessions import Chat
        support = Chat("support")
    """)
    assert resolve_chat(f"{name}.support") is sys.modules[name].support


def test_a_modules_name_is_resolved_to_the_chat_in_it(write_module: WriteModule) -> None:
    name = write_module("""
        from chatsessions import Chat
        chat = Chat("in a module")
    """)
    assert resolve_chat(name) is sys.modules[name].chat


def test_a_path_inside_a_package(write_module: WriteModule) -> None:
    package = f"bots_{uuid4().hex}"
    write_module("", name=f"{package}.__init__")
    write_module("from chatsessions import Chat\nchat = Chat('inner')\n", name=f"{package}.counter")
    assert resolve_chat(f"{package}.counter.chat").name == "inner"
    assert resolve_chat(f"{package}.counter").name == "inner"


def test_the_name_of_a_missing_module_is_said(write_module: WriteModule) -> None:
    missing = f"missing_{uuid4().hex}"
    with pytest.raises(ChatError, match=rf"no module '{missing}\.bots\.chat'"):
        resolve_chat(f"{missing}.bots.chat")


def test_the_name_of_a_missing_attribute_is_said(write_module: WriteModule) -> None:
    name = write_module("x = 1")
    with pytest.raises(ChatError, match=rf"module '{name}' has no 'chat'"):
        resolve_chat(f"{name}.chat")


def test_a_module_without_handlers_is_refused_with_the_ways_out(write_module: WriteModule) -> None:
    name = write_module("x = 1")
    with pytest.raises(ChatError) as caught:
        resolve_chat(name)
    for part in (name, "on_message", "'chat'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("value", "kind"), [("chat = 5", "int"), ("def chat(): ...", "function")])
def test_what_is_no_chat_is_refused_with_what_it_is(
    write_module: WriteModule, value: str, kind: str
) -> None:
    name = write_module(value)
    for path in (f"{name}.chat", name):
        with pytest.raises(ChatError, match=f"'{path}' is a {kind}, not a chatsessions.Chat"):
            resolve_chat(path)


@pytest.mark.parametrize("chat", [None, 5, Bot()])
def test_an_object_that_is_no_chat_is_refused(chat: Any) -> None:
    with pytest.raises(ChatError, match=f"is a {type(chat).__name__}, not a chatsessions.Chat"):
        resolve_chat(chat)


def test_an_import_that_fails_inside_a_module_is_not_hidden(write_module: WriteModule) -> None:
    name = write_module(f"import missing_{uuid4().hex}")
    with pytest.raises(ModuleNotFoundError, match="missing_"):
        resolve_chat(f"{name}.chat")
    broken = write_module("1 / 0")
    with pytest.raises(ZeroDivisionError):
        resolve_chat(broken)


def test_a_name_without_a_dot_is_refused_with_a_sensible_sentence() -> None:
    missing = f"missing_{uuid4().hex}"
    with pytest.raises(ChatError, match=missing) as caught:
        resolve_chat(missing)
    assert "''" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["", ".", ".chat", "..bots.chat", "sys.", "sys..chat", "no such module", "ключ.chat"],
)
def test_an_odd_path_is_refused(path: str) -> None:
    with pytest.raises(ChatError):
        resolve_chat(path)


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1)])
def test_a_chat_that_no_row_can_name_is_refused(name: str) -> None:
    with pytest.raises(ChatError, match=f"1 to {MAX_NAME} characters"):
        resolve_chat(Chat(name))


def test_the_longest_name() -> None:
    assert resolve_chat(Chat("x" * MAX_NAME)).name == "x" * MAX_NAME


def test_a_chat_that_nobody_routes_has_no_handlers() -> None:
    """Its stored sessions are still there to be ended."""
    name = uuid4().hex
    chat = find_chat(name)
    assert (chat.name, chat.hooks, chat.events) == (name, {}, {})


# What on_interrupted gets


def test_an_interrupted_turn_says_what_was_cut_short() -> None:
    turn = InterruptedTurn(turn=3, name="message", data={"content": "hi"})
    assert (turn.turn, turn.name, turn.data) == (3, "message", {"content": "hi"})
    with pytest.raises(AttributeError):
        turn.turn = 4  # type: ignore[misc]
