"""A database that is locked, refuses a row, or has lost one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.server.client import Client, ClientOf, assert_whole
from tests.server.harness import Server

from .points import arm, release
from .support import (
    HASTY,
    FaultServer,
    Serve,
    assert_books,
    at_peace,
    at_rest,
    come_back,
    counted,
    exchange,
    outcomes,
    struck,
)

pytestmark = [pytest.mark.server, pytest.mark.faults]

LOCKED = "OperationalError: database is locked"


async def test_a_lock_of_seconds_costs_these_seconds(serve: Serve, client_of: ClientOf) -> None:
    """Nothing is lost, the order is kept, who emits a lot waits; the log has no traceback."""
    server = serve(chatsessions={"WORKER_HEARTBEAT": 1}, env=HASTY)
    talker, writer = [await client_of(server, "ledger").start() for _ in range(2)]
    await writer.event("wait", 0.2)
    await writer.said("1 begins")
    with server.database.locked():
        for _ in range(5):
            await talker.message("hello")
        await writer.event("many", 200)
        await asyncio.sleep(2)  # and heartbeats
        assert talker.unaccepted.keys() == set(range(1, 6))
        assert talker.of_type("error") == writer.of_type("error") == []
    await talker.settled()
    await writer.settled()
    await assert_books(talker, server, dict.fromkeys(range(1, 6), "done"), count=5)
    assert counted(talker) == [1, 2, 3, 4, 5]
    await assert_books(writer, server, {1: "done", 2: "done"}, count=1)
    assert [frame["data"] for frame in writer.event_frames("filler")] == list(range(200))
    await at_rest(server, talker, writer)


async def test_a_lock_beyond_the_timeout_is_told_and_nothing_is_lost(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"STORE_TIMEOUT": 1}, env=HASTY)
    client = await client_of(server, "ledger").start()
    arm(server.folder, "hold-flush")
    await client.event("flush")
    await client.until({"type": "turn", "turn": 1, "status": "running"})
    with server.database.locked():
        await client.message("while it is tried")
        release(server.folder, "hold-flush")
        refused = await client.until({"type": "error", "n": 2})
        assert refused["code"] == "storage_unavailable"
        assert refused["retry_after"] > 0
        await client.message("after it was given up")
        refused = await client.until({"type": "error", "n": 3})
        assert (refused["code"], refused["retry_after"]) == ("storage_unavailable", 1.0)
        await client.resend()
        await client.ping()
        assert client.unaccepted.keys() == {2, 3}
        newcomer = await client_of(server, "ledger").knock()
        await asyncio.sleep(0.3)
        assert newcomer.of_type("welcome") == []
    await newcomer.until({"type": "welcome"})
    await asyncio.sleep(0.2)
    while client.unaccepted:
        await client.resend()
        await asyncio.sleep(0.3)
    await client.settled()
    await assert_books(client, server, dict.fromkeys((1, 2, 3), "done"), count=3, unavailable=True)
    assert counted(client) == [1, 2, 3]
    assert len(client.event_frames("unavailable")) == 1
    await exchange(newcomer)
    await assert_books(newcomer, server, {1: "done"}, count=1)
    assert "The store takes commits again" in server.log()
    await at_rest(server, client, newcomer, expected=(LOCKED,))


async def test_a_client_that_leaves_during_the_lock_finds_everything(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"STORE_TIMEOUT": 1}, env=HASTY)
    client = await client_of(server, "ledger").start()
    await exchange(client)
    with server.database.locked():
        await client.message("hello")
        await client.until({"type": "error", "n": 2})
        await client.drop()
        await client.knock()
        await asyncio.sleep(0.2)
    await client.until({"type": "welcome", "resumed": True})
    await client.resend()
    await at_peace(client, server)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client, expected=(LOCKED,))


async def test_a_server_that_starts_with_a_locked_database_asks_to_come_back(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"STORE_TIMEOUT": 1}, env=HASTY)
    server.terminate()
    server.wait()
    server.start()
    client = client_of(server, "ledger")
    with server.database.locked():
        await client.knock()
        error = await client.until({"type": "error"})
        assert error["code"] == "storage_unavailable"
        assert await client.closed() == 4000
    await client.start()
    await exchange(client)
    await assert_books(client, server, {1: "done"}, count=1)
    await at_rest(server, client, expected=(LOCKED,))


async def test_a_database_slower_than_the_hello_timeout_is_no_fault_of_the_client(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"HELLO_TIMEOUT": 3})
    client = await client_of(server, "ledger").start()
    await exchange(client)
    await client.left(server.database)
    arm(server.folder, "delay-load", "4")
    await client.resume(timeout=90)
    await exchange(client)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client)


@contextmanager
def poisoned(server: Server, client: Client) -> Iterator[None]:
    """The database refuses the entries of one session."""
    server.database.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON chatsessions_sessionevent "
        f"WHEN NEW.session_id = '{UUID(client.session).hex}' "
        "BEGIN SELECT RAISE(ABORT, 'poisoned by a test'); END"
    )
    try:
        yield
    finally:
        server.database.execute("DROP TRIGGER poison")


async def send_together(server: Server, *clients: Client) -> None:
    """Each client's next message, all in one commit: while another one is being stored."""
    first, *others = clients
    arm(server.folder, "delay-before-any", "0.3")
    await first.message("first")
    await struck(server, "delay-before-any")
    for client in others:
        await client.message("together")


async def test_a_poisoned_session_whose_client_is_gone_is_not_connected(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"REAP_INTERVAL": 0.3})
    client = await client_of(server, "ledger").start()
    await exchange(client)
    with poisoned(server, client):
        await client.message("hello")
        assert await client.closed() == 4000
    await at_rest(server, client, expected=("poisoned by a test",))


async def test_a_poisoned_row_is_one_sessions_trouble(
    server: FaultServer, client_of: ClientOf
) -> None:
    """Also with a lock while it is looked for: what is stored by itself is not stored again."""
    first, one, sick, two = clients = [await client_of(server, "ledger").start() for _ in range(4)]
    for client in clients:
        await exchange(client)
    with poisoned(server, sick):
        await send_together(server, first, one, sick, two)
        # Of the commits of one session alone, the third fails for a while.
        arm(server.folder, "locked-alone", "2")
        assert await sick.closed() == 4000
        for client in (first, one, two):
            assert await client.outcome(2) == "done"
            await assert_books(client, server, {1: "done", 2: "done"}, count=2)
        # It may come back, but not speak.
        await sick.resume()
        assert await sick.closed() == 4000
    await come_back(sick, server)
    await assert_books(sick, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, *clients, expected=("poisoned by a test",))


async def test_a_session_deleted_under_its_owner_has_ended(
    server: FaultServer, client_of: ClientOf
) -> None:
    first, gone, other = clients = [await client_of(server, "ledger").start() for _ in range(3)]
    for client in clients:
        await exchange(client)
    key = UUID(gone.session).hex
    server.database.execute("DELETE FROM chatsessions_sessionevent WHERE session_id = ?", key)
    server.database.execute("DELETE FROM chatsessions_chatsession WHERE id = ?", key)
    await send_together(server, first, gone, other)
    await gone.until({"type": "ended", "reason": "admin"})
    assert await gone.closed() == 4503
    for client in (first, other):
        assert await client.outcome(2) == "done"
        await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    left = "SELECT * FROM chatsessions_sessionevent WHERE session_id = ?"
    assert server.database.query(left, key) == []
    again = await gone.resume()
    assert (again["resumed"], again["reason"]) == (False, "unknown")
    await at_rest(server, *clients)


async def test_a_session_that_another_worker_took_is_closed_here(
    server: FaultServer, client_of: ClientOf
) -> None:
    """The compare-and-set of the generation: who lost a session can change nothing of it."""
    client = await client_of(server, "ledger").start()
    await exchange(client)
    row: dict[str, Any] = server.database.session(client.session)
    server.database.update_session(
        client.session, generation=row["generation"] + 1, worker_id=None, status="away"
    )
    await client.message("to the wrong one")
    assert await client.closed() == 4000  # no newer connection has it
    left = server.database.session(client.session)
    assert (left["accepted"], left["head"]) == (row["accepted"], row["head"])
    await come_back(client, server)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client)


async def test_many_short_locks_are_not_noticed(serve: Serve, client_of: ClientOf) -> None:
    server = serve(chatsessions={"WORKER_HEARTBEAT": 1}, env=HASTY)
    clients = [await client_of(server, "ledger").start() for _ in range(3)]
    end = time.monotonic() + 1
    sent = 0
    while time.monotonic() < end:
        for client in clients:
            await client.message("hello")
        sent += 1
        with server.database.locked():
            await asyncio.sleep(0.15)
    for client in clients:
        await client.settled()
        await assert_whole(client, server.database)
        assert counted(client) == list(range(1, sent + 1))
        assert outcomes(client, server) == dict.fromkeys(range(1, sent + 1), "done")
    await at_rest(server, *clients, expected=(LOCKED,))
