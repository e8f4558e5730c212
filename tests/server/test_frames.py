"""Frames on a real websocket: good, bad and malicious ones."""

from __future__ import annotations

import asyncio
import json

import pytest

from chatsessions.protocol.frames import SUBPROTOCOL

from .client import Client, ClientOf, assert_whole
from .harness import Server

#: As many as are forgiven; tests/test_frames.py has all of them.
BAD_FRAMES: list[str | bytes] = [
    '[{"type": "ping"}]',
    '{"type": "ping", "type": "stop"}',
    '{"type": "event", "n": ' + "9" * 400 + ', "name": "echo", "data": 1}',
    '{"type": "event", "n": 1, "name": "echo", "data": ' + "9" * 100_000 + "}",
    '{"type": "event", "n": 1, "name": "echo", "data": {"\\ud83d": 1}}',
    '{"type": "event", "n": 1, "name": "echo", "data": "\x01"}',
    '{"type": "event", "n": 1, "name": "echo", "data": ' + "[" * 100_000 + "]" * 100_000 + "}",
    b'{"type": "ping"}',
    b"\xff\x00\xfe",
]
#: 1009, or 4500 on a server that cannot send 1009, as daphne.
TOO_LARGE = (1009, 4500)


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    """A client of the faulty bot that has been welcomed."""
    return await client_of(server, "faulty").start()


async def test_nine_bad_frames_are_forgiven_and_the_tenth_costs_the_connection(
    client: Client, server: Server
) -> None:
    """And not the session: nothing else happens."""
    await client.said("started")
    for text in BAD_FRAMES:
        since = client.here
        await client.send_text(text)
        error = await client.until({"type": "error"}, since=since)
        assert error["code"] == "bad_frame"
        assert error["detail"]
    await client.message("goes on")
    await client.said("goes on")
    await assert_whole(client, server.database)
    assert client.next_n == 2
    await client.send_text("nonsense")
    assert await client.closed() == 4500
    assert [error["code"] for error in client.of_type("error")] == 10 * ["bad_frame"]
    assert (await client.resume())["resumed"]
    await client.message("two")
    await client.said("two")
    await assert_whole(client, server.database)


async def test_the_first_frame_is_a_good_hello_and_it_is_said_once(
    server: Server, client_of: ClientOf
) -> None:
    client = await client_of(server, "faulty").connect()

    async def refused(frame: str) -> str:
        since = client.here
        await client.send_text(frame)
        return str((await client.until({"type": "error"}, since=since))["code"])

    assert await refused('{"type": "ping"}') == "hello_expected"
    assert await refused('{"type": "event", "n": 1, "name": "echo", "data": 1}') == "hello_expected"
    assert await refused('{"type": "hello", "session": 7}') == "bad_frame"
    assert await refused('{"type": "hello", "profile": "\\ud83d"}') == "bad_frame"
    # What comes behind it need not wait for the welcome.
    await client.send({"type": "hello", "seq": "unknown keys are ignored"})
    await client.message("early")
    await client.event("echo", "early too")
    await client.until({"type": "event", "name": "echo"})
    await client.settled()
    assert await refused('{"type": "hello"}') == "bad_frame"
    await assert_whole(client, server.database)
    assert await client.ping() == {"type": "pong", "head": client.received}
    assert len(client.of_type("welcome")) == 1


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


@pytest.mark.parametrize("name", ["echo", "settings"])
async def test_a_whole_number_of_more_than_64_bits_breaks_no_session(
    client: Client, name: str
) -> None:
    """Refused as a bad frame or taken and handled, but the session goes on."""
    n = 1
    for number in (2**64, -(2**63) - 1, 10**30):
        since = client.here
        await client.send({"type": "event", "n": n, "name": name, "data": {"number": number}})
        await client.ping()
        n += 0 if client.of_type("error", since=since) else 1
    await client.send({"type": "event", "n": n, "name": "message", "data": {"content": "on"}})
    await client.said("on")


@pytest.mark.parametrize("character", ["x", "é", "😀"])
async def test_a_frame_longer_than_max_frame_is_told_and_closes(
    client: Client, character: str
) -> None:
    assert client.welcome is not None
    size = client.welcome["max_frame"]
    await client.send_text('{"type": "ping", "pad": "' + "x" * (size - 27) + '"}')
    await client.until({"type": "pong"})
    count = size // len(character.encode())
    await client.send_text('{"type": "ping", "pad": "' + character * count + '"}')
    assert (await client.until({"type": "error"}))["code"] == "too_large"
    assert await client.closed() in TOO_LARGE


async def test_an_over_long_first_frame_is_refused_as_well(
    either: Server, client_of: ClientOf
) -> None:
    client = await client_of(either).connect()
    await client.send({"type": "hello", "env": {"KEY": "x" * 300_000}})
    assert (await client.until({"type": "error"}))["code"] == "too_large"
    assert await client.closed() == (4500 if either.kind == "daphne" else 1009)


async def test_a_frame_that_the_server_software_refuses_costs_the_line(client: Client) -> None:
    """Daphne drops it without a word."""
    await client.send_text("x" * (2 * 1024 * 1024))
    assert await client.closed() in (1009, 1006)
    assert (await client.resume())["resumed"]


# The handshake


async def test_the_subprotocol_is_selected_when_offered(
    either: Server, client_of: ClientOf
) -> None:
    for offered, selected in (
        (None, None),
        ([SUBPROTOCOL], SUBPROTOCOL),
        (["graphql-ws", SUBPROTOCOL, "chatsessions.v2"], SUBPROTOCOL),
    ):
        client = await client_of(either).connect(subprotocols=offered)
        assert client.transport.ws.subprotocol == selected
        assert (await client.hello())["reason"] == "new"
    client = await client_of(either).connect(subprotocols=["chatsessions.v2", "graphql-ws"])
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
    """Whether it comes many times at once, or later; the first of them counts."""
    n = await client.event("add", 5)
    for _ in range(20):
        await client.resend()
    await client.said("total 5")
    first = await client.until({"type": "accepted", "n": n})
    await client.ping()
    since = client.here
    for data in (5, 7):
        await client.send({"type": "event", "n": n, "name": "add", "data": data})
    await client.ping()
    assert client.of_type("accepted", since=since) == [first, first]
    await assert_whole(client, server.database, state={"starts": 1, "total": 5})


async def test_a_repeat_of_an_event_of_long_ago_is_accepted_as_the_same_entry(
    client: Client, server: Server
) -> None:
    """Also when the session was out of memory meanwhile."""
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


async def test_a_skipped_number_is_a_gap_and_names_the_expected_one(
    client: Client, server: Server
) -> None:
    """In a new session, and in one that was resumed."""

    async def skip(to: int, *, expected: int) -> None:
        since = client.here
        await client.send({"type": "event", "n": to, "name": "add", "data": 1})
        error = await client.until({"type": "error"}, since=since)
        assert (error["code"], error["n"]) == ("n_gap", expected)

    await skip(3, expected=1)
    await client.event("add", 1)
    await client.said("total 1")
    await client.drop()
    assert (await client.resume())["received"] == 1
    await skip(5, expected=2)
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
