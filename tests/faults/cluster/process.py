"""One worker of a cluster: a daphne or a uvicorn, killed, paused and started again by tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from tests.support.process import ROOT, DjangoServer

from .tab import PATIENCE

APPLICATION = "tests.faults.cluster.app:application"

Kind = Literal["daphne", "uvicorn"]


class WorkerProcess(DjangoServer):
    """``cluster`` is what its settings read of ``CLUSTER``, ``chatsessions`` of their own name."""

    SETTINGS = "tests.faults.cluster.settings"
    #: More than what a shutdown gives to turns and to the store.
    END_TIMEOUT = 90.0

    def __init__(
        self,
        name: str,
        kind: Kind,
        folder: Path,
        cluster: Mapping[str, Any],
        chatsessions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            folder,
            settings={"CHATSESSIONS": dict(chatsessions or {})},
            env={"CLUSTER": json.dumps({"worker": name, **cluster})},
        )
        self.name = name
        self.kind = kind
        #: How often it was killed.
        self.kills = 0

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind} on {self.port}, pid {self.process and self.process.pid}>"

    # Life

    def kill(self) -> None:
        super().kill()
        self.kills += 1

    def pause(self) -> None:
        """SIGSTOP: it lives, and does nothing."""
        self.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        self.send_signal(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.proceed()

    def discard(self) -> None:
        self.proceed()
        super().discard()

    @contextmanager
    def beside(self, module: str) -> Iterator[Callable[[str], str]]:
        """Run ``python -m module`` with the same services; gives what answers line by line."""
        command = [sys.executable, "-m", module]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=ROOT, env=self.environment(), stdin=pipe, stdout=pipe, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            said, heard = process.stdin, process.stdout

            def ask(line: str) -> str:
                said.write(f"{line}\n")
                said.flush()
                return heard.readline().strip()

            try:
                yield ask
                said.close()
                assert process.wait(self.END_TIMEOUT) == 0
            finally:
                process.kill()

    # What it is

    def command(self) -> list[str]:
        host = "127.0.0.1"
        if self.kind == "uvicorn":  # as it is mostly deployed; daphne is on asyncio
            return [
                *(sys.executable, "-m", "uvicorn", APPLICATION, "--host", host),
                *("--loop", "uvloop", "--http", "httptools"),
                *("--port", str(self.port), "--log-level", "warning", "--backlog", "2048"),
            ]
        # Daphne's own backlog of 50 is no place for a crowd; see docs/deployment.md.
        endpoint = f"tcp:{self.port}:interface={host}:backlog=2048"
        return [sys.executable, "-m", "daphne", "-v", "0", "-e", endpoint, APPLICATION]

    def inside(self) -> dict[str, Any]:
        """What it holds: live sessions, lines, tasks, threads, bytes."""
        url = f"http://127.0.0.1:{self.port}/inside/"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def answers(self) -> bool:
        with suppress(OSError):
            self.inside()
            return True
        return False
