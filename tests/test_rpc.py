"""Commands between workers: what else comes by the channel layer, and what a layer does wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from hypothesis import given, settings
from hypothesis import strategies as st

from chatsessions import Chat, Message
from chatsessions.cluster import commands
from chatsessions.cluster.rpc import RpcClient
from chatsessions.models import Worker as WorkerRow
from chatsessions.workers.worker import Worker

from .support.layer import LossyLayer
from .support.sessions import Client, eventually, hold_up, until
from .test_remote import using

HUGE = b"x" * 2_000_000
DEEP: Any = []
for _ in range(500):
    DEEP = [DEEP]

#: Of another release, of another application, of nobody in particular.
FOREIGN: list[Any] = [
    {},
    {"type": "chat.message", "text": "hello"},
    {"type": None},
    {"type": ["chatsessions.ask"]},
    {"type": "chatsessions.tell", "body": b"{}"},
    {"type": "chatsessions.later", "id": "1", "to": "somebody", "body": b"{}"},
    {"type": "chatsessions.ask"},
    {"type": "chatsessions.ask", "id": "1", "body": b"{}"},
    {"type": "chatsessions.ask", "id": 1, "to": "somebody", "body": b"{}"},
    {"type": "chatsessions.ask", "id": "1", "to": None, "body": b"{}"},
    {"type": "chatsessions.ask", "id": "1", "to": "somebody", "body": "{}"},
    {"type": "chatsessions.ask", "id": ["1"], "to": {"a": 1}, "body": DEEP},
    {"type": "chatsessions.ask", "id": "x" * 100_000, "to": "somebody", "body": b""},
    {"type": "chatsessions.ask", "id": "2", "to": "no channel!", "body": b"[" * 100_000},
    {"type": "chatsessions.ask", "id": "3", "to": "x" * 150, "body": b"\xff\xfe"},
    {"type": "chatsessions.ask", "id": "4", "to": "somebody", "body": HUGE},
    {"type": "chatsessions.ask", "id": "5", "to": "somebody", "body": b'{"do":"dance"}'},
    {"type": "chatsessions.sign"},
    {"type": "chatsessions.sign", "id": {}},
    {"type": "chatsessions.sign", "id": "unknown"},
    {"type": "chatsessions.answer"},
    {"type": "chatsessions.answer", "id": "unknown", "body": b"{}"},
    {"type": "chatsessions.answer", "id": "unknown", "body": 7},
    {"id": "1", "to": "somebody", "body": b"{}", "nested": {"deep": DEEP}},
]


async def answer_all(command: bytes) -> bytes:
    return b"answer to " + command[:20]


@asynccontextmanager
async def two_mails(layer: Any) -> AsyncIterator[tuple[RpcClient, RpcClient]]:
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[Any]]()

    def start_task(step: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        task = loop.create_task(step, name=name)
        tasks.add(task)
        return task

    with using(layer):
        first, second = (RpcClient(loop, start_task) for _ in range(2))
        await first.open(answer_all, lambda _: None)
        await second.open(answer_all, lambda _: None)
        try:
            yield first, second
        finally:
            await first.close()
            await second.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def assert_answers(asking: RpcClient, asked: RpcClient) -> None:
    assert await asking.ask(asked.channel, b"a command", patience=10) == b"answer to a command"


@pytest.fixture(params=["here", "core", "pubsub"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "here":
        yield LossyLayer()
        return
    kinds = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}
    layer = kinds[request.param](
        hosts=[request.getfixturevalue("redis_url")], prefix=uuid4().hex, capacity=1000
    )
    yield layer
    await (layer.close_pools() if request.param == "core" else layer.flush())


async def test_a_worker_hears_commands_after_any_other_message(
    layer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One of these ended the receiver for good, and nobody was told."""
    async with two_mails(layer) as (first, second):
        for message in FOREIGN:
            await layer.send(first.channel, dict(message))
        await assert_answers(second, first)
        await assert_answers(first, second)
    told = [one.message for one in caplog.records if "none of ours" in one.message]
    assert len(told) == 1, "a flood of them would be one of the log, too"
    assert "hello" not in caplog.text, "what is in them is not ours to log"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(), some, max_size=4),
    max_leaves=10,
)
types = st.sampled_from(["ask", "sign", "answer", "tell"]).map("chatsessions.{}".format)
foreign = st.dictionaries(st.sampled_from(["type", "id", "to", "body"]) | st.text(), values) | (
    st.fixed_dictionaries(
        {"type": types | values}, optional=dict.fromkeys(["id", "to", "body"], values)
    )
)


@settings(max_examples=25, deadline=None)
@given(st.lists(foreign, max_size=20))
def test_whatever_comes_is_skipped(messages: list[dict[str, Any]]) -> None:
    async def run() -> None:
        layer = LossyLayer()
        async with two_mails(layer) as (first, second):
            for message in messages:
                await layer.send(first.channel, message)
            await assert_answers(second, first)

    asyncio.run(run())


class Failing(LossyLayer):
    """A layer whose ``receive()`` raises ``failures`` first."""

    def __init__(self, *failures: BaseException) -> None:
        super().__init__()
        self.failures = list(failures)

    async def receive(self, channel: str) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop()
        return await super().receive(channel)


async def test_a_slow_layer_is_not_made_slower_by_repeats() -> None:
    """Each command went two or three times, and so did its answer, however busy all were."""
    layer = LossyLayer(delay=0.15)
    async with two_mails(layer) as (first, second):
        for _ in range(10):
            await assert_answers(first, second)
        before = layer.sent
        for _ in range(10):
            await assert_answers(first, second)
        assert layer.sent - before <= 30  # 20 without a repeat; it was 60


async def test_a_hold_up_of_the_one_who_asks_is_no_silence_of_the_other() -> None:
    """A client whose first attempt had been taken was sent away, as the second came too late."""
    async with two_mails(LossyLayer(delay=0.05)) as (first, second):
        asking = asyncio.create_task(first.ask(second.channel, b"a command", patience=1))
        await asyncio.sleep(0)
        hold_up(1.5)
        assert await asking == b"answer to a command"


async def test_a_receiver_that_dies_is_started_again_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A library may cancel what it waits for itself; nobody here has asked for that."""
    async with two_mails(Failing(asyncio.CancelledError(), OSError("gone"))) as (first, second):
        await assert_answers(second, first)
    assert "'rpc' was cancelled by what it called; it is started again" in caplog.text


# Commands that are some, and wrong


def _commands() -> list[dict[str, Any]]:
    """One of each kind, as it crosses the layer."""
    session, remote = uuid4(), uuid4().hex
    raw = msgspec.Raw(b'{"content": "hello"}')
    some: list[commands.Command] = [
        commands.Attach(
            session=session, remote=remote, channel="there", user=None, used="a", given="b",
            connections=1, how="relay",
        ),
        commands.Forward(remote=remote, frames=[raw]),
        commands.Detach(remote=remote, code=1006),
        commands.Alive(remote=remote, visited=True),
        commands.Post(remote=remote, name="message", data=raw, key=None),
        commands.Reply(remote=remote, call="c", data=raw),
        commands.Apply(session=session, number="1", steps=[commands.Put("a", b"1")]),
        commands.Call(session=session, kind="text", data={}, timeout=1.0),
        commands.End(session=session, reason="app"),
        commands.Broadcast(name="news", data=raw, chat="no such chat"),
    ]  # fmt: skip
    return [msgspec.json.decode(commands.encode(one)) for one in some]


WRONG: list[Any] = [None, -1, 2**70, 1.5, True, "", "x" * 100_000, [], {}, [{}], {"a": [DEEP]}]


def _damaged(source: random.Random, command: dict[str, Any]) -> bytes:
    """``command`` with a key less, one more, one of another type, or cut off."""
    damaged = dict(command)
    key = source.choice(list(damaged))
    match source.randrange(4):
        case 0:
            del damaged[key]
        case 1:
            damaged["later"] = source.choice(WRONG)
        case 2:
            damaged[key] = source.choice(WRONG)
        case 3:
            raw = msgspec.json.encode(damaged)
            return raw[: source.randrange(len(raw))]
    return msgspec.json.encode(damaged)


@pytest.mark.django_db(transaction=True)
async def test_a_worker_serves_on_after_any_damaged_command(worker: Worker, chat: Chat) -> None:
    @chat.on_message
    async def handle() -> None:
        await Message("heard").send()

    with using(LossyLayer()):
        hint = commands.Hint(uuid4().hex, 1, [commands.HintPart(3, frames=[msgspec.Raw(b"{}")])])
        hints = [msgspec.json.decode(commands.encode(hint))] * 50
        client = await Client.open(worker, chat)
        asking = RpcClient(worker.loop, worker.start_task)
        await asking.open(answer_all, lambda _: None)
        try:
            source = random.Random(7)  # noqa: S311  # to be repeated
            for command in _commands() * 8:
                damaged = _damaged(source, command)
                raw = await asking.ask(worker.rpc.channel, damaged, patience=10)
                assert msgspec.json.decode(raw)["type"] in ("failed", "gone", "done")
            for one in hints:
                await asking.tell(worker.rpc.channel, _damaged(source, one))
        finally:
            await asking.close()
        assert await client.run("message", {"content": "hello"}) == "done"
        client.leave()


@pytest.mark.parametrize("answer", [b'{"type":"promise"}', b"\xff"])
def test_an_answer_that_cannot_be_read_fails_the_one_who_asks(answer: bytes) -> None:
    """Of another release: it is the way that an owner which cannot be reached is dealt with."""
    with pytest.raises(commands.ChatSessionsError, match="cannot be read"):
        commands.decode_answer(answer)


# Other loops of a worker


@pytest.mark.django_db(transaction=True)
async def test_a_heartbeat_that_fails_goes_on(
    worker: Worker, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Without it all sessions of a worker that is well would be taken from it."""
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, "WORKER_HEARTBEAT": 0.02}
    failures = [asyncio.CancelledError(), RuntimeError("no guests")]

    def look_round(*, late: float) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(worker.server, "look_round", look_round)
    await worker.start()
    await until(lambda: not failures)
    before = (await WorkerRow.objects.aget(pk=worker.id)).heartbeat_at

    async def beats() -> bool:
        return (await WorkerRow.objects.aget(pk=worker.id)).heartbeat_at > before

    await eventually(beats)
    assert "subscribers at other workers could not be looked at" in caplog.text
    assert "'heartbeat' was cancelled by what it called" in caplog.text


class HangingLayer(LossyLayer):
    """A layer that fails at first, and then never answers."""

    channels = 0

    async def new_channel(self, prefix: str = "specific.") -> str:
        self.channels += 1
        if self.channels == 1:
            raise OSError("no Redis")
        await asyncio.Event().wait()
        return ""


@pytest.mark.django_db(transaction=True)
async def test_no_heartbeat_waits_for_a_layer_that_does_not_answer(
    worker: Worker, settings: Any
) -> None:
    """A worker counted as dead, again and again, because it tried to reach the others."""
    times = {"WORKER_HEARTBEAT": 0.05, "STORE_TIMEOUT": 3600}
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, **times}
    layer = HangingLayer()
    with using(layer):
        await worker.start()
        await until(lambda: layer.channels == 2)
        before = worker.rows.beats[1]
        await until(lambda: worker.rows.beats[1] > before)


@pytest.mark.django_db(transaction=True)
async def test_a_reaper_that_fails_goes_on(
    worker: Worker, chat: Chat, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    given = {"REAP_INTERVAL": 0.02, "CACHE_TIMEOUT": 0.02}
    settings.CHATSESSIONS = {**settings.CHATSESSIONS, **given}
    client = await Client.open(worker, chat)
    touched = []

    def touch(held: Any) -> None:
        touched.append(1)
        raise RuntimeError("no cache")

    monkeypatch.setattr(worker.store, "touch", touch)
    await until(lambda: len(touched) > 2)
    assert "no cache" in caplog.text
    client.leave()
