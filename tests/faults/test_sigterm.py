"""SIGTERM: clients are told to come back, turns finish or are interrupted, nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.server.client import ClientOf
from tests.server.harness import Kind, Server, running

from .points import arm, release
from .support import (
    APPLICATION,
    HASTY,
    FaultServer,
    Serve,
    assert_books,
    at_rest,
    come_back,
    counted,
    effects,
    exchange,
    struck,
)

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: Seconds; what is not to be waited for takes much longer.
STOPPED_WITHIN = 45
#: How a server that was asked to stop says that it did.
ORDERLY = (0, -signal.SIGTERM)

both_servers = pytest.mark.parametrize(
    "kind", ["daphne", "uvicorn", pytest.param("uvicorn-standard", marks=pytest.mark.slow)]
)


async def stopped(server: Server) -> None:
    """SIGTERM was sent: the process ends by itself, and leaves an orderly database."""
    code = await asyncio.to_thread(server.wait, STOPPED_WITHIN)
    assert code in ORDERLY
    rows = server.database.sessions()
    assert [row["id"] for row in rows if row["status"] == "connected"] == []
    assert [row["id"] for row in rows if row["worker_id"]] == []
    assert server.database.query("SELECT * FROM chatsessions_worker") == []


@both_servers
async def test_turns_of_all_kinds(kind: Kind, serve: Serve, client_of: ClientOf) -> None:
    """One that finishes in time, one that does not, one that streams, one without a client."""
    server = serve(kind=kind, chatsessions={"SHUTDOWN_TIMEOUT": 15})
    quick, slow, streaming, away, idle = clients = [client_of(server, "ledger") for _ in range(5)]
    for client in clients:
        await client.start()
    for client, data in ((quick, 0.4), (slow, 180), (away, 0.4)):
        await client.event("wait", data)
        await client.said("1 begins")
    await streaming.event("stream", {"count": 10_000, "pause": 0.02})
    await streaming.until({"type": "token", "index": 5})
    await slow.message("waits")
    await slow.until({"type": "accepted", "n": 2})
    await exchange(idle)
    await away.close()
    began = time.monotonic()
    server.terminate()
    for client in (quick, slow, streaming, idle):
        assert await client.closed() == 4000
    assert time.monotonic() - began < 15, "told late"
    await stopped(server)

    server.start()
    for client in clients:
        await come_back(client, server)
    await assert_books(quick, server, {1: "done"}, count=1)
    await assert_books(slow, server, {1: "interrupted", 2: "done"}, count=1)
    await assert_books(streaming, server, {1: "interrupted"})
    await assert_books(away, server, {1: "done"}, count=1)
    await assert_books(idle, server, {1: "done"}, count=1)
    assert counted(slow) == [2]
    assert effects(slow, server)["interrupted 1"] == 1
    assert streaming.streams == {}
    updates = streaming.event_frames("message_update")
    assert [update["data"]["streaming"] for update in updates] == [False]
    numbers = updates[0]["data"]["content"].split()
    assert len(numbers) >= len(streaming.of_type("token"))
    assert numbers == [str(number) for number in range(len(numbers))]
    await at_rest(server, *clients)


@both_servers
async def test_a_quiet_server_ends_at_once(kind: Kind, serve: Serve, client_of: ClientOf) -> None:
    """With a client, one that has not said hello, one that is gone, and one that does not read."""
    server = serve(kind=kind)
    client = await client_of(server, "ledger").start()
    silent = await client_of(server, "ledger").connect()
    deaf = await client_of(server, "ledger").start()
    gone = await client_of(server, "ledger").start()
    await gone.close()
    deaf.pause_reading()
    server.terminate()
    assert await client.closed() == 4000
    await stopped(server)
    assert await silent.closed() is not None
    if deaf.is_open:
        await deaf.drop()
    server.start()
    await come_back(client, server)
    await exchange(client)
    await assert_books(client, server, {1: "done"}, count=1)
    await at_rest(server, client)


async def test_a_signal_that_is_told_twice_is_one(serve: Serve, client_of: ClientOf) -> None:
    """By a service manager to all processes of the service, and by the parent of them to each."""
    server = serve(chatsessions={"SHUTDOWN_TIMEOUT": 60}, env={"SHUTDOWN_ECHO": "60"})
    client = await client_of(server, "ledger").start()
    arm(server.folder, "hold-flush")
    await client.event("flush")
    await client.until({"type": "turn", "turn": 1, "status": "running"})
    server.terminate()
    server.terminate()
    assert await client.closed() == 4000
    server.terminate()
    release(server.folder, "hold-flush")
    await stopped(server)
    server.start()
    await come_back(client, server)
    await assert_books(client, server, {1: "done"})
    await at_rest(server, client)


@both_servers
async def test_a_second_signal_is_the_servers_own(
    kind: Kind, serve: Serve, client_of: ClientOf
) -> None:
    server = serve(kind=kind, chatsessions={"SHUTDOWN_TIMEOUT": 120})
    client = await client_of(server, "ledger").start()
    await client.event("wait", 180)
    await client.said("1 begins")
    server.terminate()
    assert await client.closed() == 4000
    told = asyncio.get_running_loop().time()
    while server.is_running:  # one that comes at once counts as the first
        server.terminate()
        await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - told < STOPPED_WITHIN
    assert server.wait() in ORDERLY
    assert [row["status"] for row in server.database.sessions()] == ["away"]
    server.start()
    await come_back(client, server)
    await assert_books(client, server, {1: "interrupted"})
    await at_rest(server, client, expected=("CancelledError",))


async def test_a_sync_handler_does_not_keep_the_process(serve: Serve, client_of: ClientOf) -> None:
    """Its thread cannot be ended; the process can."""
    server = serve(chatsessions={"SHUTDOWN_TIMEOUT": 0.5, "STOP_TIMEOUT": 0.5})
    client = await client_of(server, "ledger").start()
    await client.event("block", 90)
    await client.until({"type": "turn", "turn": 1})
    server.terminate()
    assert await client.closed() == 4000
    await stopped(server)
    server.start()
    await come_back(client, server)
    await assert_books(client, server, {1: "interrupted"}, blocked=True)
    await at_rest(server, client)


async def test_a_client_that_comes_meanwhile_leaves_nothing_behind(
    server: FaultServer, client_of: ClientOf
) -> None:
    """Its hello is being worked on when the signal comes."""
    client = await client_of(server, "ledger").start()
    await exchange(client)
    await client.left(server.database)
    arm(server.folder, "delay-before-claim", "0.5")
    await client.knock()
    await struck(server, "delay-before-claim")
    server.terminate()
    assert await client.closed() is not None
    await stopped(server)
    server.start()
    await come_back(client, server)
    await exchange(client)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client)


async def test_a_turn_that_has_not_begun_is_left_to_the_next(
    server: FaultServer, client_of: ClientOf
) -> None:
    """The event is accepted, the commit that says so is on its way."""
    client = await client_of(server, "ledger").start()
    arm(server.folder, "delay-before-accept", "0.5")
    await client.message("late")
    await struck(server, "delay-before-accept")
    server.terminate()
    assert await client.closed() == 4000
    await stopped(server)
    assert effects(client, server) == {"start": 1}
    await come_back(client, server)
    await assert_books(client, server, {1: "done"}, count=1)
    assert effects(client, server) == {"start": 1, "1": 1}
    await at_rest(server, client)


async def test_an_end_under_way_is_finished(server: FaultServer, client_of: ClientOf) -> None:
    client = await client_of(server, "ledger").start()
    await exchange(client)
    arm(server.folder, "delay-before-ending", "0.5")
    await client.end()
    await struck(server, "delay-before-ending")
    server.terminate()
    await client.closed()
    await stopped(server)
    row = server.database.session(client.session)
    assert (row["status"], row["end_reason"]) == ("ended", "user")
    assert effects(client, server)["end user"] == 1
    await at_rest(server)


async def test_with_the_database_locked_the_server_gives_up_in_time(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"STORE_TIMEOUT": 1, "SHUTDOWN_TIMEOUT": 1}, env=HASTY)
    client = await client_of(server, "ledger").start()
    await exchange(client)
    with server.database.locked():
        await client.message("nobody stores this")
        server.terminate()
        assert await client.closed() == 4000
        assert await asyncio.to_thread(server.wait, STOPPED_WITHIN) in ORDERLY
    await come_back(client, server)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client, expected=("OperationalError: database is locked",))


async def test_nothing_is_running_when_a_server_that_served_nobody_stops() -> None:
    with running(FaultServer, application=APPLICATION) as server:
        server.terminate()
        assert server.wait() in ORDERLY
        await at_rest(server)
