"""
``python -m tests.on_postgres pytest …``: a command, with a PostgreSQL of its own for the tests.

It is started on a private port, and gone with the command.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests import services
from tests.faults.cluster.postgres import ADMIN, Postgres


def main(command: list[str]) -> int:
    if services.find("postgres") is None:
        sys.stderr.write("SKIPPED: PostgreSQL is not installed, nothing is tested on it.\n")
        return 1 if services.required() else 0
    with Postgres().started() as postgres:
        url = f"postgresql://{ADMIN}@127.0.0.1:{postgres.port}/chatsessions"
        env = {**os.environ, "CHATSESSIONS_TEST_DATABASE_URL": url}
        return subprocess.run(command, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
