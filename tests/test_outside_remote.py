"""From outside, with an owner elsewhere: what is asked of it is done there, once and in order."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db.models import F
from django.utils import timezone

from chatsessions import (
    Chat,
    Message,
    NotStorable,
    OwnershipLost,
    OwnerUnreachable,
    SessionOver,
    SessionOwned,
    StoreUnavailable,
    TooLarge,
    aassign_user,
    abroadcast,
    aemit_to,
    aemit_to_user,
    aend_session,
    session_context,
    user_session,
)
from chatsessions.cluster.commands import Append, Apply, Assign, Put
from chatsessions.cluster.connect_request import LOGIN_TIMEOUT, ConnectRequest
from chatsessions.cluster.owner import apply
from chatsessions.conf import settings
from chatsessions.exceptions import SessionUnavailable
from chatsessions.handlers.context import use_context
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.models import Worker as WorkerRow
from chatsessions.protocol.frames import CloseCode, Token
from chatsessions.storage.store import Loaded
from chatsessions.workers import calls
from chatsessions.workers.blocks import RemoteBlock
from chatsessions.workers.outside import EMITS_AT_A_TIME
from chatsessions.workers.worker import Worker

from .support.database import failing
from .support.layer import DeafLayer, impatient
from .support.sessions import Client, calling_from, eventually, until
from .support.storage import session_row
from .test_remote import two_workers

pytestmark = pytest.mark.django_db(transaction=True)


def append(name: str, data: Any = None) -> Append:
    return Append(name, msgspec.Raw(msgspec.json.encode(data)))


@pytest.fixture
def chat() -> Chat:
    chat = Chat("reached")

    @chat.on_message
    async def handle(message: Message) -> None:
        await Message(f"got {message.content}").send()

    return chat


async def owned(worker: Worker, chat: Chat, **arrival: Any) -> Client:
    """A client whose session ``worker`` holds."""
    client = await Client.open(worker, chat, **arrival)
    await client.run("message", {"content": "hello"})
    return client


@pytest.fixture
def layer() -> DeafLayer:
    return DeafLayer()


@pytest.fixture
async def workers(layer: DeafLayer) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers; calls from outside come from the second, as if it were another process."""
    async with two_workers(layer) as (first, second):
        with calling_from(second):
            yield first, second


@pytest.fixture
def first(workers: tuple[Worker, Worker]) -> Worker:
    return workers[0]


@pytest.fixture
def second(workers: tuple[Worker, Worker]) -> Worker:
    return workers[1]


@pytest.fixture
async def client(first: Worker, chat: Chat) -> Client:
    """A client whose session ``first`` holds."""
    return await owned(first, chat)


@pytest.mark.parametrize("loss", [0.0, 0.4])
async def test_an_event_is_emitted_once_by_the_owner_and_stored(
    second: Worker, layer: DeafLayer, client: Client, loss: float
) -> None:
    layer.loss = loss
    for number in range(5):
        await aemit_to(client.live.id, "note", number)
        stored = SessionEvent.objects.filter(session=client.live.id, name="note")
        assert await stored.acount() == number + 1
    assert [data for name, data in client.events if name == "note"] == [0, 1, 2, 3, 4]
    assert second.live == {}


async def test_values_are_those_stored_and_changes_are_made_by_the_owner(client: Client) -> None:
    client.live.user_session["kept"] = [1]
    client.live.user_session["gone"] = True
    client.live.values.used()
    await client.live.sink.flush()
    async with session_context(client.live.id):
        assert user_session["kept"] == [1]
        user_session["kept"].append(2)
        del user_session["gone"]
        user_session["new"] = "value"
        await Message("from afar").send()
        assert client.live.user_session["kept"] == [1]
    assert dict(client.live.user_session) == {"kept": [1, 2], "new": "value"}
    await until(lambda: client.texts[-1] == "from afar")


async def test_large_values_are_those_stored_too(client: Client) -> None:
    much = "x" * 100_000
    client.live.user_session.update(much=much, gone=1, kept=[1])
    client.live.values.used()
    await client.live.sink.flush()
    for number in (2, 3):
        async with session_context(client.live.id):
            assert user_session["much"] == much
            user_session["kept"].append(number)
            user_session.pop("gone", None)
    assert dict(client.live.user_session) == {"much": much, "kept": [1, 2, 3]}
    async with session_context(client.live.id) as found:
        assert dict(found.user_session) == {"much": much, "kept": [1, 2, 3]}


async def test_a_stream_from_afar_is_seen_while_it_is_written(client: Client) -> None:
    async with session_context(client.live.id):
        answer = Message()
        await answer.stream_token("one ")
        await until(lambda: client.live.sink.texts() == {answer.id: "one "})
        await answer.stream_token("two")
        await answer.send()
    assert client.live.sink.texts() == {}
    name, data = client.events[-1]
    assert (name, data["content"], data["streaming"]) == ("message_update", "one two", False)


async def test_a_session_stays_with_its_owner_while_somebody_elsewhere_streams_into_it(
    first: Worker, client: Client, chat: Chat
) -> None:
    """Its page is reloaded meanwhile: it gets the text so far, and the next tokens."""
    async with session_context(client.live.id):
        answer = Message()
        await answer.stream_token("one ")
        await until(lambda: client.live.sink.texts() == {answer.id: "one "})
        client.leave()
        await first.journal.settled()
        assert not client.live.closed
        back = await Client.open(first, chat, client.live.id, client.token)
        assert [stream.content for stream in back.live.sink.so_far] == ["one "]
        await answer.stream_token("two")
        await until(lambda: Token(answer.id, 1, "two") in back.frames)
        await answer.send()
    back.leave()
    await until(lambda: not first.live)


async def test_all_of_a_stream_that_pauses_is_stored(client: Client) -> None:
    """Within a second, and not with the next token, which may not come."""

    async def is_stored() -> bool:
        row = await ChatSession.objects.aget(pk=client.live.id)
        return [one["content"] for one in row.streams] == ["0 1 2 3 4 5 6 7 8 9 "]

    async with session_context(client.live.id):
        answer = Message()
        for number in range(10):
            await answer.stream_token(f"{number} ")
        await eventually(is_stored)


async def test_a_stream_of_a_worker_that_is_gone_is_closed_as_interrupted(
    chat: Chat, settings: Any
) -> None:
    times = {"WORKER_STALE": 3600, "WORKER_HEARTBEAT": 0.2}
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, **times}
    async with two_workers() as (first, second):
        client = await owned(first, chat)
        block = await RemoteBlock.open(second, client.live.id)
        with use_context(block.context()):
            answer = Message()
            await answer.stream_token("one ")
            await until(lambda: client.live.sink.texts() == {answer.id: "one "})
        # One that is only quiet is waited for.
        [writer] = client.live.writers._writers.values()
        long_ago = writer.heard_at = writer.heard_at - 60
        first.server.look_round(late=0.0)
        await until(lambda: writer.heard_at > long_ago)  # it says that it is there
        assert client.live.sink.texts() == {answer.id: "one "}
        await second.close()
        await until(lambda: client.events[-1][0] == "error")
        (_, update), (name, error) = client.events[-2:]
        assert (update["content"], update["streaming"]) == ("one ", False)
        assert (name, error["code"]) == ("error", "interrupted")
        client.leave()
        await until(lambda: not first.live)


async def test_a_block_that_is_heard_while_its_worker_is_looked_up_is_not_lost(
    first: Worker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lives(worker_id: UUID) -> bool:
        first.loop.call_soon_threadsafe(client.live.writers.heard, number, worker_id)
        return False

    monkeypatch.setattr(first.rows, "lives", lives)
    async with session_context(client.live.id):
        answer = Message()
        await answer.stream_token("one ")
        await until(lambda: client.live.sink.texts() == {answer.id: "one "})
        [(number, writer)] = client.live.writers._writers.items()
        writer.heard_at -= settings.WORKER_HEARTBEAT + 1
        assert number in client.live.writers.suspects()
        await first.server._look_for_writers(client.live)
        assert client.live.sink.texts() == {answer.id: "one "}


async def test_values_without_room_change_nothing(
    first: Worker, second: Worker, chat: Chat, settings: Any
) -> None:
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "USER_SESSION_MAX_BYTES": 100}
    client = await owned(first, chat)
    steps = [Put("small", b"1"), Put("large", b'"' + b"x" * 200 + b'"'), append("note")]
    with pytest.raises(TooLarge, match="USER_SESSION_MAX_BYTES"):
        await calls.change(second, client.live.id, steps)
    assert dict(client.live.user_session) == {}
    assert "note" not in [name for name, _ in client.events]


@pytest.mark.parametrize("raises", [False, True])
async def test_a_value_from_afar_that_cannot_be_stored_takes_nothing_else_with_it(
    client: Client, raises: bool
) -> None:
    """All that the block had set and sent before was lost, and what it raised was hidden."""
    client.live.user_session["history"] = []
    client.live.values.used()
    await client.live.sink.flush()

    async def block() -> None:
        async with session_context(client.live.id):
            user_session["other"] = 1
            await Message("sent before").send()
            user_session["history"].append(object())
            with pytest.raises(NotStorable, match=r"history\[0\]"):
                await Message("tells of it").send()
            if raises:
                raise ZeroDivisionError

    if raises:
        with pytest.raises(ZeroDivisionError):
            await block()
    else:
        with pytest.raises(NotStorable, match=r"history\[0\]"):
            await block()
    await until(lambda: client.texts[-1] == "sent before")
    assert dict(client.live.user_session) == {"history": [], "other": 1}


async def test_a_question_from_afar_gets_the_clients_answer(
    second: Worker, layer: DeafLayer, client: Client
) -> None:
    layer.loss = 0.2
    asking = asyncio.create_task(
        calls.call(second, client.live.id, "text", {"content": "Who?"}, 30)
    )
    await until(lambda: client.events[-1][0] == "ask")
    client.answer(client.events[-1][1]["call"], {"content": "me"})
    assert await asking == {"content": "me"}


async def test_a_question_from_afar_times_out(second: Worker, client: Client) -> None:
    with pytest.raises(TimeoutError):
        await calls.call(second, client.live.id, "text", {}, 0.05)


async def test_a_question_from_afar_does_not_outlive_the_loss_of_the_session(
    second: Worker, client: Client
) -> None:
    """Its owner went on giving signs, so that who had asked waited for ever."""
    asking = asyncio.create_task(calls.call(second, client.live.id, "text", {}, None))
    await until(lambda: client.events[-1][0] == "ask")
    taken = ChatSession.objects.filter(pk=client.live.id)
    await taken.aupdate(generation=F("generation") + 1)
    client.send("message", {"content": "is not stored"})
    with pytest.raises(OwnershipLost):
        await asyncio.wait_for(asking, 10)


async def test_an_end_from_afar_runs_on_chat_end_at_the_owner(client: Client, chat: Chat) -> None:
    ended = []
    chat.on_chat_end(lambda reason: ended.append(reason))
    await aend_session(client.live.id, "admin")
    assert ended == ["admin"]
    assert client.closed == [(4503, "admin")]
    with pytest.raises(SessionOver):
        await aend_session(client.live.id, "admin")


@pytest.fixture
def hanging(chat: Chat) -> asyncio.Event:
    """Set when a handler of the chat hangs."""
    hangs = asyncio.Event()

    @chat.on_event("hang")
    async def hang() -> None:
        hangs.set()
        await asyncio.Event().wait()

    return hangs


async def test_an_end_while_the_owner_stops_runs_on_chat_end(
    first: Worker, client: Client, chat: Chat, hanging: asyncio.Event
) -> None:
    """The owner waits for a turn, and starts no other one; the end waits for nothing."""
    ended = []
    chat.on_chat_end(lambda reason: ended.append(reason))
    client.send("hang")
    await hanging.wait()
    stopping = asyncio.create_task(first.shut_down())
    await until(lambda: client.closed)
    await aend_session(client.live.id, "admin")
    assert ended == ["admin"]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.end_reason) == ("ended", "admin")
    await stopping


async def test_an_end_that_an_owner_that_stops_cannot_store_is_not_said_to_be_done(
    first: Worker, chat: Chat, hanging: asyncio.Event, settings: Any
) -> None:
    client = await owned(first, chat)
    client.send("hang")
    await hanging.wait()
    await first.journal.settled()
    times = {"STORE_TIMEOUT": 0.5, "SHUTDOWN_TIMEOUT": 0.1}
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, **times}
    with failing(client.live.id):
        stopping = asyncio.create_task(first.shut_down())
        await until(lambda: client.closed)
        with pytest.raises(SessionUnavailable):
            await aend_session(client.live.id, "admin")
        await stopping
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.status != "ended"


async def test_a_session_is_assigned_wherever_it_is_live_and_once(
    first: Worker, second: Worker, layer: DeafLayer, client: Client, chat: Chat
) -> None:
    users = get_user_model().objects
    ada, eve = await users.acreate(username="ada"), await users.acreate(username="eve")
    layer.loss = 0.2
    session, token = client.live.id, client.token
    await aassign_user(session, ada)
    assert client.closed == [(4000, None)]
    row = await ChatSession.objects.aget(pk=session)
    assert row.user_id == ada.pk
    with pytest.raises(SessionOwned):
        await aassign_user(session, eve)
    other = await Client.open(second, chat, session, token, user=eve)
    assert other.reason == "unknown"
    for worker in (first, second):
        with pytest.raises(SessionUnavailable):  # until the answer to the login is here
            await Client.open(worker, chat, session, token)
        stranger = await Client.open(worker, chat, session, "guessed")
        assert stranger.reason == "unknown"
    moment = row.assigned_at - LOGIN_TIMEOUT
    await ChatSession.objects.filter(pk=session).aupdate(assigned_at=moment)
    for worker in (first, second):
        late = await Client.open(worker, chat, session, token)
        assert late.reason == "unknown"
    back = await Client.open(first, chat, session, token, user=ada)
    assert back.resumed
    assert back.live.session.user == ada


@pytest.mark.parametrize("way", ["connection", "request"])
async def test_who_is_being_admitted_does_not_get_what_is_assigned_meanwhile(
    first: Worker, client: Client, chat: Chat, way: str
) -> None:
    """The token was right when its client came; before the client is let in the owner changes."""
    ada = await get_user_model().objects.acreate(username="ada")
    session = client.live.id

    async def admit(asked_for: Session) -> None:
        if asked_for.id == session:
            await aassign_user(session, ada)

    arrival = ConnectRequest(user=AnonymousUser(), session_id=str(session), token=client.token)
    come = first.open if way == "connection" else partial(first.receive, make=False)
    with pytest.raises(SessionUnavailable):  # they may be ada, who logs in now
        await come(chat, arrival, admit=admit)
    row = await ChatSession.objects.aget(pk=session)
    assert row.user_id == ada.pk


async def test_who_waits_for_an_owner_elsewhere_does_not_get_what_is_assigned_meanwhile(
    first: Worker, second: Worker, client: Client, chat: Chat
) -> None:
    ada = await get_user_model().objects.acreate(username="ada")
    is_assigned = asyncio.Event()

    @chat.on_disconnect
    async def leave() -> None:
        await calls.change(first, session, [Assign(str(ada.pk))])
        is_assigned.set()
        await asyncio.sleep(3600)  # so that the session is not given away, but relayed

    session = client.live.id
    arrival = ConnectRequest(user=AnonymousUser(), session_id=str(session), token=client.token)
    with pytest.raises(SessionUnavailable):
        await second.open(chat, arrival, relays=True)
    assert is_assigned.is_set()
    client.live.turns.cancel("stopped")


async def test_events_from_afar_that_come_at_once_are_each_emitted(client: Client) -> None:
    await asyncio.gather(*(aemit_to(client.live.id, "note", number) for number in range(20)))
    notes = [data for name, data in client.events if name == "note"]
    assert sorted(notes) == [*range(20)]
    assert not client.live.writers.is_writing


async def test_a_block_from_afar_that_has_ended_takes_nothing_more(client: Client) -> None:
    """As a task that outlives the block finds out: what it sends would be lost."""
    async with session_context(client.live.id) as here:
        await here.emitter.emit("note", 1)
        here.user_session["count"] = 1
    for late in (
        lambda: here.emitter.emit("note", 2),
        here.emitter.flush,
        partial(here.emitter.call, "text", {"prompt": "?"}),
        partial(here.emitter.withdraw, "one"),
    ):
        with pytest.raises(OwnershipLost, match=r"session_context\(\)"):
            await late()
    with pytest.raises(OwnershipLost):
        here.user_session["count"] = 2
    with use_context(here), pytest.raises(OwnershipLost):
        await Message("late").stream_token("late")
    notes = [data for name, data in client.events if name == "note"]
    assert notes == [1]
    assert client.live.user_session["count"] == 1


async def test_an_owner_that_was_silent_finds_out_what_was_done_in_its_idle_sessions(
    first: Worker, chat: Chat
) -> None:
    """Others took it for dead, and it had a heartbeat again before anybody deleted its row."""
    client, quiet = await owned(first, chat), await owned(first, chat)
    session = client.live.id
    silence = settings.WORKER_STALE + 1
    late, begun_at = first.rows.beats
    first.rows.beats = (late, begun_at - silence)
    since = timezone.now() - timedelta(seconds=silence)
    await WorkerRow.objects.filter(pk=first.id).aupdate(heartbeat_at=since)
    await aemit_to(session, "note")
    await first._say_alive()
    await until(lambda: client.closed)
    assert client.closed == [(CloseCode.SHUTTING_DOWN, None)]  # nobody else has connected
    back = await Client.open(first, chat, session, client.token)
    assert back.resumed
    entries = SessionEvent.objects.filter(session=session)
    assert back.live.log.head == await entries.acount()
    assert await entries.filter(name="note").acount() == 1
    assert not quiet.closed  # nobody has taken that
    await first._say_alive()
    assert first.rows.pauses == late + 1


async def test_a_session_of_nobody_is_taken_and_given_back(
    first: Worker, second: Worker, client: Client
) -> None:
    client.leave()
    await until(lambda: not first.live)
    await aemit_to(client.live.id, "note")
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.worker_id is None
    assert second.live == {}


async def test_of_two_workers_that_want_to_change_it_at_once_both_do(
    client: Client, workers: tuple[Worker, Worker]
) -> None:
    client.leave()
    for number in range(10):
        await until(lambda: not any(worker.live for worker in workers))
        steps = [append("note", number)]
        changes = (calls.change(worker, client.live.id, steps) for worker in workers)
        await asyncio.gather(*changes)
    notes = SessionEvent.objects.filter(session=client.live.id, name="note")
    assert await notes.acount() == 20


async def test_without_a_way_nothing_is_changed(
    first: Worker, second: Worker, client: Client
) -> None:
    await WorkerRow.objects.filter(pk=first.id).aupdate(pid=os.getppid())  # another process
    second.rpc.channel = ""
    with pytest.raises(OwnerUnreachable, match="CHANNEL_LAYERS"):
        await aemit_to(client.live.id, "note")
    assert "note" not in [name for name, _ in client.events]


async def test_an_owner_that_gives_no_sign_is_given_up(layer: DeafLayer, client: Client) -> None:
    layer.is_cut = True
    with impatient(), pytest.raises(OwnerUnreachable, match="gives no sign"):
        await aemit_to(client.live.id, "note")


async def test_an_owner_that_never_holds_its_session_is_given_up(first: Worker, chat: Chat) -> None:
    """The caller waited for ever."""
    its = await WorkerRow.objects.aget(pk=first.id)
    row = await sync_to_async(session_row)(chat=chat.name, worker=its)
    with impatient(), pytest.raises(OwnerUnreachable):
        async with asyncio.timeout(60):
            await aemit_to(row.pk, "note")


async def test_an_owner_that_has_its_session_again_is_asked_again(
    first: Worker, second: Worker, layer: DeafLayer, client: Client, chat: Chat
) -> None:
    """It was away as the owner was asked, and back as the answer came: that was taken for ever."""
    await aemit_to(client.live.id, "note", 1)  # its owner is known now
    client.leave()
    await until(lambda: not first.live)
    layer.deaf = {second.rpc.channel}
    before = len(first.rpc._answers)
    changing = asyncio.create_task(aemit_to(client.live.id, "note", 2))
    await until(lambda: len(first.rpc._answers) > before)
    back = await Client.open(first, chat, client.live.id, client.token)
    layer.deaf = set()
    async with asyncio.timeout(60):
        await changing
    assert [data for name, data in back.events if name == "note"] == [2]


async def test_what_an_owner_does_that_has_lost_the_session_is_done_by_the_next(
    client: Client,
) -> None:
    """It was silent for long, and has not found out yet; who had asked got an OwnershipLost."""
    await aemit_to(client.live.id, "note", 1)  # its owner is known now
    taken = ChatSession.objects.filter(pk=client.live.id)
    await taken.aupdate(generation=F("generation") + 1, worker=None)
    await aemit_to(client.live.id, "note", 2)
    notes = SessionEvent.objects.filter(session=client.live.id, name="note").order_by("seq")
    assert [note.data async for note in notes] == [1, 2]


async def test_who_remembers_an_owner_keeps_nothing_of_its_sessions_in_memory(
    second: Worker, client: Client
) -> None:
    """As much as was loaded to find out who owns them, a megabyte of values each."""
    await aemit_to(client.live.id, "note")
    assert client.live.id in second.directory.last_owners
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Loaded]


async def test_a_change_that_was_made_is_known_again_by_the_next_owner(
    first: Worker, second: Worker, client: Client
) -> None:
    change = Apply(session=client.live.id, number=uuid4().hex, steps=[append("note")])
    await apply(client.live, change)
    client.leave()
    await until(lambda: not first.live)
    live = await second.acquire(client.live.id)
    await calls.holding(live, lambda live: apply(live, change))
    notes = SessionEvent.objects.filter(session=client.live.id, name="note")
    assert await notes.acount() == 1


async def test_a_broadcast_reaches_the_connected_sessions_of_a_chat(
    first: Worker, second: Worker, layer: DeafLayer, chat: Chat
) -> None:
    other = Chat("another")
    layer.loss = 0.2
    here, there = await owned(first, chat), await owned(second, chat)
    away, foreign = await owned(first, chat), await Client.open(second, other)
    away.leave()
    assert await abroadcast("news", 1, chat="reached") == 2
    for client in (here, there):
        assert [name for name, _ in client.events].count("news") == 1
    for client in (away, foreign):
        assert "news" not in [name for name, _ in client.events]


async def test_a_broadcast_waits_for_no_silent_worker_with_what_others_get(
    first: Worker, second: Worker, layer: DeafLayer, chat: Chat
) -> None:
    """It was raised before the sessions of the caller's own process had got it."""
    await owned(first, chat)
    here = await owned(second, chat)
    layer.is_cut = True
    with impatient():
        telling = asyncio.create_task(abroadcast("news", 1, chat="reached"))
        await until(lambda: ("news", 1) in here.events)
        with pytest.raises(OwnerUnreachable, match="gives no sign"):
            await telling
    layer.is_cut = False
    second.rpc.channel = ""
    with pytest.raises(OwnerUnreachable, match="CHANNEL_LAYERS"):
        await abroadcast("news", 2, chat="reached")
    assert ("news", 2) not in here.events


async def test_a_broadcast_that_cannot_be_stored_says_so(
    first: Worker, second: Worker, chat: Chat, settings: Any
) -> None:
    """It waited for as long as the store was away, each for an event more in every session."""
    times = settings.CHATSESSIONS
    far, here = await owned(first, chat), await owned(second, chat)
    await first.journal.settled()
    await second.journal.settled()
    settings.CHATSESSIONS = {**times, "STORE_TIMEOUT": 0.3}
    with failing():
        for number in range(3):
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(60):
                    await abroadcast("news", number, chat="reached")
        settings.CHATSESSIONS = times
    await until(lambda: first.journal.failure is None and second.journal.failure is None)
    assert await abroadcast("news", 3, chat="reached") == 2
    for client in (far, here):
        assert [data for name, data in client.events if name == "news"] == [0, 3]


async def test_a_users_sessions_get_an_event_away_or_not(
    first: Worker, second: Worker, chat: Chat
) -> None:
    user = await get_user_model().objects.acreate(username="ada")
    here = await owned(first, chat, user=user)
    there = await owned(second, chat, user=user)
    away = await owned(first, chat, user=user)
    stranger = await owned(first, chat, user=AnonymousUser())
    away.leave()
    await until(lambda: away.live.id not in first.live)
    assert await aemit_to_user(user, "mail", {"count": 1}) == 3
    stored = SessionEvent.objects.filter(name="mail").values_list("session", flat=True)
    assert {pk async for pk in stored} == {here.live.id, there.live.id, away.live.id}
    assert "mail" not in [name for name, _ in stranger.events]


async def test_an_owner_that_gives_no_sign_keeps_an_event_from_no_other_session(
    first: Worker, layer: DeafLayer, chat: Chat, settings: Any
) -> None:
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "MAX_SESSIONS_PER_USER": 50}
    user = await get_user_model().objects.acreate(username="ada")
    # More than are reached at a time, with some before and behind them.
    clients = [await owned(first, chat, user=user) for _ in range(EMITS_AT_A_TIME + 6)]
    away = clients[:3] + clients[-3:]
    for client in away:
        client.leave()
    await until(lambda: len(first.live) == EMITS_AT_A_TIME)
    layer.is_cut = True
    with impatient(), pytest.raises(OwnerUnreachable, match="gives no sign"):
        await aemit_to_user(user, "mail", {"count": 1})
    stored = SessionEvent.objects.filter(name="mail").values_list("session", flat=True)
    assert {pk async for pk in stored} == {client.live.id for client in away}
