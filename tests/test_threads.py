"""Old threads: whose they are, what a new session on one takes over, and what it is shown."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections
from django.test.utils import CaptureQueriesContext

import chatsessions
from chatsessions import (
    Chat,
    ChatSettings,
    Message,
    Thread,
    chat_context,
    context,
    serializable,
    user_session,
)
from chatsessions.exceptions import FrameError, TooManySessions
from chatsessions.handlers.chat import InterruptedTurn, module_chat
from chatsessions.input_widget import Switch
from chatsessions.models import ChatSession
from chatsessions.storage.storable import by_class, by_name
from chatsessions.workers import calls
from chatsessions.workers.worker import Worker as RunningWorker

from .support.clocks import clock_off
from .support.sessions import Client, Way, eventually, running_worker, until, ways
from .support.storage import session_row, state_of

if TYPE_CHECKING:
    from pytest_django import Settings

    from .support.storage import SpyCache

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def ada() -> User:
    return await User.objects.acreate_user("ada")


@pytest.fixture
async def bob() -> User:
    return await User.objects.acreate_user("bob")


async def leave(worker: RunningWorker, client: Client) -> None:
    """Go, and wait until the session is let go."""
    client.leave()
    await until(lambda: client.live.id not in worker.live)


def echoes(chat: Chat) -> list[str]:
    """A chat that remembers what it was told; the hooks that ran."""
    ran: list[str] = []

    @chat.on_chat_start
    async def start() -> None:
        ran.append("start")
        await Message("Hi!").send()

    @chat.on_message
    async def answer(message: Message) -> None:
        user_session.setdefault("told", []).append(message.content)
        await Message(f"You said {message.content}").send()

    return ran


async def greeted(worker: RunningWorker, chat: Chat, user: Any) -> Client:
    """A client of a new session, after ``on_chat_start``."""
    client = await Client.open(worker, chat, user=user)
    if "chat_start" in chat.hooks:
        await client.outcome(0)
    return client


async def earlier(worker: RunningWorker, chat: Chat, user: Any, *texts: str) -> Client:
    """A session in which ``user`` has said ``texts``, and that was let go."""
    client = await greeted(worker, chat, user)
    for text in texts:
        assert await client.run("message", {"content": text}) == "done"
    await leave(worker, client)
    return client


def thread_of(client: Client) -> str:
    return str(client.live.session.thread_id)


# Whose thread it is


async def test_a_new_session_goes_on_with_a_thread_of_ones_own(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert (client.resumed, client.reason) == (False, "new")
    assert client.live.id != first.live.id
    assert thread_of(client) == thread_of(first)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert str(row.thread_id) == thread_of(first)


async def assert_refused(worker: RunningWorker, chat: Chat, user: Any, thread: str) -> None:
    """As one that there is not: a fresh session, and nothing of the other's in it."""
    client = await Client.open(worker, chat, user=user, thread=thread)
    assert (client.resumed, client.reason) == (False, "unknown")
    assert thread_of(client) != thread.strip("{} ").lower()
    assert client.live.owner_id == user.pk
    assert dict(client.live.user_session) == {}
    assert client.live.session.chat_settings == {}
    assert client.live.session.profile == ""
    await until(lambda: client.texts)
    assert client.texts == ["Hi!"]


async def test_the_thread_of_another_user_is_as_unknown_to_an_admin_too(
    worker: RunningWorker, chat: Chat, ada: User, bob: User
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "my secret")
    for other in (bob, await User.objects.acreate_superuser("root"), AnonymousUser()):
        await assert_refused(worker, chat, other, thread_of(first))


async def test_an_anonymous_thread_is_nobodys(worker: RunningWorker, chat: Chat, ada: User) -> None:
    echoes(chat)
    first = await earlier(worker, chat, AnonymousUser(), "one")
    for other in (ada, AnonymousUser()):
        await assert_refused(worker, chat, other, thread_of(first))


async def test_the_id_of_a_session_or_of_another_chats_thread_is_as_unknown(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    row = await sync_to_async(session_row)(chat="tests.another", user=ada)
    for thread in (first.live.id, row.thread_id):
        await assert_refused(worker, chat, ada, str(thread))


@pytest.mark.parametrize(
    "thread",
    [
        "",
        "1; DROP TABLE",
        "\0",
        "0" * 31,
        "00000000-0000-4000-8000-000000000001",
        "not-a-uuid-" * 9,
    ],
)
async def test_an_id_that_is_none_or_unknown_makes_a_fresh_session(
    worker: RunningWorker, chat: Chat, ada: User, thread: str
) -> None:
    echoes(chat)
    await assert_refused(worker, chat, ada, thread)


async def test_another_users_session_that_says_it_is_of_the_thread_is_left_out(
    worker: RunningWorker, chat: Chat, ada: User, bob: User
) -> None:
    """Nothing makes such rows; if something did, nobody would be shown another's words."""
    given: list[Thread] = []
    echoes(chat)
    chat.on_chat_resume(given.append)
    first = await earlier(worker, chat, ada, "mine")
    foreign = await earlier(worker, chat, bob, "not yours")
    await ChatSession.objects.filter(pk=foreign.live.id).aupdate(thread_id=thread_of(first))
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await client.outcome(0)
    [thread] = given
    assert thread.sessions == [first.live.id]
    assert [m.content for m in thread.transcript] == ["Hi!", "mine", "You said mine"]
    assert [m.content for m in await thread.messages()] == ["Hi!", "mine", "You said mine"]
    assert user_values(client) == {"told": ["mine"]}


async def test_a_session_that_can_be_resumed_wins_over_the_thread(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    second = await earlier(worker, chat, ada, "two")
    client = await Client.open(worker, chat, first.live.id, user=ada, thread=thread_of(second))
    assert client.resumed
    assert thread_of(client) == thread_of(first)


async def test_after_a_session_that_is_over_the_thread_counts(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    await calls.end(worker, first.live.id, "app")
    client = await Client.open(
        worker, chat, first.live.id, first.token, user=ada, thread=thread_of(first)
    )
    assert (client.resumed, client.reason) == (False, "ended")
    assert thread_of(client) == thread_of(first)
    assert user_values(client) == {"told": ["one"]}


async def test_a_user_with_too_many_sessions_gets_no_more_by_threads(
    worker: RunningWorker, chat: Chat, ada: User, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_SESSIONS_PER_USER": 1}
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    await Client.open(worker, chat, user=ada, thread=thread_of(first))
    with pytest.raises(TooManySessions):
        await Client.open(worker, chat, user=ada, thread=thread_of(first))


# The hook


@ways
async def test_on_chat_resume_runs_instead_of_on_chat_start(
    worker: RunningWorker, chat: Chat, ada: User, way: Way
) -> None:
    ran = echoes(chat)
    given: list[Any] = []

    @chat.on_session_load
    async def load() -> None:
        ran.append(f"load {len(user_session)}")

    async def resume(thread: Thread) -> None:
        ran.append("resume")
        given.append((thread, context.turn and context.turn.n, user_session["told"]))

    def resume_sync(thread: Thread) -> None:
        ran.append("resume")
        given.append((thread, context.turn and context.turn.n, user_session["told"]))

    chat.on_chat_resume(resume if way == "async" else resume_sync)
    first = await earlier(worker, chat, ada, "one")
    ran.clear()
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert await client.outcome(0) == "done"
    assert ran == ["load 1", "resume"]
    [(thread, turn, told)] = given
    assert (turn, told) == (0, ["one"])
    assert (str(thread.id), thread.chat, thread.title) == (thread_of(first), chat.name, "one")
    assert thread.sessions == [first.live.id]

    # A return to it is no resumption of the thread.
    await leave(worker, client)
    back = await Client.open(worker, chat, client.live.id, user=ada)
    assert back.resumed
    assert await back.run("message", {"content": "two"}) == "done"
    assert ran == ["load 1", "resume", "load 1"]


async def test_without_on_chat_resume_nothing_runs(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    ran = echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    ran.clear()
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert await client.run("message", {"content": "two"}) == "done"
    assert ran == []
    assert client.texts == ["You said two"]
    assert user_values(client) == {"told": ["one", "two"]}


async def test_a_module_has_the_hook_too(worker: RunningWorker, ada: User) -> None:
    given: list[Thread] = []
    chat = module_chat(__name__)
    try:
        chatsessions.on_chat_resume(given.append)
        first = await earlier(worker, chat, ada)
        client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
        assert await client.outcome(0) == "done"
    finally:
        chat.hooks.clear()
    assert given[0].transcript == []
    assert given[0].title == ""


async def test_a_failing_on_chat_resume_leaves_the_session(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)

    @chat.on_chat_resume
    async def resume(thread: Thread) -> None:
        raise RuntimeError("no")

    first = await earlier(worker, chat, ada, "one")
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert await client.outcome(0) == "failed"
    assert await client.run("message", {"content": "two"}) == "done"


def user_values(client: Client) -> dict[str, Any]:
    return dict(client.live.user_session)


# What is taken over


@pytest.mark.parametrize("store", ["cached_db", "cache"])
async def test_values_settings_and_profile_are_copied(  # noqa: PLR0913, RUF100
    worker: RunningWorker,
    chat: Chat,
    ada: User,
    settings: Settings,
    cache: type[SpyCache],
    store: str,
) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": store}
    echoes(chat)

    @chat.on_event("change")
    async def change() -> None:
        user_session["told"].append("changed")

    first = await Client.open(worker, chat, user=ada, profile="formal")
    await first.run("message", {"content": "one"})
    await first.run("settings", {"tone": "kind"})
    await leave(worker, first)

    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert user_values(client) == {"told": ["one"]}
    assert client.live.session.chat_settings == {"tone": "kind"}
    assert client.live.session.profile == "formal"
    assert not client.live.session.state_lost
    # They are copies: what one session does to them is not the other's.
    assert await client.run("change") == "done"
    await client.run("settings", {"tone": "rude"})
    back = await Client.open(worker, chat, first.live.id, user=ada)
    assert user_values(back) == {"told": ["one"]}
    assert back.live.session.chat_settings == {"tone": "kind"}

    await leave(worker, client)
    again = await Client.open(worker, chat, client.live.id, user=ada)
    assert user_values(again) == {"told": ["one", "changed"]}
    assert again.live.session.chat_settings == {"tone": "rude"}


@pytest.mark.parametrize("store", ["cached_db", "cache"])
@pytest.mark.usefixtures("cache")
async def test_large_values_are_copied_as_well(
    worker: RunningWorker, chat: Chat, ada: User, settings: Settings, store: str
) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": store}
    echoes(chat)

    @chat.on_event("hoard")
    async def hoard() -> None:
        user_session["much"] = much

    much = "x" * 100_000
    first = await Client.open(worker, chat, user=ada)
    assert await first.run("hoard") == "done"
    await first.run("message", {"content": "one"})
    await leave(worker, first)

    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert user_values(client) == {"much": much, "told": ["one"]}
    await client.run("message", {"content": "two"})
    await leave(worker, client)
    again = await Client.open(worker, chat, client.live.id, user=ada)
    assert user_values(again) == {"much": much, "told": ["one", "two"]}
    assert not again.live.session.state_lost


async def test_settings_are_checked_as_before_and_the_client_is_told(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    @chat.on_chat_start
    async def start() -> None:
        await ChatSettings([Switch(id="loud", label="Loud")]).send()

    first = await greeted(worker, chat, ada)
    await first.run("settings", {"loud": True})
    await leave(worker, first)
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await until(lambda: len(client.events) == 2)
    (form, inputs), (settings, values) = client.events
    assert (form, inputs["inputs"][0]["id"]) == ("settings_form", "loud")
    assert (settings, values) == ("settings", {"loud": True})
    with pytest.raises(FrameError, match="loud"):
        client.send("settings", {"loud": "very"})
    await leave(worker, client)
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.inputs == inputs["inputs"]


async def test_a_profile_that_is_asked_for_wins(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    first = await Client.open(worker, chat, user=ada, profile="formal")
    client = await Client.open(worker, chat, user=ada, profile="casual", thread=thread_of(first))
    assert client.live.session.profile == "casual"


async def test_what_is_taken_over_is_stored_with_the_session_and_before_any_handler(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    """A crash before the end of on_chat_resume finds a whole session, or none."""
    echoes(chat)
    seen: list[Any] = []

    @chat.on_chat_resume
    async def resume(thread: Thread) -> None:
        row = await ChatSession.objects.aget(pk=context.session.id)
        seen.append((row.running, row.chat_settings, await state_of(client_of[0]), row.profile))

    client_of: list[Any] = []
    first = await Client.open(worker, chat, user=ada, profile="formal")
    await first.run("message", {"content": "one"})
    await first.run("settings", {"tone": "kind"})
    await leave(worker, first)

    @chat.on_session_load
    async def load() -> None:
        client_of.append(worker.live[context.session.id])

    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert await client.outcome(0) == "done"
    assert seen == [(0, {"tone": "kind"}, {"told": ["one"]}, "formal")]


async def test_a_crash_in_on_chat_resume_leaves_a_whole_session(chat: Chat, ada: User) -> None:
    echoes(chat)
    cut: list[InterruptedTurn] = []
    chat.on_interrupted(cut.append)

    @chat.on_chat_resume
    async def resume(thread: Thread) -> None:
        user_session["half"] = True
        await Message("half").send()
        await asyncio.Event().wait()

    async with running_worker() as worker:
        first = await earlier(worker, chat, ada, "one")
        client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
        await until(lambda: client.texts)
        # The worker is gone without a word: nothing is stored any more.
    async with running_worker() as worker:
        back = await Client.open(worker, chat, client.live.id, user=ada)
        assert back.resumed
        await until(lambda: cut)
        assert cut == [InterruptedTurn(turn=0, name="start", data=None)]
        assert thread_of(back) == thread_of(first)
        assert user_values(back) == {"told": ["one"], "half": True}
    await sync_to_async(connections.close_all)()


async def test_values_that_cannot_be_loaded_any_more_are_logged_and_left_out(
    worker: RunningWorker, chat: Chat, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    echoes(chat)
    given: list[Thread] = []
    chat.on_chat_resume(given.append)

    @serializable(name="tests.Gone")
    @dataclass
    class Gone:
        text: str

    @chat.on_event("keep")
    async def keep() -> None:
        user_session["gone"] = Gone("secret")
        user_session["stays"] = 1

    first = await Client.open(worker, chat, user=ada)
    assert await first.run("keep") == "done"
    await leave(worker, first)
    del by_name["tests.Gone"], by_class[Gone]
    caplog.set_level(logging.WARNING, "chatsessions.threads")
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert user_values(client) == {"stays": 1}
    assert client.live.session.state_lost
    [record] = [one for one in caplog.records if one.name == "chatsessions.threads"]
    assert "'gone'" in record.getMessage()
    assert "secret" not in record.getMessage()
    await client.outcome(0)
    assert given[0].metadata == {"stays": 1, "chat_settings": {}, "chat_profile": None}


async def test_damaged_values_are_left_behind(
    worker: RunningWorker, chat: Chat, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    await ChatSession.objects.filter(pk=first.live.id).aupdate(state='{"told": [', state_revision=9)
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert user_values(client) == {}
    assert client.live.session.state_lost
    assert "left behind" in caplog.text


async def test_values_that_the_cache_has_thrown_away_are_known_to_be_lost(
    worker: RunningWorker, chat: Chat, ada: User, settings: Settings, cache: type[SpyCache]
) -> None:
    settings.CHATSESSIONS = {"USER_SESSION_STORE": "cache"}
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    cache("tests.spy", {}).clear()
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert user_values(client) == {}
    assert client.live.session.state_lost


async def test_two_sessions_of_a_thread_at_once_are_two(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    """Of one that is connected what is stored is copied; after that they go their own ways."""
    echoes(chat)
    first = await Client.open(worker, chat, user=ada)
    await first.run("message", {"content": "one"})
    second = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert first.closed == []
    await first.run("message", {"content": "two"})
    await second.run("message", {"content": "three"})
    assert user_values(first) == {"told": ["one", "two"]}
    assert user_values(second) == {"told": ["one", "three"]}
    # The next one takes the values of the one that was used last, not of the one begun last.
    await leave(worker, second)
    await first.run("message", {"content": "four"})
    third = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    assert user_values(third) == {"told": ["one", "two", "four"]}


# What on_chat_resume is shown


@pytest.mark.parametrize("clocks", [(10, 0), (0, -10)])
async def test_sessions_of_hosts_whose_clocks_differ_are_read_in_their_order(
    worker: RunningWorker, chat: Chat, ada: User, clocks: tuple[int, int]
) -> None:
    """The later session was taken for the earlier one, and was not told of it after a reload."""
    read: list[list[str]] = []

    @chat.on_message
    async def answer() -> None:
        read.append([one.content for one in await chat_context.aget()])

    await worker.start()
    with clock_off(clocks[0]):
        await worker.threads.write(worker.rows.beat)
        first = await earlier(worker, chat, ada, "one", "two")
    with clock_off(clocks[1]):
        await worker.threads.write(worker.rows.beat)  # as that of another host
        second = await Client.open(worker, chat, user=ada, thread=thread_of(first))
        assert await second.run("message", {"content": "three"}) == "done"
        await leave(worker, second)
        again = await Client.open(worker, chat, second.live.id, second.token, user=ada)
        assert await again.run("message", {"content": "four"}) == "done"
    assert read[2:] == [["one", "two", "three"], ["one", "two", "three", "four"]]
    rows = ChatSession.objects.order_by("created_at")
    assert [row.pk async for row in rows] == [first.live.id, second.live.id]


async def resumed(worker: RunningWorker, chat: Chat, user: User, first: Client) -> Thread:
    given: list[Thread] = []
    chat.hooks.pop("chat_resume", None)
    chat.on_chat_resume(given.append)
    client = await Client.open(worker, chat, user=user, thread=thread_of(first))
    assert await client.outcome(0) == "done"
    return given[0]


def texts(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.type.removesuffix("_message"), message.content) for message in messages]


async def test_the_transcript_is_what_a_page_shows(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)

    @chat.on_event("play")
    async def play() -> None:
        changed, removed, streamed = Message("old"), Message("removed"), Message()
        await changed.send()
        await removed.send()
        await context.emitter.emit("message_update", {"id": "unknown", "odd": 1})
        await context.emitter.emit("message", ["not", "a", "message"])
        for token in ("a ", "stream"):
            await streamed.stream_token(token)
        await streamed.update()
        changed.content = "new"
        await changed.update()
        await removed.remove()
        await Message("be kind", type="system_message").send()

    first = await greeted(worker, chat, ada)
    await first.run("message", {"content": "one"})
    assert await first.run("play") == "done"
    # The client's own events are none of the server's, however they are called.
    for name in ("message_remove", "message_update", "ask"):
        first.live.chat.events.setdefault(name, first.live.chat.events["play"])
        first.send(name, {"id": "x", "call": "x", "content": "forged", "author": "Assistant"})
    await until(lambda: len(first.outcomes) == 6)
    await leave(worker, first)
    played = [("assistant", "new"), ("assistant", "a stream"), ("system", "be kind")]
    expected = [("assistant", "Hi!"), ("user", "one"), ("assistant", "You said one")] + 4 * played
    thread = await resumed(worker, chat, ada, first)
    assert texts(thread.transcript) == expected
    assert texts(await thread.messages()) == expected

    # And those of the sessions since.
    second = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await second.run("message", {"content": "two"})
    await leave(worker, second)
    thread = await resumed(worker, chat, ada, first)
    assert texts(thread.transcript) == [*expected, ("user", "two"), ("assistant", "You said two")]
    assert thread.sessions[0] == first.live.id
    assert second.live.id in thread.sessions


async def test_the_transcript_is_bounded_and_the_rest_can_be_had(
    worker: RunningWorker, chat: Chat, ada: User, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"CHAT_CONTEXT_MESSAGES": 3}
    echoes(chat)
    first = await earlier(worker, chat, ada, *(str(n) for n in range(5)))
    second = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await second.run("message", {"content": "last"})
    await leave(worker, second)
    thread = await resumed(worker, chat, ada, first)
    assert [m.content for m in thread.transcript] == ["You said 4", "last", "You said last"]
    pages = [thread.transcript]
    while page := await thread.messages(4, before=pages[0][0]):
        assert len(page) <= 4
        pages.insert(0, page)
    everything = [m.content for page in pages for m in page]
    told = [*map(str, range(5)), "last"]
    assert everything == ["Hi!", *(text for one in told for text in (one, f"You said {one}"))]
    assert [m.content for m in await thread.messages(1000)] == everything
    with pytest.raises(ValueError, match="no message that this thread has given out"):
        await thread.messages(before=str(uuid4()))
    with pytest.raises(ValueError, match="at least 1"):
        await thread.messages(0)


async def test_the_transcript_has_at_most_so_many_bytes(
    worker: RunningWorker, chat: Chat, ada: User, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"CHAT_CONTEXT_BYTES": 1024}

    @chat.on_message
    async def answer(message: Message) -> None:
        await Message(message.content * 400).send()

    first = await earlier(worker, chat, ada, "a", "b", "c", "d")
    thread = await resumed(worker, chat, ada, first)
    assert [m.content[0] for m in thread.transcript] == ["d", "d"]

    @chat.on_event("huge")
    async def huge() -> None:
        await Message("x" * 5000).send()

    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await client.run("huge")
    await leave(worker, client)
    thread = await resumed(worker, chat, ada, first)
    assert [len(m.content) for m in thread.transcript] == [5000]


async def test_a_thread_has_the_keys_of_chainlits(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    thread = await resumed(worker, chat, ada, first)
    assert thread["id"] == thread_of(first)
    assert thread["name"] == "one"
    assert (thread["userId"], thread["userIdentifier"]) == (str(ada.pk), "ada")
    assert thread["metadata"]["told"] == ["one"]
    assert thread.get("nothing") is None
    assert set(thread) == set(dict(thread))
    # The loop of Chainlit's cookbook.
    roots = [step for step in thread["steps"] if step["parentId"] is None]
    assert [(step["type"], step["output"]) for step in roots] == [
        ("assistant_message", "Hi!"),
        ("user_message", "one"),
        ("assistant_message", "You said one"),
    ]


async def test_messages_of_a_thread_can_be_shown_again(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)

    @chat.on_chat_resume
    async def resume(thread: Thread) -> None:
        for message in await thread.messages():
            await message.send()

    first = await earlier(worker, chat, ada, "one")
    client = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await client.outcome(0)
    assert client.texts == ["Hi!", "one", "You said one"]


async def test_a_message_that_was_streaming_when_the_server_died_is_there_as_far_as_it_came(
    chat: Chat, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatsessions.sessions.outbound.CHECKPOINT", 0.0)
    echoes(chat)

    @chat.on_event("stream")
    async def stream() -> None:
        message = Message()
        for token in ("half ", "a "):
            await message.stream_token(token)
        await context.emitter.flush()
        await asyncio.Event().wait()

    async with running_worker() as worker:
        first = await greeted(worker, chat, ada)
        first.send("stream")
        await eventually(partial(has_stream, first.live.id))
    async with running_worker() as worker:
        thread = await resumed(worker, chat, ada, first)
        assert thread.transcript[-1].content.startswith("half")
    await sync_to_async(connections.close_all)()


async def has_stream(session_id: UUID) -> bool:
    row = await ChatSession.objects.aget(pk=session_id)
    return any(stream["content"].startswith("half") for stream in row.streams)


# threads_of


async def test_threads_of_a_user(worker: RunningWorker, chat: Chat, ada: User, bob: User) -> None:
    echoes(chat)
    first = await earlier(worker, chat, ada, "  What\n is\tit? ", "no title")
    await earlier(worker, chat, bob, "not yours")
    again = await Client.open(worker, chat, user=ada, thread=thread_of(first))
    await again.run("message", {"content": "later"})
    await leave(worker, again)
    empty = await earlier(worker, chat, ada)
    long = await earlier(worker, chat, ada, "\0\U0001f600 " + "long " * 100)

    def threads(user: Any) -> list[dict[str, Any]]:
        with CaptureQueriesContext(connections["default"]) as queries:
            found = list(ChatSession.objects.threads_of(user))
        assert len(queries) <= 1
        return found

    found = await sync_to_async(threads)(ada)
    assert [str(thread["thread_id"]) for thread in found] == [
        thread_of(long),
        thread_of(empty),
        thread_of(first),
    ]
    newest, unsaid, oldest = found
    assert oldest["title"] == "What is it?"
    assert (oldest["sessions"], oldest["said"], oldest["chat"]) == (2, 3, chat.name)
    rows = [row async for row in ChatSession.objects.filter(thread_id=oldest["thread_id"])]
    assert oldest["started"] == min(row.created_at for row in rows)
    assert oldest["last_seen"] == max(row.last_seen_at for row in rows)
    assert (unsaid["title"], unsaid["said"]) == ("", 0)
    assert len(newest["title"]) == 100
    assert newest["title"].startswith("\U0001f600 long")
    assert newest["title"].endswith("…")
    assert await sync_to_async(threads)(AnonymousUser()) == []


async def test_the_title_is_the_first_message_with_something_in_it(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    echoes(chat)
    client = await earlier(worker, chat, ada, " \n", "hello", "and more")
    row = await ChatSession.objects.aget(pk=client.live.id)
    assert row.topic == "hello"
    back = await Client.open(worker, chat, client.live.id, user=ada)
    await back.run("message", {"content": "not this"})
    await row.arefresh_from_db()
    assert row.topic == "hello"


async def test_a_thread_of_many_sessions_costs_no_more_queries(
    worker: RunningWorker, chat: Chat, ada: User
) -> None:
    """The latest messages are looked for from the end, and no further than needed."""
    echoes(chat)
    first = await earlier(worker, chat, ada, "one")
    row = await ChatSession.objects.aget(pk=first.live.id)

    def many() -> None:
        for day in range(1, 30):
            before = row.created_at - timedelta(days=day)
            session_row(chat=chat.name, user=ada, thread_id=row.thread_id, created_at=before)

    await sync_to_async(many)()
    thread = await resumed(worker, chat, ada, first)
    assert len(thread.sessions) == 30
    assert UUID(thread["id"]) == thread.id
