"""What clients say while something goes wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from .scenario import Scenario
from .tab import Tab

#: Events of one tab that are not accepted, and those whose turn has not come to its end.
MAX_UNACCEPTED = 5
MAX_OPEN = 10


async def talk(tab: Tab, source: random.Random, over: asyncio.Event) -> None:
    """Send events of several kinds until it is over, never more than a few that wait."""
    while not over.is_set():
        if len(tab.unaccepted) < MAX_UNACCEPTED and tab.next_n - len(tab.outcomes) < MAX_OPEN:
            await say_something(tab, source)
        await asyncio.sleep(source.random() * 0.05)


async def say_something(tab: Tab, source: random.Random) -> None:
    kind = source.random()
    if kind < 0.8:
        await tab.message()
    elif kind < 0.9:
        await tab.event("stream", {"count": 5, "pause": 0.02})
    elif kind < 0.95:
        await tab.event("slow", 0.2)
    else:
        await tab.event("fail")


@asynccontextmanager
async def talking(scenario: Scenario, tabs: Sequence[Tab]) -> AsyncIterator[None]:
    """In the block the tabs say something all the time."""
    over = asyncio.Event()
    sources = [random.Random(scenario.source.random()) for _ in tabs]  # noqa: S311
    talks = [
        asyncio.create_task(talk(tab, source, over))
        for tab, source in zip(tabs, sources, strict=True)
    ]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*talks)
