"""Server processes and the cores they run on."""

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
#: What the names of all temporary folders begin with.
PREFIX = "chatsessions-benchmark-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where server, client and services run; None where they cannot be told apart."""

    server: int | None
    client: int | None
    services: int | None
    count: int


def pin() -> Cores:
    """Take this process, the client, to a core that is not the server's."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores(server=None, client=None, services=None, count=os.cpu_count() or 1)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(server=None, client=None, services=None, count=len(cores))
    # Core 0 is where many a kernel does its own work; it goes to neither if there is a choice.
    server, client = cores[-1], cores[-2]
    services = cores[-3] if len(cores) > 2 else client
    os.sched_setaffinity(0, {client})
    return Cores(server=server, client=client, services=services, count=len(cores))


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder of the benchmark's."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path:
        yield Path(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a process of the benchmark is set up: its folder, settings, and where services are."""

    folder: Path
    #: What differs from ``benchmarks.settings``.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: What the demo takes from the environment; left out, its database is a file in the folder.
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCHMARK_SETTINGS": json.dumps(dict(self.settings)),
            "DEMO_DATA": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            # Whatever the one who runs this has set for the demo is not meant.
            "DATABASE_URL": "",
            "REDIS_URL": "",
            **self.variables,
        }

    def run(self, *arguments: str) -> str:
        """What a module of ours, or of Django, prints. Raises ``BenchmarkError`` if it fails."""
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
    """A server of its own, with its own data."""

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
        """Seconds of CPU that all its threads have used, user and system."""
        if sys.platform == "linux":
            # What clock_getcpuclockid(3) gives: nanoseconds, where /proc counts in hundredths.
            return time.clock_gettime(~self._process.pid << 3 | 2)
        times = self._info.cpu_times()
        return float(times.user + times.system)

    def resident(self) -> int:
        """Bytes in memory, after a garbage collection."""
        self._say("gc")
        return int(self._read("rss"))

    def start_profile(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def stop_profile(self, folder: Path) -> None:
        """Stop, and write what was measured into ``folder``."""
        self._process.send_signal(signal.SIGUSR2)
        self._say(f"dump {folder}")
        self._read("dumped")

    def stop(self) -> None:
        """End it, whatever it is doing."""
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
    """A process of ``server``."""
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
        # A Ctrl-C is for the benchmark, which ends them in order.
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
