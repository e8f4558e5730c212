"""Questions: one outcome each, whatever happens; what overtakes them; what is no answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db.models import F

from chatsessions import (
    Action,
    AskActionMessage,
    AskUserMessage,
    Chat,
    InterruptedTurn,
    Message,
    OwnershipLost,
    SessionOver,
    context,
    session_context,
    spawn,
    user_session,
)
from chatsessions.exceptions import FrameError
from chatsessions.handlers.asks import AskFileMessage
from chatsessions.models import ChatSession, SessionFile
from chatsessions.storage.log import find_seq
from chatsessions.workers.worker import Worker as RunningWorker

from .support.sessions import Client, hold_up, running_worker, until
from .support.storage import state_of

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


def asked(client: Client) -> dict[str, Any]:
    """The last question."""
    return [data for name, data in client.events if name == "ask"][-1]


def closed(client: Client) -> list[str]:
    return [data["outcome"] for name, data in client.events if name == "ask_closed"]


async def question(client: Client) -> dict[str, Any]:
    await until(lambda: any(name == "ask" for name, _ in client.events))
    return asked(client)


async def begin(worker: RunningWorker, chat: Chat, content: str = "") -> tuple[Client, int, str]:
    """A client whose message has made the handler ask: with the message's number and the call."""
    client = await Client.open(worker, chat)
    n = client.send("message", {"content": content})
    return client, n, (await question(client))["call"]


@pytest.fixture
def asking(chat: Chat) -> Chat:
    """A chat whose message handler asks, and keeps what it got."""

    @chat.on_message
    async def ask(message: Message) -> None:
        timeout = float(message.content or 60)
        answer = await AskUserMessage("Your name?", timeout=timeout).send()
        user_session["answer"] = answer and answer["output"]
        await Message(f"Hello {user_session['answer']}").send()

    return chat


async def test_an_answer(worker: RunningWorker, asking: Chat) -> None:
    client = await Client.open(worker, asking)
    n = client.send("message", {"content": ""})
    ask = await question(client)
    assert ask["kind"] == "text"
    assert ask["content"] == "Your name?"
    assert ask["timeout"] == 60
    answer = client.answer(ask["call"], {"content": "Ada"})
    assert await client.outcome(n) == "done"
    assert client.texts == ["Hello Ada"]
    assert closed(client) == ["answered"]
    names = [entry.name for entry in client.log]
    assert names == ["message", "ask", "answer", "ask_closed", "message"]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.asks, row.handled, row.handled_ahead) == ([], answer, [])


async def test_nobody_answers_in_time(worker: RunningWorker, asking: Chat) -> None:
    client = await Client.open(worker, asking)
    assert await client.run("message", {"content": "0.05"}) == "done"
    assert (closed(client), client.texts) == (["timeout"], ["Hello None"])
    late = asked(client)["call"]
    with pytest.raises(FrameError) as refused:
        client.answer(late, {"content": "too late"})
    assert (refused.value.code, refused.value.n) == ("call_closed", 2)
    assert await client.run("message", {"content": "0.05"}) == "done"  # number 3: 2 was taken


async def test_an_answer_that_came_in_time_counts_after_a_hold_up(
    worker: RunningWorker, asking: Chat
) -> None:
    client, n, call = await begin(worker, asking, "0.1")
    came = asyncio.Event()

    async def read() -> None:
        await came.wait()
        client.answer(call, {"content": "Ada"})

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    hold_up(1, arrives=came.set)
    await reader
    assert await client.outcome(n) == "done"
    assert (closed(client), client.texts) == (["answered"], ["Hello Ada"])


async def test_nobody_answers_in_time_after_a_hold_up_either(
    worker: RunningWorker, asking: Chat
) -> None:
    client, n, _ = await begin(worker, asking, "0.1")
    hold_up(1)
    assert await client.outcome(n) == "done"
    assert (closed(client), client.texts) == (["timeout"], ["Hello None"])


async def test_a_timeout_may_be_an_error(worker: RunningWorker, chat: Chat) -> None:
    raised = []

    @chat.on_message
    async def ask() -> None:
        try:
            await AskUserMessage("?", timeout=0.05, raise_on_timeout=True).send()
        except TimeoutError as error:
            raised.append(error)

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": ""}) == "done"
    assert len(raised) == 1


async def test_a_second_answer_is_told_that_the_question_is_closed(
    worker: RunningWorker, asking: Chat
) -> None:
    client, n, call = await begin(worker, asking)
    client.answer(call, {"content": "first"})
    with pytest.raises(FrameError, match="no longer open"):
        client.answer(call, {"content": "second"})
    assert await client.outcome(n) == "done"
    assert client.texts == ["Hello first"]
    assert closed(client) == ["answered"]


@pytest.mark.parametrize("data", [None, "Ada", {"content": 1}, {"text": "x"}, [], {"id": "x"}])
async def test_what_is_no_answer_is_refused_and_the_question_stays(
    worker: RunningWorker, asking: Chat, data: Any
) -> None:
    client, n, call = await begin(worker, asking)
    with pytest.raises(FrameError) as refused:
        client.answer(call, data)
    assert (refused.value.code, refused.value.n) == ("bad_frame", 2)
    assert closed(client) == []
    client.take_back()
    client.answer(call, {"content": "Ada"})  # with the same number
    assert await client.outcome(n) == "done"
    assert client.texts == ["Hello Ada"]


#: What answers questions of each kind, with the file and the action that are asked about.
ANSWERS: dict[str, Any] = {
    "text": lambda file, action: {"content": "Ada"},
    "action": lambda file, action: {"id": action},
    "files": lambda file, action: {"files": [file]},
}


def test_questions_of_wrong_types() -> None:
    with pytest.raises(TypeError, match=r"'name': 'go'} is none: write actions="):
        AskActionMessage("?", actions=[{"name": "go"}])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="The author of AskUserMessage is a str, not NoneType"):
        AskUserMessage("?", author=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_to_another_kind_of_question_is_refused(
    worker: RunningWorker, chat: Chat, kind: str
) -> None:
    @chat.on_message
    async def ask() -> None:
        questions: dict[str, Any] = {
            "text": AskUserMessage("?"),
            "action": AskActionMessage("?", actions=[Action("go")]),
            "files": AskFileMessage("?", accept=["text/csv"]),
        }
        answer = await questions[kind].send()
        await Message("thanks" if answer else "oh").send()

    client = await Client.open(worker, chat)
    file = await SessionFile.objects.acreate(
        session_id=client.live.id, name="t.csv", mime="text/csv", size=1, content="nowhere"
    )
    n = client.send("message", {"content": ""})
    asked = await question(client)
    action = asked["actions"][0]["id"] if kind == "action" else "none"
    answers = {name: make(str(file.pk), action) for name, make in ANSWERS.items()}
    right = answers.pop(kind)
    for wrong in (*answers.values(), {}, None, [right]):
        with pytest.raises(FrameError) as refused:
            client.answer(asked["call"], wrong)
        assert (refused.value.code, refused.value.n) == ("bad_frame", n + 1)
        client.take_back()
    assert closed(client) == []
    client.answer(asked["call"], right)
    assert await client.outcome(n) == "done"
    assert client.texts == ["thanks"]


async def test_another_sessions_question_cannot_be_answered(
    worker: RunningWorker, asking: Chat
) -> None:
    victim, _, call = await begin(worker, asking)
    stranger = await Client.open(worker, asking)
    with pytest.raises(FrameError, match="no longer open"):
        stranger.answer(call, {"content": "Mallory"})
    assert closed(victim) == []


async def test_the_answer_may_come_over_another_connection(
    worker: RunningWorker, asking: Chat
) -> None:
    client, n, call = await begin(worker, asking)
    client.leave()
    again = await Client.open(worker, asking, client.live.id, client.token)
    again.answer(call, {"content": "Ada"})
    assert await again.outcome(n) == "done"
    assert again.texts == ["Hello Ada"]


async def test_a_stop_cancels_the_question(worker: RunningWorker, asking: Chat) -> None:
    client, n, call = await begin(worker, asking)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    assert closed(client) == ["cancelled"]
    with pytest.raises(FrameError, match="no longer open"):
        client.answer(call, {"content": "Ada"})
    assert client.live.turns.is_idle


async def test_the_end_of_the_session_cancels_the_question(
    worker: RunningWorker, asking: Chat
) -> None:
    raised: list[BaseException] = []

    @asking.on_event("ask")
    async def ask() -> None:
        try:
            await AskUserMessage("?").send()
        except BaseException as error:
            raised.append(error)
            raise

    client = await Client.open(worker, asking)
    client.send("ask")
    await question(client)
    client.live.end("user")
    await until(lambda: client.closed)
    assert client.closed == [(4503, "user")]
    assert closed(client) == ["cancelled"]
    assert [type(error) for error in raised] == [asyncio.CancelledError]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.asks) == ("ended", [])


async def test_after_a_crash_the_question_is_cancelled_and_the_turn_interrupted(
    worker: RunningWorker, asking: Chat
) -> None:
    client, n, call = await begin(worker, asking)
    stored = await ChatSession.objects.aget(pk=client.live.id)
    assert stored.asks == [{"call": call}]
    await worker.close()  # nothing is stored any more
    async with running_worker() as second:
        again = await Client.open(second, asking, client.live.id, client.token)
        assert await again.outcome(n) == "interrupted"
        assert closed(again) == ["cancelled"]
        with pytest.raises(FrameError, match="no longer open"):
            again.answer(call, {"content": "Ada"})
        await again.live.context(None).emitter.flush()
        row = await ChatSession.objects.aget(pk=client.live.id)
        assert (row.asks, row.running) == ([], None)


async def interrupted_question(worker: RunningWorker, asking: Chat) -> tuple[Client, int]:
    """A client whose question a crash has cancelled, and an event that waits behind it."""

    @asking.on_interrupted
    async def interrupted(turn: InterruptedTurn) -> None:
        answer = await AskUserMessage(f"Once more, for your {turn.name}: your name?").send()
        await Message(f"Hello again {answer and answer['output']}").send()

    @asking.on_event("later")
    async def later() -> None:
        await Message("later").send()

    client, *_ = await begin(worker, asking)
    waiting = client.send("later")
    await until(lambda: any(entry.n == waiting for entry in client.log))
    await worker.close()
    return client, waiting


async def test_after_a_crash_on_interrupted_can_ask_again(
    worker: RunningWorker, asking: Chat
) -> None:
    """What was sent meanwhile waits until it is answered."""
    client, waiting = await interrupted_question(worker, asking)
    async with running_worker() as second:
        again = await Client.open(second, asking, client.live.id, client.token)
        ask = await question(again)
        assert ask["content"] == "Once more, for your message: your name?"
        assert waiting not in again.outcomes
        again.answer(ask["call"], {"content": "Ada"})
        assert await again.outcome(waiting) == "done"
        assert again.texts == ["Hello again Ada", "later"]
        assert closed(again) == ["cancelled", "answered"]


async def test_a_question_of_on_interrupted_does_not_outlive_another_crash(
    worker: RunningWorker, asking: Chat
) -> None:
    """It runs once, as every hook; the session goes on with what waits."""
    client, waiting = await interrupted_question(worker, asking)
    async with running_worker() as second:
        again = await Client.open(second, asking, client.live.id, client.token)
        await question(again)
        await again.live.context(None).emitter.flush()
        await second.close()
    async with running_worker() as third:
        last = await Client.open(third, asking, client.live.id, again.token)
        assert await last.outcome(waiting) == "done"
        assert (closed(last), last.texts) == (["cancelled"], ["later"])


async def test_actions_and_settings_are_handled_while_a_handler_waits(
    worker: RunningWorker, asking: Chat
) -> None:
    """They overtake; a message waits for its turn."""
    steps: list[str] = []

    @asking.on_action("more")
    async def more(action: Action) -> None:
        steps.append("action")

    @asking.on_settings_update
    async def update(values: dict[str, Any]) -> None:
        steps.append(f"settings {values}")

    @asking.on_event("later")
    async def later() -> None:
        steps.append("later")

    @asking.on_chat_start
    async def start() -> None:
        await Message("offer", actions=[Action("more", id="a1")]).send()

    client = await Client.open(worker, asking)
    await client.outcome(0)
    message = client.send("message", {"content": ""})
    call = (await question(client))["call"]
    last = client.send("later")
    assert await client.run("action", {"id": "a1", "name": "more"}) == "done"
    assert await client.run("settings", {"x": 1}) == "done"
    assert steps == ["action", "settings {'x': 1}"]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.handled, row.handled_ahead, row.running, row.aside) == (0, [3, 4], 1, None)
    client.answer(call, {"content": "Ada"})
    assert await client.outcome(message) == "done"
    assert await client.outcome(last) == "done"
    assert steps[2:] == ["later"]
    await client.live.context(None).emitter.flush()
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.handled, row.handled_ahead) == (5, [])


async def test_the_handler_goes_on_when_what_overtook_it_is_through(
    worker: RunningWorker, asking: Chat
) -> None:
    go_on, steps = asyncio.Event(), []

    @asking.on_settings_update
    async def update() -> None:
        await go_on.wait()
        steps.append(user_session.get("answer", "nothing yet"))

    client, n, call = await begin(worker, asking)
    aside = client.send("settings", {"x": 1})
    await until(lambda: client.live.turns.aside)
    client.answer(call, {"content": "Ada"})
    await until(lambda: closed(client))
    assert n not in client.outcomes
    go_on.set()
    assert await client.outcome(aside) == "done"
    assert await client.outcome(n) == "done"
    assert steps == ["nothing yet"]


async def test_a_crash_while_something_overtakes(worker: RunningWorker, asking: Chat) -> None:
    """Both turns are interrupted, what waited is run, what was through is not run again."""
    told: list[int] = []
    ran: list[Any] = []

    @asking.on_settings_update
    async def update(values: dict[str, Any]) -> None:
        ran.append(values)
        if values.get("hang"):
            await asyncio.Event().wait()

    @asking.on_event("later")
    async def later() -> None:
        ran.append("later")

    @asking.on_interrupted
    async def interrupted(turn: Any) -> None:
        told.append(turn.turn)

    client, *_ = await begin(worker, asking)
    client.send("later")
    assert await client.run("settings", {"x": 1}) == "done"
    hanging = client.send("settings", {"hang": True})
    await until(lambda: len(ran) == 2)
    await worker.close()
    ran.clear()
    async with running_worker() as second:
        again = await Client.open(second, asking, client.live.id, client.token)
        assert await again.outcome(2) == "done"
        assert (told, ran) == ([1, hanging], ["later"])
        await again.live.context(None).emitter.flush()
        row = await ChatSession.objects.aget(pk=client.live.id)
        assert (row.handled, row.handled_ahead, row.running, row.aside) == (4, [], None, None)


async def test_a_stop_ends_both(worker: RunningWorker, asking: Chat) -> None:
    @asking.on_settings_update
    async def update() -> None:
        await asyncio.Event().wait()

    client, n, _ = await begin(worker, asking)
    aside = client.send("settings", {"x": 1})
    await until(lambda: client.live.turns.aside)
    client.live.stop()
    assert (await client.outcome(n), await client.outcome(aside)) == ("stopped", "stopped")
    assert client.live.turns.is_idle


async def test_a_question_within_what_overtook_a_question(
    worker: RunningWorker, asking: Chat
) -> None:
    answers: list[Any] = []

    @asking.on_settings_update
    async def update() -> None:
        answers.append(await context.emitter.call("own", {"why": "so"}, timeout=None))

    client, n, outer = await begin(worker, asking)
    aside = client.send("settings", {"x": 1})
    await until(lambda: asked(client)["kind"] == "own")
    inner = asked(client)
    assert (inner["why"], inner["deadline"], inner["timeout"]) == ("so", None, None)
    client.answer(outer, {"content": "Ada"})
    client.answer(inner["call"], [1, 2])
    assert await client.outcome(aside) == "done"
    assert await client.outcome(n) == "done"
    assert (answers, client.texts) == ([[1, 2]], ["Hello Ada"])


async def test_a_choice(worker: RunningWorker, chat: Chat) -> None:
    chosen: list[Any] = []

    @chat.on_message
    async def choose() -> None:
        actions = [Action("go", {"v": 1}, label="Go"), Action("stay", {"v": 2})]
        chosen.append(await AskActionMessage("Well?", actions=actions).send())

    client = await Client.open(worker, chat)
    n = client.send("message", {"content": ""})
    ask = await question(client)
    assert [action["label"] for action in ask["actions"]] == ["Go", "stay"]
    with pytest.raises(FrameError, match="not offered"):
        client.answer(ask["call"], {"id": "made up"})
    client.take_back()
    client.answer(ask["call"], {"id": ask["actions"][1]["id"]})
    assert await client.outcome(n) == "done"
    assert chosen[0]["payload"] == {"v": 2}


async def test_files_are_the_sessions_own(worker: RunningWorker, chat: Chat) -> None:
    given: list[Any] = []

    @chat.on_message
    async def ask() -> None:
        given.append(await AskFileMessage("A table?", accept=["text/csv"], max_files=2).send())

    client, stranger = [await Client.open(worker, chat) for _ in range(2)]

    async def stored(owner: Client) -> SessionFile:
        return await SessionFile.objects.acreate(
            session_id=owner.live.id, name="t.csv", mime="text/csv", size=1, content="nowhere"
        )

    own, foreign = await stored(client), await stored(stranger)
    n = client.send("message", {"content": ""})
    call = (await question(client))["call"]
    for wrong in ([], [str(own.pk)] * 3, ["no id"]):
        with pytest.raises(FrameError, match=r"answer|files are asked for"):
            client.answer(call, {"files": wrong})
        client.take_back()
    client.answer(call, {"files": [str(foreign.pk), str(own.pk)]})
    assert await client.outcome(n) == "done"
    assert given == [[own.as_chat_file()]]


async def test_from_a_view_or_task_as_well(worker: RunningWorker, chat: Chat) -> None:
    """Outside of turns there is nothing to overtake."""
    client = await Client.open(worker, chat)
    call = asyncio.create_task(client.live.context(None).emitter.call("text", {"content": "?"}))
    ask = await question(client)
    client.answer(ask["call"], {"content": "yes"})
    assert await call == {"content": "yes"}


async def asked_from_outside(client: Client) -> None:
    """Ask for as long as it takes."""
    async with session_context(client.live.id):
        await AskUserMessage("?", timeout=None).send()


@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_question_from_outside_does_not_outlive_the_loss_of_the_session(
    worker: RunningWorker, chat: Chat, is_answered: bool
) -> None:
    """Another worker has taken it, and closes its questions; who asked here waited for ever."""
    client = await Client.open(worker, chat)
    view = asyncio.create_task(asked_from_outside(client))
    call = (await question(client))["call"]
    await worker.journal.settled()
    await ChatSession.objects.filter(pk=client.live.id).aupdate(generation=F("generation") + 1)
    if is_answered:
        client.answer(call, {"content": "too late to be stored"})
    else:
        client.send("anything")
    with pytest.raises(OwnershipLost):
        await asyncio.wait_for(view, 10)


async def test_a_question_from_outside_is_told_of_the_end_of_the_session(
    worker: RunningWorker, chat: Chat
) -> None:
    """It was as if somebody had cancelled the view's own task."""
    client = await Client.open(worker, chat)
    view = asyncio.create_task(asked_from_outside(client))
    await question(client)
    client.live.end("user")
    with pytest.raises(SessionOver):
        await view
    assert closed(client) == ["cancelled"]


async def test_a_question_from_outside_holds_up_no_shutdown(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 60}
    client = await Client.open(worker, chat)
    view = asyncio.create_task(asked_from_outside(client))
    await question(client)
    await asyncio.wait_for(worker.shut_down(), 30)
    with pytest.raises(OwnershipLost):
        await view
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.asks, row.worker_id) == ([], None)


async def test_what_cannot_be_asked(worker: RunningWorker, chat: Chat) -> None:
    emitter = (await Client.open(worker, chat)).live.context(None).emitter
    with pytest.raises(TypeError, match="a dict, not list"):
        await emitter.call("text", [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be stored"):
        await emitter.call("text", {"x": object()})
    for timeout in (0, -1, float("inf"), "60"):
        with pytest.raises(ValueError, match="seconds above 0"):
            AskUserMessage("?", timeout=timeout)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one action"):
        AskActionMessage("?", actions=[])


async def test_the_open_questions_of_a_session_are_bounded(
    worker: RunningWorker, chat: Chat
) -> None:
    client = await Client.open(worker, chat)
    emitter = client.live.context(None).emitter
    calls = [asyncio.create_task(emitter.call("own", timeout=30)) for _ in range(100)]
    await until(lambda: sum(name == "ask" for name, _ in client.events) == 100)
    with pytest.raises(RuntimeError, match="100 open questions"):
        await emitter.call("own")
    for call in calls:
        call.cancel()
    await until(lambda: closed(client) == ["cancelled"] * 100)


async def test_an_answer_to_nothing(worker: RunningWorker, chat: Chat) -> None:
    client = await Client.open(worker, chat)
    with pytest.raises(FrameError, match="no longer open"):
        client.answer(str(uuid4()), None)
    await client.live.context(None).emitter.flush()
    (entry,) = await client.live.read_log(0, 5)
    assert (entry.name, entry.n) == ("answer", 1)


async def test_changes_of_a_turn_that_was_overtaken_are_found(
    worker: RunningWorker, chat: Chat
) -> None:
    """What it got out before it asked, and changes after it was answered."""

    @chat.on_message
    async def ask() -> None:
        history = user_session.setdefault("history", [])
        answer = await AskUserMessage("?").send()
        history.append(answer and answer["output"])

    client, n, call = await begin(worker, chat)
    assert await client.run("settings", {"x": 1}) == "done"
    client.answer(call, {"content": "Ada"})
    assert await client.outcome(n) == "done"
    await client.live.context(None).emitter.flush()
    assert await state_of(client.live) == {"history": ["Ada"]}


async def test_a_value_that_an_action_leaves_unstorable_is_its_own_error(
    worker: RunningWorker, asking: Chat
) -> None:
    """The handler that it has overtaken waits for an answer, and goes on without the error."""

    @asking.on_settings_update
    async def update() -> None:
        user_session.setdefault("list", []).append(object())

    client, n, call = await begin(worker, asking)
    assert await client.run("settings", {"x": 1}) == "failed"
    client.answer(call, {"content": "Ada"})
    assert await client.outcome(n) == "done"
    assert client.texts == ["Hello Ada"]
    assert await state_of(client.live) == {"list": [], "answer": "Ada"}


async def test_after_a_timeout_too_there_is_one_at_work(worker: RunningWorker, chat: Chat) -> None:
    go_on, steps = asyncio.Event(), []

    @chat.on_message
    async def ask() -> None:
        await AskUserMessage("?", timeout=60).send()
        steps.append("went on")

    @chat.on_settings_update
    async def update() -> None:
        await go_on.wait()
        steps.append("updated")

    client, n, _ = await begin(worker, chat)
    client.send("settings", {"x": 1})
    await until(lambda: client.live.turns.aside)
    asks = client.live.asks
    for ask in asks._waiting:
        asks._expire(ask)  # as its timer does
    await until(lambda: closed(client) == ["timeout"])
    await asyncio.sleep(0.02)
    go_on.set()
    assert await client.outcome(n) == "done"
    assert steps == ["updated", "went on"]


async def test_clicks_without_end_do_not_keep_an_answer_waiting(
    worker: RunningWorker, chat: Chat
) -> None:
    steps: list[str] = []

    @chat.on_message
    async def ask() -> None:
        await AskUserMessage("?").send()
        steps.append("answered")

    @chat.on_settings_update
    async def update() -> None:
        await asyncio.sleep(0.01)
        steps.append("update")

    client, n, call = await begin(worker, chat)
    client.send("settings", {"x": 1})
    await until(lambda: client.live.turns.aside)
    client.answer(call, {"content": "Ada"})
    last = [client.send("settings", {"x": number}) for number in range(10)][-1]
    assert await client.outcome(n) == "done"
    assert await client.outcome(last) == "done"
    assert steps.index("answered") <= 3


async def test_a_question_of_a_spawned_task_lets_nothing_run_beside_the_handler(
    worker: RunningWorker, chat: Chat
) -> None:
    go_on, steps = asyncio.Event(), []

    @chat.on_message
    async def work() -> None:
        spawn(AskUserMessage("?").send())
        await go_on.wait()
        steps.append("worked")

    @chat.on_settings_update
    async def update() -> None:
        steps.append("updated")

    client, _, call = await begin(worker, chat)
    n = client.send("settings", {"x": 1})
    await client.live.context(None).emitter.flush()
    assert steps == []
    go_on.set()
    assert await client.outcome(n) == "done"
    assert steps == ["worked", "updated"]
    client.answer(call, {"content": "Ada"})


async def test_an_answer_is_taken_however_much_waits(
    worker: RunningWorker, asking: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 2}
    client, n, call = await begin(worker, asking)
    client.send("message", {"content": "0.01"})
    client.send("message", {"content": "0.01"})
    with pytest.raises(FrameError, match="waiting already"):
        client.send("message", {"content": ""})
    client.take_back()
    client.answer(call, {"content": "Ada"})
    assert await client.outcome(n) == "done"


async def test_the_answers_to_a_turn_are_no_events_that_wait(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """After many of them, every other event of the client was refused until the turn ended."""
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 3}

    @chat.on_message
    async def quiz() -> None:
        for number in range(6):
            await AskUserMessage(f"{number}?").send()

    client = await Client.open(worker, chat)
    n = client.send("message", {"content": ""})
    for number in range(6):
        await until(lambda: [name for name, _ in client.events].count("ask") > number)  # noqa: B023
        if number == 5:
            assert await client.run("settings", {}) == "done"
        client.answer(asked(client)["call"], {"content": "Ada"})
    assert await client.outcome(n) == "done"


async def test_what_overtakes_is_bounded_and_what_waits_is_kept(
    worker: RunningWorker, asking: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 300, "EVENT_BURST": 1000, "MAX_LOG_ENTRIES": 10}
    client, _, call = await begin(worker, asking)
    waiting = client.send("message", {"content": "0.01"})
    for number in range(299):
        last = client.send("settings", {"x": number})
    assert await client.outcome(last) == "done"
    with pytest.raises(FrameError, match="waiting already"):
        client.send("settings", {"x": 0})
    client.take_back()
    assert await client.live.worker.threads.read(find_seq, client.live.id, waiting) is not None
    client.answer(call, {"content": "Ada"})
    assert await client.outcome(waiting) == "done"
