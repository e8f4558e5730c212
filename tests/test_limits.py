"""What one client may have of a worker: counted in bytes, rows, queries and frames."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import pytest
from asgiref.sync import markcoroutinefunction, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db.models import TextField
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils import timezone

from chatsessions import AskUserMessage, Chat, Message, context
from chatsessions.consumers import SessionConsumer
from chatsessions.exceptions import FrameError
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession
from chatsessions.storage.log import CHUNK_BYTES
from chatsessions.workers.limits import Limits, address_of
from chatsessions.workers.worker import Worker

from .support.database import noted_statements
from .support.files import stored_file
from .support.page import Page
from .support.sessions import eventually, until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cache")]

STREAM = {"Accept": "text/event-stream"}
KIB = 1024
#: No test takes so long that a bucket which gets this much a second is noticeably fuller.
SLOW = 0.0001


@pytest.fixture
def bot(chat: Chat) -> Chat:
    """Says what it hears, and as many texts of a length as it is asked for."""

    @chat.on_message
    async def echo(message: Message) -> None:
        await Message(message.content).send()

    @chat.on_event("fill")
    async def fill(data: dict[str, int]) -> None:
        for _ in range(data["count"]):
            await context.emitter.emit("text", "x" * data["size"])

    @chat.on_event("wait")
    async def wait(_data: Any) -> None:
        await asyncio.sleep(3600)

    return chat


@pytest.fixture(autouse=True)
def urls(bot: Chat, settings: Settings) -> None:
    settings.ROOT_URLCONF = (
        path("chat/", ChatView.as_view(chat=bot)),
        path("chats/", include("chatsessions.urls")),
    )
    settings.MIDDLEWARE = [f"{__name__}.RealIP"]


class RealIP:
    """What a project does whose proxy says in a header who asks."""

    async_capable, sync_capable = True, False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> Any:
        request.META["REMOTE_ADDR"] = request.headers["X-Real-IP"]
        return await self.get_response(request)


class Visitor:
    """A client by requests, from an address of its own, that keeps its token."""

    def __init__(self, ip: str = "192.0.2.1", token: str = "") -> None:
        self.token = token
        self._ip = ip
        self._client = AsyncClient()

    async def request(
        self, method: str, headers: Any = None, *, url: str = "/chat/", **given: Any
    ) -> Any:
        headers = {"X-Real-IP": self._ip} | (headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        call = getattr(self._client, method)
        return await call(url, headers=headers, **given)

    async def post(self, headers: Any = None, **body: Any) -> Any:
        response = await self.request("post", headers, data=body, content_type="application/json")
        if response.headers["Content-Type"] == "application/json":
            self.token = response.json().get("token") or self.token
        return response

    async def get(self, headers: Any = None, after: int = 0) -> Any:
        return await self.request("get", headers, data={"after": after})

    @classmethod
    async def with_log(cls, count: int, size: int, **kwargs: Any) -> Visitor:
        """A session with ``count`` entries of ``size`` bytes each."""
        visitor = cls(**kwargs)
        response = await visitor.post(name="fill", data={"count": count, "size": size})
        assert response.status_code == 200, response.content
        return visitor


async def read(response: Any) -> list[dict[str, Any]]:
    """The frames of a stream that is read to its end."""
    return frames_of(b"".join([part async for part in response.streaming_content]))


def frames_of(body: bytes) -> list[dict[str, Any]]:
    """The frames of server-sent events."""
    lines = body.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


# Replays


async def test_unread_replays_take_a_chunk_of_bytes_each_and_not_two_hundred_entries(
    worker: Worker,
) -> None:
    visitor = await Visitor.with_log(count=40, size=100 * KIB)
    tracemalloc.start()
    try:
        unread = [(await visitor.get(STREAM)).streaming_content for _ in range(10)]
        parts = [aiter(content) for content in unread]
        for part in parts:
            assert b"welcome" in await anext(part)
            assert b'"name":"fill"' in await anext(part)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 10 * (CHUNK_BYTES + 200 * KIB) < 10 * 40 * 100 * KIB / 5
    for part in parts:
        await part.aclose()


async def test_a_stream_is_so_long_and_is_resumed_without_a_hole(
    worker: Worker, settings: Settings
) -> None:
    """Under a server that waits for no reader that is all that an unread stream keeps in memory."""
    settings.CHATSESSIONS = {"MAX_STREAM_BYTES": 64 * KIB}
    visitor = await Visitor.with_log(count=20, size=10 * KIB)
    seqs: list[int] = []
    sizes = []
    while (response := await visitor.get(STREAM | {"Last-Event-ID": str(len(seqs))})) and (
        response.status_code == 200
    ):
        frames = await read(response)
        assert frames[0]["type"] == "welcome"
        sizes.append(sum(len(json.dumps(frame)) for frame in frames))
        seqs += [frame["seq"] for frame in frames[1:]]
    assert seqs == list(range(1, 22))
    assert len(sizes) == 3
    assert max(sizes) < (64 + 20) * KIB


async def test_a_stream_ends_before_entries_that_were_dropped_while_it_was_read(
    worker: Worker, settings: Settings
) -> None:
    """It went on behind them, and its reader could not tell."""
    settings.CHATSESSIONS = {"MAX_LOG_ENTRIES": 250}
    visitor = await Visitor.with_log(count=249, size=10)
    response = await visitor.get(STREAM)
    parts = aiter(response.streaming_content)
    assert b"welcome" in await anext(parts)
    assert b'"seq":1,' in await anext(parts)  # and the first 200 were read
    await visitor.post(name="fill", data={"count": 220, "size": 10})
    told = [frame async for part in parts for frame in frames_of(part)]
    assert [frame["seq"] for frame in told] == list(range(2, 201))
    welcome, *rest = await read(await visitor.get(STREAM, after=200))
    assert welcome["first"] == rest[0]["seq"] > 201


async def test_a_stream_that_nobody_reads_lets_its_session_go(
    worker: Worker, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"HEARTBEAT": 0.02}
    visitor = await Visitor.with_log(count=3, size=10)
    response = await visitor.get(STREAM)
    parts = aiter(response.streaming_content)
    await anext(parts)
    assert worker.live
    await until(lambda: not worker.live)
    assert [part async for part in parts] == []


async def test_a_few_streams_are_open_for_a_session_at_a_time(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"MAX_STREAMS": 2, "ADDRESS_FACTOR": 2}
    visitor = await Visitor.with_log(count=1, size=10)
    other = await Visitor.with_log(count=1, size=10)
    third = await Visitor.with_log(count=1, size=10)
    streams = [await visitor.get(STREAM), await visitor.get(STREAM)]
    for refused in (await visitor.get(STREAM), await visitor.post(STREAM, content="not taken")):
        assert (refused.status_code, refused.json()["error"]) == (429, "busy")
        assert refused.json()["retry_after"] == 1
    assert (await visitor.get()).json()["head"] == 2
    elsewhere = await Visitor(ip="192.0.2.2", token=visitor.token).get(STREAM)
    assert elsewhere.status_code == 200
    # What all sessions of an address may have together is twice as many.
    streams += [await other.get(STREAM), await other.get(STREAM), elsewhere]
    assert (await third.get(STREAM)).status_code == 429
    for stream in streams:
        await read(stream)
    assert (await third.get(STREAM)).status_code == 200
    assert (await visitor.get(STREAM)).status_code == 200


async def test_a_session_is_not_read_again_and_again_for_nothing(
    worker: Worker, settings: Settings
) -> None:
    """Few bytes of requests bring no more of the log than its pace allows."""
    settings.CHATSESSIONS = {"REPLAY_BURST_BYTES": 30 * KIB, "REPLAY_BYTES_PER_SECOND": KIB}
    visitor = await Visitor.with_log(count=10, size=20 * KIB)
    brought = 0
    refused = []
    for _ in range(50):
        response = await visitor.get()
        brought += len(response.content)
        if response.status_code != 200:
            refused.append(response)
    assert brought < 300 * KIB
    assert {response.status_code for response in refused} == {429}
    assert 100 < refused[0].json()["retry_after"] <= 200
    assert int(refused[0].headers["Retry-After"]) > 100
    # Somebody else's session is as fast as ever.
    other = await Visitor.with_log(count=1, size=10)
    assert (await other.get()).status_code == 200


async def test_a_replay_over_a_websocket_waits_for_its_pace(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"REPLAY_BURST_BYTES": KIB, "REPLAY_BYTES_PER_SECOND": KIB}
    visitor = await Visitor.with_log(count=12, size=100 * KIB)
    tab = await Page(bot).connect()
    session, _, _ = visitor.token.partition(".")
    tab.put("hello", session=session, token=visitor.token)
    await until(lambda: tab.of_type("event"))
    tab.put("ping")
    await until(lambda: tab.of_type("pong"))
    # One chunk, and no second one before the first has had its 500 seconds.
    assert sum(len(json.dumps(frame)) for frame in tab.told) < CHUNK_BYTES + 100 * KIB
    assert tab.is_open
    await tab.leave()


# Requests that load a session


async def test_a_flood_of_hellos_is_told_when_to_come_again(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"READS_PER_SECOND": SLOW, "READ_BURST": 5}
    first = await Page.visit(bot)
    theirs = first.credentials
    answered = 0
    for _ in range(20):
        tab = await Page.visit(bot, **theirs)
        if not tab.welcomed:
            break
        answered += 1
        theirs = tab.credentials
    assert answered == 5
    error = tab.of_type("error")[0]
    assert (error["code"], tab.close_code) == ("rate_limited", 4013)
    assert error["retry_after"] > 1000
    assert not tab.of_type("welcome")
    # Nobody else is concerned, and the client itself is not at another address.
    assert (await Page.visit(bot)).welcomed
    moved = await Page.visit(bot, ip="192.0.2.2", **theirs)
    assert moved.of_type("welcome")[0]["resumed"] is True


async def test_sessions_of_an_address_share_a_larger_pace(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"READS_PER_SECOND": SLOW, "READ_BURST": 2, "ADDRESS_FACTOR": 3}
    statuses = []
    for _ in range(4):
        visitor = await Visitor.with_log(count=1, size=1)
        statuses += [(await visitor.get()).status_code for _ in range(2)]
    assert statuses == [200] * 6 + [429] * 2


async def test_what_is_refused_takes_nothing_from_others_at_the_address(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    """One page in a loop does not lock out everybody behind the same router."""
    settings.CHATSESSIONS = {"READS_PER_SECOND": SLOW, "READ_BURST": 2, "ADDRESS_FACTOR": 3}
    wild, quiet = [await Visitor.with_log(count=1, size=1) for _ in range(2)]
    statuses = [(await wild.get()).status_code for _ in range(20)]
    assert statuses == [200] * 2 + [429] * 18
    assert (await quiet.get()).status_code == 200


async def test_whoever_makes_up_sessions_makes_the_server_remember_no_more_than_is_answered(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    """Else the paces of all others would be forgotten for those of sessions that are none."""
    settings.CHATSESSIONS = {"READS_PER_SECOND": SLOW, "READ_BURST": 1, "ADDRESS_FACTOR": 3}
    before = len(worker.limits)
    for _ in range(20):
        await Page.visit(bot, session=str(uuid4()), token="x")
    # Three of the address; and for each that was answered what was looked for, and the replay and
    # the events of the session that it got instead.
    assert len(worker.limits) - before <= 3 + 3 * 3


async def test_a_flood_of_posts_loads_the_session_no_more_often_than_it_is_fast(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"EVENTS_PER_SECOND": SLOW, "EVENT_BURST": 3}
    visitor = await Visitor.with_log(count=1, size=1)
    statuses = [(await visitor.post(content="hi")).status_code for _ in range(20)]
    assert statuses == [200] * 2 + [429] * 18
    row = await ChatSession.objects.aget()
    # Each time that it is loaded it is claimed, by another generation.
    assert row.generation <= 1 + 2 * 3


# The buckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_no_more_than_so_many_buckets_are_remembered() -> None:
    clock = Clock()
    limits = Limits(clock, max_buckets=100)
    for key in range(1000):
        limits.bucket(key, rate=1, burst=5).take(clock())
    assert len(limits) == 100
    assert limits.bucket(999, rate=1, burst=5).wait(clock(), 5) == 1
    assert limits.bucket(0, rate=1, burst=5).wait(clock(), 5) == 0


def test_a_bucket_that_is_in_use_is_not_the_one_that_goes() -> None:
    clock = Clock()
    limits = Limits(clock, max_buckets=10)
    assert [limits.bucket("mine", rate=1, burst=2).take(clock()) for _ in range(3)] == [0, 0, 1]
    for key in range(100):
        limits.bucket(key, rate=1, burst=2).take(clock())
        assert limits.bucket("mine", rate=1, burst=2).take(clock()) == 1


@pytest.mark.parametrize(
    ("ip", "counted"),
    [
        (None, None),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_a_host_has_one_address_however_many_it_chooses(
    ip: str | None, counted: str | None
) -> None:
    assert address_of(ip) == counted


async def test_a_machine_that_is_held_up_refuses_nobody_who_comes_first(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Between any two readings of the clock, time passes."""

    class Ticking(Clock):
        def __call__(self) -> float:
            self.now += 0.1
            return self.now

    settings.CHATSESSIONS = {
        "NEW_SESSIONS_PER_MINUTE": 1,
        "READS_PER_SECOND": 0.01,
        "READ_BURST": 1,
        "ADDRESS_FACTOR": 1,
        "SEARCHES_PER_MINUTE": 1,
    }
    limits, ip = Limits(Ticking()), "192.0.2.1"
    first = (partial(limits.new_session, ip), partial(limits.read, uuid4(), ip))
    for ask in (*first, partial(limits.search, "ada")):
        ask()
        with pytest.raises(FrameError, match="too many"):
            ask()
    assert "NEW_SESSIONS_PER_MINUTE" in caplog.text


async def test_where_the_address_is_not_known_sessions_do_not_share_a_pace(
    settings: Settings,
) -> None:
    settings.CHATSESSIONS = {"READS_PER_SECOND": SLOW, "READ_BURST": 1, "ADDRESS_FACTOR": 1}
    limits = Limits(Clock())
    for _ in range(10):
        limits.read(uuid4(), None)


# Logs


async def test_a_log_has_no_more_than_so_many_bytes_however_few_its_entries(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    """Also where the session is let go after each request, and nobody holds its log in memory."""
    settings.CHATSESSIONS = {"MAX_LOG_BYTES": 1024 * KIB}
    visitor = await Visitor.with_log(count=5, size=100 * KIB)
    for _ in range(8):
        await visitor.post(name="fill", data={"count": 5, "size": 100 * KIB})
        await until(lambda: not worker.live)
        row = await ChatSession.objects.aget()
        kept = [len(data) async for data in _stored(row)]
        assert row.log_bytes == sum(kept) <= (1024 + 52 + 500) * KIB
    assert row.head == 9 * 6
    assert sum(kept) > 900 * KIB
    # What is not kept is told as a gap, as it is beyond MAX_LOG_ENTRIES.
    answer = (await visitor.get()).json()
    assert answer["first"] == row.head - len(kept) + 1 == answer["events"][0]["seq"]


async def test_entries_that_are_too_many_are_no_bytes_of_the_log_any_more(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"MAX_LOG_ENTRIES": 10}
    visitor = await Visitor.with_log(count=50, size=10)
    await visitor.post(content="ä" * 10)
    await until(lambda: not worker.live)
    row = await ChatSession.objects.aget()
    kept = [len(data) async for data in _stored(row)]
    assert len(kept) <= 11 + 2
    assert row.log_bytes == sum(kept)


async def test_what_waits_is_kept_though_the_log_is_too_long(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    """After a crash it is run from its entry."""
    settings.CHATSESSIONS = {"MAX_LOG_BYTES": 1024 * KIB, "MAX_PENDING_BYTES": 4096 * KIB}
    tab = await Page(bot).start()
    tab.put("event", n=1, name="wait", data=None)
    for n in range(2, 14):
        tab.put("event", n=n, name="message", data={"content": "x" * 200 * KIB})
    await until(lambda: len(tab.of_type("accepted")) == 13)
    row = await ChatSession.objects.aget()
    assert [entry.n async for entry in row.events.order_by("seq")] == list(range(1, 14))
    await tab.leave()


async def _stored(row: ChatSession) -> AsyncIterator[bytes]:
    async for entry in row.events.order_by("seq").annotate(text=Cast("data", TextField())):
        yield entry.text.encode()


# Messages that are posted again


async def test_a_repeated_id_costs_no_more_than_its_pace_and_reads_no_log(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"EVENTS_PER_SECOND": SLOW, "EVENT_BURST": 5}
    visitor = await Visitor.with_log(count=30, size=10)
    known = str(uuid4())
    answers = []
    with noted_statements() as statements:
        for _ in range(9):
            answers.append(await visitor.post(content="once", id=known))
            await until(lambda: not worker.live)
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 5
    assert {answer.json()["turn"]["turn"] for answer in answers[:4]} == {2}
    assert answers[-1].json()["retry_after"] > 1000
    assert [sql for sql in statements if "LIKE" in sql] == []
    looks = [sql for sql in statements if '"key" = ' in sql]
    assert len(looks) == 4


async def test_an_id_is_known_however_it_is_written_and_whoever_has_brought_it(
    worker: Worker, bot: Chat
) -> None:
    known = uuid4()
    tab = await Page(bot).start()
    data = {"content": "by websocket", "id": str(known).upper()}
    tab.put("event", n=1, name="message", data=data)
    await until(lambda: any(frame["status"] == "done" for frame in tab.of_type("turn")))
    theirs = tab.credentials
    await tab.leave()
    visitor = Visitor()
    for id_ in (known.hex, str(known)):
        answer = (await visitor.post(content="by HTTP", id=id_, **theirs)).json()
        assert (answer["turn"]["turn"], answer["turn"]["status"]) == (1, "done")
    assert (await visitor.post(content="another", id=str(uuid4()), **theirs)).json()["turn"][
        "turn"
    ] == 2


# Answers


async def test_answers_that_nobody_asked_for_do_not_overtake(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 5, "EVENT_BURST": 1000}
    tab = await Page(bot).start()
    tab.put("event", n=1, name="wait", data=None)
    for n in range(2, 100):
        tab.put("answer", n=n, call="nobody's", data=None)
    tab.put("ping")
    await until(lambda: tab.of_type("pong"))
    codes = Counter(error["code"] for error in tab.of_type("error"))
    assert set(codes) == {"call_closed", "busy"}
    assert codes["call_closed"] <= 6
    row = await ChatSession.objects.aget()
    assert row.accepted <= 7
    await tab.leave()


async def test_as_many_answers_as_a_turn_asks_for_are_one_line_of_the_row(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    """They were all written again with each answer: a megabyte after 72,000."""
    settings.CHATSESSIONS = {"EVENT_BURST": 1000, "MAX_PENDING_EVENTS": 5}

    @bot.on_event("quiz")
    async def quiz(_data: Any) -> None:
        while True:
            await AskUserMessage("And?").send()

    tab = await Page(bot).start()
    tab.put("event", n=1, name="quiz", data=None)
    for n in range(2, 52):
        asks = lambda: [f["data"]["call"] for f in tab.of_type("event") if f["name"] == "ask"]  # noqa: E731
        await until(lambda n=n, asks=asks: len(asks()) == n - 1)
        tab.put("answer", n=n, call=asks()[-1], data={"content": "yes"})
    await until(lambda: len(tab.of_type("accepted")) == 51)
    row = await ChatSession.objects.aget()
    assert (row.accepted, row.handled, row.handled_ahead) == (51, 0, [2, -51])
    assert tab.of_type("error") == []
    await tab.leave()


# What is too large, or nested too deeply


class Counted(str):
    """A text that counts how often it is encoded."""

    __slots__ = ()
    encoded: ClassVar[int] = 0

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        Counted.encoded += 1
        return super().encode(*args, **kwargs)


async def test_a_frame_of_many_megabytes_is_not_encoded_to_be_counted(
    worker: Worker, bot: Chat
) -> None:
    tab = await Page(bot).connect()
    await tab.send_text(Counted("x" * 16 * 1024 * KIB))
    await tab.closed()
    assert tab.of_type("error")[0]["code"] == "too_large"
    assert Counted.encoded == 0
    await tab.leave()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        '{"content": ' + DEEP,
        '{"name": "wait", "data": ' + DEEP + "]" * 100_000 + "}",
        '{"name": "wait", "data": ' + DEEP[:65] + "]" * 65 + "}",
        '{"call": "x", "data": ' + DEEP + "]" * 100_000 + "}",
        '{"name": "wait", "data": 1, "unknown": ' + DEEP + "]" * 100_000 + "}",
    ],
)
async def test_deep_json_is_a_bad_request(
    worker: Worker, settings: Settings, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    settings.CHATSESSIONS = {"MAX_FRAME_BYTES": 1024 * KIB}
    visitor = await Visitor.with_log(count=1, size=1)
    response = await visitor.request("post", data=body, content_type="application/json")
    assert (response.status_code, response.json()["error"]) == (400, "bad_request")
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(
    "frame", [DEEP, '{"type": "event", "n": 1, "name": "wait", "data": ' + DEEP]
)
async def test_deep_json_is_a_bad_frame(
    worker: Worker, bot: Chat, caplog: pytest.LogCaptureFixture, frame: str
) -> None:
    tab = await Page(bot).start()
    await tab.send_text(frame)
    await until(lambda: tab.of_type("error"))
    assert tab.of_type("error")[0]["code"] == "bad_frame"
    assert [record for record in caplog.records if record.exc_info] == []
    await tab.leave()


# New sessions


async def test_an_address_makes_no_more_than_so_many_anonymous_sessions(
    worker: Worker, settings: Settings, bot: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHATSESSIONS = {"NEW_SESSIONS_PER_MINUTE": 3}
    tabs = [await Page.visit(bot) for _ in range(3)]
    refused = await Page.visit(bot)
    error = refused.of_type("error")[0]
    assert (error["code"], refused.close_code) == ("rate_limited", 4013)
    assert 0 < error["retry_after"] <= 20
    # Whatever is asked for that is not there makes a new session, too, and so does a request.
    settings.CHATSESSIONS = {"NEW_SESSIONS_PER_MINUTE": 1}
    tabs.append(await Page.visit(bot, ip="192.0.2.9"))
    unknown = await Page.visit(bot, ip="192.0.2.9", session=str(uuid4()), token="x")
    assert unknown.close_code == 4013
    by_http = await Visitor(ip="192.0.2.9").post(content="hi")
    assert (by_http.status_code, by_http.json()["error"]) == (429, "rate_limited")
    assert 30 < int(by_http.headers["Retry-After"]) <= 60
    assert await ChatSession.objects.acount() == 4
    # Who has a session has it still, and nobody else is concerned.
    back = await Page.visit(bot, ip="192.0.2.9", **tabs[-1].credentials)
    assert back.of_type("welcome")[0]["resumed"] is True
    assert (await Page.visit(bot, ip="192.0.2.2")).of_type("welcome")
    warnings = [one.getMessage() for one in caplog.records if "NEW_SESSIONS" in one.getMessage()]
    assert [text.count("192.0.2.9") for text in warnings] == [0, 1]


async def test_who_is_logged_in_is_counted_as_a_user_and_not_by_the_address(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.CHATSESSIONS = {"NEW_SESSIONS_PER_MINUTE": 1}
    user = await get_user_model().objects.acreate(username="ada")
    for _ in range(3):
        tab = await Page(bot, user=user).start()
        assert tab.of_type("welcome")
        await tab.leave()


async def test_sessions_in_which_nothing_happened_end_and_go_after_minutes(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    used, unused, with_file, new = [await Page.visit(bot) for _ in range(4)]
    visitor = Visitor()
    await visitor.post(content="hi", **used.credentials)
    row = await ChatSession.objects.aget(pk=with_file.credentials["session"])
    await sync_to_async(stored_file)(row)
    await until(lambda: not worker.live)
    old = [tab.credentials["session"] for tab in (used, unused, with_file)]
    ago = timezone.now() - timedelta(minutes=11)
    await ChatSession.objects.filter(pk__in=old).aupdate(disconnected_at=ago)
    await sync_to_async(call_command)("clearchatsessions", verbosity=0)
    ended = ChatSession.objects.ended()
    assert [str(row.pk) async for row in ended] == [unused.credentials["session"]]
    await ended.aupdate(ended_at=ago)
    await sync_to_async(call_command)("clearchatsessions", verbosity=0)
    left = {str(row.pk) async for row in ChatSession.objects.all()}
    assert left == {tab.credentials["session"] for tab in (used, with_file, new)}


async def test_a_session_with_a_protocol_of_its_own_is_used_as_soon_as_its_client_speaks(
    worker: Worker,
) -> None:
    class Own(SessionConsumer):
        async def receive(self, **_: Any) -> None:
            await self.send(text_data="{}")

    for count, speaks in enumerate((False, True), start=1):
        tab = await Page(Own.as_asgi()).connect()
        await eventually(partial(_are_stored, count))
        if speaks:
            await tab.send_text("anything goes")
            await until(lambda tab=tab: tab.problems)  # no frame of the protocol
        await tab.leave()
        await until(lambda: not worker.live)
    rows = [row.pk async for row in ChatSession.objects.order_by("created_at")]
    assert [row.pk async for row in ChatSession.objects.unused()] == rows[:1]


async def _are_stored(count: int) -> bool:
    return await ChatSession.objects.acount() == count


# What is stored of tokens


async def test_django_sessions_alone_keep_a_token_readable_as_the_docs_say(
    worker: Worker, settings: Settings, bot: Chat
) -> None:
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        *settings.MIDDLEWARE,
    ]
    browser = Visitor()
    token = (await browser.post(content="hi")).json()["token"]
    await Visitor(token=token).post(content="hi")
    kept = [row.get_decoded() async for row in Session.objects.all()]
    assert [data["chatsessions"][bot.name]["token"] for data in kept] == [token]
    session, _, secret = token.partition(".")
    row = await ChatSession.objects.filter(pk=session).values().aget()
    assert [name for name, value in row.items() if secret in str(value)] == []


# Under WSGI


def test_requests_under_wsgi_are_counted_together(settings: Settings, bot: Chat) -> None:
    """Each has an event loop of its own, and counted alone: there was no limit at all."""
    settings.CHATSESSIONS = {
        "NEW_SESSIONS_PER_MINUTE": 2,
        "READS_PER_SECOND": SLOW,
        "READ_BURST": 2,
        "EVENTS_PER_SECOND": SLOW,
        "EVENT_BURST": 3,
        "SEARCHES_PER_MINUTE": 2,
    }
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]

    def post(**headers: str) -> Any:
        body, client = {"content": "hi"}, Client(REMOTE_ADDR="192.0.2.77")
        return client.post("/chat/", body, content_type="application/json", headers=headers)

    visits = [post() for _ in range(3)]
    assert [response.status_code for response in visits] == [200, 200, 429]
    bearer = {"Authorization": f"Bearer {visits[0].json()['token']}"}
    assert [post(**bearer).status_code for _ in range(3)] == [200, 200, 429]
    client = Client(REMOTE_ADDR="192.0.2.77")
    reads = [client.get("/chat/", headers=bearer) for _ in range(3)]
    assert [response.status_code for response in reads] == [200, 200, 429]
    client.force_login(get_user_model().objects.create(username="ada"))
    searches = [client.get("/chats/threads/", {"q": "hi"}) for _ in range(3)]
    assert [response.status_code for response in searches] == [200, 200, 429]


def test_other_limits_count_from_the_beginning(settings: Settings, bot: Chat) -> None:
    """All tests of a process count together under WSGI; these are two, with limits of their own."""
    settings.MIDDLEWARE = []
    body, client = {"content": "hi"}, Client(REMOTE_ADDR="192.0.2.79")
    for most in (1, 2):
        settings.CHATSESSIONS = {"NEW_SESSIONS_PER_MINUTE": most}
        told = []
        for _ in range(most + 1):
            told.append(client.post("/chat/", body, content_type="application/json").status_code)
        assert told == [200] * most + [429]
