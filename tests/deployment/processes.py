"""A process that listens on a port, started as the page says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .page import ROOT

START_TIMEOUT = 120.0
#: What the page gives a worker to stop, in seconds.
STOP_TIMEOUT = 90.0


@dataclass(eq=False)
class Process:
    """``env`` is its whole environment; by default that of the tests."""

    command: Sequence[Any]
    port: int
    log: Path
    env: Mapping[str, str] | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until somebody may come."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, self.said()
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self, *, all_at_once: bool = False) -> None:
        """SIGTERM, and wait; ``all_at_once``: to its children as well, as systemd does it."""
        self._signal(signal.SIGTERM, all_at_once=all_at_once)
        self._wait()

    def end(self) -> None:
        """Without a word, it and its children."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def discard(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def _signal(self, number: signal.Signals, *, all_at_once: bool = False) -> None:
        if all_at_once:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def _wait(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            raise AssertionError(
                f"it does not end within {STOP_TIMEOUT} s:\n{self.said()}"
            ) from None

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-20_000:]
