"""Servers that all tests share, and the clients that leave with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from .client import Client
from .harness import Server, shared, started

MIB = 1024 * 1024
#: What one test or another relies on, and no other notices.
COMMON = {
    "MAX_FILE_BYTES": 2 * MIB,
    "NEW_SESSIONS_PER_MINUTE": 100_000,
    "REVALIDATE_SECONDS": 3600,
    "STOP_TIMEOUT": 90,
}
#: Little time, and little room.
TIGHT = {
    "EVENTS_PER_SECOND": 1000,
    "MAX_LOG_ENTRIES": 40,
    "MAX_SESSIONS_PER_USER": 2,
    "STOP_TIMEOUT": 0.6,
}

Servers = Callable[..., Server]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows the logs of its servers."""
    report = yield
    if report.failed:
        for server in started:
            report.sections.append((f"log of {server!r}", server.log()[-20_000:]))
    return report


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """``servers(kind=…, chatsessions={…})``: a server that all tests with these options share."""
    with shared(Server) as found:
        yield found


@pytest.fixture
def server(servers: Servers) -> Server:
    """The daphne of most tests. It may be killed: the next test starts it again."""
    return servers(kind="daphne", chatsessions=COMMON)


@pytest.fixture(params=["daphne", "uvicorn"])
def either(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Two kinds of servers, for what depends on that."""
    return servers(kind=request.param, chatsessions=COMMON)


@pytest.fixture
def tight(servers: Servers) -> Server:
    """A daphne where little is allowed."""
    return servers(kind="daphne", chatsessions=TIGHT)


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., Client]]:
    """Makes clients that are closed at the test's end: ``client_of(server, "counter")``."""
    clients: list[Client] = []

    def make(server: Server, bot: str = "counter", **options: Any) -> Client:
        clients.append(Client.of(server, bot, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
