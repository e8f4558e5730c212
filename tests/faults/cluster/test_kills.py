"""Workers that die, at random moments and in turn, while their clients go on talking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from .rig import Cluster
from .scenario import Play

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.mark.seeds(100)
async def test_workers_are_killed_at_random_moments(cluster: Cluster, play: Play) -> None:
    """Kill -9 of either, never both at a time: clients come back by any door."""
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        for _ in range(3):
            await asyncio.sleep(scenario.source.uniform(0.05, 0.6))
            victim = scenario.source.choice(cluster.workers)
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.start)
    await scenario.finish()


async def test_both_workers_are_killed_in_turn(cluster: Cluster, play: Play) -> None:
    """Each time the one that everybody has just moved to, before the other is quite back."""
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        for round_ in range(2):
            victim = cluster.workers[round_ % 2]
            await asyncio.to_thread(victim.kill)
            for tab in tabs:
                await tab.until(lambda tab=tab: tab.is_welcome)
            victim.launch()
            await asyncio.sleep(scenario.source.uniform(0, 0.3))
        for worker in cluster.workers:
            await asyncio.to_thread(worker.wait_until_ready)
    await scenario.finish()


async def test_nobody_is_left_for_a_moment(cluster: Cluster, play: Play) -> None:
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        await asyncio.sleep(0.3)
        for worker in cluster.workers:
            await asyncio.to_thread(worker.kill)
        await asyncio.sleep(0.3)
        for worker in cluster.workers:
            worker.launch()
        for worker in cluster.workers:
            await asyncio.to_thread(worker.wait_until_ready)
        await asyncio.sleep(0.5)
    await scenario.finish()


async def test_workers_on_other_machines_are_missed_by_their_heartbeat(
    make_cluster: Callable[..., Cluster], play: Play
) -> None:
    """Nobody can see that the process is gone: only that nothing is heard of it."""
    cluster = make_cluster(own={"a": {"host": "here"}, "b": {"host": "there"}})
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        for worker in cluster.workers:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(worker.kill)
            for tab in tabs:
                await scenario.arrived(tab, cluster.other(worker))
            await asyncio.to_thread(worker.start)
    await scenario.finish()


async def test_a_rolling_restart_under_load(steady: Cluster, play: Play) -> None:
    """Each worker is told to end (SIGTERM), and is started again, while everybody talks."""
    scenario = play(steady)
    tabs = await scenario.begin(6)
    async with scenario.talking(tabs):
        for worker in steady.workers:
            await asyncio.sleep(0.3)
            worker.terminate()
            await asyncio.to_thread(worker.wait)
            await asyncio.to_thread(worker.start)
        await asyncio.sleep(0.3)
    books = await scenario.finish()
    # What could finish in time did: nothing here takes as long as a shutdown may.
    statuses = {entry.status for stored in books for entry in stored.log}
    assert "interrupted" not in statuses
