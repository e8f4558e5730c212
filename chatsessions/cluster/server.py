"""
The owner's end: a worker does what other workers ask of it.

:class:`CommandServer` answers their commands. A :class:`RemoteSubscriber` stands for a connection
there, a :class:`RemoteHttpSubscriber` for a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, SessionOver
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.database import Executors
from chatsessions.storage.log import Entry
from chatsessions.storage.worker_rows import WorkerRows

from . import owner
from .commands import (
    Alive,
    Answer,
    Apply,
    Attach,
    Attached,
    Broadcast,
    Busy,
    Call,
    Command,
    Detach,
    Done,
    End,
    Failed,
    Forward,
    Halt,
    News,
    NotHere,
    NotResumed,
    OfRemote,
    Parted,
    Post,
    Released,
    Reply,
    Stored,
    Told,
    decode_answer,
    decode_command,
    encode,
    failure_of,
)
from .connect_request import is_visitors, why_over
from .remote import Item, RemoteSession
from .rpc import NoAnswer, RpcClient

logger = logging.getLogger("chatsessions.relay")

#: Seconds that a session which nobody needs here may take to be given away, before it is relayed
#: instead: a slow ``on_disconnect`` is to keep nobody waiting.
GIVE_TIMEOUT = 1.0
#: To a worker of another release, or whoever sends what looks like a command.
UNKNOWN = Failed("ChatSessionsError", "the owner of the session does not know this command")


class CommandServer:
    """
    Does commands of other workers in the sessions that are ``live`` here.

    ``remotes`` are the sessions of other workers that are followed here, for what they tell.
    """

    def __init__(
        self,
        rpc: RpcClient,
        rows: WorkerRows,
        threads: Executors,
        *,
        live: dict[UUID, LiveSession],
        remotes: dict[str, RemoteSession],
    ) -> None:
        self._rpc = rpc
        self._rows = rows
        self._threads = threads
        self._live = live
        self._remotes = remotes
        #: By the number that the other end has: who hears of a session elsewhere.
        self._subscribers: dict[str, RemoteSubscriber] = {}

    async def answer(self, raw: bytes) -> bytes:
        """Do a command, and return its answer; what it raises is one, too."""
        try:
            command = decode_command(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            logger.warning("A command from another worker is none that is known here: %s", error)
            return encode(UNKNOWN)
        try:
            return encode(await self._do(command))
        except Exception as error:
            return encode(failure_of(error))

    def look_round(self) -> None:
        """Part with the subscribers whose worker is not heard of any more."""
        now = self._rpc.loop.time()
        for number, subscriber in list(self._subscribers.items()):
            if not subscriber.over and now - subscriber.heard_at > settings.WORKER_STALE:
                subscriber.lost(1006)
            if subscriber.over and not subscriber.is_sending:
                del self._subscribers[number]
        for live in list(self._live.values()):
            if live.writers.suspects():
                self._rpc.start_task(self._look_for_writers(live))

    async def _look_for_writers(self, live: LiveSession) -> None:
        """Close the streams of blocks elsewhere whose process is gone, or silent for long."""
        for number, writer in live.writers.suspects().items():
            is_lost = live.writers.is_lost(writer)
            if not is_lost and writer.worker is not None:
                is_lost = not await self._threads.read(self._rows.lives, writer.worker)
            if is_lost and not live.closed:
                logger.info("Session %s: a block that streamed into it is gone", live.id)
                live.writers.interrupt(number)

    async def _do(self, command: Command) -> Answer:
        match command:
            case Attach():
                return await self._attach(command)
            case News():
                return self._hear(command)
            case Forward() | Halt() | Detach() | Alive() | Post() | Reply():
                return await self._for_subscriber(command)
            case Broadcast():
                return Done(await self.broadcast(command))
        return await self._outside(command)

    # For a worker with a client

    async def _attach(self, command: Attach) -> Answer:
        live = self._live.get(command.session)
        if live is None or live.closed:
            return NotHere()
        if not is_visitors(live, command.user, command.used):
            return NotResumed("unknown")
        if live.ending is not None:
            return NotResumed(why_over(live.ending))
        if _is_overtaken(live, command):
            return NotHere()
        if live.is_spare and (live.subscribers.connection is None or command.how != "visit"):
            live.client.part(frames.CloseCode.TAKEN_OVER)
            live.pending.note()
            try:
                async with asyncio.timeout(GIVE_TIMEOUT):
                    await live.until_closed()
            except TimeoutError:
                pass
            else:
                return NotHere()
        if command.how == "give":
            return Busy()
        if command.user is not None:
            live.session.renew_user(await self._threads.read(owner.find_user, str(live.owner_id)))
        # The session may have been given to a user meanwhile.
        is_theirs = is_visitors(live, command.user, command.used)
        if live.closed or not is_theirs or _is_overtaken(live, command):
            return NotHere()
        kind = RemoteSubscriber if command.how == "relay" else RemoteHttpSubscriber
        subscriber = kind(live, self._rpc, number=command.remote, channel=command.channel)
        self._subscribers[command.remote] = subscriber
        if not await subscriber.join(command):
            return NotHere()
        return Attached(live.standing())

    async def _for_subscriber(self, command: OfRemote) -> Answer:
        subscriber = self._subscribers.get(command.remote)
        if subscriber is None or subscriber.over or not subscriber.is_here:
            return NotHere()
        subscriber.heard()
        live = subscriber.live
        match command:
            case Forward():
                await self._receive(live, subscriber, command.frames)
            case Halt():
                live.stop()
            case Detach():
                subscriber.lost(command.code)
            case Alive(visited=visited, acted=acted):
                if visited:
                    live.client.visited()
                if acted:
                    await live.client.acted()
            case Post(name=name, data=raw):
                data = frames.decode_data(frames.ClientEvent(1, name, raw))
                return await live.posted.post(name, bytes(raw), data, key=command.key)
            case Reply(call=call, data=raw):
                data = frames.decode_data(frames.Answer(1, call, raw))
                return await live.posted.answer(call, bytes(raw), data)
        return Done()

    async def _receive(
        self, live: LiveSession, subscriber: RemoteSubscriber, given: list[msgspec.Raw]
    ) -> None:
        live.client.confirm_token(subscriber)
        live.holders += 1  # not to be let go between two frames
        try:
            for raw in given:
                taken = await owner.take_frame(live, subscriber, raw)
                if not taken and live.inbound.gate.is_hammered:
                    subscriber.close(frames.CloseCode.RATE_LIMITED)
                    live.client.disconnect(subscriber, frames.CloseCode.RATE_LIMITED)
        finally:
            live.let_go()

    def _hear(self, news: News) -> Answer:
        remote = self._remotes.get(news.remote)
        if remote is None:
            return NotHere()
        remote.hear(news.items)
        return Done()

    # From outside

    async def _outside(self, command: Apply | Call | End) -> Answer:
        """Do what code elsewhere wants of a session that this worker holds."""
        live = self._live.get(command.session)
        if live is None or live.closed:
            return NotHere()
        match command:
            case End():
                live.end(command.reason)
                await live.until_closed()
                if live.lost is not None:
                    raise live.lost
                return Done()
            case Apply():
                await self._held(live, partial(owner.apply, live, command))
                return Done()
            case Call():
                call = partial(
                    live.sink.call, command.kind, command.data, timeout=command.timeout, turn=None
                )
                return Done(await self._held(live, call))

    async def _held(self, live: LiveSession, step: Callable[[], Any]) -> Any:
        if live.ending is not None:
            raise SessionOver(live.id, live.ending)
        live.holders += 1
        try:
            return await step()
        finally:
            live.let_go()

    async def broadcast(self, command: Broadcast) -> int:
        """Emit to every session here that has a connection; return how many have it stored."""
        told = []
        for live in list(self._live.values()):
            meant = command.chat is None or live.chat.name == command.chat
            if meant and live.session.connected and live.ending is None and not live.closed:
                live.log.append(command.name, bytes(command.data))
                told.append(live.pending.flushed())
        stored = await asyncio.gather(*told, return_exceptions=True)
        return sum(result is None for result in stored)


def _is_overtaken(live: LiveSession, command: Attach) -> bool:
    """Return True if a newer connection than that of ``command`` has come: it has the session."""
    return command.how != "visit" and live.client.connections > command.connections


async def _first_of(*steps: Any) -> None:
    """Wait until one of ``steps`` is done, and cancel the others."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


# Subscribers at other workers


class RemoteSubscriber(Subscriber):
    """
    A session's connection at another worker: passes on what the session tells, in order.

    While a batch is on its way the next one gathers. Of the log it says only how far it is stored:
    the other worker reads the entries from the database.
    """

    #: The session may leave for where its connection is.
    relayed = True

    def __init__(self, live: LiveSession, rpc: RpcClient, *, number: str, channel: str) -> None:
        self.live = live
        self.heard_at = rpc.loop.time()
        #: Whether nothing more comes.
        self.over = False
        self._rpc = rpc
        self._number = number
        self._channel = channel
        self._welcomed = False
        self._items: list[Item] = []
        self._bytes = 0
        self._pump: asyncio.Task[None] | None = None

    async def join(self, command: Attach) -> bool:
        """Be the session's connection from now on; return False if that failed."""
        live = self.live
        live.client.rotate_tokens(command.used, command.given)
        stored = asyncio.Event()
        live.client.connect(self, welcome=stored.set)
        live.go()
        await _first_of(stored.wait(), live.until_closed())
        if live.subscribers.connection is not self:
            return False
        self._welcomed = True
        live.client.announce(resumed=True)
        return True

    @property
    def is_sending(self) -> bool:
        """Whether something is still on its way."""
        return self._pump is not None

    @property
    def is_here(self) -> bool:
        """Whether the session still knows of it."""
        return self.live.subscribers.connection is self

    def heard(self) -> None:
        """The other worker is still there."""
        self.heard_at = self._rpc.loop.time()

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        self._put(Stored(entries[-1].seq))

    def frame(self, frame: frames.ServerFrame) -> None:
        text = frames.encode(frame).encode()
        self._bytes += len(text)
        if self._bytes > settings.MAX_UNACKED_BYTES:
            self.lost(frames.CloseCode.TOO_SLOW)
            return
        told = Told(msgspec.Raw(text))
        if isinstance(frame, frames.TurnStatus):
            told.idle, told.ending = self.live.position.is_idle, self.live.ending is not None
        self._put(told)

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        # Come back: the other worker itself does, and looks whether it can have the session now.
        comes_back = code == frames.CloseCode.SHUTTING_DOWN
        self._put(Released() if comes_back else Parted(int(code), ended))
        self.over = True

    def lost(self, code: int) -> None:
        """Leave: there is no way to the other worker any more. Its client comes back by itself."""
        self.over = True
        self._items.clear()
        self._leave(code)

    def _leave(self, code: int) -> None:
        self.live.client.disconnect(self, code)

    # The way out

    def _put(self, item: Item) -> None:
        if self.over or not self._welcomed:
            return
        if isinstance(item, Stored) and self._items and isinstance(self._items[-1], Stored):
            self._items[-1] = item
        else:
            self._items.append(item)
        if self._pump is None:
            self._pump = self._rpc.start_task(self._send(), "chatsessions-subscriber")

    async def _send(self) -> None:
        try:
            await asyncio.sleep(0)  # what is told at the same time goes together
            while self._items:
                items, self._items, self._bytes = self._items, [], 0
                news = encode(News(remote=self._number, items=items))
                answer = await self._rpc.ask(self._channel, news, patience=settings.WORKER_STALE)
                self.heard()
                if isinstance(decode_answer(answer), NotHere):
                    self.lost(1006)
        except NoAnswer:
            logger.info("Session %s: the worker of its connection is gone", self.live.id)
            self.lost(1006)
        except ChatSessionsError as error:
            logger.warning(
                "Session %s: the worker of its connection does not take the news: %s",
                self.live.id,
                error,
            )
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
    _holds = False

    async def join(self, command: Attach) -> bool:
        """Follow the session from now on, and hold it."""
        live = self.live
        self._holds = True
        live.holders += 1
        live.subscribers.followers.add(self)
        live.client.visited()
        live.go()
        try:
            if live.log.head > live.log.stored:
                await live.sink.flush()
        except BaseException:
            self.lost(1006)
            raise
        self._welcomed = not self.over
        return self._welcomed

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
            self.live.let_go()
