"""Bots that do what bots should not do."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from chatsessions import (
    Action,
    AskUserMessage,
    Chat,
    ChatSettings,
    Message,
    Thread,
    chat_context,
    context,
    serializable,
    spawn,
    user_session,
)
from chatsessions.input_widget import Slider

# The bot of most tests: one event for each fault

faulty = Chat("faulty")


@faulty.on_chat_start
async def start() -> None:
    user_session["starts"] = user_session.get("starts", 0) + 1
    await Message("started").send()


@faulty.on_message
async def echo(message: Message) -> None:
    """Says what it heard."""
    await Message(message.content).send()


@faulty.on_event("echo")
async def echo_data(data: Any) -> None:
    await context.emitter.emit("echo", data)


@faulty.on_event("add")
async def add(data: int) -> None:
    """Reads, waits and writes: two turns at a time would lose an update."""
    total = user_session.get("total", 0)
    await asyncio.sleep(0.001)
    user_session["total"] = total + data
    await Message(f"total {total + data}").send()


@faulty.on_event("forgets_to_send")
async def forget_to_send() -> None:
    Message("never said").send()  # type: ignore[unused-coroutine]  # what is tried here


async def pause_for_thought() -> None:
    """Not ours: only Python can tell that it was never awaited."""


@faulty.on_event("forgets_a_coroutine")
async def forget_a_coroutine() -> None:
    pause_for_thought()  # type: ignore[unused-coroutine]  # what is tried here


@faulty.on_event("slow")
async def slow(data: float) -> None:
    await Message("slow begins").send()
    await asyncio.sleep(data)
    await Message("slow ends").send()


@faulty.on_event("block")
def block() -> None:
    """A sync handler; ``def``, so it has a thread of its own. It waits for ``unblock``."""
    session = str(context.session.id)
    gate = gates[session] = threading.Event()
    user_session["blocked"] = "begun"
    Message("blocked").send()
    gate.wait(90)
    try:
        user_session["blocked"] = "over"
    except Exception as error:
        seen[session] = [type(error).__name__]
        raise


@faulty.on_event("unblock")
async def unblock(data: str) -> None:
    """Let the handler of the session with this id go on."""
    gates.pop(data).set()


#: What handlers that block or stream wait for, by session.
gates: dict[str, threading.Event] = {}


@faulty.on_event("raise")
async def raise_before() -> None:
    user_session["raised"] = True
    raise RuntimeError("secret-of-the-server")


@faulty.on_event("raise_after")
async def raise_after() -> None:
    await Message("before the error").send()
    raise RuntimeError("secret-of-the-server")


class OddError(BaseException):
    """Not an ``Exception``: like what some libraries use to get past ``except Exception``."""


@faulty.on_event("exit")
async def exit_() -> None:
    sys.exit(3)


@faulty.on_event("exit_beside")
async def exit_beside() -> None:
    spawn(exit_())


@faulty.on_event("exit_sync")
def exit_sync() -> None:
    sys.exit(3)


@faulty.on_event("odd")
async def odd() -> None:
    raise OddError("secret-of-the-server")


@faulty.on_event("cancel_self")
async def cancel_self() -> None:
    raise asyncio.CancelledError


@faulty.on_event("surrogate_error")
async def surrogate_error() -> None:
    raise ValueError("\ud83d alone")


@faulty.on_event("never")
async def never() -> None:
    await Message("never begins").send()
    await asyncio.Event().wait()


@faulty.on_event("finally")
async def clean_up() -> None:
    await Message("working").send()
    try:
        await asyncio.Event().wait()
    finally:
        user_session["cleaned"] = True
        await Message("cleaned up").send()


@faulty.on_event("finally_waits")
async def clean_up_slowly() -> None:
    """What it awaits while it cleans up is not cancelled once more."""
    await Message("working").send()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.2)
        await Message("cleaned up").send()


@faulty.on_event("stubborn")
async def stubborn() -> None:
    """Will not be cancelled, and goes on until ``unblock``."""
    gate = gates[str(context.session.id)] = threading.Event()
    await Message("stubborn begins").send()
    while not gate.is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
    refused = []
    try:
        await Message("too late").send()
    except Exception as error:
        refused.append(type(error).__name__)
    try:
        user_session["too late"] = True
    except Exception as error:
        refused.append(type(error).__name__)
    seen[str(context.session.id)] = refused
    raise RuntimeError("after it was abandoned")


#: What handlers whose turn was over saw, by session: they cannot write it into the log any more.
seen: dict[str, list[str]] = {}


@faulty.on_event("seen")
async def tell_seen() -> None:
    """Waits until the handler that goes on has seen its errors."""
    session = str(context.session.id)
    while session not in seen:  # noqa: ASYNC110, RUF100  # the dict has no event
        await asyncio.sleep(0.01)
    await context.emitter.emit("seen", seen[session])


@faulty.on_event("spawn_fails")
async def spawn_fails() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.05)
        await Message("spawned speaks").send()
        raise RuntimeError("secret-of-the-server")

    spawn(fail())
    await Message("spawned").send()


@faulty.on_event("spawn_forever")
async def spawn_forever() -> None:
    async def go_on() -> None:
        count = 0
        while True:
            await asyncio.sleep(0.02)
            count += 1
            await context.emitter.emit("tick", count)

    spawn(go_on())
    await asyncio.Event().wait()


@faulty.on_event("many")
async def many(data: dict[str, int]) -> None:
    """``count`` events of ``bytes`` each, as fast as it may."""
    for number in range(data["count"]):
        await context.emitter.emit("filler", {"number": number, "text": "x" * data["bytes"]})


@faulty.on_event("big")
async def big(data: int) -> None:
    await Message("y" * data).send()


@faulty.on_event("set_unencodable")
async def set_unencodable() -> None:
    user_session["lock"] = threading.Lock()


@faulty.on_event("emit_unencodable")
async def emit_unencodable() -> None:
    await context.emitter.emit("lock", threading.Lock())


@faulty.on_event("emit_surrogate")
async def emit_surrogate() -> None:
    await Message("\ud83d").send()


@serializable(name="tests.Moody")
class Moody:
    """Can be stored, until it cannot."""

    def __init__(self) -> None:
        self.moody = False

    def to_storable(self) -> dict[str, Any]:
        if self.moody:
            raise KeyError("moody")
        return {}

    @classmethod
    def from_storable(cls, _data: dict[str, Any]) -> Moody:
        return cls()


@faulty.on_event("moody")
async def moody() -> None:
    """Stores an object whose own code fails at the next commit."""
    user_session["moody"] = thing = Moody()
    await context.emitter.flush()
    user_session["moody"].moody = thing.moody = True
    await Message("moody now").send()


# Streams


@faulty.on_event("stream")
async def stream(data: dict[str, Any]) -> None:
    """
    ``count`` tokens, ``pause`` seconds after each, with events between where ``mixed``.

    Without a ``count`` it goes on until ``unblock``; with ``waits`` it waits for that behind its
    first token.
    """
    gate = gates[str(context.session.id)] = threading.Event()
    message = Message()
    for number in range(data["count"]) if "count" in data else itertools.count():
        await message.stream_token(f"{number} ")
        if data.get("mixed"):
            await context.emitter.emit("between", number)
        await asyncio.sleep(data.get("pause", 0))
        while data.get("waits") and not gate.is_set():  # noqa: ASYNC110, RUF100  # no asyncio.Event
            await asyncio.sleep(0.01)
        if "count" not in data and gate.is_set():
            break
    if data.get("close", True):
        await message.update()


@faulty.on_event("stream_two")
async def stream_two() -> None:
    """It goes on until ``unblock``."""
    gate = gates[str(context.session.id)] = threading.Event()
    first, second = Message(), Message()
    for number in itertools.count():
        await first.stream_token(f"a{number} ")
        await second.stream_token(f"b{number} ")
        await asyncio.sleep(0.01)
        if gate.is_set():
            break
    await second.update()
    await first.update()


@faulty.on_event("stream_again")
async def stream_again() -> None:
    """A sent message goes on as a stream, and is replaced in the middle of it."""
    message = await Message("sent ").send()
    await message.stream_token("and ")
    await message.stream_token("streamed ")
    await message.stream_token("replaced ", is_sequence=True)
    await message.stream_token("on")
    await message.update()


@faulty.on_event("stream_raises")
async def stream_raises() -> None:
    message = Message()
    await message.stream_token("half ")
    await message.stream_token("a sentence")
    raise RuntimeError("secret-of-the-server")


@faulty.on_event("stream_surrogate")
async def stream_surrogate() -> None:
    """Half of an emoji, as some APIs cut their tokens."""
    message = Message()
    await message.stream_token("ok ")
    await message.stream_token("\ud83d")
    await message.stream_token("\ude00")


# Hooks, which write their order into the log

hooks = Chat("hooks")


async def _tell(name: str, data: Any = None) -> None:
    user_session["calls"] = [*user_session.get("calls", []), name]
    await context.emitter.emit("hook", {"name": name, "data": data})


@asynccontextmanager
async def _marked(name: str) -> AsyncIterator[None]:
    await _tell(f"{name} begins")
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        await _tell(f"{name} ends")


@hooks.on_session_load
async def session_load() -> None:
    await asyncio.sleep(0.02)
    user_session.local["client"] = "live"
    await _tell("session_load")


@hooks.on_chat_start
async def chat_start() -> None:
    async with _marked("chat_start"):
        await asyncio.sleep(0.1)


@hooks.on_connect
async def connect() -> None:
    await _tell("connect", user_session.local.get("client"))


@hooks.on_disconnect
async def disconnect() -> None:
    await _tell("disconnect", user_session.local.get("client"))


@hooks.on_stop
async def stop() -> None:
    await _tell("stop", user_session.local.get("client"))


@hooks.on_chat_end
async def chat_end(reason: str) -> None:
    async with _marked("chat_end"):
        await _tell("chat_end", {"reason": reason, "client": user_session.local.get("client")})


@hooks.on_settings_update
async def settings_update(settings: dict[str, Any]) -> None:
    await _tell("settings", settings)


@hooks.on_message
async def message_hook(message: Message) -> None:
    await _tell("message", [message.content, user_session.local.get("client")])


@hooks.on_event("never")
async def hooks_never() -> None:
    await _tell("never")
    await asyncio.Event().wait()


# Start-up that takes long, and a chat without any handler

slow_start = Chat("slow_start")


@slow_start.on_session_load
async def load_slowly() -> None:
    await asyncio.sleep(0.5)
    user_session.local["ready"] = True


@slow_start.on_connect
async def connect_slowly() -> None:
    await asyncio.sleep(0.5)
    await Message("connected").send()


@slow_start.on_message
async def use_local(_message: Message) -> None:
    await Message(f"ready: {user_session.local.get('ready', False)}").send()


bare = Chat("bare")

# Asks, offers and declares

choosy = Chat("choosy")


@choosy.on_chat_start
async def offer() -> None:
    await ChatSettings([Slider(id="size", label="Size", min=1, max=9, initial=3)]).send()
    await Message("offer", actions=[Action("count", {"by": 2}, id="count")]).send()


@choosy.on_message
async def ask(message: Message) -> None:
    answer = await AskUserMessage(message.content, timeout=30).send()
    await Message("no answer" if answer is None else f"heard {answer['output']}").send()


@choosy.on_action("count")
async def count(action: Action) -> None:
    user_session["counted"] = user_session.get("counted", 0) + action.payload["by"]


# Goes on with old threads

mindful = Chat("mindful")


@mindful.on_chat_resume
async def recall(thread: Thread) -> None:
    await Message(f"resumed {len(thread.transcript)}, {user_session['said']}").send()


@mindful.on_message
async def remember(message: Message) -> None:
    user_session["said"] = message.content
    await Message(f"context {len(chat_context.to_openai())}").send()


CHATS = (faulty, hooks, slow_start, bare, choosy, mindful)
