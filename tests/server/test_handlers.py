"""What handlers may do, and what must go on whatever they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.support.sessions import until

from .client import Client, assert_whole
from .harness import Server, running

ClientOf = Callable[..., Client]
SECRET = "secret-of-the-server"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One whose stopped handlers may take as long as they need."""
    with running(chatsessions={"STOP_TIMEOUT": 90}) as found:
        yield found


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    found = await client_of(server, "faulty").start()
    await found.said("started")
    return found


async def goes_on(client: Client) -> None:
    """The session takes events and runs their handlers."""
    n = await client.message("still here")
    await client.said("still here")
    assert await client.outcome(n) == "done"


async def what_was_seen(client: Client) -> list[str]:
    """The errors that a handler got after its turn was over, when it has got them."""
    async with asyncio.timeout(90):
        while True:
            since = client.here
            await client.event("seen")
            seen = await client.until({"type": "event", "name": "seen"}, since=since)
            if seen["data"] is not None:
                found: list[str] = seen["data"]
                return found
            await asyncio.sleep(0.1)


# Raising


@pytest.mark.parametrize(
    "name",
    [
        *("raise", "raise_after", "cancel_self"),
        *("set_unencodable", "emit_unencodable", "emit_surrogate"),
    ],
)
async def test_a_handler_that_raises_fails_its_turn_and_nothing_else(
    client: Client, server: Server, name: str
) -> None:
    n = await client.event(name)
    assert await client.outcome(n) == "failed"
    error = await client.until({"type": "event", "name": "error"})
    assert error["turn"] == n
    assert error["data"]["code"] == "handler_error"
    assert SECRET not in str(client.told)
    await goes_on(client)
    await assert_whole(client, server.database)
    assert server.database.log(client.session or "")[1].status == "failed"


@pytest.mark.parametrize("name", ["exit", "exit_sync", "odd"])
async def test_a_handler_that_raises_no_exception_but_worse_fails_its_turn_and_nothing_else(
    start_server: Callable[..., Server], client_of: ClientOf, name: str
) -> None:
    """``sys.exit()`` in some library is no reason to end the server."""
    server = start_server()
    client = await client_of(server, "faulty").start()
    n = await client.event(name)
    assert await client.outcome(n) == "failed"
    await goes_on(client)
    assert server.is_running
    await assert_whole(client, server.database)


async def test_what_came_before_the_error_stays(client: Client, server: Server) -> None:
    await client.event("raise_after")
    await client.until({"type": "event", "name": "error"})
    assert client.contents == ["started", "before the error"]
    await client.event("raise")
    await client.outcome(2)
    await assert_whole(client, server.database, state={"starts": 1, "raised": True})


async def test_the_text_of_an_error_is_in_the_servers_log(client: Client, server: Server) -> None:
    n = await client.event("raise")
    await client.outcome(n)
    assert SECRET in server.log()
    assert str(client.session) in server.log()


async def test_under_debug_the_text_is_told(
    start_server: Callable[..., Server], client_of: ClientOf
) -> None:
    server = start_server(env={"DJANGO_DEBUG": "1"})
    client = await client_of(server, "faulty").start()
    await client.event("raise")
    error = await client.until({"type": "event", "name": "error"})
    assert SECRET in error["data"]["detail"]
    n = await client.event("surrogate_error")
    assert await client.outcome(n) == "failed"
    await goes_on(client)


async def test_an_event_without_a_handler_fails_and_says_so(client: Client, server: Server) -> None:
    n = await client.event("nobody knows this")
    assert await client.outcome(n) == "failed"
    error = await client.until({"type": "event", "name": "error"})
    assert error["data"]["code"] == "no_handler"
    await goes_on(client)
    await assert_whole(client, server.database)


async def test_a_chat_without_any_handler_lives(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "bare").start()
    await client.message("anybody?")
    assert await client.outcome(1) == "failed"
    await client.event("settings", {"volume": 11})
    settings = await client.until({"type": "event", "name": "settings"})
    assert settings["data"] == {"volume": 11}
    assert await client.outcome(2) == "done"
    await client.stop()
    await client.ping()
    await assert_whole(client, server.database)


# Stopping


async def test_a_handler_that_never_returns_is_stopped_at_once(
    client: Client, server: Server
) -> None:
    n = await client.event("never")
    await client.said("never begins")
    await client.message("next")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await client.said("next")
    await assert_whole(client, server.database)
    assert server.database.log(client.session or "")[1].status == "stopped"


async def test_stop_ends_the_running_turn_only(client: Client, server: Server) -> None:
    for _ in range(3):
        await client.event("never")
    for n in (1, 2, 3):
        await client.until({"type": "turn", "turn": n, "status": "running"})
        await client.stop()
        assert await client.outcome(n) == "stopped"
    await goes_on(client)
    await assert_whole(client, server.database)


async def test_stop_without_a_turn_does_nothing(client: Client, server: Server) -> None:
    for _ in range(5):
        await client.stop()
    await goes_on(client)
    await client.stop()
    await client.ping()
    await assert_whole(client, server.database)


async def test_stop_right_behind_the_event_stops_it(client: Client, server: Server) -> None:
    """Before its handler has begun, while its event is being stored."""
    n = await client.event("never")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await assert_whole(client, server.database)


@pytest.mark.parametrize("name", ["finally", "finally_waits"])
async def test_what_a_handler_sends_while_it_cleans_up_arrives(
    client: Client, server: Server, name: str
) -> None:
    n = await client.event(name)
    await client.said("working")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    assert client.contents == ["started", "working", "cleaned up"]
    await goes_on(client)
    await assert_whole(client, server.database)


async def test_a_handler_that_will_not_stop_is_abandoned(
    start_server: Callable[..., Server], client_of: ClientOf
) -> None:
    """What it still sends and sets is refused."""
    server = start_server(chatsessions={"STOP_TIMEOUT": 0.6})
    client = await client_of(server, "faulty").start()
    n = await client.event("stubborn")
    await client.said("stubborn begins")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await goes_on(client)
    await client.event("unblock", client.session)
    assert await what_was_seen(client) == ["TurnStopped", "TurnStopped"]
    assert "too late" not in client.contents
    await assert_whole(client, server.database, state={"starts": 1})


async def test_stop_ends_the_turn_of_a_blocking_handler_at_once(
    client: Client, server: Server
) -> None:
    """Its thread cannot be killed, but nobody waits for it, and what it sets is refused."""
    n = await client.event("block")
    await client.said("blocked")
    await client.stop()
    assert await client.outcome(n) == "stopped"
    await goes_on(client)
    await client.event("unblock", client.session)
    assert await what_was_seen(client) == ["TurnStopped"]
    await assert_whole(client, server.database, state={"starts": 1, "blocked": "begun"})


async def test_while_a_sync_handler_blocks_other_sessions_go_on(
    server: Server, client: Client, client_of: ClientOf
) -> None:
    n = await client.event("block")
    await client.said("blocked")
    other = await client_of(server, "faulty").start()
    await goes_on(other)
    assert n not in client.outcomes
    await other.event("unblock", client.session)
    assert await client.outcome(n) == "done"
    await assert_whole(client, server.database, state={"starts": 1, "blocked": "over"})


async def test_stop_overtakes_what_waits(client: Client, server: Server) -> None:
    await client.event("never")
    for number in range(20):
        await client.event("add", number)
    await client.said("never begins")
    await client.stop()
    assert await client.outcome(1) == "stopped"
    await client.said("total 190")
    await assert_whole(client, server.database, state={"starts": 1, "total": 190})


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


async def test_changes_inside_values_are_stored(client: Client, server: Server) -> None:
    await client.event("nested", "a")
    await client.event("nested", {"b": [1]})
    await client.said("2 in history")
    history = [{"heard": "a", "last": {"b": [1]}}, {"heard": {"b": [1]}}]
    await assert_whole(client, server.database, state={"starts": 1, "history": history})


async def test_a_change_that_cannot_be_stored_fails_the_turn_and_keeps_the_stored_value(
    client: Client, server: Server
) -> None:
    n = await client.event("unencodable")
    assert await client.outcome(n) == "failed"
    await goes_on(client)
    await assert_whole(client, server.database, state={"starts": 1, "history": ["fine"]})


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


async def test_a_thread_that_changes_values_disturbs_no_commit(
    server: Server, client: Client, client_of: ClientOf
) -> None:
    """The journal looks at values that change under its eyes; others' commits go on."""
    other = await client_of(server, "faulty").start()
    n = await client.event("busy_thread", 10_000)
    for number in range(20):
        await other.event("add", number)
        await asyncio.sleep(0.01)
    assert await client.outcome(n) == "done"
    await other.said("total 190")
    await assert_whole(other, server.database)
    await goes_on(client)
    await assert_whole(client, server.database)
    assert server.database.state(client.session or "")["busy"] == 10_000


# Without a client


async def test_a_handler_goes_on_without_its_client(client: Client, server: Server) -> None:
    n = await client.event("slow", 0.4)
    await client.said("slow begins")
    await client.drop()
    session = client.session or ""
    await until(lambda: server.database.session(session)["handled"] == n)
    welcome = await client.resume()
    assert (welcome["received"], welcome["turn"]) == (n, None)
    await client.said("slow ends")
    await assert_whole(client, server.database)


async def test_a_client_that_comes_back_meets_the_running_turn(
    server: Server, client: Client, client_of: ClientOf
) -> None:
    n = await client.event("block")
    await client.said("blocked")
    await client.drop()
    assert (await client.resume())["turn"] == n
    other = await client_of(server, "faulty").start()
    await other.event("unblock", client.session)
    assert await client.outcome(n) == "done"
    await assert_whole(client, server.database)


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


# Spawned tasks


async def test_a_spawned_task_that_fails_is_logged_and_hurts_nobody(
    client: Client, server: Server
) -> None:
    n = await client.event("spawn_fails")
    assert await client.outcome(n) == "done"
    await client.said("spawned speaks")
    await goes_on(client)
    await assert_whole(client, server.database)
    assert SECRET in server.log()


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


async def test_many_events_of_one_turn_arrive_in_order(client: Client, server: Server) -> None:
    n = await client.event("many", {"count": 800, "bytes": 10})
    assert await client.outcome(n) == "done"
    numbers = [frame["data"]["number"] for frame in client.event_frames("filler")]
    assert numbers == list(range(800))
    await assert_whole(client, server.database)


async def test_a_message_may_be_larger_than_a_clients_frame(client: Client, server: Server) -> None:
    n = await client.event("big", 900_000)
    assert await client.outcome(n) == "done"
    assert client.contents[-1] == "y" * 900_000
    await client.resume(received=0)
    await client.caught_up()
    await goes_on(client)
    await assert_whole(client, server.database)


async def test_a_replay_never_asks_the_line_to_carry_too_much_at_once(
    server: Server, client_of: ClientOf
) -> None:
    """Daphne sends no more than 1 MiB at a time; the same replay comes whenever the client does."""
    client = await client_of(server, "faulty", bundles=True).start()
    assert await client.outcome(await client.event("many", {"count": 1, "bytes": 60_000})) == "done"
    assert await client.outcome(await client.event("big", 990_000)) == "done"
    await client.resume(received=0)
    await client.caught_up()
    await goes_on(client)
    await assert_whole(client, server.database)


async def test_a_message_that_the_line_cannot_carry_fails_its_turn(
    client: Client, server: Server
) -> None:
    """Daphne sends no more than 1 MiB at a time. Carried or refused, the session goes on."""
    n = await client.event("big", 3_000_000)
    assert await client.outcome(n) in ("done", "failed")
    await client.resume(received=0)
    await client.caught_up()
    await goes_on(client)
    await assert_whole(client, server.database)
