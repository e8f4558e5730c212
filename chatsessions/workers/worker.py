"""
``Worker``: one per event loop, so a server process normally has one.

It opens sessions, writes its heartbeat, ends expired sessions, and shuts down.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from functools import partial
from typing import Any, Self
from uuid import UUID

from django.conf import settings as django_settings
from django.db import IntegrityError

from chatsessions import signals
from chatsessions.auth.logins import Logins
from chatsessions.cluster.connect_request import Admit, ConnectRequest, anybody
from chatsessions.cluster.rpc import keep_running
from chatsessions.cluster.server import CommandServer
from chatsessions.cluster.visited import VisitedSession
from chatsessions.conf import settings
from chatsessions.exceptions import (
    OwnerUnreachable,
    ServerStopped,
    SessionNotFound,
    SessionOver,
    SessionUnavailable,
)
from chatsessions.handlers.chat import Chat, find_chat
from chatsessions.models import ChatSession
from chatsessions.protocol.frames import CloseCode
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.worker_rows import is_idle

from .host import WorkerHost
from .registry import Opened, SessionRegistry
from .shutdown import SigtermHandler, hear_warnings

logger = logging.getLogger("chatsessions.worker")

#: Seconds for clients to answer the close of a shutdown.
FAREWELL = 1.0
#: How many expired sessions the reaper ends together.
REAP_BATCH = 200
#: How many of them are read at a time.
REAPED_AT_ONCE = 20
#: After this many expired sessions that could not be ended, the reaper waits for its next run.
MAX_LEFT = 900
#: Why the reaper cannot have a session: another worker was faster, or this one is closing.
_LEFT_TO_OTHERS = (SessionNotFound, SessionOver, OwnerUnreachable, SessionUnavailable)


class Worker(WorkerHost):
    """The worker of one event loop, a server's or another; found by :func:`get_worker`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        #: Set when the worker is closed completely.
        self.gone = asyncio.Event()
        #: Two functions of each open websocket, for the shutdown: one closes it with a code, the
        #: other ends its task even if the client does not answer.
        self.websockets: dict[Callable[[int], None], Callable[[], None]] = {}
        self.logins = Logins(loop, self.threads.check, self.own)
        self.registry = SessionRegistry(self)
        self.server = CommandServer(self.directory, live=self.live, remotes=self.remotes)
        self._closed = False
        #: Whether the event loop is a server's.
        self._serves = False
        #: How many calls and blocks from outside use the worker.
        self._visitors = 0
        self._started: asyncio.Task[None] | None = None
        #: When the cache entries of live sessions were last renewed.
        self._touched_at = loop.time()
        self._sigterm = SigtermHandler(loop, partial(self.shut_down, for_good=True))

    # Sessions

    async def open(
        self, chat: Chat, request: ConnectRequest, *, admit: Admit = anybody, relays: bool = False
    ) -> Opened:
        """Return the session for a connection: see :meth:`SessionRegistry.open`."""
        self._serves = True
        await self.start()
        return await self.registry.open(chat, request, admit=admit, relays=relays)

    async def receive(
        self, chat: Chat, request: ConnectRequest, *, make: bool = True, admit: Admit = anybody
    ) -> tuple[LiveSession | VisitedSession, str | None]:
        """Return the session for a request: see :meth:`SessionRegistry.receive`."""
        await self.start()
        return await self.registry.receive(chat, request, make=make, admit=admit)

    async def acquire(self, session_id: UUID, *, to_end: bool = False) -> LiveSession:
        """Return a session for code from outside: see :meth:`SessionRegistry.acquire`."""
        await self.start()
        return await self.registry.acquire(session_id, to_end=to_end)

    def serve(self) -> None:
        """Note that the event loop is a server's: the worker stays open without visitors."""
        self._serves = True

    @property
    def serves(self) -> bool:
        """Whether the event loop is a server's, and sessions are opened here."""
        return self._serves and not self.closing

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Self]:
        """
        Keep the worker open for a visitor: code outside of connections.

        A worker that serves no connections closes after its last visitor, when nothing runs in its
        sessions any more and no visitor has come meanwhile.
        """
        self._visitors += 1
        try:
            yield self
        finally:
            self._visitors -= 1
            if not self._visitors and not self._serves:
                # In a new task, so that a visitor that is cancelled leaves no worker half closed.
                await asyncio.wait([self.start_task(self._leave(), "chatsessions-leave")])

    async def _leave(self) -> None:
        """Close after the last visitor."""
        ends = [live.until_idle() for live in self.live.values()]
        await _within(settings.SHUTDOWN_TIMEOUT, ends)
        if not self._visitors and not self._serves:
            await self.shut_down(patience=0)

    # Life

    async def start(self) -> None:
        """
        Write the worker's row and start its tasks, once.

        Raises database errors, and ``SessionUnavailable`` if the worker closes meanwhile.
        """
        if self._started is None or (
            self._started.done() and not self._started.cancelled() and self._started.exception()
        ):
            self._started = self.loop.create_task(
                self._start(), name="chatsessions-start", context=Context()
            )
        try:
            await asyncio.shield(self._started)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is None or caller.cancelling() or not self._started.cancelled():
                raise
            raise SessionUnavailable from None

    async def _start(self) -> None:
        await self._open_rpc()
        await self.threads.write(self.rows.beat)
        if self._serves or not self._visitors:  # not worth it for a single visitor
            await self.threads.write(self.rows.sweep)
        if settings.HANDLE_SIGTERM:
            self._sigterm.install()
        if django_settings.DEBUG:
            hear_warnings()
        for name, loop in (
            ("heartbeat", self._beat),
            ("channel", self._keep_open),
            ("reaper", self._reap),
            ("logins", self.logins.watch),
        ):
            kept = keep_running(f"The worker's task {name!r}", loop)
            self.start_task(kept, f"chatsessions-{name}")

    async def _open_rpc(self) -> None:
        """Open the channel to other workers. Without it their sessions cannot be reached."""
        try:
            await self.rpc.open(self.server.answer, self.server.hear)
        except Exception as error:
            logger.error("The channel layer fails; other workers are not reached: %s", error)
        self.rows.channel = self.rpc.channel

    async def _keep_open(self) -> None:
        """Try to open the channel again if that has failed. No heartbeat waits for the layer."""
        while True:
            await asyncio.sleep(settings.WORKER_HEARTBEAT)
            if not self.rpc.channel:
                await self._open_rpc()

    async def _beat(self) -> None:
        while True:
            due = self.loop.time() + settings.WORKER_HEARTBEAT
            await asyncio.sleep(settings.WORKER_HEARTBEAT)
            try:
                self.server.look_round(late=self.loop.time() - due)
            except Exception:
                logger.exception("The subscribers at other workers could not be looked at")
            await self.housekeep(self._say_alive())
            await self.housekeep(self.give_up_lost())

    async def _say_alive(self) -> None:
        """Write the heartbeat. After a pause, find out which sessions other workers have taken."""
        if await self.threads.write(self.rows.beat):
            for live in list(self.live.values()):
                live.client.claim_again()

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(settings.REAP_INTERVAL)
            await self.housekeep(self._touch_cache())
            await self.housekeep(self.threads.write(self.rows.sweep))
            await self.housekeep(self._end_expired())

    async def _touch_cache(self) -> None:
        """Renew the cache entries of live sessions before they expire."""
        now = self.loop.time()
        if now - self._touched_at < settings.CACHE_TIMEOUT / 2:
            return
        held = {live.id: live.log.generation for live in self.live.values() if live.user_session}
        gone = await self.threads.read(self.store.touch, held)
        self._touched_at = now
        if settings.USER_SESSION_STORE == "cache":  # else the row has the values
            for live in filter(None, map(self.live.get, gone)):
                live.values.write()

    async def _end_expired(self) -> None:
        """End this worker's share of expired sessions, batch by batch."""
        left: set[UUID] = set()
        while len(left) < MAX_LEFT and not self.closing:
            batch = await self.threads.read(self.rows.expired, REAP_BATCH, left)
            if not batch:
                return
            if await self._end_plain(batch):
                continue
            ending = await self._begin_ends([one.pk for one in batch])
            # Until the end is stored, the next query finds them again.
            await _within(settings.STOP_TIMEOUT, [live.until_closed() for live in ending])
            ended = {live.id for live in ending if live.closed and live.failure is None}
            if ending and not ended:
                return  # the store is unavailable
            left.update(one.pk for one in batch if one.pk not in ended)

    async def _end_plain(self, expired: Sequence[ChatSession]) -> int:
        """
        End the sessions that are idle and whose chats run no code at the end, all in one statement.

        Return how many were ended: 0 if the database refuses one of them.
        """
        ids = [one.pk for one in expired if is_idle(one) and not self._is_told(one.chat)]
        try:
            return await self.threads.write(self.rows.end_expired, ids) if ids else 0
        except IntegrityError as error:
            logger.warning("Expired sessions are ended one by one: %s", error)
            return 0

    def _is_told(self, name: str) -> bool:
        """Return True if the project runs code at the end of a chat's sessions."""
        chat = find_chat(name)
        return "chat_end" in chat.hooks or signals.session_ended.has_listeners(chat)

    async def end_untold(self, ids: Collection[UUID]) -> tuple[int, list[UUID]]:
        """
        End the expired sessions of ``ids`` whose chats run no code at the end, all together.

        Return how many were ended, and which of the others are still expired.
        """
        found = await self.threads.read(self.rows.expired_of, ids)
        ended = await self._end_plain(found)
        if ended:
            found = await self.threads.read(self.rows.expired_of, ids)
        return ended, [one.pk for one in found]

    async def _begin_ends(self, batch: Sequence[UUID]) -> list[LiveSession]:
        """
        Begin to end expired sessions, and return those that end.

        A session goes on if its client has come back. The sessions are read a few at a time, so
        that other tasks of the event loop run too.
        """
        begun: list[LiveSession] = []
        failures: dict[UUID, Exception] = {}
        for start in range(0, len(batch), REAPED_AT_ONCE):
            some = batch[start : start + REAPED_AT_ONCE]
            for session_id, found in (await self.registry.acquire_to_end(some)).items():
                if isinstance(found, LiveSession):
                    if found.expire():
                        begun.append(found)
                    found.release()
                elif not isinstance(found, _LEFT_TO_OTHERS):
                    failures[session_id] = found
        if failures:
            session_id, error = next(iter(failures.items()))
            logger.error(
                "%d expired sessions cannot end, such as %s: %s", len(failures), session_id, error
            )
        return begun

    async def shut_down(self, *, for_good: bool = False, patience: float | None = None) -> None:
        """
        Close connections (with 4000), let turns finish, commit, and close.

        Turns that run longer than ``patience`` seconds (default ``SHUTDOWN_TIMEOUT``) are
        interrupted; the session's next owner tells the client. With ``for_good`` this event loop
        gets no new worker.
        """
        if self.closing:
            return
        self.closing = True
        lives = list(self.live.values())
        if self._serves:
            logger.info("Shutting down; live sessions: %d", len(lives))
        for live in lives:
            live.drain()
        for close in list(self.websockets):
            close(CloseCode.SHUTTING_DOWN)
        visits = [one for one in self.remotes.values() if isinstance(one, VisitedSession)]
        ends = [*(live.until_idle() for live in lives), *(visit.left.wait() for visit in visits)]
        await _within(settings.SHUTDOWN_TIMEOUT if patience is None else patience, ends)
        for live in lives:
            live.interrupt()
        for visit in visits:
            visit.leave()
        stored = await _within(settings.STORE_TIMEOUT, [live.until_closed() for live in lives])
        if not stored:
            logger.error("Not everything could be stored before the server stopped")
        await self._close_websockets()
        await self.rpc.settle(FAREWELL)  # the last frames to subscribers at other workers
        await self.close(for_good=for_good)

    async def _close_websockets(self) -> None:
        """
        Give the clients ``FAREWELL`` seconds to answer the close, then end the websockets' tasks.

        Daphne stops without ending these tasks, and Python 3.11 crashes on suspended tasks.
        """
        deadline = self.loop.time() + FAREWELL
        while self.websockets and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for abandon in list(self.websockets.values()):
            abandon()
        await asyncio.sleep(0.01)

    async def close(self, *, for_good: bool = False) -> None:
        """End sessions, tasks and threads, and delete the worker's row."""
        if self._closed:
            return
        self.closing = self._closed = True
        # The steps run from the last to the first, each even if another raises or is cancelled.
        async with AsyncExitStack() as steps:
            steps.callback(self._be_gone, for_good=for_good)
            steps.push_async_callback(self.threads.close)
            steps.push_async_callback(self._leave_row)
            steps.push_async_callback(self.journal.abandon)
            steps.push_async_callback(self._end_tasks)
            steps.push_async_callback(self.rpc.close)
            for remote in list(self.remotes.values()):
                steps.callback(remote.close, CloseCode.SHUTTING_DOWN)
            steps.callback(self._sigterm.remove)
            steps.callback(self.logins.close)
            steps.push_async_callback(self._end_lifespans)
            for live in list(self.live.values()):
                steps.callback(live.discard)
            steps.push_async_callback(self._end_start)

    async def _end_start(self) -> None:
        """Cancel a start that still waits: what it would begin later would never end."""
        if self._started is not None:
            self._started.cancel()
            await asyncio.wait([self._started])

    async def _end_lifespans(self) -> None:
        """Wait for ``on_session_unload`` hooks, and for lifespan generators to end."""
        if self._lifespans:
            await asyncio.wait(self._lifespans, timeout=2 * settings.LIFESPAN_TIMEOUT)

    async def _end_tasks(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    async def _leave_row(self) -> None:
        await self.housekeep(self.threads.write(self.rows.leave))

    def _be_gone(self, *, for_good: bool) -> None:
        if not for_good and _workers.get(self.loop) is self:
            del _workers[self.loop]
        self.gone.set()


async def _within(seconds: float, steps: list[Coroutine[Any, Any, Any]]) -> bool:
    """Await ``steps`` together for at most ``seconds``; return True if all have ended."""
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
    """Return the worker of the running event loop; create it if there is none."""
    loop = asyncio.get_running_loop()
    worker = _workers.get(loop)
    if worker is None:
        # Over a copy, as other threads with event loops of their own may change the dict meanwhile.
        for other in [known for known in list(_workers) if known.is_closed()]:
            _workers.pop(other, None)
        worker = _workers[loop] = Worker(loop)
    return worker


def running_workers() -> list[Worker]:
    """Return the workers of this process whose event loops run."""
    return [worker for loop, worker in list(_workers.items()) if loop.is_running()]


@asynccontextmanager
async def visiting() -> AsyncIterator[Worker]:
    """
    Keep the worker of the running event loop open for code outside of connections.

    If it is closing after its last visitor, wait, and create a new one. Raises ``ServerStopped``.
    """
    while (worker := get_worker()).closing:
        if worker.gone.is_set():
            raise ServerStopped
        await worker.gone.wait()
    async with worker.visit():
        yield worker
