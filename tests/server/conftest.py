"""Servers for the tests: one per module and set of settings, or one of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .client import Client
from .harness import Server, add_server_logs, running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    add_server_logs(report)
    return report


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A daphne with the default settings, shared by a module's tests."""
    with running() as found:
        yield found


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts servers of a test's own: ``start_server(kind=…, chatsessions={…})``."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(**options))


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
