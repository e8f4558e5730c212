"""One worker of a cluster: a daphne or a uvicorn, killed, paused and started again by tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.server.harness import ROOT
from tests.support.ports import free_port

from .tab import PATIENCE

APPLICATION = "tests.faults.cluster.app:application"
SETTINGS = "tests.faults.cluster.settings"
START_TIMEOUT = 120.0
#: More than what a shutdown gives to turns and to the store.
END_TIMEOUT = 90.0

Kind = Literal["daphne", "uvicorn"]


@dataclass(eq=False)
class WorkerProcess:
    """``cluster`` is what its settings read of ``CLUSTER``, ``chatsessions`` of their own name."""

    name: str
    kind: Kind
    folder: Path
    cluster: Mapping[str, Any]
    chatsessions: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    #: How often it was killed.
    kills: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind} on {self.port}, pid {self.pid}>"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # Life

    def launch(self) -> None:
        """Start without waiting for it."""
        assert not self.is_running, f"{self!r} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.inside()
            except OSError:
                assert self.is_running, f"{self!r} ended while it started:\n{self.log()}"
                assert time.monotonic() < deadline, f"{self!r} does not start:\n{self.log()}"
                time.sleep(0.02)
            else:
                return

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self.wait()
        self.kills += 1

    def terminate(self) -> None:
        """SIGTERM, as a deployment does it; nobody waits for it here."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout: float = END_TIMEOUT) -> int:
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(
                f"{self!r} did not end within {timeout} s:\n{self.log()}"
            ) from None

    def pause(self) -> None:
        """SIGSTOP: it lives, and does nothing."""
        self._signal(signal.SIGSTOP)

    def proceed(self) -> None:
        self._signal(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.proceed()

    def discard(self) -> None:
        """End it however that goes, SIGTERM first so that coverage is written."""
        if self.is_running:
            self.proceed()
            self.terminate()
            try:
                assert self._process is not None
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def manage(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a management command as somebody beside it, and return what it says."""
        command = [sys.executable, "-m", "django", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def beside(self, module: str, *arguments: str) -> Iterator[Callable[[str], str]]:
        """Run ``python -m module`` with the same services; gives what answers line by line."""
        command = [sys.executable, "-m", module, *arguments]
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
                assert process.wait(END_TIMEOUT) == 0
            finally:
                process.kill()

    # What it is, and what it says

    def _command(self) -> list[str]:
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

    def environment(self) -> dict[str, str]:
        """Also for a process beside it that is to see the same services."""
        return dict(os.environ) | {
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "DEMO_DATA": str(self.folder),
            "CLUSTER": json.dumps({"worker": self.name} | dict(self.cluster)),
            "TESTS_SETTINGS": json.dumps({"CHATSESSIONS": dict(self.chatsessions)}),
            "PYTHONUNBUFFERED": "1",
        }

    def inside(self) -> dict[str, Any]:
        """What it holds: live sessions, lines, tasks, threads, bytes."""
        url = f"http://127.0.0.1:{self.port}/inside/"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    @property
    def _log_path(self) -> Path:
        return self.folder / "server.log"

    def log(self) -> str:
        """All that it and those before its restarts have written."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""
