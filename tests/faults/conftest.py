"""Servers with the bots of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.server.conftest import client_of, pytest_runtest_makereport
from tests.server.harness import Server, running

from .support import APPLICATION, FaultServer

__all__ = ["client_of", "pytest_runtest_makereport"]

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """One data folder for a module's tests, whose server dies in most of them."""
    server = FaultServer(tmp_path_factory.mktemp("server"), application=APPLICATION)
    try:
        yield server
    finally:
        server.discard()


@pytest.fixture
def server(module_server: FaultServer) -> FaultServer:
    """The module's server, running."""
    module_server.begin()
    return module_server


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers of a test's own: ``serve(kind=…, chatsessions={…}, settings={…})``."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            running(**{"application": APPLICATION} | options)
        )
