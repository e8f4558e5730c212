"""Servers with the bots of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.conftest import client_of, pytest_runtest_makereport
from tests.server.harness import shared

from .support import APPLICATION, FaultServer, Serve

__all__ = ["client_of", "pytest_runtest_makereport"]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """``serve(kind=…, chatsessions={…})``: a server that the module's tests share, running."""
    with shared(FaultServer) as servers:
        yield lambda **options: servers(**{"kind": "daphne", "application": APPLICATION} | options)


@pytest.fixture
def server(serve: Serve) -> FaultServer:
    """A daphne with the default settings."""
    return serve()
