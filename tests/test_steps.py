"""Steps: rows on the way to an answer, in the log and beside the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from chatsessions import (
    Chat,
    ContextNotFound,
    Message,
    Step,
    chat_context,
    current_step,
    make_async,
    run_sync,
    session_context,
    step,
    user_session,
)
from chatsessions.handlers.context import use_context
from chatsessions.models import ChatSession
from chatsessions.protocol.frames import Stream, Token
from chatsessions.workers.blocks import RemoteBlock
from chatsessions.workers.worker import Worker

from .support.sessions import Client, until
from .test_remote import two_workers

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


async def run(
    worker: Worker, chat: Chat, handler: Callable[[], Any], *, outcome: str = "done"
) -> Client:
    """A client that has had ``handler`` run for it."""
    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    assert await client.run("run") == outcome, client.events
    return client


def steps(client: Client) -> list[tuple[Any, ...]]:
    """Each step event of a client's log, in short."""
    return [
        (
            name,
            data.get("name"),
            data.get("output"),
            data.get("error"),
            data.get("streaming"),
            "end" in data,
        )
        for name, data in client.events
        if name.startswith("step")
    ]


async def test_a_block_is_a_step_that_runs_and_is_done(worker: Worker, chat: Chat) -> None:
    async def handler() -> None:
        async with Step("search", input={"query": "rain"}, metadata={"k": 1}) as found:
            assert current_step() is found
            found.output = ["a", "b"]
        assert current_step() is None

    client = await run(worker, chat, handler)
    (first, begun), (second, done) = client.events
    assert (first, second) == ("step", "step_update")
    assert begun | done == done | {"streaming": False}
    assert done["id"] == begun["id"]
    assert begun["streaming"]
    assert "end" not in begun
    assert done["input"] == '{\n  "query": "rain"\n}'
    assert done["output"] == '[\n  "a",\n  "b"\n]'
    assert (done["name"], done["type"], done["metadata"]) == ("search", "tool", {"k": 1})
    assert begun["start"] <= done["end"]
    assert not {"parent", "error"} & set(done)


async def test_a_step_in_a_step_names_its_parent(worker: Worker, chat: Chat) -> None:
    async def inner() -> None:
        async with Step("inner"):
            await Step("begun by hand").send()

    async def handler() -> None:
        async with Step("outer") as outer:
            await asyncio.gather(inner(), inner())
            assert current_step() is outer
        async with Step("by name", parent=outer):
            pass

    client = await run(worker, chat, handler)
    parents = {data["id"]: data.get("parent") for _, data in client.events}
    names = {data["id"]: data["name"] for _, data in client.events}
    found = sorted((names[one], names.get(parent or "")) for one, parent in parents.items())
    assert found == [
        *[("begun by hand", "inner")] * 2,
        ("by name", "outer"),
        *[("inner", "outer")] * 2,
        ("outer", None),
    ]


async def test_a_step_streams_its_output(worker: Worker, chat: Chat) -> None:
    async def handler() -> None:
        async with Step("think") as thinking:
            await thinking.stream_token("one ")
            await thinking.stream_token("two")
            thinking.name = "think hard"
            await thinking.update()
            await thinking.stream_token("!")
        later = Step("later")
        await later.stream_token("x")
        await later.stream_token("y", is_sequence=True)
        await later.finish()
        await later.stream_token("z")

    client = await run(worker, chat, handler)
    assert steps(client) == [
        ("step", "think", "", None, True, False),
        ("step_update", "think hard", "one two", None, True, False),
        ("step_update", "think hard", "one two!", None, False, True),
        ("step", "later", "", None, True, False),
        ("step_update", "later", "y", None, False, True),
        ("step_update", "later", "y", None, True, False),
        ("step_update", "later", "yz", None, False, True),
    ]
    pieces = [frame for frame in client.frames if isinstance(frame, Token | Stream)]
    assert [
        (one.index, one.text if isinstance(one, Token) else [one.content]) for one in pieces
    ] == [(0, "one "), (1, "two"), (0, "!"), (0, "x"), (1, ["y"]), (0, "z")]


async def test_a_step_that_raises_has_failed_and_keeps_the_reason_to_itself(
    worker: Worker, chat: Chat
) -> None:
    async def handler() -> None:
        async with Step("secret"):
            raise ValueError("the password is mellon")

    client = await run(worker, chat, handler, outcome="failed")
    assert steps(client)[-1] == (
        *("step_update", "secret", ""),
        *("This step has failed.", False, True),
    )
    assert "mellon" not in str(client.events)


async def test_under_debug_a_failed_step_says_why(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    settings.DEBUG = True

    async def handler() -> None:
        try:
            async with Step("tried"):
                raise ValueError("no luck")
        except ValueError:
            async with Step("told") as told:
                told.error = "It rained."

    client = await run(worker, chat, handler)
    errors = [data.get("error") for name, data in client.events if name == "step_update"]
    assert errors == ["ValueError: no luck", "It rained."]


async def test_a_step_that_is_stopped_says_so_before_its_turn_is_over(
    worker: Worker, chat: Chat
) -> None:
    began = asyncio.Event()

    @chat.on_event("run")
    async def handler() -> None:
        async with Step("outer"), Step("inner") as inner:
            await inner.stream_token("so far")
            began.set()
            await asyncio.Event().wait()

    client = await Client.open(worker, chat)
    n = client.send("run")
    await began.wait()
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    cut = "This step was not finished."
    assert sorted(steps(client)[2:]) == [
        ("step_update", "inner", "so far", cut, False, True),
        ("step_update", "outer", "", cut, False, True),
    ]


async def test_a_step_that_is_left_open_ends_with_its_turn(worker: Worker, chat: Chat) -> None:
    async def handler() -> None:
        await Step("left", output="what there is").send()

    client = await run(worker, chat, handler)
    assert steps(client) == [
        ("step", "left", "what there is", None, True, False),
        ("step_update", "left", "what there is", None, False, True),
    ]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.streams == []


async def test_a_step_that_a_crash_cut_short_is_closed_by_the_next_owner(chat: Chat) -> None:
    began = asyncio.Event()

    @chat.on_event("run")
    async def handler() -> None:
        async with Step("long") as running:
            await running.stream_token("half")
            await running.update()
            began.set()
            await asyncio.Event().wait()

    async with two_workers() as (first, second):
        client = await Client.open(first, chat)
        client.send("run")
        await began.wait()
        await client.live.sink.flush()
        await ChatSession.objects.filter(pk=client.live.id).aupdate(worker=None)
        back = await Client.open(second, chat, client.live.id, client.token)
        await until(lambda: back.events)
        assert steps(back)[0] == (
            *("step_update", "long", "half"),
            *("This step was not finished.", False, True),
        )
        back.leave()


async def test_a_step_is_removed(worker: Worker, chat: Chat) -> None:
    async def handler() -> None:
        async with Step("gone") as gone:
            await gone.remove()
            assert (await Step("never sent").remove()).started_at is None

    client = await run(worker, chat, handler)
    (_, begun), (name, data), *_ = client.events
    assert (name, data) == ("step_remove", {"id": begun["id"]})


async def test_steps_of_a_handler_written_as_def(worker: Worker, chat: Chat) -> None:
    def handler() -> None:
        with Step("outer") as outer:
            with Step("inner") as inner:
                run_sync(inner.stream_token("word"))
            assert inner.parent == outer.id
        by_hand = run_sync(Step("by hand").send())
        run_sync(by_hand.finish())

    client = await run(worker, chat, handler)
    assert [name for name, *_ in steps(client)] == [
        *("step", "step", "step_update", "step_update"),
        *("step", "step_update"),
    ]
    assert steps(client)[2][2] == "word"


async def test_a_plain_block_will_do_in_the_sessions_event_loop(worker: Worker, chat: Chat) -> None:
    refused: list[str] = []

    async def elsewhere() -> None:
        try:
            with Step("there"):
                pass
        except RuntimeError as error:
            refused.append(str(error))
        async with Step("and so"):
            pass

    async def handler() -> None:
        with Step("here") as here:
            here.output = 1
        await make_async(lambda: asyncio.run(elsewhere()))()

    client = await run(worker, chat, handler)
    assert [(name, which) for name, which, *_ in steps(client)] == [
        *(("step", "here"), ("step_update", "here")),
        *(("step", "and so"), ("step_update", "and so")),
    ]
    assert refused == ["In this event loop a step is 'async with Step(…)'."]


# @step


class Tools:
    @step
    async def add(self, left: int, right: int = 2) -> int:
        return left + right

    @step(name="Look it up", type="retrieval")
    def find(self, *words: str) -> dict[str, Any]:
        return {"found": words}

    @step(show_input=False)
    async def quiet(self, secret: str) -> None:
        found = current_step()
        assert found is not None
        found.output = "hushed"

    @step
    async def odd(self, thing: object) -> object:
        return thing


async def test_a_decorated_function_is_a_step(worker: Worker, chat: Chat) -> None:
    tools = Tools()

    async def handler() -> None:
        assert await tools.add(1) == 3
        assert tools.find("a", "b") == {"found": ("a", "b")}
        assert await make_async(tools.find)() == {"found": ()}
        await tools.quiet("mellon")
        await tools.odd({1: object, "day": b"x"})
        await tools.odd("\ud800" + "x" * 3_000_000)

    client = await run(worker, chat, handler)
    done = [data for name, data in client.events if name == "step_update"]
    assert [(one["name"], one["type"]) for one in done[:4]] == [
        ("add", "tool"),
        *[("Look it up", "retrieval")] * 2,
        ("quiet", "tool"),
    ]
    assert [one["input"] for one in done[:4]] == [
        '{\n  "left": 1\n}',
        '{\n  "words": [\n    "a",\n    "b"\n  ]\n}',
        "{}",
        "",
    ]
    assert [one["output"] for one in done[:4]] == [
        "3",
        '{\n  "found": [\n    "a",\n    "b"\n  ]\n}',
        '{\n  "found": []\n}',
        "hushed",
    ]
    assert "mellon" not in str(client.events)
    assert "object" in done[4]["output"]
    assert done[5]["output"].endswith("xxx…")


async def test_a_decorated_function_goes_without_a_session(worker: Worker) -> None:
    assert await Tools().add(1) == 3
    assert Tools().find("a") == {"found": ("a",)}
    with pytest.raises(TypeError):
        await Tools().add()  # type: ignore[call-arg]
    with pytest.raises(ContextNotFound):
        await Step("nowhere").send()


# What is not of the conversation, and what is stored


async def test_steps_are_not_in_chat_context(worker: Worker, chat: Chat) -> None:
    said: list[str] = []

    async def handler() -> None:
        async with Step("search", output="found"):
            await Message("answer").send()
        said.extend(message.content for message in chat_context.get())

    await run(worker, chat, handler)
    assert said == ["answer"]


async def test_a_step_is_stored_in_user_session_and_goes_on(worker: Worker, chat: Chat) -> None:
    @chat.on_event("first")
    async def first() -> None:
        async with Step("kept", input="in", output="out") as kept:
            user_session["kept"] = kept

    @chat.on_event("second")
    async def second() -> None:
        kept = user_session["kept"]
        kept.output = "better"
        await kept.update()
        user_session["kept"] = kept

    client = await Client.open(worker, chat)
    assert await client.run("first") == "done"
    assert await client.run("second") == "done"
    names = [(name, data["id"], data["output"]) for name, data in client.events]
    assert [(name, output) for name, _, output in names] == [
        ("step", "out"),
        ("step_update", "out"),
        ("step_update", "better"),
    ]
    assert len({one for _, one, _ in names}) == 1


async def test_a_step_from_outside(worker: Worker, chat: Chat) -> None:
    client = await Client.open(worker, chat)
    async with session_context(client.live.id), Step("outside", output="done"):
        pass
    await until(lambda: len(client.events) == 2)
    assert [name for name, *_ in steps(client)] == ["step", "step_update"]


async def test_a_step_from_another_worker_streams_and_is_closed(chat: Chat) -> None:
    @chat.on_message
    async def handle() -> None:
        await Message("hello").send()

    async with two_workers() as (first, second):
        client = await Client.open(first, chat)
        await client.run("message", {"content": "hello"})
        block = await RemoteBlock.open(second, client.live.id)
        with use_context(block.context()):
            async with Step("afar") as afar:
                await afar.stream_token("one ")
                await until(lambda: client.live.sink.texts() == {afar.id: "one "})
                await afar.stream_token("two")
            left = Step("left")
            await left.stream_token("open")
        await block.close(failed=True)
        assert steps(client) == [
            ("step", "afar", "", None, True, False),
            ("step_update", "afar", "one two", None, False, True),
            ("step", "left", "", None, True, False),
            ("step_update", "left", "open", "This step was not finished.", False, True),
        ]
        assert client.live.sink.texts() == {}
        client.leave()


async def test_what_a_handler_has_made_of_an_open_step_is_told_as_far_as_it_can_be(
    worker: Worker, chat: Chat
) -> None:
    async def handler() -> None:
        left = await Step("left").send()
        left.output = "\ud800" + "x" * 3_000_000

    client = await run(worker, chat, handler, outcome="failed")
    [closed] = [data for name, data in client.events if name == "step_update"]
    assert closed["output"].startswith("?xxx")
    assert (closed["streaming"], "end" in closed) == (False, True)


async def yields() -> Any:
    yield 1


def yields_in_a_thread() -> Any:
    yield 1


@pytest.mark.parametrize("function", [yields, yields_in_a_thread])
def test_a_generator_is_no_step(function: Callable[..., Any]) -> None:
    """Its step had ended before the generator began, and its address was the output."""
    for decorate in (step, step(name="search")):
        with pytest.raises(TypeError, match="is a generator"):
            decorate(function)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"name": None}, "The name of Step is a str, not NoneType"),
        ({"type": 5}, "The type of Step is a str, not int"),
        ({"parent": 5}, "The parent of Step is the id of a step, or None, not int"),
        ({"error": ValueError("x")}, "The error of Step is a str or None, not ValueError"),
        ({"metadata": ["a"]}, "The metadata of Step is a dict or None, not list"),
    ],
)
async def test_a_step_of_wrong_types(
    worker: Worker, chat: Chat, wrong: dict[str, Any], problem: str
) -> None:
    async def handler() -> None:
        with pytest.raises(TypeError, match=problem):
            await Step(**{"name": "search"} | wrong).send()

    assert (await run(worker, chat, handler)).events == []
