"""
``SessionRegistry``: find or create the session for a connection, a request or a call from outside.

Only one request at a time looks for a session. A stored session that it finds is held in memory
from then on, and the session's first commit claims it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID
from weakref import WeakValueDictionary

from django.contrib.auth.models import AnonymousUser
from django.utils.translation import gettext_lazy

from chatsessions.auth.access import is_owner
from chatsessions.auth.env import log_error
from chatsessions.cluster.commands import How
from chatsessions.cluster.connect_request import (
    ROW_FIELDS,
    Admit,
    ConnectRequest,
    anybody,
    awaits_login,
    may_resume,
    new_row,
    session_of,
    why_not,
    why_over,
)
from chatsessions.cluster.connected import ConnectedSession, LocalSubscriber
from chatsessions.cluster.visited import VisitedSession
from chatsessions.conf import settings
from chatsessions.exceptions import (
    AccessRefused,
    OwnershipLost,
    SessionNotFound,
    SessionOver,
    SessionUnavailable,
    TooManySessions,
)
from chatsessions.handlers.chat import Chat, find_chat
from chatsessions.handlers.profiles import chosen_profile
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.protocol.frames import parse_uuid
from chatsessions.sessions.history import ThreadContinuation, find_thread
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.store import Loaded

from .host import WorkerHost
from .stored import MakeRemote, Overtaken, R, StoredSessions

logger = logging.getLogger("chatsessions.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The session that a connection was given."""

    served: LiveSession | ConnectedSession
    resumed: bool
    #: None if resumed; else ``new``, ``unknown``, ``ended`` or ``expired``.
    reason: str | None

    @property
    def live(self) -> LiveSession:
        """The session, if this worker holds it. Raises ``TypeError`` if another worker owns it."""
        if isinstance(self.served, LiveSession):
            return self.served
        raise TypeError(f"another worker owns session {self.served.id}")


class LoginAwaited(SessionUnavailable):
    """The session was assigned to a user whose client came back before it was logged in."""

    def __init__(self) -> None:
        super().__init__("The session belongs to a user now, who is not logged in here yet.")


class _SessionLock(asyncio.Lock):
    """The lock of one session: the requests that look for it take turns, in order of arrival."""

    def __init__(self) -> None:
        super().__init__()
        #: How many connections have got the session while this lock exists.
        self.opened = 0


class SessionRegistry:
    """Opens sessions: new ones, live ones, and those that are stored."""

    def __init__(self, host: WorkerHost) -> None:
        self._host = host
        self.stored = StoredSessions(host)
        self._locks: WeakValueDictionary[UUID, _SessionLock] = WeakValueDictionary()

    async def open(
        self, chat: Chat, request: ConnectRequest, *, admit: Admit = anybody, relays: bool = False
    ) -> Opened:
        """
        Return the session for a connection.

        It is the requested one if the client may resume it, else a new one. If another worker is
        busy in the session, the session stays there with ``relays``; without, wait until it is
        released. ``admit`` is called before a session is created or taken. Raises
        ``AccessRefused``, ``SessionUnavailable``, ``TooManySessions``, ``FrameError``
        (``rate_limited``), and database errors.
        """
        if request.session_id is None:
            return await self._open_new(chat, request, "new", admit)
        session_id = parse_uuid(request.session_id)
        if session_id is None:
            return await self._open_new(chat, request, "unknown", admit)
        self._host.limits.read(session_id, request.ip)
        async with self._in_turn(session_id) as (lock, known):
            found = await self._resume(
                chat,
                session_id,
                request,
                admit,
                how="relay" if relays else "give",
                make_remote=partial(self.stored.connected, partial(self._move_here, chat, request)),
                connections=known,
            )
            if isinstance(found, str):
                await self._refuse_until_login(session_id, request, found)
                return await self._open_new(chat, request, found, admit)
            if self._host.closing or (isinstance(found, LiveSession) and found.closed):
                raise SessionUnavailable  # the client comes back
            if isinstance(found, LiveSession):
                found.session.renew_user(request.user)
                found.session.env = request.env
            lock.opened += 1
            return Opened(served=found, resumed=True, reason=None)

    async def _refuse_until_login(
        self, session_id: UUID, request: ConnectRequest, reason: str
    ) -> None:
        """Raise ``LoginAwaited`` if the client may be about to log in as the session's user."""
        if reason != "unknown" or request.token is None:
            return
        if awaits_login(await self.stored.find_row(session_id), request):
            raise LoginAwaited

    @asynccontextmanager
    async def _in_turn(self, session_id: UUID) -> AsyncIterator[tuple[_SessionLock, int | None]]:
        """
        Wait for earlier requests for the same session.

        Yields the lock, and how many connections are older than this request: those that the
        session had when the wait began, and those opened here since. The number is None if there
        was no wait.
        """
        lock = self._lock_of(session_id)
        count = None
        if lock.locked():
            # Concurrently with the wait, so that a slow query does not cost the place in the queue.
            count = asyncio.create_task(self._count_connections(session_id, lock))
        try:
            async with lock:
                known = None if count is None else await count + lock.opened
                yield lock, known
        finally:
            if count is not None:
                count.cancel()

    async def _count_connections(self, session_id: UUID, lock: _SessionLock) -> int:
        """Return how many connections a session has had, without those opened here."""
        row = None
        if session_id not in self._host.live:
            row = await self.stored.find_row(session_id)
        live = self._host.live.get(session_id)
        if live is not None:  # perhaps opened meanwhile, and the row is older
            return live.client.connections - lock.opened
        return (0 if row is None else row.connections) - lock.opened

    async def receive(
        self, chat: Chat, request: ConnectRequest, *, make: bool = True, admit: Admit = anybody
    ) -> tuple[LiveSession | VisitedSession, str | None]:
        """
        Return the session for an HTTP request, and None or the reason why it is a new one.

        A new one is created only with ``make``. A session of this worker is held until ``holders``
        is 0 again; one of another worker is followed from here. Raises ``SessionNotFound``,
        ``SessionOver`` (also with ``make``, if the session was the client's), ``OwnerUnreachable``,
        and what :meth:`open` raises.
        """
        reason = "new"
        if request.session_id is not None:
            reason = "unknown"
            session_id = parse_uuid(request.session_id)
            if session_id is not None:
                count = self._host.limits.post if make else self._host.limits.read
                count(session_id, request.ip)
                found = await self._find(chat, session_id, request, admit)
                if not isinstance(found, str):
                    return found, None
                await self._refuse_until_login(session_id, request, found)
                reason = found
        if reason in ("ended", "expired"):
            raise SessionOver(str(request.session_id), reason)
        if not make:
            raise SessionNotFound(str(request.session_id))
        opened = await self._open_new(chat, request, reason, admit)
        opened.live.holders += 1
        self._visit(opened.live)
        return opened.live, opened.reason

    def _visit(self, live: LiveSession) -> None:
        """Note that the client has made a request, in a session that this worker holds."""
        live.client.visited()
        live.go()

    async def _find(
        self, chat: Chat, session_id: UUID, request: ConnectRequest, admit: Admit
    ) -> LiveSession | VisitedSession | str:
        """
        Return the session for a request, or the reason why it is refused.

        The claim of a ``LiveSession`` is stored before the session is returned: of two requests
        that come to two workers at the same time, one has to go to the other worker. A connection
        does not wait for the claim: if the claim fails, its client connects again.
        """
        deadline = self._host.directory.deadline()
        async with self._lock_of(session_id):
            while True:
                found = await self._resume(
                    chat, session_id, request, admit, how="visit", make_remote=self.stored.visited
                )
                if not isinstance(found, LiveSession):
                    return found
                if self._host.closing or found.closed:
                    raise SessionUnavailable
                found.holders += 1
                try:
                    if not found.log.is_stored:
                        await found.sink.flush()
                    found.session.renew_user(request.user)
                    if request.env:
                        found.session.env = request.env
                    self._visit(found)
                    return found
                except BaseException as error:
                    found.release()
                    late = self._host.loop.time() > deadline
                    if late or not isinstance(error, OwnershipLost):
                        raise

    async def _open_new(
        self, chat: Chat, request: ConnectRequest, reason: str, admit: Admit
    ) -> Opened:
        if not request.user.is_authenticated:
            self._host.limits.new_session(request.ip)
        past = await find_thread(
            self._host.threads,
            self._host.store,
            chat=chat.name,
            user=request.user,
            thread_id=request.thread,
        )
        if request.thread is not None and past is None and reason == "new":
            reason = "unknown"
        profile = await self._profile_of(chat, request, past)
        row = new_row(chat, request, profile, past, now=self._host.rows.now())
        session = session_of(row, request.user)
        session.env = request.env
        session.state_lost = past is not None and past.values_lost
        await admit(session)
        await self._check_count(request, other_than=None)
        if self._host.closing:
            raise SessionUnavailable
        live = self._create(chat, session, row, past)
        return Opened(served=live, resumed=False, reason=reason)

    async def _profile_of(
        self, chat: Chat, request: ConnectRequest, past: ThreadContinuation | None
    ) -> str:
        """
        Return the profile of a new session: the requested one, else that of its thread.

        Raises ``AccessRefused`` if it is not offered.
        """
        carried = "" if past is None else past.profile
        if not chat.has_profiles:
            return request.profile or carried
        try:
            offered = await chat.get_profiles(request.user, run_in_thread=self._host.threads.check)
        except Exception as error:
            log_error(logger, request.env, "The profiles of %s failed", chat.name, error=error)
            raise AccessRefused("forbidden", gettext_lazy("The profiles are not known.")) from error
        if not request.profile and any(one.name == carried for one in offered):
            return carried
        return chosen_profile(offered, request.profile)

    def _lock_of(self, session_id: UUID) -> _SessionLock:
        """
        Return the lock of a session, for a request to hold until it has the session or is refused.

        Without the lock another request could hold and release the session after this one has read
        the row, and the generation in the row would be out of date. The lock also keeps an older
        connection from replacing a newer one.
        """
        return self._locks.setdefault(session_id, _SessionLock())

    async def _check_count(self, request: ConnectRequest, other_than: UUID | None) -> None:
        if not request.user.is_authenticated:
            return
        user = request.user.pk
        elsewhere = await self._host.threads.read(self._host.rows.count_connected, user, other_than)
        # This worker's sessions are counted in memory, so that concurrent requests see each other.
        here = sum(
            live.owner_id == user and live.session.connected and live.id != other_than
            for live in self._host.live.values()
        )
        if elsewhere + here >= settings.MAX_SESSIONS_PER_USER:
            raise TooManySessions(settings.MAX_SESSIONS_PER_USER)

    async def _resume(
        self,
        chat: Chat,
        session_id: UUID,
        request: ConnectRequest,
        admit: Admit,
        *,
        how: How,
        make_remote: MakeRemote[R],
        connections: int | None = None,
    ) -> LiveSession | R | str:
        """
        Return the requested session, or the reason why it is refused.

        The reason is ``unknown`` both for a session that does not exist and for one of somebody
        else. ``connections`` is how many connections are older than the request, if it had to wait.
        Raises ``Overtaken`` if a newer connection has come, and for an HTTP request
        ``OwnerUnreachable``.
        """
        if self._host.closing:
            raise SessionUnavailable
        live = self._host.live.get(session_id)
        if live is None:
            row = await self.stored.find_row(session_id)
            if row is not None and connections is not None:
                row.connections = min(row.connections, connections)
            return await self._take_over(
                chat, row, request, admit, how=how, make_remote=make_remote
            )
        if connections is None:
            connections = live.client.connections
        if not _is_theirs(chat, live, request):
            return "unknown"
        if live.ending is None:
            with live.held():  # during the checks
                await admit(live.session)
                await self._check_count(request, other_than=live.id)
            if not _is_theirs(chat, live, request):
                return "unknown"  # it was assigned to a user meanwhile
        if how != "visit" and live.client.connections > connections:
            raise Overtaken
        return live if live.ending is None else why_over(live.ending)

    async def _take_over(
        self,
        chat: Chat,
        row: ChatSession | None,
        request: ConnectRequest,
        admit: Admit,
        *,
        how: How,
        make_remote: MakeRemote[R],
    ) -> LiveSession | R | str:
        """Do as :meth:`_resume` for a stored session, of which only ``row`` was read so far."""
        refusal = why_not(chat, row, request)
        if row is None or refusal is not None:
            return refusal or "unknown"
        if not row.end_reason and not row.is_expired():
            await admit(session_of(row, request.user))
            await self._check_count(request, other_than=row.pk)
        found = await self.stored.take(chat, row, request, how=how, make_remote=make_remote)
        if not isinstance(found, Loaded):
            return found
        live = self._hold(chat, found)
        row = found.row
        if row.end_reason:
            # The server died while on_chat_end ran, which is not run again.
            live.finish()
            return why_over(row.end_reason)
        if row.is_expired():
            live.end(ChatSession.EndReason.EXPIRED)
            return "expired"
        return live

    async def _move_here(
        self,
        chat: Chat,
        request: ConnectRequest,
        session_id: UUID,
        subscriber: LocalSubscriber,
        stored: Callable[[], None],
    ) -> LiveSession | None:
        """Hold a session that its owner has released. Return None if that is not possible."""
        async with self._lock_of(session_id):
            live = self._host.live.get(session_id)
            if live is None:
                loaded = await self.stored.read(session_id)
                if loaded is None or loaded.row.end_reason or self._host.closing:
                    return None
                if self._host.directory.owner_of(loaded.row) is not None:
                    return None
                live = self._hold(chat, loaded)
            if live.subscribers.connection is not None or live.ending is not None:
                return None
            if not is_owner(live.owner_id, request.user):
                return None  # it was assigned to another user meanwhile
            live.session.renew_user(request.user)
            live.session.env = request.env
            live.client.rejoin(subscriber, stored=stored)
            live.go()
            return live

    def _create(
        self, chat: Chat, session: Session, row: ChatSession, past: ThreadContinuation | None
    ) -> LiveSession:
        live = LiveSession(self._host, chat, session, row, None, past=past)
        self._host.live[live.id] = live
        live.log.set(
            **{name: getattr(row, name) for name in ROW_FIELDS}, status=ChatSession.Status.AWAY
        )
        return live

    def _hold(self, chat: Chat, loaded: Loaded) -> LiveSession:
        """
        Hold a stored session. Its first commit claims it.

        Raises ``SessionUnavailable`` if the worker is closing: it would not wait for this session.
        """
        if self._host.closing:
            raise SessionUnavailable
        row = loaded.row
        session = session_of(row, row.user or AnonymousUser())
        session.restored = True
        session.state_lost = loaded.state_lost
        if loaded.state_lost:
            logger.error("Session %s: the cache has thrown its user_session away", row.pk)
        live = LiveSession(self._host, chat, session, row, loaded)
        live.inbound.gate.rate = self._host.limits.event_pace(row.pk)
        live.log.set(worker_id=self._host.id)
        self._host.live[live.id] = live
        live.log.note()
        return live

    async def acquire(self, session_id: UUID, *, to_end: bool = False) -> LiveSession:
        """
        Return a session for code outside of its connection, held until ``holders`` is 0 again.

        With ``to_end`` its waiting events are not run. Raises ``SessionNotFound``, ``SessionOver``,
        ``OwnerUnreachable``, ``SessionUnavailable``.
        """
        async with self._lock_of(session_id):
            live = self._host.live.get(session_id)
            if live is None:
                loaded = await self.stored.read(session_id)
                if loaded is None:
                    raise SessionNotFound(session_id)
                live = self._adopt(loaded)
            if not to_end:
                live.go()
            if live.ending is not None:
                raise SessionOver(session_id, live.ending)
            live.holders += 1
            return live

    async def acquire_to_end(
        self, session_ids: Collection[UUID]
    ) -> dict[UUID, LiveSession | Exception]:
        """
        Return several sessions as :meth:`acquire` does with ``to_end``, or what that raises.

        They are read together, except those that are live or that another request looks for.
        """
        found: dict[UUID, LiveSession | Exception] = {}
        async with AsyncExitStack() as held:
            for session_id in session_ids:
                lock = self._lock_of(session_id)
                if session_id not in self._host.live and not lock.locked():
                    await held.enter_async_context(lock)  # it is free, so this does not wait
                    found[session_id] = SessionNotFound(session_id)
            try:
                loaded = await self.stored.read_all(found)
            except Exception as error:
                logger.debug("Sessions are read one by one: %s", error)
                found.clear()
            else:
                for one in loaded:
                    try:
                        found[one.row.pk] = live = self._adopt(one)
                        live.holders += 1
                    except Exception as error:
                        found[one.row.pk] = error
        for session_id in session_ids:
            if session_id not in found:
                try:
                    found[session_id] = await self.acquire(session_id, to_end=True)
                except Exception as error:
                    found[session_id] = error
        return found

    def _adopt(self, loaded: Loaded) -> LiveSession:
        row = loaded.row
        if row.status == ChatSession.Status.ENDED:
            raise SessionOver(row.pk, row.end_reason)
        self._host.directory.refuse(row)
        live = self._hold(find_chat(row.chat), loaded)
        if row.end_reason:
            live.finish()
            raise SessionOver(row.pk, row.end_reason)
        return live


def _is_theirs(chat: Chat, live: LiveSession, request: ConnectRequest) -> bool:
    tokens = live.client.tokens
    return may_resume(chat, live.session.chat, live.owner_id, tokens, request)
