"""The line breaks, or goes silent, at every frame of a short conversation in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest
from websockets.exceptions import WebSocketException

from tests.server.client import Client, ClientOf
from tests.server.harness import Kind

from .proxy import Proxy
from .support import Serve, assert_books, at_rest, effects

pytestmark = [pytest.mark.server, pytest.mark.faults]

MESSAGES = 2
#: At least: hello and welcome, two messages, two accepted, three entries, some of the turns.
FRAMES = 13


async def talk(client: Client, proxy: Proxy) -> None:
    """Greet, send two messages, see both handled; whatever happens to the line, come back."""
    for _ in range(5):
        with suppress(AssertionError, OSError, WebSocketException):  # it may break at any line
            await client.knock()
            if await wait_for(lambda: client.welcome is not None, client, proxy):
                await client.resend()
                while client.next_n <= MESSAGES:
                    await client.message("hello")
                if await wait_for(lambda: settled(client), client, proxy):
                    return
        assert proxy.struck.is_set(), f"lost without a reason: {client.tail()}"
        if client.is_open:
            await client.drop()
    raise AssertionError("it does not come back")


async def wait_for(fact: Callable[[], bool], client: Client, proxy: Proxy) -> bool:
    """Whether it came true before the line broke, or had gone silent for a while."""
    silent = 0
    for _ in range(9000):
        if fact():
            return True
        if not client.is_open or silent > 20:
            return False
        silent = silent + 1 if proxy.is_silent else 0
        await asyncio.sleep(0.01)
    return False


def settled(client: Client) -> bool:
    replies = [entry for entry in client.entries.values() if entry.name == "counted"]
    told = client.connections > 1 or client.outcomes.keys() == {0, 1, 2}
    return len(replies) == MESSAGES and not client.unaccepted and told


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("cut", "uvicorn"),
        ("stall", "daphne"),
        pytest.param("stall", "uvicorn", marks=pytest.mark.slow),
    ],
)
async def test_wherever_the_line_breaks_the_conversation_is_whole(
    how: str, kind: Kind, serve: Serve, client_of: ClientOf
) -> None:
    # A line that went silent before its client knew the session is given up by the server.
    server = serve(kind=kind, chatsessions={"HEARTBEAT": 5})
    async with Proxy(server.port) as proxy:
        for number in count():
            client = client_of(server, "ledger")
            client.url = client.url.replace(str(server.port), str(proxy.listens_on))
            proxy.arm(number, swallows=True, stalls=how == "stall")
            await talk(client, proxy)
            proxy.disarm()
            if proxy.struck.is_set() and client.connections == 1:
                if client.is_open:  # it had all it wanted, and has not noticed
                    await client.drop()
                await client.resume()
            await assert_books(client, server, {1: "done", 2: "done"}, count=MESSAGES)
            assert effects(client, server) == {"start": 1, "1": 1, "2": 1}
            await client.close()
            if not proxy.struck.is_set():
                break
        assert number >= FRAMES, "too short a conversation"
        await at_rest(server)
