"""
``CommandServer``: do the commands of other workers, and take their hints.

A :class:`RemoteSubscriber` sends hints to another worker, from the session that it follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from chatsessions.conf import settings
from chatsessions.exceptions import OwnershipLost, SessionOver, StoreUnavailable
from chatsessions.handlers.session import in_language_of
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.timers import HELD_UP

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
    Hint,
    HintPart,
    NotHere,
    NotResumed,
    OfRemote,
    Post,
    Reply,
    Taken,
    decode_command,
    decode_hint,
    encode,
    failure_of,
)
from .connect_request import is_visitors, why_over
from .directory import WorkerDirectory
from .remote import RemoteSession
from .rpc import RpcClient

logger = logging.getLogger("chatsessions.cluster")

#: Seconds that the release of a session may take. After that it is not given away, so that no
#: client waits for a slow ``on_disconnect``.
GIVE_TIMEOUT = 1.0
#: How many clients to remember that have left while this worker was about to attach them.
LEFT_EARLY = 1000
#: The answer to a command that this release does not know.
UNKNOWN = Failed("ChatSessionsError", "the owner of the session does not know this command")


class CommandServer:
    """
    Does the commands of other workers in the sessions that are ``live`` here.

    ``remotes`` are the sessions of other workers that are followed here, which get the hints.
    """

    def __init__(
        self,
        directory: WorkerDirectory,
        *,
        live: dict[UUID, LiveSession],
        remotes: dict[str, RemoteSession],
    ) -> None:
        self._rpc = directory.rpc
        self._rows = directory.rows
        self._threads = directory.threads
        self._live = live
        self._remotes = remotes
        #: The subscribers at other workers, by the numbers of their ``RemoteSession`` objects.
        self._subscribers: dict[str, RemoteSubscriber] = {}
        #: The numbers of those that have left before they were attached, the latest of them.
        self._left_early: deque[str] = deque(maxlen=LEFT_EARLY)

    async def answer(self, raw: bytes) -> bytes:
        """Do a command, and return its answer. An exception becomes the answer ``Failed``."""
        try:
            command = decode_command(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            logger.warning("A command from another worker is none that is known here: %s", error)
            return encode(UNKNOWN)
        try:
            return encode(await self._do(command))
        except Exception as error:
            return encode(failure_of(error))

    def hear(self, raw: bytes) -> None:
        """Take a hint about a session that is followed here."""
        try:
            hint = decode_hint(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            logger.warning("A hint from another worker is none that is known here: %s", error)
            return
        remote = self._remotes.get(hint.remote)
        if remote is not None:
            remote.hear(hint)

    def look_round(self, *, late: float) -> None:
        """
        Remove subscribers whose worker is silent, and look for dead blocks.

        ``late`` is how many seconds the event loop was held up. Messages that have come meanwhile
        are not read yet, so after a hold-up no subscriber counts as silent.
        """
        if late > HELD_UP:
            for subscriber in self._subscribers.values():
                subscriber.heard()
            return
        now = self._rpc.loop.time()
        for number, subscriber in list(self._subscribers.items()):
            if not subscriber.over and now - subscriber.heard_at > settings.WORKER_STALE:
                subscriber.leave(1006)
            if subscriber.over and not subscriber.is_sending:
                del self._subscribers[number]
        for live in list(self._live.values()):
            if live.writers.suspects():
                self._rpc.start_task(self._look_for_writers(live))

    async def _look_for_writers(self, live: LiveSession) -> None:
        """Close the streams of blocks whose process is dead, or silent for ``WORKER_STALE``."""
        for number, writer in live.writers.suspects().items():
            is_lost = live.writers.is_lost(writer)
            if not is_lost and writer.worker is not None:
                is_lost = not await self._threads.read(self._rows.lives, writer.worker)
            # The block may have given a sign during the query.
            if is_lost and number in live.writers.suspects() and not live.closed:
                logger.info("Session %s: a block that streamed into it is gone", live.id)
                live.writers.interrupt(number)

    async def _do(self, command: Command) -> Answer:
        match command:
            case Attach():
                return await self._attach(command)
            case Forward() | Detach() | Alive() | Post() | Reply():
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
            live.client.close_connection(frames.CloseCode.TAKEN_OVER)
            live.log.note()
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
        # The session may have been assigned to a user meanwhile.
        is_theirs = is_visitors(live, command.user, command.used)
        if live.closed or not is_theirs or _is_overtaken(live, command):
            return NotHere()
        if command.remote in self._left_early:
            return NotHere()
        subscriber = self._subscribers.get(command.remote)
        if command.again and (subscriber is None or subscriber.over):
            return NotHere()
        if subscriber is None:
            subscriber = RemoteSubscriber(live, self._rpc, command)
            self._subscribers[command.remote] = subscriber
        subscriber.heard()
        is_attached = (
            await subscriber.connect(command) if subscriber.relayed else await subscriber.visit()
        )
        if not is_attached:
            return NotHere()
        if not live.log.is_stored:
            # By its row, at which the other worker looks, the session is not this owner's yet.
            try:
                await live.log.flushed()
            except OwnershipLost:
                return NotHere()
        return Attached(live.standing(), live.log.generation)

    async def _for_subscriber(self, command: OfRemote) -> Answer:
        subscriber = self._subscribers.get(command.remote)
        if subscriber is None and isinstance(command, Detach):
            self._left_early.append(command.remote)
        if subscriber is None or subscriber.over or not subscriber.is_here:
            return NotHere()
        subscriber.heard()
        live = subscriber.live
        with in_language_of(live.session):
            match command:
                case Forward():
                    return await self._receive(subscriber, command.frames)
                case Detach():
                    subscriber.leave(command.code)
                    return Done()
                case Alive():
                    if command.visited:
                        live.client.visited()
                    if command.acted:
                        await live.client.acted()
                    return Attached(live.standing())
                case Post(name=name, data=raw):
                    data = frames.decode_data(frames.ClientEvent(1, name, raw))
                    return await live.posted.post(name, bytes(raw), data, key=command.key)
                case Reply(call=call, data=raw):
                    data = frames.decode_data(frames.Answer(1, call, raw))
                    return await live.posted.answer(call, bytes(raw), data)

    async def _receive(self, subscriber: RemoteSubscriber, given: list[msgspec.Raw]) -> Taken:
        live, taken = subscriber.live, Taken([])
        live.client.confirm_token(subscriber)
        with live.held():  # so that it is not released between two frames
            for raw in given:
                error = await owner.take_frame(live, subscriber, raw)
                if error is not None:
                    taken.errors.append(msgspec.Raw(frames.encode(error).encode()))
                if error is not None and live.client.is_hammered and not subscriber.over:
                    taken.code = int(frames.CloseCode.RATE_LIMITED)
                    subscriber.leave(taken.code)
        return taken

    # From outside

    async def _outside(self, command: Apply | Call | End) -> Answer:
        """Do a command of outside code in a session that this worker holds."""
        live = self._live.get(command.session)
        if live is None or live.closed:
            return NotHere()
        if isinstance(command, End):
            return Done(await owner.carry_out(live, command))
        if live.ending is not None:
            raise SessionOver(live.id, live.ending)
        with live.held():
            return Done(await owner.carry_out(live, command))

    async def broadcast(self, command: Broadcast) -> int:
        """
        Emit an event to all connected sessions here; return how many have stored it.

        Raises ``StoreUnavailable``; if that is known before, nothing is emitted.
        """
        told = []
        for live in list(self._live.values()):
            meant = command.chat is None or live.chat.name == command.chat
            if meant and live.session.connected and live.ending is None and not live.closed:
                if live.worker.journal.failure is not None:
                    raise live.worker.journal.failure
                live.log.append(command.name, bytes(command.data))
                told.append(live.log.flushed())
        stored = await asyncio.gather(*told, return_exceptions=True)
        for result in stored:
            if isinstance(result, StoreUnavailable):
                raise result
        return sum(result is None for result in stored)


def _is_overtaken(live: LiveSession, command: Attach) -> bool:
    """Return True if the session has a newer connection than that of ``command``."""
    return command.how != "visit" and live.client.connections > command.connections


async def _first_of(*steps: Any) -> None:
    """Wait until one of ``steps`` is done, and cancel the others."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class RemoteSubscriber(Subscriber):
    """
    The owner's subscriber for another worker, which has the session's connection or its requests.

    Its hints say how far the log is stored; the other worker reads the entries from the database.
    Hints are not answered, as the other worker finds out what is lost. For requests the subscriber
    keeps the session in memory, as a request at this worker does.
    """

    def __init__(self, live: LiveSession, rpc: RpcClient, command: Attach) -> None:
        self.live = live
        self.heard_at = rpc.loop.time()
        #: Whether nothing more is sent.
        self.over = False
        #: Whether it is the session's connection, and the session may move to that worker.
        self.relayed = command.how != "visit"
        self._rpc = rpc
        self._number = command.remote
        self._channel = command.channel
        self._holds = False
        self._tells = False
        #: The last entry that was announced, and the number of the last hint.
        self._head = 0
        self._told = 0
        self._parts: list[HintPart] = []
        self._bytes = 0
        self._pump: asyncio.Task[None] | None = None

    async def connect(self, command: Attach) -> bool:
        """Become the session's connection; return False if that failed."""
        live = self.live
        live.client.rotate_tokens(command.used, command.given)
        stored = asyncio.Event()
        live.client.connect(self, language=command.language, welcome=stored.set)
        live.go()
        await _first_of(stored.wait(), live.until_closed())
        if not self.is_here:
            return False
        self._begin()
        live.client.announce(self, resumed=True)
        return True

    async def visit(self) -> bool:
        """Hold and follow the session for a request; return False if that failed."""
        live = self.live
        if not self._holds:
            self._holds = True
            live.holders += 1
            live.subscribers.followers.add(self)
        live.client.visited()
        live.go()
        try:
            await live.settle()
        except BaseException:
            if not self._tells:
                self.leave(1006)
            raise
        if not self._tells:
            self._begin()
        return not self.over

    def _begin(self) -> None:
        self._tells = True
        self._head = self.live.log.stored

    @property
    def is_sending(self) -> bool:
        """Whether hints are being sent."""
        return self._pump is not None

    @property
    def is_here(self) -> bool:
        """Whether the session still has this subscriber."""
        return self._holds or self.live.subscribers.connection is self

    def heard(self) -> None:
        """Note that the other worker is alive."""
        self.heard_at = self._rpc.loop.time()

    # Subscriber

    def entries(self, entries: Sequence[Entry]) -> None:
        self._head = entries[-1].seq
        if self._parts and not self._parts[-1].frames:
            self._parts[-1].head = self._head
        else:
            self._put(HintPart(self._head))

    def frame(self, frame: frames.ServerFrame) -> None:
        if self.over or not self._tells:
            return
        text = frames.encode(frame).encode()
        self._bytes += len(text)
        if self._bytes > settings.MAX_UNACKED_BYTES:  # drop a hint: the receiver sees the gap
            self._parts, self._bytes = [], 0
            self._told += 1
            self._put(HintPart(self._head))
            return
        if not self._parts:
            self._put(HintPart(self._head))
        part = self._parts[-1]
        part.frames.append(msgspec.Raw(text))
        if isinstance(frame, frames.TurnStatus):
            part.idle = self.live.is_idle
            part.ending = self.live.ending is not None

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        # ``released`` makes the other worker read the row: to take the session over for its
        # connection, or to find out how much of a session that was dropped here is stored.
        released = ended is None and (
            code == frames.CloseCode.SHUTTING_DOWN if self.relayed else self.live.closed
        )
        self._put(HintPart(self._head, code=int(code), ended=ended, released=released))
        self.over = True
        self._release()

    def leave(self, code: int) -> None:
        """Leave the session: the other worker or its client is gone."""
        self.over = True
        self._parts.clear()
        self.live.client.disconnect(self, code)
        self._release()

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self.live.subscribers.followers.discard(self)
            self.live.release()

    # Sending

    def _put(self, part: HintPart) -> None:
        if self.over or not self._tells:
            return
        self._parts.append(part)
        if self._pump is None:
            self._pump = self._rpc.start_task(self._send(), "chatsessions-hints")

    async def _send(self) -> None:
        try:
            await asyncio.sleep(0)  # so that frames of the same moment go in one hint
            while self._parts:
                parts, self._parts, self._bytes = self._parts, [], 0
                self._told += 1
                hint = Hint(self._number, self._told, parts)
                await self._rpc.tell(self._channel, encode(hint))
        finally:
            self._pump = None
