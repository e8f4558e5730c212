"""A worker that stands still (SIGSTOP), is taken for dead, and wakes up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.points import arm

from .books import Write
from .long_run import LONG
from .process import WorkerProcess
from .rig import Cluster, Services, started, until
from .scenario import Play, Scenario
from .tab import Tab

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.fixture(scope="module")
def module_patient(services: Services) -> Iterator[Cluster]:
    with started(services, chatsessions={"HEARTBEAT": 25}) as cluster:
        yield cluster


@pytest.fixture
def patient(module_patient: Cluster) -> Cluster:
    """Workers whose clients wait for them to wake up."""
    module_patient.refresh()
    return module_patient


async def on_worker(scenario: Scenario, name: str) -> Tab:
    """A tab that comes in by this worker's door, and by the other's from then on."""
    cluster = scenario.cluster
    first, then = cluster.worker(name), cluster.other(cluster.worker(name))
    tab = scenario.tab(pick=lambda: then if tab.session is not None else first)
    await tab.begun()
    await tab.outcome(await tab.message())
    return tab


@pytest.mark.parametrize("name", ["a", "b"] if LONG else ["b"])
async def test_an_owner_that_wakes_up_changes_nothing(
    name: str, cluster: Cluster, play: Play
) -> None:
    """It had a turn in the middle, entries on their way, and a client on its line."""
    scenario = play(cluster)
    tab = await on_worker(scenario, name)
    old = cluster.worker(name)
    busy = await tab.event("slow", 30)
    waiting = await tab.message()
    await tab.until(lambda: len(tab.got("event", name="step")) > 3)
    old.pause()
    try:
        tab.drop()
        await tab.until(lambda: tab.is_welcome and tab.door != old.name)
        assert await tab.outcome(busy) == "interrupted"
        assert await tab.outcome(waiting) == "done"
        session = tab.session
        keys = await asyncio.to_thread(values_in_cache, cluster, session)
        writes = await asyncio.to_thread(writes_of, old, cluster, session)
        await scenario.rest()
    finally:
        old.proceed()
    # It notices by itself; until then it believes in its session.
    await until(lambda: not old.inside()["live"], what="it holds on to what it has lost")
    assert await asyncio.to_thread(values_in_cache, cluster, session) == keys
    assert await asyncio.to_thread(writes_of, old, cluster, session) == writes
    assert await tab.outcome(await tab.message()) == "done"
    await scenario.finish()


@pytest.mark.parametrize("name", ["a", "b"] if LONG else ["a"])
async def test_an_owner_that_wakes_up_tells_its_old_client_nothing(
    name: str, patient: Cluster, play: Play
) -> None:
    """One that has waited all the time, while another tab took the session."""
    scenario = play(patient)
    old, new = patient.worker(name), patient.other(patient.worker(name))
    left = await scenario.tab(pick=lambda: old).begun()
    n = await left.event("stream", {"count": 2000, "pause": 0.01})
    await left.until(lambda: len(left.got("token")) > 5)
    with old.paused():
        tab = await scenario.tab(pick=lambda: new).knows(left).begun()
        assert await scenario.outcome(tab, n) == "interrupted"
        heard = len(left.record)
    await left.until(lambda: left.over is not None)
    assert left.over == 4509
    assert [note.frame for note in left.record[heard:] if not note.sent] == []
    assert await scenario.outcome(tab, await tab.message()) == "done"
    await scenario.finish()


async def test_an_owner_that_nobody_missed_goes_on_with_its_stream(
    patient: Cluster, play: Play
) -> None:
    """What it did not tell while it was not sure of the session comes in one piece."""
    scenario = play(patient)
    owner = patient.worker("a")
    await scenario.tab(pick=lambda: patient.other(owner)).begun()
    tab = await scenario.tab(pick=lambda: owner).begun()
    n = await tab.event("stream", {"count": 100, "pause": 0.02})
    await tab.until(lambda: len(tab.got("token")) > 5)
    with owner.paused():
        # The other one takes it for dead.
        await until(lambda: owner.pid not in patient.books.worker_pids())
    assert await scenario.outcome(tab, n) == "done"
    pieces = [note.frame for note in tab.record if note.frame["type"] in ("token", "stream")]
    assert "stream" in [frame["type"] for frame in pieces]
    text = ""
    for frame in pieces:
        text = frame["content"] if frame["type"] == "stream" else text + frame["text"]
    assert text.split() == [str(number) for number in range(100)]
    assert len(tab.lines) == 1
    await scenario.finish()


def writes_of(worker: WorkerProcess, cluster: Cluster, session: str) -> list[Write]:
    return [write for write in cluster.books.writes(session) if write.writer == worker.name]


def values_in_cache(cluster: Cluster, session: str) -> dict[bytes, bytes | None]:
    with cluster.services.redis.client() as client:
        keys = client.scan_iter(match=f"{cluster.database}*{session.replace('-', '')}*")
        return {key: client.get(key) for key in keys}


@pytest.mark.parametrize("name", ["slow", "quiet"])
async def test_an_owner_that_wakes_up_while_it_is_taken_over(
    name: str, cluster: Cluster, play: Play
) -> None:
    """Between the other worker's reading the session and its claiming it."""
    scenario = play(cluster)
    tab = await on_worker(scenario, "a")
    old, new = cluster.worker("a"), cluster.worker("b")
    n = await tab.event(name, 0.5)
    await tab.until(lambda: tab.got("turn", turn=n))
    arm(new.folder, "delay-before-claim", "1")
    old.pause()
    try:
        tab.drop()
        await until(lambda: not (new.folder / "point-delay-before-claim").exists())
    finally:
        old.proceed()
    await tab.until(lambda: tab.is_welcome)
    assert await tab.outcome(await tab.message()) == "done"
    await scenario.finish()


async def test_an_owner_that_stops_in_the_middle_of_a_commit_holds_nobody_up(
    cluster: Cluster, play: Play
) -> None:
    """Its transaction has rows locked that the other worker needs."""
    scenario = play(cluster)
    tab = await on_worker(scenario, "a")
    old, new = cluster.worker("a"), cluster.worker("b")
    neighbour = await scenario.tab(pick=lambda: new).begun()
    arm(old.folder, "delay-in-transaction", "1")
    await tab.message()
    await until(lambda: not (old.folder / "point-delay-in-transaction").exists())
    with old.paused():
        tab.drop()
        await scenario.arrived(tab, new)
        await tab.until(lambda: not tab.unaccepted)
        # The sessions of the worker that takes over are stored meanwhile.
        for _ in range(10):
            assert await neighbour.outcome(await neighbour.message()) == "done"
    await scenario.finish()
