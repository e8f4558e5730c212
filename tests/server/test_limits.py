"""Clients that send too much, or read too little, and what that costs the server."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.support.sessions import until

from .client import Client, ClientOf, assert_whole
from .conftest import MIB, Servers
from .harness import Server


def rss(server: Server) -> float:
    """MiB of memory that the server takes."""
    return float(psutil.Process(server.pid).memory_info().rss) / MIB


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.slow
async def test_a_client_that_never_reads_costs_bounded_memory_and_is_closed(
    servers: Servers, client_of: ClientOf, kind: str
) -> None:
    """60 MiB are emitted for it; others do not notice."""
    limits = {"MAX_UNACKED_BYTES": 2 * MIB, "EVENTS_PER_SECOND": 1000}
    server = servers(kind=kind, chatsessions=limits)
    other = await client_of(server, "faulty").start()
    await other.said("started")
    sleeper = await client_of(server, "faulty", acks=False).start()
    await sleeper.said("started")
    before = rss(server)
    sleeper.pause_reading()
    await sleeper.event("many", {"count": 600, "bytes": 100_000})
    peak = before
    answers = 0
    async with asyncio.timeout(600):
        while server.database.session(sleeper.session)["handled"] < 1:
            await other.outcome(await other.message("hello"))
            answers += 1
            peak = max(peak, rss(server))
    assert peak - before < 40
    assert answers > 1  # to one who is held up, the first comes when all is emitted
    sleeper.continue_reading()
    assert await sleeper.closed() in (4008, 1006)
    await until(lambda: server.database.session(sleeper.session)["status"] == "away")
    sleeper.acks = True
    await sleeper.resume()
    await sleeper.caught_up()
    await assert_whole(sleeper, server.database)
    await assert_whole(other, server.database)


@pytest.mark.slow
async def test_tokens_for_a_client_that_never_reads_are_left_out(
    servers: Servers, client_of: ClientOf
) -> None:
    """They are not in the log, and the stream is whole when the client is heard again."""
    server = servers(kind="daphne", chatsessions={"MAX_UNACKED_BYTES": 64 * 1024})
    client = await client_of(server, "faulty", acks=False).start()
    await client.said("started")
    n = await client.event("stream", {"count": 3000, "pause": 0.0005})
    await client.until({"type": "token", "index": 100})
    client.pause_reading()
    await until(lambda: server.database.session(client.session)["handled"] >= n)
    client.continue_reading()
    await client.outcome(n)
    assert len(client.of_type("token")) < 3000
    await client.ack()
    assert client.contents[-1].endswith("2999 ")


#: The code for a flood. Daphne gives a client a second to answer a close and then resets the
#: connection: on a busy machine the code that was on its way is lost with it.
CUT = (4013, 1006)


async def flood(client: Client, frame: dict[str, Any]) -> None:
    """As fast as can be, by a client that reads meanwhile: a close is heard before a reset is."""
    for _ in range(5_000):
        if not client.is_open:
            return
        await client.send(frame)
        # Sending alone never waits. Daphne gives an answer to its close a second, and who writes
        # to what was reset then loses the close that it has not read.
        await asyncio.sleep(0)


async def test_a_flood_of_repeats_ends_the_line_and_holds_nobody_else_up(
    server: Server, client_of: ClientOf
) -> None:
    """Each is a look into the database for an event of before the session was loaded."""
    client = await client_of(server, "faulty").start()
    await client.event("add", 1)
    await client.outcome(1)
    await client.left(server.database)
    await client.resume()
    await flood(client, {"type": "event", "n": 1, "name": "add", "data": 1})
    other = client_of(server)
    other.session, other.token = str(uuid4()), "x" * 43
    await other.connect()
    await other.hello()
    assert await client.closed() in CUT
    await client.resume()
    await assert_whole(client, server.database)


async def test_settings_that_grow_without_end_cost_a_turn_at_most(
    server: Server, client_of: ClientOf
) -> None:
    """Each event is small enough, and all of them together are more than a line can carry."""
    client = await client_of(server, "faulty").start()
    for number in range(8):
        n = await client.event("settings", {f"key {number}": "x" * 200_000})
        assert await client.outcome(n) in ("done", "failed")
    await client.message("still here")
    await client.said("still here")
    await client.left(server.database)
    await client.resume(received=0)
    await client.caught_up()
    await assert_whole(client, server.database)
