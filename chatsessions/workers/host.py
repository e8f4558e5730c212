"""``WorkerHost``: the part of a worker that its sessions use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.dispatch import Signal
from django.utils import translation

from chatsessions.cluster.directory import WorkerDirectory
from chatsessions.cluster.remote import RemoteSession
from chatsessions.cluster.rpc import RpcClient
from chatsessions.exceptions import OwnershipLost, SessionUnavailable
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.session import supported_language
from chatsessions.models import ChatSession
from chatsessions.protocol.frames import CloseCode
from chatsessions.sessions.host import SessionHost
from chatsessions.sessions.lifecycle import SessionLifecycle
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.database import LOOK_INTERVAL, Executors, close_unusable, is_transient
from chatsessions.storage.journal import Journal
from chatsessions.storage.store import Store, peek_at
from chatsessions.storage.worker_rows import WorkerRows

from .limits import Limits

logger = logging.getLogger("chatsessions.worker")

T = TypeVar("T")


class WorkerHost(SessionHost):
    """Holds the live sessions of a worker, its journal and store, and its tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.id = uuid4()
        self.loop = loop
        self.rows = WorkerRows(self.id)
        self.store = Store(self.rows)
        self.threads = Executors()
        write = partial(self.threads.start_write, self.store.commit)
        self.journal = Journal(write, self.rows.now)
        self.rows.stuck_for = lambda: self.journal.stuck_for
        self.live: dict[UUID, LiveSession] = {}
        #: Whether no more sessions are opened.
        self.closing = False
        self.limits = Limits(loop.time)
        self.rpc = RpcClient(loop, self.start_task)
        self.directory = WorkerDirectory(self.id, self.rpc, self.rows, self.threads)
        #: Sessions of other workers that have subscribers here, by ``RemoteSession.number``.
        self.remotes: dict[str, RemoteSession] = {}
        #: The generations of sessions that could not be stored and are still to be given up, by id.
        self._lost: dict[UUID, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        #: The tasks that set up and tear down for sessions; they are awaited before the others end.
        self._lifespans: set[asyncio.Task[None]] = set()
        self.connections_due = 0.0

    # For sessions

    def refresh_connections(self, *, failed: bool = False) -> None:
        """
        Close the database connections of async handlers that the database has closed.

        Async handlers run their queries in one thread, one after another, so this runs before
        their next query. Channels does it before every event, at the cost of a thread hop. Here it
        is done at most once a second, and when a handler ``failed``, as a lost connection may be
        the reason.
        """
        now = self.loop.time()
        if failed or now > self.connections_due:
            self.connections_due = now + LOOK_INTERVAL
            self.start_task(sync_to_async(close_unusable)())

    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None:
        if signal.receivers and signal.has_listeners(chat):
            self.start_task(_send(signal, chat, arguments))

    def drop(self, live: SessionLifecycle) -> None:
        if self.closing and live.ending is None and live.failure is None:
            live.failure = SessionUnavailable()
        if self.live.get(live.id) is live:
            del self.live[live.id]
            self.limits.keep_event_pace(live.id, live.inbound.gate.rate)

    def session_lost(self, live: SessionLifecycle, error: Exception, *, held: bool) -> None:
        if not isinstance(error, OwnershipLost):
            self._lost[live.id] = live.log.generation
            self.start_task(self.housekeep(self._give_up(live.id, live.log.generation)))
        if live.subscribers.connection is not None:
            self.start_task(self._close_client(live, error, held=held))

    async def _give_up(self, session_id: UUID, generation: int) -> None:
        """Give up a session that could not be stored."""
        await self.threads.write(self.rows.give_up, session_id, generation)
        if self._lost.get(session_id) == generation:
            del self._lost[session_id]

    async def give_up_lost(self) -> None:
        """Give up sessions for which that has failed: nobody else can have them until then."""
        for session_id, generation in list(self._lost.items()):
            await self._give_up(session_id, generation)

    async def _close_client(self, live: SessionLifecycle, error: Exception, *, held: bool) -> None:
        """Close the connection of a session that this worker no longer owns."""
        subscriber, live.subscribers.connection = live.subscribers.connection, None
        if subscriber is None:
            return
        code, ended = CloseCode.SHUTTING_DOWN, None  # the client comes back, and finds the owner
        try:
            if isinstance(error, OwnershipLost):
                peek = await self.threads.read(peek_at, live.id)
                if peek is None or peek.status == ChatSession.Status.ENDED:
                    code = CloseCode.SESSION_ENDED
                    ended = (peek and peek.end_reason) or ChatSession.EndReason.ADMIN
                elif held and peek.connections > live.client.connections:
                    # A newer connection took the session, not a call from outside or a worker that
                    # considered this one dead.
                    code = CloseCode.TAKEN_OVER
        except DatabaseError as failure:
            logger.warning("Session %s: its row cannot be read: %s", live.id, failure)
        finally:
            subscriber.close(code, ended=ended)

    # Tasks

    def start_task(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Start a task that the worker owns, in an empty ``contextvars`` context."""
        task = self.loop.create_task(coroutine, name=name, context=Context())
        self.own(task)
        return task

    def start_lifespan(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.start_task(coroutine, "chatsessions-lifespan")
        self._lifespans.add(task)
        task.add_done_callback(self._lifespans.discard)
        return task

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s failed", task.get_name(), exc_info=task.exception())

    async def housekeep(self, step: Awaitable[Any]) -> None:
        """Await ``step``, and log what it raises: it is repeated later anyway."""
        try:
            await step
        except Exception as error:
            if is_transient(error):
                logger.warning("The worker's housekeeping failed; it is tried again: %s", error)
            else:
                logger.exception("The worker's housekeeping failed; it is tried again")


async def _send(signal: Signal, chat: Chat, arguments: dict[str, Any]) -> None:
    translation.activate(supported_language(arguments["session"].language))
    await signal.asend_robust(chat, **arguments)
