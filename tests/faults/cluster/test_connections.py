"""Connections to PostgreSQL that are lost, or lead to a server that takes no writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chatsessions.storage.database import LOOK_INTERVAL

from .rig import Cluster, until
from .scenario import Play

pytestmark = [pytest.mark.server, pytest.mark.faults]
MakeCluster = Callable[..., Cluster]

HEARTBEAT = 0.3
#: Heartbeats that take longer than the handlers' connections go without being looked at.
IDLE = math.ceil(LOOK_INTERVAL / HEARTBEAT) + 2

CONNECTIONS: dict[str, dict[str, Any]] = {
    "closed after each request": {"conn_max_age": 0},
    "kept for a minute": {"conn_max_age": 60},
    "kept": {"conn_max_age": None},
    "kept and checked": {"conn_max_age": None, "conn_health_checks": True},
    "pooled": {"pool": {"min_size": 2, "max_size": 4, "timeout": 3}},
}


def lone_worker(make_cluster: MakeCluster, connections: dict[str, Any]) -> Cluster:
    return make_cluster(
        kinds=("daphne",),
        cluster={"conn_health_checks": False, **connections},
        chatsessions={"WORKER_HEARTBEAT": HEARTBEAT},
    )


async def beats(cluster: Cluster, count: int) -> None:
    """Wait for so many more heartbeats."""
    for _ in range(count):
        last = cluster.books.query("SELECT heartbeat_at FROM chatsessions_worker")
        await until(
            lambda last=last: (
                cluster.books.query("SELECT heartbeat_at FROM chatsessions_worker") != last
            )
        )


def failures(cluster: Cluster) -> int:
    log = cluster.workers[0].log()
    return log.count("housekeeping failed") + log.count("trying again")


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        *(pytest.param(kind, "reset", marks=pytest.mark.slow) for kind in CONNECTIONS),
        ("kept", "restart"),
        ("pooled", "restart"),
    ],
)
async def test_an_idle_worker_that_lost_its_connections_stores_again(
    kind: str, event: str, make_cluster: MakeCluster, play: Play
) -> None:
    """Whatever meets a lost connection first, such as a heartbeat: it is replaced."""
    cluster = lone_worker(make_cluster, CONNECTIONS[kind])
    scenario = play(cluster)
    (tab,) = await scenario.begin(1)
    assert await scenario.outcome(tab, await tab.message()) == "done"
    postgres = cluster.services.postgres
    if event == "restart":
        await asyncio.to_thread(postgres.crash)
        await asyncio.to_thread(postgres.start)
    else:
        assert postgres.disconnect_workers(cluster.database)
    await beats(cluster, IDLE)
    (late,) = await scenario.begin(1)
    for each in (tab, late):
        assert await scenario.outcome(each, await each.message()) == "done"
    known = failures(cluster)
    await beats(cluster, 3)
    assert failures(cluster) == known
    await scenario.finish()


async def test_a_lost_connection_fails_one_handler_at_most(
    make_cluster: MakeCluster, play: Play
) -> None:
    """One that a handler has met is not there for the next, which came within the same second."""
    cluster = lone_worker(make_cluster, CONNECTIONS["kept"])
    scenario = play(cluster)
    (tab,) = await scenario.begin(1)
    assert await scenario.outcome(tab, await tab.message()) == "done"
    assert cluster.services.postgres.disconnect_workers(cluster.database)
    outcomes = [await scenario.outcome(tab, await tab.message()) for _ in range(5)]
    assert outcomes.count("failed") <= 1
    await scenario.finish()


@contextmanager
def standby(cluster: Cluster) -> Iterator[None]:
    """Who connects in the block is at a server that takes no writes, then and later."""
    database = f'ALTER DATABASE "{cluster.database}"'
    with cluster.services.postgres.connect("postgres") as connection:
        connection.execute(f"{database} SET default_transaction_read_only = on")
        cluster.services.postgres.disconnect_workers(cluster.database)
        try:
            yield
        finally:
            connection.execute(f"{database} RESET default_transaction_read_only")


@pytest.mark.parametrize("kind", ["kept", "pooled"])
async def test_a_failover_to_a_standby_loses_no_session(
    kind: str, make_cluster: MakeCluster, play: Play
) -> None:
    """ReadOnlySqlTransaction passes, and a connection that has it is not used again."""
    cluster = lone_worker(make_cluster, CONNECTIONS[kind])
    scenario = play(cluster)
    (tab,) = await scenario.begin(1)
    assert await scenario.outcome(tab, await tab.message()) == "done"
    with standby(cluster):
        n = await tab.event("block", 0)
        log = "in a read-only transaction"
        await until(lambda: log in cluster.workers[0].log())
        assert n in tab.unaccepted
    assert await scenario.outcome(tab, n) == "done"
    await scenario.finish()
