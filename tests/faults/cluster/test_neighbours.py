"""
Clients that read nothing, flood, or vanish: those who share a worker with them are answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from .long_run import LONG
from .rig import Cluster
from .scenario import Play, Scenario
from .tab import Door, Tab

# As often as it is tried.
pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.timeout(900)]

NEIGHBOURS = 20
#: Seconds for which neighbours talk, and messages of each neighbour per second.
SECONDS = 3.0
PACE = 5.0
#: Seconds for an answer: the flood and the server may share a core, and that with others.
ANSWER_TIMEOUT = 300.0
#: How many read nothing, and how many vanish.
DEAF, LOST = 3, 20
#: What a worker may grow by for a client that takes nothing (MAX_UNACKED_BYTES is 4 MiB), for any
#: other, and for its allocator.
BYTES_DEAF, BYTES_EACH, BYTES_MORE = 8 * 2**20, 150_000, 16 * 2**20
#: What a client may send, as everybody may.
EVENTS_PER_SECOND = 20
EVENT = '{"type": "event", "n": %d, "name": "message", "data": {"content": "more"}}'


async def talk(tab: Tab, until: float) -> None:
    """Send messages until then, each when the last one is answered."""
    await asyncio.sleep(tab.source.random() / PACE)  # not all at the same moment
    while time.monotonic() < until:
        assert await tab.outcome(await tab.message(), ANSWER_TIMEOUT) == "done"
        await asyncio.sleep(1 / PACE)


async def talk_all(tabs: list[Tab]) -> None:
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(talk(tab, until) for tab in tabs))


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


@asynccontextmanager
async def company(scenario: Scenario, door: Door, *, behaves: bool) -> AsyncIterator[None]:
    """
    Some who get many entries, some whose handler runs for a while, and one who says a lot.

    If they do not behave, the first read nothing, the next are gone at once, and the last floods.
    """
    readers = [scenario.tab(pick=lambda: door, acks=behaves) for _ in range(DEAF)]
    waiting = [scenario.tab(pick=lambda: door) for _ in range(LOST)]
    await asyncio.gather(*(tab.begun() for tab in [*readers, *waiting]))
    for tab in readers:
        await tab.event("many", 1500)
        if not behaves:
            tab.transport.ws.transport.pause_reading()
    for tab in waiting:
        await tab.event("slow", 2.0)
        if not behaves:
            await tab.stay_away()
    talker = scenario.tab(pick=lambda: door)
    talk = asyncio.create_task(say_a_lot(talker) if behaves else flood(door))
    try:
        yield
    finally:
        talk.cancel()
        await asyncio.gather(talk, return_exceptions=True)
    for tab in waiting:
        tab.come_back()
    if not behaves:
        scenario.tabs.remove(talker)  # which has never come
        for tab in readers:
            await tab.leave()
            scenario.tabs.remove(tab)


async def say_a_lot(tab: Tab) -> None:
    """As much as is allowed."""
    await tab.begun()
    while True:
        await tab.message()
        await asyncio.sleep(1 / EVENTS_PER_SECOND)


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["a", "b"] if LONG else ["a"])
async def test_bad_clients_are_no_bother(
    worker: str, make_cluster: Callable[..., Cluster], play: Play
) -> None:
    # With the limits of everybody.
    limits = {"EVENTS_PER_SECOND": EVENTS_PER_SECOND, "EVENT_BURST": 100}
    cluster = make_cluster(chatsessions=limits)
    scenario = play(cluster)
    there = cluster.worker(worker)
    neighbours = [scenario.tab(pick=lambda: there) for _ in range(NEIGHBOURS)]
    await asyncio.gather(*(tab.begun() for tab in neighbours))
    async with company(scenario, there, behaves=True):
        await talk_all(neighbours)
    await scenario.rest()
    size = there.inside()["bytes"]
    async with company(scenario, there, behaves=False):
        await talk_all(neighbours)
        grown = there.inside()["bytes"] - size
    await scenario.rest()
    allowed = DEAF * BYTES_DEAF + (LOST + 1) * BYTES_EACH + BYTES_MORE
    assert grown < allowed, f"{grown:,} bytes"
    await scenario.finish()
