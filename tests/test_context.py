"""The context: where it reaches by itself, how it is carried further, and tasks with an owner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from chatsessions import (
    Chat,
    ContextNotFound,
    Message,
    OwnershipLost,
    TurnStopped,
    aemit_to,
    bind_context,
    context,
    serializable,
    session_context,
    spawn,
    user_session,
)
from chatsessions.models import ChatSession
from chatsessions.storage.serializer import loads
from chatsessions.workers.worker import Worker

from .support.sessions import Client, eventually, until
from .support.storage import state_of

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


def id_of_context() -> UUID:
    return context.session.id


# Where it reaches by itself


async def test_an_async_handler_sees_its_session(worker: Worker, chat: Chat) -> None:
    seen: list[Any] = []

    @chat.on_event("look")
    async def look(data: Any) -> None:
        seen.extend([context.session.id, context.chat, context.turn.n if context.turn else None])
        user_session["data"] = data
        seen.append(context.user_session["data"])
        await context.emitter.emit("seen", data)

    client = await Client.open(worker, chat)
    assert await client.run("look", [1]) == "done"
    assert seen == [client.live.id, chat, 1, [1]]
    assert client.events == [("seen", [1])]
    assert await state_of(client.live) == {"data": [1]}


async def test_what_user_session_says_of_its_keys_agrees(worker: Worker, chat: Chat) -> None:
    """Of a key of the application's, of one of the session's own, and of one that is not there."""
    seen: dict[str, list[bool]] = {}

    @chat.on_event("look")
    async def look() -> None:
        user_session["mine"] = 1
        for key in ("mine", "client_type", "nowhere"):
            seen[key] = [
                key in user_session,
                user_session.get(key) is not None,
                key in list(user_session),
                key in user_session.keys(),  # noqa: SIM118  # the view is what is looked at
                (key, user_session.get(key)) in user_session.items(),
                key in dict(user_session),
            ]
        assert len(user_session) == len(user_session.keys()) == len(user_session.items()) == 1

    client = await Client.open(worker, chat)
    assert await client.run("look") == "done"
    assert seen == {
        "mine": [True] * 6,
        "client_type": [True] * 2 + [False] * 4,
        "nowhere": [False] * 6,
    }


async def test_a_sync_handler_sees_its_session_in_a_thread(worker: Worker, chat: Chat) -> None:
    seen: list[Any] = []

    @chat.on_event("look")
    def look(data: Any) -> None:
        seen.extend([context.session.id, threading.current_thread() is threading.main_thread()])
        user_session["data"] = data

    client = await Client.open(worker, chat)
    assert await client.run("look", {"a": 1}) == "done"
    assert seen == [client.live.id, False]
    assert await state_of(client.live) == {"data": {"a": 1}}


async def test_sessions_side_by_side_see_each_their_own(worker: Worker, chat: Chat) -> None:
    together = asyncio.Barrier(3)

    @chat.on_event("mine")
    async def mine(data: str) -> None:
        user_session["who"] = data
        await together.wait()
        await Message(f"{user_session['who']} {id_of_context()}").send()

    clients = [await Client.open(worker, chat) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(client.run("mine", f"client {number}"))
    for number, client in enumerate(clients):
        assert client.texts == [f"client {number} {client.live.id}"]


async def test_it_reaches_the_tasks_of_a_handler(worker: Worker, chat: Chat) -> None:
    async def part(number: int) -> UUID:
        user_session[f"part {number}"] = number
        await Message(f"part {number}").send()
        return id_of_context()

    seen: list[UUID] = []

    @chat.on_event("split")
    async def split() -> None:
        seen.append(await asyncio.create_task(part(1)))
        seen.append(await spawn(part(2)))
        seen.extend(await asyncio.gather(part(3), part(4)))

    client = await Client.open(worker, chat)
    assert await client.run("split") == "done"
    assert set(seen) == {client.live.id}
    assert sorted(client.texts) == ["part 1", "part 2", "part 3", "part 4"]
    assert await state_of(client.live) == {f"part {number}": number for number in range(1, 5)}


async def test_it_reaches_sync_to_async_and_to_thread(worker: Worker, chat: Chat) -> None:
    def work(name: str) -> UUID:
        user_session[name] = True
        async_to_sync(Message(name).send)()
        return id_of_context()

    seen: list[UUID] = []

    @chat.on_event("sync")
    async def sync() -> None:
        seen.append(await sync_to_async(work)("sync_to_async"))
        seen.append(await sync_to_async(work, thread_sensitive=False)("in a thread of its own"))
        seen.append(await asyncio.to_thread(work, "to_thread"))

    client = await Client.open(worker, chat)
    assert await client.run("sync") == "done"
    assert seen == [client.live.id] * 3
    assert client.texts == ["sync_to_async", "in a thread of its own", "to_thread"]
    assert await state_of(client.live) == dict.fromkeys(client.texts, True)


async def test_it_is_gone_after_the_handler(worker: Worker, chat: Chat) -> None:
    """A handler that fails, one that is stopped: no context is left for whoever comes next."""

    @chat.on_event("fail")
    async def fail() -> None:
        raise ValueError("on purpose")

    client = await Client.open(worker, chat)
    assert await client.run("fail") == "failed"
    with pytest.raises(ContextNotFound):
        _ = context.session
    assert repr(context) == "<context: none here>"
    assert repr(user_session) == "<user_session: no session here>"


# Carried further by bind_context


async def test_bind_context_in_executors_and_threads(worker: Worker, chat: Chat) -> None:
    def work(name: str, *, answer: int) -> tuple[UUID, int]:
        user_session[name] = answer
        async_to_sync(Message(name).send)()
        return id_of_context(), answer

    results: list[Any] = []

    @chat.on_event("bind")
    async def bind() -> None:
        loop = asyncio.get_running_loop()
        bound = bind_context(work)
        with ThreadPoolExecutor(1) as pool:
            results.append(await loop.run_in_executor(pool, lambda: bound("a", answer=1)))
            results.append(await asyncio.wrap_future(pool.submit(bound, "b", answer=2)))
        thread = threading.Thread(target=lambda: results.append(bound("c", answer=3)))
        thread.start()
        await asyncio.to_thread(thread.join)

    client = await Client.open(worker, chat)
    assert await client.run("bind") == "done"
    assert results == [(client.live.id, 1), (client.live.id, 2), (client.live.id, 3)]
    assert client.texts == ["a", "b", "c"]
    assert await state_of(client.live) == {"a": 1, "b": 2, "c": 3}


async def test_an_executor_sees_nothing_by_itself(worker: Worker, chat: Chat) -> None:
    errors: list[BaseException | None] = []

    @chat.on_event("bare")
    async def bare() -> None:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(id_of_context)
            errors.append(await asyncio.to_thread(future.exception))

    client = await Client.open(worker, chat)
    assert await client.run("bare") == "done"
    assert isinstance(errors[0], ContextNotFound)


async def test_bind_context_around_a_coroutine_function(worker: Worker, chat: Chat) -> None:
    """Such as a callback that a library awaits in a task that it had before."""
    bound: list[Callable[[str], Awaitable[UUID]]] = []

    async def callback(name: str) -> UUID:
        """Somebody's callback."""
        user_session["called"] = name
        await context.emitter.flush()
        return id_of_context()

    @chat.on_event("register")
    async def register() -> None:
        bound.append(bind_context(callback))

    client = await Client.open(worker, chat)
    assert await client.run("register") == "done"
    assert bound[0].__name__ == "callback"
    assert bound[0].__doc__ == "Somebody's callback."
    assert await bound[0]("later") == client.live.id
    assert await state_of(client.live) == {"called": "later"}
    with pytest.raises(ContextNotFound):
        id_of_context()


async def test_what_a_thread_sets_after_the_turn_is_stored(worker: Worker, chat: Chat) -> None:
    """Nothing else happens to the session: the value itself is reason enough for a commit."""
    go = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        go.wait(10)
        user_session["late"] = "value"

    @chat.on_event("start")
    async def start() -> None:
        threads.append(threading.Thread(target=bind_context(work)))
        threads[0].start()

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    go.set()
    await asyncio.to_thread(threads[0].join)

    async def stored() -> bool:
        return await state_of(client.live) == {"late": "value"}

    await eventually(stored)


@pytest.mark.parametrize("way", ["task", "block", "task that sends nothing"])
async def test_what_is_changed_inside_a_value_after_a_turn_has_ended_is_stored(
    worker: Worker, chat: Chat, way: str
) -> None:
    """The end of any turn forgot which values tasks and blocks had read and were working on."""
    has_read, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        held = user_session["held"]
        has_read.set()
        await go.wait()
        held.append("later")
        if way != "task that sends nothing":
            await Message("done").send()
        done.set()

    async def work_in_a_block() -> None:
        async with session_context(client.live.id):
            await work()

    @chat.on_event("start")
    async def start() -> None:
        user_session["held"] = []
        if way != "block":
            spawn(work())
            await has_read.wait()

    @chat.on_event("other")
    async def other() -> None:
        user_session["other"] = []

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    block = asyncio.create_task(work_in_a_block()) if way == "block" else None
    await has_read.wait()
    assert await client.run("other") == "done"
    go.set()
    await done.wait()
    if block is not None:
        await block
    await until(lambda: not client.live.is_busy)
    await worker.journal.settled()
    assert await state_of(client.live) == {"held": ["later"], "other": []}


@serializable(name="tests.Slow")
class Slow:
    """Something that takes its time to be encoded."""

    def __init__(self, encoding: Callable[[], None] = lambda: None) -> None:
        self.encoding = encoding

    def to_storable(self) -> str:
        self.encoding()
        return "slow"

    @classmethod
    def from_storable(cls, _data: str) -> Slow:
        return cls()


async def test_a_commit_during_a_threads_set_does_not_lose_it(worker: Worker, chat: Chat) -> None:
    """The journal runs in another thread: it may come by before the value is encoded."""
    go = threading.Event()
    threads: list[threading.Thread] = []

    def until_committed() -> None:
        before = worker.journal.batches
        deadline = threading.Event()
        for _ in range(200):
            if worker.journal.batches > before:
                return
            deadline.wait(0.005)

    def work() -> None:
        go.wait(10)
        user_session["late"] = Slow(until_committed)

    @chat.on_event("start")
    async def start() -> None:
        threads.append(threading.Thread(target=bind_context(work)))
        threads[0].start()

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    await worker.journal.settled()
    go.set()
    await asyncio.to_thread(threads[0].join)

    async def stored() -> bool:
        return "late" in await state_of(client.live)

    await eventually(stored)


@pytest.mark.parametrize("kind", [list, dict])
async def test_a_thread_may_add_to_a_value_while_a_commit_encodes_it(
    worker: Worker, chat: Chat, kind: type[list[Slow] | dict[int, Slow]]
) -> None:
    """The commit failed, and the session was dropped."""
    held = kind()
    adds = threading.Event()

    def add(one: Slow) -> None:
        if isinstance(held, list):
            held.append(one)
        else:
            held[len(held)] = one

    def encoding() -> None:
        if adds.is_set():
            thread = threading.Thread(target=add, args=(Slow(),))
            thread.start()
            thread.join()

    @chat.on_event("work")
    async def work() -> None:
        add(Slow(encoding))
        add(Slow(encoding))
        user_session["held"] = held
        adds.set()
        await aemit_to(context.session.id, "note")
        adds.clear()

    client = await Client.open(worker, chat)
    assert await client.run("work") == "done"
    assert [name for name, _ in client.events] == ["note"]
    assert len(held) > 2
    assert len(loads(client.live.user_session.encoded()["held"])) == len(held)
    assert (await state_of(client.live)).keys() == {"held"}


async def test_a_thread_may_get_values_out_during_a_commit(worker: Worker, chat: Chat) -> None:
    """Sync handlers use their values while the journal looks what of them has changed."""
    armed, collecting, touched = threading.Event(), threading.Event(), threading.Event()

    def encoding() -> None:
        if armed.is_set():
            collecting.set()
            touched.wait(2)

    def commit() -> None:
        """Both sessions have something to store at the same time."""
        other.send("echo")
        client.live.log.note()

    @chat.on_event("echo")
    async def echo() -> None:
        await context.emitter.emit("echo")

    @chat.on_event("work")
    def work() -> None:
        for number in range(20):
            user_session[f"list {number}"] = [number]
        user_session["slow"] = Slow(encoding)
        armed.set()
        worker.loop.call_soon_threadsafe(commit)
        collecting.wait(2)
        for number in range(20, 40):
            user_session[f"list {number}"] = [number]
        touched.set()

    client, other = await Client.open(worker, chat), await Client.open(worker, chat)
    n = client.send("work")
    async with asyncio.timeout(5):
        assert await client.outcome(n) == "done"
        assert await other.outcome(1) == "done"
    assert other.events == [("echo", None)]
    assert len(await state_of(client.live)) == 41


async def test_a_thread_may_read_all_values_while_a_view_changes_them(
    worker: Worker, chat: Chat
) -> None:
    reading, changed = threading.Event(), threading.Event()
    read: dict[str, int] = {}

    @chat.on_event("work")
    def work() -> None:
        user_session.update(a=1, old=2, b=3)
        for key, value in user_session.items():
            reading.set()
            changed.wait(5)
            read[key] = value

    client = await Client.open(worker, chat)
    n = client.send("work")
    await asyncio.to_thread(reading.wait, 5)
    async with session_context(client.live.id):
        user_session.update(new=4, newer=5)
        del user_session["old"]
    changed.set()
    assert await client.outcome(n) == "done"
    assert read == {"a": 1, "b": 3}
    assert await state_of(client.live) == {"a": 1, "b": 3, "new": 4, "newer": 5}


# Sync code sends


async def test_a_sync_handler_sends_through_async_to_sync(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    def answer(message: Message) -> None:
        sent = Message(f"You said {message.content}")
        async_to_sync(sent.send)()
        sent.content += "!"
        async_to_sync(sent.update)()
        async_to_sync(context.emitter.flush)()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert [(name, data["content"]) for name, data in client.events] == [
        ("message", "You said hello"),
        ("message_update", "You said hello!"),
    ]


# Outside of any session


@pytest.mark.parametrize(
    "use",
    [
        lambda: context.session,
        lambda: context.emitter,
        lambda: context.user_session,
        lambda: context.chat,
        lambda: context.turn,
        lambda: user_session["key"],
        lambda: user_session.get("key"),
        lambda: user_session.set("key", 1),
        lambda: "key" in user_session,
        lambda: list(user_session),
        lambda: user_session.local,
        lambda: bind_context(print),
        lambda: user_session.create_accessor("key", 0).get(),
    ],
)
def test_outside_of_a_session_the_error_names_the_remedies(use: Callable[[], object]) -> None:
    with pytest.raises(ContextNotFound) as raised:
        use()
    for remedy in ("spawn()", "bind_context()", "session_context("):
        assert remedy in str(raised.value)
    assert raised.value.what in str(raised.value)


async def test_outside_of_a_session_nothing_is_sent_or_spawned() -> None:
    with pytest.raises(ContextNotFound, match="session_context"):
        await Message("hello").send()

    async def work() -> None:
        """Never runs, and is closed all the same: no warning."""

    with pytest.raises(ContextNotFound, match="spawn"):
        spawn(work())


@pytest.mark.parametrize("nonsense", [id_of_context, asyncio.Event(), None])
def test_what_cannot_be_spawned(nonsense: Any) -> None:
    with pytest.raises(TypeError, match=r"as in spawn\(remind\(5\)\)"):
        spawn(nonsense)


def test_what_cannot_be_bound() -> None:
    with pytest.raises(TypeError, match="takes a function, not 'called already'"):
        bind_context("called already")  # type: ignore[arg-type]


# spawn


async def test_a_spawned_task_outlives_its_turn_and_its_client(worker: Worker, chat: Chat) -> None:
    go = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        await go.wait()
        user_session["worked"] = True
        await Message("finished").send()

    @chat.on_event("start")
    async def start() -> None:
        tasks.append(spawn(work(), name="the work"))

    client = await Client.open(worker, chat)
    live = client.live
    assert await client.run("start") == "done"
    assert tasks[0].get_name() == "the work"
    client.leave()
    await worker.journal.settled()
    assert worker.live == {live.id: live}
    go.set()
    await tasks[0]
    await until(lambda: not worker.live)
    row = await ChatSession.objects.aget(pk=live.id)
    assert (row.worker_id, row.head) == (None, 2)
    assert await state_of(live) == {"worked": True}


async def test_a_spawned_task_can_be_cancelled_before_it_begins(worker: Worker, chat: Chat) -> None:
    """Without Python's warning of a coroutine that was never awaited."""
    tasks: list[asyncio.Task[None]] = []

    @chat.on_event("start")
    async def start() -> None:
        tasks.append(spawn(asyncio.sleep(100)))
        tasks[0].cancel()

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    await until(lambda: tasks[0].cancelled())


async def test_what_a_spawned_task_changes_inside_a_value_is_stored(
    worker: Worker, chat: Chat
) -> None:
    """It was lost: nobody looked at values that the turn had read when the turn was over."""
    steps = [asyncio.Event(), asyncio.Event()]

    async def work(history: list[str]) -> None:
        await steps[0].wait()
        history.append("one")
        await Message("one").send()
        await steps[1].wait()
        history.append("two")

    @chat.on_event("start")
    async def start() -> None:
        spawn(work(user_session.setdefault("history", [])))

    @chat.on_event("other")
    async def other() -> None:
        """Another turn, which begins and ends meanwhile."""

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    steps[0].set()
    await until(lambda: client.texts == ["one"])
    assert await state_of(client.live) == {"history": ["one"]}
    assert await client.run("other") == "done"
    client.leave()
    steps[1].set()
    await until(lambda: not worker.live)
    assert await state_of(client.live) == {"history": ["one", "two"]}


async def test_each_change_of_a_spawned_task_is_stored_while_it_runs(
    worker: Worker, chat: Chat
) -> None:
    """The first one was, and the others with whatever else was stored."""
    steps = [asyncio.Event(), asyncio.Event(), asyncio.Event()]

    async def work() -> None:
        for number, step in enumerate(steps):
            await step.wait()
            user_session["history"].append(number)
        await asyncio.Event().wait()

    @chat.on_event("start")
    async def start() -> None:
        user_session["history"] = []
        spawn(work())

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    for number, step in enumerate(steps):
        step.set()
        expected = {"history": list(range(number + 1))}

        async def is_stored(expected: Any = expected) -> bool:
            return await state_of(client.live) == expected

        await eventually(is_stored, seconds=30)


async def start_hanging(worker: Worker, chat: Chat) -> tuple[Client, asyncio.Task[None]]:
    """A session with a spawned task that runs for ever, after its turn."""
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        await asyncio.Event().wait()

    @chat.on_event("start")
    async def start() -> None:
        tasks.append(spawn(work()))

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    return client, tasks[0]


async def test_stopping_a_later_turn_leaves_a_spawned_task_alone(
    worker: Worker, chat: Chat
) -> None:
    client, task = await start_hanging(worker, chat)

    @chat.on_event("hang")
    async def hang() -> None:
        await asyncio.Event().wait()

    n = client.send("hang")
    await until(lambda: client.live.turns.number == n and client.live.turns.job.started)  # type: ignore[union-attr]
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    assert not task.done()
    client.live.end("user")
    await client.live.until_closed()
    await asyncio.wait([task])


async def test_a_spawned_task_is_cancelled_with_its_session(worker: Worker, chat: Chat) -> None:
    client, task = await start_hanging(worker, chat)
    client.live.end("user")
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.live.until_closed()


async def test_a_spawned_task_is_cancelled_when_the_server_shuts_down(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"SHUTDOWN_TIMEOUT": 0.05}
    client, task = await start_hanging(worker, chat)
    await worker.shut_down()
    assert task.cancelled()
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.worker_id) == ("away", None)


async def test_spawn_is_for_async_code(worker: Worker, chat: Chat) -> None:
    errors: list[str] = []

    async def work() -> None:
        """Never runs."""

    @chat.on_event("start")
    def start() -> None:
        with pytest.raises(RuntimeError) as raised:
            spawn(work())
        errors.append(str(raised.value))

    client = await Client.open(worker, chat)
    assert await client.run("start") == "done"
    assert "call it from async code" in errors[0]


# Code that comes too late


async def refusals_of(operations: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, type]:
    refused: dict[str, type] = {}
    for name, operation in operations.items():
        try:
            await operation()
        except Exception as error:  # noqa: BLE001, RUF100  # which one is what is asked
            refused[name] = type(error)
    return refused


async def set_a_value() -> None:
    user_session["late"] = 1


async def delete_a_value() -> None:
    del user_session["early"]


async def send_a_message() -> None:
    await Message("late").send()


async def stream_a_token() -> None:
    await Message().stream_token("late")


async def spawn_a_task() -> None:
    async def work() -> None:
        """Never runs."""

    await spawn(work())


CHANGES: dict[str, Callable[[], Awaitable[object]]] = {
    "set": set_a_value,
    "del": delete_a_value,
    "send": send_a_message,
    "stream": stream_a_token,
    "spawn": spawn_a_task,
}


async def test_a_stopped_sync_handler_gets_turn_stopped(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    """Its thread cannot be killed: the turn ends at once, and what the thread does is refused."""
    begun, go = threading.Event(), threading.Event()
    refused: dict[str, type] = {}

    @chat.on_event("work")
    def work() -> None:
        user_session["early"] = 1
        begun.set()
        go.wait(10)
        for name in ("set", "del", "send", "stream"):
            try:
                async_to_sync(CHANGES[name])()  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001, PERF203, RUF100  # which is what is asked
                refused[name] = type(error)
        begun.clear()

    client = await Client.open(worker, chat)
    n = client.send("work")
    await asyncio.to_thread(begun.wait, 10)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    go.set()
    await until(lambda: not begun.is_set())
    assert refused == dict.fromkeys(("set", "del", "send", "stream"), TurnStopped)
    assert client.events == []
    assert await state_of(client.live) == {"early": 1}


def with_plain_task(
    chat: Chat, operations: dict[str, Callable[[], Awaitable[object]]], *, hangs: bool = False
) -> tuple[asyncio.Event, list[asyncio.Task[dict[str, type]]]]:
    """An event ``work`` begins a task of asyncio's, which tries ``operations`` on a signal."""
    go = asyncio.Event()
    tasks: list[asyncio.Task[dict[str, type]]] = []

    async def later() -> dict[str, type]:
        await go.wait()
        return await refusals_of(operations)

    @chat.on_event("work")
    async def work() -> None:
        user_session["early"] = 1
        tasks.append(asyncio.create_task(later()))
        if hangs:
            await asyncio.Event().wait()

    return go, tasks


async def test_a_plain_task_of_a_stopped_turn_is_refused(worker: Worker, chat: Chat) -> None:
    go, tasks = with_plain_task(chat, CHANGES, hangs=True)
    client = await Client.open(worker, chat)
    n = client.send("work")
    await until(lambda: tasks)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    go.set()
    assert await tasks[0] == dict.fromkeys(CHANGES, TurnStopped)


async def test_a_plain_task_after_release_has_lost_its_session(worker: Worker, chat: Chat) -> None:
    go, tasks = with_plain_task(chat, CHANGES)
    client = await Client.open(worker, chat)
    assert await client.run("work") == "done"
    client.leave()
    await until(lambda: not worker.live)
    go.set()
    assert await tasks[0] == dict.fromkeys(CHANGES, OwnershipLost)
    assert await state_of(client.live) == {"early": 1}


async def test_a_plain_task_goes_on_as_long_as_the_session_is_here(
    worker: Worker, chat: Chat
) -> None:
    go, tasks = with_plain_task(chat, {"set": set_a_value, "send": send_a_message})
    client = await Client.open(worker, chat)
    assert await client.run("work") == "done"
    go.set()
    assert await tasks[0] == {}
    await until(lambda: client.texts == ["late"])
    assert await state_of(client.live) == {"early": 1, "late": 1}
