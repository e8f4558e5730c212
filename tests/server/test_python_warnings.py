"""What a beginner sees of a mistake, in a project as ``startproject`` makes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sessions import until

from .client import ClientOf
from .harness import Server, running


class Runserver(Server):
    """``manage.py runserver``."""

    def command(self) -> list[str]:
        command = (sys.executable, "-m", "django", "runserver", "--noreload")
        return [*command, f"127.0.0.1:{self.port}"]


#: Without a LOGGING of its own.
FRESH: dict[str, Any] = {"DEBUG": True, "LOGGING": {}}


@pytest.fixture(scope="module", params=[Runserver, Server], ids=["runserver", "daphne"])
def fresh(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param, settings=FRESH) as found:
        yield found


async def test_a_forgotten_await_is_seen_in_the_terminal(
    fresh: Server, client_of: ClientOf
) -> None:
    """Daphne drops Python's warnings, and Django has no handler for what is logged of them."""
    client = await client_of(fresh, "faulty").start()
    await client.said("started")
    ours = await client.event("forgets_to_send")
    assert await client.outcome(ours) == "failed"
    theirs = await client.event("forgets_a_coroutine")
    assert await client.outcome(theirs) == "done"
    await until(lambda: "pause_for_thought" in fresh.log())
    log = fresh.log()
    assert "Never awaited" in log
    assert "Message.send() in" in log
    assert "bots.py, line" in log
    assert "RuntimeWarning: coroutine 'pause_for_thought' was never awaited" in log


async def test_under_debug_the_text_of_an_error_is_told(fresh: Server, client_of: ClientOf) -> None:
    client = await client_of(fresh, "faulty").start()
    await client.event("raise")
    error = await client.until({"type": "event", "name": "error"})
    assert "secret-of-the-server" in error["data"]["detail"]
    n = await client.event("surrogate_error")
    assert await client.outcome(n) == "failed"
    n = await client.message("still here")
    assert await client.outcome(n) == "done"
