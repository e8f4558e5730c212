"""A server that is killed again and again while its clients go on talking."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from websockets.exceptions import WebSocketException

from tests.server.client import Client, ClientOf
from tests.server.harness import Server
from tests.support.sessions import until

from .support import FaultServer, assert_books, at_peace, at_rest, counted, effects, outcomes

pytestmark = [pytest.mark.server, pytest.mark.faults]

KILLS = 2
CLIENTS = 3


async def keep_talking(client: Client, source: random.Random, over: asyncio.Event) -> None:
    """Send messages and rows until it is over; come back whenever the line is lost."""
    while not over.is_set():
        try:
            if not client.is_open:
                await client.resume() if client.session else await client.start()
            elif len(client.unaccepted) < 5:
                await (client.message("hello") if source.random() < 0.7 else client.event("row"))
            await asyncio.sleep(source.random() * 0.03)
        except (AssertionError, OSError, WebSocketException):
            await client.close()
            await asyncio.sleep(0.02)


async def get_on(clients: Sequence[Client]) -> None:
    """Wait until every client has had another event accepted."""

    def accepted() -> list[int]:
        return [client.next_n - 1 - len(client.unaccepted) for client in clients]

    before = accepted()
    await until(lambda: all(now > then for now, then in zip(accepted(), before, strict=True)))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_every_accepted_message_counts_once(
    seed: int, server: FaultServer, client_of: ClientOf
) -> None:
    source = random.Random(seed)  # noqa: S311
    over = asyncio.Event()
    clients = [client_of(server, "ledger") for _ in range(CLIENTS)]
    talks = [
        asyncio.create_task(keep_talking(client, random.Random(source.random()), over))  # noqa: S311
        for client in clients
    ]
    for _ in range(KILLS):
        await get_on(clients)
        await asyncio.sleep(0.1 + source.random() * 0.4)
        await asyncio.to_thread(server.restart)
    await get_on(clients)
    over.set()
    await asyncio.gather(*talks)
    total = 0
    for client in clients:
        await client.resume()
        await at_peace(client, server)
        total += await check(client, server)
    assert total > CLIENTS * KILLS
    await at_rest(server, *clients)


async def check(client: Client, server: Server) -> int:
    """One client's books; how many messages it had accepted."""
    statuses = outcomes(client, server)
    accepted = len(statuses)
    assert list(statuses) == list(range(1, accepted + 1))
    assert set(statuses.values()) <= {"done", "interrupted"}
    await assert_books(client, server, statuses)
    rows = {n for n, seen in client.sent.items() if seen.name == "row"}
    messages = set(statuses) - rows
    # A message that was cut short is counted by on_interrupted, which runs once: the next kill may
    # cut that short as well, and nothing comes after the last one. A row is counted if handled.
    uncounted = messages - set(counted(client))
    assert {statuses[n] for n in uncounted} <= {"interrupted"}
    assert len(uncounted) < KILLS
    assert {n for n in rows if statuses[n] == "done"} <= set(counted(client))
    made = server.database.query(
        "SELECT name FROM auth_group WHERE name LIKE ?", f"{client.session}:%"
    )
    written = {int(row["name"].partition(":")[2]) for row in made}
    assert {n for n in rows if statuses[n] == "done"} <= written <= rows
    assert all(effects(client, server)[str(n)] <= 1 for n in statuses)
    return accepted
