"""Server processes, and the cores on which they run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from .wire import BenchmarkError

ROOT = Path(__file__).resolve().parent.parent
#: The prefix of the names of all temporary folders.
PREFIX = "chatsessions-benchmark-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The cores of server, client and services; None if they cannot be pinned to cores."""

    server: int | None
    client: int | None
    services: int | None
    count: int


def pin() -> Cores:
    """Pin this process, the client, to a core other than the server's."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores(server=None, client=None, services=None, count=os.cpu_count() or 1)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(server=None, client=None, services=None, count=len(cores))
    # Many kernels do their own work on core 0, so the client and the server avoid it if possible.
    server, client = cores[-1], cores[-2]
    services = cores[-3] if len(cores) > 2 else client
    os.sched_setaffinity(0, {client})
    return Cores(server=server, client=client, services=services, count=len(cores))


@contextmanager
def folder() -> Iterator[Path]:
    """Make a temporary folder, which is deleted after the block."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path:
        yield Path(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The setup of a process: its folder, its settings, and the addresses of its services."""

    folder: Path
    #: Settings that differ from ``benchmarks.settings``.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: The demo's environment variables for services. Without any, a file is the database.
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCHMARK_SETTINGS": json.dumps(dict(self.settings)),
            "DEMO_DATA": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            # Ignore the variables that the caller has set for the demo.
            "DATABASE_URL": "",
            "REDIS_URL": "",
            **self.variables,
        }

    def run(self, *arguments: str) -> str:
        """Run a module, and return its output. Raises ``BenchmarkError`` if the module fails."""
        finished = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if finished.returncode:
            raise BenchmarkError(f"{' '.join(arguments)} failed; what it said is above")
        return finished.stdout


class ServerProcess:
    """A running server process, controlled over its standard input and by signals."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._info = psutil.Process(process.pid)
        self.port = int(self._read("port"))

    def _read(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            first, _, rest = line.strip().partition(" ")
            if first == word:
                return rest
        raise BenchmarkError("a server process ended; what it said is above")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def cpu(self) -> float:
        """Return the CPU seconds, user and system, that all threads of the process have used."""
        if sys.platform == "linux":
            # The clock of clock_getcpuclockid(3) counts nanoseconds; /proc counts hundredths.
            return time.clock_gettime(~self._process.pid << 3 | 2)
        times = self._info.cpu_times()
        return float(times.user + times.system)

    def resident(self) -> int:
        """Return the resident memory in bytes, after a garbage collection."""
        self._say("gc")
        return int(self._read("rss"))

    def start_profile(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def stop_profile(self, folder: Path) -> None:
        """Stop profiling, and write the profiles into ``folder``."""
        self._process.send_signal(signal.SIGUSR2)
        self._say(f"dump {folder}")
        self._read("dumped")

    def stop(self) -> None:
        """Terminate the process; kill it if it does not end within ten seconds."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def serve(
    setup: Setup, server: str, *, cores: Cores, profile: bool = False
) -> Iterator[ServerProcess]:
    """Run a process of ``server`` during the block."""
    command = [sys.executable, "-m", "benchmarks.server", server]
    command += ["--core", str(cores.server)] if cores.server is not None else []
    command += ["--profile"] if profile else []
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=setup.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches only the benchmark, which then stops its servers in order.
        start_new_session=True,
    )
    running = None
    try:
        running = ServerProcess(process)
        yield running
    finally:
        if running is not None:
            running.stop()
        else:
            process.kill()
            process.wait()
