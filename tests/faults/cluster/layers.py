"""Channel layers that lose messages, as every layer may: a part of them, by a seed."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer


class _Dropping:
    """Keeps every ``drop``-th part of what is sent to itself, and tells nobody."""

    def __init__(self, *args: Any, drop: float = 0.0, seed: int = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self._drop = drop
        self._source = random.Random(seed)  # noqa: S311
        self.dropped = 0

    def _loses(self) -> bool:
        lost = self._source.random() < self._drop
        self.dropped += lost
        return lost


class DroppingCoreLayer(_Dropping, RedisChannelLayer):
    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if not self._loses():
            await super().send(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if not self._loses():
            await super().group_send(group, message)


class DroppingPubSubLayer(_Dropping, RedisPubSubChannelLayer):
    def __getattr__(self, name: str) -> Any:
        # It finds all of a layer's methods here itself.
        found = super().__getattr__(name)
        return partial(self._perhaps, found) if name in ("send", "group_send") else found

    async def _perhaps(self, send: Any, *args: Any) -> None:
        if not self._loses():
            await send(*args)
