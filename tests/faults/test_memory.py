"""``EVENT_LOG = "memory"``: what a crash costs is announced, and nothing hangs for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.server.client import Client
from tests.server.harness import Server

from .support import at_rest, counted, effects, exchange, until

Serve = Callable[..., Server]
ClientOf = Callable[..., Client]

pytestmark = [pytest.mark.server, pytest.mark.faults]


async def test_a_reloaded_page_gets_the_log_while_its_owner_lives(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"EVENT_LOG": "memory"})
    client = await client_of(server, "ledger").start()
    for _ in range(3):
        await exchange(client)
    before = dict(client.entries)
    welcome = await client.resume(received=0)
    assert (welcome["first"], welcome["head"]) == (1, 7)
    await client.until({"type": "event", "seq": 7}, since=client.record.index(welcome))
    assert client.entries == before
    assert counted(client) == [1, 2, 3]
    assert client.problems == []
    await at_rest(server, client)


async def test_after_a_restart_the_gap_is_announced(serve: Serve, client_of: ClientOf) -> None:
    server = serve(chatsessions={"EVENT_LOG": "memory"})
    client = await client_of(server, "ledger").start()
    await exchange(client)
    server.restart()
    await client.closed()
    welcome = await client.resume(received=0)
    assert (welcome["resumed"], welcome["received"]) == (True, 1)
    assert (welcome["first"], welcome["head"]) == (4, 3)
    assert client.received == 3
    assert await exchange(client) == "done"
    assert client.events("counted")[-1]["data"] == {"n": 2, "count": 2}
    assert client.problems == []
    await at_rest(server, client)


async def test_accepted_events_that_a_crash_took_have_an_outcome(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"EVENT_LOG": "memory"})
    client = await client_of(server, "ledger").start()
    await client.event("wait", 60)
    await client.said("1 begins")
    for _ in range(2):
        await client.message("waits")
    await client.until({"type": "accepted", "n": 3})
    server.restart()
    await client.closed()
    await client.resume()
    assert [await client.outcome(n) for n in (1, 2, 3)] == ["interrupted"] * 3
    assert await exchange(client) == "done"
    assert effects(client, server)["2"] == 0
    assert client.problems == []
    await at_rest(server, client)


async def test_a_full_ring_can_be_replayed(serve: Serve, client_of: ClientOf) -> None:
    """Also between the entry that fills it and the one that trims it."""
    server = serve(chatsessions={"EVENT_LOG": "memory", "MAX_LOG_ENTRIES": 40})
    client = await client_of(server, "ledger").start()
    await client.event("many", 30)
    await client.settled()
    for _ in range(8):
        await exchange(client)
        welcome = await client.resume(received=0)
        await client.ping()
        assert client.received == welcome["head"]
        assert client.problems == []
    assert welcome["first"] > 1
    await at_rest(server, client)


IN_MEMORY = {"EVENT_LOG": "memory", "USER_SESSION_STORE": "cache"}


async def test_with_its_values_in_the_server_s_memory_a_session_begins_again(
    serve: Serve, client_of: ClientOf
) -> None:
    """All that it kept is gone; the client's numbers go on, and no entry's is given twice."""
    server = serve(chatsessions=IN_MEMORY)
    client = await client_of(server, "ledger").start()
    for _ in range(3):
        await exchange(client)
    before = client.received
    await until(lambda: server.database.sessions()[-1]["head"] == before)
    server.restart()
    await client.closed()
    welcome = await client.resume()
    assert welcome["resumed"]
    assert welcome["first"] == welcome["head"] + 1 > before + 1
    for _ in range(2):
        assert await exchange(client) == "done"
    assert client.events("counted")[-1]["data"] == {"n": 5, "count": 2}
    assert client.problems == []
    await at_rest(server, client)
