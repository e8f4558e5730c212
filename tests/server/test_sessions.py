"""Whose session it is, how to come back to it, and how it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.support.sessions import until

from .client import Client, Frame, assert_whole
from .harness import Server, running

ClientOf = Callable[..., Client]
StartServer = Callable[..., Server]


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    found = await client_of(server).start()
    await found.message("one")
    await found.said("You have sent 1 message(s)!")
    return found


def make_expired(server: Server, session: str | None) -> None:
    """Put a session's last client two hours back."""
    assert session is not None
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    server.database.update_session(session, disconnected_at=long_ago.strftime("%Y-%m-%d %H:%M:%S"))


# Who gets which session


async def _ask_for_unknown(server: Server, client_of: ClientOf) -> Client:
    client = client_of(server)
    client.session, client.token = str(uuid4()), "x" * 43
    return client


async def _ask_with_malformed_id(server: Server, client_of: ClientOf) -> Client:
    client = client_of(server)
    client.session, client.token = "1; DROP TABLE", "x" * 43
    return client


async def _ask_with_empty_id(server: Server, client_of: ClientOf) -> Client:
    client = client_of(server)
    client.session, client.token = "", ""
    return client


async def _ask_with_wrong_token(server: Server, client_of: ClientOf) -> Client:
    victim = await client_of(server).start()
    client = client_of(server)
    client.session, client.token = victim.session, "x" * 43
    return client


async def _ask_without_token(server: Server, client_of: ClientOf) -> Client:
    client = await _ask_with_wrong_token(server, client_of)
    client.token = None
    return client


async def _ask_with_empty_token(server: Server, client_of: ClientOf) -> Client:
    client = await _ask_with_wrong_token(server, client_of)
    client.token = ""
    return client


async def _ask_for_an_away_session(server: Server, client_of: ClientOf) -> Client:
    victim = await client_of(server).start()
    await victim.left(server.database)
    client = client_of(server)
    client.session, client.token = victim.session, "x" * 43
    return client


async def _ask_for_an_ended_session(server: Server, client_of: ClientOf) -> Client:
    victim = await client_of(server).start()
    await victim.end()
    await victim.closed()
    client = client_of(server)
    client.session, client.token = victim.session, "x" * 43
    return client


async def _ask_for_a_users_session(server: Server, client_of: ClientOf) -> Client:
    """Even with its token: it belongs to a logged-in user."""
    victim = await client_of(server, cookie=server.login("victim")).start()
    client = client_of(server)
    client.session, client.token = victim.session, victim.token
    return client


async def _ask_as_another_user(server: Server, client_of: ClientOf) -> Client:
    victim = await client_of(server, cookie=server.login("victim")).start()
    client = client_of(server, cookie=server.login("mallory"))
    client.session, client.token = victim.session, victim.token
    return client


async def _ask_as_user_for_an_anonymous_session(server: Server, client_of: ClientOf) -> Client:
    victim = await client_of(server).start()
    client = client_of(server, cookie=server.login("mallory"))
    client.session, client.token = victim.session, victim.token
    return client


async def _ask_at_another_chat(server: Server, client_of: ClientOf) -> Client:
    victim = await client_of(server, "faulty").start()
    client = client_of(server)
    client.session, client.token = victim.session, victim.token
    return client


@pytest.mark.parametrize(
    "ask",
    [
        _ask_for_unknown,
        _ask_with_malformed_id,
        _ask_with_empty_id,
        _ask_with_wrong_token,
        _ask_without_token,
        _ask_with_empty_token,
        _ask_for_an_away_session,
        _ask_for_an_ended_session,
        _ask_for_a_users_session,
        _ask_as_another_user,
        _ask_as_user_for_an_anonymous_session,
        _ask_at_another_chat,
    ],
)
async def test_who_may_not_have_a_session_gets_a_fresh_one_and_learns_nothing(
    server: Server, client_of: ClientOf, ask: Callable[[Server, ClientOf], object]
) -> None:
    client = await ask(server, client_of)  # type: ignore[misc]
    asked_for, guess = client.session, client.token
    await client.connect()
    welcome = await client.hello(received=0)
    assert welcome["session"] != asked_for
    assert welcome["token"] != guess
    assert (welcome["resumed"], welcome["reason"]) == (False, "unknown")
    assert (welcome["received"], welcome["turn"]) == (0, 0)
    await client.message("hello")
    await client.said("You have sent 1 message(s)!")
    await assert_whole(client, server.database)


async def test_somebody_elses_try_changes_nothing_for_the_owner(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    thief = client_of(server)
    for token in ("wrong", None, ""):
        thief.session, thief.token = client.session, token
        await thief.connect()
        await thief.hello()
        await thief.close()
    await client.message("two")
    await client.said("You have sent 2 message(s)!")
    await client.drop()
    assert (await client.resume())["resumed"]
    await assert_whole(client, server.database, state={"message_count": 2})


async def test_the_logged_in_owner_needs_no_token(server: Server, client_of: ClientOf) -> None:
    """A second device: it gets the whole conversation, and the first is told."""
    cookie = server.login("owner")
    first = await client_of(server, cookie=cookie).start()
    await first.message("one")
    await first.said("You have sent 1 message(s)!")
    second = client_of(server, cookie=server.login("owner"))
    second.session = first.session
    await second.connect()
    welcome = await second.hello(received=0)
    assert (welcome["resumed"], welcome["reason"]) == (True, None)
    assert await first.closed() == 4509
    await second.message("two")
    await second.said("You have sent 2 message(s)!")
    await assert_whole(second, server.database, state={"message_count": 2})


async def test_a_logged_in_user_comes_back_a_hundred_times(
    server: Server, client_of: ClientOf
) -> None:
    """Each time from the database, and from what is just being put there."""
    client = await client_of(server, cookie=server.login("traveller")).start()
    for round_ in range(100):
        await client.drop()
        if round_ % 2:
            await client.until_away(server.database)
        assert (await client.resume())["resumed"], f"round {round_}"
        n = await client.message("again")
        assert await client.outcome(n) == "done"
    await assert_whole(client, server.database, state={"message_count": 100})


@pytest.mark.slow
async def test_an_anonymous_user_comes_back_a_hundred_times(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server).start()
    for round_ in range(100):
        await client.drop()
        if round_ % 2:
            await client.until_away(server.database)
        assert (await client.resume())["resumed"], f"round {round_}"
        n = await client.message("again")
        assert await client.outcome(n) == "done"
    await assert_whole(client, server.database, state={"message_count": 100})


# Tokens


async def test_the_token_changes_with_every_welcome(client: Client) -> None:
    tokens = {client.token}
    for _ in range(3):
        await client.resume()
        tokens.add(client.token)
    assert len(tokens) == 4


async def test_only_hashes_of_tokens_are_stored(client: Client, server: Server) -> None:
    await client.resume()
    row = server.database.session(client.session or "")
    assert client.token not in row.values()
    assert str(client.token) not in server.log()


@pytest.mark.parametrize("lost", [1, 2, 5])
async def test_lost_welcomes_lock_nobody_out(client: Client, server: Server, lost: int) -> None:
    """The client never saw the new token, and comes with the one it has."""
    session, token = client.session, client.token
    for _ in range(lost):
        await client.close()
        await client.connect()
        await client.hello(session=session, token=token, received=0)
        await client.drop()
    await client.connect()
    welcome = await client.hello(session=session, token=token, received=0)
    assert welcome["resumed"]
    await client.message("two")
    await client.said("You have sent 2 message(s)!")
    await assert_whole(client, server.database)


async def test_a_welcome_lost_before_the_server_had_stored_it_locks_nobody_out(
    client: Client, server: Server
) -> None:
    """The client dropped right behind its hello, having sent more in the same breath."""
    session, token = client.session, client.token
    await client.close()
    await client.connect()
    with server.database.locked():
        await client.send({"type": "hello", "session": session, "token": token})
        await client.send({"type": "ping"})
        await asyncio.sleep(0.1)
        await client.drop()
    await client.connect()
    assert (await client.hello(session=session, token=token, received=0))["resumed"]


async def test_after_the_first_frame_the_old_token_is_worth_nothing(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    old = client.token
    await client.resume()
    await client.ping()
    thief = client_of(server)
    thief.session, thief.token = client.session, old
    await thief.connect()
    assert (await thief.hello())["reason"] == "unknown"
    await client.ping()
    assert client.is_open


async def test_the_new_token_is_valid_as_well_as_the_old_until_then(
    client: Client, server: Server
) -> None:
    await client.resume(resend=False)
    await client.drop()
    assert (await client.resume())["resumed"]
    await client.message("two")
    await client.said("You have sent 2 message(s)!")
    await assert_whole(client, server.database)


# One connection


async def test_of_two_tabs_the_newer_goes_on(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    """The browser has duplicated a tab, with all it remembers."""
    second = client_of(server)
    second.session, second.token = client.session, client.token
    await second.connect()
    welcome = await second.hello(received=0)
    assert welcome["resumed"]
    assert await client.closed() == 4509
    await second.message("two")
    await second.said("You have sent 2 message(s)!")
    await asyncio.sleep(0.2)
    assert second.is_open
    assert server.database.session(second.session or "")["connections"] == 2
    await assert_whole(second, server.database, state={"message_count": 2})


async def test_what_the_older_tab_still_sends_is_not_lost_and_not_doubled(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    n = await client.message("two")
    second = client_of(server)
    second.session, second.token = client.session, client.token
    await second.connect()
    welcome = await second.hello(received=0)
    assert await client.closed() == 4509
    if welcome["received"] < n:
        await second.message("two")
    await second.said("You have sent 2 message(s)!")
    await assert_whole(second, server.database, state={"message_count": 2})


async def test_a_crowd_with_one_token_leaves_one_connection(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    tabs = [client_of(server) for _ in range(8)]
    for tab in tabs:
        tab.session, tab.token = client.session, client.token
        await tab.connect()
    hello: Frame = {"type": "hello", "session": client.session, "token": client.token}
    await asyncio.gather(*(tab.send(hello) for tab in tabs))
    await until(lambda: sum(tab.is_open for tab in [client, *tabs]) <= 1)
    await asyncio.sleep(0.2)
    last = [tab for tab in tabs if tab.is_open]
    assert len(last) == 1
    await last[0].ping()
    codes = Counter(tab.close_code for tab in [client, *tabs] if not tab.is_open)
    assert codes == {4509: 8}


# Replay


async def test_a_reloaded_page_gets_the_whole_log(client: Client, server: Server) -> None:
    for _ in range(20):
        await client.message("more")
    await client.settled()
    before = dict(client.entries)
    await client.close()
    welcome = await client.resume(received=0)
    assert (welcome["first"], welcome["head"]) == (1, len(before))
    await client.caught_up()
    assert client.entries == before
    assert [frame.get("n") for frame in client.event_frames() if "n" in frame] == list(range(1, 22))
    await assert_whole(client, server.database)


async def test_a_client_gets_what_it_does_not_have(client: Client, server: Server) -> None:
    for _ in range(10):
        await client.message("more")
    await client.settled()
    head = client.received
    for received in (head, head - 1, 7, 1):
        since = client.here
        await client.close()
        await client.resume(received=received)
        await client.caught_up()
        seqs = [frame["seq"] for frame in client.of_type("event", since=since)]
        assert seqs == list(range(received + 1, head + 1))
    await assert_whole(client, server.database)


async def test_a_long_log_is_replayed_whole(server: Server, client_of: ClientOf) -> None:
    """In pieces, to a client that acknowledges."""
    client = await client_of(server, "faulty").start()
    for _ in range(4):
        n = await client.event("many", {"count": 800, "bytes": 10})
        assert await client.outcome(n) == "done"
        await client.ack()
    await client.left(server.database)
    await client.resume(received=0)
    await client.caught_up(20)
    await assert_whole(client, server.database)


async def test_what_happens_during_a_replay_comes_after_it(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "faulty").start()
    for _ in range(2):
        n = await client.event("many", {"count": 800, "bytes": 10})
        assert await client.outcome(n) == "done"
        await client.ack()
    await client.close()
    await client.resume(received=0)
    for number in range(50):
        await client.event("add", number)
        await asyncio.sleep(0)
    await client.said("total 1225")
    await assert_whole(client, server.database)


async def test_a_client_that_claims_more_than_there_is_gets_what_comes(client: Client) -> None:
    await client.close()
    await client.connect()
    welcome = await client.hello(received=2**53 - 1)
    assert welcome["resumed"]
    await client.message("two")
    await client.until({"type": "event", "seq": welcome["head"] + 2})


async def test_a_trimmed_log_announces_its_gap(
    start_server: StartServer, client_of: ClientOf
) -> None:
    """However full the log is: also between one trimming and the next."""
    server = start_server(chatsessions={"MAX_LOG_ENTRIES": 40, "EVENTS_PER_SECOND": 1000})
    client = await client_of(server).start()
    await client.said("Hi! I'll count how many messages you send.")
    for sent in range(1, 41):
        await client.message("more")
        await client.said(f"You have sent {sent} message(s)!")
        await client.close()
        welcome = await client.resume(received=0)
        head = welcome["head"]
        assert head - welcome["first"] + 1 >= min(head, 40), welcome
        await client.caught_up()
        first = min(client.entries)
        assert first == welcome["first"], f"announced {welcome}, began at {first}"
        assert sorted(client.entries) == list(range(first, head + 1))
    assert client.problems == []
    assert welcome["first"] > 1


async def test_a_client_behind_the_gap_starts_at_first(
    start_server: StartServer, client_of: ClientOf
) -> None:
    server = start_server(chatsessions={"MAX_LOG_ENTRIES": 20})
    client = await client_of(server, "faulty").start()
    await client.said("started")
    await client.close()
    tab = client_of(server, "faulty")
    tab.session, tab.token = client.session, client.token
    await tab.connect()
    await tab.hello(received=0)
    await tab.caught_up()  # a trim during a replay would close the line
    n = await tab.event("many", {"count": 100, "bytes": 1})
    await tab.outcome(n)
    await tab.close()
    await tab.left(server.database)  # so would one during this one's
    client.token = tab.token
    await client.connect()
    welcome = await client.hello(received=1)
    assert welcome["first"] > 2
    await client.caught_up()
    assert min(client.entries) == welcome["first"]
    await assert_whole(client, server.database)


# The start


async def test_the_chat_starts_once_whatever_reconnects(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "hooks").start()
    for _ in range(5):
        await client.drop()
        await client.resume()
    other = client_of(server, "hooks")
    for _ in range(3):
        other.session, other.token = client.session, client.token
        await asyncio.gather(client.close(), other.connect())
        await other.hello(received=0)
        client.session, client.token = other.session, other.token
        await asyncio.gather(other.close(), client.connect())
        await client.hello(received=0)
    await client.until(
        {"type": "event", "name": "hook", "data": {"name": "chat_start ends", "data": None}}
    )
    await client.ping()
    await asyncio.sleep(0.2)
    calls = Counter(server.database.state(client.session or "")["calls"])
    assert calls["chat_start begins"] == calls["chat_start ends"] == 1


def hooks(server: Server, session: str) -> list[str]:
    """The hooks that have run, as the log tells."""
    return [row.data["name"] for row in server.database.log(session) if row.name == "hook"]


async def test_a_client_gone_before_the_start_finds_it_done(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "hooks").start()
    await client.drop()
    await until(lambda: "chat_start ends" in hooks(server, client.session or ""))
    await client.resume()
    await client.caught_up()
    names = [entry.data["name"] for _, entry in sorted(client.entries.items())]
    assert names[:3] == ["session_load", "chat_start begins", "chat_start ends"]
    await client.message("go")
    await client.outcome(1)
    await assert_whole(client, server.database)


# The end


async def test_the_user_ends_the_session_for_good(client: Client, server: Server) -> None:
    await client.end()
    assert await client.closed() == 4503
    assert client.told[-1] == {"type": "ended", "reason": "user"}
    row = server.database.session(client.session or "")
    assert (row["status"], row["end_reason"], row["worker_id"]) == ("ended", "user", None)
    await assert_whole(client, server.database)


async def test_to_its_owner_an_ended_session_is_ended(client: Client, server: Server) -> None:
    session = client.session
    await client.end()
    await client.closed()
    await client.connect()
    welcome = await client.hello()
    assert (welcome["resumed"], welcome["reason"]) == (False, "ended")
    assert welcome["session"] != session
    await client.said("Hi! I'll count how many messages you send.")
    await assert_whole(client, server.database)


async def test_what_waits_when_the_session_ends_is_stopped(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "faulty").start()
    await client.event("never")
    for number in range(5):
        await client.event("add", number)
    await client.said("never begins")
    await client.end()
    assert await client.closed() == 4503
    assert [client.outcomes[n] for n in range(1, 7)] == 6 * ["stopped"]
    await assert_whole(client, server.database, state={"starts": 1})


async def test_the_end_is_handled_once_and_seen(server: Server, client_of: ClientOf) -> None:
    """What on_chat_end sends comes before ``ended``, though ``end`` is sent again and again."""
    client = await client_of(server, "hooks").start()
    await client.message("one")
    await client.outcome(1)
    for _ in range(5):
        await client.end()
    await client.stop()
    assert await client.closed() == 4503
    calls = server.database.state(client.session or "")["calls"]
    assert calls == [
        *("session_load", "chat_start begins", "chat_start ends", "connect", "message"),
        *("chat_end begins", "chat_end", "chat_end ends"),
    ]
    await assert_whole(client, server.database)


async def test_a_client_that_leaves_with_its_end_leaves_an_ended_session(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "hooks").start()
    await client.message("one")
    await client.outcome(1)
    await client.end()
    await client.close()
    await until(lambda: server.database.session(client.session or "")["status"] == "ended")
    calls = Counter(server.database.state(client.session or "")["calls"])
    assert calls["chat_end begins"] == calls["chat_end ends"] == 1
    assert server.database.state(client.session or "")["calls"][-1] == "chat_end ends"
    await client.connect()
    assert (await client.hello())["reason"] == "ended"


# Hooks


async def test_stop_stops_turns_and_no_hooks(server: Server, client_of: ClientOf) -> None:
    """A client cannot keep the application from setting itself up."""
    client = await client_of(server, "slow_start").connect()
    await client.send({"type": "hello"})
    for _ in range(10):
        await client.stop()
        await asyncio.sleep(0.1)
    await client.message("ready?")
    await client.said("ready: True")
    assert client.contents[0] == "connected"
    await assert_whole(client, server.database)


async def test_on_stop_runs_after_the_stopped_turn(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "hooks").start()
    await client.event("never")
    await client.message("next")
    await client.until({"type": "event", "name": "hook", "data": {"name": "never", "data": None}})
    await client.stop()
    await client.outcome(2)
    calls = [entry.data["name"] for entry in client.entries.values() if entry.name == "hook"]
    assert calls[-3:] == ["never", "stop", "message"]
    await assert_whole(client, server.database)


async def test_settings_reach_their_hook(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server, "hooks").start()
    await client.event("settings", {"model": "a", "heat": 1})
    await client.event("settings", {"heat": 2})
    await client.settled()
    settings = [frame["data"] for frame in client.event_frames("settings")]
    assert settings == [{"model": "a", "heat": 1}, {"model": "a", "heat": 2}]
    await client.left(server.database)
    await client.resume()
    await client.event("settings", {})
    await client.outcome(3)
    assert client.event_frames("settings")[-1]["data"] == {"model": "a", "heat": 2}
    await assert_whole(client, server.database)


# Expiry


@pytest.fixture(scope="module")
def reaping() -> Iterator[Server]:
    """A server that looks for expired sessions all the time."""
    with running(chatsessions={"REAP_INTERVAL": 0.2}) as server:
        yield server


async def test_to_its_owner_an_expired_session_is_expired(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "hooks").start()
    await client.message("one")
    await client.outcome(1)
    await client.left(server.database)
    session = client.session or ""
    make_expired(server, session)
    await client.connect()
    welcome = await client.hello()
    assert (welcome["resumed"], welcome["reason"]) == (False, "expired")
    await until(lambda: server.database.session(session)["status"] == "ended")
    end = [row.data["data"] for row in server.database.log(session) if row.name == "hook"][-2]
    assert end == {"reason": "expired", "client": "live"}
    thief = client_of(server, "hooks")
    thief.session, thief.token = session, "x" * 43
    await thief.connect()
    assert (await thief.hello())["reason"] == "unknown"


async def test_the_reaper_ends_expired_sessions_once(reaping: Server, client_of: ClientOf) -> None:
    client = await client_of(reaping, "hooks").start()
    await client.message("one")
    await client.outcome(1)
    await client.left(reaping.database)
    session = client.session or ""
    make_expired(reaping, session)
    await until(lambda: reaping.database.session(session)["status"] == "ended")
    await until(lambda: "chat_end ends" in hooks(reaping, session))
    end = [row.data for row in reaping.database.log(session) if row.name == "hook"]
    assert [data["name"] for data in end[-3:]] == ["chat_end begins", "chat_end", "chat_end ends"]
    assert end[-2]["data"] == {"reason": "expired", "client": "live"}
    assert Counter(data["name"] for data in end)["chat_end"] == 1
    assert reaping.database.session(session)["end_reason"] == "expired"


# Too many


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    with running(chatsessions={"MAX_SESSIONS_PER_USER": 2}) as server:
        yield server


async def test_a_user_has_so_many_sessions_at_a_time(strict: Server, client_of: ClientOf) -> None:
    cookie = strict.login("collector")
    first = await client_of(strict, cookie=cookie).start()
    second = await client_of(strict, cookie=cookie).start()
    third = await client_of(strict, cookie=cookie).connect()
    await third.send({"type": "hello"})
    assert await third.closed() == 4504
    assert third.of_type("error")[0]["code"] == "forbidden"
    await first.left(strict.database)
    await third.connect()
    assert (await third.hello())["reason"] == "new"
    await second.resume()
    await first.connect()
    await first.send({"type": "hello", "session": first.session, "token": first.token})
    assert await first.closed() == 4504
    others = await client_of(strict, cookie=strict.login("somebody else")).start()
    await others.ping()


async def test_a_crowd_of_one_user_gets_no_more(strict: Server, client_of: ClientOf) -> None:
    """All at the same moment: the limit is one all the same."""
    cookie = strict.login("crowd")
    clients = [await client_of(strict, cookie=cookie).connect() for _ in range(10)]
    await asyncio.gather(*(client.send({"type": "hello"}) for client in clients))
    for client in clients:
        await client.until(lambda frame: frame["type"] in ("welcome", "error"))
    await asyncio.sleep(0.1)
    welcomed = [client for client in clients if client.of_type("welcome")]
    assert len(welcomed) == 2


# Threads


async def test_a_thread_goes_on_after_the_server_was_killed(
    start_server: StartServer, client_of: ClientOf
) -> None:
    server = start_server()
    cookie = server.login()
    first = await client_of(server, "mindful", cookie=cookie).start()
    await first.message("one")
    await first.said("context 1")
    [row] = server.database.query("SELECT thread_id FROM chatsessions_chatsession")
    thread = UUID(row["thread_id"])
    server.restart(how="kill")

    second = await client_of(server, "mindful", cookie=cookie).connect()
    welcome = await second.hello(thread=str(thread))
    assert (welcome["resumed"], welcome["reason"]) == (False, "new")
    assert welcome["session"] != first.session
    await second.said("resumed 2, one")
    await second.message("two")
    await second.said("context 4")
    await second.resume()
    await second.message("three")
    await second.said("context 6")
    assert second.outcomes[0] == "done"

    stranger = await client_of(server, "mindful", cookie=server.login("mallory")).connect()
    welcome = await stranger.hello(thread=str(thread))
    assert (welcome["resumed"], welcome["reason"]) == (False, "unknown")
    await stranger.message("who?")
    await stranger.said("context 1")
