"""Sessions that move between living workers, and clients whose session is busy elsewhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from .long_run import LONG, SEEDS
from .rig import STEADY, Cluster, Services, started, until
from .scenario import Play, Scenario, talk
from .tab import Tab

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: For workers that are to be missed.
MORTAL = {"WORKER_STALE": 5}
LOSSES = {"losses": {"drop": 0.2}}
#: The layers that are supported, and both losing.
LAYERS: dict[str, dict[str, Any]] = {
    "dropping pubsub": {"layer": "dropping pubsub", "cluster": LOSSES},
    "core": {"layer": "core"},
    "pubsub": {"layer": "pubsub"},
    "dropping core": {"layer": "dropping core", "cluster": LOSSES},
}
# Each module's fixture has one cluster at a time: an idle worker costs a fiftieth of a core.


@pytest.fixture(scope="module", params=LAYERS if LONG else ["dropping pubsub"])
def module_pair(services: Services, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with started(services, chatsessions=STEADY, **LAYERS[request.param]) as cluster:
        yield cluster


@pytest.fixture
def pair(module_pair: Cluster) -> Cluster:
    """The pair of workers on a layer, both running."""
    module_pair.refresh()
    return module_pair


@pytest.fixture(scope="module", params=LAYERS if LONG else ["dropping pubsub"])
def module_mortals(services: Services, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with started(services, chatsessions=MORTAL, **LAYERS[request.param]) as cluster:
        yield cluster


@pytest.fixture
def mortal_pair(module_mortals: Cluster) -> Cluster:
    """For an owner that dies or stands still, and is missed after some seconds."""
    module_mortals.refresh()
    return module_mortals


#: For what is to be known of both layers every day.
on_both_layers = pytest.mark.parametrize(
    "module_pair", list(LAYERS) if LONG else ["dropping pubsub", "core"], indirect=True
)


async def busy_elsewhere(scenario: Scenario, name: str, data: Any) -> tuple[Tab, int]:
    """A tab on worker ``b``, whose session is busy with an event on ``a``; the event."""
    cluster = scenario.cluster
    first, then = cluster.workers
    tab = scenario.tab(pick=lambda: then if tab.session is not None else first)
    await tab.begun()
    await scenario.outcome(tab, await tab.message())
    n = await tab.event(name, data)
    await tab.until(lambda: tab.got("turn", turn=n, status="running"))
    tab.drop()
    await tab.until(lambda: tab.is_welcome and tab.door == then.name)
    return tab, n


async def answer_question(tab: Tab, content: str) -> None:
    """Answer what was asked last."""
    question = tab.got("event", name="ask")[-1].frame["data"]
    await tab.answer(question["call"], {"content": content})


async def comes_as_it_is_made(tab: Tab, n: int, cluster: Cluster) -> bool:
    """Some of a stream of worker ``a`` has come by another worker before its end."""
    owner, tokens = cluster.owns(tab.session), len(tab.got("token"))
    await tab.until(lambda: len(tab.got("token")) > tokens + 3 or n in tab.outcomes)
    if n in tab.outcomes:
        return False
    assert owner == "a"
    return True


@on_both_layers
async def test_a_stream_goes_on_by_another_worker(pair: Cluster, play: Play) -> None:
    scenario = play(pair)
    for pause in (0.1, 0.4, 1.2):  # for a machine that is busy with other things
        tab, n = await busy_elsewhere(scenario, "stream", {"count": 60, "pause": pause})
        if await comes_as_it_is_made(tab, n, pair):
            break
    else:
        pytest.fail("it comes at its end")
    assert await scenario.outcome(tab, n) == "done"
    last = tab.got("event", name="message_update")[-1].frame["data"]
    assert last["content"].split() == [str(number) for number in range(60)]
    assert last["streaming"] is False
    # The session moves to the worker with the connection.
    await until(lambda: pair.owns(tab.session) == "b", what="it does not move")
    assert await scenario.outcome(tab, await tab.message()) == "done"
    await scenario.finish()


@on_both_layers
@pytest.mark.seeds(SEEDS, everyday=4)
async def test_a_stop_by_another_worker_takes_effect(pair: Cluster, play: Play) -> None:
    scenario = play(pair)
    for _ in range(8 if LONG else 2):  # so often, with all seeds, that some of it is lost
        tab, n = await busy_elsewhere(scenario, "slow", 30)
        await tab.stop()  # of what would go on for half a minute
        assert await scenario.outcome(tab, n) == "stopped"
        await tab.until(partial(tab.got, "event", name="on_stop"))  # behind the turn
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=3, known=(650058,))
async def test_events_by_another_worker_are_accepted_and_wait_their_turn(
    pair: Cluster, play: Play
) -> None:
    scenario = play(pair)
    tab, busy = await busy_elsewhere(scenario, "ask", 60)
    await tab.until(lambda: tab.got("event", name="ask"))
    numbers = [await tab.message() for _ in range(5)]
    await tab.until(lambda: not tab.unaccepted)
    assert busy not in tab.outcomes
    await answer_question(tab, "that")
    for n in [busy, *numbers]:
        assert await scenario.outcome(tab, n) == "done"
    told = [note.frame["turn"] for note in tab.got("turn", status="done")]
    assert told[-6:] == [busy, *numbers]
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=4)
async def test_an_answer_by_another_worker_is_heard(pair: Cluster, play: Play) -> None:
    scenario = play(pair)
    tab, n = await busy_elsewhere(scenario, "ask", 20)
    await tab.until(lambda: tab.got("event", name="ask"))
    await answer_question(tab, "that")
    assert await scenario.outcome(tab, n) == "done"
    assert tab.got("event", name="heard")[-1].frame["data"] == {"n": n, "answer": "that"}
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=4)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_a_newer_connection_to_another_worker_closes_the_older(
    busy: bool, pair: Cluster, play: Play
) -> None:
    scenario = play(pair)
    first, then = pair.workers
    old = await scenario.tab(pick=lambda: first).begun()
    await scenario.outcome(old, await old.message())
    if busy:
        n = await old.event("slow", 1.5)
        await old.until(lambda: old.got("turn", turn=n, status="running"))
    new = await scenario.tab(pick=lambda: then).knows(old).begun()
    await old.until(lambda: old.over is not None)
    assert old.over == 4509
    if busy:
        assert await scenario.outcome(new, n) == "done"
    assert await scenario.outcome(new, await new.message()) == "done"
    await scenario.finish()


async def test_the_owner_dies_while_it_works_for_a_client_elsewhere(
    mortal_pair: Cluster, play: Play
) -> None:
    scenario = play(mortal_pair)
    tab, n = await busy_elsewhere(scenario, "slow", 30)
    waiting = await tab.message()
    await tab.until(lambda: not tab.unaccepted)
    await asyncio.to_thread(mortal_pair.workers[0].kill)
    assert await scenario.outcome(tab, n) == "interrupted"
    assert await scenario.outcome(tab, waiting) == "done"
    await scenario.finish()


async def test_the_owner_pauses_while_it_works_for_a_client_elsewhere(
    mortal_pair: Cluster, play: Play
) -> None:
    scenario = play(mortal_pair)
    tab, n = await busy_elsewhere(scenario, "slow", 30)
    with mortal_pair.workers[0].paused():
        assert await scenario.outcome(tab, n) == "interrupted"
        assert await scenario.outcome(tab, await tab.message()) == "done"
    await until(lambda: not mortal_pair.workers[0].inside()["live"], what="it holds on")
    await scenario.finish()


async def test_the_owner_shuts_down_while_it_works_for_a_client_elsewhere(
    pair: Cluster, play: Play
) -> None:
    """What ends in time is done, and the session is handed over."""
    scenario = play(pair)
    tab, n = await busy_elsewhere(scenario, "slow", 2.0)
    pair.workers[0].terminate()
    assert await scenario.outcome(tab, n) == "done"
    assert await scenario.outcome(tab, await tab.message()) == "done"
    await asyncio.to_thread(pair.workers[0].wait)
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=4)
async def test_clients_move_about_while_they_talk(pair: Cluster, play: Play) -> None:
    """Their lines break at any moment, and they come back by any door."""
    scenario = play(pair)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        for _ in range(20 if LONG else 10):
            await asyncio.sleep(scenario.source.uniform(0, 0.2))
            scenario.source.choice(tabs).drop()
    books = await scenario.finish()
    # Nobody died: nothing has a reason to be interrupted.
    assert "interrupted" not in {entry.status for stored in books for entry in stored.log}


@pytest.mark.seeds(SEEDS, everyday=3, known=(650056,))
async def test_what_listens_to_the_layer_is_cut_off(pair: Cluster, play: Play) -> None:
    """``CLIENT KILL TYPE pubsub``, again and again, with sessions busy elsewhere."""
    scenario = play(pair)
    tab, n = await busy_elsewhere(scenario, "stream", {"count": 60, "pause": 0.1})
    over = asyncio.Event()
    talking_tab = await scenario.tab().begun()
    task = asyncio.create_task(talk(talking_tab, random.Random(1), over))  # noqa: S311
    for _ in range(6):
        await asyncio.sleep(0.2)
        await asyncio.to_thread(pair.services.redis.kill_subscribers)
        talking_tab.drop()
    waiting = await tab.message()
    over.set()
    await task
    assert await scenario.outcome(tab, n) == "done"
    assert await scenario.outcome(tab, waiting) == "done"
    await scenario.finish()


@on_both_layers
async def test_somebody_outside_reaches_the_session_wherever_it_is(
    pair: Cluster, play: Play
) -> None:
    """A process of its own: the session is idle, then busy, then nobody's."""
    scenario = play(pair)
    tab = await scenario.tab(pick=lambda: pair.workers[0]).begun()
    session = tab.session
    with pair.workers[1].beside("tests.faults.cluster.outside") as ask:

        async def outside(what: str, rest: str) -> str:
            return await asyncio.to_thread(ask, f"{what} {session} {rest}")

        for _ in range(2):
            assert await outside("count", "outside") == "ok"
        assert await outside("emit", "news 1") == "ok"
        n = await tab.event("slow", 2.0)
        await tab.until(lambda: tab.got("turn", turn=n, status="running"))
        assert await outside("emit", "news 2") == "ok"
        assert await outside("count", "outside") == "ok"
        await scenario.outcome(tab, n)
        await tab.stay_away()
        await until(lambda: pair.owns(session) is None, what="somebody holds it")
        assert await outside("emit", "news 3") == "ok"
        assert await outside("count", "outside") == "ok"
        tab.come_back()
        await tab.until(lambda: len(tab.got("event", name="news")) == 3)
        assert [note.frame["data"] for note in tab.got("event", name="news")] == [1, 2, 3]
        await scenario.rest()
        assert pair.books.stored(session).state["outside"] == 4
        await scenario.check()
        assert await outside("end", "app") == "ok"
        await tab.until(lambda: tab.over is not None)
        assert tab.over == 4503
        assert tab.got("ended", reason="app")
        assert await outside("emit", "news 4") != "ok"
    await scenario.leave()
    assert pair.books.effects(session).count((0, "end")) == 1


@pytest.mark.parametrize("module_pair", ["core"], indirect=True)  # which loses nothing
async def test_what_a_session_keeps_open_moves_with_it(pair: Cluster, play: Play) -> None:
    """Each worker opens it, uses it and closes it, whether the session was busy or idle."""
    scenario = play(pair)
    first, then = pair.workers
    goes_to = first
    tab = scenario.tab(bot="keeper", pick=lambda: goes_to)
    await tab.begun()
    n = await tab.event("ask")
    await tab.until(lambda: tab.got("event", name="ask"))
    goes_to = then
    tab.drop()
    await scenario.arrived(tab, then)
    session = tab.session
    assert pair.owns(session) == "a"
    await answer_question(tab, "asked")
    assert await scenario.outcome(tab, n) == "done"
    await until(lambda: pair.owns(session) == "b", what="it does not move")
    assert await scenario.outcome(tab, await tab.message("one")) == "done"
    goes_to = first
    tab.drop()
    await scenario.arrived(tab, first)
    await until(lambda: pair.owns(session) == "a", what="it does not move")
    assert await scenario.outcome(tab, await tab.message("two")) == "done"
    await tab.leave()
    used = {
        "a": ["open", "asked", "closed", "open", "two", "closed"],
        "b": ["open", "one", "closed"],
    }

    def all_closed() -> bool:
        query = "SELECT what, worker FROM effects WHERE session = %s ORDER BY id"
        seen = pair.books.query(query, [session])
        return used == {
            worker: [row["what"] for row in seen if row["worker"] == worker] for worker in used
        }

    await until(all_closed)


async def test_a_worker_whose_clock_is_ten_minutes_off(
    make_cluster: Callable[..., Cluster], play: Play
) -> None:
    """Its sign of life is as good as any other's, and so is what it thinks of the others'."""
    # Both ways at once shows as much as one by one: the database's clock is right.
    for here, there in ((0, 600), (0, -600), (600, -600)) if LONG else ((600, -600),):
        own = {"a": {"host": "here", "skew": here}, "b": {"host": "there", "skew": there}}
        cluster = make_cluster(own=own, chatsessions=STEADY)
        scenario = play(cluster)
        tab, n = await busy_elsewhere(scenario, "slow", 3.0)
        assert await scenario.outcome(tab, n) == "done"
        tabs = await scenario.begin(3)
        async with scenario.talking(tabs):
            for tab in tabs:
                await asyncio.sleep(0.3)
                tab.drop()
        await scenario.rest()
        assert len(cluster.books.worker_pids()) == 2
        books = await scenario.finish()
        assert "interrupted" not in {entry.status for stored in books for entry in stored.log}
