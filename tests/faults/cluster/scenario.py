"""One run of a scenario: its tabs, how they come to rest, and what the checker says of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from .books import Stored
from .invariants import Violation, one_line_each, violations
from .process import WorkerProcess
from .rig import Cluster, until
from .tab import Door, Line, Tab
from .tally import Tally


@dataclass(eq=False)
class Scenario:
    """``name`` is its row of the table that is printed at the end."""

    name: str
    cluster: Cluster
    tally: Tally
    seed: int = 1
    tabs: list[Tab] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)  # noqa: S311
        self.tally.runs += 1
        self._kills = self._total_kills()

    def _total_kills(self) -> int:
        return sum(worker.kills for worker in self.cluster.workers)

    def tab(self, *, pick: Callable[[], Door] | None = None, **options: Any) -> Tab:
        """
        A client that chooses its workers by ``pick``, else by chance. Every other takes bundles.
        """
        options.setdefault("bundles", len(self.tabs) % 2 == 1)
        source = random.Random(self.source.random())  # noqa: S311
        tab = Tab(pick or (lambda: source.choice(self.cluster.workers)), source, **options)
        self.tabs.append(tab)
        return tab

    async def begin(self, count: int) -> list[Tab]:
        """``count`` tabs that are welcome."""
        tabs = [self.tab() for _ in range(count)]
        await asyncio.gather(*(tab.begun() for tab in tabs))
        return tabs

    @asynccontextmanager
    async def talking(self, tabs: Sequence[Tab]) -> AsyncIterator[None]:
        """In the block the tabs say something all the time."""
        over = asyncio.Event()
        sources = [random.Random(self.source.random()) for _ in tabs]  # noqa: S311
        talks = [
            asyncio.create_task(talk(tab, source, over))
            for tab, source in zip(tabs, sources, strict=True)
        ]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*talks)

    async def arrived(self, tab: Tab, worker: WorkerProcess) -> None:
        """Wait until a tab is welcome at this worker."""
        await tab.until(lambda: tab.is_welcome and tab.door == worker.name)

    async def outcome(self, tab: Tab, n: int) -> str:
        """
        Of a turn: what the client is told. One whose line has broken since it sent the event, or
        that came later, may have missed it, as it is not in the log; then what is stored.
        """
        sent = (note.connection for note in tab.record if note.sent and note.frame.get("n") == n)
        line = next(sent, 0)
        await tab.until(lambda: n in tab.outcomes or len(tab.lines) > line)
        if n in tab.outcomes:
            return tab.outcomes[n]
        session = tab.session
        await until(
            lambda: n in tab.outcomes or self.cluster.books.session(session)["handled"] >= n,
            what=f"turn {n} has no outcome",
        )
        log = await asyncio.to_thread(self.cluster.books.log, session)
        stored = next(entry.status for entry in log if entry.n == n) or "done"
        # What came of the turn is on its way.
        await tab.until(lambda: tab.received >= log[-1].seq or n in tab.outcomes)
        return tab.outcomes.get(n, stored)

    async def rest(self) -> None:
        """Wait until every session has nothing left to do, and its client has all of it."""
        tabs = [tab for tab in self.tabs if tab.over is None]
        await asyncio.gather(*(self._rest(tab) for tab in tabs))

    async def _rest(self, tab: Tab) -> None:
        await tab.until(lambda: tab.is_welcome and not tab.unaccepted)
        session = tab.session

        def is_at_rest() -> bool:
            row = self.cluster.books.session(session)
            return (
                row["running"] is None
                and row["accepted"] == row["handled"] == tab.next_n - 1
                and row["head"] == tab.received
            )

        try:
            await until(is_at_rest)
        except AssertionError:
            row = self.cluster.books.session(session)
            facts = {key: row[key] for key in ("running", "handled", "accepted", "head", "status")}
            raise AssertionError(f"it does not come to rest: {facts}; {tab.story()}") from None

    async def check(self, *tabs: Tab) -> list[Stored]:
        """
        All invariants, of these tabs or of all; the numbers go into the table. What is stored.
        """
        found: list[tuple[Tab, list[Violation]]] = []
        books = []
        for tab in tabs or self.tabs:
            stored = await asyncio.to_thread(self.cluster.books.stored, tab.session)
            wrong = violations(tab.record, stored, complete=tab.over is None)
            found.append((tab, wrong + one_line_each(self._lines(tab))))
            books.append(stored)
            self.tally.messages += stored.row["accepted"]
            self.tally.moves += tab.moves
        wrong = [violation for _, some in found for violation in some]
        kinds = [violation.kind for violation in wrong]
        self.tally.holes += kinds.count("hole")
        self.tally.repeats += kinds.count("repeat")
        self.tally.losses += kinds.count("loss")
        told = [f"{tab.story()}\n" + "\n".join(map(str, some[:5])) for tab, some in found if some]
        assert not told, f"seed {self.seed}: " + "\n\n".join(told[:3])
        return books

    def _lines(self, tab: Tab) -> list[Line]:
        """All connections of the tab's session."""
        return [line for other in self.tabs if other.session == tab.session for line in other.lines]

    async def finish(self) -> list[Stored]:
        """At rest, everything is in order, and nothing is left when all have gone."""
        await self.rest()
        books = await self.check()
        await self.leave()
        return books

    async def leave(self) -> None:
        await asyncio.gather(*(tab.leave() for tab in self.tabs))
        self.tally.kills += self._total_kills() - self._kills
        self._kills = self._total_kills()
        await self.nothing_left()
        self.cluster.assert_calm()

    async def nothing_left(self) -> None:
        """
        No row that says connected; nothing of a session in memory, no line, task or thread; keys
        have an end, and nobody listens to a channel or is in a group but the workers themselves.
        """
        books, workers = self.cluster.books, self.cluster.workers
        await until(lambda: not books.connected(), what="rows say connected")
        for worker in workers:
            if worker.is_running:
                await _until_empty(worker)
        # The core layer gives a key its end by a second command.
        await until(lambda: not self._endless_keys(), what="keys without a timeout")
        listening = await asyncio.to_thread(self._channels)
        assert len(listening) <= len(workers), listening

    def _endless_keys(self) -> list[bytes]:
        with self.cluster.services.redis.client() as client:
            keys = client.scan_iter(match=f"{self.cluster.database}*")
            # What a worker was about to hear when it was killed, the core layer keeps so.
            ours = [key for key in keys if not key.endswith(b"$inflight")]
            return [key for key in ours if client.ttl(key) == -1]

    def _channels(self) -> list[bytes]:
        """Groups among them: of the one layer they are channels, of the other keys."""
        with self.cluster.services.redis.client() as client:
            channels = client.pubsub_channels(f"{self.cluster.database}*")
            return [*channels, *client.scan_iter(match=f"{self.cluster.database}:group:*")]


#: Events of one tab that are not accepted, and those whose turn has not come to its end.
MAX_UNACCEPTED = 5
MAX_OPEN = 10


async def talk(tab: Tab, source: random.Random, over: asyncio.Event) -> None:
    """Send events of several kinds until it is over, never more than a few that wait."""
    while not over.is_set():
        if len(tab.unaccepted) < MAX_UNACCEPTED and tab.next_n - len(tab.outcomes) < MAX_OPEN:
            kind = source.random()
            if kind < 0.8:
                await tab.message()
            elif kind < 0.9:
                await tab.event("stream", {"count": 5, "pause": 0.02})
            elif kind < 0.95:
                await tab.event("slow", 0.2)
            else:
                await tab.event("fail")
        await asyncio.sleep(source.random() * 0.05)


#: The fixture ``play``: ``play(cluster)``.
Play = Callable[..., Scenario]

#: The tasks that a worker always has, and the threads that it may keep, with how many of them.
HOUSEKEEPING = {"keep_running"}
THREADS = {"journal": 1, "reader": 4, "checker": 4, "handler": 8, "files": 4}
#: What is to be 0 of all that a worker tells of itself.
HELD = ("live", "lines", "relays", "guests", "letters")


async def _until_empty(worker: WorkerProcess) -> None:
    held: dict[str, Any] = {}

    def is_empty() -> bool:
        held.update(worker.inside())
        return not any(held[name] for name in HELD) and set(held["tasks"]) <= HOUSEKEEPING

    try:
        await until(is_empty)
    except AssertionError:
        raise AssertionError(f"{worker!r} holds on: {held}") from None
    threads = Counter(
        name.removeprefix("chatsessions-").rstrip("-_0123456789")
        for name in held["threads"]
        if name.startswith("chatsessions-")
    )
    assert all(count <= THREADS.get(name, 0) for name, count in threads.items()), threads
