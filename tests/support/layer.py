"""A channel layer between the workers of one event loop, which may lose messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from chatsessions.cluster import directory


class LossyLayer:
    """
    A channel layer between the workers of one event loop.

    ``loss`` is the share of messages that it drops, from 0 to 1; ``delay`` is the time that a
    message takes, in seconds.
    """

    def __init__(self, *, loss: float = 0.0, delay: float = 0.0, seed: int = 0) -> None:
        self.loss = loss
        self.delay = delay
        #: Whether it drops every message.
        self.is_cut = False
        self.sent = 0
        self._random = Random(seed)  # noqa: S311  # so that a test can be repeated
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel = f"{prefix}{uuid4().hex}"
        self._queues[channel] = asyncio.Queue()
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self.sent += 1
        if not self.is_cut and self._random.random() >= self.loss and channel in self._queues:
            put = self._queues[channel].put_nowait
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, put, dict(message))
            else:
                put(dict(message))

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self._queues[channel].get()


class DeafLayer(LossyLayer):
    """A layer that loses what is sent to some workers, such as the answers to their commands."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf: set[str] = set()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if channel not in self.deaf:
            await super().send(channel, message)


@contextmanager
def impatient() -> Iterator[None]:
    """Give up waiting for a silent owner after about a second, without taking it for dead."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(directory, "LOOK_AGAIN", 0.3)
        times = SimpleNamespace(WORKER_STALE=0.6, WORKER_HEARTBEAT=0.2)
        patched.setattr(directory, "settings", times)
        yield
