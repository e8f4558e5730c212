"""What the server makes of frames: good, bad and malicious ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import pytest

from chatsessions.protocol.frames import SUBPROTOCOL
from tests.support.sessions import until

from .client import Client, assert_whole
from .harness import Server, running

ClientOf = Callable[..., Client]
StartServer = Callable[..., Server]

TOO_LARGE = (1009, 4500)

#: One of each kind; tests/test_frames.py has all of them.
BAD_FRAMES = {
    "not JSON": "hello",
    "a list": '[{"type": "ping"}]',
    "unknown type": '{"type": "please"}',
    "two types": '{"type": "ping", "type": "stop"}',
    "event without n": '{"type": "event", "name": "echo", "data": 1}',
    "n of 400 digits": '{"type": "event", "n": ' + "9" * 400 + ', "name": "echo", "data": 1}',
    "NaN": '{"type": "event", "n": 1, "name": "echo", "data": NaN}',
    "a number of 100,000 digits": '{"type": "event", "n": 1, "name": "echo", "data": '
    + "9" * 100_000
    + "}",
    "lone surrogate": '{"type": "event", "n": 1, "name": "echo", "data": "\\ud83d"}',
    "lone surrogate in a key": '{"type": "event", "n": 1, "name": "echo", "data": {"\\ud83d": 1}}',
    "raw control character": '{"type": "event", "n": 1, "name": "echo", "data": "\x01"}',
    "nested too deeply": '{"type": "event", "n": 1, "name": "echo", "data": '
    + "[" * 65
    + "]" * 65
    + "}",
    "nested 100,000 deep": '{"type": "event", "n": 1, "name": "echo", "data": '
    + "[" * 100_000
    + "]" * 100_000
    + "}",
    "an unknown key nested 100,000 deep": '{"type": "ping", "x": '
    + '{"a":' * 30_000
    + "1"
    + "}" * 30_000
    + "}",
    "message that is no object": '{"type": "event", "n": 1, "name": "message", "data": "hi"}',
    "binary": b'{"type": "ping"}',
    "binary nonsense": b"\xff\x00\xfe",
}


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    """A client of the faulty bot that has been welcomed."""
    return await client_of(server, "faulty").start()


@pytest.mark.parametrize("text", BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_a_bad_frame_is_refused_and_nothing_else_happens(
    client: Client, server: Server, text: str | bytes
) -> None:
    await client.said("started")
    await client.send_text(text)
    error = await client.until({"type": "error"})
    assert error["code"] == "bad_frame"
    assert error["detail"]
    await client.message("goes on")
    await client.said("goes on")
    await assert_whole(client, server.database)
    assert client.next_n == 2


@pytest.mark.parametrize(
    "hello",
    [
        '{"type": "hello", "session": 7}',
        '{"type": "hello", "env": {"KEY": 1}}',
        '{"type": "hello", "profile": "\\ud83d"}',
    ],
)
async def test_after_a_bad_hello_a_good_one_is_welcome(
    server: Server, client_of: ClientOf, hello: str
) -> None:
    client = await client_of(server).connect()
    await client.send_text(hello)
    assert (await client.until({"type": "error"}))["code"] == "bad_frame"
    welcome = await client.hello()
    assert welcome["reason"] == "new"


async def test_unknown_keys_are_ignored(client: Client, server: Server) -> None:
    await client.send({"type": "ping", "seq": "x", "more": {"deep": [1, 2, {}]}})
    await client.until({"type": "pong"})
    n = await client.event("echo", {"unknown": True})
    assert await client.outcome(n) == "done"
    await assert_whole(client, server.database)


async def test_a_pong_says_how_long_the_log_is(client: Client, server: Server) -> None:
    await client.said("started")
    await assert_whole(client, server.database)
    assert await client.ping() == {"type": "pong", "head": client.received}


async def test_data_comes_back_byte_for_byte_the_same(client: Client, server: Server) -> None:
    """Also what Python, JavaScript and databases are known to mistreat."""
    data = {
        "nul": "a\u0000b",
        "astral": "😀",
        "separators": "\u2028\u2029",
        "html": "</script><!--",
        "empty": {"": []},
        "numbers": [0, -0.0, 1e-300, 2**53, -(2**63), 2**64 - 1],
        "deep": json.loads("[" * 60 + "]" * 60),
    }
    await client.event("echo", data)
    echo = await client.until({"type": "event", "name": "echo"})
    assert json.dumps(echo["data"]) == json.dumps(data)
    await assert_whole(client, server.database)
    await client.resume(received=0)
    await client.ping()
    await assert_whole(client, server.database)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
@pytest.mark.parametrize("name", ["echo", "settings"])
async def test_a_whole_number_of_more_than_64_bits_breaks_no_session(
    client: Client, server: Server, name: str, number: int
) -> None:
    """Refused as a bad frame or taken and handled, but the session goes on."""
    await client.send({"type": "event", "n": 1, "name": name, "data": {"number": number}})
    await client.ping()
    n = 1 if client.of_type("error") else 2
    await client.send({"type": "event", "n": n, "name": "message", "data": {"content": "on"}})
    await client.said("on")


async def test_the_first_frame_is_hello(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server).connect()
    for frame in ({"type": "ping"}, {"type": "event", "n": 1, "name": "echo", "data": 1}):
        since = client.here
        await client.send(frame)
        assert (await client.until({"type": "error"}, since=since))["code"] == "hello_expected"
    assert (await client.hello())["received"] == 0


async def test_hello_is_said_once(client: Client) -> None:
    since = client.here
    await client.send({"type": "hello"})
    assert (await client.until({"type": "error"}, since=since))["code"] == "bad_frame"
    await client.ping()
    assert len(client.of_type("welcome")) == 1


async def test_frames_behind_the_hello_need_not_wait_for_the_welcome(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "faulty").connect()
    await client.send({"type": "hello"})
    await client.message("early")
    await client.event("echo", "early too")
    await client.until({"type": "event", "name": "echo"})
    await client.settled()
    await assert_whole(client, server.database)


async def test_nine_bad_frames_are_forgiven_and_the_tenth_closes(client: Client) -> None:
    for _ in range(9):
        await client.send_text("nonsense")
    await client.ping()
    assert client.is_open
    await client.send_text("nonsense")
    assert await client.closed() == 4500
    assert [error["code"] for error in client.of_type("error")] == 10 * ["bad_frame"]


async def test_a_bad_frame_costs_its_connection_and_not_its_session(
    client: Client, server: Server
) -> None:
    await client.message("one")
    await client.said("one")
    for _ in range(10):
        await client.send_text(b"nonsense")
    assert await client.closed() == 4500
    assert (await client.resume())["resumed"]
    await client.message("two")
    await client.said("two")
    await assert_whole(client, server.database)


@pytest.mark.parametrize("character", ["x", "é", "😀"])
async def test_a_frame_longer_than_max_frame_is_told_and_closes(
    client: Client, character: str
) -> None:
    """With 1009, or with 4500 on a server that cannot send 1009, as daphne."""
    assert client.welcome is not None
    size = client.welcome["max_frame"]
    await client.send_text('{"type": "ping", "pad": "' + "x" * (size - 27) + '"}')
    await client.until({"type": "pong"})
    count = size // len(character.encode())
    await client.send_text('{"type": "ping", "pad": "' + character * count + '"}')
    assert (await client.until({"type": "error"}))["code"] == "too_large"
    assert await client.closed() in TOO_LARGE


async def test_a_frame_that_the_server_software_refuses_costs_the_line(client: Client) -> None:
    """Daphne drops it without a word."""
    await client.send_text("x" * (2 * 1024 * 1024))
    assert await client.closed() in (1009, 1006)
    assert (await client.resume())["resumed"]


async def test_an_over_long_first_frame_is_refused_as_well(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server).connect()
    await client.send({"type": "hello", "env": {"KEY": "x" * 300_000}})
    assert (await client.until({"type": "error"}))["code"] == "too_large"
    assert await client.closed() in TOO_LARGE


# Subprotocols


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (None, None),
        ([SUBPROTOCOL], SUBPROTOCOL),
        (["graphql-ws", SUBPROTOCOL], SUBPROTOCOL),
        ([SUBPROTOCOL, "chatsessions.v2"], SUBPROTOCOL),
    ],
)
async def test_the_subprotocol_is_selected_when_offered(
    server: Server, client_of: ClientOf, offered: list[str] | None, selected: str | None
) -> None:
    client = await client_of(server).connect(subprotocols=offered)
    assert client.transport.ws.subprotocol == selected
    assert (await client.hello())["reason"] == "new"


async def test_other_subprotocols_only_are_refused(server: Server, client_of: ClientOf) -> None:
    client = await client_of(server).connect(subprotocols=["chatsessions.v2", "graphql-ws"])
    assert (await client.until({"type": "error"}))["code"] == "unsupported_protocol"
    assert await client.closed() == 4500


async def test_a_foreign_origin_is_refused_at_the_handshake(
    server: Server, client_of: ClientOf
) -> None:
    client = client_of(server)
    client.origin = "https://evil.example"
    with pytest.raises(Exception, match="403"):
        await client.connect()


# Numbers


async def test_a_repeated_event_is_accepted_alike_and_runs_once(
    client: Client, server: Server
) -> None:
    n = await client.event("add", 5)
    await client.said("total 5")
    first = await client.until({"type": "accepted", "n": n})
    since = client.here
    for data in (5, 7):
        await client.send({"type": "event", "n": n, "name": "add", "data": data})
    await client.ping()
    assert client.of_type("accepted", since=since) == [first, first]
    await assert_whole(client, server.database, state={"starts": 1, "total": 5})


async def test_an_event_sent_many_times_at_once_runs_once(client: Client, server: Server) -> None:
    await client.event("add", 1)
    for _ in range(20):
        await client.resend()
    await client.said("total 1")
    await assert_whole(client, server.database, state={"starts": 1, "total": 1})


async def test_a_repeat_of_an_event_of_long_ago_is_accepted_as_the_same_entry(
    server: Server, client_of: ClientOf
) -> None:
    """Also when the session was out of memory meanwhile."""
    client = await client_of(server, "faulty").start()
    for number in range(5):
        await client.event("add", number)
    await client.settled()
    told = client.of_type("accepted")
    await client.left(server.database)
    await client.resume()
    since = client.here
    for number in range(5):
        await client.send({"type": "event", "n": number + 1, "name": "add", "data": number})
    await client.until({"type": "accepted", "n": 5}, since=since)
    assert sorted(client.of_type("accepted", since=since), key=lambda frame: frame["n"]) == told
    await assert_whole(client, server.database, state={"starts": 1, "total": 10})


async def test_a_repeat_during_a_replay_is_answered_by_its_entry_in_its_place(
    start_server: StartServer, client_of: ClientOf
) -> None:
    """An ``accepted`` stands for its entry: with both, the client would be told that one twice."""
    server = start_server(chatsessions={"MAX_UNACKED_EVENTS": 64})
    client = await client_of(server, "faulty").start()
    for _ in range(3):
        await client.outcome(await client.event("many", {"count": 30, "bytes": 1}))
        await client.ack()
    n = await client.event("add", 5)
    await client.outcome(n)
    await client.drop()
    client.acks = False
    since = client.here
    await client.resume(received=0)
    await client.until({"type": "event", "seq": 30}, since=since)  # the replay waits for acks
    await client.send({"type": "event", "n": n, "name": "add", "data": 5})
    await client.ping()
    assert not client.of_type("accepted", since=since)
    client.acks = True
    await client.ack()
    await client.caught_up()
    told = [recorded.frame for recorded in client.record[since:] if not recorded.sent]
    seqs = [frame["seq"] for frame in told if "seq" in frame]
    assert seqs == list(range(1, len(seqs) + 1))
    assert client.of_type("event", since=since)[-1]["seq"] == len(seqs)
    await assert_whole(client, server.database)


async def test_a_skipped_number_is_a_gap_and_names_the_expected_one(
    client: Client, server: Server
) -> None:
    await client.send({"type": "event", "n": 3, "name": "add", "data": 1})
    error = await client.until({"type": "error"})
    assert (error["code"], error["n"]) == ("n_gap", 1)
    for number in (1, 2, 3):
        await client.event("add", number)
    await client.said("total 6")
    await assert_whole(client, server.database, state={"starts": 1, "total": 6})


async def test_numbers_go_on_after_a_resume(client: Client, server: Server) -> None:
    await client.event("add", 1)
    await client.said("total 1")
    await client.drop()
    assert (await client.resume())["received"] == 1
    await client.send({"type": "event", "n": 5, "name": "add", "data": 1})
    error = await client.until({"type": "error"})
    assert (error["code"], error["n"]) == ("n_gap", 2)
    await client.event("add", 2)
    await client.said("total 3")
    await assert_whole(client, server.database, state={"starts": 1, "total": 3})


async def test_what_was_sent_and_never_accepted_is_taken_once_after_a_drop(
    client: Client, server: Server
) -> None:
    """Whatever of it had arrived before the line broke."""
    for round_ in range(10):
        for _ in range(3):
            await client.event("add", 1)
        if round_ % 2:
            await asyncio.sleep(0.001 * round_)
        await client.drop()
        await client.resume()
    await client.said("total 30")
    await assert_whole(client, server.database, state={"starts": 1, "total": 30})


async def test_an_answer_that_nobody_asked_for_has_its_number_and_is_told(
    client: Client, server: Server
) -> None:
    await client.send({"type": "answer", "n": 1, "call": "none", "data": 1})
    error = await client.until({"type": "error"})
    assert (error["code"], error["n"]) == ("call_closed", 1)
    await client.until({"type": "accepted", "n": 1})  # before that the client counts from 1
    await client.event("add", 1)
    await client.said("total 1")


# Silence


@pytest.fixture(scope="module")
def hurried() -> Iterator[Server]:
    """A server that soon gives up waiting for a hello, however many other frames come."""
    with running(chatsessions={"HELLO_TIMEOUT": 0.5, "MAX_BAD_FRAMES": 1000}) as server:
        yield server


#: How long a client of the server below may be silent: 2.5 heartbeats.
PATIENCE = 0.75


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """A server that soon closes the connection of a silent client."""
    with running(chatsessions={"HEARTBEAT": PATIENCE / 2.5}) as server:
        yield server


async def test_no_hello_in_time_closes(hurried: Server, client_of: ClientOf) -> None:
    client = await client_of(hurried).connect()
    assert await client.closed() == 4500
    assert [frame["code"] for frame in client.told] == ["hello_expected"]


async def test_other_frames_do_not_put_the_hello_off(hurried: Server, client_of: ClientOf) -> None:
    client = await client_of(hurried).connect()
    while client.is_open:
        await client.send({"type": "ping"})
        await asyncio.sleep(0.05)
    assert await client.closed() == 4500
    assert "no hello within" in client.told[-1]["detail"]


async def test_a_silent_client_is_closed(impatient: Server, client_of: ClientOf) -> None:
    client = await client_of(impatient, acks=False).start()
    assert await client.closed() == 4012
    assert (await client.resume())["resumed"]


async def test_a_client_that_announces_a_silence_is_closed_after_it(
    impatient: Server, client_of: ClientOf
) -> None:
    """Beside one that does not: a hidden page is given the time that its browser takes."""
    hidden = await client_of(impatient, acks=False).connect()
    await hidden.send({"type": "hello"})
    await hidden.send({"type": "ping", "silence": 60})
    other = await client_of(impatient, acks=False).start()
    assert await other.closed() == 4012
    assert hidden.is_open
    await hidden.send({"type": "ping"})  # it is seen again
    assert await hidden.closed() == 4012


async def test_a_client_that_pings_is_not(impatient: Server, client_of: ClientOf) -> None:
    """If a machine that is held up lets a ping come too late, it begins again."""
    client = client_of(impatient, acks=False)
    pings, spoke = 0, 0.0
    while pings < 8:
        if not client.is_open:
            pings, spoke = 0, time.monotonic()
            await client.resume()
        await asyncio.sleep(PATIENCE / 3)
        now, since = time.monotonic(), client.here
        if client.is_open:
            await client.send({"type": "ping"})
        await until(lambda at=since: client.of_type("pong", since=at) or not client.is_open)
        if client.is_open:
            pings, spoke = pings + 1, now
        else:
            assert time.monotonic() - spoke > PATIENCE


async def test_a_hello_that_the_server_still_works_on_is_not_overdue(
    start_server: Callable[..., Server], client_of: ClientOf
) -> None:
    """The very first hello writes to the database, which somebody else has locked for a while."""
    server = start_server(chatsessions={"HELLO_TIMEOUT": 3})
    with server.database.locked():
        client = await client_of(server).connect()
        await client.send({"type": "hello"})
        await asyncio.sleep(3.5)
        assert client.is_open, f"closed with {client.close_code}: {client.told}"
    await client.until({"type": "welcome"})


async def test_on_uvicorn_an_over_long_frame_closes_with_1009(
    start_server: Callable[..., Server], client_of: ClientOf
) -> None:
    client = await client_of(start_server(kind="uvicorn"), "faulty").start()
    await client.send({"type": "ping", "pad": "x" * 300_000})
    assert (await client.until({"type": "error"}))["code"] == "too_large"
    assert await client.closed() == 1009
