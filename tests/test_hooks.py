"""Lifecycle hooks and signals: which one runs when, how often, and with what."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.dispatch import Signal

from chatsessions import Chat, Message, context, user_session
from chatsessions.auth.access import hash_token
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.handlers.chat import InterruptedTurn
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol.frames import CloseCode
from chatsessions.signals import (
    session_connected,
    session_disconnected,
    session_ended,
    session_started,
    turn_finished,
)
from chatsessions.workers.calls import end
from chatsessions.workers.worker import Worker as RunningWorker

from .support.sessions import (
    Client,
    Way,
    connected,
    eventually,
    hold_up,
    running_worker,
    until,
    ways,
)
from .support.storage import dead_worker_row, session_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

#: What is given to each hook that has an argument; the others have none.
WITH_ARGUMENT = ("on_chat_end", "on_settings_update", "on_interrupted", "on_message")
WITHOUT_ARGUMENT = ("on_session_load", "on_chat_start", "on_connect", "on_disconnect", "on_stop")


async def arrive(worker: RunningWorker, chat: Chat, *args: Any) -> Client:
    """A client whose connection is announced, as a consumer does once it is welcomed."""
    client = await Client.open(worker, chat, *args)
    client.live.client.announce(client, resumed=client.resumed)
    return client


async def come_back(worker: RunningWorker, chat: Chat, client: Client) -> Client:
    client.leave()
    await until(lambda: client.live.id not in worker.live)
    return await arrive(worker, chat, client.live.id, client.token)


def handler(way: Way, record: Callable[..., None], *, argument: bool) -> Callable[..., Any]:
    """A function for a hook: ``async def`` or ``def``, that takes its argument or nothing."""

    async def async_with(argument: Any) -> None:
        record(argument)

    async def async_without() -> None:
        record()

    def sync_with(argument: Any) -> None:
        record(argument)

    def sync_without() -> None:
        record()

    if way == "async":
        return async_with if argument else async_without
    return sync_with if argument else sync_without


def record_all(chat: Chat, way: Way = "async", *, argument: bool = True) -> list[Any]:
    """
    Every hook of ``chat`` writes down that it ran, and what it was given.

    The handler of ``work`` ends at once, that of ``hang`` when it is stopped.
    """
    calls: list[Any] = []

    def recorder(name: str) -> Callable[..., None]:
        return lambda *given: calls.append((name, *given) if given else name)

    for name in WITH_ARGUMENT:
        getattr(chat, name)(handler(way, recorder(name), argument=argument))
    for name in WITHOUT_ARGUMENT:
        getattr(chat, name)(handler(way, recorder(name), argument=False))
    chat.on_event("work")(handler(way, recorder("on_event"), argument=argument))

    @chat.on_event("hang")
    async def hang() -> None:
        calls.append("hang")
        await asyncio.Event().wait()

    return calls


async def dead_session(chat: Chat, *events: tuple[int, str, Any], **fields: Any) -> ChatSession:
    """A session that a worker of another host held until it died; its token is ``token``."""

    def make() -> ChatSession:
        dead = dead_worker_row()
        given = {
            "chat": chat.name,
            "worker": dead,
            "status": ChatSession.Status.CONNECTED,
            "token_hash": hash_token("token"),
            "head": len(events),
            "accepted": max((n for n, _, _ in events), default=0),
        }
        row = session_row(**given | fields)
        for seq, (n, name, data) in enumerate(events, 1):
            SessionEvent.objects.create(
                session=row, seq=seq, n=n, name=name, data=data, created_at=row.created_at
            )
        return row

    return await sync_to_async(make)()


# Order and count


@ways
@pytest.mark.parametrize("argument", [True, False])
async def test_every_hook(worker: RunningWorker, chat: Chat, way: Way, argument: bool) -> None:
    calls = record_all(chat, way, argument=argument)

    def given(name: str, value: Any) -> Any:
        return (name, value) if argument else name

    async def came(*expected: Any) -> None:
        await until(lambda: len(calls) >= len(expected))
        assert calls == list(expected)
        calls.clear()

    client = await arrive(worker, chat)
    await came("on_session_load", "on_chat_start", "on_connect")
    assert await client.run("work", [1]) == "done"
    await came(given("on_event", [1]))
    assert await client.run("settings", {"a": 1}) == "done"
    await came(given("on_settings_update", {"a": 1}))
    n = client.send("hang")
    await until(lambda: "hang" in calls)
    client.live.stop()
    assert await client.outcome(n) == "stopped"
    await came("hang", "on_stop")
    client.leave()
    await came("on_disconnect")
    await until(lambda: not worker.live)
    # Its worker dies with a turn running.
    await ChatSession.objects.filter(pk=client.live.id).aupdate(running=n, handled=n - 1)
    back = await arrive(worker, chat, client.live.id, client.token)
    interrupted = InterruptedTurn(turn=n, name="hang", data=None)
    await came("on_session_load", given("on_interrupted", interrupted), "on_connect")
    back.live.end("user")
    await back.live.until_closed()
    await came(given("on_chat_end", "user"))


@ways
async def test_messages_go_to_on_message(worker: RunningWorker, chat: Chat, way: Way) -> None:
    calls = record_all(chat, way)
    client = await arrive(worker, chat)
    assert await client.run("message", {"content": "hello"}) == "done"
    ((name, message),) = [call for call in calls if call[0] == "on_message"]
    assert isinstance(message, Message)
    assert (name, message.content) == ("on_message", "hello")


async def test_hooks_run_one_after_another(worker: RunningWorker, chat: Chat) -> None:
    """What comes while on_chat_start runs waits for it, in its order."""
    go = asyncio.Event()
    steps: list[str] = []

    @chat.on_chat_start
    async def start() -> None:
        steps.append("start")
        await go.wait()
        steps.append("started")

    @chat.on_connect
    async def connected() -> None:
        steps.append("connected")

    @chat.on_disconnect
    async def disconnected() -> None:
        steps.append("disconnected")

    @chat.on_event("work")
    async def work(data: str) -> None:
        steps.append(data)

    client = await arrive(worker, chat)
    client.send("work", "first")
    client.send("work", "second")
    client.leave()
    await until(lambda: steps)
    go.set()
    await until(lambda: not worker.live)
    assert steps == ["start", "started", "connected", "first", "second", "disconnected"]


async def test_the_start_and_the_load_of_a_session(worker: RunningWorker, chat: Chat) -> None:
    """on_chat_start once in its life; on_session_load once per worker that takes it."""
    calls = record_all(chat)
    client = await arrive(worker, chat)
    client = await come_back(worker, chat, client)
    again = await arrive(worker, chat, client.live.id, client.token)  # a second tab takes over
    assert again.live is client.live
    await until(lambda: calls.count("on_connect") == 3)
    await worker.shut_down()
    async with running_worker() as second:
        assert second is not worker
        last = await arrive(second, chat, client.live.id, again.token)
        assert last.resumed
        await until(lambda: calls.count("on_connect") == 4)
    counts = {name: calls.count(name) for name in WITHOUT_ARGUMENT}
    assert counts["on_chat_start"] == 1
    assert counts["on_session_load"] == 3
    assert client.closed == [(4509, None)]
    assert again.closed == [(4000, None)]


async def test_local_is_there_for_every_handler(worker: RunningWorker, chat: Chat) -> None:
    seen: list[Any] = []

    @chat.on_session_load
    def load() -> None:
        user_session.local["client"] = f"client of {context.session.id}"

    @chat.on_chat_start
    def start() -> None:
        seen.append(user_session.local["client"])

    @chat.on_event("work")
    async def work() -> None:
        seen.append(user_session.local["client"])

    client = await arrive(worker, chat)
    await client.run("work")
    client = await come_back(worker, chat, client)
    await client.run("work")
    assert seen == [f"client of {client.live.id}"] * 3


@pytest.mark.parametrize("reason", list(ChatSession.EndReason))
async def test_the_reason_of_an_end_is_a_plain_str(
    worker: RunningWorker, chat: Chat, reason: ChatSession.EndReason
) -> None:
    reasons: list[str] = []

    @chat.on_chat_end
    async def over(reason: str) -> None:
        reasons.append(reason)
        user_session["reason"] = reason  # a member of an enum could not be stored

    client = await arrive(worker, chat)
    for _ in range(2):
        client.live.end(reason)
    await client.live.until_closed()
    assert reasons == [reason.value]
    assert type(reasons[0]) is str
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.end_reason) == ("ended", reason.value)
    assert row.state == f'{{"reason":"{reason.value}"}}'
    assert client.closed == [(4503, reason.value)]


async def test_the_end_stops_the_turn_and_drops_what_waits(
    worker: RunningWorker, chat: Chat
) -> None:
    calls = record_all(chat)

    @chat.on_event("clean up")
    async def clean_up() -> None:
        calls.append("hang")
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("cleaned up")

    client = await arrive(worker, chat)
    first, second = client.send("clean up"), client.send("work")
    await until(lambda: "hang" in calls)
    calls.clear()
    client.live.end("user")
    await client.live.until_closed()
    assert calls == ["cleaned up", ("on_chat_end", "user")]
    assert client.outcomes == {0: "done", first: "stopped", second: "stopped"}


async def test_what_a_stopped_handler_waits_for_counts_if_it_came_in_time(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"STOP_TIMEOUT": 0.1}
    cleaned, begun = asyncio.Event(), asyncio.Event()

    @chat.on_event("hang")
    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()
            await Message("cleaned up").send()

    client = await Client.open(worker, chat)
    n = client.send("hang")
    await begun.wait()
    client.live.stop()
    await asyncio.sleep(0.01)
    hold_up(1, arrives=cleaned.set)
    assert await client.outcome(n) == "stopped"
    assert client.texts == ["cleaned up"]


async def test_on_stop_comes_before_what_waits(worker: RunningWorker, chat: Chat) -> None:
    calls = record_all(chat)
    client = await arrive(worker, chat)
    client.send("hang")
    n = client.send("work", 1)
    await until(lambda: "hang" in calls)
    client.live.stop()
    client.live.stop()
    assert await client.outcome(n) == "done"
    assert calls[-3:] == ["hang", "on_stop", ("on_event", 1)]


async def test_a_stop_that_comes_after_the_end_of_its_turn_stops_no_other(
    worker: RunningWorker, chat: Chat
) -> None:
    """The client has not been told of the end, and means the turn that it still sees running."""
    calls = record_all(chat)

    @chat.on_event("last words")
    async def last_words() -> None:
        asyncio.get_running_loop().call_soon(client.live.stop)

    client = await arrive(worker, chat)
    first, second = client.send("last words"), client.send("work", 1)
    assert await client.outcome(second) == "done"
    assert client.outcomes[first] == "done"
    assert "on_stop" not in calls


async def test_a_client_that_left_before_its_welcome_was_stored_has_not_connected(
    worker: RunningWorker, chat: Chat
) -> None:
    """Else what counts clients by the two hooks would count it for ever."""
    calls = record_all(chat)
    opened = await worker.open(chat, ConnectRequest(user=AnonymousUser()))
    live = opened.live
    one, other = Client(live), Client(live)
    for client in (one, other):
        live.client.connect(client, welcome=partial(live.client.announce, client, resumed=False))
    live.go()
    await until(lambda: "on_connect" in calls)
    other.leave()
    await until(lambda: calls.count("on_disconnect") == 2)
    assert [name for name in calls if "connect" in name] == [
        "on_disconnect",
        "on_connect",
        "on_disconnect",
    ]


async def test_a_client_that_comes_while_its_last_connection_is_opened_takes_its_place(
    worker: RunningWorker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads how many connections there were, and that one is opened before it goes on."""
    first = await arrive(worker, chat)
    first.leave()
    await until(lambda: not worker.live)
    stored, find_row = worker.registry.stored, worker.registry.stored.find_row
    readers: list[asyncio.Event] = []

    async def held_up(session_id: UUID) -> ChatSession | None:
        row = await find_row(session_id)
        readers.append(asyncio.Event())
        await readers[-1].wait()
        return row

    monkeypatch.setattr(stored, "find_row", held_up)
    coming = [asyncio.create_task(arrive(worker, chat, first.live.id, first.token))]
    await until(lambda: len(readers) == 1)
    coming.append(asyncio.create_task(arrive(worker, chat, first.live.id, first.token)))
    await until(lambda: len(readers) == 2)
    readers[0].set()
    older = await coming[0]
    readers[1].set()
    newer = await coming[1]
    assert newer.live is older.live
    assert [code for code, _ in older.closed] == [CloseCode.TAKEN_OVER]


# Interrupted turns


async def test_a_turn_that_a_dead_worker_left(worker: RunningWorker, chat: Chat) -> None:
    calls = record_all(chat)
    row = await dead_session(
        chat,
        (1, "work", "done"),
        (2, "work", {"cut": "short"}),
        (3, "work", "waits"),
        running=2,
        handled=1,
    )
    client = await arrive(worker, chat, row.pk, "token")
    assert client.resumed
    assert await client.outcome(3) == "done"
    await until(lambda: "on_connect" in calls)
    assert calls == [
        "on_session_load",
        ("on_interrupted", InterruptedTurn(turn=2, name="work", data={"cut": "short"})),
        ("on_event", "waits"),
        "on_connect",
    ]
    assert client.outcomes == {2: "interrupted", 3: "done"}
    ((name, data),) = client.events
    assert (name, data["code"]) == ("error", "interrupted")
    after = await ChatSession.objects.aget(pk=row.pk)
    assert (after.running, after.handled) == (None, 3)
    statuses = SessionEvent.objects.filter(session=row, n__isnull=False).order_by("n")
    assert [status async for status in statuses.values_list("status", flat=True)] == [
        None,
        "interrupted",
        None,
    ]
    # It is told once.
    calls.clear()
    await come_back(worker, chat, client)
    await until(lambda: "on_connect" in calls)
    assert calls == ["on_disconnect", "on_session_load", "on_connect"]


async def test_a_turn_whose_event_is_no_longer_kept(worker: RunningWorker, chat: Chat) -> None:
    calls = record_all(chat)
    row = await dead_session(chat, running=7, handled=6, accepted=7)
    await arrive(worker, chat, row.pk, "token")
    await until(lambda: "on_connect" in calls)
    assert calls[1] == ("on_interrupted", InterruptedTurn(turn=7, name="event", data=None))


async def test_without_on_interrupted_the_session_goes_on(
    worker: RunningWorker, chat: Chat
) -> None:
    @chat.on_event("work")
    def work() -> None:
        """Nothing to do."""

    row = await dead_session(chat, (1, "work", 1), running=1)
    client = await arrive(worker, chat, row.pk, "token")
    assert await client.outcome(1) == "interrupted"
    assert await client.run("work") == "done"


async def test_an_interrupted_turn_of_a_session_that_ends(
    worker: RunningWorker, chat: Chat
) -> None:
    """It expired while nobody held it: what waited in it never runs."""
    calls = record_all(chat)
    row = await dead_session(
        chat,
        (1, "work", 1),
        (2, "work", 2),
        running=1,
        status=ChatSession.Status.AWAY,
        disconnected_at="2020-01-01T00:00:00Z",
    )
    client = await arrive(worker, chat, row.pk, "token")
    assert (client.resumed, client.reason) == (False, "expired")
    await until(lambda: row.pk not in worker.live)
    assert calls.count(("on_chat_end", "expired")) == 1
    assert ("on_event", 2) not in calls
    ended = await ChatSession.objects.aget(pk=row.pk)
    assert (ended.status, ended.end_reason, ended.running) == ("ended", "expired", None)


@pytest.mark.parametrize("how", ["by its client", "from outside"])
async def test_the_end_of_a_session_that_nobody_held(
    worker: RunningWorker, chat: Chat, how: str
) -> None:
    """on_session_load comes before any other handler, on_chat_end too."""
    calls: list[tuple[str, Any]] = []

    @chat.on_session_load
    async def load() -> None:
        calls.append(("load", context.session.id))

    @chat.on_chat_end
    async def over() -> None:
        calls.append(("end", context.session.id))

    row = await dead_session(
        chat, status=ChatSession.Status.AWAY, disconnected_at="2020-01-01T00:00:00Z", worker=None
    )
    if how == "by its client":
        client = await Client.open(worker, chat, row.pk, "token")
        assert client.reason == "expired"
    else:
        await end(worker, row.pk, "expired")
    await until(lambda: row.pk not in worker.live)
    assert [name for name, found in calls if found == row.pk] == ["load", "end"]


# Shutting down


@pytest.mark.parametrize("in_time", [True, False])
async def test_draining_while_a_new_session_loads(
    worker: RunningWorker, chat: Chat, settings: Settings, in_time: bool
) -> None:
    """The start is no longer begun; whoever takes the session tells that it was cut short."""
    settings.CHATSESSIONS = {"SHUTDOWN_TIMEOUT": 10 if in_time else 0.05}
    loading, go = asyncio.Event(), asyncio.Event()
    calls: list[Any] = []

    @chat.on_session_load
    async def load() -> None:
        calls.append("load")
        loading.set()
        await go.wait()

    @chat.on_chat_start
    async def start() -> None:
        calls.append("start")

    @chat.on_interrupted
    async def interrupted(turn: InterruptedTurn) -> None:
        calls.append(turn)

    client = await Client.open(worker, chat)
    await loading.wait()
    down = asyncio.create_task(worker.shut_down())
    await until(lambda: client.closed)
    if in_time:
        go.set()
    await down
    go.set()
    assert calls == ["load"]
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert (row.status, row.worker_id, row.running) == ("away", None, 0)
    async with running_worker() as second:
        back = await Client.open(second, chat, client.live.id, client.token)
        assert await back.outcome(0) == "interrupted"
        await until(lambda: len(calls) == 3)
        assert calls == ["load", "load", InterruptedTurn(turn=0, name="start", data=None)]


async def test_draining_while_a_stored_session_loads(worker: RunningWorker, chat: Chat) -> None:
    """An event that waits is run by whoever takes the session next, once."""
    loading, go = asyncio.Event(), asyncio.Event()
    calls: list[Any] = []

    @chat.on_session_load
    async def load() -> None:
        calls.append("load")
        loading.set()
        await go.wait()

    @chat.on_event("work")
    async def work(data: int) -> None:
        calls.append(data)

    @chat.on_interrupted
    async def interrupted(turn: InterruptedTurn) -> None:
        calls.append(turn)

    row = await dead_session(chat, (1, "work", 1))
    client = await Client.open(worker, chat, row.pk, "token")
    await loading.wait()
    down = asyncio.create_task(worker.shut_down())
    await until(lambda: client.closed)
    go.set()
    await down
    assert calls == ["load"]
    async with running_worker() as second:
        back = await Client.open(second, chat, row.pk, client.token)
        assert await back.outcome(1) == "done"
    assert calls == ["load", "load", 1]


async def test_a_turn_that_the_shutdown_cuts_short(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"SHUTDOWN_TIMEOUT": 0.05}
    calls = record_all(chat)
    client = await Client.open(worker, chat)
    client.send("hang", "data")
    await until(lambda: "hang" in calls)
    calls.clear()
    await worker.shut_down()
    assert calls == []
    async with running_worker() as second:
        back = await Client.open(second, chat, client.live.id, client.token)
        assert await back.outcome(1) == "interrupted"
        await until(lambda: len(calls) == 2)
        assert calls == [
            "on_session_load",
            ("on_interrupted", InterruptedTurn(turn=1, name="hang", data="data")),
        ]


# Failing hooks


@ways
@pytest.mark.parametrize(
    "name", ["on_session_load", "on_connect", "on_disconnect", "on_stop", "on_interrupted"]
)
async def test_a_failing_hook_is_logged_and_the_session_goes_on(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture, way: Way, name: str
) -> None:
    failed: list[str] = []

    def fail() -> None:
        failed.append(name)
        raise ValueError("on purpose")

    getattr(chat, name)(handler(way, fail, argument=False))
    begun = asyncio.Event()

    @chat.on_event("hang")
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    @chat.on_event("work")
    async def work() -> None:
        user_session["worked"] = True

    row = await dead_session(chat, (1, "work", 1), running=1)
    client = await arrive(worker, chat, row.pk, "token")
    client.send("hang")
    await begun.wait()
    client.live.stop()
    client = await come_back(worker, chat, client)
    assert await client.run("work") == "done"
    assert failed
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == len(failed)
    for record in records:
        assert record.name == "chatsessions.live"
        assert str(row.pk) in record.getMessage()
        assert chat.name in record.getMessage()
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ValueError)
    # The user has done nothing that failed.
    assert [data for event, data in client.events if event == "error"] == []


class Wordless(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        return str(self.detail)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "told"),
    [(Wordless(), "Wordless"), (ValueError("long " * 300_000), "ValueError: long")],
)
async def test_a_turn_ends_under_debug_whatever_its_error_says(
    worker: RunningWorker, chat: Chat, settings: Settings, error: Exception, told: str
) -> None:
    """It ran for ever, and with it all that came after it: a long one was too long for an event."""
    settings.DEBUG = True

    @chat.on_event("work")
    async def work() -> None:
        raise error

    client = await Client.open(worker, chat)
    for _ in range(2):
        assert await client.run("work") == "failed"
    assert [data["detail"][:16] for _, data in client.events] == [told, told]


@ways
async def test_a_failing_start_is_told(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture, way: Way
) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    chat.on_chat_start(handler(way, fail, argument=False))

    @chat.on_event("work")
    async def work() -> None:
        """Nothing to do."""

    client = await Client.open(worker, chat)
    assert await client.outcome(0) == "failed"
    ((name, data),) = client.events
    assert (name, data["code"]) == ("error", "handler_error")
    assert "on purpose" not in data["detail"]
    assert await client.run("work") == "done"
    assert "on purpose" in caplog.text
    assert (await ChatSession.objects.aget(pk=client.live.id)).turns_failed == 1


async def test_hooks_of_many_connections_are_no_events_that_wait(
    worker: RunningWorker, chat: Chat, settings: Settings
) -> None:
    """A client that had come back often during a turn could send nothing more until its end."""
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 3}
    go = asyncio.Event()

    @chat.on_disconnect
    async def disconnect() -> None: ...

    @chat.on_event("work")
    async def work() -> None:
        await go.wait()

    client = await Client.open(worker, chat)
    first = client.send("work")
    await until(lambda: client.live.turns.has_begun)
    for _ in range(4):
        client.leave()
        client = await Client.open(worker, chat, client.live.id, client.token)
    second = client.send("work")
    go.set()
    assert await client.outcome(first) == "done"
    assert await client.outcome(second) == "done"


@ways
async def test_a_failing_end_is_an_end(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture, way: Way
) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    chat.on_chat_end(handler(way, fail, argument=False))
    client = await Client.open(worker, chat)
    client.live.end("user")
    await client.live.until_closed()
    assert client.closed == [(4503, "user")]
    assert "on purpose" in caplog.text
    assert (await ChatSession.objects.aget(pk=client.live.id)).status == "ended"


# Settings


async def test_settings(worker: RunningWorker, chat: Chat) -> None:
    """Stored, emitted, readable, merged with those before, and there after a reload."""
    seen: list[Any] = []

    @chat.on_settings_update
    async def update(settings: dict[str, Any]) -> None:
        seen.append(dict(settings))
        assert user_session["chat_settings"] == settings

    @chat.on_event("look")
    async def look() -> None:
        seen.append(dict(user_session["chat_settings"]))

    client = await Client.open(worker, chat)
    assert await client.run("settings", {"model": "small", "heat": 0.5}) == "done"
    assert await client.run("settings", {"model": "large"}) == "done"
    both = {"model": "large", "heat": 0.5}
    assert seen == [{"model": "small", "heat": 0.5}, both]
    assert client.events == [("settings", {"model": "small", "heat": 0.5}), ("settings", both)]
    assert (await ChatSession.objects.aget(pk=client.live.id)).chat_settings == both
    client = await come_back(worker, chat, client)
    await client.run("look")
    assert seen[-1] == both
    await worker.shut_down()
    async with running_worker() as second:
        last = await Client.open(second, chat, client.live.id, client.token)
        await last.run("look")
        assert seen[-1] == both
        assert last.live.session.chat_settings == both
        assert len(seen) == 4


async def test_settings_of_a_failing_hook_are_kept(worker: RunningWorker, chat: Chat) -> None:
    @chat.on_settings_update
    def update() -> None:
        raise ValueError("on purpose")

    client = await Client.open(worker, chat)
    assert await client.run("settings", {"a": 1}) == "failed"
    assert (await ChatSession.objects.aget(pk=client.live.id)).chat_settings == {"a": 1}


async def test_settings_that_wait_are_not_there_yet(worker: RunningWorker, chat: Chat) -> None:
    """A turn sees the settings of its place in the conversation."""
    go = asyncio.Event()
    seen: list[Any] = []

    @chat.on_event("work")
    async def work() -> None:
        await go.wait()
        seen.append(dict(user_session["chat_settings"]))

    client = await Client.open(worker, chat)
    client.send("work")
    client.send("settings", {"a": 1})
    n = client.send("work")
    await asyncio.sleep(0.05)
    go.set()
    await client.outcome(n)
    assert seen == [{}, {"a": 1}]


# Signals


SIGNALS = {
    "started": session_started,
    "connected": session_connected,
    "disconnected": session_disconnected,
    "ended": session_ended,
    "turn": turn_finished,
}


@contextmanager
def receiving(signals: dict[str, Signal], way: Way, chat: Chat | None = None) -> Iterator[Any]:
    """What the signals bring, by their name."""
    received: list[tuple[str, dict[str, Any]]] = []

    def receiver_of(name: str) -> Callable[..., Any]:
        def receiver(**arguments: Any) -> None:
            received.append((name, arguments))

        async def areceiver(**arguments: Any) -> None:
            received.append((name, arguments))

        return receiver if way == "sync" else areceiver

    with ExitStack() as stack:
        for name, signal in signals.items():
            stack.enter_context(connected(signal, receiver_of(name), chat))
        yield received


@ways
async def test_signals_and_their_arguments(worker: RunningWorker, chat: Chat, way: Way) -> None:
    @chat.on_event("work")
    async def work() -> None:
        await asyncio.sleep(0.01)

    @chat.on_event("fail")
    async def fail() -> None:
        raise ValueError("on purpose")

    @chat.on_chat_start
    async def start() -> None:
        """Turn 0."""

    with receiving(SIGNALS, way, chat) as received:

        async def came(*names: str) -> dict[str, dict[str, Any]]:
            await until(lambda: len(received) >= len(names))
            assert sorted(name for name, _ in received) == sorted(names)
            found = dict(received)
            received.clear()
            for arguments in found.values():
                assert arguments.pop("sender") is chat
                assert arguments.pop("signal") in SIGNALS.values()
                assert arguments.pop("session").id == client.live.id
            return found

        client = await arrive(worker, chat)
        begun = await came("started", "connected", "turn")
        assert begun["started"] == {}
        assert begun["connected"] == {"resumed": False}
        seconds = begun["turn"].pop("seconds")
        assert isinstance(seconds, float)
        assert begun["turn"] == {"turn": 0, "name": "start", "status": "done"}
        for n, (name, status) in enumerate([("work", "done"), ("fail", "failed")], 1):
            await client.run(name)
            finished = (await came("turn"))["turn"]
            assert finished.pop("seconds") >= (0.009 if name == "work" else 0)
            assert finished == {"turn": n, "name": name, "status": status}
        client.leave(4242)
        assert await came("disconnected") == {"disconnected": {"code": 4242}}
        await until(lambda: not worker.live)
        client = await arrive(worker, chat, client.live.id, client.token)
        assert await came("connected") == {"connected": {"resumed": True}}
        client.live.end("user")
        await client.live.until_closed()
        ended = await came("ended")
        assert ended == {"ended": {"reason": "user"}}
        assert type(ended["ended"]["reason"]) is str


async def test_a_turn_that_was_stopped_or_interrupted_is_signalled(
    worker: RunningWorker, chat: Chat
) -> None:
    begun = asyncio.Event()

    @chat.on_event("hang")
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    row = await dead_session(chat, (1, "hang", 1), running=1)
    with receiving({"turn": turn_finished}, "async", chat) as received:
        client = await Client.open(worker, chat, row.pk, "token")
        client.send("hang")
        await begun.wait()
        client.live.stop()
        await until(lambda: len(received) == 2)
    found = [(given["turn"], given["name"], given["status"]) for _, given in received]
    assert found == [(1, "hang", "interrupted"), (2, "hang", "stopped")]


async def test_signals_are_sent_when_it_is_stored(worker: RunningWorker, chat: Chat) -> None:
    stored: list[Any] = []

    async def look(session: Any, **_: Any) -> None:
        row = await ChatSession.objects.aget(pk=session.id)
        stored.append((row.status, row.handled, row.state))

    @chat.on_event("work")
    async def work() -> None:
        user_session["worked"] = True

    client = await Client.open(worker, chat)
    with connected(turn_finished, look, chat), connected(session_ended, look, chat):
        await client.run("work")
        await until(lambda: len(stored) == 1)
        client.live.end("user")
        await until(lambda: len(stored) == 2)
    state = '{"worked":true}'
    assert stored == [("connected", 1, state), ("ended", 1, state)]


async def test_signals_of_another_chat_are_not_heard(worker: RunningWorker, chat: Chat) -> None:
    with receiving(SIGNALS, "async", Chat("tests.another")) as received:
        client = await arrive(worker, chat)
        client.live.end("user")
        await client.live.until_closed()
        await asyncio.sleep(0.02)
    assert received == []


@ways
async def test_a_raising_receiver_changes_nothing(
    worker: RunningWorker, chat: Chat, caplog: pytest.LogCaptureFixture, way: Way
) -> None:
    calls = record_all(chat)
    raised: list[str] = []

    def receiver(**_: Any) -> None:
        raised.append("sync")
        raise ValueError("on purpose")

    async def areceiver(**_: Any) -> None:
        raised.append("async")
        raise ValueError("on purpose")

    chosen: Callable[..., Any] = receiver if way == "sync" else areceiver
    with ExitStack() as stack:
        for signal in SIGNALS.values():
            stack.enter_context(connected(signal, chosen, chat))
        received = stack.enter_context(receiving(SIGNALS, "async", chat))
        client = await arrive(worker, chat)
        assert await client.run("work", 1) == "done"
        client = await come_back(worker, chat, client)
        await until(lambda: calls.count("on_connect") == 2)
        client.live.end("user")
        await client.live.until_closed()
        # A start and an event, two connections, one that left, and the end.
        await until(lambda: len(received) == len(raised) == len(_errors(caplog)) == 7)
    assert raised == [way] * 7
    assert calls == [
        "on_session_load",
        "on_chat_start",
        "on_connect",
        ("on_event", 1),
        "on_disconnect",
        "on_session_load",
        "on_connect",
        ("on_chat_end", "user"),
    ]
    assert client.closed == [(4503, "user")]
    assert {record.name for record in _errors(caplog)} == {"django.dispatch"}


def _errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_session_that_nobody_came_back_to_is_signalled_too(
    worker: RunningWorker, chat: Chat
) -> None:
    with receiving({"ended": session_ended}, "async", chat) as received:
        client = await Client.open(worker, chat)
        client.leave()
        await until(lambda: not worker.live)
        await end(worker, client.live.id, "admin")
        await until(lambda: received)
    ((_, arguments),) = received
    assert (arguments["session"].id, arguments["reason"]) == (client.live.id, "admin")

    async def ended() -> bool:
        return (await ChatSession.objects.aget(pk=client.live.id)).status == "ended"

    await eventually(ended)
