"""From outside of a session's connection: views, tasks, commands and the shell."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db.models import F
from django.utils.functional import SimpleLazyObject

from chatsessions import (
    Chat,
    ContextNotFound,
    Message,
    OwnershipLost,
    OwnerUnreachable,
    ServerStopped,
    SessionNotFound,
    SessionOver,
    SessionOwned,
    StoreUnavailable,
    abroadcast,
    aemit_to,
    aemit_to_user,
    aend_session,
    assign_user,
    chat_context,
    context,
    emit_to,
    emit_to_user,
    end_session,
    session_context,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.bridge import background_loop
from chatsessions.models import ChatSession, SessionEvent, Worker
from chatsessions.storage.worker_rows import WorkerRows
from chatsessions.testing import ChatCommunicator
from chatsessions.workers.outside import Which
from chatsessions.workers.worker import Worker as RunningWorker
from chatsessions.workers.worker import _workers, get_worker, running_workers

from .support.database import failing, locked
from .support.sessions import (
    Client,
    Way,
    eventually,
    join_threads_of_ours,
    running_worker,
    threads_of_ours,
    until,
    ways,
)
from .support.storage import dead_worker_row, session_row, state_of, worker_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


async def visit(way: Way, session_id: Which, work: Callable[[], None] = lambda: None) -> UUID:
    """Do ``work`` and send a message from outside; sync, from a thread as a view would."""
    if way == "async":
        async with session_context(session_id) as found:
            work()
            await Message("from outside").send()
            assert context.session is found.session
            return found.session.id

    def view() -> UUID:
        with session_context(session_id) as found:
            work()
            async_to_sync(Message("from outside").send)()
            assert context.session is found.session
            return found.session.id

    return await asyncio.to_thread(view)


async def end(way: Way, session_id: Which, *reason: str) -> None:
    if way == "async":
        await aend_session(session_id, *reason)
    else:
        await asyncio.to_thread(end_session, session_id, *reason)


def visited() -> None:
    user_session["visits"] = user_session.get("visits", 0) + 1


@pytest.fixture
async def client(worker: RunningWorker, chat: Chat) -> Client:
    """A client whose session the server's process holds."""
    return await Client.open(worker, chat)


@pytest.fixture
def ends(chat: Chat) -> list[str]:
    """The reasons with which ``on_chat_end`` was called."""
    ends: list[str] = []
    chat.on_chat_end(lambda reason: ends.append(reason))
    return ends


def events_of(session_id: UUID) -> list[tuple[int, str]]:
    return list(SessionEvent.objects.filter(session=session_id).values_list("seq", "name"))


# In the server's process


class DoneInTheNickOfTime(Future[Any]):
    """Done just behind the moment at which the time of whoever waits is over."""

    def result(self, timeout: float | None = None) -> Any:
        value = super().result()
        if timeout is not None:
            raise TimeoutError
        return value


async def test_a_call_that_ends_as_its_caller_looks_up_returns(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads look now and then whether the loop still runs: a bare TimeoutError came of that."""
    submit = asyncio.run_coroutine_threadsafe

    def submit_for_later(*arguments: Any) -> Future[Any]:
        future = submit(*arguments)
        future.__class__ = DoneInTheNickOfTime
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit_for_later)
    client = await Client.open(worker, chat)
    await asyncio.to_thread(emit_to, client.live.id, "note")
    assert "note" in [name for _, name in await sync_to_async(events_of)(client.live.id)]


async def test_all_that_was_emitted_is_stored_of_a_session_that_ends_meanwhile(
    client: Client,
) -> None:
    """An event stream of a new session, which its handler ended at once, was told 410 instead."""
    client.live.log.say("note", 1)
    client.live.end("app")
    await client.live.settle()
    assert client.live.log.stored == client.live.log.head


@ways
async def test_a_live_session(worker: RunningWorker, client: Client, way: Way) -> None:
    for count in (1, 2):
        assert await visit(way, client.live.id, visited) == client.live.id
        # Stored when the block has ended, and so the client has it.
        assert await state_of(client.live) == {"visits": count}
        assert client.texts == ["from outside"] * count
    assert client.live.holders == 0
    assert worker.live == {client.live.id: client.live}
    assert client.closed == []


@ways
@pytest.mark.parametrize("by", ["text", "row", "session"])
async def test_a_live_session_by_another_name(client: Client, way: Way, by: str) -> None:
    names = {
        "text": str(client.live.id),
        "row": await ChatSession.objects.aget(pk=client.live.id),
        "session": client.live.session,
    }
    assert await visit(way, names[by]) == client.live.id
    await end(way, names[by])
    assert client.closed == [(4503, "app")]


@ways
async def test_a_live_session_with_a_running_turn(client: Client, chat: Chat, way: Way) -> None:
    """The block does not wait for the turn, nor the turn for the block."""
    go = asyncio.Event()

    @chat.on_event("work")
    async def work() -> None:
        user_session["begun"] = True
        await go.wait()
        user_session["visits"] += 1
        await Message("from the turn").send()

    n = client.send("work")
    await until(lambda: "begun" in client.live.user_session)
    await visit(way, client.live.id, visited)
    assert client.texts == ["from outside"]
    go.set()
    assert await client.outcome(n) == "done"
    assert await state_of(client.live) == {"begun": True, "visits": 2}


@ways
async def test_a_session_that_is_away_is_taken_and_given_back(
    worker: RunningWorker, chat: Chat, way: Way
) -> None:
    loads: list[UUID] = []

    @chat.on_session_load
    async def load() -> None:
        loads.append(context.session.id)

    @chat.on_chat_start
    async def start() -> None:
        loads.clear()

    client = await Client.open(worker, chat)
    await client.outcome(0)
    client.leave()
    await until(lambda: not worker.live)
    await visit(way, client.live.id, visited)
    await until(lambda: not worker.live)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.worker_id, row.head, row.state) == ("away", None, 1, '{"visits":1}')
    assert row.generation == 2
    assert loads == [client.live.id]
    # The client finds it on its return.
    back = await Client.open(worker, chat, client.live.id, client.token)
    assert back.resumed
    assert [entry.name for entry in await back.live.read_log(0, 10)] == ["message"]
    assert back.live.user_session["visits"] == 1


async def test_an_event_for_a_user_is_shown_when_their_tab_returns(chat: Chat) -> None:
    """Every session of theirs that has not ended keeps it; a new one knows nothing of it."""
    ada = await get_user_model().objects.acreate_user("ada")
    application = ChatConsumer.as_asgi(chat=chat)
    async with (
        ChatCommunicator(application, "/", user=ada) as returning,
        ChatCommunicator(application, "/", user=ada) as over,
        ChatCommunicator(application, "/", user=ada) as gone,
    ):
        await over.end()
        for tab in (returning, gone):
            await tab.drop()
        assert await aemit_to_user(ada, "mail", {"count": 1}) == 2
        assert await returning.resume()
        assert (await returning.receive_event("mail")).data == {"count": 1}
        assert await returning.reload()
        assert [event.name for event in returning.events].count("mail") == 1
        async with ChatCommunicator(application, "/", user=ada) as new:
            await new.receive_nothing("mail")
        stored = SessionEvent.objects.filter(name="mail").values_list("session", flat=True)
        assert {pk async for pk in stored} == {returning.session_id, gone.session_id}


@ways
async def test_a_client_that_comes_while_the_block_runs(
    worker: RunningWorker, client: Client, chat: Chat, way: Way
) -> None:
    client.leave()
    await until(lambda: not worker.live)
    entered, go = threading.Event(), threading.Event()

    def stay() -> None:
        visited()
        entered.set()
        go.wait(10)

    task = asyncio.create_task(visit("sync", client.live.id, stay))
    await asyncio.to_thread(entered.wait, 10)
    back = await Client.open(worker, chat, client.live.id, client.token)
    go.set()
    await task
    assert back.resumed
    assert back.texts == ["from outside"]
    assert worker.live == {client.live.id: back.live}


@ways
async def test_an_ended_session(worker: RunningWorker, client: Client, way: Way) -> None:
    await end(way, client.live.id)
    for _ in range(2):
        with pytest.raises(SessionOver) as raised:
            await visit(way, client.live.id)
        assert raised.value.reason == "app"
        with pytest.raises(SessionOver):
            await end(way, client.live.id)
    assert worker.live == {}


@ways
async def test_a_session_that_is_ending(client: Client, chat: Chat, way: Way) -> None:
    go = asyncio.Event()

    @chat.on_chat_end
    async def over() -> None:
        await go.wait()

    client.live.end("user")
    with pytest.raises(SessionOver):
        await visit(way, client.live.id)
    go.set()
    await client.live.until_closed()


@ways
@pytest.mark.parametrize(
    "session_id", [UUID(int=1), str(UUID(int=1)), "", "no-id", "0" * 31, None, 7]
)
async def test_no_such_session(worker: RunningWorker, way: Way, session_id: Any) -> None:
    with pytest.raises(SessionNotFound) as raised:
        await visit(way, session_id)
    assert raised.value.session_id == session_id or str(raised.value.session_id) == session_id
    with pytest.raises(SessionNotFound):
        await end(way, session_id)
    with pytest.raises(ContextNotFound):
        _ = context.session


@ways
async def test_a_session_of_another_process(worker: RunningWorker, way: Way) -> None:
    """Its worker says that it lives, on another host: nothing is changed."""
    other = await sync_to_async(worker_row)()
    row = await sync_to_async(session_row)(
        status=ChatSession.Status.CONNECTED, worker=other, state='{"a":1}'
    )
    with pytest.raises(OwnerUnreachable) as raised:
        await visit(way, row.pk, visited)
    assert raised.value.owner == "elsewhere.invalid:1"
    with pytest.raises(OwnerUnreachable):
        await end(way, row.pk)
    await worker.journal.settled()
    after = await ChatSession.objects.aget(pk=row.pk)
    for name in ("status", "worker_id", "generation", "state", "head", "end_reason"):
        assert getattr(after, name) == getattr(row, name)
    assert worker.live == {}


@ways
async def test_a_session_of_a_dead_process_is_taken(
    worker: RunningWorker, chat: Chat, way: Way, settings: Settings
) -> None:
    other = await sync_to_async(dead_worker_row)()
    row = await sync_to_async(session_row)(
        chat=chat.name, status=ChatSession.Status.CONNECTED, worker=other
    )
    await visit(way, row.pk, visited)
    after = await ChatSession.objects.aget(pk=row.pk)
    assert (after.generation, after.state) == (2, '{"visits":1}')


@ways
async def test_what_was_set_before_an_exception_is_stored(client: Client, way: Way) -> None:
    def fail() -> None:
        visited()
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await visit(way, client.live.id, fail)
    assert await state_of(client.live) == {"visits": 1}
    assert client.live.holders == 0
    with pytest.raises(ContextNotFound):
        _ = context.session
    await visit(way, client.live.id, visited)
    assert await state_of(client.live) == {"visits": 2}


@ways
async def test_changes_inside_of_values_are_found(client: Client, way: Way) -> None:
    client.live.user_session["list"] = [1]
    await visit(way, client.live.id, lambda: user_session["list"].append(2))
    assert await state_of(client.live) == {"list": [1, 2]}


@ways
@pytest.mark.parametrize("kept_in", ["cached_db", "cache"])
@pytest.mark.usefixtures("cache")
async def test_a_large_session_is_taken_and_given_back(
    worker: RunningWorker, chat: Chat, way: Way, settings: Settings, kept_in: str
) -> None:
    """Each time with all of its values."""
    settings.CHATSESSIONS = {"USER_SESSION_STORE": kept_in}
    client = await Client.open(worker, chat)
    values = {"much": "x" * 100_000, "list": [1]}
    client.live.user_session.update(values)
    client.leave()
    await until(lambda: not worker.live)
    for count in (1, 2, 3):
        await visit(way, client.live.id, visited)
        await until(lambda: not worker.live)
        row = await ChatSession.objects.aget(pk=client.live.id)
        assert (len(row.state) > 100_000) == (kept_in == "cached_db")
        assert row.state_bytes > 100_000
        found: dict[str, Any] = {}
        await visit(way, client.live.id, lambda found=found: found.update(user_session))
        await until(lambda: not worker.live)
        assert found == values | {"visits": count}


async def test_contexts_of_two_sessions_inside_each_other(
    worker: RunningWorker, chat: Chat
) -> None:
    first, second = await Client.open(worker, chat), await Client.open(worker, chat)
    async with session_context(first.live.id):
        user_session["name"] = "first"
        async with session_context(second.live.id):
            user_session["name"] = "second"
            await Message("to the second").send()
            async with session_context(first.live.id):
                assert user_session["name"] == "first"
        assert context.session.id == first.live.id
        assert user_session["name"] == "first"
        await Message("to the first").send()
    assert (first.texts, second.texts) == (["to the first"], ["to the second"])
    assert await state_of(first.live) == {"name": "first"}
    assert await state_of(second.live) == {"name": "second"}


async def test_sync_contexts_of_two_sessions_inside_each_other(
    worker: RunningWorker, chat: Chat
) -> None:
    first, second = await Client.open(worker, chat), await Client.open(worker, chat)

    def view() -> None:
        with session_context(first.live.id), session_context(second.live.id):
            user_session["name"] = "second"
        with session_context(first.live.id):
            with session_context(second.live.id):
                assert user_session["name"] == "second"
            user_session["name"] = "first"

    await asyncio.to_thread(view)
    assert await state_of(first.live) == {"name": "first"}
    assert await state_of(second.live) == {"name": "second"}


async def test_from_the_handler_of_another_session(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_event("tell")
    async def tell(session_id: str) -> None:
        async with session_context(session_id):
            await Message("a greeting").send()
        await Message("greeted").send()

    sender, receiver = await Client.open(worker, chat), await Client.open(worker, chat)
    assert await sender.run("tell", str(receiver.live.id)) == "done"
    assert (sender.texts, receiver.texts) == (["greeted"], ["a greeting"])


@pytest.mark.parametrize("kept", ["variable", "chat_context"])
@pytest.mark.parametrize("way", ["send", "update", "stream"])
async def test_a_message_that_is_sent_in_another_session_too_is_a_new_one_there(
    worker: RunningWorker, chat: Chat, way: str, kept: str
) -> None:
    """It was the change of a message that is not there: only a page that was open showed it."""
    chat.feedback = True
    notes: list[Message] = []

    @chat.on_message
    async def answer() -> None:
        note = await Message("note").send()
        notes.append(note if kept == "variable" else chat_context.get()[-1])

    @chat.on_event("look")
    async def look() -> None:
        await context.emitter.emit("seen", [one.content for one in chat_context.get()])

    consumer = ChatConsumer.as_asgi(chat=chat)
    async with ChatCommunicator(consumer, "/") as here, ChatCommunicator(consumer, "/") as there:
        assert await here.wait_for_turn(await here.send("hello")) == "done"
        [note] = notes
        async with session_context(there.session_id):
            if way == "stream":
                await note.stream_token("!")
            else:
                await getattr(note, way)()
        shown = await there.receive_message()
        assert (shown.id, shown.content) == (note.id, note.content)
        assert await there.wait_for_turn(await there.send_event("look")) == "done"
        assert (await there.receive_event("seen")).data == [note.content]
        assert await there.wait_for_turn(await there.give_feedback(shown, "up")) == "done"
        note.content = "changed"
        async with session_context(there.session_id):
            await note.update()
        await there.receive_event("message_update")
        assert [one.content for one in there.messages] == ["changed"]
        async with session_context(here.session_id):
            await note.remove()  # it is one of the other session now
        assert [one.content for one in here.messages] == ["hello", "note"]


@ways
async def test_a_store_that_stays_away(
    worker: RunningWorker, client: Client, way: Way, settings: Settings
) -> None:
    await worker.journal.settled()
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    with failing():
        with pytest.raises(StoreUnavailable):
            await visit(way, client.live.id, visited)
        assert client.live.holders == 0
        settings.CHATSESSIONS = {}
    await until(lambda: worker.journal.failure is None)
    await worker.journal.settled()
    assert await state_of(client.live) == {"visits": 1}


@ways
async def test_what_is_set_while_a_release_cannot_be_stored_is_stored_with_it(
    worker: RunningWorker, client: Client, way: Way, settings: Settings
) -> None:
    """A tab was closed while the database was away, and a block came for its session."""
    await worker.journal.settled()
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    with failing():
        client.leave()
        await until(lambda: not client.live.log.is_noted)
        with pytest.raises(StoreUnavailable):
            await visit(way, client.live.id, visited)
        settings.CHATSESSIONS = {}
    await until(lambda: not worker.live)
    assert await state_of(client.live) == {"visits": 1}


@ways
async def test_a_session_that_is_taken_away_during_the_block(
    worker: RunningWorker, client: Client, way: Way
) -> None:
    """What the block has changed is not stored, and it says so."""
    live = client.live
    await worker.journal.settled()
    await ChatSession.objects.filter(pk=live.id).aupdate(generation=F("generation") + 1)
    if way == "async":

        async def block() -> None:
            async with session_context(live.id):
                user_session["value"] = 1
                await until(lambda: live.closed)

        with pytest.raises(OwnershipLost):
            await block()
    else:

        def view() -> None:
            with session_context(live.id):
                user_session["value"] = 1
                closed.wait(10)

        closed = threading.Event()
        task = asyncio.create_task(asyncio.to_thread(view))
        await until(lambda: live.closed)
        closed.set()
        with pytest.raises(OwnershipLost):
            await task
    assert await state_of(live) == {}


# Ending


@ways
@pytest.mark.parametrize("reason", ChatSession.EndReason.values)
async def test_ending_a_live_session(
    worker: RunningWorker, client: Client, chat: Chat, way: Way, reason: str
) -> None:
    begun = asyncio.Event()
    ends: list[str] = []

    @chat.on_event("work")
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    @chat.on_chat_end
    async def over(why: str) -> None:
        ends.append(why)
        user_session["over"] = why
        await Message("goodbye").send()

    n = client.send("work")
    await begun.wait()
    await end(way, client.live.id, reason)
    assert ends == [reason]
    assert client.outcomes == {n: "stopped"}
    assert client.texts == ["goodbye"]
    assert client.closed == [(4503, reason)]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.end_reason, row.worker_id) == ("ended", reason, None)
    assert row.ended_at is not None
    assert row.state == f'{{"over":"{reason}"}}'
    assert worker.live == {}


@ways
async def test_ending_a_session_that_is_away(
    worker: RunningWorker, chat: Chat, ends: list[str], way: Way
) -> None:
    row = await sync_to_async(session_row)(chat=chat.name)
    await end(way, row.pk)
    assert ends == ["app"]
    after = await ChatSession.objects.aget(pk=row.pk)
    assert (after.status, after.end_reason, after.worker_id) == ("ended", "app", None)


@ways
async def test_ending_for_a_reason_that_there_is_not(client: Client, way: Way) -> None:
    with pytest.raises(ValueError, match="'boredom' is no reason") as raised:
        await end(way, client.live.id, "boredom")
    for reason in ChatSession.EndReason.values:
        assert reason in str(raised.value)
    assert client.live.ending is None


async def test_ending_twice_at_once_runs_the_hook_once(client: Client, ends: list[str]) -> None:
    results = await asyncio.gather(
        aend_session(client.live.id, "admin"),
        aend_session(client.live.id, "app"),
        return_exceptions=True,
    )
    assert ends == ["admin"]
    assert results[0] is None
    assert isinstance(results[1], SessionOver)


@ways
async def test_a_handler_ends_its_own_session(
    worker: RunningWorker, client: Client, chat: Chat, way: Way
) -> None:
    left = threading.Event()

    def enough() -> None:
        end_session(context.session.id)
        left.set()

    async def aenough() -> None:
        await aend_session(context.session.id)

    chat.on_event("enough")(enough if way == "sync" else aenough)
    client.send("enough")
    await until(lambda: client.closed)
    assert client.closed == [(4503, "app")]
    assert worker.live == {}
    await until(lambda: way == "async" or left.is_set())


@ways
async def test_an_end_that_cannot_be_stored_is_an_error(
    worker: RunningWorker, client: Client, way: Way
) -> None:
    """It returns when the end is stored; another worker has the session now, and goes on."""
    await worker.journal.settled()
    await ChatSession.objects.filter(pk=client.live.id).aupdate(generation=F("generation") + 1)
    with pytest.raises(OwnershipLost):
        await end(way, client.live.id)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.end_reason) == ("connected", "")


@ways
async def test_an_end_that_a_crash_cut_short_is_finished(
    worker: RunningWorker, chat: Chat, ends: list[str], way: Way
) -> None:
    """on_chat_end has run, or was begun: it runs once. The session is over all the same."""
    row = await sync_to_async(session_row)(chat=chat.name, end_reason="user")
    with pytest.raises(SessionOver) as raised:
        await visit(way, row.pk)
    assert raised.value.reason == "user"

    async def ended() -> bool:
        after = await ChatSession.objects.aget(pk=row.pk)
        return after.status == "ended" and after.worker_id is None

    await eventually(ended)
    assert (ends, worker.live) == ([], {})


# Sync code in an event loop


async def test_the_sync_ways_in_an_event_loop_say_what_to_write() -> None:
    with pytest.raises(RuntimeError, match=r"async with session_context"), session_context(uuid4()):
        pass
    with pytest.raises(RuntimeError, match=r"await aend_session\(\)"):
        end_session(uuid4())


# In a process without a server: a command, a task queue, the shell


def assert_nothing_is_left() -> None:
    join_threads_of_ours()
    assert threads_of_ours() == set()
    assert running_workers() == []
    assert not Worker.objects.exists()
    assert not ChatSession.objects.filter(worker__isnull=False).exists()


def test_a_command_works_with_a_session(chat: Chat) -> None:
    row = session_row(chat=chat.name)
    with session_context(row.pk) as found:
        assert found.session.id == row.pk
        visited()
        async_to_sync(Message("from a command").send)()
        async_to_sync(context.emitter.flush)()
        assert events_of(row.pk) == [(1, "message")]  # stored while the block runs
    row.refresh_from_db()
    assert (row.state, row.status, row.generation) == ('{"visits":1}', "away", 2)
    assert_nothing_is_left()


def test_a_command_ends_a_session(chat: Chat, ends: list[str]) -> None:
    row = session_row(chat=chat.name)
    end_session(row.pk, "admin")
    row.refresh_from_db()
    assert (row.status, row.end_reason, ends) == ("ended", "admin", ["admin"])
    with pytest.raises(SessionOver):
        end_session(row.pk)
    assert_nothing_is_left()


def test_a_command_meets_sessions_that_it_cannot_have(chat: Chat) -> None:
    live = session_row(chat=chat.name, status=ChatSession.Status.CONNECTED, worker=worker_row())
    over = session_row(status=ChatSession.Status.ENDED, end_reason="logout")
    errors: dict[UUID, type[Exception]] = {
        live.pk: OwnerUnreachable,
        over.pk: SessionOver,
        uuid4(): SessionNotFound,
    }
    for session_id, error in errors.items():
        with pytest.raises(error), session_context(session_id):
            pass
        with pytest.raises(error):
            end_session(session_id)
    Worker.objects.get(hostname="elsewhere.invalid").delete()
    assert_nothing_is_left()


def test_an_exception_in_a_commands_block(chat: Chat) -> None:
    row = session_row(chat=chat.name)

    def work() -> None:
        with session_context(row.pk):
            visited()
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        work()
    row.refresh_from_db()
    assert row.state == '{"visits":1}'
    assert_nothing_is_left()


def test_a_call_that_is_given_up_while_its_worker_leaves_keeps_no_later_one_waiting(
    chat: Chat,
) -> None:
    """As by a timeout around it, or a task queue's limit: the worker's end is not its own."""
    row = session_row(chat=chat.name)

    async def give_up() -> bool:
        call = asyncio.create_task(aemit_to(row.pk, "note"))
        workers = _workers.values
        while not call.done() and not any(one.closing for one in [*workers()]):  # noqa: ASYNC110
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        return call.cancelled()

    for _ in range(100):
        if asyncio.run(give_up()):
            break
    else:
        pytest.fail("a worker that leaves was never met")
    later = threading.Thread(target=emit_to, args=(row.pk, "note"), daemon=True)
    later.start()
    later.join(20)
    assert not later.is_alive()
    assert_nothing_is_left()


def test_a_worker_that_is_given_up_as_it_starts_leaves_no_task_behind(
    chat: Chat, settings: Settings
) -> None:
    """Its heartbeat began after its end, and failed every few seconds for ever."""
    row = session_row(chat=chat.name)
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.3}
    raised: list[Exception] = []

    def call() -> None:
        try:
            emit_to(row.pk, "note")
        except StoreUnavailable as error:
            raised.append(error)

    caller = threading.Thread(target=call, daemon=True)
    with locked():
        caller.start()
        deadline = time.monotonic() + 60
        while not any(one.closing for one in [*_workers.values()]) and time.monotonic() < deadline:
            time.sleep(0.01)
    caller.join(60)
    assert raised
    assert_nothing_is_left()
    emit_to(row.pk, "note")  # the event loop has run what was left in it
    assert_nothing_is_left()
    names = [task.get_name() for task in asyncio.all_tasks(background_loop())]
    assert not [name for name in names if name.startswith("chatsessions")]


def test_a_session_that_is_away_is_assigned_to_a_user_once(chat: Chat) -> None:
    row = session_row(chat=chat.name)
    ada, eve = (get_user_model().objects.create(username=name) for name in ("ada", "eve"))
    assign_user(row.pk, ada)
    tokens = (row.token_hash, row.previous_token_hash)
    row.refresh_from_db()
    assert row.user_id == ada.pk
    assert row.token_hash not in ("", *tokens)
    assert row.previous_token_hash == ""
    for user in (ada, eve):
        with pytest.raises(SessionOwned, match="belongs to a user already"):
            assign_user(row.pk, user)
    with pytest.raises(ValueError, match="a user that is stored"):
        assign_user(session_row(chat=chat.name).pk, AnonymousUser())
    with session_context(row.pk) as found:
        assert found.session.user == ada
    assert_nothing_is_left()


@pytest.mark.parametrize("nobody", [None, AnonymousUser(), get_user_model()(username="new")])
def test_an_event_for_nobody_is_an_error_and_no_event_for_every_visitor(
    chat: Chat, nobody: Any
) -> None:
    """As in a view that forgets that its visitor may not be logged in."""
    session_row(chat=chat.name)
    with pytest.raises(ValueError, match="a user that is stored"):
        emit_to_user(nobody, "private", 1)
    with pytest.raises(ValueError, match="a user that is stored"):
        asyncio.run(aemit_to_user(nobody, "private", 1))
    assert not SessionEvent.objects.exists()
    assert_nothing_is_left()


def test_the_user_of_a_request_may_be_one_that_was_not_looked_up_yet(chat: Chat) -> None:
    """As ``request.user`` is, unless the view has used it: no query can run in an event loop."""
    ada = get_user_model().objects.create(username="ada")
    row = session_row(chat=chat.name)

    def look_up() -> Any:
        return SimpleLazyObject(lambda: get_user_model().objects.get(username="ada"))

    assign_user(row.pk, look_up())
    assert emit_to_user(look_up(), "private", 1) == 1
    row.refresh_from_db()
    assert row.user_id == ada.pk
    assert events_of(row.pk) == [(1, "private")]
    assert_nothing_is_left()


def test_to_set_a_sessions_user_is_an_error_that_says_what_to_do(chat: Chat) -> None:
    row = session_row(chat=chat.name)
    user = get_user_model().objects.create(username="ada")
    with session_context(row.pk) as found:
        with pytest.raises(AttributeError, match="assign_user"):
            found.session.user = user
        assert found.session.user.is_anonymous
    row.refresh_from_db()
    assert row.user_id is None


def test_blocks_inside_each_other_in_a_command(chat: Chat) -> None:
    first, second = session_row(chat=chat.name), session_row(chat=chat.name)
    with session_context(first.pk):
        with session_context(second.pk):
            user_session["name"] = "second"
        user_session["name"] = "first"
    for row, name in ((first, "first"), (second, "second")):
        row.refresh_from_db()
        assert msgspec.json.decode(row.state) == {"name": name}
    assert_nothing_is_left()


@pytest.mark.parametrize("how", ["sync", "asyncio.run", "mixed"])
def test_threads_of_a_command_reach_one_session_that_is_live_nowhere(chat: Chat, how: str) -> None:
    """None waits for ever, and none is told that another process has the session."""
    row = session_row(chat=chat.name)

    def call(number: int) -> None:
        if how == "sync" or (how == "mixed" and number % 2):
            with session_context(row.pk):
                user_session[f"key {number}"] = number
                Message(f"{number}").send()
        else:
            asyncio.run(asynchronous(number))

    async def asynchronous(number: int) -> None:
        async with session_context(row.pk):
            user_session[f"key {number}"] = number
            await Message(f"{number}").send()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(40)))
    row.refresh_from_db()
    assert msgspec.json.decode(row.state) == {f"key {number}": number for number in range(40)}
    data = SessionEvent.objects.filter(session=row.pk).values_list("data", flat=True)
    assert sorted(int(one["content"]) for one in data) == [*range(40)]
    assert_nothing_is_left()


def test_what_a_block_leaves_streaming_is_closed(chat: Chat) -> None:
    """Also where it raised: else the page would wait for the rest for ever."""
    row = session_row(chat=chat.name)

    def fail() -> None:
        with session_context(row.pk):
            Message().stream_token("one ")
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fail()
    with session_context(row.pk):
        Message().stream_token("two ")
    data = SessionEvent.objects.filter(session=row.pk).order_by("seq")
    events = [(one.name, one.data) for one in data]
    assert [name for name, _ in events] == [
        *("message", "message_update", "error"),
        *("message", "message_update"),
    ]
    assert [events[at][1]["content"] for at in (1, 4)] == ["one ", "two "]
    assert [events[at][1]["streaming"] for at in (1, 4)] == [False, False]
    assert events[2][1]["code"] == "interrupted"
    row.refresh_from_db()
    assert row.streams == []
    assert_nothing_is_left()


@pytest.fixture
def tidied() -> Iterator[None]:
    """Other tests are not to find what this one may have left of its event loops."""
    yield
    for loop, left in list(_workers.items()):
        left.threads._writer.shutdown()
        left.threads._readers.shutdown()
        del _workers[loop]


@pytest.mark.usefixtures("tidied")
def test_an_asynchronous_command(chat: Chat) -> None:
    """A session that was taken is given back by the end of the process, not by its timeout."""
    row = session_row(chat=chat.name)

    async def command() -> None:
        async with session_context(row.pk):
            visited()
            await Message("from a command").send()

    asyncio.run(command())
    row.refresh_from_db()
    assert (row.state, row.worker_id) == ('{"visits":1}', None)


@pytest.mark.usefixtures("tidied")
def test_asynchronous_tasks_one_after_another(chat: Chat) -> None:
    """As a task queue runs them: one process, and an event loop for each."""
    row = session_row(chat=chat.name)

    async def task() -> None:
        async with session_context(row.pk):
            visited()

    for _ in range(3):
        async_to_sync(task)()
    row.refresh_from_db()
    assert row.state == '{"visits":3}'
    assert_nothing_is_left()


@pytest.mark.usefixtures("tidied")
def test_an_asynchronous_command_ends_a_session(chat: Chat) -> None:
    row = session_row(chat=chat.name)
    asyncio.run(aend_session(row.pk))
    row.refresh_from_db()
    assert (row.status, row.worker_id) == ("ended", None)


async def test_nothing_waits_for_the_store_outside_of_its_loop(
    worker: RunningWorker, client: Client
) -> None:
    """A view's block ends when what it did is stored, and not before."""
    await worker.journal.settled()
    with locked():
        task = asyncio.create_task(visit("sync", client.live.id, visited))
        done, _ = await asyncio.wait([task], timeout=0.1)
        assert not done
        assert client.texts == []
    await task
    assert client.texts == ["from outside"]


# A server that has stopped


@pytest.fixture
def server() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of a server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(serve(), loop).result()
    yield loop
    if loop.is_running():
        stop(loop)
    thread.join()


async def serve() -> None:
    get_worker().serve()


def stop(loop: asyncio.AbstractEventLoop) -> None:
    """Shut a server down, as at the end of its process."""

    async def leave() -> None:
        await get_worker().close()

    asyncio.run_coroutine_threadsafe(leave(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        time.sleep(0.01)
    loop.close()


@ways
def test_a_block_whose_server_has_stopped_says_so(
    server: asyncio.AbstractEventLoop, chat: Chat, way: Way
) -> None:
    """It ended with 'Event loop is closed', and a coroutine that nobody had awaited."""
    row = session_row(chat=chat.name)

    def block() -> None:
        with session_context(row.pk):
            stop(server)

    async def ablock() -> None:
        async with session_context(row.pk):
            await asyncio.to_thread(stop, server)

    run = block if way == "sync" else lambda: asyncio.run(ablock())
    with pytest.raises(ServerStopped):
        run()
    gc.collect()
    assert_nothing_is_left()


def test_a_broadcast_minds_no_event_loop_that_ends_meanwhile(
    server: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a request does under WSGI, in another thread: nobody is connected there."""
    others = WorkerRows.others

    def stop_and_find(rows: WorkerRows, *arguments: Any) -> Any:
        stop(server)
        return others(rows, *arguments)

    monkeypatch.setattr(WorkerRows, "others", stop_and_find)

    async def tell() -> int:
        async with running_worker() as worker:
            worker.serve()
            return await abroadcast("news", 1)

    assert asyncio.run(tell()) == 0


def test_a_block_that_is_given_up_as_it_opens_keeps_no_session(
    server: asyncio.AbstractEventLoop, chat: Chat
) -> None:
    """As by a timeout around it, when its session is held already, and that is not known yet."""
    row = session_row(chat=chat.name)
    [worker] = running_workers()

    async def block() -> None:
        async with session_context(row.pk):
            pytest.fail("it was given up")

    async def give_up() -> None:
        opening = asyncio.create_task(block())
        while not worker.live:  # noqa: ASYNC110
            await asyncio.sleep(0)
        time.sleep(1)  # noqa: ASYNC251  # this event loop is busy with something else
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()

    asyncio.run(give_up())
    deadline = time.monotonic() + 10
    while worker.live and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.live == {}
