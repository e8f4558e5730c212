"""PostgreSQL, Redis and the wires before them: started once per test run."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .books import SCHEMA
from .postgres import ROLE, Postgres
from .process import WorkerProcess
from .redis_server import RedisServer
from .wires import Wires

#: A database with all migrations applied, of which each cluster gets a copy.
TEMPLATE = "chatsessions_template"


@dataclass
class Services:
    """What all clusters share; both services run already."""

    postgres: Postgres
    redis: RedisServer
    wires: Wires = field(default_factory=Wires)

    def start(self) -> None:
        self.wires.start()
        self.postgres.create_database(TEMPLATE)
        self._migrate()

    def stop(self) -> None:
        self.wires.stop()

    def settings(self, database: str) -> dict[str, Any]:
        """Where a worker finds them."""
        return {
            "postgres": self.postgres.port,
            "redis": self.redis.port,
            "database": database,
            "role": ROLE,
        }

    def _migrate(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="chatsessions-migrate-"))
        cluster = self.settings(TEMPLATE) | {"layer": "pubsub"}
        try:
            WorkerProcess("migrate", "daphne", folder, cluster).manage("migrate", "--verbosity=0")
        finally:
            shutil.rmtree(folder)
        with self.postgres.connect(TEMPLATE) as connection:
            connection.execute(f"SET ROLE {ROLE}")  # type: ignore[arg-type]
            connection.execute(SCHEMA)  # type: ignore[arg-type]
