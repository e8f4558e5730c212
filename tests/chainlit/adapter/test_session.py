"""``user_session``, ``context`` and the emitter."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from pydantic import BaseModel

import chatsessions
import chatsessions.chainlit as cl
from chatsessions.chainlit.context import ChainlitContext, context_var, get_context, local_steps
from chatsessions.chainlit.logger import logger, warn_once
from chatsessions.chainlit.session import BaseSession, HTTPSession, WebsocketSession
from chatsessions.chainlit.types import (
    AskFileSpec,
    AskSpec,
    CommandDict,
    ElementDict,
    FileDict,
    FileReference,
    ThreadDict,
)
from chatsessions.chainlit.user import UserDict
from chatsessions.chainlit.user_session import SessionAccessor, UserSession
from chatsessions.models import ChatSession

from .conftest import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


class Agent:
    """Something that cannot be stored."""

    def __init__(self, temperature: float = 0) -> None:
        self.temperature = temperature


class Call(BaseModel):
    """What a model answers."""

    city: str


async def test_whatever_is_set_is_there(visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    @cl.on_chat_start
    async def start() -> None:
        cl.user_session.set("agent", Agent())
        cl.user_session.set("thread_id", "mine")
        cl.user_session.set("language", "mine")
        cl.user_session.set("history", [])
        cl.user_session.set("id", "not this")

    @cl.on_message
    async def message(message: cl.Message) -> None:
        history = cl.user_session.get("history")
        history.append(message)
        history.append(Call(city="Rome"))
        assert isinstance(cl.user_session.get("agent"), Agent)
        assert cl.user_session.get("thread_id") == cl.user_session.get("language") == "mine"
        assert cl.user_session.get("id") == cl.context.session.id
        assert cl.user_session.get("nothing", 4) == 4

    @cl.action_callback("unused")
    async def unused(action: cl.Action) -> None: ...

    async with visit() as tab:
        await tab.tell("one")
        await tab.tell("two")
        row = await ChatSession.objects.aget(pk=tab.session_id)
        assert '"agent":{"~#memory":' in row.state
        assert row.state.count("chatsessions.chainlit.Message") == 2
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len([one for one in told if "'agent'" in one]) == 1
    assert len([one for one in told if "'id'] is read from the session" in one]) == 1


async def test_what_was_in_memory_only_is_built_again_unseen(visit: Visit) -> None:
    """By on_chat_start, before the next handler; what is stored stays as it is."""

    @cl.on_chat_start
    async def start() -> None:
        settings = await cl.ChatSettings(
            [cl.input_widget.Slider("t", "Temperature", initial=1)]
        ).send()
        cl.user_session.set("agent", Agent(settings["t"]))
        cl.user_session.set("count", 0)
        sent = await cl.Message("Welcome", elements=[cl.Text(name="t", content="x")]).send()
        sent.content = "Welcome!"
        await sent.update()
        await cl.Message("gone").remove()
        await cl.send_window_message("started")
        await cl.TaskList().send()
        async with cl.Step(name="starting") as step:
            await step.stream_token("x")

    @cl.on_message
    async def message(message: cl.Message) -> None:
        cl.user_session.set("count", cl.user_session.get("count") + 1)
        agent = cl.user_session.get("agent")
        history = cl.user_session.get("history", [])
        history.append(message)
        cl.user_session.set("history", history)
        said = [one.content for one in history]
        await cl.Message(f"{agent.temperature} {cl.user_session.get('count')} {said}").send()

    async with visit() as tab:
        assert await tab.wait_for_turn(0) == "done"
        assert await tab.tell("one") == ["1 1 ['one']"]
        await tab.send_event("settings", {"t": 5})
        await tab.wait_for_turn()
        await tab.move()
        assert await tab.tell("two") == ["5 2 ['one', 'two']"]
        assert await tab.tell("three") == ["5 3 ['one', 'two', 'three']"]
        assert [one.content for one in tab.messages].count("Welcome!") == 1
        assert [one.name for one in tab.events].count("window_message") == 1
        assert [one.name for one in tab.events].count("step") == 1


def forget_the_last() -> None:
    cl.chat_context.remove(cl.chat_context.get()[-1])


@pytest.mark.parametrize("forget", [lambda: None, cl.chat_context.clear, forget_the_last])
async def test_what_builds_it_again_leaves_the_conversation_alone(
    visit: Visit, forget: Callable[[], None]
) -> None:
    """Each reload added the system message once more, or forgot what was said."""

    @cl.on_chat_start
    async def start() -> None:
        cl.user_session.set("agent", Agent())
        await cl.Message("Welcome").send()
        forget()
        added = cl.Message("be kind", type="system_message")
        assert cl.chat_context.add(added) is added

    @cl.on_message
    async def message() -> None:
        assert isinstance(cl.user_session.get("agent"), Agent)
        said = " ".join(one["content"] for one in cl.chat_context.to_openai())
        await cl.Message(f"({said})").send()

    async with visit() as tab:
        await tab.wait_for_turn(0)
        [first] = await tab.tell("one")
        assert first in ("(Welcome be kind one)", "(be kind one)")
        await tab.move()
        [second] = await tab.tell("two")
        assert second == f"({first[1:-1]} {first} two)"
        await tab.move()
        assert await tab.tell("three") == [f"({second[1:-1]} {second} three)"]


async def test_what_builds_it_again_saves_no_file_twice(visit: Visit, settings: Settings) -> None:
    """The session had one more copy after each reload, until it had no room for another."""
    settings.CHATSESSIONS = {"MAX_FILES_PER_SESSION": 4}
    texts: list[str] = []

    @cl.on_chat_start
    async def start() -> None:
        session = cl.context.session
        for text in ("first", "second"):
            saved = await session.persist_file("dir/a.txt", "text/plain", content=text)
            texts.append(session.files[saved["id"]]["path"].read_text())
        element = cl.File(name="b.txt", content="third")
        await element.save()
        texts.append(session.files[element.chainlit_key]["path"].read_text())
        cl.user_session.set("agent", Agent())

    @cl.on_message
    async def message() -> None:
        await cl.Message(str(len(await chatsessions.context.session.files()))).send()

    async with visit() as tab:
        await tab.wait_for_turn(0)
        file = await tab.upload("a.txt", "the user's")
        for _ in range(3):
            assert await tab.tell("look", files=[file]) == ["4"]
            await tab.move()
    assert texts == ["first", "second", "third"] * 3


async def test_on_chat_resume_builds_it_if_there_is_one(visit: Visit) -> None:
    threads: list[ThreadDict] = []

    @cl.on_chat_start
    async def start() -> None:
        cl.user_session.set("agent", Agent())

    @cl.on_chat_resume
    async def resume(thread: ThreadDict) -> None:
        threads.append(thread)
        await cl.Message("not shown").send()
        cl.user_session.set("agent", Agent(7))

    @cl.on_message
    async def message() -> None:
        await cl.Message(str(cl.user_session.get("agent").temperature)).send()

    async with visit() as tab:
        assert await tab.tell("one") == ["0"]
        await tab.move()
        assert await tab.tell("two") == ["7"]
    [thread] = threads
    steps = [(one["type"], one["output"]) for one in thread["steps"]]
    assert steps == [("user_message", "one"), ("assistant_message", "0"), ("user_message", "two")]
    assert json.dumps(thread)


async def test_on_session_load_may_build_it(visit: Visit) -> None:
    @cl.on_session_load
    async def load() -> None:
        cl.user_session.set("agent", Agent(3))

    @cl.on_chat_start
    async def start() -> None:
        await cl.Message("start").send()

    @cl.on_message
    async def message() -> None:
        await cl.Message(str(cl.user_session.get("agent").temperature)).send()

    async with visit() as tab:
        await tab.tell("one")
        await tab.move()
        assert await tab.tell("two") == ["3"]


async def test_an_accessor(visit: Visit) -> None:
    count = cl.user_session.create_accessor("count", 0, apply_fn=lambda value: value + 1)
    assert isinstance(count, SessionAccessor)
    assert isinstance(cl.user_session, UserSession)

    @cl.on_message
    async def message() -> None:
        assert (count.get(), count.apply(), count.apply()) == (0, 1, 2)
        count.reset()
        assert count.get() == 0
        count.set(5)
        assert cl.user_session.get("count") == 5

    async with visit() as tab:
        await tab.tell("hello")


async def test_the_session(visit: Visit, django_user_model: type[User]) -> None:
    ada = await django_user_model.objects.acreate_user("ada", first_name="Ada", last_name="L")
    seen: dict[str, Any] = {}

    @cl.on_chat_start
    async def start() -> None:
        assert cl.context.session.has_first_interaction is False

    @cl.on_message
    async def message() -> None:
        session: BaseSession = cl.context.session
        assert isinstance(session, WebsocketSession)
        assert not isinstance(session, HTTPSession)
        assert session is get_context().session
        assert isinstance(session.id, str)
        assert WebsocketSession.get_by_id(session.id) is session
        assert WebsocketSession.get("other") is None
        assert session.has_first_interaction is True
        assert session.user_env == cl.user_session.get("env") == {"KEY": "secret value"}
        user: cl.PersistedUser = cl.user_session.get("user")
        assert (user.identifier, user.display_name, user.id) == ("ada", "Ada L", str(ada.pk))
        assert set(UserDict.__annotations__) <= {*user.to_dict()}
        assert session.chat_profile is None
        assert session.client_type == "webapp"
        assert session.token is None
        reference: FileReference = await session.persist_file("t.csv", "text/csv", content="1,2")
        file: FileDict = session.files[reference["id"]]
        assert file["path"].read_text() == "1,2"
        with pytest.raises(ValueError, match="path or content"):
            await session.persist_file("t.csv", "text/csv")
        cl.user_session.set("plain", 1)
        assert not hasattr(session, "mcp_sessions")
        with pytest.raises(AttributeError, match="session_lifespan"):
            session.mcp_sessions  # noqa: B018
        with pytest.raises(AttributeError, match=r"settings\.CHATSESSIONS"):
            session.config  # noqa: B018
        seen.update(session.to_persistable())
        await session.delete()
        assert (session.files, file["path"].exists()) == ({}, False)
        await session.emit("mine", {"a": 1})

    async with visit(user=ada, env={"KEY": "secret value"}) as tab:
        await tab.tell("hello")
        assert (await tab.receive_event("mine")).data == {"a": 1}
    assert seen["plain"] == 1
    assert seen["env"] == {}


@pytest.mark.parametrize("kind", [HTTPSession, WebsocketSession])
def test_a_bot_makes_no_session(kind: Any) -> None:
    for given in ({}, {"id": "1", "client_type": "webapp", "user": None}):
        with pytest.raises(TypeError, match="session_context"):
            kind(**given)


async def test_the_emitter_sends_elements(visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        emitter = cl.context.emitter
        if message.content == "first":
            saved = cl.File(name="saved.txt", content="x")
            await saved.save()
            cl.user_session.set("element", saved.to_dict())
        await emitter.send_element(cl.user_session.get("element"))
        await emitter.send_element(cl.File(name="lost.txt", content="x").to_dict())

    async with visit() as tab:
        assert await tab.tell("first") == ["saved.txt"]
        await tab.move()
        assert await tab.tell("again") == ["saved.txt"]
        assert [len(one.files) for one in tab.messages if one.author != "User"] == [1, 1]
    assert len([one for one in caplog.records if "send_element" in one.getMessage()]) == 1


async def test_a_session_of_a_client_by_http_and_of_nobody(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        assert isinstance(cl.context.session, HTTPSession)
        assert cl.user_session.get("user") is None
        assert cl.context.session.user is None

    async with visit(client_type="http") as tab:
        await tab.tell("hello")


async def test_the_context_in_a_thread_of_ones_own(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        context = context_var.get()
        assert isinstance(context, ChainlitContext)
        assert context.current_run.name == "on_message"
        assert cl.context.current_step is context.current_run
        assert local_steps.get() == [context.current_run]

        def work() -> None:
            token = context_var.set(context)
            cl.run_sync(cl.Message("from a thread").send())
            context_var.reset(token)
            assert context_var.get(None) is None

        thread = threading.Thread(target=work)
        thread.start()
        await cl.make_async(thread.join)()

    async with visit() as tab:
        assert await tab.tell("hello") == ["from a thread"]


async def test_the_emitter_does_what_can_be_shown(
    visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()  # another test may have been told

    @cl.on_message
    async def message() -> None:
        emitter = cl.context.emitter
        one: Any = {"id": "1", "name": "Ada", "output": "one", "type": "assistant_message"}
        await emitter.send_step(one)
        await emitter.update_step(one | {"output": "two"})
        await emitter.send_step(one | {"id": "2", "output": "gone"})
        await emitter.delete_step(one | {"id": "2"})
        await emitter.stream_start(one | {"id": "3", "output": ""})
        for token in ("a", "b"):
            await emitter.send_token("3", token)
        element: ElementDict = {"name": "t", "type": "file", "forId": "1"}
        await emitter.send_element(element | {"url": "https://example.com/"})
        await emitter.send_window_message({"w": 1})
        await emitter.send_toast("done", "success")
        with pytest.raises(ValueError, match="toast"):
            await emitter.send_toast("done", "loud")
        command: CommandDict = {"id": "x", "description": "", "icon": ""}
        await emitter.set_commands([command])
        await emitter.set_commands([command])
        await emitter.task_start()
        await emitter.clear("clear_ask")
        emitter.set_chat_settings({"a": 1})
        assert cl.user_session.get("chat_settings") == {"a": 1}
        emitter.set_chat_settings(cl.user_session.get("chat_settings"))
        assert cl.user_session.get("chat_settings") == {"a": 1}
        assert await emitter.send_call_fn("f", {}, timeout=0.05) is None
        spec = AskSpec(timeout=30, type="text", step_id="1")
        assert (await emitter.send_ask_user(one, spec))["output"] == "Bob"
        files = AskFileSpec(30, "file", "1", accept=["text/csv"], max_files=1, max_size_mb=1)
        files.timeout = 1
        assert emitter.session is cl.context.session
        await emitter.send_resume_thread_error("oh")

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.wait_until(lambda: [e for e in tab.events if e.data.get("kind") == "text"])
        [asked] = [e for e in tab.events if e.name == "ask" and e.data["kind"] == "text"]
        await tab.answer(asked.data["call"], {"content": "Bob"})
        assert await tab.wait_for_turn(n) == "done"
        said = [one.content for one in tab.messages[1:]]
        assert said == ["two", "ab", "t: https://example.com/", "oh"]
        assert (await tab.receive_event("window_message")).data == {"w": 1}
        assert (await tab.receive_event("toast")).data == {"message": "done", "type": "success"}
    told = [one for one in caplog.records if "set_commands() is ignored" in one.getMessage()]
    assert [one.name for one in told] == [logger.name]


async def test_the_emitter_shows_steps(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        emitter = cl.context.emitter
        work = cl.Step(name="work", type="tool")
        work.input = "in"
        await emitter.send_step(work.to_dict())
        await emitter.update_step(work.to_dict() | {"output": "out", "end": "2026-01-01T00:00:00Z"})
        gone = cl.Step(name="gone", type="tool").to_dict()
        await emitter.send_step(gone)
        await emitter.delete_step(gone)
        think = cl.Step(name="think", type="llm").to_dict()
        await emitter.stream_start(think | {"output": "a"})
        await emitter.send_token(think["id"], "b")
        await emitter.update_step(think | {"output": "abc"})

    async with visit() as tab:
        assert await tab.tell("hello") == []
        steps: dict[str, Any] = {}
        for event in tab.events:
            if event.name in ("step", "step_update"):
                steps[event.data["id"]] = event.data
            elif event.name == "step_remove":
                del steps[event.data["id"]]
        shown = {one["name"]: (one["type"], one["input"], one["output"]) for one in steps.values()}
        assert shown == {"work": ("tool", "in", "out"), "think": ("llm", "", "abc")}
        assert not any(one["streaming"] for one in steps.values())


def test_the_keys_of_a_bot_with_decorators() -> None:
    try:
        cl.user_env("MODEL_API_KEY")
        assert chatsessions.module_chat(__name__).user_env == ("MODEL_API_KEY",)
    finally:
        chatsessions.module_chat(__name__).user_env = None


async def test_a_new_session_on_an_old_thread(visit: Visit, django_user_model: type[User]) -> None:
    """on_chat_resume sets what was in memory only; without it on_chat_start does, unseen."""
    ada = await django_user_model.objects.acreate_user("ada")

    @cl.on_chat_start
    async def start() -> None:
        cl.user_session.set("agent", Agent())
        await cl.Message("Welcome").send()

    @cl.on_message
    async def message() -> None:
        assert isinstance(cl.user_session.get("agent"), Agent)
        await cl.Message(f"{cl.user_session.get('agent').temperature}").send()

    async with visit(user=ada) as tab:
        await tab.tell("one")
        row = await ChatSession.objects.aget(pk=tab.session_id)
        thread = str(row.thread_id)
    async with visit(user=ada, thread=thread) as tab:
        assert await tab.tell("two") == ["0"]

    @cl.on_chat_resume
    async def resume(thread: ThreadDict) -> None:
        assert [one["output"] for one in thread["steps"]][-2:] == ["two", "0"]
        assert {one["parentId"] for one in thread["steps"]} == {None}
        cl.user_session.set("agent", Agent(9))

    async with visit(user=ada, thread=thread) as tab:
        assert await tab.tell("three") == ["9"]
        assert "Welcome" not in [one.content for one in tab.messages]
