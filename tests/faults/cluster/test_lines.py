"""The network between a client and the workers breaks at every frame of a conversation in turn."""

from __future__ import annotations

from functools import partial
from itertools import chain, count, repeat
from types import SimpleNamespace

import pytest

from tests.faults.proxy import Proxy

from .rig import Cluster
from .scenario import Play

pytestmark = [pytest.mark.server, pytest.mark.faults]

MESSAGES = 2
#: At least: hello and welcome, two messages, two accepted, three entries, some of the turns.
FRAMES = 13


@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_the_line_is_cut_at_every_frame(how: str, cluster: Cluster, play: Play) -> None:
    """Each time the client comes back by the other worker's door."""
    scenario = play(cluster)
    first, then = cluster.workers
    async with Proxy(first.port) as proxy:
        for number in count():
            proxy.port = first.port
            proxy.arm(number, swallows=how != "cut", stalls=False)
            line = SimpleNamespace(name=first.name, port=proxy.listens_on)
            doors = chain([line], repeat(then))
            tab = scenario.tab(pick=partial(next, doors), bundles=False)
            await tab.begun()
            for _ in range(MESSAGES):
                await tab.message()
            await tab.until(lambda tab=tab: len(tab.got("event", name="counted")) == MESSAGES)
            if not proxy.struck.is_set():
                break
            proxy.disarm()
            # A line that has nothing more to say notices nothing.
            tab.drop()
            first, then = then, first
    assert number >= FRAMES, "too short a conversation"
    for stored in await scenario.finish():
        assert stored.state["count"] == MESSAGES
