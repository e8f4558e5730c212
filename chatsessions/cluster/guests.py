"""
Subscribers of a session that are at other workers, as its owner here sees them.

A :class:`RemoteSubscriber` stands for a connection, a :class:`RemoteHttpSubscriber` for a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry

from .commands import News, NotHere, Parted, Released, Stored, Told, decode_answer, encode
from .rpc import (
    NoAnswer,
    RpcClient,
)

logger = logging.getLogger("chatsessions.relay")

Item = Told | Stored | Parted | Released


class RemoteSubscriber(Subscriber):
    """
    Passes on what a session tells to the worker that relays it, in order.

    While a batch is on its way the next one gathers. The entries themselves stay at home: the
    other worker reads them from the log.
    """

    #: The session may leave for where its connection is.
    relayed = True

    def __init__(self, live: LiveSession, mail: RpcClient, *, relay: str, channel: str) -> None:
        self.live = live
        self.relay = relay
        self.heard_at = live.loop.time()
        #: Whether nothing more comes.
        self.over = False
        self._mail = mail
        self._channel = channel
        self._welcomed = False
        self._items: list[Item] = []
        self._bytes = 0
        self._pump: asyncio.Task[None] | None = None

    @property
    def is_sending(self) -> bool:
        """Whether something is still on its way to the relay."""
        return self._pump is not None

    @property
    def is_here(self) -> bool:
        """Whether the session still knows of it."""
        return self.live.listener is self

    def welcome(self) -> None:
        """The relay is told from here on."""
        self._welcomed = True

    def heard(self) -> None:
        """The relay is still there."""
        self.heard_at = self.live.loop.time()

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        self._put(Stored(entries[-1].seq))

    def frame(self, frame: frames.ServerFrame) -> None:
        text = frames.encode(frame).encode()
        self._bytes += len(text)
        if self._bytes > settings.MAX_UNACKED_BYTES:
            self.lost(frames.CloseCode.TOO_SLOW)
        else:
            self._put(self._told(frame, msgspec.Raw(text)))

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        # Come back: the relay itself does, and looks whether it can have the session now.
        comes_back = code == frames.CloseCode.SHUTTING_DOWN
        self._put(Released() if comes_back else Parted(int(code), ended))
        self.over = True

    def lost(self, code: int) -> None:
        """There is no way to the relay any more; its client comes back by itself."""
        self.over = True
        self._items.clear()
        self._leave(code)

    def _leave(self, code: int) -> None:
        self.live.disconnect(self, code)

    # The way out

    def _told(self, frame: frames.ServerFrame, text: msgspec.Raw) -> Told:
        return Told(text)

    def _put(self, item: Item) -> None:
        if self.over or not self._welcomed:
            return
        if isinstance(item, Stored) and self._items and isinstance(self._items[-1], Stored):
            self._items[-1] = item
        else:
            self._items.append(item)
        if self._pump is None:
            self._pump = self.live.loop.create_task(
                self._send(), name="chatsessions-guest", context=Context()
            )
            self.live.host.own(self._pump)

    async def _send(self) -> None:
        try:
            await asyncio.sleep(0)  # what is told at the same time goes together
            while self._items:
                items, self._items, self._bytes = self._items, [], 0
                news = encode(News(relay=self.relay, items=items))
                answer = await self._mail.ask(self._channel, news, patience=settings.WORKER_STALE)
                self.heard()
                if isinstance(decode_answer(answer), NotHere):
                    self.lost(1006)
        except NoAnswer:
            logger.info("Session %s: the worker that relays it is gone", self.live.id)
            self.lost(1006)
        except ChatSessionsError as error:
            logger.warning("Session %s: its relay does not take the news: %s", self.live.id, error)
            self.lost(1006)
        finally:
            self._pump = None


class RemoteHttpSubscriber(RemoteSubscriber):
    """
    A request at another worker, which follows the session and may give it events.

    As one here does, it holds the session while it lasts.
    """

    #: The session stays where it is.
    relayed = False

    def __init__(self, live: LiveSession, mail: RpcClient, *, relay: str, channel: str) -> None:
        super().__init__(live, mail, relay=relay, channel=channel)
        self._holds = False

    def arrive(self) -> None:
        """Hold the session, and follow it."""
        self._holds = True
        self.live.holders += 1
        self.live.subscribers.followers.add(self)
        self.live.subscribers.visited()

    @property
    def is_here(self) -> bool:
        return self._holds

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        # Of a session that is dropped nobody knows how much of it is stored.
        is_dropped = self.live.closed and ended is None
        self._put(Released() if is_dropped else Parted(int(code), ended))
        self.over = True
        self._leave(code)

    def _leave(self, code: int) -> None:
        if self._holds:
            self._holds = False
            self.live.subscribers.followers.discard(self)
            self.live.holders -= 1
            self.live.note()

    def _told(self, frame: frames.ServerFrame, text: msgspec.Raw) -> Told:
        if not isinstance(frame, frames.TurnStatus):
            return Told(text)
        live = self.live
        return Told(text, idle=live.position.is_idle, ending=live.ending is not None)
