"""A worker with a thousand clients dies, and all of them come back at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from .rig import Cluster
from .scenario import Play
from .tab import PAGE_PAUSES, WELCOME_TIMEOUT

# A busy machine takes its time for a crowd; what is looked at is what it takes beside that.
pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.timeout(900)]

CROWD = 1000
#: How many of them come at a time in the beginning, which is not what is tested: few enough that a
#: busy machine welcomes each within the patience of a page.
AT_A_TIME = 50
#: Seconds until all of them are there, if they come as pages do.
ALL_HERE = 300.0
#: Bytes that a session may take of a worker's memory, with its line: twice what docs/deployment.md
#: says, since a worker keeps the memory of the moment at which everybody came.
BYTES_EACH = 300_000


@pytest.mark.slow
async def test_a_thousand_clients_come_back_at_once(
    make_cluster: Callable[..., Cluster], play: Play
) -> None:
    # With the real heartbeat: who waits for a welcome says nothing, and is not taken for dead.
    cluster = make_cluster(chatsessions={"HEARTBEAT": 25})
    scenario = play(cluster)
    old, new = cluster.workers
    before = new.inside()["bytes"]
    for _ in range(CROWD // AT_A_TIME):
        tabs = [
            scenario.tab(
                pick=lambda: old if old.is_running else new,
                pauses=PAGE_PAUSES,
                patience=WELCOME_TIMEOUT,
            )
            for _ in range(AT_A_TIME)
        ]
        await asyncio.gather(*(tab.begun(ALL_HERE) for tab in tabs))
        for tab in tabs:
            await tab.message()
    await scenario.rest()
    commits = new.inside()["batches"]
    await asyncio.to_thread(old.kill)
    await asyncio.gather(
        *(tab.until(lambda tab=tab: tab.is_welcome, ALL_HERE) for tab in scenario.tabs)
    )
    commits = new.inside()["batches"] - commits
    for tab in scenario.tabs:
        await tab.message()
    await scenario.rest()
    held = new.inside()
    assert held["live"] == CROWD
    assert held["bytes"] - before < CROWD * BYTES_EACH
    # Nobody knocks again and again: pauses that double are few, however busy the machine is.
    lines = sum(len(tab.lines) for tab in scenario.tabs)
    assert lines < 16 * CROWD, f"{lines} connections"
    # What each brings, a claim and a token at least, is stored with what others bring.
    assert commits < 2 * CROWD, f"{commits} commits"
    for stored in await scenario.finish():
        assert stored.state["count"] == 2
