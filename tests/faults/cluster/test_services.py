"""The stores fail: PostgreSQL restarts, has no room, or answers nobody; Redis is lost or stalls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from .long_run import LONG, SEEDS
from .rig import Cluster, Services, started, until
from .scenario import Play

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.fixture(scope="module")
def module_wired(services: Services) -> Iterator[Cluster]:
    with started(services, wired=True) as cluster:
        yield cluster


@pytest.fixture
def wired(module_wired: Cluster) -> Cluster:
    """Workers with wires before PostgreSQL."""
    module_wired.refresh()
    return module_wired


@pytest.mark.seeds(SEEDS, everyday=3, known=(650055,))
async def test_postgresql_restarts_at_once(cluster: Cluster, play: Play) -> None:
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    postgres = cluster.services.postgres
    async with scenario.talking(tabs):
        for _ in range(3):
            await asyncio.sleep(scenario.source.uniform(0.2, 0.8))
            await asyncio.to_thread(postgres.crash)
            await asyncio.sleep(scenario.source.uniform(0.0, 0.5))
            await asyncio.to_thread(postgres.start)
        await asyncio.sleep(0.5)
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=4)
async def test_no_connections_are_left_for_a_while(cluster: Cluster, play: Play) -> None:
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        await asyncio.sleep(0.2)
        with cluster.services.postgres.crowded(cluster.database):
            # One that comes in this time is told to come back.
            late = scenario.tab().live()
            await asyncio.sleep(2 if LONG else 1)
        await late.until(lambda: late.is_welcome)
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=4)
async def test_a_commit_whose_answer_is_lost(wired: Cluster, play: Play) -> None:
    """It is stored, and the worker cannot know: not stored twice, and nobody loses a session."""
    scenario = play(wired)
    tabs = [scenario.tab(pick=lambda door=door: door) for door in wired.workers * 2]
    await asyncio.gather(*(tab.begun() for tab in tabs))
    async with scenario.talking(tabs):
        for _ in range(10 if LONG else 4):
            for wire in wired.to_postgres.values():
                strikes = wire.strikes
                wire.cut_after_word(b"COMMIT")
                await until(lambda wire=wire, strikes=strikes: wire.strikes > strikes)
            await asyncio.sleep(scenario.source.uniform(0, 0.1))
    for wire in wired.to_postgres.values():
        wire.disarm()
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=3, known=(650055,))
async def test_the_connection_to_postgresql_breaks_at_any_byte(wired: Cluster, play: Play) -> None:
    scenario = play(wired)
    tabs = [scenario.tab(pick=lambda door=door: door) for door in wired.workers * 2]
    await asyncio.gather(*(tab.begun() for tab in tabs))
    async with scenario.talking(tabs):
        for _ in range(20 if LONG else 8):
            for wire in wired.to_postgres.values():
                wire.cut_after_bytes(int(2 ** scenario.source.uniform(0, 13)))
            await asyncio.sleep(0.1)
    for wire in wired.to_postgres.values():
        wire.disarm()
    await scenario.finish()


@pytest.mark.seeds(SEEDS, everyday=4)
async def test_redis_is_lost_with_all_that_was_in_it(cluster: Cluster, play: Play) -> None:
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(cluster.services.redis.restart_empty)
            for tab in tabs[:2]:
                tab.drop()
        await asyncio.sleep(0.3)
    await scenario.finish()


async def test_redis_answers_nothing_for_five_seconds(cluster: Cluster, play: Play) -> None:
    scenario = play(cluster)
    tabs = await scenario.begin(4)
    async with scenario.talking(tabs):
        await asyncio.sleep(0.3)
        with cluster.services.redis.stalled():
            await asyncio.sleep(2.5)
            tabs[0].drop()
            await asyncio.sleep(2.5)
        await asyncio.sleep(0.3)
    await scenario.finish()


@pytest.mark.slow
async def test_handlers_use_up_all_connections_of_a_pool(
    make_cluster: Callable[..., Cluster], play: Play
) -> None:
    """Their turns fail, if they have to; what the sessions say is stored all the same."""
    pool = {"min_size": 1, "max_size": 4, "timeout": 1}
    cluster = make_cluster(cluster={"pool": pool})
    scenario = play(cluster)
    holders = await scenario.begin(6)
    others = await scenario.begin(4)
    async with scenario.talking(others):
        for tab in holders:
            await tab.event("hold", 3.0)
        await asyncio.sleep(3.5)
    await scenario.finish()
