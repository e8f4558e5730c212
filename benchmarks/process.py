"""Server processes and the cores they run on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where server and client run; None where they cannot be told apart."""

    server: int | None
    client: int | None
    count: int


def pin() -> Cores:
    """Take this process, the client, to a core that is not the server's."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores(server=None, client=None, count=os.cpu_count() or 1)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(server=None, client=None, count=len(cores))
    # Core 0 is where many a kernel does its own work; it goes to neither if there is a choice.
    server, client = cores[-1], cores[-2]
    os.sched_setaffinity(0, {client})
    return Cores(server=server, client=client, count=len(cores))


@contextmanager
def template() -> Iterator[Path]:
    """A folder with a migrated database, which each server gets a copy of."""
    with tempfile.TemporaryDirectory(prefix="chatsessions-benchmark-") as folder:
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0"],
            check=True,
            cwd=ROOT,
            env=_environment(Path(folder), "default"),
        )
        yield Path(folder)


def _environment(data: Path, variant: str) -> dict[str, str]:
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "BENCHMARK_VARIANT": variant,
        "DEMO_DATA": str(data),
        "PYTHONUNBUFFERED": "1",
    }


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
        raise RuntimeError("The server process ended; what it said is above.")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def cpu(self) -> float:
        """Seconds of CPU that all its threads have used, user and system."""
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
    server: str, variant: str, *, cores: Cores, data: Path, profile: bool = False
) -> Iterator[ServerProcess]:
    """A fresh process of ``server`` on a copy of ``data``; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="chatsessions-benchmark-") as folder:
        shutil.copytree(data, folder, dirs_exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.server", server]
        command += ["--core", str(cores.server)] if cores.server is not None else []
        command += ["--profile"] if profile else []
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(Path(folder), variant),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
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
