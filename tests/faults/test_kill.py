"""SIGKILL at chosen points: what the client has seen stays, and no event is handled twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.client import ClientOf
from tests.server.harness import Server
from tests.support.sessions import until

from .points import arm
from .support import (
    FaultServer,
    Serve,
    assert_books,
    at_rest,
    come_back,
    counted,
    died,
    effects,
    exchange,
    nobody_connected,
    outcomes,
)

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: Where the server dies while it deals with a message, and what becomes of the message: before each
#: commit, when the client knows the last one, and behind it, when it does not know it yet. Between
#: rows and cache, which dies with the server, is as behind both; test_cache.py has one that stays.
MESSAGE = {
    "before-accept": "done",
    "stored-accept": "interrupted",
    "before-emit": "interrupted",
    "stored-emit": "interrupted",
    "before-outcome": "interrupted",
    "stored-outcome": "done",
}


@pytest.mark.parametrize("point", MESSAGE)
async def test_a_message_is_handled_once_wherever_the_server_dies(
    point: str, server: FaultServer, client_of: ClientOf
) -> None:
    client = await client_of(server, "ledger").start()
    await exchange(client)
    arm(server.folder, point)
    await client.message("struck")
    await died(client, server)
    await come_back(client, server)
    assert await exchange(client) == "done"
    await assert_books(client, server, {1: "done", 2: MESSAGE[point], 3: "done"}, count=3)
    assert counted(client) == [1, 2, 3]
    hooks = 1 if MESSAGE[point] == "interrupted" else 0
    assert effects(client, server)["interrupted 2"] == hooks
    await at_rest(server, client)


async def test_all_that_a_kill_meets_goes_on_once_and_in_order(
    server: FaultServer, client_of: ClientOf
) -> None:
    """Events that wait, a stream of a turn, one beside the turns, and a client without a turn."""
    clients = [await client_of(server, "ledger").start() for _ in range(4)]
    waiting, streaming, beside, idle = clients
    await waiting.event("wait", 180)
    await waiting.said("1 begins")
    for _ in range(3):
        await waiting.message("waits")
    await waiting.event("settings", {"tone": "kind"})
    await waiting.event("row")
    await waiting.until({"type": "accepted", "n": 6})
    await exchange(idle)
    long = {"count": 1000, "pause": 0.02}
    assert await exchange(beside, "background", long) == "done"
    await beside.until(lambda frame: frame["type"] == "token" and frame["index"] == 5)
    await streaming.event("stream", long)
    await streaming.until(lambda frame: frame["type"] == "token" and frame["index"] == 80)
    server.kill()
    for client in clients:
        await client.closed()
    assert server.database.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    for _ in range(3):
        await idle.message("while nobody is there")
    for client in clients:
        await come_back(client, server)

    rest = dict.fromkeys(range(2, 7), "done")
    await assert_books(waiting, server, {1: "interrupted"} | rest, count=4)
    assert counted(waiting) == [2, 3, 4, 6]
    seen = effects(waiting, server)
    assert seen["interrupted 1"] == 1
    assert [entry.name for entry in waiting.entries.values()].count("settings") == 2
    error = await waiting.until({"type": "event", "name": "error"})
    assert (error["data"]["code"], error["turn"]) == ("interrupted", 1)
    hook = await waiting.until({"type": "event", "name": "hook"})
    assert hook["data"] == {"turn": 1, "name": "wait", "data": 180}
    assert waiting.outcomes[1] == "interrupted"

    await assert_books(idle, server, dict.fromkeys(range(1, 5), "done"), count=4)
    assert counted(idle) == [1, 2, 3, 4]

    # Of a stream all but the last second survives.
    told = max(frame["index"] for frame in streaming.of_type("token"))
    for client, status in ((streaming, "interrupted"), (beside, "done")):
        [update] = client.event_frames("message_update")
        assert update["data"]["streaming"] is False
        assert client.streams == {}
        await assert_books(client, server, {1: status})
        numbers = update["data"]["content"].split()
        assert numbers == [str(number) for number in range(len(numbers))]
        if client is streaming:
            assert told - 60 < len(numbers) <= told + 1, f"{len(numbers)} of {told}"
    assert effects(streaming, server) == {"start": 1, "1": 1, "interrupted 1": 1}

    # The next crash has nothing to do with it.
    await streaming.event("wait", 180)
    await streaming.said("2 begins")
    server.kill()
    for client in clients:
        await client.closed()
        await come_back(client, server)
    assert len(streaming.event_frames("message_update")) == 1
    await assert_books(streaming, server, {1: "interrupted", 2: "interrupted"})
    await assert_books(waiting, server, {1: "interrupted"} | rest, count=4)
    assert effects(waiting, server) == seen
    await at_rest(server, *clients)


async def test_a_start_cut_short_is_interrupted_and_not_run_again(
    server: FaultServer, client_of: ClientOf
) -> None:
    client = client_of(server, "ledger")
    arm(server.folder, "chat-start")
    await client.start()
    await died(client, server)
    await come_back(client, server)
    assert await client.outcome(0) == "interrupted"
    assert await exchange(client) == "done"
    await assert_books(client, server, {1: "done"}, count=1)
    assert effects(client, server) == {"start": 1, "interrupted 0": 1, "1": 1}
    await at_rest(server, client)


@pytest.mark.parametrize("place", ["before", "stored"])
async def test_a_session_that_the_client_never_heard_of_is_left_away(
    place: str, server: FaultServer, client_of: ClientOf
) -> None:
    before = len(server.database.sessions())
    client = await client_of(server, "ledger").connect()
    arm(server.folder, f"{place}-new")
    await client.send({"type": "hello"})
    await died(client, server)
    assert client.told == []
    server.start()
    await client.start()
    await exchange(client)
    await assert_books(client, server, {1: "done"}, count=1)
    rows = server.database.sessions()
    assert len(rows) == before + (1 if place == "before" else 2)
    connected = [row["id"] for row in rows if row["status"] == "connected"]
    assert connected == [str(client.session).replace("-", "")]
    await at_rest(server, client)


@pytest.mark.parametrize("place", ["before", "stored"])
async def test_a_welcome_that_is_lost_locks_nobody_out(
    place: str, server: FaultServer, client_of: ClientOf
) -> None:
    client = await client_of(server, "ledger").start()
    await exchange(client)
    await client.left(server.database)
    arm(server.folder, f"{place}-claim")
    await client.knock(received=0)
    await died(client, server)
    assert client.connections == 2
    await come_back(client, server)
    await exchange(client)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client)


#: Where the server dies while a session ends: whether the end was stored, and the hook was run.
END = {
    "before-ending": (False, 0),
    "stored-ending": (True, 0),
    "chat-end": (True, 1),
    "stored-ended": (True, 1),
}


@pytest.mark.parametrize("point", END)
async def test_a_session_ends_once_wherever_the_server_dies(
    point: str, server: FaultServer, client_of: ClientOf
) -> None:
    stored, hooks = END[point]
    client = await client_of(server, "ledger").start()
    await client.event("wait", 60)
    await client.said("1 begins")
    await client.message("waits")
    await client.until({"type": "accepted", "n": 2})
    arm(server.folder, point)
    await client.end()
    await died(client, server)
    assert effects(client, server)["end user"] == hooks
    server.start()
    if stored:
        session = client.session
        old = client_of(server, "ledger")
        old.session, old.token = client.session, client.token
        welcome = await old.resume()
        assert (welcome["resumed"], welcome["reason"]) == (False, "ended")
        await at_rest(server, old)
    else:
        session = client.session
        await come_back(client, server)
        await client.end()
        assert await client.closed() == 4503
        hooks = 1
    row = await ended(server, session)
    assert (row["end_reason"], row["worker_id"], row["running"]) == ("user", None, None)
    assert effects(client, server)["end user"] == hooks
    assert effects(client, server)["2"] == (0 if stored else 1)
    log = {entry.n: entry.status for entry in server.database.log(session) if entry.n}
    assert log[1] in ("stopped", "interrupted")
    assert log[2] == ("stopped" if stored else None)
    await at_rest(server, client)


async def ended(server: Server, session: str) -> dict[str, Any]:
    """Wait until a session's row says that it is over; sooner than a stop times out."""
    await until(lambda: server.database.session(session)["status"] == "ended")
    return server.database.session(session)


async def test_an_end_that_a_crash_cut_short_needs_no_client_to_be_finished(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"SESSION_AGE": 0.5, "REAP_INTERVAL": 0.2})
    client = await client_of(server, "ledger").start()
    arm(server.folder, "chat-end")
    await client.end()
    await died(client, server)
    server.start()
    other = await client_of(server, "ledger").start()
    row = await ended(server, client.session)
    assert row["end_reason"] == "user"
    assert effects(client, server)["end user"] == 1
    await at_rest(server, other)


async def test_what_waits_in_a_session_that_expired_meanwhile_has_an_outcome(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"SESSION_AGE": 1})
    client = await client_of(server, "ledger").start()
    await client.event("wait", 60)
    await client.said("1 begins")
    await client.message("waits")
    await client.until({"type": "accepted", "n": 2})
    server.kill()
    await client.closed()
    session = client.session
    server.database.execute("UPDATE chatsessions_worker SET heartbeat_at = '2020-01-01 00:00:00'")
    server.start()
    welcome = await client.resume(resend=False)
    assert welcome["reason"] == "expired"
    await ended(server, session)
    log = {entry.n: entry.status for entry in server.database.log(session) if entry.n}
    assert log[1] == "interrupted"
    assert log[2] in ("stopped", "interrupted")
    await at_rest(server, client)


async def test_the_answer_to_nothing_is_no_event_of_the_next_owner(
    server: FaultServer, client_of: ClientOf
) -> None:
    client = await client_of(server, "ledger").start()
    await client.outcome(0)
    await client.send({"type": "answer", "n": 1, "call": "nobody", "data": 1})
    await client.until({"type": "error", "code": "call_closed", "n": 1})
    server.restart()
    await client.closed()
    await client.resume()
    await client.ping()
    assert [frame for frame in client.of_type("turn") if frame["turn"] == 1] == []
    assert client.event_frames("error") == []
    await at_rest(server, client)


async def test_a_resume_that_is_refused_does_not_forget_the_interrupted_turn(
    serve: Serve, client_of: ClientOf
) -> None:
    server = serve(chatsessions={"MAX_SESSIONS_PER_USER": 1})
    cookie = server.login()
    client = await client_of(server, "ledger", cookie=cookie).start()
    await client.event("wait", 60)
    await client.said("1 begins")
    server.kill()
    await client.closed()
    server.start()
    other = await client_of(server, "ledger", cookie=cookie).start()
    # The count takes longer than the commit that claims the session.
    arm(server.folder, "delay-count", "0.3")
    await client.knock()
    assert await client.closed() == 4504
    await other.close()
    await nobody_connected(server)
    await come_back(client, server)
    assert effects(client, server) == {"start": 1, "1": 1, "interrupted 1": 1}
    assert outcomes(client, server) == {1: "interrupted"}
    await at_rest(server, client)


async def test_a_user_who_is_back_at_once_is_welcomed(
    server: FaultServer, client_of: ClientOf
) -> None:
    """The session is being let go of while its owner's sessions are counted."""
    client = await client_of(server, "ledger", cookie=server.login()).start()
    await exchange(client)
    arm(server.folder, "delay-before-any", "0.3")
    await client.close()
    arm(server.folder, "delay-count", "0.8")
    await client.resume()
    await exchange(client)
    await assert_books(client, server, {1: "done", 2: "done"}, count=2)
    await at_rest(server, client)
