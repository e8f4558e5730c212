"""A Redis of the tests' own: a private port, nothing on disk."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import redis

from tests import services
from tests.support.process import START_TIMEOUT, Process


class RedisServer(Process):
    """Started once per test run; a restart finds it empty."""

    END_TIMEOUT = START_TIMEOUT

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="chatsessions-redis-")))

    def start(self) -> Self:
        found = services.find("redis-server")
        assert found is not None
        self.run(
            [
                *(found, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--databases", "4"),
                *("--dir", self.folder),
            ],
            start_new_session=True,  # a Ctrl-C is for the tests, which end it themselves
        )
        self.wait_until_ready()
        return self

    def answers(self) -> bool:
        with suppress(redis.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def restart_empty(self) -> None:
        """As after a crash: all that was in it is gone, connections too."""
        self.kill()
        self.start()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """It answers nothing in the block, and goes on afterwards as if nothing had been."""
        self.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send_signal(signal.SIGCONT)

    def kill_subscribers(self) -> int:
        """End the connections that listen to channels; how many."""
        with self.client() as client:
            return int(client.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))

    def client(self) -> redis.Redis:
        """A connection of somebody beside the workers."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=0, socket_timeout=10)
