"""``Held``: a session that this worker owns, as a visitor of it sees it."""

from __future__ import annotations

from uuid import UUID

from chatsessions.cluster import owner
from chatsessions.cluster.commands import Posted
from chatsessions.cluster.connect_request import User
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.workers.registry import ShuttingDown


class Held:
    """Holds a live session while a visit lasts."""

    def __init__(self, live: LiveSession) -> None:
        self.live = live

    @property
    def id(self) -> UUID:
        return self.live.id

    @property
    def first(self) -> int:
        return self.live.first

    @property
    def stored(self) -> int:
        return self.live.stored

    @property
    def received(self) -> int:
        return self.live.received

    @property
    def turn(self) -> int | None:
        return self.live.turn

    @property
    def turn_name(self) -> str:
        return next((turn.name for turn in self.live.turns.running), "")

    @property
    def open_streams(self) -> list[frames.Stream]:
        return self.live.open_streams

    @property
    def is_idle(self) -> bool:
        return self.live.position.is_idle

    @property
    def is_ending(self) -> bool:
        return self.live.ending is not None

    @property
    def lost(self) -> Exception | None:
        return (self.live.lost or ShuttingDown()) if self.live.closed else None

    async def settle(self) -> None:
        if self.live.log.head > self.live.stored:
            await self.live.sink.flush()

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        return await self.live.read_log(after, limit)

    def follow(self, listener: Subscriber) -> None:
        self.live.subscribers.followers.add(listener)

    def unfollow(self, listener: Subscriber) -> None:
        self.live.subscribers.followers.discard(listener)

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None) -> Posted:
        return await owner.post(self.live, name, raw, data, key=key)

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        return await owner.answer(self.live, call, raw, data)

    def renew_user(self, user: User) -> None:
        if not self.live.closed:
            self.live.renew_user(user)

    def visited(self) -> None:
        self.live.subscribers.visited()

    def let_go(self) -> None:
        self.live.holders -= 1
        self.live.note()

    async def given_back(self) -> None:
        await self.live.given_back()
