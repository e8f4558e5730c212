"""The demo on PostgreSQL and Redis, as many workers behind nginx."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.faults.cluster.postgres import ROLE, Postgres
from tests.faults.cluster.redis_server import RedisServer
from tests.server.client import Client
from tests.support.ports import free_port

from .nginx import Nginx
from .page import ROOT, command
from .processes import Process

SECTION = "The demo on many processes"


@dataclass
class Site:
    """The demo: where its services are, and its processes."""

    folder: Path
    env: dict[str, str]
    daphne: Process
    uvicorn: Process
    nginx: Nginx

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.nginx.port}"

    def url(self, bot: str, *, port: int | None = None) -> str:
        """Where a bot is, through nginx or at one worker."""
        return f"ws://127.0.0.1:{port or self.nginx.port}/ws/{bot}/"

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        url = self.env["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def owner(self, session: str | None) -> int | None:
        """The process id of the worker that has a session."""
        found = self.query(
            "SELECT pid FROM chatsessions_chatsession session JOIN chatsessions_worker worker "
            "ON worker.id = session.worker_id WHERE session.id = %s",
            session,
        )
        return found[0]["pid"] if found else None


def prepare(env: dict[str, str]) -> subprocess.Popen[str]:
    """What ``make prepare`` does when everything is installed."""
    return subprocess.Popen(
        [sys.executable, "-m", "demo_project", "--prepare"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def environment(folder: Path, postgres: Postgres, database: str, redis_url: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    return mine | {
        "DATABASE_URL": f"postgresql://{ROLE}@127.0.0.1:{postgres.port}/{database}",
        "REDIS_URL": redis_url,
        "DEMO_DATA": str(folder),
    }


@pytest.fixture(scope="module", params=["pubsub"])
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Postgres,
    redis_server: RedisServer,
) -> Iterator[Site]:
    """Two workers behind nginx, on a database and a Redis of their own."""
    folder = tmp_path_factory.mktemp("site")
    database = f"site_{uuid4().hex}"
    redis_url = f"redis://127.0.0.1:{redis_server.port}/1"
    postgres.create_database(database)
    env = environment(folder, postgres, database, redis_url)
    env |= {"CHANNEL_LAYER": request.param, "REDIS_PREFIX": database}
    preparation = prepare(env)
    said = preparation.communicate(timeout=60)[0]
    assert preparation.returncode == 0, said
    workers = [
        _worker(name, written, folder, env)
        for name, written in (("daphne", 8001), ("uvicorn", 8002))
    ]
    nginx = Nginx(folder / "nginx", [worker.port for worker in workers])
    with ExitStack() as stack:
        stack.callback(postgres.drop_database, database)
        for worker in workers:
            stack.callback(worker.discard)
            worker.start()
        stack.enter_context(nginx.running())
        yield Site(folder, env, *workers, nginx)


def _worker(name: str, written: int, folder: Path, env: dict[str, str]) -> Process:
    """The page's own command, on a port that is free."""
    port = free_port()
    words = [word.replace(str(written), str(port)) for word in command(name, SECTION)]
    return Process(words, port, folder / f"{name}.log", env)


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., Client]]:
    """Makes clients that are closed at the test's end: ``client_of(site, "counter")``."""
    clients: list[Client] = []

    def make(site: Site, bot: str = "counter", *, port: int | None = None) -> Client:
        clients.append(Client(site.url(bot, port=port), site.origin))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
