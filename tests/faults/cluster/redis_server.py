"""A Redis of the tests' own: a private port, nothing on disk."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests import services
from tests.support.ports import free_port

START_TIMEOUT = 120.0


class RedisServer:
    """Started once per test run; a restart finds it empty."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="chatsessions-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        found = services.find("redis-server")
        assert found is not None
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(found, "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--databases", "4"),
                    *("--dir", self._folder),
                ],
                stdout=log,
                start_new_session=True,  # a Ctrl-C is for the tests, which end it themselves
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready()

    def restart_empty(self) -> None:
        """As after a crash: all that was in it is gone, connections too."""
        self._stop()
        self.start()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """It answers nothing in the block, and goes on afterwards as if nothing had been."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill_subscribers(self) -> int:
        """End the connections that listen to channels; how many."""
        with self.client() as client:
            return int(client.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))

    def client(self) -> redis.Redis:
        """A connection of somebody beside the workers."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=0, socket_timeout=10)

    def discard(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(START_TIMEOUT)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.ConnectionError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"Redis does not start: {self._said()}") from None
                time.sleep(0.02)
            else:
                return

    def _said(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-2000:]
