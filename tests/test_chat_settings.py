"""Chat settings: declared inputs, checked values, and that they stay with the session."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest
from django.utils.functional import lazystr

from chatsessions import Chat, ChatSettings, context, user_session
from chatsessions.exceptions import FrameError
from chatsessions.input_widget import (
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
from chatsessions.models import ChatSession
from chatsessions.workers.worker import Worker as RunningWorker

from .support.sessions import Client, running_worker, until

pytestmark = pytest.mark.django_db(transaction=True)

INPUTS = [
    Select(id="model", label="Model", values=["small", "large"], initial_index=0),
    Select(id="tone", label="Tone", items={"Kind": "k", "Stern": "s"}, initial_value="s"),
    Slider(id="temperature", label="Temperature", initial=0.5, min=0, max=1, step=0.1),
    Switch(id="stream", label="Stream", initial=True),
    TextInput(id="name", label="Name", placeholder="yours", multiline=True),
    Tags(id="topics", label="Topics", initial=["a"]),
    Tab(
        id="more",
        label="More",
        inputs=[
            Checkbox(id="sure", label="Sure"),
            RadioGroup(id="size", label="Size", items={"S": "s", "L": "l"}, initial_value="l"),
            MultiSelect(id="food", label="Food", values=["fish", "bread"], initial=["bread"]),
            NumberInput(id="budget", label="Budget"),
        ],
    ),
    Tab(
        id="days",
        label="Days",
        inputs=[
            DatePicker(id="day", label="Day", min_date=date(2026, 1, 1), max_date="2026-12-31"),
            DatePicker(id="trip", label="Trip", mode="range", initial=("2026-05-01", "2026-05-02")),
            TextInput(id="fixed", label="Fixed", initial="so", disabled=True),
            Slider(id="stuck", label="Stuck", initial=1, disabled=True),
        ],
    ),
]
INITIAL = {
    "model": "small",
    "tone": "s",
    "temperature": 0.5,
    "stream": True,
    "name": None,
    "topics": ["a"],
    "sure": False,
    "size": "l",
    "food": ["bread"],
    "budget": None,
    "day": None,
    "trip": ["2026-05-01", "2026-05-02"],
    "fixed": "so",
    "stuck": 1,
}


@pytest.fixture
def updates(chat: Chat) -> list[dict[str, Any]]:
    """What on_settings_update was given, in a chat that declares settings."""
    found: list[dict[str, Any]] = []

    @chat.on_chat_start
    async def start() -> None:
        user_session["first"] = await ChatSettings(INPUTS).send()

    @chat.on_settings_update
    async def update(values: dict[str, Any]) -> None:
        found.append(dict(values))
        assert user_session.get("chat_settings") == context.session.chat_settings == values

    return found


async def arrive(worker: RunningWorker, chat: Chat) -> Client:
    client = await Client.open(worker, chat)
    await client.outcome(0)
    return client


async def test_declared_with_their_initial_values(
    worker: RunningWorker, chat: Chat, updates: list[Any]
) -> None:
    client = await arrive(worker, chat)
    (form, values) = client.events
    assert form[0] == "settings_form"
    assert [(one["type"], one["id"]) for one in form[1]["inputs"]] == [
        ("select", "model"),
        ("select", "tone"),
        ("slider", "temperature"),
        ("switch", "stream"),
        ("textinput", "name"),
        ("tags", "topics"),
        ("tab", "more"),
        ("tab", "days"),
    ]
    assert [(one["type"], one["id"]) for one in form[1]["inputs"][6]["inputs"]] == [
        ("checkbox", "sure"),
        ("radio", "size"),
        ("multiselect", "food"),
        ("numberinput", "budget"),
    ]
    assert values == ("settings", INITIAL)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.chat_settings == INITIAL
    assert client.live.user_session["first"] == INITIAL


async def test_changed_by_the_user(worker: RunningWorker, chat: Chat, updates: list[Any]) -> None:
    client = await arrive(worker, chat)
    assert await client.run("settings", {"model": "large", "topics": ["x", "y"]}) == "done"
    assert updates == [{**INITIAL, "model": "large", "topics": ["x", "y"]}]
    assert client.events[-1] == ("settings", updates[0])


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ({"nonsense": 1}, "there is no 'nonsense'"),
        ({"model": "huge"}, "'model' is one of small, large"),
        ({"model": None}, "one of small"),
        ({"model": ["small"]}, "one of small"),
        ({"tone": "Kind"}, "one of k, s"),
        ({"temperature": 1.01}, "a number from 0 to 1"),
        ({"temperature": True}, "a number"),
        ({"temperature": "0.5"}, "a number"),
        ({"temperature": 10**400}, "a number"),
        ({"temperature": -(10**400)}, "a number"),
        ({"stream": 1}, "true or false"),
        ({"name": 3}, "a text of at most 10000"),
        ({"name": "x" * 10_001}, "a text of at most"),
        ({"topics": "x"}, "a list of at most 100"),
        ({"topics": ["x"] * 101}, "a list of at most 100"),
        ({"topics": [1]}, "a list"),
        ({"model": "large", "nonsense": 1}, "there is no"),
        ({"more": {"sure": True}}, "there is no 'more'"),
        ({"sure": 0}, "true or false"),
        ({"size": "S"}, "one of s, l"),
        ({"size": None}, "one of s, l"),
        ({"size": {"s": 1}}, "one of s, l"),
        ({"food": "fish"}, "some of fish, bread"),
        ({"food": ["meat"]}, "some of fish, bread"),
        ({"food": ["fish", "fish"]}, "each once"),
        ({"food": [["fish"]]}, "some of"),
        ({"food": ["fish"] * 1000}, "some of"),
        ({"budget": "1"}, "a number, or null"),
        ({"budget": True}, "a number"),
        ({"budget": float("nan")}, "a number"),
        ({"budget": float("inf")}, "a number"),
        ({"budget": 10**400}, "a number"),
        ({"day": "today"}, "a day such as 2026-05-01 from 2026-01-01 to 2026-12-31, or null"),
        ({"day": "20260501"}, "a day"),
        ({"day": "2026-02-30"}, "a day"),
        ({"day": "2025-12-31"}, "a day"),
        ({"day": "2027-01-01"}, "a day"),
        ({"day": 20260501}, "a day"),
        ({"day": ["2026-05-01", "2026-05-02"]}, "a day"),
        ({"trip": "2026-05-01"}, "a first and a last day"),
        ({"trip": ["2026-05-01"]}, "a first and a last day"),
        ({"trip": ["2026-05-02", "2026-05-01"]}, "a first and a last day"),
        ({"trip": ["2026-05-01", None]}, "a first and a last day"),
        ({"fixed": "other"}, "'fixed' cannot be changed now"),
        ({"fixed": None}, "cannot be changed"),
        ({"stuck": 2}, "cannot be changed"),
        ({"x" * 5000: 1}, "there is no"),
    ],
)
async def test_what_the_inputs_do_not_allow_changes_nothing(
    worker: RunningWorker, chat: Chat, updates: list[Any], data: Any, detail: str
) -> None:
    client = await arrive(worker, chat)
    with pytest.raises(FrameError, match=detail) as refused:
        client.send("settings", data)
    assert (refused.value.code, refused.value.n) == ("bad_frame", 1)
    assert len(refused.value.detail) <= 300
    assert client.live.session.chat_settings == INITIAL
    client.take_back()
    assert await client.run("settings", {"stream": False}) == "done"
    assert updates == [{**INITIAL, "stream": False}]


async def test_what_the_inputs_behind_tabs_allow(
    worker: RunningWorker, chat: Chat, updates: list[Any]
) -> None:
    client = await arrive(worker, chat)
    changes = {
        "sure": True,
        "size": "s",
        "food": ["bread", "fish"],
        "budget": -2.5,
        "day": "2026-12-31",
        "trip": None,
        "fixed": "so",  # as it is
        "stuck": 1.0,
    }
    assert await client.run("settings", changes) == "done"
    assert updates == [INITIAL | changes]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.chat_settings == INITIAL | changes


async def test_checked_after_a_restart_too(
    worker: RunningWorker, chat: Chat, updates: list[Any]
) -> None:
    client = await arrive(worker, chat)
    await worker.close()
    async with running_worker() as second:
        again = await Client.open(second, chat, client.live.id, client.token)
        with pytest.raises(FrameError, match="one of small"):
            again.send("settings", {"model": "huge"})
        again.take_back()
        assert await again.run("settings", {"model": "large"}) == "done"
    assert updates[0]["model"] == "large"


async def test_declared_anew(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_event("declare")
    async def declare(inputs: list[str]) -> None:
        await ChatSettings([Switch(id=key, label=key) for key in inputs]).send()

    client = await Client.open(worker, chat)
    assert await client.run("settings", {"anything": 1}) == "done"  # nothing is declared
    assert await client.run("declare", ["a"]) == "done"
    assert client.live.session.chat_settings == {"a": False}
    with pytest.raises(FrameError, match="there is no"):
        client.send("settings", {"anything": 1})
    client.take_back()
    assert await client.run("declare", ["b"]) == "done"
    assert client.live.session.chat_settings == {"b": False}


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Select(id="x", label="x"), "either values or items"),
        (lambda: Select(id="x", label="x", values=["a"], items={"a": "b"}), "either values"),
        (lambda: Select(id="x", label="x", values=["a"], initial_index=1), "no choice number 1"),
        (lambda: Select(id="x", label="x", values=["a"], initial_value="b"), "cannot be initial"),
        (lambda: Slider(id="x", label="x", min=2, max=1), "min < max"),
        (lambda: Slider(id="x", label="x", step=0), "step above 0"),
        (lambda: Slider(id="x", label="x", initial=11), "cannot be initial"),
        (lambda: Switch(id="", label="x"), "needs an id"),
        (lambda: RadioGroup(id="x", label="x"), "a RadioGroup needs either"),
        (lambda: MultiSelect(id="x", label="x"), "needs either values or items"),
        (lambda: MultiSelect(id="x", label="x", values=["a"], initial=["b"]), "cannot be initial"),
        (lambda: DatePicker(id="x", label="x", initial="soon"), "cannot be initial"),
        (lambda: DatePicker(id="x", label="x", min_date="soon"), "are days"),
        (lambda: DatePicker(id="x", label="x", mode="range", initial="2026-01-01"), "initial"),
        (lambda: DatePicker(id="x", label="x", mode="year"), "'single' or 'range'"),  # type: ignore[arg-type]
        (
            lambda: ChatSettings(
                [
                    Switch(id="x", label="1"),
                    Tab(id="t", label="t", inputs=[Switch(id="x", label="2")]),
                ]
            ),
            "Two inputs have the id 'x'",
        ),
        (lambda: ChatSettings([Switch(id="x", label="1"), Switch(id="x", label="2")]), "Two"),
    ],
)
def test_inputs_that_make_no_sense(make: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Select(id="x", label="X", values=[1, 2]), "The Select 'x': Expected `str`"),
        (lambda: Select(id="x", label="X", items={"One": 1}), "The Select 'x': Expected `str`"),
        (lambda: TextInput(id="x", label=None), "The TextInput 'x': Expected `str`, got `null`"),
        (lambda: TextInput(id="x", label=lazystr("X")), "The TextInput 'x': Encoding"),
        (
            lambda: Tab(id="t", label="T", inputs=[Tags(id="x", label="X", values=None)]),
            "The Tags 'x': Expected `array`",
        ),
        (lambda: {"type": "switch", "id": "x"}, "is no input: write Select"),
    ],
)
def test_inputs_of_wrong_types(make: Any, problem: str) -> None:
    """The client's settings could not be checked: its connection failed, again and again."""
    with pytest.raises(TypeError, match=problem):
        ChatSettings([Switch(id="first", label="First"), make()])


async def test_sessions_share_inputs_and_not_their_values(
    worker: RunningWorker, chat: Chat
) -> None:
    shared = ChatSettings([Tags(id="topics", label="Topics", initial=["a"])])
    began: list[Any] = []

    @chat.on_chat_start
    async def start() -> None:
        values = await shared.send()
        began.append(list(user_session["chat_settings"]["topics"]))
        values["topics"].append("b")
        user_session["chat_settings"]["topics"].append("c")

    for _ in range(2):
        await arrive(worker, chat)
    assert began == [["a"], ["a"]]


def test_a_select_may_begin_with_nothing() -> None:
    select = Select(id="x", label="x", values=["a"])
    assert select.initial is None
    assert select.accepts(None)
    assert isinstance(select, InputWidget)


async def test_what_waited_while_the_inputs_were_replaced(
    worker: RunningWorker, chat: Chat
) -> None:
    """It was checked when it came; when its turn comes it has to fit what there is then."""
    go_on = asyncio.Event()

    @chat.on_event("replace")
    async def replace() -> None:
        await ChatSettings([Slider(id="a", label="A")]).send()
        await go_on.wait()
        await ChatSettings([Switch(id="a", label="A")]).send()

    client = await Client.open(worker, chat)
    client.send("replace")
    await until(lambda: len(client.events) == 2)
    n = client.send("settings", {"a": 7})
    go_on.set()
    assert await client.outcome(n) == "failed"
    assert client.live.session.chat_settings == {"a": False}
