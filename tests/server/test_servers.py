"""Each ASGI server that is known to work: conversations, and a ``send`` that fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest

from tests.support.sessions import until

from .client import Client, ClientOf, assert_whole
from .conftest import Servers
from .harness import Kind, Server
from .sends import MARK

#: With middleware around ``send``.
SENDS = "tests.server.sends:application"
KINDS = get_args(Kind)


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """One server of each kind, with middleware around ``send``."""
    return servers(kind=request.param, application=SENDS)


@pytest.fixture
def client_by(server: Server, client_of: ClientOf) -> Callable[..., Client]:
    """Makes clients whose connection has the ``send`` of a name around it, "" for none."""
    return partial(client_with, client_of, server)


def client_with(client_of: ClientOf, server: Server, send: str = "") -> Client:
    client = client_of(server, "faulty", bundles=True)
    client.url += f"?send={send}" if send else ""
    return client


ClientBy = Callable[..., Client]


async def test_a_conversation_is_whole(server: Server, client_by: ClientBy) -> None:
    """
    Also beside one whose line is slow.

    Granian's awaitables are no coroutines: stepping them by hand closed every connection.
    """
    client, slow = await client_by().start(), await client_by("slow").start()
    await client.said("started")
    for number in range(20):
        await client.message(f"message {number}")
        await slow.message(f"slow {number}")
    streaming = await client.event("stream", {"count": 50, "pause": 0.001})
    await client.settled()
    assert client.outcomes[streaming] == "done"
    await client.drop()
    await client.resume()
    await client.message("again")
    for one in (client, slow):
        await one.settled()
        await assert_whole(one, server.database)


async def test_a_send_that_fails_closes_its_own_connection_with_a_reason_in_the_log(
    server: Server, client_by: ClientBy
) -> None:
    """The timeout of one client's send cancelled the journal, and with it others' changes."""
    failing = await client_by("times_out").start()
    other = await client_by().start()
    await failing.message(MARK)
    for number in range(20):
        await other.message(f"message {number}")
    await other.settled()
    assert await failing.closed() == 4000
    lines = [line for line in server.log().splitlines() if "TimeoutError" in line]
    [line] = [line for line in lines if "sent" in line]
    assert "websocket.send" in line
    failing.url = other.url
    await failing.resume()
    await failing.caught_up()
    for client in (failing, other):
        await assert_whole(client, server.database)
    assert "Timeout should be used inside a task" not in server.log()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_send_that_never_returns_is_given_up(
    kind: Kind, servers: Servers, client_of: ClientOf
) -> None:
    server = servers(kind=kind, application=SENDS, chatsessions={"HEARTBEAT": 3})
    hanging = await client_with(client_of, server, "hangs").start()
    other = await client_with(client_of, server).start()
    await hanging.message(MARK)
    for number in range(20):
        await other.message(f"message {number}")
    await other.settled()
    # Nothing comes and the client says nothing: closed for silence, and then left.
    assert await hanging.closed() is not None
    session = hanging.session
    await until(lambda: server.database.session(session)["status"] == "away")
    hanging.url = other.url
    await hanging.resume()
    await hanging.caught_up()
    for client in (hanging, other):
        await assert_whole(client, server.database)


#: tests/faults/test_sigterm.py has the others, every day.
@pytest.mark.slow
@pytest.mark.parametrize("server", ["hypercorn", "granian"], indirect=True)
async def test_sigterm_ends_the_server_and_nothing_is_lost(
    server: Server, client_by: ClientBy
) -> None:
    client = await client_by().start()
    await client.message("before")
    await client.settled()
    server.terminate()
    # They begin to cut connections at once, and the close may come too late.
    assert await client.closed() in (4000, 1001, 1006, 1011, 1012)
    server.wait()
    server.start()
    await client.resume()
    await client.message("after")
    await client.settled()
    await assert_whole(client, server.database)
