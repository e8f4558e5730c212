"""
``Worker``: one per process and event loop, and all that such a process holds.

The live sessions, the journal and its threads, the heartbeat, the reaper, and the way down.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import Context
from datetime import datetime
from functools import partial
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.db import DatabaseError, IntegrityError
from django.dispatch import Signal
from django.utils import translation

from chatsessions import signals
from chatsessions.auth.logins import Logins
from chatsessions.cluster.commands import Broadcast
from chatsessions.cluster.connect_request import (
    Admit,
    ConnectRequest,
    anybody,
)
from chatsessions.cluster.directory import WorkerDirectory
from chatsessions.cluster.link import OwnerLink
from chatsessions.cluster.rpc import RpcClient
from chatsessions.cluster.server import CommandServer
from chatsessions.cluster.supervision import keep_running
from chatsessions.cluster.visit_relay import VisitRelay
from chatsessions.conf import settings
from chatsessions.exceptions import (
    OwnershipLost,
    OwnerUnreachable,
    ServerStopped,
    SessionNotFound,
    SessionOver,
)
from chatsessions.handlers.chat import (
    Chat,
    find_chat,
)
from chatsessions.handlers.session import supported_language
from chatsessions.models import ChatSession
from chatsessions.protocol.frames import CloseCode
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.database import LOOK_INTERVAL, Executors, close_unusable, is_transient
from chatsessions.storage.journal import Journal
from chatsessions.storage.log import Entry
from chatsessions.storage.store import Store
from chatsessions.storage.worker_rows import WorkerRows

from .batcher import BatchTimer
from .limits import Limits
from .registry import (
    Opened,
    SessionRegistry,
)
from .shutdown import SigtermHandler
from .unheard import hear_warnings

logger = logging.getLogger("chatsessions.worker")

T = TypeVar("T")

#: How long clients may take to answer the close of a shutdown, in seconds.
FAREWELL = 1.0
#: Sessions that the reaper ends together.
REAP_BATCH = 200
#: How many of them are read at a time.
REAPED_AT_ONCE = 20
#: With so many expired sessions that could not be ended the reaper waits for its next time.
MAX_LEFT = 900


class OpenLine(Protocol):
    """A websocket, as the worker sees it."""

    def close_line(self, code: int) -> None: ...

    def abandon(self) -> None: ...


class Worker:
    """What one event loop holds; found by :func:`get_worker`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.id = uuid4()
        self.loop = loop
        self.store = Store()
        self.rows = WorkerRows(self.id)
        self.threads = Executors()
        self.store.before_commit = self.rows.beat_if_late
        self.store.restore_worker = self.rows.restore
        self.journal = Journal(lambda batch: self.threads.start_write(self.store.commit, batch))
        self.rows.stuck_for = lambda: self.journal.stuck_for
        self.live: dict[UUID, LiveSession] = {}
        self.closing = False
        #: Set when nothing is left of it.
        self.gone = asyncio.Event()
        #: The open lines, so that a shutdown can see them to their end.
        self.lines: set[OpenLine] = set()
        self.logins = Logins(loop, self.threads.check, self.own)
        self._closed = False
        #: Whether it has connections of its own, and blocks of outside code that use it.
        self._serves = False
        self._visitors = 0
        #: What leaves for its clients when the event loop is through with what it does.
        self.departures = BatchTimer(loop)
        #: What its clients may ask of it.
        self.limits = Limits(loop.time)
        self.mail = RpcClient(loop, self._answer, self.own)
        #: Sessions of other workers whose clients are here.
        self.relays: dict[str, OwnerLink] = {}
        self.elsewhere = WorkerDirectory(self)
        self.entrance = SessionRegistry(self)
        self._desk = CommandServer(self)
        self._tasks: set[asyncio.Task[Any]] = set()
        #: What sets up and tears down for sessions, which is not cut short.
        self._lifespans: set[asyncio.Task[None]] = set()
        self._started: asyncio.Task[None] | None = None
        self._connections_checked = 0.0
        #: When the cache was told last to keep what live sessions have there.
        self._touched_at = loop.time()
        self._sigterm = SigtermHandler(loop, partial(self.shut_down, for_good=True))

    # Sessions

    async def open(
        self, chat: Chat, arrival: ConnectRequest, *, admit: Admit = anybody, relays: bool = False
    ) -> Opened:
        """For a connection: see :meth:`SessionRegistry.open`."""
        self._serves = True
        return await self.entrance.open(chat, arrival, admit=admit, relays=relays)

    async def receive(
        self, chat: Chat, arrival: ConnectRequest, *, make: bool = True, admit: Admit = anybody
    ) -> tuple[LiveSession | VisitRelay, str | None]:
        """For somebody without one: see :meth:`SessionRegistry.receive`."""
        return await self.entrance.receive(chat, arrival, make=make, admit=admit)

    async def acquire(self, session_id: UUID, *, to_end: bool = False) -> LiveSession:
        """For code from outside: see :meth:`SessionRegistry.acquire`."""
        return await self.entrance.acquire(session_id, to_end=to_end)

    def serve(self) -> None:
        """Stay, whoever visits and leaves: the event loop is a server's."""
        self._serves = True

    @property
    def serves(self) -> bool:
        """Whether the event loop is a server's, and takes sessions in."""
        return self._serves and not self.closing

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Self]:
        """
        For code outside of connections: a worker that serves none is gone with its last visitor.

        That waits for what still runs in sessions, and leaves it to whoever comes meanwhile.
        """
        self._visitors += 1
        try:
            yield self
        finally:
            self._visitors -= 1
            if not self._visitors and not self._serves:
                # By a task of its own: a visitor that is cancelled leaves no worker half closed.
                await asyncio.wait([self.start_task(self._leave(), "chatsessions-leave")])

    async def _leave(self) -> None:
        """The last visitor is through."""
        ends = [live.until_idle() for live in self.live.values()]
        await _within(settings.SHUTDOWN_TIMEOUT, ends)
        if not self._visitors and not self._serves:
            await self.shut_down(patience=0)

    async def broadcast(self, command: Broadcast) -> int:
        """An event for the connected sessions that are held here; how many got it."""
        return await self._desk.broadcast(command)

    async def broadcast_elsewhere(self, command: Broadcast, here: Collection[UUID]) -> int:
        """
        The same for those of all workers that are not ``here``; how many got it.

        Raises ``OwnerUnreachable``.
        """
        workers = await self.threads.read(self.rows.others, here, command.chat)
        return await self.elsewhere.broadcast(command, workers)

    # Host

    @property
    def pauses(self) -> int:
        return self.rows.pauses

    def now(self) -> datetime:
        return self.rows.now()

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a handler written as ``def``, with the caller's context."""
        return await self.threads.handle(function)

    async def do_files(self, function: Callable[[], T]) -> T:
        return await self.threads.do_files(function)

    def refresh_connections(self, *, failed: bool = False) -> None:
        """
        See that async handlers' queries find no connection that the database has closed.

        They run in one thread, one after another, so what is queued here comes before them.
        Channels does so before every event, with a thread hop each; once a second will do, and
        when a handler ``failed``: a lost connection may be why.
        """
        now = self.loop.time()
        is_due = failed or now - self._connections_checked > LOOK_INTERVAL
        if is_due:
            self._connections_checked = now
            self.start_task(sync_to_async(close_unusable)())

    async def read_log(self, session_id: UUID, after: int, limit: int) -> list[Entry]:
        read = partial(self.store.read_log, session_id, after=after, limit=limit)
        return await self.threads.read(read)

    async def find_message(self, session_id: UUID, message: str) -> dict[str, Any] | None:
        return await self.threads.read(self.store.find_message, session_id, message)

    async def find_seq(self, session_id: UUID, n: int) -> int | None:
        return await self.threads.read(self.store.seq_of, session_id, n)

    async def read(self, function: Callable[[], T]) -> T:
        return await self.threads.read(function)

    def read_now(self, function: Callable[[], T]) -> T:
        return self.threads.read_now(function)

    async def find_posted(self, session_id: UUID, key: str) -> Entry | None:
        return await self.threads.read(self.store.find_posted, session_id, key)

    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None:
        if signal.receivers and signal.has_listeners(chat):
            self.start_task(_send(signal, chat, arguments))

    def drop(self, live: LiveSession) -> None:
        if self.live.get(live.id) is live:
            del self.live[live.id]
            self.limits.keep_event_pace(live.id, live.inbox.gate.rate)

    def lost(self, live: LiveSession, error: Exception, *, held: bool) -> None:
        if not isinstance(error, OwnershipLost):
            let_go = self.threads.write(self.rows.let_go, live.id, live.draft.generation)
            self.start_task(self._try(let_go))
        if live.listener is not None:
            self.start_task(self._part_with(live, error, held=held))

    async def _part_with(self, live: LiveSession, error: Exception, *, held: bool) -> None:
        """Tell the connection of a session that is not this worker's any more."""
        listener, live.subscribers.listener = live.listener, None
        if listener is None:
            return
        taken, exists = isinstance(error, OwnershipLost), True
        if taken:
            with suppress(DatabaseError):
                exists = await self.threads.read(self.rows.exists, live.id)
        if not exists:
            listener.close(CloseCode.SESSION_ENDED, ended=ChatSession.EndReason.ADMIN)
        elif taken and held:
            listener.close(CloseCode.TAKEN_OVER)
        else:
            listener.close(CloseCode.SHUTTING_DOWN)  # come back, and find it where it is now

    def start_task(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Start a task of the worker's own: no ``contextvars`` of whoever was first stay in it."""
        task = self.loop.create_task(coroutine, name=name, context=Context())
        self.own(task)
        return task

    def start_lifespan(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.start_task(coroutine, "chatsessions-lifespan")
        self._lifespans.add(task)
        task.add_done_callback(self._lifespans.discard)
        return task

    def own(self, task: asyncio.Task[Any]) -> None:
        """See ``task`` to its end, and log what it raises."""
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s failed", task.get_name(), exc_info=task.exception())

    # Life

    async def start(self) -> None:
        """Make the worker known, once. Raises what the database raises."""
        if self._started is None or (
            self._started.done() and not self._started.cancelled() and self._started.exception()
        ):
            self._started = self.loop.create_task(
                self._start(), name="chatsessions-start", context=Context()
            )
        await asyncio.shield(self._started)

    async def _start(self) -> None:
        await self._open_mail()
        await self.threads.write(self.rows.beat)
        if self._serves or not self._visitors:  # a visitor is gone before it would be of use
            await self.threads.write(self.rows.sweep)
        if settings.HANDLE_SIGTERM:
            self._sigterm.install()
        if django_settings.DEBUG:
            hear_warnings()
        for name, loop in (
            ("heartbeat", self._beat),
            ("reaper", self._reap),
            ("logins", self.logins.watch),
        ):
            kept = keep_running(f"The worker's task {name!r}", loop)
            self.start_task(kept, f"chatsessions-{name}")

    async def _open_mail(self) -> None:
        """Without it the worker serves its own sessions; those of others it cannot reach."""
        try:
            await self.mail.open()
        except Exception as error:
            logger.error("The channel layer fails; other workers are not reached: %s", error)
        self.rows.channel = self.mail.channel

    async def _answer(self, command: bytes) -> bytes:
        return await self._desk.answer(command)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(settings.WORKER_HEARTBEAT)
            try:
                self._desk.look_round()
            except Exception:
                logger.exception("The worker's guests could not be looked at")
            if not self.mail.channel:
                await self._open_mail()
            await self._try(self._say_alive())

    async def _say_alive(self) -> None:
        """One that was silent for so long that it counted as dead takes back what nobody took."""
        if await self.threads.write(self.rows.beat):
            for live in list(self.live.values()):
                live.subscribers.claim_again()

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(settings.REAP_INTERVAL)
            await self._try(self._touch_cache())
            await self._try(self.threads.write(self.rows.sweep))
            await self._try(self._end_expired())

    async def _touch_cache(self) -> None:
        """Have the cache keep the values of live sessions, before their time there is over."""
        now = self.loop.time()
        if now - self._touched_at < settings.CACHE_TIMEOUT / 2:
            return
        held = {live.id: live.draft.generation for live in self.live.values() if live.user_session}
        gone = await self.threads.read(self.store.touch, held)
        self._touched_at = now
        if settings.USER_SESSION_STORE == "cache":  # else the row has them
            for live in filter(None, map(self.live.get, gone)):
                live.write_values()

    async def _end_expired(self) -> None:
        """End all of this worker's share, batch by batch; what hangs keeps no other waiting."""
        left: set[UUID] = set()
        while len(left) < MAX_LEFT:
            batch = await self.threads.read(self.rows.expired, REAP_BATCH, left)
            if not batch:
                return
            plain = [one.id for one in batch if one.is_idle and not self._is_told(one.chat)]
            if plain and await self._end_plain(plain):
                continue
            ending = await self._begin_ends([one.id for one in batch])
            # Until that is stored, they would be found again.
            await _within(settings.STOP_TIMEOUT, [live.until_closed() for live in ending])
            ended = {live.id for live in ending if live.closed and live.lost is None}
            if ending and not ended:
                return  # nothing is stored just now
            left.update(one.id for one in batch if one.id not in ended)

    async def _end_plain(self, ids: Collection[UUID]) -> int:
        """End sessions together that no code is told of; none if one of them cannot be written."""
        try:
            return await self.threads.write(self.rows.end_expired, ids)
        except IntegrityError as error:
            logger.warning("Expired sessions are ended one by one: %s", error)
            return 0

    def _is_told(self, name: str) -> bool:
        """Whether code of the project's is told of the end of a chat's sessions."""
        chat = find_chat(name)
        return "chat_end" in chat.hooks or signals.session_ended.has_listeners(chat)

    async def end_untold(self, ids: Collection[UUID]) -> tuple[int, list[UUID]]:
        """
        End those expired sessions of ``ids`` that no code is told of, all together.

        How many that were, and which of the others are still expired.
        """
        found = await self.threads.read(self.rows.expired_of, ids)
        plain = [one.id for one in found if one.is_idle and not self._is_told(one.chat)]
        ended = await self._end_plain(plain) if plain else 0
        if ended:
            found = await self.threads.read(self.rows.expired_of, ids)
        return ended, [one.id for one in found]

    async def _begin_ends(self, batch: Sequence[UUID]) -> list[LiveSession]:
        """Begin to end sessions, a few at a time: the event loop does not stand still for all."""
        begun: list[LiveSession] = []
        failures: dict[UUID, Exception] = {}
        for start in range(0, len(batch), REAPED_AT_ONCE):
            some = batch[start : start + REAPED_AT_ONCE]
            for session_id, found in (await self.entrance.acquire_to_end(some)).items():
                if isinstance(found, LiveSession):
                    found.end(ChatSession.EndReason.EXPIRED)
                    found.holders -= 1
                    begun.append(found)
                elif not isinstance(found, SessionNotFound | SessionOver | OwnerUnreachable):
                    failures[session_id] = found  # else somebody else was faster
        if failures:
            session_id, error = next(iter(failures.items()))
            logger.error(
                "%d expired sessions cannot end, such as %s: %s", len(failures), session_id, error
            )
        return begun

    async def _try(self, step: Awaitable[Any]) -> None:
        try:
            await step
        except Exception as error:
            if is_transient(error):
                logger.warning("The worker's housekeeping failed; it is tried again: %s", error)
            else:
                logger.exception("The worker's housekeeping failed; it is tried again")

    async def shut_down(self, *, for_good: bool = False, patience: float | None = None) -> None:
        """
        Come to an orderly end: close connections (4000), let turns finish, commit.

        What runs longer than ``patience`` seconds (``SHUTDOWN_TIMEOUT``) is interrupted, and known
        to be so by whoever takes the session next. ``for_good``: whoever comes later is told to
        come back.
        """
        if self.closing:
            return
        self.closing = True
        lives = list(self.live.values())
        if self._serves:
            logger.info("Shutting down with %d live sessions", len(lives))
        for live in lives:
            live.drain()
        for line in list(self.lines):
            line.close_line(CloseCode.SHUTTING_DOWN)
        visits = [relay for relay in self.relays.values() if isinstance(relay, VisitRelay)]
        ends = [*(live.until_idle() for live in lives), *(visit.until_left() for visit in visits)]
        await _within(settings.SHUTDOWN_TIMEOUT if patience is None else patience, ends)
        for live in lives:
            live.interrupt()
        for visit in visits:
            visit.let_go()
        stored = await _within(settings.STORE_TIMEOUT, [live.until_closed() for live in lives])
        if not stored:
            logger.error("Not everything could be stored before the server stopped")
        await self._see_lines_off()
        await self.mail.settle(FAREWELL)  # what relays are told last
        await self.close(for_good=for_good)

    async def _see_lines_off(self) -> None:
        """
        Give the clients a moment to answer the close, then end the readers.

        Daphne stops without ending them, and Python 3.11 crashes on what is left suspended.
        """
        deadline = self.loop.time() + FAREWELL
        while self.lines and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for line in list(self.lines):
            line.abandon()
        await asyncio.sleep(0.01)

    async def close(self, *, for_good: bool = False) -> None:
        """Leave nothing behind: sessions, tasks, threads, the worker's row."""
        if self._closed:
            return
        self.closing = self._closed = True
        # From the last to the first. Each is done, even if another raises or is cancelled.
        async with AsyncExitStack() as steps:
            steps.callback(self._be_gone, for_good=for_good)
            steps.push_async_callback(self.threads.close)
            steps.push_async_callback(self._leave_row)
            steps.push_async_callback(self.journal.abandon)
            steps.push_async_callback(self._end_tasks)
            steps.push_async_callback(self.mail.close)
            for relay in list(self.relays.values()):
                steps.callback(relay.leave)
            steps.callback(self._sigterm.remove)
            steps.callback(self.logins.close)
            steps.push_async_callback(self._end_lifespans)
            for live in list(self.live.values()):
                steps.callback(live.discard)

    async def _end_lifespans(self) -> None:
        """Wait for the hooks that unload, and for the ends of the generators."""
        if self._lifespans:
            await asyncio.wait(self._lifespans, timeout=2 * settings.LIFESPAN_TIMEOUT)

    async def _end_tasks(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    async def _leave_row(self) -> None:
        await self._try(self.threads.write(self.rows.leave))

    def _be_gone(self, *, for_good: bool) -> None:
        if not for_good and _workers.get(self.loop) is self:
            del _workers[self.loop]
        self.gone.set()


async def _within(seconds: float, steps: list[Coroutine[Any, Any, None]]) -> bool:
    """Await ``steps`` together for at most ``seconds``; whether all came to their end."""
    if not steps:
        return True
    tasks = [asyncio.create_task(step) for step in steps]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    return not late


_workers: dict[asyncio.AbstractEventLoop, Worker] = {}
os.register_at_fork(after_in_child=_workers.clear)  # the parent's loops do not run in a child


def get_worker() -> Worker:
    """The worker of the running event loop."""
    loop = asyncio.get_running_loop()
    worker = _workers.get(loop)
    if worker is None:
        for other in [known for known in _workers if known.is_closed()]:
            del _workers[other]
        worker = _workers[loop] = Worker(loop)
    return worker


def running_workers() -> list[Worker]:
    """The workers of this process whose event loops run."""
    return [worker for loop, worker in list(_workers.items()) if loop.is_running()]


@asynccontextmanager
async def visiting() -> AsyncIterator[Worker]:
    """
    The worker of the running event loop, for code outside of connections, as long as it needs it.

    One that its last visitor has just left is waited for: a new one comes after it. Raises
    ``ServerStopped``.
    """
    while (worker := get_worker()).closing:
        if worker.gone.is_set():
            raise ServerStopped
        await worker.gone.wait()
    async with worker.visit():
        yield worker


async def _send(signal: Signal, chat: Chat, arguments: dict[str, Any]) -> None:
    translation.activate(supported_language(arguments["session"].language))
    await signal.asend_robust(chat, **arguments)
