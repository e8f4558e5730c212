"""What users test their bots with, in the kinds of tests that they write."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.test import AsyncClient, TestCase, TransactionTestCase, override_settings
from django.test import Client as DjangoClient
from django.urls import path

from chatsessions import (
    Action,
    AskActionMessage,
    Chat,
    FileRefused,
    Message,
    SessionOver,
    aassign_user,
    abroadcast,
    aemit_to,
    aemit_to_user,
    aend_session,
    assign_user,
    broadcast,
    context,
    emit_to,
    emit_to_user,
    end_session,
    session_context,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession, SessionEvent, Worker
from chatsessions.protocol import frames
from chatsessions.signals import turn_finished
from chatsessions.testing import ChatAssertionError, ChatCommunicator, ChatRefused, shut_down_worker
from chatsessions.testing.conversation import Conversation
from chatsessions.views import ChatView
from chatsessions.workers.worker import running_workers

from .support.sessions import join_threads_of_ours, threads_of_ours

pytest_plugins = ["chatsessions.testing.pytest"]

User = get_user_model()
ROOT = Path(__file__).resolve().parent.parent
PATH = "/ws/test/"

chat = Chat("testing")


@chat.on_chat_start
async def start() -> None:
    await Message("Welcome").send()


@chat.on_message
async def answer(message: Message) -> None:
    user_session["count"] = user_session.get("count", 0) + 1
    await Message(message.content.upper(), author="Echo", metadata={"n": 1}).send()
    for file in message.files:
        await Message(f"{file.name}: {(await file.read()).decode()}").send()


@chat.on_event("stream")
async def stream(words: list[str]) -> None:
    message = Message()
    for word in words:
        await message.stream_token(word)
    await message.update()


@chat.on_event("edit")
async def edit() -> None:
    message = await Message("draft").send()
    message.content = "final"
    await message.update()
    await (await Message("gone").send()).remove()


@chat.on_event("unfinished")
async def unfinished() -> None:
    message = Message()
    await message.stream_token("half")
    await message.remove()


@chat.on_event("add")
async def add(numbers: list[int]) -> None:
    await context.emitter.emit("sum", sum(numbers))


@chat.on_event("fail")
async def fail() -> None:
    raise ValueError("the reason why")


@chat.on_event("forever")
async def forever() -> None:
    await Message("started").send()
    await asyncio.sleep(3600)


@chat.on_event("query")
async def query() -> None:
    await context.emitter.emit("users", [user.username async for user in User.objects.all()])


@chat.on_event("sync")
def sync(data: dict[str, Any]) -> None:
    names = list(User.objects.values_list("username", flat=True))
    for name in [*names, "last"]:
        async_to_sync(Message(name).send)()
    user_session["sync"] = data


@chat.on_event("who")
async def who() -> None:
    session = context.session
    await context.emitter.emit(
        "you",
        {
            "name": session.user.get_username(),
            "ip": session.ip,
            "agent": session.user_agent,
            "language": session.language,
            "profile": session.profile,
            "env": session.env,
        },
    )


bare = ChatConsumer.as_asgi(chat=chat)
application = AllowedHostsOriginValidator(AuthMiddlewareStack(bare))


async def converse(make: Any) -> None:
    """One conversation, and what it must leave in the database, in whatever kind of test."""
    assert await ChatSession.objects.acount() == 0, "an earlier test left a row behind"
    user = await User.objects.acreate_user("ada")
    async with make(application, PATH, user=user) as client:
        assert (await client.receive_message()).content == "Welcome"
        assert await client.send("hi") == 1
        reply = await client.receive_message()
        assert (reply.content, reply.author, reply.metadata) == ("HI", "Echo", {"n": 1})
        assert await client.wait_for_turn() == "done"
        # The server sees the test's data, and the test the server's.
        await client.send_event("query")
        assert (await client.receive_event("users")).data == ["ada"]
        assert (await SessionEvent.objects.aget(session=client.session_id, n=1)).name == "message"
        await client.drop()
        assert await client.resume()
        await client.send("again")
        assert (await client.receive_message()).content == "AGAIN"
        assert await client.wait_for_turn() == "done"
    row = await ChatSession.objects.aget(user=user)
    assert (row.status, row.worker_id, row.accepted, row.head) == ("away", None, 3, 7)
    assert await Worker.objects.acount() == 0
    async with session_context(row.pk):
        assert user_session["count"] == 2
    assert await Worker.objects.acount() == 0
    assert running_workers() == []


async def converse_with_def(make: Any) -> None:
    """A handler written as ``def`` sees the test's data too."""
    await User.objects.acreate_user("ada")
    async with make(application, PATH) as client:
        await client.receive_message()
        await client.send_event("sync", {"a": 1})
        assert (await client.receive_message()).content == "ada"
        assert (await client.receive_message()).content == "last"
        assert await client.wait_for_turn() == "done"
    row = await ChatSession.objects.aget(pk=client.session_id)
    assert row.state == '{"sync":{"a":1}}'


# The kinds of tests


async def test_the_fixture_needs_no_marker(chat_communicator: Any) -> None:
    await converse(chat_communicator)


@pytest.mark.django_db
async def test_the_fixture_makes_a_marked_test_one_with_real_commits(
    chat_communicator: Any,
) -> None:
    await converse(chat_communicator)


@pytest.mark.django_db(transaction=True)
async def test_a_test_without_the_fixture() -> None:
    await converse(ChatCommunicator)


async def test_a_def_handler(chat_communicator: Any) -> None:
    await converse_with_def(chat_communicator)


class TransactionTests(TransactionTestCase):
    async def test_a_conversation(self) -> None:
        await converse(ChatCommunicator)

    async def test_a_def_handler(self) -> None:
        await converse_with_def(ChatCommunicator)


# Tests in a transaction, which the store does not see

REMEDIES = r"TransactionTestCase.*@pytest\.mark\.django_db\(transaction=True\)"
refused = partial(pytest.raises, ImproperlyConfigured, match=REMEDIES)


async def refuse_asynchronous_code() -> None:
    with refused():
        await ChatCommunicator(application, PATH).__aenter__()
    session, user = uuid4(), User(pk=1)
    with refused():
        await session_context(session).__aenter__()
    for call in (
        aassign_user(session, user),
        abroadcast("news"),
        aemit_to(session, "news"),
        aemit_to_user(user, "news"),
        aend_session(session),
    ):
        with refused():
            await call
    with refused():
        await AsyncClient().post("/", {"content": "hi"}, content_type="application/json")


def refuse_synchronous_code() -> None:
    session, user = uuid4(), User(pk=1)
    with refused():
        session_context(session).__enter__()
    for call in (
        partial(assign_user, session, user),
        partial(broadcast, "news"),
        partial(emit_to, session, "news"),
        partial(emit_to_user, user, "news"),
        partial(end_session, session),
    ):
        with refused():
            call()
    with refused():
        DjangoClient().post("/", {"content": "hi"}, content_type="application/json")


urlpatterns = [path("", ChatView.as_view(chat=chat))]


@override_settings(ROOT_URLCONF=__name__)
class TestCaseTests(TestCase):
    async def test_asynchronous_code_says_what_to_use(self) -> None:
        await refuse_asynchronous_code()

    def test_synchronous_code_says_what_to_use(self) -> None:
        refuse_synchronous_code()

    def test_a_block_inside_is_no_way_out(self) -> None:
        with transaction.atomic():
            refuse_synchronous_code()


@pytest.mark.django_db
@pytest.mark.urls(__name__)
async def test_asynchronous_code_in_a_marked_test_says_what_to_use() -> None:
    await refuse_asynchronous_code()


@pytest.mark.django_db
@pytest.mark.urls(__name__)
def test_synchronous_code_in_a_marked_test_says_what_to_use() -> None:
    refuse_synchronous_code()
    async_to_sync(refuse_asynchronous_code)()


@pytest.mark.slow
def test_sqlite_in_memory_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "in_memory.py").write_text(
        "from tests.settings import *\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'unused'}}\n"
    )
    (tmp_path / "test_it.py").write_text(
        "from tests.test_testing import PATH, application\n"
        "async def test_it(chat_communicator):\n"
        "    await chat_communicator(application, PATH).__aenter__()\n"
    )
    options = ["-q", "-p", "chatsessions.testing.pytest", "-p", "no:langsmith_plugin"]
    options += ["-o", "asyncio_mode=auto"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--ds=in_memory", "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert """DATABASES["default"]["TEST"] = {"NAME": BASE_DIR / "test.sqlite3"}""" in done.stdout


async def test_data_of_other_fixtures_is_seen(
    db: None, django_user_model: Any, chat_communicator: Any
) -> None:
    await sync_to_async(django_user_model.objects.create_user)("joan")
    async with chat_communicator(bare, PATH) as client:
        await client.send_event("query")
        assert (await client.receive_event("users")).data == ["joan"]


@pytest.fixture
def barbara(db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("barbara")


async def test_data_of_sync_fixtures_is_seen(barbara: Any, chat_communicator: Any) -> None:
    async with chat_communicator(application, PATH, user=barbara) as client:
        await client.send_event("query")
        assert (await client.receive_event("users")).data == ["barbara"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_fixture_of_another_event_loop_is_no_use(chat_communicator: Any) -> None:
    with pytest.raises(RuntimeError, match="another event loop"):
        chat_communicator(bare, PATH)


# What is left behind


@pytest.mark.django_db(transaction=True)
async def test_nothing_is_left_behind() -> None:
    tasks = asyncio.all_tasks()
    handlers = list(logging.getLogger("chatsessions").handlers)
    receivers = len(turn_finished.receivers)
    async with ChatCommunicator(application, PATH) as one:
        async with ChatCommunicator(application, PATH) as two:
            await two.send_event("sync", {})
            await two.wait_for_turn()
        assert threads_of_ours(), "the worker stays for the client that is left"
        assert await one.send("still here")
        assert await one.wait_for_turn() == "done"
    assert asyncio.all_tasks() == tasks
    assert logging.getLogger("chatsessions").handlers == handlers
    assert len(turn_finished.receivers) == receivers
    assert running_workers() == []
    assert await sync_to_async(_open_connections)() == []
    await asyncio.to_thread(join_threads_of_ours)
    assert threads_of_ours() == set()


def _open_connections() -> list[Any]:
    return [one for one in connections.all(initialized_only=True) if one.connection is not None]


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls(__name__)
async def test_requests_leave_nothing_behind_the_workers_end() -> None:
    tasks = asyncio.all_tasks()
    answer = await AsyncClient().post("/", {"content": "hi"}, content_type="application/json")
    assert answer.json()["turn"]["status"] == "done"
    assert threads_of_ours(), "the worker stays for the next request"
    await shut_down_worker()
    assert asyncio.all_tasks() == tasks
    assert running_workers() == []
    assert await sync_to_async(_open_connections)() == []
    await asyncio.to_thread(join_threads_of_ours)
    assert threads_of_ours() == set()


@pytest.mark.django_db(transaction=True)
async def test_the_fixture_closes_what_the_test_left_open() -> None:
    from chatsessions.testing.pytest import chat_communicator

    tasks = asyncio.all_tasks()
    fixture = asynccontextmanager(chat_communicator._get_wrapped_function())
    async with fixture(None) as make:
        client = make(bare, PATH)
        await client.__aenter__()
    assert client.close_code == 1006
    assert asyncio.all_tasks() == tasks
    assert await sync_to_async(_open_connections)() == []


async def test_a_turn_that_does_not_end_is_interrupted(chat_communicator: Any) -> None:
    with override_settings(CHATSESSIONS={"SHUTDOWN_TIMEOUT": 3600}):
        async with chat_communicator(bare, PATH) as client:
            await client.receive_message()
            await client.send_event("forever")
            assert (await client.receive_message()).content == "started"
    row = await ChatSession.objects.aget(pk=client.session_id)
    assert (row.running, row.worker_id) == (1, None)
    async with chat_communicator(bare, PATH, session=row.pk, token=client.token) as back:
        assert back.resumed
        assert await back.wait_for_turn(1) == "interrupted"
        assert back.errors[-1].code == "interrupted"


async def test_a_communicator_is_for_one_block(chat_communicator: Any) -> None:
    client = chat_communicator(bare, PATH)
    with pytest.raises(RuntimeError, match="async with"):
        client.token  # noqa: B018
    with pytest.raises(RuntimeError, match="async with"):
        await client.receive_message()
    async with client:
        with pytest.raises(RuntimeError, match="one 'async with' block"):
            await client.__aenter__()
    with pytest.raises(RuntimeError, match="one 'async with' block"):
        await client.__aenter__()


# Who connects


async def test_user_is_logged_in(barbara: Any, chat_communicator: Any) -> None:
    for app in (application, bare):
        async with chat_communicator(app, PATH, user=barbara) as client:
            await client.send_event("who")
            assert (await client.receive_event("you")).data["name"] == "barbara"
            row = await ChatSession.objects.aget(pk=client.session_id)
            assert row.user_id == barbara.pk


async def test_headers_and_hello(chat_communicator: Any) -> None:
    async with chat_communicator(
        bare,
        PATH,
        headers={"User-Agent": "Test/1"},
        profile="short",
        language="fr",
        env={"KEY": "x"},
        client_type="test",
    ) as client:
        await client.send_event("who")
        you = (await client.receive_event("you")).data
    assert you == {
        "name": "",
        "ip": "127.0.0.1",
        "agent": "Test/1",
        "language": "fr",
        "profile": "short",
        "env": {"KEY": "x"},
    }
    async with chat_communicator(bare, PATH, headers=[(b"Accept-Language", b"de")]) as client:
        await client.send_event("who")
        assert (await client.receive_event("you")).data["language"] == "de"


@pytest.mark.parametrize("origin", ["https://evil.example", None])
async def test_a_refused_handshake_tells_the_origin(chat_communicator: Any, origin: Any) -> None:
    with pytest.raises(ChatRefused, match=str(origin)) as refused:
        await chat_communicator(application, PATH, origin=origin).__aenter__()
    assert refused.value.code is None


@override_settings(CHATSESSIONS={"MAX_SESSIONS_PER_USER": 1})
async def test_a_refused_hello_has_its_code(barbara: Any, chat_communicator: Any) -> None:
    async with chat_communicator(bare, PATH, user=barbara):
        with pytest.raises(ChatRefused, match="too many sessions") as refused:
            await chat_communicator(bare, PATH, user=barbara).__aenter__()
    assert refused.value.code == 4504
    assert refused.value.errors[0].code == "forbidden"


async def test_an_application_that_fails(chat_communicator: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError("in the middleware")

    with pytest.raises(ChatAssertionError, match="the application failed") as failed:
        await chat_communicator(broken, PATH).__aenter__()
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


async def test_a_server_that_breaks_the_protocol(chat_communicator: Any) -> None:
    async def babble(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "{}"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    with pytest.raises(ChatAssertionError, match=r"breaks the protocol: .*missing.*type"):
        await chat_communicator(babble, PATH).__aenter__()


async def test_an_application_that_does_not_notice_the_end(chat_communicator: Any) -> None:
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        welcome = frames.Welcome(
            session="0" * 32,
            token="",
            resumed=False,
            reason="new",
            received=0,
            first=1,
            head=0,
            turn=None,
            heartbeat=25,
            max_frame=1000,
        )
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": frames.encode(welcome)})
        await asyncio.sleep(3600)

    tasks = asyncio.all_tasks()
    client = chat_communicator(deaf, PATH, timeout=0.2)
    await client.__aenter__()
    with pytest.raises(ChatAssertionError, match="the application failed"):
        await client.__aexit__(None, None, None)
    assert asyncio.all_tasks() == tasks


# Saying and receiving


@pytest.fixture
async def client(chat_communicator: Any) -> AsyncIterator[ChatCommunicator]:
    """A client of the chat of this module, which has been welcomed."""
    async with chat_communicator(bare, PATH) as found:
        yield found


async def test_a_streamed_message_is_received_whole(client: ChatCommunicator) -> None:
    await client.receive_message()
    await client.send_event("stream", ["one ", "two ", "three"])
    message = await client.receive_message()
    assert (message.content, message.streaming) == ("one two three", False)
    assert await client.wait_for_turn() == "done"
    await client.receive_nothing()


@chat.on_event("beside")
async def beside() -> None:
    note = await Message("note").send()
    story = Message()
    await story.stream_token("story")
    note.content = "noted"
    await note.update()
    await story.update()


async def test_the_end_of_a_stream_passes_over_nothing(client: ChatCommunicator) -> None:
    """An update that came between counted as received with the stream."""
    await client.send_event("beside")
    await client.wait_for_turn()
    said = [(await client.receive_message()).content for _ in range(3)]
    assert said == ["Welcome", "note", "story"]
    update = await client.receive_event("message_update")
    assert update.data["content"] == "noted"
    await client.receive_nothing()


async def test_a_stream_that_is_removed_is_received_as_far_as_it_went(
    client: ChatCommunicator,
) -> None:
    await client.receive_message()
    await client.send_event("unfinished")
    assert (await client.receive_message()).content == "half"
    assert [message.content for message in client.messages] == ["Welcome"]


async def test_messages_are_as_a_page_shows_them(client: ChatCommunicator) -> None:
    await client.send("hi")
    await client.send_event("edit")
    await client.wait_for_turn()
    assert [(message.author, message.content) for message in client.messages] == [
        ("Assistant", "Welcome"),
        ("User", "hi"),
        ("Echo", "HI"),
        ("Assistant", "final"),
    ]
    contents = [(await client.receive_message()).content for _ in range(4)]
    assert contents == ["Welcome", "HI", "draft", "gone"], "as they were sent"


async def test_events_have_a_place_for_each_name(client: ChatCommunicator) -> None:
    await client.send_event("add", [1, 2])
    await client.send_event("add", [3, 4])
    assert (await client.receive_event("sum")).data == 3
    second = await client.receive_event("sum")
    assert (second.data, second.turn, second.n) == (7, 2, None)
    assert (await client.receive_event()).name == "message", "it was passed over"
    with pytest.raises(ChatAssertionError, match="an event 'sum' of the server did not come"):
        await client.receive_event("sum", timeout=0.05)


async def test_the_log_has_the_clients_own_events(client: ChatCommunicator) -> None:
    await client.wait_for_turn(0)
    await client.send_event("add", [1, 2])
    await client.wait_for_turn()
    log = [(event.seq, event.name, event.data, event.n) for event in client.events_since(1)]
    assert log == [(2, "add", [1, 2], 1), (3, "sum", 3, None)]
    assert client.events[0].name == "message"
    before = client.events
    await client.reload()
    assert client.events == before, "a replay tells the same"


async def test_receive_nothing(client: ChatCommunicator) -> None:
    await client.wait_for_turn(0)
    with pytest.raises(ChatAssertionError, match="nothing was to come, but 'message' did"):
        await client.receive_nothing()
    await client.receive_nothing("sum", timeout=0.05)
    await client.receive_message()
    await client.receive_nothing(timeout=0.05)
    await client.send_event("add", [1])
    with pytest.raises(ChatAssertionError, match="'sum'"):
        await client.receive_nothing(timeout=2)


async def test_wait_until(client: ChatCommunicator) -> None:
    await client.send("hi")
    await client.wait_until(lambda: len(client.messages) == 3)
    with pytest.raises(ChatAssertionError, match="wait_until"):
        await client.wait_until(lambda: False, timeout=0.05)


async def test_outcomes(client: ChatCommunicator) -> None:
    with pytest.raises(RuntimeError, match="nothing was sent yet"):
        await client.wait_for_turn()
    await client.send_event("fail")
    assert await client.wait_for_turn() == "failed"
    await client.send_event("nobody")
    assert await client.wait_for_turn() == "failed"
    assert [error.code for error in client.errors] == ["handler_error", "no_handler"]
    await client.send_event("forever")
    await client.wait_until(lambda: client.messages[-1].content == "started")
    await client.stop()
    assert await client.wait_for_turn() == "stopped"
    assert await client.wait_for_turn(1) == "failed"


async def test_a_failure_shows_the_whole_story(chat_communicator: Any) -> None:
    async with chat_communicator(bare, PATH) as client:
        await client.send("hi")
        await client.send_event("fail")
        await client.wait_for_turn()
        await client.receive_message()
        await client.receive_message()
        with pytest.raises(AssertionError) as failed:
            await client.receive_message(timeout=0.05)
    story = str(failed.value)
    assert "a whole message of the server did not come within 0.05 s" in story
    assert "message  Assistant: 'Welcome'" in story
    assert "message (sent, n=1)  User: 'hi'" in story
    assert "Turns: 0 done, 1 done, 2 failed" in story
    assert "Error handler_error (event 2)" in story
    assert "ValueError: the reason why" in story, "the server's traceback"
    assert failed.value.errors[0].code == "handler_error"


async def test_the_end(client: ChatCommunicator) -> None:
    assert client.close_code is None
    assert await client.end() == "user"
    await client.wait_until(lambda: client.close_code is not None or True)
    assert client.ended == "user"
    with pytest.raises(ChatAssertionError, match=r"the connection is closed \(4503\)"):
        await client.receive_event("sum")
    assert client.close_code == 4503
    assert not await client.resume()
    assert client.reason == "ended"
    assert client.ended is None


async def test_what_the_server_delays_is_sent_again(chat_communicator: Any) -> None:
    limits = {"EVENTS_PER_SECOND": 50, "EVENT_BURST": 2}
    with override_settings(CHATSESSIONS=limits):
        async with chat_communicator(bare, PATH) as client:
            for number in range(6):
                await client.send_event("add", [number])
            sums = [(await client.receive_event("sum")).data for _ in range(6)]
    assert sums == [0, 1, 2, 3, 4, 5]
    assert {error.code for error in client.errors} == {"rate_limited"}


async def test_a_line_that_the_server_closes_is_said_at_once_with_its_code(
    chat_communicator: Any,
) -> None:
    """An event that was not accepted by then has no turn: nothing is left to wait for."""
    with override_settings(CHATSESSIONS={"MAX_FRAME_BYTES": 1024}):
        async with chat_communicator(bare, PATH) as client, asyncio.timeout(60):
            await client.send("x" * 2000)
            with pytest.raises(ChatAssertionError, match=r"the connection is closed \(1009\)"):
                await client.wait_for_turn(timeout=1000)


async def test_what_the_server_refuses_is_given_up(client: ChatCommunicator) -> None:
    await client.send_event("message", {"no": "content"})
    with pytest.raises(ChatAssertionError, match="the event was refused"):
        await client.wait_for_turn()
    await client.send_event("add", [1])
    assert await client.wait_for_turn() == "done"
    await client.send_event("message", "not a dict")
    await client.send_event("add", [2])
    assert await client.wait_for_turn() == "done"
    assert {error.code for error in client.errors} <= {"bad_frame", "n_gap"}


async def test_files_go_with_a_message(
    chat_communicator: Any, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    async with chat_communicator(bare, PATH) as client:
        await client.receive_message()
        file = await client.upload("notes.txt", "remember the milk")
        await client.send("here", files=[file])
        assert (await client.receive_message()).content == "HERE"
        assert (await client.receive_message()).content == "notes.txt: remember the milk"
        with pytest.raises(FileRefused, match="not image/png"):
            await client.upload("photo.png", b"<script>", mime="image/png")
        await client.end()
        with pytest.raises(SessionOver):
            await client.upload("late.txt", b"x")


async def test_what_json_cannot_say_is_never_sent(client: ChatCommunicator) -> None:
    with pytest.raises(TypeError, match="object"):
        await client.send_event("add", object())
    assert await client.send_event("add", [1]) == 1
    assert await client.wait_for_turn() == "done"
    await client.drop()
    assert await client.resume()


async def test_an_answer_to_nobody(client: ChatCommunicator) -> None:
    await client.answer("no such call", "x")
    await client.wait_until(lambda: any(e.code == "call_closed" for e in client.errors))
    await client.send_event("add", [1])
    assert await client.wait_for_turn() == "done"


# Buttons


@chat.on_event("choose")
async def choose(labels: list[str]) -> None:
    choices = [Action("choice", {"at": n}, label=label) for n, label in enumerate(labels)]
    chosen = await AskActionMessage("Which?", actions=choices).send()
    await Message(f"chosen: {chosen and chosen['payload']['at']}").send()


@chat.on_event("sell")
async def sell(things: list[str]) -> None:
    for thing in things:
        offer = [Action("buy", {"thing": thing}, label="Buy"), Action("like")]
        await Message(thing, actions=offer).send()


@chat.on_action("buy")
async def buy(action: Action) -> None:
    await Message(f"bought: {action.payload['thing']}").send()
    await action.remove()


@chat.on_action("like")
async def like(action: Action) -> None:
    await Message("liked").send()


async def test_a_button_is_pressed_by_its_label(client: ChatCommunicator) -> None:
    await client.send_event("sell", ["bread", "milk"])
    await client.wait_for_turn()
    n = await client.press("Buy")
    assert await client.wait_for_turn() == await client.wait_for_turn(n) == "done"
    assert client.messages[-1].content == "bought: milk", "the last one of that label"
    await client.press("Buy")
    await client.wait_for_turn()
    assert client.messages[-1].content == "bought: bread", "the other is gone"
    await client.press("like")
    await client.wait_for_turn()
    assert client.messages[-1].content == "liked", "an action without a label has its name"


async def test_a_choice_is_pressed_by_its_label_as_soon_as_it_is_there(
    client: ChatCommunicator,
) -> None:
    await client.send_event("choose", ["no", "yes"])
    await client.press("yes")
    assert await client.wait_for_turn() == "done", "the turn that asked"
    assert client.messages[-1].content == "chosen: 1"
    with pytest.raises(ChatAssertionError, match="'yes' came within 0 s; the buttons are: none"):
        await client.press("yes", timeout=0)


async def test_a_button_that_is_not_there_is_told_with_those_that_are(
    client: ChatCommunicator,
) -> None:
    await client.send_event("sell", ["bread"])
    await client.send_event("choose", ["small", "large"])
    await client.receive_event("ask")
    buttons = "the buttons are: 'Buy', 'like', 'small', 'large'"
    with pytest.raises(ChatAssertionError, match=f"no button 'Sell' .*; {buttons}"):
        await client.press("Sell", timeout=0.01)
    await client.press("large")
    with pytest.raises(ChatAssertionError, match="the buttons are: 'Buy', 'like'\n"):
        await client.press("small", timeout=0)
    await client.end()
    with pytest.raises(
        ChatAssertionError, match=r"closed \(4503\), so a button 'Sell' cannot come"
    ):
        await client.press("Sell")


# Coming and going


async def test_a_line_that_dies_costs_nothing(client: ChatCommunicator) -> None:
    await client.receive_message()
    session, token = client.session_id, client.token
    await client.send_event("stream", ["a", "b"])
    await client.drop()
    assert (client.connected, client.close_code) == (False, 1006)
    await client.send("said while away")
    with pytest.raises(ChatAssertionError, match="the connection is closed"):
        await client.receive_event("sum")
    assert await client.resume()
    assert (client.session_id, client.reason) == (session, None)
    assert client.token != token
    assert (await client.receive_message()).content == "ab"
    assert (await client.receive_message()).content == "SAID WHILE AWAY"
    assert await client.wait_for_turn() == "done"
    await client.receive_nothing()


async def test_a_turn_ends_while_the_client_is_away(client: ChatCommunicator) -> None:
    await client.wait_for_turn(0)
    await client.send("hi")
    await client.wait_until(lambda: client.events_since(1))
    await client.drop()
    assert await client.wait_for_turn() == "done"
    assert await client.resume()
    assert await client.wait_for_turn() == "done"
    assert client.messages[-1].content == "HI"


async def test_a_line_that_dies_unnoticed_is_taken_over(client: ChatCommunicator) -> None:
    await client.receive_message()
    await client.drop(noticed=False)
    row = await ChatSession.objects.aget(pk=client.session_id)
    assert row.status == "connected"
    assert await client.resume()
    await client.send("hi")
    assert (await client.receive_message()).content == "HI"


async def test_an_open_line_is_dropped_to_resume(client: ChatCommunicator) -> None:
    assert await client.resume()
    assert await client.reload()
    await client.drop()
    await client.drop()
    assert [message.content for message in client.messages] == ["Welcome"]


async def test_a_reloaded_page_shows_the_same(client: ChatCommunicator) -> None:
    await client.send("hi")
    await client.send_event("edit")
    await client.wait_for_turn()
    before = client.messages
    assert await client.reload()
    assert client.messages == before
    await client.send("again")
    assert await client.wait_for_turn() == "done"


async def test_two_clients_of_one_session(chat_communicator: Any) -> None:
    async with chat_communicator(bare, PATH) as first:
        await first.receive_message()
        async with chat_communicator(
            bare, PATH, session=first.session_id, token=first.token
        ) as second:
            assert second.resumed
            assert (await second.receive_message()).content == "Welcome"
            await first.wait_until(lambda: True)
            with pytest.raises(ChatAssertionError, match="4509"):
                await first.receive_event("sum")
    assert first.close_code == 4509


async def test_somebody_elses_session_is_a_new_one(chat_communicator: Any) -> None:
    async with (
        chat_communicator(bare, PATH) as mine,
        chat_communicator(bare, PATH, session=mine.session_id, token="wrong") as other,
    ):
        assert (other.resumed, other.reason) == (False, "unknown")
        assert other.session_id != mine.session_id


# Pure parts


def test_a_second_outcome_is_not_accepted() -> None:
    told = Conversation()
    told._apply(frames.TurnStatus(1, "message", "running"))
    told._apply(frames.TurnStatus(1, "message", "done"))
    with pytest.raises(ValueError, match="turn 1 is done, and then failed"):
        told._apply(frames.TurnStatus(1, "message", "failed"))


def test_without_daphne_it_says_what_to_install() -> None:
    code = (
        "import sys, os, django; sys.modules['daphne'] = None\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "from django.conf import settings\n"
        "settings.INSTALLED_APPS.remove('daphne'); django.setup()\n"
        "import chatsessions.testing\n"
        "try: chatsessions.testing.ChatCommunicator\n"
        "except ImportError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "chatsessions[testing]"' in found.stdout


def test_unknown_names_are_refused() -> None:
    import chatsessions.testing

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        chatsessions.testing.Nothing  # noqa: B018


# The page of the documentation


def test_the_tests_of_the_documentation_pass(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    # Blocks that say which file of a project they are: tests/test_docs.py runs them there.
    code = re.findall(r"^```python\n(?!# \w+/)(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n\n".join(code))
    [configuration] = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    configuration = configuration.replace("mysite.settings", "tests.settings")
    (tmp_path / "pyproject.toml").write_text(configuration)
    # Warnings of the configuration, too.
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:langsmith_plugin"]
    options += ["--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_page.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = len(re.findall(r"def test_", "".join(code)))
    assert f"{tests} passed" in done.stdout
