"""A worker with a thousand clients dies, and all of them come back at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from .rig import Cluster
from .scenario import Scenario

pytestmark = [pytest.mark.server, pytest.mark.faults]
Play = Callable[..., Scenario]

CROWD = 1000
#: How many of them come at a time in the beginning, which is nobody's concern here.
AT_A_TIME = 200
#: Bytes that a session may take of a worker's memory, with its line; see docs/deployment.md.
BYTES_EACH = 150_000


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
            scenario.tab(pick=lambda: cluster.door(old if old.is_running else new))
            for _ in range(AT_A_TIME)
        ]
        await asyncio.gather(*(tab.begun() for tab in tabs))
        for tab in tabs:
            await tab.message()
    await scenario.rest(60)
    await asyncio.to_thread(old.kill)
    since = time.monotonic()
    await asyncio.gather(
        *(tab.until(lambda tab=tab: tab.welcome is not None, 60) for tab in scenario.tabs)
    )
    took = time.monotonic() - since
    for tab in scenario.tabs:
        await tab.message()
    await scenario.rest(60)
    held = new.inside()
    assert held["live"] == CROWD
    assert held["bytes"] - before < CROWD * BYTES_EACH
    # Nobody knocks again and again.
    lines = sum(len(tab.lines) for tab in scenario.tabs)
    assert lines < 4 * CROWD, f"{lines} connections"
    assert took < 30, f"{took:.1f} s"
    for stored in await scenario.finish():
        assert stored.state["count"] == 2
