"""What handlers may do, and what must go on whatever they do."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.sessions import until

from .client import Client, ClientOf, assert_whole
from .harness import Server

SECRET = "secret-of-the-server"


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    found = await client_of(server, "faulty").start()
    await found.said("started")
    return found


async def goes_on(client: Client) -> None:
    """The session takes events and runs their handlers."""
    since = client.here
    n = await client.message("still here")
    await client.said("still here", since=since)
    assert await client.outcome(n) == "done"


# Raising


async def test_a_handler_that_raises_fails_its_turn_and_nothing_else(
    client: Client, server: Server
) -> None:
    """``sys.exit()`` in some library is no reason to end the server, either."""
    failing = ["raise", "raise_after", "cancel_self", "exit", "exit_sync", "odd"]
    failing += ["set_unencodable", "emit_unencodable", "emit_surrogate"]
    for name in failing:
        since = client.here
        n = await client.event(name)
        assert await client.outcome(n) == "failed", name
        error = await client.until({"type": "event", "name": "error"}, since=since)
        assert (error["turn"], error["data"]["code"]) == (n, "handler_error")
    assert await client.outcome(await client.event("exit_beside")) == "done"
    await until(lambda: "sys.exit(3) was called" in server.log())
    await goes_on(client)
    assert server.is_running
    # What came before the error stays; its text is in the server's log alone.
    assert client.contents == ["started", "before the error", "still here"]
    await assert_whole(client, server.database, state={"starts": 1, "raised": True})
    assert server.database.log(client.session)[1].status == "failed"
    assert SECRET not in str(client.told)
    assert SECRET in server.log()
    assert str(client.session) in server.log()


async def test_a_chat_without_any_handler_lives(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "bare").start()
    await client.message("anybody?")
    assert await client.outcome(1) == "failed"
    error = await client.until({"type": "event", "name": "error"})
    assert error["data"]["code"] == "no_handler"
    await client.event("settings", {"volume": 11})
    settings = await client.until({"type": "event", "name": "settings"})
    assert settings["data"] == {"volume": 11}
    assert await client.outcome(2) == "done"
    await client.stop()
    await client.ping()
    await assert_whole(client, server.database)


# Stopping


async def test_stop_ends_the_running_turn_at_once_and_no_other(
    client: Client, server: Server
) -> None:
    await client.stop()  # nothing
    for _ in range(3):
        await client.event("never")
    for number in range(20):
        await client.event("add", number)
    for n in (1, 2, 3):
        await client.until({"type": "turn", "turn": n, "status": "running"})
        await client.stop()
        assert await client.outcome(n) == "stopped"
    await client.said("total 190")
    assert await client.outcome(23) == "done"
    # Right behind its event, which is being stored: before its handler has begun.
    n = await client.event("never")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await client.stop()
    await goes_on(client)
    await assert_whole(client, server.database, state={"starts": 1, "total": 190})
    assert server.database.log(client.session)[1].status == "stopped"


async def test_what_a_handler_sends_while_it_cleans_up_arrives(
    client: Client, server: Server
) -> None:
    for name in ("finally", "finally_waits"):
        since = client.here
        n = await client.event(name)
        await client.said("working", since=since)
        await client.stop()
        assert await client.outcome(n) == "stopped"
    assert client.contents == ["started", *2 * ("working", "cleaned up")]
    await goes_on(client)
    await assert_whole(client, server.database)


async def test_a_handler_that_will_not_stop_is_abandoned(
    tight: Server, client_of: ClientOf
) -> None:
    """What it still sends and sets is refused."""
    client = await client_of(tight, "faulty").start()
    n = await client.event("stubborn")
    await client.said("stubborn begins")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await goes_on(client)
    await client.event("unblock", client.session)
    await client.event("seen")
    seen = await client.until({"type": "event", "name": "seen"})
    assert seen["data"] == ["TurnStopped", "TurnStopped"]
    assert "too late" not in client.contents
    await assert_whole(client, tight.database, state={"starts": 1})


async def test_while_a_sync_handler_blocks_other_sessions_go_on(
    server: Server, client: Client, client_of: ClientOf
) -> None:
    """Also without its client, who meets the running turn on return."""
    n = await client.event("block")
    await client.said("blocked")
    other = await client_of(server, "faulty").start()
    await goes_on(other)
    assert n not in client.outcomes
    await client.drop()
    assert (await client.resume())["turn"] == n
    await other.event("unblock", client.session)
    assert await client.outcome(n) == "done"
    await assert_whole(client, server.database, state={"starts": 1, "blocked": "over"})


async def test_stop_reaches_a_turn_that_began_on_another_connection(
    client: Client, server: Server
) -> None:
    n = await client.event("never")
    await client.said("never begins")
    await client.drop()
    assert (await client.resume())["turn"] == n
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await assert_whole(client, server.database)


async def test_a_handler_goes_on_without_its_client(client: Client, server: Server) -> None:
    n = await client.event("slow", 0.4)
    await client.said("slow begins")
    await client.drop()
    session = client.session
    await until(lambda: server.database.session(session)["handled"] == n)
    welcome = await client.resume()
    assert (welcome["received"], welcome["turn"]) == (n, None)
    await client.said("slow ends")
    await assert_whole(client, server.database)


# Order and state


async def test_events_run_one_at_a_time_and_in_order(client: Client, server: Server) -> None:
    """A read, a wait and a write: two at a time would lose an update."""
    for number in range(60):
        await client.event("add", number)
    await client.settled()
    running_now: set[int] = set()
    for frame in client.of_type("turn"):
        if frame["status"] == "running":
            assert not running_now
            running_now.add(frame["turn"])
        else:
            running_now.remove(frame["turn"])
    totals = [frame["data"]["content"] for frame in client.event_frames("message")[1:]]
    assert totals == [f"total {sum(range(number + 1))}" for number in range(60)]
    await assert_whole(client, server.database, state={"starts": 1, "total": sum(range(60))})


async def test_an_object_whose_own_code_fails_at_the_commit_is_its_sessions_trouble(
    server: Server, client: Client, client_of: ClientOf
) -> None:
    other = await client_of(server, "faulty").start()
    n = await client.event("moody")
    for number in range(10):
        await other.event("add", number)
    assert await client.outcome(n) == "failed"
    await goes_on(client)
    await other.said("total 45")
    await assert_whole(client, server.database)
    await assert_whole(other, server.database)


# Spawned tasks


async def test_a_spawned_task_that_fails_is_logged_and_hurts_nobody(
    client: Client, server: Server
) -> None:
    n = await client.event("spawn_fails")
    assert await client.outcome(n) == "done"
    await client.said("spawned speaks")
    await goes_on(client)
    await until(lambda: SECRET in server.log())
    await assert_whole(client, server.database)


async def test_stop_ends_what_the_turn_has_spawned(client: Client, server: Server) -> None:
    n = await client.event("spawn_forever")
    await client.until({"type": "event", "name": "tick"})
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await goes_on(client)
    ticks = len(client.event_frames("tick"))
    await asyncio.sleep(0.1)
    assert len(client.event_frames("tick")) == ticks
    await assert_whole(client, server.database)


# Much


async def test_a_replay_never_asks_the_line_to_carry_too_much_at_once(
    server: Server, client_of: ClientOf
) -> None:
    """Daphne sends no more than 1 MiB at a time; the same replay comes whenever the client does."""
    client = await client_of(server, "faulty", bundles=True).start()
    assert await client.outcome(await client.event("many", {"count": 1, "bytes": 60_000})) == "done"
    assert await client.outcome(await client.event("big", 990_000)) == "done"
    assert client.contents[-1] == "y" * 990_000
    # One that is too large is carried or refused: the session goes on.
    assert await client.outcome(await client.event("big", 3_000_000)) in ("done", "failed")
    await client.resume(received=0)
    await client.caught_up()
    await goes_on(client)
    await assert_whole(client, server.database)
