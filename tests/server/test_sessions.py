"""Whose session it is, how to come back to it, and how it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from tests.support.sessions import until

from .client import Client, ClientOf, Frame, assert_whole
from .harness import Server

GREETING = "Hi! I'll count how many messages you send."


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    found = await client_of(server).start()
    await found.message("one")
    await found.said("You have sent 1 message(s)!")
    return found


def tab_of(client_of: ClientOf, server: Server, client: Client) -> Client:
    """A second tab of the same browser, not connected yet."""
    tab = client_of(server)
    tab.knows(client)
    return tab


# Who gets which session


async def test_who_may_not_have_a_session_gets_a_fresh_one_and_learns_nothing(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    """And changes nothing for its owner."""
    elsewhere = await client_of(server, "faulty").start()
    users = await client_of(server, cookie=server.login("victim")).start()
    away, ended = [await client_of(server).start() for _ in range(2)]
    await away.left(server.database)
    await ended.end()
    await ended.closed()
    wrong = "x" * 43
    for session, token, user in (
        (str(uuid4()), wrong, None),
        ("1; DROP TABLE", wrong, None),
        ("", "", None),
        (client.session, wrong, None),
        (client.session, None, None),
        (client.session, "", None),
        (client.session, client.token, "mallory"),  # a user, of an anonymous session
        (away.session, wrong, None),
        (ended.session, wrong, None),
        (users.session, users.token, None),  # even with its token
        (users.session, users.token, "mallory"),
        (elsewhere.session, elsewhere.token, None),  # of another chat
    ):
        thief = client_of(server, cookie=user and server.login(user))
        thief.session, thief.token = session, token
        await thief.connect()
        welcome = await thief.hello(received=0)
        assert welcome["session"] != session
        assert welcome["token"] != token
        assert (welcome["resumed"], welcome["reason"]) == (False, "unknown"), (session, token, user)
        assert (welcome["received"], welcome["turn"]) == (0, 0)
        await thief.message("hello")
        await thief.said("You have sent 1 message(s)!")
        await assert_whole(thief, server.database)
        await thief.close()
        await client.ping()
    await client.message("two")
    await client.said("You have sent 2 message(s)!")
    await client.drop()
    assert (await client.resume())["resumed"]
    await assert_whole(client, server.database, state={"message_count": 2})


async def test_the_logged_in_owner_needs_no_token(server: Server, client_of: ClientOf) -> None:
    """A second device: it gets the whole conversation, and the first is told."""
    first = await client_of(server, cookie=server.login("owner")).start()
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


@pytest.mark.parametrize("user", ["traveller", None])
async def test_a_client_comes_back_again_and_again(
    server: Server, client_of: ClientOf, user: str | None
) -> None:
    """Each time from the database, and from what is just being put there."""
    client = await client_of(server, cookie=user and server.login(user)).start()
    tokens = {client.token}
    for round_ in range(20):
        await client.drop()
        if round_ % 2:
            await client.until_away(server.database)
        assert (await client.resume())["resumed"], f"round {round_}"
        tokens.add(client.token)
        n = await client.message("again")
        assert await client.outcome(n) == "done"
    assert len(tokens) == 21
    # Only their hashes are stored.
    row = server.database.session(client.session)
    assert not tokens & set(row.values())
    assert str(client.token) not in server.log()
    await assert_whole(client, server.database, state={"message_count": 20})


# Tokens


async def test_lost_welcomes_lock_nobody_out(client: Client, server: Server) -> None:
    """The client never saw the new token, and comes with the one it has."""
    session, token = client.session, client.token
    for _ in range(3):
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


async def test_after_the_first_frame_the_old_token_is_worth_nothing(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    thief = tab_of(client_of, server, client)
    await client.resume()
    await client.ping()
    await thief.connect()
    assert (await thief.hello())["reason"] == "unknown"
    await client.ping()
    assert client.is_open


# One connection


async def test_of_two_tabs_the_newer_goes_on_and_the_older_loses_and_doubles_nothing(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    """The browser has duplicated a tab, with all it remembers."""
    second = tab_of(client_of, server, client)
    n = await client.message("two")
    await second.connect()
    welcome = await second.hello(received=0)
    assert welcome["resumed"]
    assert await client.closed() == 4509
    if welcome["received"] < n:
        await second.message("two")
    await second.said("You have sent 2 message(s)!")
    await second.ping()
    await assert_whole(second, server.database, state={"message_count": 2})
    assert server.database.session(second.session)["connections"] == 2


async def test_a_crowd_with_one_token_leaves_one_connection(
    client: Client, server: Server, client_of: ClientOf
) -> None:
    tabs = [await tab_of(client_of, server, client).connect() for _ in range(8)]
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


async def test_a_client_gets_what_it_does_not_have(client: Client, server: Server) -> None:
    """A page that was reloaded has nothing."""
    for _ in range(10):
        await client.message("more")
    await client.settled()
    before, head = dict(client.entries), client.received
    for received in (head, head - 1, 7, 1, 0):
        since = client.here
        await client.close()
        welcome = await client.resume(received=received)
        assert (welcome["first"], welcome["head"]) == (1, head)
        await client.caught_up()
        seqs = [frame["seq"] for frame in client.of_type("event", since=since)]
        assert seqs == list(range(received + 1, head + 1))
    assert client.entries == before
    own = [frame["n"] for frame in client.of_type("event", since=since) if "n" in frame]
    assert own == list(range(1, 12))
    await assert_whole(client, server.database)


async def test_a_long_log_is_replayed_whole_and_what_happens_meanwhile_comes_after_it(
    server: Server, client_of: ClientOf
) -> None:
    """In pieces, to a client that acknowledges."""
    client = await client_of(server, "faulty").start()
    for _ in range(3):
        n = await client.event("many", {"count": 800, "bytes": 10})
        assert await client.outcome(n) == "done"
        await client.ack()
    numbers = [frame["data"]["number"] for frame in client.event_frames("filler")]
    assert numbers == 3 * list(range(800))
    await client.left(server.database)
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


async def test_a_trimmed_log_announces_its_gap(tight: Server, client_of: ClientOf) -> None:
    """However full the log is: also between one trimming and the next."""
    client = await client_of(tight).start()
    await client.said(GREETING)
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


async def test_a_client_behind_the_gap_starts_at_first(tight: Server, client_of: ClientOf) -> None:
    client = await client_of(tight, "faulty").start()
    await client.said("started")
    await client.close()
    tab = client_of(tight, "faulty")
    tab.knows(client)
    await tab.connect()
    await tab.hello(received=0)
    await tab.caught_up()  # a trim during a replay would close the line
    n = await tab.event("many", {"count": 100, "bytes": 1})
    await tab.outcome(n)
    await tab.close()
    await tab.left(tight.database)  # so would one during this one's
    client.token = tab.token
    await client.connect()
    welcome = await client.hello(received=1)
    assert welcome["first"] > 2
    await client.caught_up()
    assert min(client.entries) == welcome["first"]
    await assert_whole(client, tight.database)


# The start and the end


async def test_the_chat_starts_once_whatever_reconnects(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "hooks").start()
    for _ in range(5):
        await client.drop()
        await client.resume()
    await client.until(
        {"type": "event", "name": "hook", "data": {"name": "chat_start ends", "data": None}}
    )
    await client.message("go")
    await client.outcome(1)
    await assert_whole(client, server.database)
    calls = server.database.state(client.session)["calls"]
    assert calls[:3] == ["session_load", "chat_start begins", "chat_start ends"]
    counts = Counter(calls)
    assert counts["chat_start begins"] == counts["chat_start ends"] == 1


async def test_stop_stops_turns_and_no_hooks(server: Server, client_of: ClientOf) -> None:
    """A client cannot keep the application from setting itself up."""
    client = await client_of(server, "slow_start").knock()
    for _ in range(10):
        await client.stop()
        await asyncio.sleep(0.1)
    await client.message("ready?")
    await client.said("ready: True")
    assert client.contents[0] == "connected"
    await assert_whole(client, server.database)


async def test_the_user_ends_the_session_for_good(client: Client, server: Server) -> None:
    session = client.session
    await client.end()
    assert await client.closed() == 4503
    assert client.told[-1] == {"type": "ended", "reason": "user"}
    row = server.database.session(session)
    assert (row["status"], row["end_reason"], row["worker_id"]) == ("ended", "user", None)
    await assert_whole(client, server.database)
    since = client.here
    await client.connect()
    welcome = await client.hello()
    assert (welcome["resumed"], welcome["reason"]) == (False, "ended")
    assert welcome["session"] != session
    await client.said(GREETING, since=since)
    await assert_whole(client, server.database)


async def test_the_end_is_handled_once_and_seen(server: Server, client_of: ClientOf) -> None:
    """What on_chat_end sends comes before ``ended``, though ``end`` is sent again and again."""
    client, hurried = [await client_of(server, "hooks").start() for _ in range(2)]
    for tab in (client, hurried):
        await tab.message("one")
        await tab.outcome(1)
    for _ in range(5):
        await client.end()
    await client.stop()
    assert await client.closed() == 4503
    expected = ["session_load", "chat_start begins", "chat_start ends", "connect", "message"]
    expected += ["chat_end begins", "chat_end", "chat_end ends"]
    assert server.database.state(client.session)["calls"] == expected
    await assert_whole(client, server.database)
    # And by who leaves right behind it.
    await hurried.end()
    await hurried.close()
    await until(lambda: server.database.session(hurried.session)["status"] == "ended")
    calls = server.database.state(hurried.session)["calls"]
    assert [call for call in calls if call != "disconnect"] == expected
    await hurried.connect()
    assert (await hurried.hello())["reason"] == "ended"


async def test_to_its_owner_an_expired_session_is_expired(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "hooks").start()
    await client.message("one")
    await client.outcome(1)
    await client.left(server.database)
    session = client.session
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    server.database.update_session(session, disconnected_at=long_ago.strftime("%Y-%m-%d %H:%M:%S"))
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


# Too many


async def test_a_user_has_so_many_sessions_at_a_time(tight: Server, client_of: ClientOf) -> None:
    cookie = tight.login("collector")
    first = await client_of(tight, cookie=cookie).start()
    second = await client_of(tight, cookie=cookie).start()
    third = await client_of(tight, cookie=cookie).knock()
    assert await third.closed() == 4504
    assert third.of_type("error")[0]["code"] == "forbidden"
    await first.left(tight.database)
    await third.connect()
    assert (await third.hello())["reason"] == "new"
    await second.resume()
    await first.knock()
    assert await first.closed() == 4504
    others = await client_of(tight, cookie=tight.login("somebody else")).start()
    await others.ping()


async def test_a_crowd_of_one_user_gets_no_more(tight: Server, client_of: ClientOf) -> None:
    """All at the same moment: the limit is one all the same."""
    cookie = tight.login("crowd")
    clients = [await client_of(tight, cookie=cookie).connect() for _ in range(10)]
    await asyncio.gather(*(client.send({"type": "hello"}) for client in clients))
    for client in clients:
        await client.until(lambda frame: frame["type"] in ("welcome", "error"))
    welcomed = [client for client in clients if client.of_type("welcome")]
    assert len(welcomed) == 2


# Threads


async def test_a_thread_goes_on_after_the_server_was_killed(
    server: Server, client_of: ClientOf
) -> None:
    cookie = server.login("thinker")
    first = await client_of(server, "mindful", cookie=cookie).start()
    await first.message("one")
    await first.said("context 1")
    thread = UUID(server.database.session(first.session)["thread_id"])
    server.restart()

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
