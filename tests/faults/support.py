"""What the tests of faults share: coming back, the books, and a look at the server's log."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from tests.server.client import Client, assert_whole
from tests.server.harness import Server
from tests.support.sessions import until

APPLICATION = "tests.faults.app:application"

#: A database that says "locked" at once, instead of waiting for it.
HASTY = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "SQLITE_TIMEOUT": "0.1"}

#: Never in a server's log, whatever happened.
FORBIDDEN = (
    "was never retrieved",
    "never awaited",
    "was destroyed but it is pending",
    "Fatal Python error",
    "The shutdown failed",
    "failed to go on after a commit",
)


class FaultServer(Server):
    """A server that dies in most of its tests."""

    def begin(self) -> Self:
        """A test begins: run, armed with nothing."""
        for path in (*self.folder.glob("point-*"), *self.folder.glob("cache-fails")):
            path.unlink()
        super().begin()
        # What another test could not clean up is not this one's trouble.
        self.database.execute(
            "UPDATE chatsessions_chatsession SET status = 'away' WHERE status = 'connected'"
        )
        return self


#: The fixture ``serve``: ``serve(kind=…, chatsessions={…})``.
Serve = Callable[..., FaultServer]


async def exchange(client: Client, name: str = "message", data: Any = None) -> str:
    """Send an event and wait for its outcome."""
    if name == "message" and data is None:
        data = {"content": "hello"}
    return await client.outcome(await client.event(name, data))


async def died(client: Client, server: Server) -> None:
    """Wait until the server has killed itself, and the client's line is dead."""
    await asyncio.to_thread(server.wait, 90)
    await client.closed()


async def come_back(client: Client, server: Server) -> None:
    """The server is started again, and the client resumes and sends again what is open."""
    if not server.is_running:
        server.start()
    welcome = await client.resume()
    assert welcome["resumed"], f"not resumed: {welcome}"
    await at_peace(client, server)


async def effect(client: Client, server: Server, what: str) -> None:
    """Wait until a handler did this."""
    await until(lambda: effects(client, server)[what])


async def struck(server: Server, point: str) -> None:
    """Wait until a delay is slept through: its point is not armed any more."""
    await until(lambda: not (server.folder / f"point-{point}").exists())


async def at_peace(client: Client, server: Server) -> None:
    """Wait until the session has nothing left to do, and the client has all of it."""
    session = client.session

    def is_at_peace() -> bool:
        row = server.database.session(session)
        return (
            not client.unaccepted
            and row["running"] is None
            and row["accepted"] == row["handled"] == client.next_n - 1
            and row["head"] == client.received
        )

    await until(is_at_peace)


def outcomes(client: Client, server: Server) -> dict[int, str]:
    """What the stored log says became of each accepted event."""
    log = server.database.log(client.session)
    return {row.n: row.status or "done" for row in log if row.n is not None}


def counted(client: Client) -> list[int]:
    """The events that the bot has counted, in order, as the client has seen it."""
    return [
        entry.data["n"] for _, entry in sorted(client.entries.items()) if entry.name == "counted"
    ]


def effects(client: Client, server: Server) -> Counter[str]:
    """What the handlers did in the world for this client's session, and how often."""
    path = server.folder / "effects"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(
        what
        for session, _, what in (line.partition(" ") for line in lines)
        if session == client.session
    )


async def assert_books(
    client: Client, server: Server, statuses: dict[int, str], **state: Any
) -> None:
    """The log is whole, the outcomes are these, and every counted event was counted once."""
    await assert_whole(client, server.database)
    assert outcomes(client, server) == statuses
    numbers = counted(client)
    assert len(numbers) == len(set(numbers))
    stored = server.database.state(client.session)
    assert stored.get("count", 0) == len(numbers)
    assert {key: stored.get(key) for key in state} == state
    assert max(effects(client, server).values(), default=1) == 1, effects(client, server)


async def at_rest(server: Server, *clients: Client, expected: tuple[str, ...] = ()) -> None:
    """The clients leave: no row says connected, and the log has no trouble but the expected."""
    for client in clients:
        await client.close()
    if server.is_running:
        await nobody_connected(server)
    assert_calm(server, *expected)


async def nobody_connected(server: Server) -> None:
    """Wait until no row says that its client is there."""
    await until(lambda: "connected" not in {row["status"] for row in server.database.sessions()})


def assert_calm(server: Server, *expected: str) -> None:
    """No forbidden words, and only tracebacks whose last line has one of ``expected`` in it."""
    log = server.log()
    for words in FORBIDDEN:
        assert words not in log, log[-5000:]
    for error in last_lines_of_tracebacks(log):
        assert any(words in error for words in expected), f"{error}\n{log[-5000:]}"


def last_lines_of_tracebacks(log: str) -> list[str]:
    found = []
    for part in log.split("Traceback (most recent call last):\n")[1:]:
        match = re.search(r"^\S.*", part, re.MULTILINE)
        found.append(match[0] if match else part[-200:])
    return found
