"""A cache that fails, forgets, or lags behind, under both stores of user_session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.client import Client, ClientOf, assert_whole
from tests.server.harness import Server

from .points import arm
from .support import HASTY, Serve, assert_books, at_rest, come_back, died, exchange

pytestmark = [pytest.mark.server, pytest.mark.faults]


def switch(server: Server, *, on: bool) -> None:
    path = server.folder / "cache-fails"
    path.unlink() if on else path.touch()


def with_cache(store: str) -> dict[str, Any]:
    return {"env": HASTY, "chatsessions": {"USER_SESSION_STORE": store}}


async def count_of(client: Client, server: Server) -> int:
    """What the bot counts to now: its next reply says."""
    assert await exchange(client) == "done"
    found: int = client.event_frames("counted")[-1]["data"]["count"]
    return found


async def test_a_failing_cache_is_survived_where_the_database_has_it_all(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(**with_cache("cached_db"))
    client = await client_of(server, "ledger").start()
    await exchange(client)
    switch(server, on=False)
    await exchange(client)
    assert "The cache failed; user_session is safe in the database" in server.log()
    switch(server, on=True)
    await exchange(client)
    await assert_books(client, server, dict.fromkeys((1, 2, 3), "done"), count=3)
    switch(server, on=False)
    server.restart()
    await client.closed()
    await come_back(client, server)
    await exchange(client)
    await assert_books(client, server, dict.fromkeys((1, 2, 3, 4), "done"), count=4)
    await at_rest(server, client)


async def test_where_only_the_cache_has_it_a_failure_is_waited_for(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(**with_cache("cache"))
    client = await client_of(server, "ledger").start()
    await exchange(client)
    switch(server, on=False)
    await client.message("waits")
    await asyncio.sleep(0.5)
    assert client.outcomes.keys() == {0, 1}
    assert [frame["data"]["n"] for frame in client.event_frames("counted")] == [1]
    switch(server, on=True)
    assert await client.outcome(2) == "done"
    assert await count_of(client, server) == 3
    await assert_whole(client, server.database)
    server.restart()
    await client.closed()
    await come_back(client, server)
    assert await count_of(client, server) == 4
    await assert_whole(client, server.database)
    await at_rest(server, client)


async def test_what_the_cache_has_thrown_away_is_noticed(serve: Serve, client_of: ClientOf) -> None:
    server = serve(**with_cache("cache"))
    client = await client_of(server, "ledger").start()
    await exchange(client)
    await exchange(client, "state_lost")
    await client.left(server.database)
    for path in (server.folder / "cache").iterdir():
        path.unlink()
    await client.resume()
    await exchange(client, "state_lost")
    assert [frame["data"] for frame in client.event_frames("state_lost")] == [False, True]
    assert "has thrown its user_session away" in server.log()
    assert await count_of(client, server) == 1
    await assert_whole(client, server.database)
    await at_rest(server, client)


async def test_a_session_whose_cache_does_not_answer_is_asked_to_come_back(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(**with_cache("cache"))
    client = await client_of(server, "ledger").start()
    await exchange(client)
    await client.left(server.database)
    switch(server, on=False)
    await client.knock()
    error = await client.until({"type": "error"})
    assert error["code"] == "storage_unavailable"
    assert await client.closed() == 4000
    switch(server, on=True)
    await come_back(client, server)
    assert await count_of(client, server) == 2
    await assert_whole(client, server.database)
    await at_rest(server, client)


@pytest.mark.parametrize("point", ["between-emit", "between-outcome", "stored-emit"])
async def test_what_the_log_says_the_cache_knows_after_a_crash(
    point: str, serve: Serve, client_of: ClientOf
) -> None:
    """An entry is sent only after the values that it reflects are stored."""
    server = serve(**with_cache("cache"))
    client = await client_of(server, "ledger").start()
    await exchange(client)
    arm(server.folder, point)
    await client.message("struck")
    await died(client, server)
    await come_back(client, server)
    assert await count_of(client, server) == 3
    told = [frame["data"]["count"] for frame in client.event_frames("counted")]
    assert told == sorted(set(told)), "what was told has been unmade"
    await assert_whole(client, server.database)
    await at_rest(server, client)


async def test_a_claim_cut_short_does_not_lose_what_the_cache_has(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(**with_cache("cache"))
    client = await client_of(server, "ledger").start()
    await exchange(client)
    await client.left(server.database)
    arm(server.folder, "between-claim")
    await client.knock()
    await died(client, server)
    await come_back(client, server)
    assert await count_of(client, server) == 2
    await at_rest(server, client)
