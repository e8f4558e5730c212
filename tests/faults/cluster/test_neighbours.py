"""Clients that read nothing, flood, or vanish: what it costs those who share a worker with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from .long_run import LONG
from .rig import Cluster
from .scenario import Scenario
from .tab import Door, Tab

pytestmark = [pytest.mark.server, pytest.mark.faults]
Play = Callable[..., Scenario]

NEIGHBOURS = 20
#: Seconds that are measured, and messages of each neighbour per second.
SECONDS = 3.0
PACE = 5.0
#: Below this a p99 says more about a machine with two busy cores than about its clients.
NOISE = 0.5
#: What a worker may grow by for a client that takes nothing (MAX_UNACKED_BYTES is 4 MiB).
BYTES_EACH = 8 * 2**20
EVENT = '{"type": "event", "n": %d, "name": "message", "data": {"content": "more"}}'


async def latency(tab: Tab, until: float) -> list[float]:
    """Seconds from each message to its reply."""
    found = []
    await asyncio.sleep(tab.source.random() / PACE)  # not all at the same moment
    while time.monotonic() < until:
        since = time.monotonic()
        await tab.outcome(await tab.message(), 30)
        found.append(time.monotonic() - since)
        await asyncio.sleep(max(0, 1 / PACE - found[-1]))
    return found


async def p99(tabs: list[Tab]) -> float:
    until = time.monotonic() + SECONDS
    found = await asyncio.gather(*(latency(tab, until) for tab in tabs))
    times = sorted(time for some in found for time in some)
    return times[int(len(times) * 0.99)]


async def flood(door: Door) -> None:
    """Everything at once, whatever is answered, and again as soon as it is thrown out."""
    url = f"ws://127.0.0.1:{door.port}/ws/books/"
    while True:
        with suppress(WebSocketException, OSError):
            async with connect(url, compression=None, proxy=None, max_queue=None) as line:
                await line.send('{"type": "hello"}')
                for n in count(1):
                    await line.send(EVENT % n)
                    if n % 20 == 0:
                        await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("worker", ["a", "b"] if LONG else ["a"])
async def test_bad_clients_are_no_bother(
    worker: str, make_cluster: Callable[..., Cluster], play: Play
) -> None:
    # With the limits of everybody.
    cluster = make_cluster(chatsessions={"EVENTS_PER_SECOND": 20, "EVENT_BURST": 100})
    scenario = play(cluster)
    there = cluster.worker(worker)
    door = cluster.door(there)
    neighbours = [scenario.tab(pick=lambda: door) for _ in range(NEIGHBOURS)]
    await asyncio.gather(*(tab.begun() for tab in neighbours))
    before = await p99(neighbours)
    size = there.inside()["bytes"]
    deaf = [scenario.tab(pick=lambda: door, acks=False) for _ in range(3)]
    lost = [scenario.tab(pick=lambda: door) for _ in range(20)]
    await asyncio.gather(*(tab.begun() for tab in [*deaf, *lost]))
    for tab in deaf:
        await tab.event("many", 1500)
        assert tab.ws is not None
        tab.ws.transport.pause_reading()
    for tab in lost:
        await tab.event("slow", 2.0)
        await tab.stay_away()
    flooding = asyncio.create_task(flood(door))
    try:
        after = await p99(neighbours)
    finally:
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    assert after < 2 * max(before, NOISE), f"{before:.3f} s before, {after:.3f} s beside them"
    grown = there.inside()["bytes"] - size
    assert grown < BYTES_EACH * (len(deaf) + 1 + len(lost)), f"{grown:,} bytes"
    for tab in deaf:
        await tab.leave()
        scenario.tabs.remove(tab)
    for tab in lost:
        tab.come_back()
    await scenario.finish()
