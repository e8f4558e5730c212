"""Each ASGI server that is known to work: conversations, and a ``send`` that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import get_args

import pytest

from tests.support.sessions import until

from .client import Client, assert_whole
from .harness import Kind, Server, running
from .sends import MARK

#: With middleware around ``send``.
SENDS = "tests.server.sends:application"
KINDS = get_args(Kind)
#: Those that are looked at every day, and the others.
EACH = [
    pytest.param(kind, marks=() if kind in ("daphne", "uvicorn") else pytest.mark.slow)
    for kind in KINDS
]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server of each kind, with middleware around ``send``."""
    with running(kind=request.param, application=SENDS) as found:
        yield found


def client_with(server: Server, send: str = "") -> Client:
    """A client whose connection has the ``send`` of that name around it, "" for none."""
    query = f"?send={send}" if send else ""
    return Client(server.url("faulty") + query, server.origin, bundles=True)


@pytest.fixture
async def client_by(server: Server) -> AsyncIterator[Callable[[str], Client]]:
    """Makes clients as :func:`client_with`, which are closed at the test's end."""
    clients: list[Client] = []

    def make(send: str = "") -> Client:
        clients.append(client_with(server, send))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


ClientBy = Callable[..., Client]


async def test_a_conversation_is_whole(server: Server, client_by: ClientBy) -> None:
    """Granian's awaitables are no coroutines: stepping them by hand closed every connection."""
    client = await client_by().start()
    await client.said("started")
    for number in range(20):
        await client.message(f"message {number}")
    streaming = await client.event("stream", {"count": 50, "pause": 0.001})
    await client.settled()
    assert client.outcomes[streaming] == "done"
    await client.drop()
    await client.resume()
    await client.message("again")
    await client.settled()
    await assert_whole(client, server.database)


async def test_a_slow_send_holds_up_nobody_else(server: Server, client_by: ClientBy) -> None:
    slow = await client_by("slow").start()
    other = await client_by().start()
    for number in range(20):
        await slow.message(f"slow {number}")
        await other.message(f"other {number}")
    await other.settled()
    await slow.settled()
    for client in (slow, other):
        await assert_whole(client, server.database)


@pytest.mark.parametrize(
    ("send", "reason"), [("times_out", "TimeoutError"), ("raises", "the middleware is broken")]
)
async def test_a_send_that_fails_closes_its_own_connection_with_a_reason_in_the_log(
    server: Server, client_by: ClientBy, send: str, reason: str
) -> None:
    """The timeout of one client's send cancelled the journal, and with it others' changes."""
    failing = await client_by(send).start()
    other = await client_by().start()
    await failing.message(MARK)
    for number in range(20):
        await other.message(f"message {number}")
    await other.settled()
    assert await failing.closed() == 4000
    [line] = [line for line in server.log().splitlines() if reason in line and "sent" in line]
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
    kind: Kind, start_server: Callable[..., Server]
) -> None:
    server = start_server(kind=kind, application=SENDS, chatsessions={"HEARTBEAT": 3})
    hanging = await client_with(server, "hangs").start()
    other = await client_with(server).start()
    await hanging.message(MARK)
    for number in range(20):
        await other.message(f"message {number}")
    await other.settled()
    # Nothing comes and the client says nothing: closed for silence, and then left.
    assert await hanging.closed() is not None
    session = hanging.session or ""
    await until(lambda: server.database.session(session)["status"] == "away")
    hanging.url = other.url
    await hanging.resume()
    await hanging.caught_up()
    for client in (hanging, other):
        await assert_whole(client, server.database)
        await client.close()


@pytest.mark.parametrize("kind", EACH)
async def test_sigterm_ends_the_server_and_nothing_is_lost(
    kind: Kind, start_server: Callable[..., Server]
) -> None:
    server = start_server(kind=kind)
    client = await Client.of(server, "faulty").start()
    await client.message("before")
    await client.settled()
    server.terminate(wait=False)
    # Hypercorn and granian begin to cut connections at once, and the close may come too late.
    expected = (4000,) if kind in ("daphne", "uvicorn") else (4000, 1001, 1006, 1011, 1012)
    assert await client.closed() in expected
    server.wait()
    server.start()
    await client.resume()
    await client.message("after")
    await client.settled()
    await assert_whole(client, server.database)
    await client.close()
