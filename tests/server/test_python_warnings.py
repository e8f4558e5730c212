"""What a beginner sees in the terminal of a forgotten ``await``, in a project without LOGGING."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.support.sessions import until

from .client import Client
from .harness import Server, running


class Runserver(Server):
    """``manage.py runserver``."""

    def _command(self) -> list[str]:
        command = (sys.executable, "-m", "django", "runserver", "--noreload")
        return [*command, f"127.0.0.1:{self.port}"]


#: As ``startproject`` makes it.
FRESH: dict[str, Any] = {"DEBUG": True, "LOGGING": {}}


@contextmanager
def fresh_project(kind: str) -> Iterator[Server]:
    if kind != "runserver":
        with running(kind=kind, settings=FRESH) as server:
            yield server
        return
    server = Runserver(Path(mkdtemp(prefix="chatsessions-server-")), settings=FRESH)
    try:
        yield server.start()
    finally:
        server.discard()


@pytest.mark.parametrize("kind", ["runserver", "daphne", "uvicorn"])
async def test_a_forgotten_await_is_seen_in_the_terminal(
    kind: str, client_of: Callable[..., Client]
) -> None:
    """Daphne drops Python's warnings, and Django has no handler for what is logged of them."""
    with fresh_project(kind) as server:
        client = await client_of(server, "faulty").start()
        await client.said("started")
        ours = await client.event("forgets_to_send")
        assert await client.outcome(ours) == "failed"
        theirs = await client.event("forgets_a_coroutine")
        assert await client.outcome(theirs) == "done"
        await until(lambda: "pause_for_thought" in server.log())
        log = server.log()
        await client.close()
    assert "Never awaited" in log
    assert "Message.send() in" in log
    assert "bots.py, line" in log
    assert "RuntimeWarning: coroutine 'pause_for_thought' was never awaited" in log
