"""Processes of the tests' own: their start, their end, and what they write into a log."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from .ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 120.0


class Process:
    """A process that listens on a port of its own; it can be ended and started again."""

    #: Seconds that it may take to end.
    END_TIMEOUT = 20.0

    def __init__(self, folder: Path, *, log: str = "server.log") -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._log_path = folder / log
        #: How many bytes of its log are those of earlier tests.
        self._seen = 0

    def __repr__(self) -> str:
        pid = None if self.process is None else self.process.pid
        return f"<{type(self).__name__} on {self.port}, pid {pid}>"

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self!r} was not started"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def run(self, command: list[Any], **options: Any) -> None:
        """Start it by a command, without waiting until it answers."""
        assert not self.is_running, f"{self!r} runs already"
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        raise NotImplementedError

    @contextmanager
    def started(self) -> Iterator[Self]:
        """Run it during the block."""
        try:
            yield self.start()
        finally:
            self.discard()

    def answers(self) -> bool:
        """Return True if it takes connections."""
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            assert self.is_running, f"{self!r} ended while it started:\n{self.log()}"
            assert time.monotonic() < deadline, f"{self!r} does not start:\n{self.log()}"
            time.sleep(0.02)

    def send_signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, without waiting for its end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code. One that does not end fails the test."""
        assert self.process is not None
        seconds = self.END_TIMEOUT if timeout is None else timeout
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self!r} did not end in {seconds} s:\n{self.log()}") from None

    def discard(self) -> None:
        """End it, by SIGTERM if it will so that coverage is written, and delete its folder."""
        if self.process is not None:
            self.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What it, and those before its restarts, have written since the test began."""
        if not self._log_path.exists():
            return ""
        return self._log_path.read_bytes()[self._seen :].decode(errors="replace")

    def forget_log(self) -> None:
        """A test begins: what was written until now is not its own."""
        self._seen = self._log_path.stat().st_size if self._log_path.exists() else 0


class DjangoServer(Process):
    """
    A server of one of the tests' applications, with a data folder of its own.

    ``settings`` are Django settings that differ from those of the module ``SETTINGS``, to be passed
    as JSON; ``env`` adds environment variables.
    """

    SETTINGS = "tests.server.settings"

    def __init__(
        self, folder: Path, *, settings: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.env = env or {}

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return its environment variables, also for a process beside it."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": self.SETTINGS,
            "DEMO_DATA": str(self.folder),
            "TESTS_SETTINGS": json.dumps(self.settings),
            "PYTHONUNBUFFERED": "1",
            **self.env,
        }

    def launch(self) -> None:
        """Start it, without waiting until it answers."""
        self.run(self.command(), cwd=ROOT, env=self.environment())

    def start(self) -> Self:
        self.launch()
        self.wait_until_ready()
        return self

    def manage(self, *arguments: str) -> str:
        """Run a management command as somebody beside it, and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout
