"""
``Worker``: one per process and event loop, and all that such a process holds.

The live sessions, the journal and its threads, the heartbeat, the reaper, and the way down.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import close_old_connections
from django.dispatch import Signal
from django.utils import timezone

from .access import Refused
from .chat import Chat, find_chat
from .conf import settings
from .conversation import in_use
from .delivery import RateLimit
from .env import log_error
from .exceptions import OwnershipLost, OwnerUnreachable, SessionNotFound, SessionOver
from .frames import CloseCode
from .journal import Journal, Threads
from .live import LiveSession
from .logins import Logins
from .models import ChatSession
from .profiles import chosen_profile
from .resumption import Resumption, find_thread
from .session import Session, Tokens, is_owner
from .sigterm import SigtermHandler
from .store import Entry, Loaded, Store
from .thread_rows import Mark, Part, ThreadKey, read_context
from .threads import DaemonThreads
from .worker_rows import WorkerRows

logger = logging.getLogger("chatsessions.worker")

T = TypeVar("T")

User = AbstractBaseUser | AnonymousUser

#: How long an old database connection may be used before it is looked at, in seconds. Channels
#: does so before every event, with a thread hop each; once a second keeps the same promise.
CONNECTION_CHECK = 1.0
#: How long clients may take to answer the close of a shutdown, in seconds.
FAREWELL = 1.0
#: Threads that handlers' files are written in. A handler in a thread may wait for one of them, so
#: they are not the handlers' own.
FILE_THREADS = 4
#: Sessions that the reaper ends at a time.
REAP_BATCH = 100
#: Sessions whose pace is remembered after they were let go.
MAX_PACES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Who comes, and which session they say is theirs."""

    user: User
    session_id: str | None = None
    token: str | None = field(default=None, repr=False)
    #: The thread of theirs that a new session is to go on with.
    thread: str | None = None
    client_type: str = "webapp"
    language: str = ""
    profile: str = ""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    ip: str | None = None
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The session that somebody who arrived has now."""

    live: LiveSession
    resumed: bool
    #: None if resumed; else ``new``, ``unknown``, ``ended`` or ``expired``.
    reason: str | None


class OpenLine(Protocol):
    """A websocket, as the worker sees it."""

    def close_line(self, code: int) -> None: ...

    def abandon(self) -> None: ...


#: Asks whether who has come may have a session; raises ``Refused``.
Admit = Callable[[Session], Awaitable[None]]


async def anybody(session: Session) -> None:
    """Lets everybody in whose session it is."""


class ShuttingDown(Exception):
    """The server is on its way down and takes nobody in."""


class TooManySessions(Exception):
    """The user has as many connected sessions as allowed."""


class Worker:
    """What one event loop holds; found by :func:`get_worker`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.id = uuid4()
        self.loop = loop
        self.store = Store()
        self.rows = WorkerRows(self.id)
        self.threads = Threads()
        self.journal = Journal(self.store, self.threads)
        self.live: dict[UUID, LiveSession] = {}
        self.closing = False
        #: The open lines, so that a shutdown can see them to their end.
        self.lines: set[OpenLine] = set()
        self.logins = Logins(loop, self.threads.read, self.own)
        self._closed = False
        #: Whether it has connections of its own, and blocks of outside code that use it.
        self._serves = False
        self._visitors = 0
        #: How fast the clients of sessions were that were let go lately.
        self._paces: dict[UUID, RateLimit] = {}
        self._arrivals: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started: asyncio.Task[None] | None = None
        self._handlers: DaemonThreads | None = None
        self._files: DaemonThreads | None = None
        self._connections_checked = 0.0
        self._thread_state = threading.local()
        self._sigterm = SigtermHandler(loop, partial(self.shut_down, for_good=True))

    # Opening sessions

    async def open(self, chat: Chat, arrival: Arrival, *, admit: Admit = anybody) -> Opened:
        """
        The session of somebody who arrived: the one they ask for if it is theirs, else a new one.

        ``admit`` is asked about it before it is made or taken. Raises ``Refused``,
        ``ShuttingDown``, ``TooManySessions``, and what the database raises.
        """
        self._serves = True
        if arrival.session_id is None:
            return await self._open_new(chat, arrival, "new", admit)
        try:
            session_id = UUID(arrival.session_id)
        except ValueError:
            return await self._open_new(chat, arrival, "unknown", admit)
        async with self._looking_for(session_id):
            found, reason = await self._resume(chat, session_id, arrival, admit)
            if found is None:
                return await self._open_new(chat, arrival, reason, admit)
            if self.closing or found.closed:
                raise ShuttingDown  # come back
            found.session.user = arrival.user
            found.session.env = arrival.env
            return Opened(live=found, resumed=True, reason=None)

    def serve(self) -> None:
        """Stay, whoever visits and leaves: the event loop is a server's."""
        self._serves = True

    async def receive(
        self, chat: Chat, arrival: Arrival, *, make: bool = True, admit: Admit = anybody
    ) -> tuple[LiveSession, str | None]:
        """
        The session of somebody who comes without a connection: theirs, or a new one with ``make``.

        It is held until ``holders`` is 0 again. With it comes None, or why it is a new one.
        Raises ``SessionNotFound``, ``SessionOver`` (both for an old one without ``make``, the
        latter also to its owner), ``OwnerUnreachable``, and what :meth:`open` raises.
        """
        reason = "new"
        if arrival.session_id is not None:
            reason = "unknown"
            session_id = _uuid(arrival.session_id)
            if session_id is not None:
                async with self._looking_for(session_id):
                    found, reason = await self._resume(
                        chat, session_id, arrival, admit, takes=False
                    )
                    if found is not None:
                        if self.closing or found.closed:
                            raise ShuttingDown
                        found.holders += 1
                        return found, None
        if reason in ("ended", "expired"):
            raise SessionOver(str(arrival.session_id), reason)
        if not make:
            raise SessionNotFound(str(arrival.session_id))
        opened = await self._open_new(chat, arrival, reason, admit)
        opened.live.holders += 1
        return opened.live, reason

    async def _open_new(self, chat: Chat, arrival: Arrival, reason: str, admit: Admit) -> Opened:
        await self.start()
        past = await find_thread(
            self.threads,
            self.store,
            chat=chat.name,
            user=arrival.user,
            thread_id=arrival.thread,
        )
        if arrival.thread is not None and past is None and reason == "new":
            reason = "unknown"
        row = _new_row(chat, arrival, await self._profile_of(chat, arrival, past), past)
        session = _session_of(row, arrival.user)
        session.env = arrival.env
        session.state_lost = past is not None and past.values_lost
        await admit(session)
        await self._check_count(arrival, other_than=None)
        if self.closing:
            raise ShuttingDown
        return Opened(live=self._create(chat, session, row, past), resumed=False, reason=reason)

    async def _profile_of(self, chat: Chat, arrival: Arrival, past: Resumption | None) -> str:
        """
        The profile of a new session: the one asked for, else that of the thread it goes on with.

        Raises ``Refused`` for one that is not offered.
        """
        carried = "" if past is None else past.profile
        if not chat.has_profiles:
            return arrival.profile or carried
        try:
            offered = await chat.get_profiles(arrival.user, run_in_thread=self.run_in_thread)
        except Exception as error:
            log_error(logger, arrival.env, "The profiles of %s failed", chat.name, error=error)
            raise Refused("forbidden", "the profiles are not known") from error
        if not arrival.profile and any(one.name == carried for one in offered):
            return carried
        return chosen_profile(offered, arrival.profile)

    def _looking_for(self, session_id: UUID) -> asyncio.Lock:
        """
        Held by whoever looks for a session, until they hold it or know that they cannot.

        Between reading a row and holding its session nobody else may hold and release it: the
        row's generation would be gone. And an older connection must not take a newer one's place.
        """
        return self._arrivals.setdefault(session_id, asyncio.Lock())

    async def _check_count(self, arrival: Arrival, other_than: UUID | None) -> None:
        if not arrival.user.is_authenticated:
            return
        user = arrival.user.pk
        elsewhere = await self.threads.read(self.rows.count_connected, user, other_than)
        # Here they are counted in memory, where no two of a crowd can slip through together.
        here = sum(
            live.owner_id == user and live.listener is not None and live.id != other_than
            for live in self.live.values()
        )
        if elsewhere + here >= settings.MAX_SESSIONS_PER_USER:
            raise TooManySessions

    async def _resume(
        self, chat: Chat, session_id: UUID, arrival: Arrival, admit: Admit, *, takes: bool = True
    ) -> tuple[LiveSession | None, str]:
        """
        The session asked for, or why it is not given. Foreign and unknown look alike.

        Without ``takes`` another worker's is left to it, with ``OwnerUnreachable``.
        """
        await self.start()
        if self.closing:
            raise ShuttingDown
        live = self.live.get(session_id)
        if live is None:
            loaded = await self.threads.read(self._load, session_id)
            return await self._take_over(chat, loaded, arrival, admit, takes=takes)
        if not _may_resume(chat, live.session.chat, live.owner_id, live.tokens, arrival):
            return None, "unknown"
        if live.ending is None:
            live.holders += 1  # not to be let go while we look
            try:
                await admit(live.session)
                await self._check_count(arrival, other_than=live.id)
            finally:
                live.holders -= 1
                live.note()
        return (None, _why_over(live.ending)) if live.ending is not None else (live, "")

    async def _take_over(
        self, chat: Chat, loaded: Loaded | None, arrival: Arrival, admit: Admit, *, takes: bool
    ) -> tuple[LiveSession | None, str]:
        if loaded is None:
            return None, "unknown"
        row = loaded.row
        tokens = Tokens(row.token_hash, row.previous_token_hash)
        if not _may_resume(chat, row.chat, row.user_id, tokens, arrival):
            return None, "unknown"
        if row.status == ChatSession.Status.ENDED:
            return None, _why_over(row.end_reason)
        if not row.end_reason and not row.is_expired():
            await admit(_session_of(row, row.user or AnonymousUser()))
            await self._check_count(arrival, other_than=row.pk)
        if self.closing:
            raise ShuttingDown
        if not takes:
            self._refuse_another_workers(row)
        live = self._hold(chat, loaded)
        if row.end_reason:
            # The server died while on_chat_end ran; it runs once.
            live.finish()
            return None, _why_over(row.end_reason)
        if row.is_expired():
            live.end(ChatSession.EndReason.EXPIRED)
            return None, "expired"
        return live, ""

    def _load(self, session_id: UUID) -> Loaded | None:
        """A stored session, and what was said in it if that is wanted."""
        loaded = self.store.load(session_id)
        if loaded is not None and in_use():
            row = loaded.row
            key = ThreadKey(id=row.thread_id, user_id=row.user_id, chat=row.chat)
            own = Part(session=row.pk, mark=Mark.of(row.chat_context), streams=row.streams)
            loaded.said = read_context(key, own, before=row.created_at)
        return loaded

    def _create(
        self, chat: Chat, session: Session, row: ChatSession, past: Resumption | None
    ) -> LiveSession:
        live = LiveSession(self, chat, session, row, None, past=past)
        self.live[live.id] = live
        live.draft.set(
            **{name: getattr(row, name) for name in _ROW_FIELDS}, status=ChatSession.Status.AWAY
        )
        return live

    def _hold(self, chat: Chat, loaded: Loaded) -> LiveSession:
        """Own a stored session: the first commit claims it."""
        row = loaded.row
        session = _session_of(row, row.user or AnonymousUser())
        session.restored = True
        session.state_lost = loaded.state_lost
        if loaded.state_lost:
            logger.error("Session %s: the cache has thrown its user_session away", row.pk)
        live = LiveSession(self, chat, session, row, loaded)
        live.inbox.gate.rate = self._paces.pop(row.pk, live.inbox.gate.rate)
        live.draft.set(worker_id=self.id)
        self.live[live.id] = live
        live.note()
        return live

    async def acquire(self, session_id: UUID, *, to_end: bool = False) -> LiveSession:
        """
        A session for code outside of its connection, held until ``holders`` is 0 again.

        One that is taken ``to_end`` it does not go on with what waits in it.

        Raises ``SessionNotFound``, ``SessionOver``, ``OwnerUnreachable``.
        """
        async with self._looking_for(session_id):
            await self.start()
            live = self.live.get(session_id)
            if live is None:
                loaded = await self.threads.read(self._load, session_id)
                if loaded is None:
                    raise SessionNotFound(session_id)
                live = self._adopt(loaded)
            if not to_end:
                live.go()
            if live.ending is not None:
                raise SessionOver(session_id, live.ending)
            live.holders += 1
            return live

    def _adopt(self, loaded: Loaded) -> LiveSession:
        row = loaded.row
        if row.status == ChatSession.Status.ENDED:
            raise SessionOver(row.pk, row.end_reason)
        self._refuse_another_workers(row)
        live = self._hold(find_chat(row.chat), loaded)
        if row.end_reason:
            live.finish()
            raise SessionOver(row.pk, row.end_reason)
        return live

    def _refuse_another_workers(self, row: ChatSession) -> None:
        if row.worker is not None and row.worker_id != self.id and self.rows.is_alive(row.worker):
            raise OwnerUnreachable(row.pk, str(row.worker))

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Self]:
        """
        For code outside of connections: a worker that serves none is gone with its last visitor.
        """
        self._visitors += 1
        try:
            yield self
        finally:
            self._visitors -= 1
            if not self._visitors and not self._serves:
                await self.shut_down()

    async def end(self, session_id: UUID, reason: str) -> None:
        """End a session and wait until that is stored. Raises what :meth:`acquire` raises."""
        live = await self.acquire(session_id, to_end=True)
        live.end(reason)
        await live.until_closed()
        if live.lost is not None:
            raise live.lost

    # Host

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a handler written as ``def``, with the caller's context."""
        if settings.JOURNAL_INLINE:
            return await sync_to_async(function)()
        if self._handlers is None:
            self._handlers = DaemonThreads(settings.SYNC_HANDLER_THREADS, "chatsessions-handler")
        return await self._run_in(self._handlers, function)

    async def do_files(self, function: Callable[[], T]) -> T:
        if settings.JOURNAL_INLINE:
            return await sync_to_async(function)()
        if self._files is None:
            self._files = DaemonThreads(FILE_THREADS, "chatsessions-files")
        result: T = await self._run_in(self._files, function)
        return result

    async def _run_in(self, threads: DaemonThreads, function: Callable[[], Any]) -> Any:
        run = sync_to_async(  # type: ignore[call-overload]  # any Executor does
            self._in_thread, thread_sensitive=False, executor=threads
        )
        return await run(function)

    def _in_thread(self, function: Callable[[], Any]) -> Any:
        now = time.monotonic()
        if now - getattr(self._thread_state, "checked", 0.0) > CONNECTION_CHECK:
            self._thread_state.checked = now
            close_old_connections()
        return function()

    def refresh_connections(self) -> None:
        """
        See that async handlers' queries find no connection that the database has closed.

        They run in one thread, one after another, so what is queued here comes before them.
        """
        now = self.loop.time()
        if now - self._connections_checked > CONNECTION_CHECK and not settings.JOURNAL_INLINE:
            self._connections_checked = now
            self.own(self.loop.create_task(sync_to_async(close_old_connections)()))

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

    async def find_posted(self, session_id: UUID, message_id: str) -> Entry | None:
        return await self.threads.read(self.store.find_posted, session_id, message_id)

    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None:
        if signal.has_listeners(chat):
            self.own(self.loop.create_task(_send(signal, chat, arguments)))

    def drop(self, live: LiveSession) -> None:
        if self.live.get(live.id) is live:
            del self.live[live.id]
            self._remember_pace(live)

    def _remember_pace(self, live: LiveSession) -> None:
        """A client is no faster for its session being let go between what it sends."""
        now, paces = self.loop.time(), self._paces
        if not live.inbox.gate.rate.is_full(now):
            paces[live.id] = live.inbox.gate.rate
        while paces and (len(paces) > MAX_PACES or next(iter(paces.values())).is_full(now)):
            del paces[next(iter(paces))]

    def lost(self, live: LiveSession, error: Exception, *, held: bool) -> None:
        if not isinstance(error, OwnershipLost):
            let_go = self.threads.write(self.rows.let_go, live.id, live.draft.generation)
            self.own(self.loop.create_task(self._try(let_go)))
        if live.listener is not None:
            self.own(self.loop.create_task(self._part_with(live, error, held=held)))

    async def _part_with(self, live: LiveSession, error: Exception, *, held: bool) -> None:
        """Tell the connection of a session that is not this worker's any more."""
        listener, live.listener = live.listener, None
        if listener is None:
            return
        taken = isinstance(error, OwnershipLost)
        if taken and not await self.threads.read(self.rows.exists, live.id):
            listener.close(CloseCode.SESSION_ENDED, ended=ChatSession.EndReason.ADMIN)
        elif taken and held:
            listener.close(CloseCode.TAKEN_OVER)
        else:
            listener.close(CloseCode.SHUTTING_DOWN)  # come back, and find it where it is now

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
            self._started = self.loop.create_task(self._start(), name="chatsessions-start")
        await asyncio.shield(self._started)

    async def _start(self) -> None:
        await self.threads.write(self.rows.beat)
        await self.threads.write(self.rows.sweep)
        if settings.HANDLE_SIGTERM:
            self._sigterm.install()
        self.own(self.loop.create_task(self._beat(), name="chatsessions-heartbeat"))
        self.own(self.loop.create_task(self._reap(), name="chatsessions-reaper"))
        self.own(self.loop.create_task(self.logins.watch(), name="chatsessions-logins"))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(settings.WORKER_HEARTBEAT)
            await self._try(self.threads.write(self.rows.beat))

    async def _reap(self) -> None:
        last_refresh = self.loop.time()
        while True:
            await asyncio.sleep(settings.REAP_INTERVAL)
            await self._try(self.threads.write(self.rows.sweep))
            await self._try(self._end_expired())
            if self.loop.time() - last_refresh > settings.CACHE_TIMEOUT / 2:
                last_refresh = self.loop.time()
                for live in list(self.live.values()):
                    live.refresh_cache()

    async def _end_expired(self) -> None:
        for session_id in await self.threads.read(self.rows.expired, REAP_BATCH):
            try:
                live = await self.acquire(session_id, to_end=True)
                live.end(ChatSession.EndReason.EXPIRED)  # one that hangs keeps no other waiting
                live.holders -= 1
            except (SessionNotFound, SessionOver, OwnerUnreachable):
                continue  # somebody else was faster

    async def _try(self, step: Awaitable[Any]) -> None:
        try:
            await step
        except Exception:
            logger.exception("The worker's housekeeping failed; it is tried again")

    async def shut_down(self, *, for_good: bool = False) -> None:
        """
        Come to an orderly end: close connections (4000), let turns finish, commit.

        What runs longer than ``SHUTDOWN_TIMEOUT`` seconds is interrupted, and known to be so by
        whoever takes the session next. ``for_good``: whoever comes later is told to come back.
        """
        if self.closing:
            return
        self.closing = True
        lives = list(self.live.values())
        logger.info("Shutting down with %d live sessions", len(lives))
        for live in lives:
            live.drain()
        for line in list(self.lines):
            line.close_line(CloseCode.SHUTTING_DOWN)
        await _within(settings.SHUTDOWN_TIMEOUT, [live.until_idle() for live in lives])
        for live in lives:
            live.interrupt()
        stored = await _within(settings.STORE_TIMEOUT, [live.until_closed() for live in lives])
        if not stored:
            logger.error("Not everything could be stored before the server stopped")
        await self._see_lines_off()
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
        for live in list(self.live.values()):
            live.discard()
        self.logins.close()
        self._sigterm.remove()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        await self.journal.abandon()
        await self._try(self.threads.write(self.rows.leave))
        await self.threads.close()
        for threads in (self._handlers, self._files):
            if threads is not None:
                threads.shutdown()
        if not for_good and _workers.get(self.loop) is self:
            del _workers[self.loop]


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


_ROW_FIELDS = (
    "user_id",
    "chat",
    "thread_id",
    "client_type",
    "profile",
    "chat_settings",
    "inputs",
    "language",
    "ip",
    "user_agent",
    "created_at",
)


def _new_row(chat: Chat, arrival: Arrival, profile: str, past: Resumption | None) -> ChatSession:
    row = ChatSession(
        id=uuid4(),
        user_id=arrival.user.pk,
        chat=chat.name,
        thread_id=uuid4() if past is None else past.thread.id,
        client_type=arrival.client_type,
        profile=profile,
        language=arrival.language,
        ip=arrival.ip,
        user_agent=arrival.user_agent[:400],
        created_at=timezone.now(),
    )
    if past is not None:
        row.chat_settings, row.inputs = past.chat_settings, past.inputs
    return row


def _session_of(row: ChatSession, user: User) -> Session:
    return Session(
        id=row.pk,
        chat=row.chat,
        thread_id=row.thread_id,
        created_at=row.created_at,
        user=user,
        client_type=row.client_type,
        profile=row.profile,
        language=row.language,
        ip=row.ip,
        user_agent=row.user_agent,
        chat_settings=row.chat_settings,
    )


def _may_resume(
    chat: Chat, chat_name: str, owner_id: Any, tokens: Tokens, arrival: Arrival
) -> bool:
    """Whether it is this chat's session, and who asks has its token or is its logged-in owner."""
    if chat_name != chat.name or not is_owner(owner_id, arrival.user):
        return False
    return bool(arrival.user.is_authenticated) or tokens.accept(arrival.token)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _why_over(reason: str) -> str:
    """What the rightful owner of a dead session is told."""
    return "expired" if reason == ChatSession.EndReason.EXPIRED else "ended"


async def _send(signal: Signal, chat: Chat, arguments: dict[str, Any]) -> None:
    await signal.asend_robust(chat, **arguments)
