"""What synchronous code may call: in handlers, views, tasks and executors."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model

import chatsessions as cl
from chatsessions import (
    Chat,
    ContextNotFound,
    Message,
    NotStorable,
    TurnStopped,
    bind_context,
    context,
    frames,
    make_async,
    run_sync,
    session_context,
    user_session,
)
from chatsessions.worker import Worker

from .support.sessions import Client, until

pytestmark = pytest.mark.django_db(transaction=True)


async def run(worker: Worker, chat: Chat, handler: Callable[[], Any]) -> Client:
    """A client that has had ``handler`` run for it."""
    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    assert await client.run("run") == "done", client.events
    return client


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
    from .support.storage import session_row

    row = session_row(chat=chat.name)
    with session_context(row.pk):
        Message("nobody is here").send()
        seen = context.emitter
    assert [event.name for event in row.events.all()] == ["message"]
    with pytest.raises(RuntimeError, match="does not run any more"):
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

    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    n = client.send("run")
    await until(lambda: client.events)
    call = client.events[0][1]["call"]
    data = {"content": "Ada"}
    client.live.submit_answer(frames.Answer(n + 1, call, msgspec.Raw(b'{"content":"Ada"}')), data)
    assert await client.outcome(n) == "done"
    assert [answer and answer["output"] for answer in answers] == ["Ada", None]


async def test_stopping_a_sync_handler_that_asks(worker: Worker, chat: Chat) -> None:
    seen: list[str] = []

    def handler() -> None:
        try:
            cl.AskUserMessage("Your name?").send()
        except TurnStopped:
            seen.append("stopped")

    chat.on_event("run")(handler)
    client = await Client.open(worker, chat)
    n = client.send("run")
    await until(lambda: client.events)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    await until(lambda: seen)


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
