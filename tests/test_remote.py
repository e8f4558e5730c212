"""One session, two workers: who owns it, whose connection it has, and how it moves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import F

from chatsessions import Chat, Message, Step, user_session
from chatsessions.cluster import owner
from chatsessions.cluster.commands import Failed, Hint, HintPart, encode
from chatsessions.cluster.connect_request import ConnectRequest
from chatsessions.cluster.connected import ConnectedSession
from chatsessions.cluster.follower import OpenStreams, TurnStatuses
from chatsessions.exceptions import SessionUnavailable
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Handled
from chatsessions.sessions.session import LiveSession
from chatsessions.signals import session_disconnected
from chatsessions.storage.log import Entry
from chatsessions.websocket.subscriber import WebsocketSubscriber
from chatsessions.workers.stored import BUSY
from chatsessions.workers.worker import Worker, get_worker

from .support.database import locked
from .support.layer import LossyLayer
from .support.sessions import Client, connected, eventually, hold_up, running_worker, until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


class Tab:
    """A client that speaks the protocol to a worker, without a socket between them."""

    def __init__(self, worker: Worker, chat: Chat) -> None:
        self.worker = worker
        self.chat = chat
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.n = 0
        self.attachment: WebsocketSubscriber | None = None

    @property
    def served(self) -> LiveSession | ConnectedSession:
        assert self.attachment is not None
        return self.attachment.served

    @classmethod
    async def open(
        cls, worker: Worker, chat: Chat, back: Tab | None = None, *, user: Any = None
    ) -> Tab:
        tab = cls(worker, chat)
        asked = None if back is None else back.welcome["session"]
        token = None if back is None else back.welcome["token"]
        arrival = ConnectRequest(user=user or AnonymousUser(), session_id=asked, token=token)
        opened = await worker.open(chat, arrival, relays=True)
        served = opened.served
        attachment = tab.attachment = WebsocketSubscriber(
            served, tab, position=0, replay=get_worker().limits.replay(served.id, None)
        )
        given = attachment.served.client.issue_token(token)

        def welcome() -> None:
            attachment.welcome(given, resumed=opened.resumed, reason=opened.reason)
            attachment.served.client.announce(attachment, resumed=opened.resumed)

        attachment.served.client.connect(attachment, welcome=welcome)
        served.go()
        await until(lambda: tab.frames)
        tab.n = tab.welcome["received"]
        return tab

    async def back(self, worker: Worker, *, user: Any = None) -> Tab:
        """The tab's client, come back to ``worker``."""
        return await Tab.open(worker, self.chat, self, user=user)

    @classmethod
    async def busy(cls, worker: Worker, chat: Chat, **options: Any) -> Tab:
        """A tab of a new session, whose turn waits for ``gate``."""
        tab = await cls.open(worker, chat, **options)
        await tab.say("wait")
        await until(lambda: tab.texts == ["1"])
        return tab

    # Line

    def send_frame(self, text: str, *, can_wait: bool = False, along: bool = False) -> None:
        self.frames.append(msgspec.json.decode(text))

    def close(self, code: int) -> None:
        self.closed = int(code)

    # The client

    @property
    def welcome(self) -> dict[str, Any]:
        return self.frames[0]

    @property
    def id(self) -> UUID:
        return UUID(self.welcome["session"])

    async def send(self, name: str, data: Any) -> int:
        self.n += 1
        event = frames.ClientEvent(self.n, name, msgspec.Raw(msgspec.json.encode(data)))
        assert self.attachment is not None
        self.attachment.served.client.confirm_token(self.attachment)
        await self.served.receive(self.attachment, event, data)
        return self.n

    async def say(self, text: str) -> int:
        return await self.send("message", {"content": text})

    async def ends(self, n: int) -> str:
        await until(lambda: n in self.statuses)
        return self.statuses[n]

    @property
    def statuses(self) -> dict[int, str]:
        turns = [frame for frame in self.frames if frame["type"] == "turn"]
        return {turn["turn"]: turn["status"] for turn in turns if turn["status"] != "running"}

    @property
    def seqs(self) -> list[int]:
        return [one["seq"] for one in self.frames if one["type"] in ("event", "accepted")]

    @property
    def texts(self) -> list[str]:
        events = [one for one in self.frames if one["type"] == "event" and "n" not in one]
        return [one["data"]["content"] for one in events if one["name"] == "message"]

    def leave(self) -> None:
        assert self.attachment is not None
        self.attachment.stop()
        self.attachment.served.client.disconnect(self.attachment, 1006)


@contextmanager
def using(layer: Any) -> Iterator[None]:
    """The project's channel layer, for now."""
    old = channel_layers.set("default", layer)
    try:
        yield
    finally:
        channel_layers.set("default", old)
        if old is None:  # it had not been made yet
            del channel_layers.backends["default"]


@asynccontextmanager
async def two_workers(layer: LossyLayer | None = None) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers of one event loop, and the layer between them."""
    with using(layer or LossyLayer()):
        async with running_worker() as first:
            second = Worker(asyncio.get_running_loop())
            try:
                await first.start()
                await second.start()
                yield first, second
            finally:
                await second.close()


class HintlessLayer(LossyLayer):
    """Loses the hints that ``loses`` says, and nothing else."""

    def __init__(self, loses: Callable[[str], bool]) -> None:
        super().__init__()
        self.loses = loses
        self.lost = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        is_hint = message["type"] == "chatsessions.hint"
        if is_hint and self.loses(message["body"].decode()):
            self.lost += 1
        else:
            await super().send(channel, message)


@pytest.fixture
def gate() -> asyncio.Event:
    """What a turn of ``wait`` waits for."""
    return asyncio.Event()


@pytest.fixture
def chat(gate: asyncio.Event) -> Chat:
    chat = Chat("relayed")

    @chat.on_message
    async def handle(message: Message) -> None:
        count = user_session.get("count", 0) + 1
        user_session["count"] = count
        await Message(f"{count}").send()
        if message.content == "wait":
            await gate.wait()
            await Message("waited").send()

    return chat


@pytest.fixture
def layer() -> HintlessLayer:
    """Loses nothing, until a test says so."""
    return HintlessLayer(lambda _: False)


@pytest.fixture
async def workers(layer: HintlessLayer) -> AsyncIterator[tuple[Worker, Worker]]:
    async with two_workers(layer) as workers:
        yield workers


@pytest.fixture
def first(workers: tuple[Worker, Worker]) -> Worker:
    return workers[0]


@pytest.fixture
def second(workers: tuple[Worker, Worker]) -> Worker:
    return workers[1]


@pytest.fixture
async def old(first: Worker, chat: Chat) -> Tab:
    """A tab at the first worker, whose turn waits for ``gate``."""
    return await Tab.busy(first, chat)


@pytest.mark.parametrize("loss", [0.0, 0.3])
async def test_a_busy_session_is_relayed_and_moves_when_its_turn_ends(
    chat: Chat, gate: asyncio.Event, loss: float
) -> None:
    async with two_workers(LossyLayer(loss=loss, seed=7)) as (first, second):
        old = await Tab.busy(first, chat)
        new = await old.back(second)
        assert isinstance(new.served, ConnectedSession)
        assert new.welcome["turn"] == 1
        assert old.closed == 4509
        await until(lambda: new.texts == ["1"])
        n = await new.say("queued")
        await until(lambda: 3 in new.seqs)  # accepted, though it waits
        gate.set()
        assert await new.ends(1) == "done"
        assert await new.ends(n) == "done"
        await until(lambda: isinstance(new.served, LiveSession))
        assert (await ChatSession.objects.aget(pk=new.id)).worker_id == second.id
        assert first.live == {}
        await new.ends(await new.say("here"))
        await until(lambda: new.texts == ["1", "waited", "2", "3"])
        assert new.seqs == list(range(1, len(new.seqs) + 1))
        assert new.closed is None
        assert second.remotes == {}


OPENED = {"id": "m", "content": "", "streaming": True}


class Listens:
    """Hears of a log and of tokens."""

    def __init__(self) -> None:
        self._streams = OpenStreams()
        self._seq = 0
        self.told: list[frames.Token | frames.Stream] = []

    def hears(
        self, *events: tuple[str, Any], token: frames.Token | frames.Stream | None = None
    ) -> None:
        """Stored events, and a token behind them."""
        for name, data in events:
            self._seq += 1
            raw = msgspec.json.encode(data)
            self._streams.stored(Entry(self._seq, None, 1, name, raw, datetime.now(UTC)))
        if token is not None:
            self.told += self._streams.told(token, head=self._seq)

    def hears_late(self, token: frames.Token, *, head: int) -> None:
        """A token that was told when the log ended with ``head``."""
        self.told += self._streams.told(token, head=head)

    def loses_a_hint(self) -> None:
        self._streams.tear()

    def is_told_again(self, *streams: frames.Stream) -> None:
        """What the owner says of all that streams."""
        self.told += self._streams.restate(streams)

    @property
    def lacks_something(self) -> bool:
        return self._streams.lack_something

    @property
    def text(self) -> str:
        """What a client makes of what it is told of one message."""
        text = ""
        for frame in self.told:
            text = frame.content if isinstance(frame, frames.Stream) else text + frame.text
        return text

    @property
    def streams(self) -> list[tuple[int, str]]:
        return [(stream.index, stream.content) for stream in self._streams.so_far.values()]


def test_what_streams_is_known_from_its_beginning() -> None:
    """For a client that is still being brought up to date when it begins."""
    message, link = OPENED | {"content": "Hello "}, Listens()
    link.hears(("message", message), token=frames.Token("m", 0, "wor"))
    link.hears(token=frames.Token("m", 1, "ld"))
    assert link.streams == [(2, "Hello world")]
    whole = message | {"content": "Hello world", "streaming": False}
    link.hears(("message_update", whole))
    assert link.streams == []
    again = whole | {"streaming": True}
    link.hears(("message_update", again), token=frames.Token("m", 0, "!"))
    assert link.streams == [(1, "Hello world!")]
    link.hears(("message_remove", {"id": "m"}))
    assert link.streams == []


@pytest.mark.parametrize("data", [None, [1], {"id": []}, {"id": 7, "streaming": True}])
def test_events_of_an_application_may_have_the_names_of_ours(data: Any) -> None:
    link = Listens()
    link.hears(("message", OPENED), token=frames.Token("m", 0, "a"))
    link.hears(("message_update", data), ("message_remove", data), ("message", data))
    assert link.streams == [(1, "a")]


def test_a_lost_token_is_made_good_by_the_whole() -> None:
    link = Listens()
    link.hears(("message", OPENED), token=frames.Token("m", 0, "a"))
    link.hears(token=frames.Token("m", 2, "c"))
    link.hears(token=frames.Token("m", 3, "d"))
    assert (link.text, link.lacks_something) == ("a", True)
    # The owner says what there is; the last token has come before that and is not lost.
    link.is_told_again(frames.Stream("m", 3, "abc"))
    assert (link.text, link.lacks_something) == ("abcd", False)
    link.hears(token=frames.Token("m", 3, "d"))
    link.hears(token=frames.Token("m", 4, "e"))
    assert link.text == "abcde"


def test_a_text_that_is_cleared_before_its_first_token_is_cleared_here_too() -> None:
    link = Listens()
    link.hears(("message", OPENED | {"content": "Thinking"}), token=frames.Stream("m", 0, ""))
    link.hears(token=frames.Token("m", 0, "a"))
    assert link.told[0] == frames.Stream("m", 0, "")
    assert link.text == "a"


def test_a_late_answer_of_the_owner_takes_nothing_back() -> None:
    link = Listens()
    link.hears(("message", OPENED), token=frames.Token("m", 0, "a"))
    link.loses_a_hint()
    link.hears(token=frames.Token("m", 1, "b"))
    link.is_told_again(frames.Stream("m", 1, "a"))
    assert (link.text, link.streams) == ("ab", [(2, "ab")])


def test_a_token_that_comes_late_is_not_told_of_another_stream() -> None:
    """The log is read ahead: by then the message is closed, or streams anew."""
    link = Listens()
    link.hears(("message", OPENED), token=frames.Token("m", 0, "a"))
    link.hears(("message_update", OPENED | {"content": "ab", "streaming": False}))
    link.hears_late(frames.Token("m", 1, "b"), head=1)
    link.hears(("message_update", OPENED | {"content": "ab"}))
    link.hears_late(frames.Token("m", 0, "a"), head=1)
    assert link.streams == [(0, "ab")]
    assert link.text == "a"


def test_the_end_of_a_turn_is_told_once() -> None:
    turns = TurnStatuses(Handled(3), running=4)
    done = frames.TurnStatus(4, "message", "done")
    assert turns.not_told(Handled(3), 6, (4, None)) == []
    assert turns.is_new(done)
    assert turns.not_told(Handled(4), 6, (5, None)) == [5]
    assert turns.is_new(frames.TurnStatus(5, "message", "running"))
    assert turns.not_told(Handled(5, [6]), 7, (7, None)) == [5, 6, 7]
    for n in (5, 6):
        assert turns.is_new(frames.TurnStatus(n, "message", "done"))
    assert not any(map(turns.is_new, [done, frames.TurnStatus(5, "message", "running")]))
    assert turns.not_told(Handled(6), 7, (7, None)) == [7]


def test_a_turn_whose_event_is_no_longer_kept_does_not_run_for_ever() -> None:
    """How it ended is not known, but it does not hide the later turns."""
    turns = TurnStatuses(Handled(3), running=4, name="message")
    assert turns.not_told(Handled(4), 5, (5, None)) == [4, 5]
    assert turns.is_new(frames.TurnStatus(5, "later", "running"))
    assert turns.overdue == [(4, "message")]
    assert turns.is_new(frames.TurnStatus(4, "message", "done"))
    assert (turns.overdue, turns.running) == ([], (5, "later"))


async def test_without_any_hint_a_client_misses_nothing(
    second: Worker, layer: HintlessLayer, old: Tab, gate: asyncio.Event
) -> None:
    """Entries, ends of turns, and that the session may be had are found in the database."""
    layer.loses = lambda _: True
    new = await old.back(second)
    n = await new.say("queued")
    gate.set()
    assert await new.ends(1) == "done"
    assert await new.ends(n) == "done"
    await until(lambda: isinstance(new.served, LiveSession))
    assert new.texts == ["1", "waited", "2"]
    assert new.seqs == list(range(1, len(new.seqs) + 1))
    assert layer.lost
    ends = [one for one in new.frames if one["type"] == "turn" and one["status"] == "done"]
    assert [end["turn"] for end in ends] == [1, 2]


async def test_the_end_of_a_turn_whose_event_is_no_longer_kept_is_told(
    first: Worker,
    second: Worker,
    layer: HintlessLayer,
    chat: Chat,
    gate: asyncio.Event,
    settings: Settings,
) -> None:
    """Neither a hint nor the log tells how it ended, and it went on for ever at the client."""
    settings.CHATSESSIONS = {"MAX_LOG_ENTRIES": 10}

    @chat.on_event("long")
    async def long() -> None:
        for number in range(15):
            await Message(f"{number}").send()
        await gate.wait()

    layer.loses = lambda _: True
    old = await Tab.open(first, chat)
    n = await old.send("long", None)
    await until(lambda: len(old.texts) == 15)
    new = await old.back(second)
    await until(lambda: len(new.seqs) == 16)
    assert new.welcome["turn"] == n
    gate.set()
    assert await new.ends(n) == "done"
    assert not await SessionEvent.objects.filter(session=new.id, n=n).aexists()


async def test_the_text_of_a_stream_is_told_whole_where_tokens_were_lost(
    first: Worker, second: Worker, layer: HintlessLayer, chat: Chat, gate: asyncio.Event
) -> None:
    layer.loses = lambda body: '"index":1,' in body
    go_on = asyncio.Event()

    @chat.on_event("write")
    async def write(data: Any) -> None:
        answer = Message()
        await answer.stream_token("0 ")
        await gate.wait()
        await answer.stream_token("1 ")
        await asyncio.sleep(0.01)
        await answer.stream_token("2 ")
        await go_on.wait()
        await answer.send()

    old = await Tab.open(first, chat)
    n = await old.send("write", None)
    await until(lambda: any(one["type"] == "token" for one in old.frames))
    new = await old.back(second)
    gate.set()
    await until(lambda: any(one.get("content") == "0 1 2 " for one in new.frames))
    assert layer.lost == 1
    go_on.set()
    assert await new.ends(n) == "done"


class MuteLayer(LossyLayer):
    """Loses the answers that tell of an open stream, while ``is_mute``."""

    def __init__(self) -> None:
        super().__init__()
        self.is_mute = False
        self.lost = 0
        self.told = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        is_answer = message["type"] == "chatsessions.answer"
        tells = is_answer and b'"streams":[{' in message["body"]
        if tells and self.is_mute:
            self.lost += 1
        else:
            self.told += tells
            await super().send(channel, message)


async def test_a_late_answer_of_the_owner_opens_no_stream_that_has_ended(
    chat: Chat, settings: Any
) -> None:
    """The answer was lost, and comes again when the end of the stream has been told."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_HEARTBEAT": 0.2}
    layer = MuteLayer()
    go_on = [asyncio.Event() for _ in range(3)]

    @chat.on_event("write")
    async def write(data: Any) -> None:
        answer = Message()
        await answer.stream_token("one ")
        await go_on[0].wait()
        await answer.send()
        await go_on[1].wait()
        await Message("later").send()
        await answer.stream_token("two")
        await go_on[2].wait()
        await answer.send()

    async with two_workers(layer) as (first, second):
        old = await Tab.open(first, chat)
        n = await old.send("write", None)
        await until(lambda: any(one["type"] == "token" for one in old.frames))
        new = await old.back(second)
        await until(lambda: any(one["type"] == "stream" for one in new.frames))
        layer.is_mute = True
        await until(lambda: layer.lost)
        go_on[0].set()
        await until(lambda: any(one.get("name") == "message_update" for one in new.frames))
        told, layer.is_mute = layer.told, False
        await until(lambda: layer.told > told)
        go_on[1].set()
        await until(lambda: "later" in new.texts)
        await until(lambda: any(one["type"] == "token" for one in new.frames))
        assert [one["content"] for one in new.frames if one["type"] == "stream"] == ["one "]
        [stream] = new.served.standing().streams
        assert (stream.index, stream.content) == (1, "one two")
        go_on[2].set()
        assert await new.ends(n) == "done"


async def test_a_step_without_text_is_told_from_its_first_token_at_another_worker(
    first: Worker, second: Worker, chat: Chat
) -> None:
    """It was open when the client came: its entry is none that this worker has read."""
    go_on = asyncio.Event()

    @chat.on_event("search")
    async def search(data: Any) -> None:
        async with Step("search") as step:
            await go_on.wait()
            await step.stream_token("abc")
            await end.wait()

    end = asyncio.Event()
    old = await Tab.open(first, chat)
    n = await old.send("search", None)
    await until(lambda: any(one.get("name") == "step" for one in old.frames))
    new = await old.back(second)
    await until(lambda: any(one.get("name") == "step" for one in new.frames))
    go_on.set()
    await until(lambda: any(one["type"] in ("token", "stream") for one in new.frames))
    [piece] = [one for one in new.frames if one["type"] in ("token", "stream")]
    assert (piece["type"], piece["index"]) == ("token", 0)
    end.set()
    assert await new.ends(n) == "done"


async def test_an_end_and_a_newer_connection_are_heard_of_without_hints(
    first: Worker, second: Worker, layer: HintlessLayer, old: Tab
) -> None:
    layer.loses = lambda _: True
    relayed = await old.back(second)
    back = await relayed.back(first)
    await until(lambda: relayed.closed == 4509)
    again = await back.back(second)
    again.served.end("user")
    await until(lambda: again.closed == 4503)
    assert again.frames[-1] == {"type": "ended", "reason": "user"}


@pytest.mark.parametrize(
    ("connections", "code"),
    [
        pytest.param(1, 4509, id="for a newer connection"),
        pytest.param(0, 4000, id="for a call from outside"),
    ],
)
async def test_a_client_hears_who_took_the_session_from_the_owner_that_it_knew(
    second: Worker, layer: HintlessLayer, old: Tab, gate: asyncio.Event, connections: int, code: int
) -> None:
    layer.loses = lambda _: True
    relayed = await old.back(second)
    await ChatSession.objects.filter(pk=relayed.id).aupdate(
        generation=F("generation") + 1, connections=F("connections") + connections
    )
    await until(lambda: relayed.closed)
    assert relayed.closed == code
    gate.set()


async def test_who_leaves_before_the_owner_has_attached_them_is_no_connection(
    first: Worker, second: Worker, chat: Chat, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await User.objects.acreate_user("ada")
    asked, may_find = threading.Event(), threading.Event()

    def find_later(pk: str) -> Any:
        asked.set()
        assert may_find.wait(30)
        return ada

    old = await Tab.busy(first, chat, user=ada)
    monkeypatch.setattr(owner, "find_user", find_later)
    coming = asyncio.create_task(old.back(second, user=ada))
    await until(asked.is_set)
    coming.cancel()
    await asyncio.wait([coming])
    await until(lambda: not second.remotes and not second.rpc._asked)  # the owner knows it
    may_find.set()
    await until(lambda: not first.rpc._working)
    assert not old.closed  # nobody else has come
    row = await ChatSession.objects.aget(pk=old.id)
    assert row.connections == 1
    gate.set()


@pytest.mark.parametrize("phase", ["released", "on its way", "here already"])
async def test_a_stop_while_the_session_moves_is_for_what_was_sent_before_it(
    second: Worker, old: Tab, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    new = await old.back(second)
    relay = new.served
    assert isinstance(relay, ConnectedSession)
    move_here = relay._move_here

    async def say_and_stop() -> None:
        gate.clear()
        await new.say("wait")
        for _ in range(100 if phase == "on its way" else 1):
            relay.stop()  # a client that says it again and again fills nothing
        assert len(relay._frames) <= 2

    async def moving(*args: Any) -> Any:
        assert move_here is not None
        if phase == "on its way":
            await say_and_stop()
        live = await move_here(*args)
        if phase == "here already":
            await say_and_stop()
        return live

    async def released() -> None:
        """Its owner has let it go, and the relay has not heard of it."""
        await say_and_stop()
        await until(lambda: len(relay._frames) == 2)
        await move()

    move = relay._released
    relay._move_here = moving
    if phase == "released":
        monkeypatch.setattr(relay, "_released", released)
    gate.set()
    assert await new.ends(1) == "done"
    assert await new.ends(2) == "stopped"
    assert isinstance(new.served, LiveSession)


class LateHello:
    """
    A connection to ``second`` that its client has given up, and whose hello is taken later.

    The session's owner, ``first``, is not reached by then; the client comes back there.
    """

    def __init__(self, second: Worker, tab: Tab, layer: HintlessLayer) -> None:
        self._layer = layer
        layer.is_cut = True
        self._task = asyncio.create_task(tab.back(second))

    async def sent(self) -> None:
        before = self._layer.sent
        await until(lambda: self._layer.sent > before)

    async def taken(self) -> None:
        """The owner is reached again: the client, if it were there, is told to come back."""
        self._layer.is_cut = False
        with pytest.raises(SessionUnavailable):
            await self._task


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_late_hello_of_a_broken_line_neither_locks_out_nor_replaces_the_client(
    first: Worker, second: Worker, layer: HintlessLayer, chat: Chat, gate: asyncio.Event, busy: bool
) -> None:
    """It came with the same token as a newer one, whose client has not been heard since."""
    old = await Tab.open(first, chat)
    n = await old.say("wait" if busy else "one")
    await until(lambda: old.texts == ["1"])
    late = LateHello(second, old, layer)
    await late.sent()
    new = await old.back(first)
    await late.taken()
    assert new.closed is None, "a connection was replaced by an older one"
    new.leave()
    newest = await new.back(second)
    assert newest.welcome["session"] == old.welcome["session"]
    gate.set()
    await newest.say("two")
    await until(lambda: "2" in newest.texts)
    assert newest.statuses.get(n, "done") == "done"


async def test_late_hellos_that_waited_for_each_other_do_not_replace_the_client(
    first: Worker,
    second: Worker,
    layer: HintlessLayer,
    old: Tab,
    gate: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second is looked at only when the first has been: by then the client is connected."""
    find, found = second.store.find, []

    def find_and_tell(session_id: UUID) -> ChatSession | None:
        found.append(find(session_id))
        return found[-1]

    monkeypatch.setattr(second.store, "find", find_and_tell)
    late = [LateHello(second, old, layer) for _ in range(3)]
    await late[0].sent()
    # The others have come, too, and know how the session stands: they wait for the first.
    await until(lambda: len(found) >= 3)
    await until(lambda: len(second.registry._locks[old.id]._waiters or ()) == 2)
    new = await old.back(first)
    for one in late:
        await one.taken()
    assert new.closed is None
    gate.set()
    await new.say("two")
    await until(lambda: new.texts == ["1", "waited", "2"])


async def test_of_hellos_that_wait_for_each_other_the_last_has_the_session(
    second: Worker, layer: HintlessLayer, old: Tab, gate: asyncio.Event
) -> None:
    """As of a client whose line breaks again and again while its session is slow to come."""
    layer.is_cut = True
    coming = [asyncio.create_task(old.back(second)) for _ in range(3)]
    await until(lambda: layer.sent > 2)
    layer.is_cut = False
    tabs = [await one for one in coming]
    assert [tab.closed for tab in tabs] == [4509, 4509, None]
    gate.set()
    await until(lambda: tabs[-1].texts == ["1", "waited"])


async def test_hellos_take_their_turns_in_the_order_in_which_they_came(
    second: Worker, layer: HintlessLayer, old: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the database takes to tell each of them how the session stands."""
    layer.is_cut = True
    coming = [asyncio.create_task(old.back(second))]
    await until(lambda: layer.sent > 2)
    find, asked, may_answer = second.store.find, [0], threading.Event()

    def answer_the_first_last(session_id: UUID) -> ChatSession | None:
        asked[0] += 1
        if asked[0] == 1:
            may_answer.wait(10)
        return find(session_id)

    monkeypatch.setattr(second.store, "find", answer_the_first_last)
    coming.append(asyncio.create_task(old.back(second)))
    await until(lambda: asked[0] == 1)
    coming.append(asyncio.create_task(old.back(second)))
    await until(lambda: asked[0] > 1)
    await second.threads.read(lambda: None)  # the answer is there
    asyncio.get_running_loop().call_later(0.5, may_answer.set)
    layer.is_cut = False
    tabs = [await one for one in coming]
    assert [tab.closed for tab in tabs] == [4509, 4509, None]


async def test_ten_lost_welcomes_by_another_worker_lock_nobody_out(
    first: Worker, second: Worker, old: Tab, gate: asyncio.Event
) -> None:
    for worker in [second, first] * 5:
        lost = await old.back(worker)
        assert lost.welcome["resumed"] is True
        lost.leave()
    new = await old.back(second)
    assert new.welcome["resumed"] is True
    await new.say("two")
    gate.set()
    await until(lambda: new.texts == ["1", "waited", "2"])
    stranger = await old.back(first)
    assert stranger.welcome["reason"] == "unknown", "the token from before is valid still"


async def test_a_frame_of_an_older_connection_ends_no_token(
    first: Worker, second: Worker, old: Tab
) -> None:
    """It is on its way when the client, which has left, comes back; that welcome is lost."""
    held = await old.back(second)
    assert isinstance(held.served, ConnectedSession)
    lost = await held.back(second)
    assert lost.welcome["resumed"] is True
    assert held.attachment is not None
    assert old.attachment is not None
    for line in (old, held):
        line.attachment.served.client.confirm_token(line.attachment)
    await first.journal.settled()
    lost.leave()
    new = await held.back(second)
    assert new.welcome["resumed"] is True


async def test_no_token_crosses_the_channel_layer(
    first: Worker, second: Worker, layer: HintlessLayer, old: Tab, gate: asyncio.Event
) -> None:
    """A layer that others can read, or that logs what goes through it, gives no session away."""
    sent: list[Any] = []
    send = layer.send

    async def tapped(channel: str, message: dict[str, Any]) -> None:
        sent.append(message)
        await send(channel, message)

    layer.send = tapped  # type: ignore[method-assign]
    tabs = [old]
    for worker in (second, first, second):
        tabs.append(await tabs[-1].back(worker))
        await tabs[-1].say("more")
    gate.set()
    await until(lambda: isinstance(tabs[-1].served, LiveSession))
    crossed = repr(sent)
    assert "join" in crossed
    for tab in tabs:
        assert tab.welcome["token"] not in crossed


async def test_an_owner_that_does_not_know_the_command_is_waited_for(
    first: Worker, second: Worker, old: Tab, gate: asyncio.Event
) -> None:
    """As one of another release, while a deployment is under way: its clients lose nothing."""

    async def answer(command: bytes) -> bytes:
        text = "ValidationError at the session's owner: see its log"
        return encode(Failed("ChatSessionsError", text))

    first.rpc._do = answer
    coming = asyncio.create_task(old.back(second))
    await asyncio.sleep(0.1)
    gate.set()
    await old.ends(1)
    old.leave()
    new = await coming
    assert new.welcome["resumed"] is True
    await until(lambda: new.texts == ["1", "waited"])


async def _no_log(after: int, limit: int) -> list[Entry]:
    raise OSError("the log cannot be read")


async def test_a_relayed_client_whose_news_cannot_be_passed_on_is_told_to_come_back(
    second: Worker, old: Tab, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would wait for ever, on a line that looks well."""
    new = await old.back(second)
    await until(lambda: new.texts == ["1"])
    assert isinstance(new.served, ConnectedSession)
    monkeypatch.setattr(new.served._follower, "read_log", _no_log)
    await new.say("queued")
    await until(lambda: new.closed == 4000)
    again = await new.back(second)
    gate.set()
    await until(lambda: again.texts == ["1", "waited", "2"])


async def test_a_client_whose_log_cannot_be_read_is_told_to_come_back(
    first: Worker, old: Tab, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveSession, "read_log", staticmethod(_no_log))
    new = await old.back(first)
    await until(lambda: new.closed == 4000)
    gate.set()


async def test_a_frame_that_only_another_release_knows_is_left_out(
    second: Worker, old: Tab, gate: asyncio.Event
) -> None:
    new = await old.back(second)
    assert isinstance(new.served, ConnectedSession)
    hologram = HintPart(0, frames=[msgspec.Raw(b'{"type":"hologram"}')])
    number = new.served._last_hint + 1
    new.served.hear(Hint(new.served.number, number, [hologram]))
    gate.set()
    assert await new.ends(1) == "done"
    assert new.closed is None


async def test_entries_come_though_the_layer_is_dead(
    second: Worker, layer: HintlessLayer, old: Tab, gate: asyncio.Event
) -> None:
    new = await old.back(second)
    await until(lambda: new.texts == ["1"])  # what it reads by itself on its way in
    layer.is_cut = True
    gate.set()
    await until(lambda: new.texts == ["1", "waited"])
    layer.is_cut = False
    assert await new.ends(1) == "done"


async def test_a_relayed_client_that_leaves_is_away(
    first: Worker, second: Worker, old: Tab, gate: asyncio.Event
) -> None:
    new = await old.back(second)
    new.leave()

    async def is_away() -> bool:
        row = await ChatSession.objects.aget(pk=new.id)
        return row.status == ChatSession.Status.AWAY

    await eventually(is_away)
    gate.set()
    await until(lambda: not first.live)


async def test_a_worker_that_was_held_up_drops_no_client_of_another(
    chat: Chat, gate: asyncio.Event, settings: Any
) -> None:
    """What the other worker had said meanwhile was not read yet."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_HEARTBEAT": 0.2}
    async with two_workers() as (first, second):
        old = await Tab.busy(first, chat)
        new = await old.back(second)
        [subscriber] = first.server._subscribers.values()
        subscriber.heard_at -= 60
        hold_up(1)
        await asyncio.sleep(0.1)
        assert not subscriber.over
        gate.set()
        await until(lambda: new.texts == ["1", "waited"])
        assert await new.ends(1) == "done"


async def test_a_relayed_client_that_leaves_while_its_session_is_released_is_away(
    first: Worker, second: Worker, chat: Chat, gate: asyncio.Event
) -> None:
    """It counted for its user until the next sweep, and nobody was told that it had left."""
    codes: list[int] = []

    @chat.on_event("work")
    async def work() -> None:
        await gate.wait()

    old = await Tab.open(first, chat)
    n = await old.send("work", None)
    live = first.live[old.id]
    await until(lambda: live.turns.running)
    new = await old.back(second)
    await first.journal.settled()

    def left(code: int, **_: Any) -> None:
        codes.append(code)

    with connected(session_disconnected, left, chat):
        with locked():
            gate.set()
            # Its release is being stored.
            await until(lambda: n in live.turns.handled and not live.log.is_noted)
            new.leave()
            await until(lambda: live.subscribers.connection is None)
        await until(lambda: not first.live)
        row = await ChatSession.objects.aget(pk=old.id)
        assert (row.status, row.worker_id) == (ChatSession.Status.AWAY, None)
        await until(lambda: codes)
    assert codes == [1006]


async def test_who_cannot_be_relayed_asks_a_busy_owner_now_and_then(
    second: Worker, layer: HintlessLayer, old: Tab, chat: Chat, gate: asyncio.Event
) -> None:
    """A ``SessionConsumer``'s client asked hundreds of times a second, until the turn was over."""
    before, began = layer.sent, time.monotonic()
    coming = asyncio.create_task(Client.open(second, chat, old.id, old.welcome["token"]))
    await asyncio.sleep(1)
    passed = time.monotonic() - began
    # It is asked and answers; on a busy machine a question is repeated.
    assert layer.sent - before <= 5 * (passed / BUSY + 1)
    gate.set()
    assert (await coming).resumed


async def come_back(worker: Worker, tab: Tab) -> Tab:
    """As often as it takes: a worker that has waited for an owner for too long says so."""
    while True:
        try:
            return await tab.back(worker)
        except SessionUnavailable:
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_crowd_at_a_silent_owner_asks_it_once_and_gets_in_when_it_is_dead(
    chat: Chat, settings: Any
) -> None:
    settings.CHATSESSIONS = {
        **settings.CHATSESSIONS, "WORKER_STALE": 4, "WORKER_HEARTBEAT": 0.5,
    }  # fmt: skip
    layer = LossyLayer()
    async with two_workers(layer) as (first, second):
        tabs = [await Tab.open(first, chat) for _ in range(100)]
        for tab in tabs:
            await tab.say("wait")
        await until(lambda: all(tab.texts for tab in tabs))
        layer.is_cut = True
        first.rows.beat = lambda: False  # type: ignore[method-assign]  # as if it hung
        sent = layer.sent
        coming = [asyncio.create_task(come_back(second, tab)) for tab in tabs]
        await asyncio.sleep(2.5)
        assert layer.sent - sent < 1000  # 50 that ask for a second, then one for all
        back = await asyncio.gather(*coming)
        assert all(isinstance(tab.served, LiveSession) for tab in back)
        for tab in back:
            assert await tab.ends(1) == "interrupted"
