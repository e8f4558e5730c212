"""Clients that send too much, or read too little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.support.sessions import until

from .client import Client, assert_whole
from .harness import Server, running

ClientOf = Callable[..., Client]
StartServer = Callable[..., Server]
MIB = 1024 * 1024


LIMITS = {"EVENTS_PER_SECOND": 5, "EVENT_BURST": 5, "MAX_RATE_LIMITED": 4}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(chatsessions=LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """One that takes five events, and the next one minutes later."""
    limits = LIMITS | {"EVENTS_PER_SECOND": 0.01, "MAX_PENDING_EVENTS": 8}
    with running(chatsessions=limits) as found:
        yield found


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    found = await client_of(server, "faulty").start()
    await found.said("started")
    return found


async def test_too_many_events_at_once_are_told_when_to_come_again(
    client: Client, server: Server
) -> None:
    while not (errors := client.of_type("error")):  # as long as a slow server lets them through
        for _ in range(6):
            await client.event("add", 1)
        await client.ping()
    assert errors[0]["code"] == "rate_limited"
    assert 0 < errors[0]["retry_after"] <= 0.2
    await asyncio.sleep(errors[0]["retry_after"])
    n = errors[0]["n"]
    await client.send({"type": "event", "n": n, "name": "add", "data": 1})
    await client.until({"type": "accepted", "n": n})
    await get_through(client)
    await client.said(f"total {client.next_n - 1}")
    await assert_whole(client, server.database)


async def get_through(client: Client) -> None:
    """Send again what is not accepted, always as late as told, until all is."""
    since = client.here
    async with asyncio.timeout(120):
        while client.unaccepted:
            await client.ping()
            told = client.of_type("error", since=since)
            since = client.here
            waits = [error["retry_after"] for error in told if "retry_after" in error]
            await asyncio.sleep(max(waits, default=0.05))
            for n in list(client.unaccepted)[:3]:
                event = client.sent[n]
                await client.send({"type": "event", "n": n, "name": event.name, "data": event.data})


async def test_what_came_behind_a_refused_event_shares_its_fate(
    strict: Server, client_of: ClientOf
) -> None:
    """A client that pipelines hears of a limit, not of gaps that it would repair at once."""
    client = await client_of(strict, "faulty").start()
    for number in range(8):
        await client.event("add", number)
    await client.until(lambda frame: frame["type"] == "error" and frame["n"] == 8)

    def answered() -> set[int]:
        told = client.of_type("error") + client.of_type("accepted")
        return {frame["n"] for frame in told}

    await client.until(lambda _: answered() == set(range(1, 9)))
    errors = client.of_type("error")
    assert {error["code"] for error in errors} <= {"rate_limited", "busy"}
    assert all(error["retry_after"] > 0 for error in errors)


async def test_a_client_that_waits_as_told_gets_everything_through(
    client: Client, server: Server
) -> None:
    for _ in range(15):
        await client.event("add", 1)
    await get_through(client)
    assert client.is_open
    await client.said("total 15")
    await assert_whole(client, server.database)


async def test_events_that_wait_too_many_are_busy(
    start_server: StartServer, client_of: ClientOf
) -> None:
    server = start_server(chatsessions={"MAX_PENDING_EVENTS": 3})
    client = await client_of(server, "faulty").start()
    await client.event("never")
    await client.said("never begins")
    for number in range(3):
        await client.event("add", number)
    n = await client.event("add", 100)
    error = await client.until({"type": "error", "n": n})
    assert error["code"] == "busy"
    assert error["retry_after"] > 0
    await client.stop()
    await client.said("total 3")
    await client.resend()
    await client.said("total 103")
    await assert_whole(client, server.database)


async def test_hammering_closes(client: Client) -> None:
    while client.is_open:  # as long as a slow server lets one through
        n = await client.event("add", 1)
        frame = {"type": "event", "n": n, "name": "add", "data": 1}
        since = client.here
        for again in (*10 * [frame], {"type": "ping"}):
            if client.is_open:
                await client.send(again)
        await until(lambda at=since: client.of_type("pong", since=at) or not client.is_open)
    assert await client.closed() == 4013
    errors = client.of_type("error")
    assert [error["code"] for error in errors[-5:]] == 5 * ["rate_limited"]
    await asyncio.sleep(errors[-1]["retry_after"])
    welcome = await client.resume(resend=False)
    assert welcome["received"] == n - 1
    await client.resend()
    await client.said(f"total {n}")


async def test_a_reconnect_does_not_lift_the_limit(strict: Server, client_of: ClientOf) -> None:
    client = await client_of(strict, "faulty").start()
    for round_ in range(6):
        since = client.here
        for _ in range(5):
            await client.event("add", 1)
        await client.ping()
        assert bool(client.of_type("error", since=since)) == bool(round_)
        await client.drop()
        await client.resume(resend=False)
    await client.said("total 5")
    assert strict.database.session(client.session or "")["accepted"] == 5


# Readers


def rss(server: Server) -> float:
    """MiB of memory that the server takes."""
    return float(psutil.Process(server.pid).memory_info().rss) / MIB


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.slow
async def test_a_client_that_never_reads_costs_bounded_memory_and_is_closed(
    start_server: StartServer, client_of: ClientOf, kind: str
) -> None:
    """60 MiB are emitted for it; others do not notice."""
    limits = {"MAX_UNACKED_BYTES": 2 * MIB, "EVENTS_PER_SECOND": 1000}
    server = start_server(kind=kind, chatsessions=limits)
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
        while server.database.session(sleeper.session or "")["handled"] < 1:
            await other.outcome(await other.message("hello"))
            answers += 1
            peak = max(peak, rss(server))
    assert peak - before < 40
    assert answers > 1  # to one who is held up, the first comes when all is emitted
    sleeper.continue_reading()
    assert await sleeper.closed() in (4008, 1006)
    await until(lambda: server.database.session(sleeper.session or "")["status"] == "away")
    sleeper.acks = True
    await sleeper.resume()
    await sleeper.caught_up()
    await assert_whole(sleeper, server.database)
    await assert_whole(other, server.database)


async def test_a_client_that_reads_and_never_acknowledges_is_closed(
    start_server: StartServer, client_of: ClientOf
) -> None:
    server = start_server(chatsessions={"MAX_UNACKED_EVENTS": 64})
    client = await client_of(server, "faulty", acks=False).start()
    await client.event("many", {"count": 100, "bytes": 1})
    assert await client.closed() == 4008
    assert 60 <= client.received <= 70
    client.acks = True
    await client.resume()
    await client.caught_up()
    await assert_whole(client, server.database)


@pytest.mark.slow
async def test_tokens_for_a_client_that_never_reads_are_left_out(
    start_server: StartServer, client_of: ClientOf
) -> None:
    """They are not in the log, and the stream is whole when the client is heard again."""
    server = start_server(chatsessions={"MAX_UNACKED_BYTES": 64 * 1024})
    client = await client_of(server, "faulty", acks=False).start()
    await client.said("started")
    n = await client.event("stream", {"count": 3000, "pause": 0.0005})
    await client.until({"type": "token", "index": 100})
    client.pause_reading()
    await until(lambda: server.database.session(client.session or "")["handled"] >= n)
    client.continue_reading()
    await client.outcome(n)
    assert len(client.of_type("token")) < 3000
    await client.ack()
    assert client.contents[-1].endswith("2999 ")


async def test_a_client_that_pings_and_never_reads_costs_bounded_memory(
    start_server: StartServer, client_of: ClientOf
) -> None:
    """Pongs and errors pile up as well as events do."""
    server = start_server()
    client = await client_of(server, "faulty", acks=False).start()
    await client.said("started")
    client.pause_reading()
    before = rss(server)
    frame = {"type": "event", "n": 9_000_000, "name": "x" * 100, "data": 1}
    begun = time.monotonic()
    sent = 0
    while client.is_open and time.monotonic() - begun < 2:
        await client.send(frame)
        sent += 1
    assert rss(server) - before < 10, f"after {sent} frames"


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
    start_server: StartServer, client_of: ClientOf
) -> None:
    """Each is a look into the database for an event of before the session was loaded."""
    server = start_server()
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


async def test_a_flood_of_pings_ends_the_line(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "faulty").start()
    await flood(client, {"type": "ping"})
    assert await client.closed() in CUT
    await client.resume()
    await assert_whole(client, server.database)


async def test_settings_that_grow_without_end_cost_a_turn_at_most(
    start_server: StartServer, client_of: ClientOf
) -> None:
    """Each event is small enough, and all of them together are more than a line can carry."""
    server = start_server()
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
