"""The decorators: what runs, when, beside what, and for which bot."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import chatsessions
import chatsessions.chainlit as cl
from chatsessions import TurnStopped
from chatsessions.chainlit.chat_settings import ChatSettings
from chatsessions.chainlit.input_widget import (
    Checkbox,
    DatePicker,
    InputWidget,
    MultiSelect,
    NumberInput,
    RadioGroup,
    Select,
    Slider,
    Switch,
    Tab,
    Tags,
    TextInput,
)
from chatsessions.chainlit.types import Feedback
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.chat import _chats, resolve_chat
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator
from tests.support.sessions import until

from .conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_callback_wakes_the_handler_that_waits(visit: Visit) -> None:
    pressed = asyncio.Event()

    @cl.on_message
    async def message() -> None:
        await cl.Message("Press", actions=[cl.Action("go", {}, label="Go")]).send()
        await pressed.wait()
        await cl.Message("pressed").send()

    @cl.action_callback("go")
    async def go() -> None:
        pressed.set()

    @cl.on_window_message
    async def window(data: str) -> None:
        await cl.send_window_message(f"you said {data}")

    @cl.on_settings_update
    async def settings(values: dict[str, Any]) -> None:
        await cl.Message(f"settings {values}").send()

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.receive_message()
        assert await tab.wait_for_turn(await tab.send_event("window_message", "x")) == "done"
        assert (await tab.receive_event("window_message")).data == "you said x"
        assert await tab.wait_for_turn(await tab.send_event("settings", {"a": 1})) == "done"
        assert (await tab.receive_message()).content == "settings {'a': 1}"
        await tab.press("Go")
        assert await tab.wait_for_turn(n) == "done"
        assert (await tab.receive_message()).content == "pressed"
        # What was sent to the window is in the log, and comes again to a page that is loaded again.
        assert await tab.reload()
        assert "you said x" in [one.data for one in tab.events]


async def test_stop_is_said(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        await cl.Message(f"Stopped so far: {cl.user_session.get('stopped', 0)}").send()
        if message.content == "hello":
            await cl.sleep(100)

    @cl.on_stop
    def stopped() -> None:
        cl.user_session.set("stopped", 1)
        cl.run_sync(cl.Message("I have stopped").send())

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.receive_message()
        await tab.stop()
        assert await tab.wait_for_turn(n) == "stopped"
        assert (await tab.receive_message()).content == "Task manually stopped."
        assert (await tab.receive_message()).content == "I have stopped"
        assert await tab.tell("how often?") == ["Stopped so far: 1"]


async def test_a_start_that_other_handlers_call_has_its_defaults(visit: Visit) -> None:
    @cl.on_chat_start
    async def start(greeting: str = "Hello") -> None:
        await cl.Message(f"{greeting}!").send()

    @cl.on_message
    async def message(message: cl.Message) -> None:
        await start(message.content)

    async with visit() as tab:
        assert (await tab.receive_message()).content == "Hello!"
        assert await tab.tell("Hello again") == ["Hello again!"]


async def test_the_end(visit: Visit) -> None:
    ended = asyncio.Event()

    @cl.on_chat_end
    async def end() -> None:
        ended.set()

    @cl.on_message
    async def message() -> None: ...

    async with visit() as tab:
        await tab.move()
        assert not ended.is_set()
        await tab.end()
        assert ended.is_set()


async def test_profiles(visit: Visit) -> None:
    @cl.set_chat_profiles
    async def profiles(user: cl.User | None, language: str | None) -> list[cl.ChatProfile]:
        assert user is None
        return [
            cl.ChatProfile("fast", "**Fast**", "https://example.com/i.png", "Fast one"),
            cl.ChatProfile("good", "", default=True, config_overrides={"ui": {"name": "x"}}),
        ]

    @cl.on_message
    async def message() -> None:
        await cl.Message(cl.user_session.get("chat_profile")).send()

    async with visit() as tab:
        assert await tab.tell("which?") == ["good"]
    async with visit(profile="fast") as tab:
        assert await tab.tell("which?") == ["fast"]


async def test_starters(visit: Visit) -> None:
    @cl.set_starters
    async def starters() -> list[cl.Starter]:
        return [cl.Starter("Hello", "Say hello", command="search", icon="/x.svg")]

    @cl.set_starter_categories
    async def categories(user: Any) -> list[cl.StarterCategory]:
        bye = cl.Starter(label="Bye", message="Say bye", icon="wave")
        return [cl.StarterCategory("More", starters=[bye])]

    async with visit() as tab:
        offered = (await tab.receive_event("starters")).data["starters"]
    assert offered == [
        {"label": "Hello", "message": "Say hello", "icon": None},
        {"label": "Bye", "message": "Say bye", "icon": "wave"},
    ]


async def test_settings(visit: Visit) -> None:
    inputs: list[InputWidget | Tab] = [
        Select("model", "Model", values=["a", "b"], initial_index=1),
        Slider(id="t", label="Temperature", initial=1, max=2, disabled=True),
        Switch("s", "Stream", True),
        Checkbox("c", "Check"),
        TextInput("n", "Name", "Ada", placeholder="who"),
        Tags("tags", "Tags", ["x"]),
        RadioGroup("r", "Radio", items={"Red": "red"}, initial_value="red"),
        Tab(
            "more",
            "More",
            [
                MultiSelect("m", "Many", values=["a", "b"], initial=["a"]),
                NumberInput("k", "Number", 4),
                DatePicker("d", "Day", mode="range", initial=(date(2026, 5, 1), "2026-05-02")),
            ],
        ),
    ]
    expected = {
        "model": "b",
        "t": 1,
        "s": True,
        "c": False,
        "n": "Ada",
        "tags": ["x"],
        "r": "red",
        "m": ["a"],
        "k": 4,
        "d": ["2026-05-01", "2026-05-02"],
    }

    @cl.on_message
    async def message(message: cl.Message) -> None:
        settings = ChatSettings(inputs)
        assert settings.settings() == expected
        if message.content == "send":
            assert await settings.send() == expected
        else:
            assert await settings.refresh() == expected
        await cl.Message(str(cl.user_session.get("chat_settings")["n"])).send()

    async with visit() as tab:
        assert await tab.tell("send") == ["Ada"]
        await tab.send_event("settings", {"n": "Bob"})
        await tab.wait_for_turn()
        assert await tab.tell("refresh") == ["Bob"]
    assert inputs[0].to_dict()["items"] == [
        {"label": "a", "value": "a"},
        {"label": "b", "value": "b"},
    ]
    assert inputs[1].to_dict()["disabled"] is True
    for wrong in (
        {},
        {"values": ["a"], "items": {"a": "a"}},
        {"items": {"a": "a"}, "initial_index": 0},
    ):
        with pytest.raises(ValueError, match=r"values|items"):
            Select("x", "X", **wrong)  # type: ignore[arg-type]
    assert inputs[-1].to_dict()["inputs"][2]["initial"] == ["2026-05-01", "2026-05-02"]
    with pytest.raises(ValueError, match="initial"):
        DatePicker("d", "Day", mode="range", initial="2026-05-01")
    with pytest.raises(ValueError, match="key and label"):
        Switch("", "")
    with pytest.raises(ValueError, match="Two inputs"):
        ChatSettings([Switch("a", "A"), Switch("a", "B")])


async def test_handlers_of_imported_modules_are_the_bots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of two for one hook the last one counts."""
    (tmp_path / "cl_parts.py").write_text(
        "import chatsessions.chainlit as cl\n\n"
        "@cl.on_chat_start\nasync def start():\n    await cl.Message('from parts').send()\n\n"
        "@cl.on_message\nasync def message():\n    await cl.Message('not this one').send()\n"
    )
    (tmp_path / "cl_whole.py").write_text(
        "import chatsessions.chainlit as cl\nimport cl_parts\n\n"
        "@cl.on_message\nasync def message():\n    await cl.Message('from the bot').send()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        chat = resolve_chat("cl_whole")
        async with ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=20) as tab:
            await tab.send("hello")
            assert (await tab.receive_message()).content == "from parts"
            assert (await tab.receive_message()).content == "from the bot"
    finally:
        for name in ("cl_whole", "cl_parts"):
            sys.modules.pop(name, None)
            _chats.pop(name, None)
        importlib.invalidate_caches()


async def test_run_sync_in_a_function_that_a_handler_calls(visit: Visit) -> None:
    """The handler waits, and the event loop goes on."""

    async def ask() -> str:
        answer = await cl.AskUserMessage("Name?").send()
        assert answer is not None
        return answer["output"] + shout("!")

    def shout(text: str) -> str:
        return cl.run_sync(later(text))

    async def later(text: str) -> str:
        await cl.sleep(0)
        return text * 2

    def plain() -> str:
        return cl.run_sync(ask())

    @cl.on_message
    async def message() -> None:
        await cl.Message(plain()).send()

    async with visit() as tab:
        n = await tab.send("hello")
        call = (await tab.receive_event("ask")).data["call"]
        await tab.answer(call, {"content": "Ada"})
        assert await tab.wait_for_turn(n) == "done"
        assert tab.messages[-1].content == "Ada!!"


async def test_a_stopped_handler_leaves_run_sync(visit: Visit) -> None:
    left = asyncio.Event()

    def plain() -> None:
        try:
            cl.run_sync(asyncio.sleep(100))
        finally:
            left.set()

    @cl.on_message
    async def message() -> None:
        await cl.Message("waiting").send()
        plain()

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.receive_message()
        await tab.stop()
        assert await tab.wait_for_turn(n) == "stopped"
        assert left.is_set()


async def test_run_sync_where_no_handler_has_called() -> None:
    async def at_once() -> int:
        return 1

    assert cl.run_sync(at_once()) == 1
    with pytest.raises(RuntimeError, match="would block the event loop"):
        cl.run_sync(cl.sleep(0.01))


async def test_steps(visit: Visit) -> None:
    @cl.step(type="tool")
    async def search(query: str) -> dict[str, int]:
        await cl.Message("found").send()
        return {query: 1}

    @cl.step(name="doubles")
    def double(x: int) -> int:
        return x * 2

    @cl.on_message
    async def message() -> None:
        async with cl.Step(name="outer", type="run") as outer:
            outer.input = "question"
            assert cl.context.current_step is outer
            await search("x")
            for token in "abc":
                await outer.stream_token(token)
            with cl.Step(name="plain"):
                assert cl.context.current_step.parent_id == outer.id
        assert double(2) == 4
        alone = cl.Step(name="alone")
        alone.output = "done"
        assert await alone.send() is alone
        gone = await cl.Step(name="gone").send()
        assert await gone.remove() is True
        assert [one.content for one in cl.chat_context.get()] == ["hello", "found"]

    async with visit() as tab:
        assert await tab.tell("hello") == ["found"]
        steps: dict[str, Any] = {}
        for event in tab.events:
            if event.name in ("step", "step_update"):
                steps[event.data["name"]] = event.data
        outer = steps["outer"]
        assert (outer["input"], outer["output"], outer["streaming"]) == ("question", "abc", False)
        assert steps["search"]["parent"] == steps["plain"]["parent"] == outer["id"]
        assert steps["search"]["input"] == '{\n    "query": "x"\n}'
        assert steps["search"]["output"] == '{\n    "x": 1\n}'
        assert (steps["doubles"]["output"], steps["alone"]["output"]) == ("4", "done")
        assert [e for e in tab.events if e.name == "step_remove"]


async def test_a_step_that_fails(visit: Visit) -> None:
    """What went wrong stays on the server."""

    @cl.on_message
    async def message() -> None:
        async with cl.Step(name="bad") as step:
            step.input = "x"
            raise ValueError("a secret")

    async with visit() as tab:
        n = await tab.send("hello")
        assert await tab.wait_for_turn(n) == "failed"
        [ended] = [e.data for e in tab.events if e.name == "step_update"]
        assert ended["error"] == "This step has failed."
        assert "secret" not in str(ended)


@pytest.mark.parametrize("is_in_turn", [True, False])
async def test_a_step_that_a_timeout_cuts_short_does_not_run_on(
    visit: Visit, is_in_turn: bool
) -> None:
    """Its turn, or the block outside of turns, goes on: only the step has failed."""

    async def work() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05), cl.Step(name="search") as step:
                await step.stream_token("so far")
                await cl.sleep(100)
        await cl.Message("nothing found").send()

    @cl.on_message
    async def message() -> None:
        if is_in_turn:
            await work()

    async with visit() as tab:
        await tab.tell("hello")
        if not is_in_turn:
            async with chatsessions.session_context(tab.session_id):
                await work()
        await tab.wait_until(lambda: tab.messages[-1].content == "nothing found")
        assert [one.name for one in tab.events][-3:] == ["step", "step_update", "message"]
        ended = tab.events[-2].data
        assert (ended["output"], ended["error"]) == ("so far", "This step was not finished.")
        assert ended["streaming"] is False


async def test_a_step_that_a_sibling_cuts_short_has_failed(visit: Visit) -> None:
    async def search() -> None:
        async with cl.Step(name="search"):
            await cl.sleep(100)

    async def fail() -> None:
        await cl.sleep(0.01)
        raise ValueError("on purpose")

    @cl.on_message
    async def message() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(search())
                group.create_task(fail())
        except* ValueError:
            pass
        await cl.Message("nothing found").send()

    async with visit() as tab:
        assert await tab.tell("hello") == ["nothing found"]
        assert [one.name for one in tab.events][-2:] == ["step_update", "message"]
        assert tab.events[-2].data["error"] == "This step was not finished."


async def test_a_step_that_a_stop_cuts_short_keeps_its_output(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        async with cl.Step(name="search") as step:
            await step.stream_token("so far")
            with cl.Step(name="inner"):
                await cl.Message("working").send()
                await cl.sleep(100)

    async with visit() as tab:
        n = await tab.send("hello")
        await tab.receive_message()
        await tab.stop()
        assert await tab.wait_for_turn(n) == "stopped"
        ended = [event.data for event in tab.events if event.name == "step_update"]
        assert {one["name"]: one["output"] for one in ended} == {"search": "so far", "inner": ""}
        assert {one["error"] for one in ended} == {"This step was not finished."}


async def test_a_step_that_could_not_begin_is_not_the_current_one(visit: Visit) -> None:
    @cl.on_message
    async def message() -> None:
        run = cl.context.current_step
        with pytest.raises(chatsessions.NotStorable):
            async with cl.Step(metadata={"agent": object()}):
                pass
        with pytest.raises(chatsessions.NotStorable), cl.Step(metadata={"agent": object()}):
            pass
        assert cl.context.current_step is run

    async with visit() as tab:
        await tab.tell("hello")


async def test_a_step_that_could_not_begin_is_not_that_of_another_session(visit: Visit) -> None:
    """All work of a pool's thread has one context."""
    begun, go = threading.Event(), threading.Event()
    refused: list[Exception] = []
    current: list[Any] = []

    def late() -> None:
        begun.set()
        go.wait(20)
        try:
            with cl.Step(name="late"):
                pass
        except TurnStopped as error:
            refused.append(error)

    def look() -> None:
        current.append(cl.context.current_step)

    @cl.on_message
    async def message(message: cl.Message) -> None:
        work = chatsessions.bind_context(late if message.content == "begin" else look)
        await asyncio.get_running_loop().run_in_executor(pool, work)

    with ThreadPoolExecutor(1) as pool:
        async with visit() as tab, visit() as other:
            n = await tab.send("begin")
            await until(begun.is_set)
            await tab.stop()
            assert await tab.wait_for_turn(n) == "stopped"
            go.set()
            await other.tell("look")
    assert (len(refused), current) == (1, [None])


async def test_the_run_of_a_handler_is_a_step_that_is_not_shown(visit: Visit) -> None:
    @cl.on_message
    async def message(message: cl.Message) -> None:
        run = cl.context.current_step
        assert run.parent_id == message.id
        assert isinstance(run, cl.Step)
        assert (run.name, run.type) == ("on_message", "run")
        run.input, run.output = "in", {"a": 1}
        await run.stream_token("more")
        assert await run.update()
        async with cl.Step(name="inner") as step:
            assert step.parent_id == run.id
            assert cl.context.current_run is run
        await cl.Message("go", actions=[cl.Action("go", {}, label="Go")]).send()

    @cl.action_callback("go")
    async def go() -> None:
        assert cl.context.current_step is cl.context.current_run is None
        answer = await cl.Message("went").send()
        assert answer.parent_id is None

    async with visit() as tab:
        assert await tab.tell("hello") == ["go"]
        assert await tab.wait_for_turn(await tab.press("Go")) == "done"
        assert tab.messages[-1].content == "went"
        steps = [event.data for event in tab.events if event.name == "step"]
        assert [(one["name"], one.get("parent")) for one in steps] == [("inner", None)]


async def test_a_step_outside_of_sessions() -> None:
    @cl.step
    async def search() -> int:
        return 1

    assert await search() == 1


async def test_feedback_is_told_by_its_numbers_and_not_when_it_is_taken_back(visit: Visit) -> None:
    given: list[Feedback] = []

    @cl.on_message
    async def message() -> None:
        await cl.Message("What do you think?").send()

    @cl.on_feedback
    async def feedback(feedback: Feedback) -> None:
        given.append(feedback)

    async with visit() as tab:
        await tab.send("hello")
        answer = await tab.receive_message()
        await tab.give_feedback(answer, "up")
        await tab.give_feedback(answer, None)
        await tab.give_feedback(answer, "down", comment="no")
        assert await tab.wait_for_turn() == "done"
        row = await ChatSession.objects.aget(pk=tab.session_id)
        thread = str(row.thread_id)
        assert given == [
            Feedback(forId=answer.id, value=1, threadId=thread),
            Feedback(forId=answer.id, value=0, threadId=thread, comment="no"),
        ]
