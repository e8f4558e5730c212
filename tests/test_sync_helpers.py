"""What synchronous code may call: in handlers, views, tasks and executors."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser

import chatsessions as cl
from chatsessions import (
    Chat,
    ContextNotFound,
    Message,
    NotStorable,
    OwnershipLost,
    TurnStopped,
    bind_context,
    context,
    make_async,
    run_sync,
    session_context,
    user_session,
)
from chatsessions.handlers.bridge import in_loop, submit, wait_for
from chatsessions.workers.worker import Worker

from .support.sessions import Client, until
from .support.storage import session_row

pytestmark = pytest.mark.django_db(transaction=True)


async def run(worker: Worker, chat: Chat, handler: Callable[[], Any]) -> Client:
    """A client that has had ``handler`` run for it."""
    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    assert await client.run("run") == "done", client.events
    return client


async def begin(worker: Worker, chat: Chat, handler: Callable[[], Any]) -> tuple[Client, int]:
    """A client for which ``handler`` runs and has done something, and the number of the turn."""
    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    n = client.send("run")
    await until(lambda: client.events)
    return client, n


def answer(client: Client) -> None:
    """The client answers the last question."""
    call = [data for name, data in client.events if name == "ask"][-1]["call"]
    client.answer(call, {"content": "Ada"})


# Messages in a handler written as def


async def test_a_message_is_sent_by_calling_send(worker: Worker, chat: Chat) -> None:
    def handler() -> None:
        Message("called").send()
        run_sync(Message("run").send())
        async_to_sync(Message("bridged").send)()
        asyncio.run(Message("by a loop").send())

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is a coroutine that was never awaited
        client = await run(worker, chat, handler)
        gc.collect()
    assert client.texts == ["called", "run", "bridged", "by a loop"]


async def test_a_message_of_a_sync_handler_has_all_its_ways(worker: Worker, chat: Chat) -> None:
    def handler() -> None:
        message = Message("one")
        message.send()
        message.content = "two"
        message.update()
        message.remove()
        streamed = Message()
        streamed.stream_token("Once ")
        streamed.stream_token("upon")
        assert run_sync(streamed.send()) is streamed

    client = await run(worker, chat, handler)
    assert [name for name, _ in client.events] == [
        "message",
        "message_update",
        "message_remove",
        "message",
        "message_update",
    ]
    assert client.texts[-1] == ""
    assert client.events[-1][1]["content"] == "Once upon"


async def test_an_event_of_a_sync_handler(worker: Worker, chat: Chat) -> None:
    seqs = []

    def handler() -> None:
        seqs.append(run_sync(context.emitter.emit("one", 1)))
        context.emitter.emit("two")
        context.emitter.flush()
        seqs.append(context.session.id)
        with pytest.raises(NotStorable):
            context.emitter.emit("three", threading.Lock())

    client = await run(worker, chat, handler)
    assert client.events == [("one", 1), ("two", None)]
    assert seqs[0] == client.log[1].seq


async def test_a_sync_function_of_async_code_returns_what_is_to_be_awaited(
    worker: Worker, chat: Chat
) -> None:
    def make() -> Any:
        return Message("later").send()

    async def handler() -> None:
        sent = await make()
        assert sent.content == "later"

    assert (await run(worker, chat, handler)).texts == ["later"]


# Elsewhere


async def test_a_view_a_task_or_the_shell(worker: Worker, chat: Chat) -> None:
    client = await Client.open(worker, chat)

    def view() -> None:
        with session_context(client.live.id) as found:
            Message("from a view").send()
            found.emitter.emit("done", True)
            assert run_sync(asyncio.sleep(0, result=5)) == 5

    await asyncio.to_thread(view)
    assert client.texts == ["from a view"]
    assert client.events[-1] == ("done", True)


def test_a_shell_without_a_server(chat: Chat) -> None:
    row = session_row(chat=chat.name)
    with session_context(row.pk):
        Message("nobody is here").send()
        seen = context.emitter
    assert [event.name for event in row.events.all()] == ["message"]
    with pytest.raises(OwnershipLost, match="session_context"):
        seen.emit("late")


async def test_an_executor(worker: Worker, chat: Chat) -> None:
    def handler() -> None:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(bind_context(lambda: Message("bound").send())).result()
            with pytest.raises(ContextNotFound, match="bind_context"):
                executor.submit(lambda: Message("unbound").send()).result()

    assert (await run(worker, chat, handler)).texts == ["bound"]


def test_nowhere() -> None:
    with pytest.raises(ContextNotFound):
        Message("x").send()
    with pytest.raises(ContextNotFound):
        run_sync(asyncio.sleep(0))
    gc.collect()


# run_sync


async def test_run_sync_runs_in_the_owners_loop_with_the_context(
    worker: Worker, chat: Chat
) -> None:
    async def work() -> int:
        assert asyncio.get_running_loop() is worker.loop
        user_session["seen"] = True
        await Message("from a coroutine").send()
        return 5

    def handler() -> None:
        assert run_sync(work()) == 5
        assert user_session["seen"]
        with pytest.raises(ZeroDivisionError):
            run_sync(fail())
        future = worker.loop.create_future()
        worker.loop.call_soon_threadsafe(future.set_result, "of a future")
        assert run_sync(future) == "of a future"

    async def fail() -> None:
        raise ZeroDivisionError

    assert (await run(worker, chat, handler)).texts == ["from a coroutine"]


async def test_run_sync_would_block_an_event_loop(worker: Worker, chat: Chat) -> None:
    async def handler() -> None:
        with pytest.raises(RuntimeError, match="await it instead"):
            run_sync(Message("x").send())
        gc.collect()

    assert (await run(worker, chat, handler)).texts == []


@pytest.mark.parametrize("nonsense", [5, None, asyncio.sleep])
def test_run_sync_of_what_cannot_be_awaited(nonsense: Any) -> None:
    with pytest.raises(TypeError, match="something to await"):
        run_sync(nonsense)


async def test_stopping_a_turn_ends_what_it_waits_for(
    worker: Worker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    begun = threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    def handler() -> None:
        try:
            run_sync(forever())
        except TurnStopped:
            seen.append("told")
        for late in (lambda: Message("late").send(), lambda: run_sync(asyncio.sleep(0))):
            try:
                late()
            except TurnStopped:
                seen.append("refused")

    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    n = client.send("run")
    await until(begun.is_set)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    await until(lambda: len(seen) == 4)
    assert seen == ["cancelled", "told", "refused", "refused"]
    assert client.texts == []
    assert not caplog.records


async def test_a_sync_handler_asks(worker: Worker, chat: Chat) -> None:
    answers: list[Any] = []

    def handler() -> None:
        answers.append(run_sync(cl.AskUserMessage("Your name?").send()))
        answers.append(run_sync(cl.AskUserMessage("Sure?", timeout=0.01).send()))

    client, n = await begin(worker, chat, handler)
    answer(client)
    assert await client.outcome(n) == "done"
    assert [answer and answer["output"] for answer in answers] == ["Ada", None]


#: The ways to ask in a handler that is written as ``def``, and to get the answer.
WAYS: dict[str, Callable[[], Any]] = {
    "send": lambda: run_sync(cl.AskUserMessage("?", timeout=30).send()),
    "call": lambda: run_sync(context.emitter.call("text", {"content": "?"}, timeout=30)),
    "run": lambda: run_sync(later(lambda: context.emitter.call("text", {}, timeout=30))),
    "bridged": lambda: async_to_sync(context.emitter.call)("text", {}, timeout=30),
    "loop": lambda: asyncio.run(context.emitter.call("text", {}, timeout=30)),
}
ways = pytest.mark.parametrize("way", WAYS)


async def later(make: Callable[[], Any]) -> Any:
    return await make()


async def test_a_question_is_asked_by_calling_call(worker: Worker, chat: Chat) -> None:
    """As a message is sent by calling ``send``; what is returned can be awaited as well."""
    seen: list[Any] = []

    def handler() -> None:
        called = context.emitter.call("text", {"content": "?"})
        seen.append("answered")
        seen.append(run_sync(called))
        with pytest.raises(TimeoutError):
            context.emitter.call("own", timeout=0.01)
        with pytest.raises(TypeError, match="a dict, not list"):
            context.emitter.call("own", [])  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is a coroutine that was never awaited
        client, n = await begin(worker, chat, handler)
        assert seen == []
        answer(client)
        assert await client.outcome(n) == "done"
        gc.collect()
    assert seen == ["answered", {"content": "Ada"}]


@ways
async def test_what_overtakes_a_sync_handler_that_waits(
    worker: Worker, chat: Chat, way: str
) -> None:
    """As with an async one: actions and settings are handled meanwhile, and nothing else is."""
    seen: list[Any] = []

    def handler() -> None:
        Message("choose", actions=[cl.Action("go")]).send()
        seen.append(WAYS[way]())

    chat.on_event("late")(lambda: seen.append("late"))
    chat.on_action("go")(lambda: seen.append("gone"))
    client, n = await begin(worker, chat, handler)
    await until(lambda: len(client.events) == 2)
    late = client.send("late")
    action = client.events[0][1]["actions"][0]
    client.send("action", {"id": action["id"], "name": "go"})
    await until(lambda: seen == ["gone"])
    answer(client)
    assert await client.outcome(n) == "done"
    assert await client.outcome(late) == "done"
    assert (seen[0], seen[2:]) == ("gone", ["late"])
    assert (seen[1].get("content") or seen[1]["output"]) == "Ada"


async def test_a_thread_beside_the_handler_that_asks_lets_nothing_overtake(
    worker: Worker, chat: Chat
) -> None:
    """The handler does not wait for it, and there is one at work at a time."""
    seen: list[str] = []
    go_on = threading.Event()

    def handler() -> None:
        with ThreadPoolExecutor(1) as executor:
            asking = executor.submit(bind_context(WAYS["send"]))
            go_on.wait(10)
            seen.append("worked")
            asking.result()

    chat.on_settings_update(lambda: seen.append("settings"))
    client, _ = await begin(worker, chat, handler)
    settings = client.send("settings", {})
    await until(lambda: client.live.inbound.stored >= settings)
    go_on.set()
    await until(lambda: seen)
    answer(client)
    assert await client.outcome(settings) == "done"
    assert seen == ["worked", "settings"]


@ways
async def test_stopping_a_sync_handler_that_asks(worker: Worker, chat: Chat, way: str) -> None:
    """The question is withdrawn at once, and the thread is free."""
    seen: list[str] = []

    def handler() -> None:
        try:
            WAYS[way]()
        except (TurnStopped, asyncio.CancelledError) as error:
            seen.append(type(error).__name__)

    client, n = await begin(worker, chat, handler)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    await until(lambda: seen)
    assert [data["outcome"] for name, data in client.events if name == "ask_closed"] == [
        "cancelled"
    ]


async def test_a_question_of_a_view(worker: Worker, chat: Chat) -> None:
    """There is no turn, and nothing that it could hold up."""
    client = await Client.open(worker, chat)

    def view() -> Any:
        with session_context(client.live.id) as found:
            return run_sync(found.emitter.call("text", {"content": "?"}, timeout=10))

    asked = asyncio.create_task(asyncio.to_thread(view))
    await until(lambda: client.events)
    answer(client)
    assert await asked == {"content": "Ada"}


# make_async


async def test_make_async_keeps_the_context_and_frees_the_loop(worker: Worker, chat: Chat) -> None:
    go = threading.Event()

    def blocking(text: str, *, times: int) -> str:
        assert threading.current_thread() is not threading.main_thread()
        go.wait(10)
        user_session["seen"] = text
        Message(text).send()
        return text * times

    async def handler() -> None:
        asyncio.get_running_loop().call_later(0.05, go.set)
        assert await make_async(blocking)("ab", times=2) == "abab"
        assert user_session["seen"] == "ab"
        with pytest.raises(ZeroDivisionError):
            await make_async(lambda: 1 / 0)()

    assert (await run(worker, chat, handler)).texts == ["ab"]


async def test_make_async_may_use_the_orm_and_keeps_no_connection(
    worker: Worker, chat: Chat
) -> None:
    await get_user_model().objects.acreate_user("ada")
    count = await make_async(get_user_model().objects.count)()
    assert count == 1
    await asyncio.get_running_loop().shutdown_default_executor()
    gc.collect()


def test_make_async_of_an_async_function() -> None:
    with pytest.raises(TypeError, match="async already"):
        make_async(asyncio.sleep)


def test_make_async_of_what_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="takes a function, not 'called already'"):
        make_async("called already")  # type: ignore[arg-type]


async def test_a_thread_that_finds_nothing_next_fails(
    worker: Worker, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """Its turn ran for ever: a future of asyncio cannot raise StopIteration."""

    def find() -> int:
        return next(number for number in (1, 2) if number > 2)

    @chat.on_event("async")
    async def run_async() -> None:
        await make_async(find)()

    chat.on_event("sync")(find)
    client = await Client.open(worker, chat)
    for name in ("sync", "async"):
        assert await client.run(name) == "failed"
    chat.profiles(find)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await chat.get_profiles(AnonymousUser())
    assert caplog.text.count("RuntimeError: A function in a thread raised StopIteration") == 2


async def test_many_at_once_do_not_wait_for_one_another(worker: Worker, chat: Chat) -> None:
    barrier = threading.Barrier(3, timeout=10)
    await asyncio.gather(*(make_async(barrier.wait)() for _ in range(3)))


# sleep


async def test_sleep_in_both_worlds(worker: Worker, chat: Chat) -> None:
    def handler() -> None:
        cl.sleep(0.01)
        Message("slept").send()

    async def awake() -> None:
        await cl.sleep(0.01)

    assert (await run(worker, chat, handler)).texts == ["slept"]
    await awake()
    await sync_to_async(cl.sleep)(0)


# A server that stops


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own. Daphne's is stopped like it: never closed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    if loop.is_running():
        loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(asyncio.sleep(0.1))  # what it was stopped in
    loop.close()


async def stops() -> None:
    """Stop the event loop in mid-wait."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)


async def test_who_waits_in_an_event_loop_for_one_that_stops_waits_no_longer(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="does not run any more"):
            await in_loop(stops(), other_loop)
        with pytest.raises(RuntimeError, match="does not run any more"):
            await in_loop(asyncio.sleep(0), other_loop)


async def test_a_thread_that_waits_for_an_event_loop_that_stops_waits_no_longer(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="does not run any more"):
            await asyncio.to_thread(wait_for, submit(stops(), other_loop), other_loop)


async def test_who_waits_for_work_in_another_event_loop_that_is_cancelled_is_told(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    with pytest.raises(TurnStopped):
        await in_loop(cancelled(), other_loop)
