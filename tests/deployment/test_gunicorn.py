"""Several workers on one host: gunicorn as the page starts it, SQLite and a Redis."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from demo_project.bots import storyteller
from tests.server.client import Client
from tests.support.ports import free_port

from .conftest import prepare
from .page import command, section
from .processes import Process

pytestmark = pytest.mark.server

SECTION = "daphne and uvicorn"


class OneHost(Process):
    """The page's gunicorn, with the demo in place of a project."""

    folder: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def owner(self, session: str | None) -> int | None:
        """The process id of the worker that has a session."""
        with closing(sqlite3.connect(self.folder / "demo.sqlite3", timeout=60)) as database:
            found = database.execute(
                "SELECT pid FROM chatsessions_chatsession session JOIN chatsessions_worker worker "
                "ON worker.id = session.worker_id WHERE session.id = ?",
                (UUID(str(session)).hex,),
            ).fetchone()
        return found[0] if found else None


@pytest.fixture
def one_host(tmp_path: Path, redis_url: str) -> Iterator[OneHost]:
    [worker] = re.findall(r"^```python\n(.*?)^```", section(SECTION), re.DOTALL | re.MULTILINE)
    (tmp_path / "chat_worker.py").write_text(worker)
    port = free_port()
    written = {
        "mysite.workers.ChatWorker": "chat_worker.ChatWorker",
        "mysite.asgi:application": "demo_project.asgi:application",
        "127.0.0.1:8001": f"127.0.0.1:{port}",
    }
    words = [written.get(word, word) for word in command("gunicorn", SECTION)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    env |= {
        "HOME": str(tmp_path),  # where it keeps its control socket
        "PYTHONPATH": str(tmp_path),
        "DEMO_DATA": str(tmp_path),
        "REDIS_URL": redis_url,
        "REDIS_PREFIX": tmp_path.name,
    }
    preparation = prepare(env)
    said = preparation.communicate(timeout=60)[0]
    assert preparation.returncode == 0, said
    found = OneHost(words, port, tmp_path / "gunicorn.log", env)
    found.folder = tmp_path
    try:
        found.start()
        yield found
    finally:
        found.discard()


@pytest.fixture
def bot(one_host: OneHost) -> Callable[[str], Client]:
    return lambda name: Client(
        f"{one_host.origin}/ws/{name}/".replace("http", "ws"), one_host.origin
    )


async def elsewhere(client: Client, one_host: OneHost) -> None:
    """Come back until the session is at the other worker."""
    first = one_host.owner(client.session)
    async with asyncio.timeout(60):
        while one_host.owner(client.session) == first:
            await client.drop()
            assert (await client.resume(timeout=60))["resumed"]
            turn = await client.message("hello")
            assert await client.outcome(turn, timeout=60) == "done"


@pytest.mark.slow
async def test_two_workers_share_a_file_and_a_redis(
    one_host: OneHost, bot: Callable[[str], Client]
) -> None:
    async with bot("counter") as client, bot("storyteller") as listener:
        await client.start()
        turn = await client.message("hello")
        assert await client.outcome(turn, timeout=60) == "done"
        for _ in range(2):  # there and back
            await elsewhere(client, one_host)
        answers = [text for text in client.contents if text.startswith("You have sent")]
        counted = [f"You have sent {number} message(s)!" for number in range(1, len(answers) + 1)]
        assert answers == counted
        assert client.problems == []

        # A turn goes on wherever its client is.
        await listener.start()
        turn = await listener.message("a hat")
        await listener.until({"type": "token"}, timeout=60)
        for _ in range(3):
            await listener.drop()
            assert (await listener.resume(timeout=60))["resumed"]
        assert await listener.outcome(turn, timeout=60) == "done"
        assert listener.contents[-1] == "".join(storyteller._tokens("a hat", 0))
        assert listener.problems == []

        await asyncio.to_thread(one_host.stop)
        assert [await one.closed() for one in (client, listener)] == [4000, 4000]
    assert "locked" not in one_host.said()
