"""Clients that come by plain requests, to any worker, while another one has their session."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .invariants import violations
from .long_run import LONG
from .rig import STEADY, Cluster, Services, started, until
from .visitor import Visitor

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: Whole, and losing a fifth of all that is sent.
LAYERS = {
    "pubsub": {"layer": "pubsub"},
    "dropping core": {"layer": "dropping core", "cluster": {"losses": {"drop": 0.2}}},
}


@pytest.fixture(scope="module", params=LAYERS if LONG else ["dropping core"])
def module_pair(services: Services, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    options: dict[str, Any] = LAYERS[request.param]
    with started(services, chatsessions=STEADY, **options) as cluster:
        yield cluster


@pytest.fixture
def pair(module_pair: Cluster) -> Cluster:
    """
    The pair of workers, both running, and given up late.

    A request ends with the way to its owner.
    """
    module_pair.refresh()
    return module_pair


def visitor_of(cluster: Cluster, seed: int = 1) -> Visitor:
    return Visitor(cluster.workers, random.Random(seed))  # noqa: S311


async def busy_at(cluster: Cluster, visitor: Visitor, name: str, data: Any) -> asyncio.Task[Any]:
    """The first worker runs this event of the visitor's, the second of its session."""
    door = cluster.workers[0]
    assert (await visitor.post(door, content="hello")).status == 200
    request = asyncio.create_task(visitor.post(door, name=name, data=data))
    session = visitor.session
    await until(lambda: cluster.books.session(session)["running"] == 2)
    assert cluster.owns(session) == "a"
    return request


async def at_rest(cluster: Cluster, visitor: Visitor) -> None:
    """Nobody holds the session any more, and all that must be true of it is."""
    session = visitor.session

    def is_free() -> bool:
        row = cluster.books.session(session)
        return cluster.owns(session) is None and row["handled"] == row["accepted"]

    await until(is_free, what="somebody holds it")
    stored = await asyncio.to_thread(cluster.books.stored, session)
    assert violations([], stored, complete=False) == []
    for worker in cluster.workers:
        if worker.is_running:
            await until(lambda worker=worker: not worker.inside()["live"], what=f"{worker!r}")
    cluster.assert_calm()


async def test_an_event_is_taken_by_the_owner_and_answered_by_another(pair: Cluster) -> None:
    visitor = visitor_of(pair)
    busy = await busy_at(pair, visitor, "slow", 4)
    there = pair.workers[1]
    told = await visitor.get(there)
    assert told.turn == (2, "running")
    told = await visitor.post(there, content="queued")
    assert told.turn == (3, "done")
    assert [event["name"] for event in told.body["events"]] == ["counted"]
    assert (await busy).turn == (2, "done")
    assert {write.writer for write in pair.books.writes(visitor.session)} == {"a"}
    await at_rest(pair, visitor)


@pytest.mark.slow
async def test_an_event_that_comes_under_wsgi(pair: Cluster) -> None:
    """By a process with an event loop per request, each of which leaves nothing behind."""
    visitor = visitor_of(pair)
    with pair.workers[1].beside("tests.faults.cluster.outside") as ask:
        assert await asyncio.to_thread(ask, "") == "ok"
        busy = await busy_at(pair, visitor, "slow", 10)
        line = f"post {visitor.session} {visitor.token} queued"
        told = json.loads(await asyncio.to_thread(ask, line))
    assert told["status"] == 200, told
    assert told["turn"] == {"turn": 3, "name": "message", "status": "done"}
    assert (await busy).turn == (2, "done")
    assert {write.writer for write in pair.books.writes(visitor.session)} == {"a"}
    await at_rest(pair, visitor)


async def test_tokens_come_by_another_worker_as_they_are_made(pair: Cluster) -> None:
    for pause in (0.05, 0.4, 1.2):  # for a machine that is busy with other things
        if await come_as_they_are_made(pair, pause):
            break
    else:
        pytest.fail("they come at the end")


async def come_as_they_are_made(pair: Cluster, pause: float) -> bool:
    """Some tokens of a stream of worker ``a`` have come by another worker before its end."""
    visitor = visitor_of(pair)
    busy = await busy_at(pair, visitor, "slow", 2.0)
    names: list[tuple[str, Any]] = []
    event = {"name": "stream", "data": {"count": 20, "pause": pause}}
    tokens_before_the_end = 0
    async for frame in visitor.stream(pair.workers[1], **event):
        names.append((frame["type"], frame.get("index", frame.get("status"))))
        if (
            frame["type"] in ("token", "stream")
            and pair.books.session(visitor.session)["handled"] < 3
        ):
            tokens_before_the_end += 1
    told = 0
    for kind, index in names:
        if kind == "stream":  # the whole, where tokens were lost
            assert index >= told, names
            told = index
        elif kind == "token":
            assert index == told, names
            told += 1
    assert names[-1] == ("turn", "done")
    assert (await busy).status == 200
    await at_rest(pair, visitor)
    return tokens_before_the_end > 3 and told > 3


async def test_a_question_is_answered_by_another_worker(pair: Cluster) -> None:
    visitor = visitor_of(pair)
    assert (await visitor.post(pair.workers[0], content="hello")).status == 200
    asked = await visitor.post(pair.workers[0], name="ask", data=20)
    assert (asked.status, asked.turn) == (202, (2, "running"))
    [ask] = [event["data"] for event in asked.body["events"] if event["name"] == "ask"]
    told = await visitor.post(pair.workers[1], call=ask["call"], data={"content": "that"})
    assert told.turn == (2, "done")
    [heard] = [event["data"] for event in told.body["events"] if event["name"] == "heard"]
    assert heard == {"n": 2, "answer": "that"}
    await at_rest(pair, visitor)


async def test_an_end_by_another_worker(steady: Cluster) -> None:
    visitor = visitor_of(steady)
    busy = await busy_at(steady, visitor, "slow", 20)
    ended = await visitor.end(steady.workers[1])
    assert ended.status == 204
    told = await busy
    assert (told.turn, told.body["ended"]) == ((2, "stopped"), "user")
    assert steady.books.effects(visitor.session).count((0, "end")) == 1
    assert (await visitor.post(steady.workers[1], content="more")).status == 410


async def test_a_websocket_elsewhere_has_the_session_to_itself(
    steady: Cluster, play: Callable[..., Any]
) -> None:
    scenario = play(steady)
    tab = await scenario.tab(pick=lambda: steady.workers[0]).begun()
    visitor = visitor_of(steady)
    visitor.session, visitor.token = tab.session, tab.token
    told = await visitor.post(steady.workers[1], content="by http")
    assert (told.status, told.body["error"]) == (409, "session_connected")
    assert await scenario.outcome(tab, await tab.message()) == "done"
    assert len(tab.lines) == 1
    await scenario.finish()


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_the_owner_is_gone_while_a_visitor_waits(cluster: Cluster, how: str) -> None:
    """The visitor is told so, comes again, and what it has posted is done once."""
    visitor = visitor_of(cluster)
    busy = await busy_at(cluster, visitor, "slow", 30)
    message = {"content": "queued", "id": "5a0e5f6e-7a5f-4bd4-8a8e-6f5b3d5e0f11"}
    session = visitor.session
    waiting = asyncio.create_task(visitor.post(cluster.workers[1], **message))
    await until(lambda: cluster.books.session(session)["accepted"] == 3)
    owner = cluster.workers[0]
    await asyncio.to_thread(owner.kill if how == "kill" else owner.pause)
    told = await waiting
    assert (told.status, told.body["error"]) == (503, "owner_unreachable")
    assert told.body["retry_after"] > 0
    assert told.seconds < 60
    again = await visitor.post(cluster.workers[1], **message)
    assert again.turn == (3, "done")
    assert cluster.books.effects(session).count((3, "handled")) == 1
    owner.proceed()
    if how == "pause":
        await until(lambda: not owner.inside()["live"], what="it holds on")
    assert (await busy).status in (0, 202, 503)
    await at_rest(cluster, visitor)


async def test_the_owner_shuts_down_while_a_visitor_waits(steady: Cluster) -> None:
    visitor = visitor_of(steady)
    busy = await busy_at(steady, visitor, "slow", 2.0)
    session = visitor.session
    waiting = asyncio.create_task(visitor.say("queued"))
    await until(lambda: steady.books.session(session)["accepted"] == 3)
    steady.workers[0].terminate()
    assert (await busy).turn == (2, "done")
    assert (await waiting).turn == (3, "done")
    await asyncio.to_thread(steady.workers[0].wait)
    await at_rest(steady, visitor)


async def test_many_posts_by_all_doors_at_once(pair: Cluster) -> None:
    """Each is taken once, whoever has the session when it comes."""
    await many_posts(pair, seed=1, kills=0)


async def test_many_posts_while_workers_die(cluster: Cluster, seed: int) -> None:
    await many_posts(cluster, seed=seed, kills=3)


async def many_posts(cluster: Cluster, *, seed: int, kills: int) -> None:
    """Two sessions, three clients of each."""
    source = random.Random(seed)  # noqa: S311
    visitors = [visitor_of(cluster, source.randrange(1000)) for _ in range(2)]

    async def talk(visitor: Visitor) -> None:
        for number in range(8):
            await visitor.say(str(number))

    for visitor in visitors:
        await visitor.say("begin")
    talks = [asyncio.create_task(talk(visitor)) for visitor in visitors for _ in range(3)]
    for _ in range(kills):
        await asyncio.sleep(source.uniform(0.1, 0.6))
        victim = source.choice(cluster.workers)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
    await asyncio.gather(*talks)
    for visitor in visitors:
        assert kills or not visitor.refused  # of those that come at once none is told to wait
        await at_rest(cluster, visitor)
        stored = await asyncio.to_thread(cluster.books.stored, visitor.session)
        said = [entry.data["content"] for entry in stored.log if entry.n is not None]
        assert sorted(said) == sorted(["begin", *map(str, [*range(8)] * 3)])
        assert stored.state["count"] == 25
