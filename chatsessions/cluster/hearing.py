"""``Hearing``: what the owner of a session tells this worker, in order, and what is known by it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from chatsessions.handlers.chat import ANSWER
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.storage.store import MESSAGE_EVENTS

from .commands import Attached, Parted, Released, Stored, Told

logger = logging.getLogger("chatsessions.relay")

#: Entries read at a time.
CHUNK = 200
#: Seconds after which an owner that has told nothing counts as silent.
SILENCE = 1.0

Item = Told | Stored | Parted | Released


class HearingHost(Protocol):
    """What hearing needs of the end of a link that it belongs to."""

    loop: asyncio.AbstractEventLoop
    over: bool

    @property
    def listener(self) -> Subscriber | None:
        """Who is told."""

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Stored entries behind ``after``, oldest first."""

    async def let_down(self, item: Parted | Released) -> None:
        """The owner tells no more."""

    def give_up(self, why: str) -> None:
        """There is no way to go on."""


class _Message(msgspec.Struct):
    """What an entry says of a message that may stream from there on."""

    id: str
    content: str
    streaming: bool


class Hearing:
    """
    Passes the owner's news on to a listener; they wait for one.

    Of the log the owner tells only how far it is stored: the entries are read.
    """

    def __init__(self, host: HearingHost) -> None:
        self._host = host
        #: Up to which entry the listener has been told.
        self.stored = 0
        #: Whether no turn runs or waits there, and whether the session ends, by what was told.
        self.is_idle = False
        self.is_ending = False
        self._streams: dict[str, frames.Stream] = {}
        self._news: deque[Item] = deque()
        self._has_news = asyncio.Event()
        self._heard_at = host.loop.time()

    def begin(self, facts: Attached) -> None:
        """The owner tells from here on."""
        self.stored = facts.head
        self.is_idle = facts.idle
        self._heard_at = self._host.loop.time()
        for raw in facts.streams:
            self._follow(frames.decode_server(bytes(raw).decode()))

    @property
    def open_streams(self) -> list[frames.Stream]:
        """What streams, as far as the listener has been told."""
        return list(self._streams.values())

    @property
    def is_silent(self) -> bool:
        """Whether the owner has told nothing for a while."""
        return self._host.loop.time() - self._heard_at > SILENCE

    def hear(self, items: Sequence[Item]) -> None:
        """News, in order."""
        self._heard_at = self._host.loop.time()
        self.add(items)

    def add(self, items: Sequence[Item]) -> None:
        """What the owner would have told, known in another way."""
        self._news.extend(items)
        self._has_news.set()

    async def deliver(self) -> None:
        """Pass the news on as they come, while there is a listener."""
        try:
            await self._deliver()
        except Exception:
            logger.exception("What the owner of a session tells cannot be passed on")
            self._host.give_up("what its owner tells cannot be passed on")

    async def _deliver(self) -> None:
        while not self._host.over:
            self._has_news.clear()
            while self._news and self._host.listener is not None:
                await self._pass_on(self._news.popleft(), self._host.listener)
            if not self._host.over:
                await self._has_news.wait()

    async def _pass_on(self, item: Item, listener: Subscriber) -> None:
        match item:
            case Told():
                frame = _decoded(item.frame)
                if frame is None:
                    return
                self._follow(frame)
                if isinstance(frame, frames.TurnStatus):
                    self.is_idle, self.is_ending = item.idle, item.ending
                listener.frame(frame)
            case Stored():
                await self.read_up_to(item.head)
            case Parted() | Released():
                await self._host.let_down(item)

    def _follow(self, frame: frames.ServerFrame) -> None:
        """Know the text of what streams, for a client that is still being brought up to date."""
        if isinstance(frame, frames.Stream):
            self._streams[frame.message] = frame
        elif isinstance(frame, frames.Token):
            so_far = self._streams.get(frame.message)
            text = "" if so_far is None else so_far.content
            if so_far is None or frame.index >= so_far.index:
                self._streams[frame.message] = frames.Stream(
                    frame.message, frame.index + 1, text + frame.text
                )

    async def read_up_to(self, head: int) -> None:
        """Tell the log up to ``head``; what nobody listens to counts as told."""
        while self.stored < head and not self._host.over:
            entries = await self._host.read_log(self.stored, CHUNK)
            if not entries or entries[0].seq != self.stored + 1:
                self._host.give_up("its log was cut off meanwhile")
                return
            self.stored = entries[-1].seq
            for entry in entries:
                self._passed(entry)
            listener = self._host.listener
            if listener is not None:
                listener.entries(entries)

    def _passed(self, entry: Entry) -> None:
        if entry.n is not None and entry.name != ANSWER:
            self.is_idle = False
        if self._streams:
            self._streams.pop(entry.closes or "", None)
        if b'"streaming":true' in entry.data and entry.name in MESSAGE_EVENTS:
            with suppress(msgspec.ValidationError):  # the application's own, by that name
                message = msgspec.json.decode(entry.data, type=_Message)
                if message.streaming:
                    self._streams[message.id] = frames.Stream(message.id, 0, message.content)


def _decoded(raw: msgspec.Raw) -> frames.ServerFrame | None:
    """A frame that the owner tells; None for one that only another release knows."""
    try:
        return frames.decode_server(bytes(raw).decode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        logger.warning("A frame from a session's owner is not known here: %s", error)
        return None
