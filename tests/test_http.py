"""Sessions without a websocket: ``ChatView`` in a real request cycle, without a server."""

from __future__ import annotations

import asyncio
import json
import threading
import types
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.urls import URLPattern, path
from django.views.decorators.csrf import ensure_csrf_cookie

from chatsessions import (
    Action,
    AskUserMessage,
    Chat,
    Message,
    Step,
    aassign_user,
    aend_session,
    context,
    session_context,
    spawn,
    user_session,
)
from chatsessions.consumers import ChatConsumer
from chatsessions.exceptions import ChatError, OwnershipLost
from chatsessions.handlers.session import Session
from chatsessions.http.requests import Body
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession, SessionEvent, SessionFile
from chatsessions.sessions import posted
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.journal import Batch
from chatsessions.storage.log import Entry, find_posted
from chatsessions.testing import ChatCommunicator
from chatsessions.workers.worker import Worker

from .support.database import failing, locked
from .support.sessions import Client as Line
from .support.sessions import eventually, until, ways
from .support.storage import worker_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/chat/"
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def urls(chat: Chat, settings: Settings) -> list[URLPattern]:
    """A project whose only page is the chat."""
    module = types.ModuleType("urls")
    module.urlpatterns = [path("chat/", ChatView.as_view(chat=chat))]
    settings.ROOT_URLCONF = module
    # All async: one that is not makes the test client's requests wait for one another.
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    return module.urlpatterns


class Api:
    """A client without cookies, that keeps its token, as a script does."""

    def __init__(self, client: AsyncClient | None = None) -> None:
        self.client = client or AsyncClient(enforce_csrf_checks=True)
        self.token = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def post(self, content: str | None = None, **body: Any) -> Any:
        headers = body.pop("headers", {})
        if content is not None:
            body["content"] = content
        response = await self.client.post(
            URL, body, content_type="application/json", headers=self.headers | headers
        )
        if response.headers["Content-Type"] == "application/json":
            response.told = response.json()
            self.token = response.told.get("token") or self.token
        return response

    async def say(self, content: str, **body: Any) -> dict[str, Any]:
        response = await self.post(content, **body)
        assert response.status_code == 200, response.content
        told: dict[str, Any] = response.told
        return told

    async def get(self, **query: Any) -> Any:
        return await self.client.get(URL, query, headers=self.headers)

    async def follow(self, **query: Any) -> AsyncIterator[bytes]:
        """The parts of a stream of what comes."""
        headers = self.headers | STREAM
        response = await self.client.get(URL, query, headers=headers)
        assert response.status_code == 200
        parts: AsyncIterator[bytes] = aiter(response.streaming_content)
        return parts

    async def stream(self, content: str, **body: Any) -> list[dict[str, Any]]:
        response = await self.post(content, headers=STREAM, **body)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        return await read(response.streaming_content)


def frames_of(body: bytes) -> list[dict[str, Any]]:
    """The frames of server-sent events, and the id of each that has one."""
    frames = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            frame = json.loads(lines["data"])
            assert lines.get("id", "") == str(frame.get("seq", ""))
            frames.append(frame)
    return frames


async def read(parts: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """The frames of a stream up to its end."""
    return frames_of(b"".join([part async for part in parts]))


async def welcomed(response: Any) -> AsyncIterator[bytes]:
    """The parts of a stream behind its welcome."""
    parts: AsyncIterator[bytes] = aiter(response.streaming_content)
    assert frames_of(await anext(parts))[0]["type"] == "welcome"
    return parts


def texts(told: dict[str, Any]) -> list[str]:
    return [event["data"]["content"] for event in told["events"] if event["name"] == "message"]


@pytest.fixture
def counter(chat: Chat) -> Chat:
    """Greets, and counts; the bot of most tests."""

    @chat.on_chat_start
    async def start() -> None:
        user_session["count"] = 0
        await Message("hello").send()

    @chat.on_message
    async def count(message: Message) -> None:
        user_session["count"] += 1
        await Message(f"{user_session['count']}: {message.content}").send()

    return chat


# Posting


async def test_a_new_session_and_its_next_message(worker: Worker, counter: Chat) -> None:
    api = Api()
    first = await api.say("a")
    assert texts(first) == ["hello", "1: a"]
    assert first["turn"] == {"turn": 1, "name": "message", "status": "done"}
    assert (first["resumed"], first["reason"]) == (False, "new")
    assert [event["seq"] for event in first["events"]] == [2, 3]
    second = await api.say("b")
    assert texts(second) == ["2: b"]
    assert (second["session"], second["token"]) == (first["session"], first["token"])
    assert (second["resumed"], second["reason"]) == (True, None)
    row = await ChatSession.objects.aget(pk=first["session"])
    assert (row.status, row.worker_id, row.accepted, row.handled) == ("away", None, 2, 2)
    assert row.client_type == "http"
    assert row.token_hash not in first["token"]


async def test_the_session_and_token_in_the_body(worker: Worker, counter: Chat) -> None:
    first = await Api().say("a")
    again = await Api().say("b", session=first["session"], token=first["token"])
    assert texts(again) == ["2: b"]
    only_token = await Api().say("c", token=first["token"])
    assert texts(only_token) == ["3: c"]


@pytest.mark.parametrize("wrong", ["token", "session", "other chat", "nonsense"])
async def test_what_is_not_the_clients_gives_a_new_session(
    worker: Worker, counter: Chat, wrong: str
) -> None:
    first = await Api().say("a")
    asked = {"session": first["session"], "token": first["token"]}
    if wrong == "token":
        asked["token"] = "x" + asked["token"]
    elif wrong == "session":
        asked["session"] = str(uuid4())
    elif wrong == "nonsense":
        asked = {"session": "\ud83d nonsense".encode(errors="replace").decode(), "token": ""}
    else:
        await ChatSession.objects.filter(pk=first["session"]).aupdate(chat="another")
    told = await Api().say("b", **asked)
    assert told["session"] != first["session"]
    assert (told["resumed"], told["reason"]) == (False, "unknown")
    assert texts(told) == ["hello", "1: b"]


async def test_who_comes_before_the_answer_to_their_login_is_to_come_again(
    worker: Worker, counter: Chat
) -> None:
    """The session is theirs by then: a new one would take its place in what they see."""
    first = await Api().say("a")
    user = await get_user_model().objects.acreate(username="ada")
    await aassign_user(first["session"], user)
    asked = {"session": first["session"], "token": first["token"]}
    response = await Api().post("b", **asked)
    assert (response.status_code, response.told["error"]) == (401, "unauthorized")
    assert int(response.headers["Retry-After"]) > 0
    assert await ChatSession.objects.acount() == 1
    client = AsyncClient()
    await client.aforce_login(user)
    told = await Api(client).say("b", **asked)
    assert (told["session"], texts(told)) == (first["session"], ["2: b"])


async def test_an_event_of_the_applications_own(worker: Worker, chat: Chat) -> None:
    @chat.on_event("add")
    async def add(data: list[int]) -> None:
        await context.emitter.emit("sum", sum(data))

    response = await Api().post(name="add", data=[1, 2, 3])
    assert response.told["events"] == [{"seq": 2, "name": "sum", "data": 6}]
    assert response.told["turn"]["name"] == "add"
    response = await Api().post(name="unheard of")
    assert response.status_code == 200
    assert response.told["turn"]["status"] == "failed"
    assert response.told["events"][0]["data"]["code"] == "no_handler"


async def test_a_handler_that_fails(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def fail() -> None:
        await Message("before").send()
        raise RuntimeError("secret")

    api = Api()
    response = await api.post("x")
    assert response.told["turn"]["status"] == "failed"
    assert [event["name"] for event in response.told["events"]] == ["message", "error"]
    assert b"secret" not in response.content
    assert (await api.post("y")).told["resumed"]


@ways
async def test_a_turn_outlives_the_client_and_is_there_later(
    worker: Worker, chat: Chat, way: str
) -> None:
    """A client that goes away, before or in the middle of the answer, stops nothing."""
    begun, go = asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def work(message: Message) -> None:
        await Message("one").send()
        begun.set()
        await go.wait()
        await Message("two").send()

    api = Api()
    headers = STREAM if way == "async" else {}
    if way == "async":
        response = await api.post("x", headers=headers)
        stream = aiter(response.streaming_content)
        welcome = frames_of(await anext(stream))[0]
        api.token = welcome["token"]
        await begun.wait()
        await stream.aclose()
        await sync_to_async(response.close)()
    else:
        request = asyncio.create_task(api.post("x"))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    [live] = worker.live.values()
    await until(lambda: live.holders == 0)
    assert not live.subscribers.followers
    assert live.turns.number == 1
    go.set()
    await until(lambda: not worker.live)
    names = [row.data async for row in SessionEvent.objects.filter(turn=1)]
    assert [data["content"] for data in names] == ["one", "two"]
    if way == "async":
        since = (await api.get(after=2)).json()
        assert texts(since) == ["two"]
        assert (since["head"], since["turn"]) == (3, None)


async def test_a_stream_is_frames_of_the_protocol(worker: Worker, chat: Chat) -> None:
    @chat.on_chat_start
    async def start() -> None:
        await Message("hello").send()

    @chat.on_message
    async def tell() -> None:
        message = Message()
        await message.stream_token("Once ")
        await message.stream_token("upon")
        await message.send()

    frames = await Api().stream("x")
    kinds = [frame["type"] for frame in frames]
    assert kinds[0] == "welcome"
    assert frames[0]["reason"] == "new"
    assert [frame["text"] for frame in frames if frame["type"] == "token"] == ["Once ", "upon"]
    turns = [(one["turn"], one["status"]) for one in frames if one["type"] == "turn"]
    assert turns == [(0, "running"), (0, "done"), (1, "running"), (1, "done")]
    assert frames[-1]["type"] == "turn"
    seqs = [frame["seq"] for frame in frames if "seq" in frame]
    assert seqs == [1, 2, 3, 4]
    [accepted] = [frame for frame in frames if frame["type"] == "accepted"]
    assert (accepted["n"], accepted["seq"]) == (1, 1)


async def test_a_stream_has_json_of_several_lines_in_one(worker: Worker, chat: Chat) -> None:
    """A client's data is stored as it came; its line ends broke the stream into pieces."""

    @chat.on_event("order")
    async def order(data: dict[str, int]) -> None:
        await Message(f"{data['pens']} pens").send()

    api = Api()
    response = await api.client.post(
        URL,
        b'{"name": "order",\n "data": {\r\n  "pens":\n\n  2\r}}',
        content_type="application/json",
    )
    assert response.status_code == 200, response.content
    api.token = response.json()["token"]
    told = await read(await api.follow())
    [entry] = [frame for frame in told if frame.get("name") == "order"]
    assert (entry["n"], entry["data"]) == (1, {"pens": 2})


async def test_a_stream_is_resumed_behind_the_last_event_id(worker: Worker, chat: Chat) -> None:
    go = asyncio.Event()

    @chat.on_message
    async def tell() -> None:
        message = Message()
        await Message("first").send()
        await message.stream_token("Once ")
        await go.wait()
        await message.stream_token("upon")
        await message.send()

    api = Api()
    response = await api.post("x", headers=STREAM)
    parts, last = aiter(response.streaming_content), {}
    while last.get("type") != "token":
        [last] = frames_of(await anext(parts))
        api.token = last.get("token", api.token)
    await parts.aclose()
    await sync_to_async(response.close)()
    again = await api.client.get(URL, headers=api.headers | STREAM | {"Last-Event-ID": "2"})
    resumed = aiter(again.streaming_content)
    frames = [frames_of(await anext(resumed))[0] for _ in range(3)]
    assert [frame["type"] for frame in frames] == ["welcome", "event", "stream"]
    assert frames[0]["owner"] == ""
    assert frames[0]["resumed"]
    assert (frames[1]["seq"], frames[2]["content"]) == (3, "Once ")
    go.set()
    rest = await read(resumed)
    assert [frame["type"] for frame in rest] == ["token", "event", "turn"]
    assert rest[0]["text"] == "upon"
    nothing = await api.client.get(URL, headers=api.headers | STREAM | {"Last-Event-ID": "4"})
    assert nothing.status_code == 204
    replay = await api.client.get(URL, headers=api.headers | STREAM)
    frames = await read(replay.streaming_content)
    assert [frame["seq"] for frame in frames[1:]] == [1, 2, 3, 4]
    assert frames[1]["n"] == 1
    await until(lambda: not worker.live)


async def test_a_late_reader_gets_a_text_so_far_before_what_came_after_it(
    worker: Worker, chat: Chat
) -> None:
    """All is stored by the time it reads, and the text so far is that of when it came."""
    go = asyncio.Event()

    @chat.on_message
    async def tell() -> None:
        message = Message()
        await message.stream_token("Once ")
        await go.wait()
        await message.stream_token("upon")
        message.content = "Never"
        await message.send()

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(api.say("x"))
    await until(lambda: [live for live in worker.live.values() if live.sink.so_far])
    parts = await api.follow()
    assert frames_of(await anext(parts))[0]["type"] == "welcome"
    go.set()
    await request
    told = await read(parts)
    kinds = [frame.get("name", frame["type"]) for frame in told if frame["type"] != "turn"]
    assert kinds[-4:] == ["message", "stream", "token", "message_update"]


@pytest.mark.parametrize("kind", [Message, Step])
async def test_a_stream_that_begins_anew_is_told_from_its_first_token(
    worker: Worker, chat: Chat, kind: type[Message | Step]
) -> None:
    """Tokens are counted anew then, and its reader has come when there were more of them."""
    go = asyncio.Event()

    @chat.on_message
    async def tell() -> None:
        streamed = kind("")
        for text in "abcde":
            await streamed.stream_token(text)
        await go.wait()
        await streamed.update()
        for text in "fgh":
            await streamed.stream_token(text)

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(api.say("x"))
    await until(lambda: [live for live in worker.live.values() if live.sink.so_far])
    parts = await api.follow(after=4)
    go.set()
    told = await read(parts)
    [so_far] = [frame for frame in told if frame["type"] == "stream"]
    assert (so_far["index"], so_far["content"]) == (5, "abcde")
    tokens = [(one["index"], one["text"]) for one in told if one["type"] == "token"]
    assert tokens == [(0, "f"), (1, "g"), (2, "h")]
    await request


async def test_a_piece_from_before_the_text_so_far_does_not_replace_it(
    worker: Worker, chat: Chat
) -> None:
    """It waits for an entry before it, and the text so far is told meanwhile."""
    go, made, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def tell() -> None:
        message = Message()
        await message.stream_token("a")
        await go.wait()
        await context.emitter.emit("between")
        await message.stream_token("b", is_sequence=True)
        await message.stream_token("c")
        made.set()
        await end.wait()

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(api.post("x"))
    await until(lambda: [live for live in worker.live.values() if live.sink.so_far])
    with locked():
        go.set()
        await made.wait()
        response = await api.post(name="nothing", headers=STREAM)
    end.set()
    told = await read(response.streaming_content)
    pieces = [one["content"] for one in told if one["type"] == "stream"]
    assert pieces == ["bc"]
    await request


async def test_a_reader_that_falls_behind_is_let_go(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_UNACKED_EVENTS": 64}

    @chat.on_message
    async def many() -> None:
        for number in range(200):
            await context.emitter.emit("tick", number)

    api = Api()
    response = await api.post("x", headers=STREAM)
    parts = aiter(response.streaming_content)
    api.token = frames_of(await anext(parts))[0]["token"]
    await until(lambda: not [live for live in worker.live.values() if live.turns.number])
    frames = await read(parts)
    assert frames[-1]["type"] != "turn"
    last = max((frame["seq"] for frame in frames if "seq" in frame), default=0)
    since = (await api.get(after=last)).json()
    assert [event["seq"] for event in since["events"]] == list(range(last + 1, 202))


async def test_a_reader_that_falls_behind_with_whole_texts_is_let_go(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    """Of what is streamed, only tokens were counted, and a thousand whole texts could wait."""
    settings.CHATSESSIONS = {"MAX_UNACKED_BYTES": 65536}

    @chat.on_message
    async def rewrite() -> None:
        message = Message()
        for number in range(20):
            await message.stream_token(f"{number}" * 10_000, is_sequence=True)
        await message.send()

    response = await Api().post("x", headers=STREAM)
    parts = aiter(response.streaming_content)
    await anext(parts)
    await until(lambda: not [live for live in worker.live.values() if live.turns.number])
    rest = [part async for part in parts]
    assert len(b"".join(rest)) < 2 * 65536
    assert frames_of(rest[-1])[0]["type"] == "stream"


async def test_a_stream_ends_no_sooner_than_the_last_end_is_told(
    worker: Worker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn that runs beside another one ends first, and both have ended when that is told."""
    chat.beside = frozenset({"wake"})
    go, takes_commits = asyncio.Event(), threading.Event()
    takes_commits.set()

    @chat.on_message
    async def work() -> None:
        await go.wait()
        await until(lambda: held)  # the other one's end is being stored
        await Message("last").send()

    @chat.on_event("wake")
    async def wake() -> None:
        takes_commits.clear()
        go.set()

    write, held = worker.store.write, []

    def write_later(batch: Batch) -> None:
        if not takes_commits.is_set():
            held.append(batch)
            assert takes_commits.wait(30)
        write(batch)

    monkeypatch.setattr(worker.store, "write", write_later)
    api = Api()
    await api.post(name="nothing")
    requests = [asyncio.create_task(api.post("x"))]
    await until(lambda: [live for live in worker.live.values() if live.turns.number])
    [live] = worker.live.values()
    parts = await api.follow(after=3)
    requests.append(asyncio.create_task(api.post(name="wake")))
    await go.wait()
    await until(lambda: not live.turns.running)
    takes_commits.set()
    told = await read(parts)
    assert [frame["data"]["content"] for frame in told if frame["type"] == "event"] == ["last"]
    ends = [one for one in told if one["type"] == "turn" and one["status"] == "done"]
    assert [end["turn"] for end in ends] == [3, 2]
    await asyncio.gather(*requests)


@pytest.mark.parametrize(("after", "kinds"), [(3, ["turn", "event"]), (1000, ["turn"])])
async def test_a_stream_ends_though_its_reader_got_the_last_end_late(
    worker: Worker, chat: Chat, after: int, kinds: list[str]
) -> None:
    """A task that has outlived its turn has sent something by then, for this reader or not."""
    go, over = asyncio.Event(), asyncio.Event()

    async def say_later() -> None:
        await over.wait()
        await Message("later").send()
        await context.emitter.flush()
        await asyncio.Event().wait()

    @chat.on_message
    async def work() -> None:
        spawn(say_later())
        await go.wait()

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(api.post("x"))
    await until(lambda: [live for live in worker.live.values() if live.turns.number])
    [live] = worker.live.values()
    parts = await api.follow(after=after)
    assert frames_of(await anext(parts))[0]["type"] == "welcome"
    go.set()
    await request
    over.set()
    await until(lambda: live.log.stored == 4)
    async with asyncio.timeout(5):
        told = await read(parts)
    assert [frame["type"] for frame in told] == kinds
    await aend_session(live.id)


@pytest.mark.parametrize("stored", [True, False])
async def test_who_asks_until_nothing_runs_misses_nothing(
    worker: Worker, chat: Chat, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    """Its turn says the last and ends while the log is being read, and it is stored or not yet."""
    go, is_read, goes_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    read_log = LiveSession.read_log

    async def read_slowly(live: LiveSession, after: int, limit: int) -> list[Entry]:
        entries = await read_log(live, after, limit)
        is_read.set()
        await goes_on.wait()
        return entries

    @chat.on_message
    async def work() -> None:
        await Message("first").send()
        await go.wait()
        await Message("final").send()

    api = Api()
    await api.post(name="nothing")
    posted = asyncio.create_task(api.post("x"))
    await until(lambda: [live for live in worker.live.values() if live.turns.number])
    [live] = worker.live.values()
    await until(lambda: live.log.stored == 4)
    monkeypatch.setattr(LiveSession, "read_log", read_slowly)
    request = asyncio.create_task(api.get(after=3))
    await is_read.wait()
    with nullcontext() if stored else locked():
        go.set()
        await until(lambda: not live.turns.running)
        if stored:
            await posted
        goes_on.set()
        told = (await request).json()
    seen = texts(told)
    while told["turn"] is not None:
        told = (await api.get(after=told["head"])).json()
        seen += texts(told)
    assert seen == ["first", "final"]
    await posted


async def test_a_long_answer_is_told_in_pieces(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_UNACKED_BYTES": 64 * 1024}

    @chat.on_message
    async def long() -> None:
        for _ in range(10):
            await context.emitter.emit("text", "x" * 20_000)

    api = Api()
    told = await api.say("x")
    assert told["more"]
    assert told["turn"]["status"] == "done"
    seen = [event["seq"] for event in told["events"]]
    while told.get("more"):
        told = (await api.get(after=seen[-1])).json()
        assert told["head"] == 11
        seen += [event["seq"] for event in told["events"]]
    assert seen == list(range(2, 12))


# Twice the same


async def test_a_message_that_is_posted_again_is_that_message(
    worker: Worker, counter: Chat
) -> None:
    api, key = Api(), str(uuid4())
    first = await api.say("a", id=key)
    again = await api.say("a", id=key.upper())
    assert again["turn"] == first["turn"]
    assert texts(again) == ["1: a"]
    assert texts(await api.say("a")) == ["2: a"]
    frames = await api.stream("a", id=key)
    assert frames[-1] == {"type": "turn", "turn": 1, "name": "message", "status": "done"}


async def test_a_message_that_is_posted_again_while_it_runs(worker: Worker, chat: Chat) -> None:
    go, runs = asyncio.Event(), []

    @chat.on_message
    async def work() -> None:
        runs.append(1)
        await go.wait()
        await Message("done").send()

    api, key = Api(), str(uuid4())
    await api.post(name="nothing")
    requests = [asyncio.create_task(api.say("x", id=key)) for _ in range(3)]
    await until(
        lambda: len([f for live in worker.live.values() for f in live.subscribers.followers]) == 3
    )
    go.set()
    answers = await asyncio.gather(*requests)
    assert [texts(one) for one in answers] == [["done"]] * 3
    assert {one["turn"]["turn"] for one in answers} == {2}
    assert runs == [1]


async def test_a_message_that_is_posted_again_while_its_session_is_lost(
    worker: Worker, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker has taken the session when the message is found: nobody ever answered."""
    go = asyncio.Event()

    @chat.on_message
    async def work() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await go.wait()

    api, key = Api(), str(uuid4())
    await api.post(name="nothing")
    first = asyncio.create_task(api.post("x", id=key))
    await until(lambda: any(live.subscribers.followers for live in worker.live.values()))
    [live] = worker.live.values()
    await worker.journal.settled()

    async def lose() -> None:
        live.refused(None, OwnershipLost(live.id))

    def find(*args: Any) -> Entry | None:
        found = find_posted(*args)
        asyncio.run_coroutine_threadsafe(lose(), worker.loop).result(30)
        return found

    monkeypatch.setattr(posted, "find_posted", find)
    async with asyncio.timeout(60):
        again = await api.post("x", id=key)
    assert [again.status_code, (await first).status_code] == [503, 503]
    go.set()


# What is refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"content": 5}',
        b'{"content": "\xff"}',
        b"{}",
        b'{"content": "a", "name": "b"}',
        b'{"name": ""}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "message", "data": {}}',
        b'{"name": "settings", "data": []}',
        b'{"name": "answer", "data": {}}',
        b'{"content": "a", "id": "five"}',
        b'{"name": "x", "data": ' + b"[" * 100 + b"]" * 100 + b"}",
        b"[" * 100_000,
    ],
)
async def test_a_bad_request(worker: Worker, counter: Chat, body: bytes) -> None:
    response = await AsyncClient().post(URL, body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["error"] == "bad_request"
    assert not worker.live
    assert not await ChatSession.objects.aexists()


async def test_a_request_that_is_too_large(
    worker: Worker, counter: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_FRAME_BYTES": 2000}
    api = Api()
    response = await api.post("x" * 2000)
    assert (response.status_code, response.json()["error"]) == (413, "too_large")
    await api.say("x" * 1900)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    response = await api.post("x" * 200)
    assert (response.status_code, response.json()["error"]) == (413, "too_large")


async def test_the_rate_limit_is_that_of_the_session(
    worker: Worker, counter: Chat, settings: Settings
) -> None:
    """Also where the session is let go after each request."""
    settings.CHATSESSIONS = {"EVENT_BURST": 3, "EVENTS_PER_SECOND": 0.0001}
    api = Api()
    for text in ("a", "b", "c"):
        await api.say(text)
    await until(lambda: not worker.live)
    response = await api.post("d")
    assert (response.status_code, response.told["error"]) == (429, "rate_limited")
    assert 0 < response.told["retry_after"] <= 10_000
    assert 0 < int(response.headers["Retry-After"]) <= 10_000
    assert await SessionEvent.objects.filter(n__isnull=False).acount() == 3
    assert texts(await Api().say("e")) == ["hello", "1: e"]


async def test_a_session_with_too_much_to_do(
    worker: Worker, chat: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 1}
    go = asyncio.Event()

    @chat.on_message
    async def work(message: Message) -> None:
        await go.wait()
        await Message(message.content).send()

    api = Api()
    await api.post(name="nothing")
    first = asyncio.create_task(api.say("a"))
    await until(lambda: [live for live in worker.live.values() if live.turns.number])
    second = asyncio.create_task(api.say("b"))
    [live] = worker.live.values()
    await until(lambda: len(live.turns.queue) == 1)
    response = await api.post("c")
    assert (response.status_code, response.told["error"]) == (429, "busy")
    go.set()
    assert texts(await first) == ["a"]
    assert texts(await second) == ["b"]


async def test_a_session_that_has_ended(worker: Worker, counter: Chat) -> None:
    api = Api()
    told = await api.say("a")
    await aend_session(told["session"])
    for response in (await api.post("b"), await api.get()):
        assert (response.status_code, response.json()["error"]) == (410, "ended")
    stranger = await Api().say("c", session=told["session"], token="wrong")
    assert stranger["reason"] == "unknown"


async def test_a_handler_that_ends_the_session(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def bye() -> None:
        await Message("good").send()
        spawn(aend_session(context.session.id))
        await asyncio.Event().wait()

    @chat.on_chat_end
    async def ended() -> None:
        await Message("bye").send()

    told = await Api().say("x")
    assert texts(told) == ["good", "bye"]
    assert told["turn"]["status"] == "stopped"
    assert told["ended"] == "app"
    frames = await Api().stream("x")
    assert frames[-1] == {"type": "ended", "reason": "app"}


async def test_a_session_that_lives_in_another_process(worker: Worker, counter: Chat) -> None:
    api = Api()
    told = await api.say("a")
    other = await sync_to_async(worker_row)()
    await ChatSession.objects.filter(pk=told["session"]).aupdate(worker=other)
    response = await api.post("b")
    assert (response.status_code, response.told["error"]) == (503, "owner_unreachable")
    assert response.headers["Retry-After"] == "1"
    assert not worker.live
    row = await ChatSession.objects.aget(pk=told["session"])
    assert (row.worker_id, row.accepted) == (other.pk, 1)


async def test_a_store_that_takes_nothing(
    worker: Worker, counter: Chat, settings: Settings
) -> None:
    api, key = Api(), str(uuid4())
    await api.say("a")
    await worker.journal.settled()
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.2}
    with failing():
        response = await api.post("b", id=key)
        assert (response.status_code, response.told["error"]) == (503, "storage_unavailable")
        response = await api.post("c")
        assert response.status_code == 503
        settings.CHATSESSIONS = {}
    await until(lambda: not worker.live)
    assert texts(await api.say("b", id=key)) == ["2: b"]
    assert texts(await api.say("d")) == ["3: d"]


async def test_a_server_that_is_shutting_down(worker: Worker, counter: Chat) -> None:
    api = Api()
    await api.say("a")
    worker.closing = True
    response = await api.post("b")
    worker.closing = False
    assert (response.status_code, response.told["error"]) == (503, "shutting_down")


async def test_methods(worker: Worker, counter: Chat) -> None:
    response = await AsyncClient().put(URL, {})
    assert (response.status_code, response.json()["error"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, POST, DELETE"


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 30, "\u0661"])
async def test_a_position_that_is_none(worker: Worker, counter: Chat, after: str) -> None:
    api = Api()
    await api.say("a")
    response = await api.get(after=after)
    assert (response.status_code, response.json()["error"]) == (400, "bad_request")


async def test_reading_opens_no_session(worker: Worker, counter: Chat) -> None:
    for response in (await AsyncClient().get(URL), await AsyncClient().delete(URL)):
        assert (response.status_code, response.json()["error"]) == (404, "unknown_session")
    assert not await ChatSession.objects.aexists()


def test_a_view_of_no_chat() -> None:
    with pytest.raises(ChatError):
        ChatView.as_view(chat="no.such.chat")
    with pytest.raises(ChatError):
        ChatView.as_view()


async def test_ending_a_session(worker: Worker, counter: Chat) -> None:
    api = Api()
    told = await api.say("a")
    response = await api.client.delete(URL, headers=api.headers)
    assert response.status_code == 204
    row = await ChatSession.objects.aget(pk=told["session"])
    assert (row.status, row.end_reason) == ("ended", "user")
    assert not worker.live


async def test_patience(worker: Worker, chat: Chat, urls: list[URLPattern]) -> None:
    go = asyncio.Event()

    @chat.on_message
    async def work() -> None:
        await Message("begun").send()
        await go.wait()

    urls[:] = [path("chat/", ChatView.as_view(chat=chat, timeout=0.3))]
    api = Api()
    response = await api.post("x")
    assert response.status_code == 202
    assert response.told["turn"]["status"] == "running"
    assert texts(response.told) in ([], ["begun"])  # as far as it is within that time

    async def has_begun() -> bool:
        told = (await api.get()).json()
        return told["turn"]["turn"] == 1 and "begun" in texts(told)

    await eventually(has_begun)
    go.set()
    await until(lambda: not worker.live)


# Cookies


async def test_djangos_session_keeps_the_chats(worker: Worker, counter: Chat) -> None:
    client = AsyncClient()  # with a page's CSRF token, as far as Django can tell
    first, second = Api(client), Api(client)
    told = await first.say("a")
    again = await second.say("b")
    assert again["session"] == told["session"]
    assert texts(again) == ["2: b"]
    assert texts((await Api(client).get(after=2)).json())[:2] == ["1: a", "b"]
    await aend_session(told["session"])
    new = await Api(client).say("c")
    assert (new["reason"], texts(new)) == ("ended", ["hello", "1: c"])
    assert (await client.delete(URL)).status_code == 204
    assert (await Api(client).say("d"))["reason"] == "new"


async def test_cookies_need_a_csrf_token(
    worker: Worker, counter: Chat, urls: list[URLPattern]
) -> None:
    async def page(request: HttpRequest) -> Any:
        from django.http import HttpResponse

        return HttpResponse("")

    urls.append(path("page/", ensure_csrf_cookie(page)))
    client = AsyncClient(enforce_csrf_checks=True)
    ada = await get_user_model().objects.acreate_user("ada")
    await client.aforce_login(ada)
    response = await Api(client).post("a")
    assert (response.status_code, response.told["error"]) == (403, "csrf")
    assert not await ChatSession.objects.aexists()
    await client.get("/page/")
    csrf = {"X-CSRFToken": client.cookies["csrftoken"].value}
    response = await Api(client).post("a", headers=csrf)
    assert response.status_code == 200
    row = await ChatSession.objects.aget()
    assert row.user_id == ada.pk
    response = await Api(client).post("b")
    assert response.status_code == 403
    assert (await client.delete(URL)).status_code == 403
    assert (await client.delete(URL, headers=csrf)).status_code == 204


async def test_without_a_csrf_token_nothing_is_kept(worker: Worker, counter: Chat) -> None:
    """What another site makes a visitor post does not become the visitor's conversation."""
    client = AsyncClient(enforce_csrf_checks=True)
    await Api(client).say("a")
    assert "sessionid" not in client.cookies
    assert (await Api(client).say("b"))["reason"] == "new"


async def test_the_logged_in_owner_needs_no_token(worker: Worker, counter: Chat) -> None:
    client = AsyncClient()
    await client.aforce_login(await get_user_model().objects.acreate_user("ada"))
    told = await Api(client).say("a")
    other_device = AsyncClient()
    await other_device.aforce_login(await get_user_model().objects.aget(username="ada"))
    again = await Api(other_device).say("b", session=told["session"])
    assert (again["resumed"], again["token"], texts(again)) == (True, "", ["2: b"])
    eve = AsyncClient()
    await eve.aforce_login(await get_user_model().objects.acreate_user("eve"))
    stolen = await Api(eve).say("c", session=told["session"], token=told["token"])
    assert stolen["reason"] == "unknown"
    nobody = await Api().say("d", session=told["session"], token=told["token"])
    assert nobody["reason"] == "unknown"


# Files


async def test_a_message_with_a_file(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def look(message: Message) -> None:
        await Message(",".join(file.name for file in message.files)).send()

    api = Api()
    told = await api.say("first")
    row = await SessionFile.objects.acreate(
        session_id=told["session"], name="a.txt", mime="text/plain", size=0
    )
    assert texts(await api.say("look", files=[str(row.pk)])) == ["a.txt"]
    response = await api.post("look", files=[str(uuid4())])
    assert response.status_code in (400, 403)
    assert texts(await api.say("again")) == [""]


# Questions


async def test_a_question_is_answered_by_another_request(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def order() -> None:
        answer = await AskUserMessage("How many?").send()
        await Message(f"{answer and answer['output']} it is.").send()

    api = Api()
    response = await api.post("a pizza")
    assert response.status_code == 202
    assert response.told["turn"] == {"turn": 1, "name": "message", "status": "running"}
    [ask] = response.told["events"]
    assert ask["name"] == "ask"
    call = ask["data"]["call"]
    bad = await api.post(call=call, data={"id": 5})
    assert (bad.status_code, bad.told["error"]) == (400, "bad_request")
    response = await api.post(call=call, data={"content": "Two"})
    assert response.status_code == 200
    assert response.told["turn"] == {"turn": 1, "name": "message", "status": "done"}
    assert texts(response.told) == ["Two it is."]
    late = await api.post(call=call, data={"content": "Three"})
    assert (late.status_code, late.told["error"]) == (409, "call_closed")


async def test_all_of_a_turn_that_asked_is_told_to_who_posts_its_message_again(
    worker: Worker, chat: Chat
) -> None:
    @chat.on_message
    async def order() -> None:
        answer = await AskUserMessage("How many?").send()
        await Message(f"{answer and answer['output']} it is.").send()

    api, key = Api(), str(uuid4())
    [ask] = (await api.post("a pizza", id=key)).told["events"]
    await api.post(call=ask["data"]["call"], data={"content": "Two"})
    response = await api.post("a pizza", id=key)
    assert (response.status_code, response.told["turn"]["status"]) == (200, "done")
    assert response.told["events"][0]["name"] == "ask"
    assert texts(response.told) == ["Two it is."]


async def next_ask(api: Api) -> dict[str, Any]:
    """The latest question that the session's log has."""
    asks: list[dict[str, Any]] = []

    async def look() -> bool:
        events = (await api.get()).json()["events"]
        asks[:] = [event["data"] for event in events if event["name"] == "ask"]
        return bool(asks)

    await eventually(look)
    return asks[-1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asker", ["a task", "outside"])
async def test_the_answer_to_a_question_that_no_running_turn_asks(
    worker: Worker, chat: Chat, asker: str, stream: bool
) -> None:
    """It is taken, and answered at once: there is no turn whose end would come."""
    answers: list[Any] = []
    turn_is_over = asyncio.Event()

    async def ask() -> None:
        await turn_is_over.wait()
        answers.append(await AskUserMessage("How many?").send())

    async def ask_from_outside(session_id: UUID) -> None:
        async with session_context(session_id):
            await ask()

    @chat.on_message
    async def spawning() -> None:
        if asker == "a task":
            spawn(ask())

    api = Api()
    told = await api.say("a pizza")
    turn_is_over.set()
    outside = None
    if asker == "outside":
        outside = asyncio.create_task(ask_from_outside(UUID(told["session"])))
    call = (await next_ask(api))["call"]
    async with asyncio.timeout(5):
        if stream:
            response = await api.post(call=call, data={"content": "Two"}, headers=STREAM)
            last = (await read(response.streaming_content))[-1]
            assert last == {"type": "turn", "turn": 2, "name": "answer", "status": "done"}
        else:
            response = await api.post(call=call, data={"content": "Two"})
            assert response.status_code == 200
            assert response.told["turn"] == {"turn": 2, "name": "answer", "status": "done"}
    await until(lambda: answers)
    assert answers[0]["output"] == "Two"
    if outside is not None:
        await outside
    await until(lambda: not worker.live)


async def test_the_answer_to_the_turn_that_overtook_the_one_that_waits(
    worker: Worker, chat: Chat
) -> None:
    """Its turn is the one that asked, not the one that has the floor."""

    @chat.on_message
    async def order() -> None:
        await Message("Or:", actions=[Action("other", payload={})]).send()
        answer = await AskUserMessage("How many?").send()
        await Message(f"{answer and answer['output']} it is.").send()

    @chat.on_action("other")
    async def other() -> None:
        answer = await AskUserMessage("What, then?").send()
        await Message(f"{answer and answer['output']} then.").send()

    api = Api()
    first = (await api.post("a pizza")).told
    [message, many] = [event["data"] for event in first["events"]]
    chosen = {key: message["actions"][0][key] for key in ("id", "name", "payload")}
    second = (await api.post(name="action", data=chosen)).told
    assert second["turn"] == {"turn": 2, "name": "action", "status": "running"}
    [what] = [event["data"] for event in second["events"] if event["name"] == "ask"]
    async with asyncio.timeout(5):
        told = (await api.post(call=what["call"], data={"content": "Soup"})).told
    assert told["turn"] == {"turn": 2, "name": "action", "status": "done"}
    assert texts(told) == ["Soup then."]
    told = (await api.post(call=many["call"], data={"content": "Two"})).told
    assert told["turn"] == {"turn": 1, "name": "message", "status": "done"}
    assert texts(told) == ["Two it is."]


# A server that stops


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_the_shutdown_cuts_short(
    worker: Worker,
    chat: Chat,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
) -> None:
    """Whoever follows it is let go, and so is the session; its end is told by the next worker."""
    settings.CHATSESSIONS = {"SHUTDOWN_TIMEOUT": 0.1, "STORE_TIMEOUT": 3}
    begun = asyncio.Event()

    @chat.on_message
    async def hang(message: Message) -> None:
        if message.content == "hang":
            await Message("begun").send()
            begun.set()
            await asyncio.Event().wait()

    api = Api()
    await api.say("hello")
    requests = [asyncio.create_task(_posted(api, "hang", stream=stream))]
    await begun.wait()
    requests.append(asyncio.create_task(_posted(api, "waits", stream=stream)))
    [live] = worker.live.values()
    await until(lambda: len(live.turns.queue) == 1 and len(live.subscribers.followers) == 2)
    async with asyncio.timeout(10):
        await worker.shut_down()
        cut, waits = await asyncio.gather(*requests)
    assert (cut[-1], waits[-1]) == ("running", "running")
    assert "begun" in cut
    assert "Not everything" not in caplog.text
    row = await ChatSession.objects.aget()
    assert (row.worker_id, row.running, row.accepted) == (None, 2, 3)


async def _posted(api: Api, content: str, *, stream: bool) -> list[str]:
    """The texts that came of it, and how its turn stands."""
    if not stream:
        response = await api.post(content)
        assert response.status_code == (
            202 if response.told["turn"]["status"] == "running" else 200
        )
        return [*texts(response.told), response.told["turn"]["status"]]
    frames = await api.stream(content)
    events = [one for one in frames if one["type"] == "event"]
    said = [one["data"]["content"] for one in events if one["name"] == "message"]
    ends = [one["status"] for one in frames if one["type"] == "turn" and one["turn"] != 1]
    return [*said, *(ends[-1:] or ["running"])]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_ends_during_the_shutdown(
    worker: Worker, chat: Chat, stream: bool
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def work() -> None:
        begun.set()
        await go.wait()
        await Message("in time").send()

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(_posted(api, "x", stream=stream))
    await begun.wait()
    down = asyncio.create_task(worker.shut_down())
    await until(lambda: worker.closing)
    go.set()
    assert await request == ["in time", "done"]
    await down


# Who may come in


async def test_a_login_and_a_permission(
    worker: Worker, counter: Chat, urls: list[URLPattern]
) -> None:
    view = ChatView.as_view(
        chat=counter, login_required=True, permission_required=iter(["auth.view_user"])
    )
    urls[:] = [path("chat/", view)]
    client = AsyncClient()
    for response in (await Api(client).post("a"), await client.get(URL)):
        assert (response.status_code, response.json()["error"]) == (401, "unauthorized")
    ada = await get_user_model().objects.acreate_user("ada")
    await client.aforce_login(ada)
    response = await Api(client).post("a")
    assert (response.status_code, response.told["error"]) == (403, "forbidden")
    assert not await ChatSession.objects.aexists()
    permission = await Permission.objects.aget(codename="view_user")
    await ada.user_permissions.aadd(permission)
    assert texts(await Api(client).say("a")) == ["hello", "1: a"]


async def test_the_application_has_the_last_word(
    worker: Worker, counter: Chat, urls: list[URLPattern]
) -> None:
    class Picky(ChatView):
        async def authorize(self, request: HttpRequest, session: Session) -> bool:
            return request.headers.get("X-Word") == "please" and session.chat == counter.name

    urls[:] = [path("chat/", Picky.as_view(chat=counter))]
    response = await Api().post("a")
    assert (response.status_code, response.told["error"]) == (403, "forbidden")
    assert not worker.live
    api = Api()
    assert (await api.post("a", headers={"X-Word": "please"})).status_code == 200
    assert (await api.post("b")).status_code == 403


async def test_an_authorize_that_fails_lets_nobody_in(
    worker: Worker, chat: Chat, urls: list[URLPattern], caplog: pytest.LogCaptureFixture
) -> None:
    """And tells nobody why: neither the client, nor the log what the client's key is."""

    class Broken(ChatView):
        async def authorize(self, request: HttpRequest, session: Session) -> bool:
            raise ValueError(f"no such key: {session.env['KEY']}")

    urls[:] = [path("chat/", Broken.as_view(chat=chat))]
    response = await Api().post("a", env={"KEY": "very secret"})
    assert (response.status_code, response.told["error"]) == (403, "forbidden")
    assert response.told["detail"] == "This is not allowed."
    assert "authorize() failed" in caplog.text
    assert "no such key" in caplog.text
    assert "very secret" not in caplog.text
    assert not await ChatSession.objects.aexists()


def test_a_body_shows_no_secret() -> None:
    body = Body(content="hush", session="5f0c", token="5f0c.mV3w", env={"KEY": "very secret"})
    for shown in (repr(body), str(body), str(body.__rich_repr__())):
        assert "5f0c" in shown
        for secret in ("hush", "mV3w", "KEY", "very secret"):
            assert secret not in shown


async def test_a_stranger_is_asked_to_log_in_before_keys_are_asked_for(
    worker: Worker, urls: list[URLPattern]
) -> None:
    keyed = Chat("tests.keyed", user_env=["KEY"])
    urls[:] = [path("chat/", ChatView.as_view(chat=keyed, login_required=True))]
    client = AsyncClient()
    response = await Api(client).post("a")
    assert (response.status_code, response.told["error"]) == (401, "unauthorized")
    await client.aforce_login(await get_user_model().objects.acreate_user("ada"))
    response = await Api(client).post("a")
    assert (response.status_code, response.told["error"]) == (403, "missing_env")


async def test_keys_that_the_chat_needs(worker: Worker, urls: list[URLPattern]) -> None:
    keyed = Chat("tests.keyed", user_env=["KEY"])

    @keyed.on_message
    async def tell() -> None:
        await Message(",".join(user_session["env"])).send()

    urls[:] = [path("chat/", ChatView.as_view(chat=keyed))]
    api = Api()
    response = await api.post("a")
    assert (response.status_code, response.told["error"]) == (403, "missing_env")
    assert response.told["detail"] == "KEY"
    assert texts(await api.say("a", env={"KEY": "secret", "OTHER": "x"})) == ["KEY"]


# Beside a websocket


async def test_a_session_with_a_connection_takes_nothing_by_http(
    worker: Worker, counter: Chat
) -> None:
    line = await Line.open(worker, counter)
    api = Api()
    asked = {"session": str(line.live.id), "token": line.token}
    response = await api.post("x", **asked)
    assert (response.status_code, response.told["error"]) == (409, "session_connected")
    assert line.closed == []
    assert await line.run("message", {"content": "a"}) == "done"
    line.leave()
    told = await api.say("b", **asked)
    assert texts(told) == ["2: b"]
    assert told["turn"]["turn"] == 2


async def test_both_see_what_is_emitted(worker: Worker, chat: Chat) -> None:
    """A websocket that comes while a request is being answered."""
    begun, go = asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def work() -> None:
        begun.set()
        await go.wait()
        await Message("for both").send()

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(api.say("x"))
    await begun.wait()
    [live] = worker.live.values()
    line = await Line.open(worker, chat, live.id, api.token)
    go.set()
    assert texts(await request) == ["for both"]
    await until(lambda: line.texts == ["for both"])
    assert line.outcomes == {2: "done"}


async def test_what_a_websocket_repeats_is_no_news_for_a_request(
    worker: Worker, chat: Chat
) -> None:
    """Its answer is for the websocket. An id of before would make an EventSource begin there."""
    begun, go = asyncio.Event(), asyncio.Event()

    @chat.on_message
    async def work() -> None:
        begun.set()
        await go.wait()

    api = Api()
    await api.post(name="nothing")
    request = asyncio.create_task(api.stream("x"))
    await begun.wait()
    [live] = worker.live.values()
    line = await Line.open(worker, chat, live.id, api.token)
    line.send_as(1, "nothing")
    await until(lambda: any(getattr(frame, "n", None) == 1 for frame in line.frames))
    go.set()
    assert 1 not in [frame.get("seq") for frame in await request]


async def test_a_websocket_learns_which_numbers_were_taken(worker: Worker, counter: Chat) -> None:
    """What its client has not heard of is sent again under a new number, and is not lost."""
    application = ChatConsumer.as_asgi(chat=counter)
    async with ChatCommunicator(application, "/") as chat:
        await chat.send("a")
        await chat.wait_for_turn()
        session, token = str(chat.session_id), chat.token
        await chat.drop()
        api = Api()
        told = await api.say("by http", session=session, token=token)
        assert told["turn"]["turn"] == 2
        [row] = [row async for row in ChatSession.objects.all()]
        assert row.posted_from == 2
        await chat.resume()
        await chat.send("b")
        await chat.wait_for_turn()
        assert chat.messages[-1].content == "3: b"
    row = await ChatSession.objects.aget()
    assert (row.accepted, row.posted_from) == (3, None)


# Under WSGI


def test_under_wsgi(counter: Chat) -> None:
    """Each request has an event loop and a worker of its own, and leaves nothing behind."""
    client = Client(enforce_csrf_checks=True)
    first = client.post(URL, {"content": "a"}, content_type="application/json").json()
    assert texts(first) == ["hello", "1: a"]
    headers = {"Authorization": f"Bearer {first['token']}"}
    second = client.post(
        URL, {"content": "b"}, content_type="application/json", headers=headers
    ).json()
    assert texts(second) == ["2: b"]
    stream = client.post(
        URL,
        {"content": "c"},
        content_type="application/json",
        headers=headers | STREAM,
    )
    frames = frames_of(stream.content)
    assert (frames[0]["type"], frames[-1]["status"]) == ("welcome", "done")
    assert client.get(URL, {"after": 100}, headers=headers).json()["events"] == []
    assert client.delete(URL, headers=headers).status_code == 204
    assert client.get(URL, headers=headers).status_code == 410
    row = ChatSession.objects.get()
    assert (row.status, row.worker_id) == ("ended", None)
