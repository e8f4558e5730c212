"""Streaming messages: nothing twice, nothing lost, whatever the line does."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.sessions import until

from .client import Client, ClientOf, assert_whole
from .harness import Server


@pytest.fixture
async def client(server: Server, client_of: ClientOf) -> Client:
    found = await client_of(server, "faulty", bundles=True).start()
    await found.said("started")
    return found


@pytest.fixture
async def other(server: Server, client_of: ClientOf) -> Client:
    """A client of another session; it ends a stream that goes on until ``unblock``."""
    return await client_of(server, "faulty").start()


def text(count: int) -> str:
    """What a stream of so many tokens says."""
    return "".join(f"{number} " for number in range(count))


def count_told(client: Client) -> int:
    """How many tokens of its stream a client was told, one by one or as the text so far."""
    last = [frame for frame in client.told if frame["type"] in ("stream", "token")][-1]
    return int(last["index"]) + (last["type"] == "token")


@pytest.mark.parametrize("bundles", [False, True], ids=["one-by-one", "bundles"])
async def test_the_tokens_make_up_the_message(
    server: Server, client_of: ClientOf, bundles: bool
) -> None:
    """And keep their place between events."""
    client = await client_of(server, "faulty", bundles=bundles).start()
    n = await client.event("stream", {"count": 200, "mixed": True})
    assert await client.outcome(n) == "done"
    opening, whole = client.event_frames("message")[-1], client.event_frames("message_update")[-1]
    assert (opening["data"]["streaming"], opening["data"]["content"]) == (True, "")
    assert (whole["data"]["streaming"], whole["data"]["content"]) == (False, text(200))
    assert opening["data"]["id"] == whole["data"]["id"]
    tokens = client.of_type("token")
    assert [token["index"] for token in tokens] == list(range(200))
    assert "".join(token["text"] for token in tokens) == text(200)
    last = -1
    for frame in client.told:
        if frame["type"] == "token":
            last = frame["index"]
        elif frame["type"] == "event" and frame["name"] == "between":
            assert last == frame["data"]
    await assert_whole(client, server.database)


@pytest.mark.parametrize("mixed", [False, True])
async def test_a_resume_in_mid_stream_goes_on_where_the_stream_is(
    client: Client, other: Client, server: Server, mixed: bool
) -> None:
    """Again and again, at whatever moment; also with events that are just being stored."""
    n = await client.event("stream", {"pause": 0.003, "mixed": mixed})
    await client.until({"type": "token"})
    for round_ in range(8):
        await client.drop()
        since = client.here
        welcome = await client.resume(received=client.received if round_ % 2 else 0)
        assert welcome["turn"] == n
        await client.until({"type": "stream"}, since=since)
        await asyncio.sleep(0.013)
    await other.event("unblock", client.session)
    assert await client.outcome(n) == "done"
    assert client.event_frames("message_update")[-1]["data"]["content"] == text(count_told(client))
    await assert_whole(client, server.database)


async def test_a_stream_is_met_as_it_is_by_another_device(
    other: Client, server: Server, client_of: ClientOf
) -> None:
    cookie = server.login("streamer")
    first = await client_of(server, "faulty", cookie=cookie).start()
    n = await first.event("stream", {"pause": 0.005})
    await first.until({"type": "token", "index": 20})
    second = client_of(server, "faulty", cookie=cookie)
    second.session = first.session
    await second.connect()
    await second.hello(received=0)
    stream = await second.until({"type": "stream"})
    assert stream["index"] > 20
    assert stream["content"] == text(stream["index"])
    await other.event("unblock", second.session)
    assert await second.outcome(n) == "done"
    assert second.contents[-1] == text(count_told(second))
    await assert_whole(second, server.database)


async def test_a_stream_without_a_client_is_whole_on_return(client: Client, server: Server) -> None:
    n = await client.event("stream", {"count": 50, "pause": 0.004})
    await client.until({"type": "token"})
    await client.drop()
    session = client.session
    await until(lambda: server.database.session(session)["handled"] == n)
    await client.resume(received=0)
    await client.said(text(50))
    assert client.of_type("stream") == []
    await assert_whole(client, server.database)


async def test_stop_in_mid_stream_closes_the_message(client: Client, server: Server) -> None:
    n = await client.event("stream", {"count": 10_000, "pause": 0.005})
    await client.until({"type": "token", "index": 10})
    await client.stop()
    assert await client.outcome(n) == "stopped"
    update = client.event_frames("message_update")[-1]["data"]
    assert update["streaming"] is False
    assert update["content"] == text(len(client.of_type("token")))
    await assert_whole(client, server.database)


async def test_a_stream_left_open_is_closed_with_its_turn(client: Client, server: Server) -> None:
    """Whether its handler returns or raises."""
    n = await client.event("stream", {"count": 5, "close": False})
    assert await client.outcome(n) == "done"
    update = client.event_frames("message_update")[-1]
    assert (update["turn"], update["data"]["streaming"]) == (n, False)
    assert update["data"]["content"] == text(5)
    n = await client.event("stream_raises")
    assert await client.outcome(n) == "failed"
    assert [frame["name"] for frame in client.event_frames()[-2:]] == ["message_update", "error"]
    assert client.contents[-1] == "half a sentence"
    assert client.streams == {}
    await assert_whole(client, server.database)
    assert server.database.session(client.session)["streams"] == "[]"


async def test_two_streams_at_a_time(client: Client, other: Client, server: Server) -> None:
    n = await client.event("stream_two")
    await client.until({"type": "token", "index": 5})
    await client.drop()
    await client.resume()
    await until(lambda: len({frame["message"] for frame in client.of_type("stream")}) == 2)
    await other.event("unblock", client.session)
    assert await client.outcome(n) == "done"
    assert len(client.of_type("stream")) == 2
    count = count_told(client)
    expected = ["".join(f"{name}{number} " for number in range(count)) for name in "ab"]
    assert client.contents[1:] == expected
    await assert_whole(client, server.database)


async def test_a_sent_message_can_be_streamed_on_and_replaced(
    client: Client, server: Server
) -> None:
    n = await client.event("stream_again")
    assert await client.outcome(n) == "done"
    assert client.contents == ["started", "replaced on"]
    await assert_whole(client, server.database)


async def test_half_an_emoji_in_a_token_costs_a_turn_at_most(
    client: Client, server: Server
) -> None:
    """JSON cannot carry it. The message is closed, the session goes on, here and after a reload."""
    n = await client.event("stream_surrogate")
    assert await client.outcome(n) in ("failed", "done")
    await client.message("still here")
    await client.said("still here")
    await assert_whole(client, server.database)
    assert client.streams == {}
    await client.left(server.database)
    await client.resume(received=0)
    await client.caught_up()
    await assert_whole(client, server.database)
