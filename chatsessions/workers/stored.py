"""``StoredSessions``: sessions that are not live here, and the workers that own them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from chatsessions.auth.access import token_after
from chatsessions.cluster.commands import Attached, Busy, How, NotResumed
from chatsessions.cluster.connect_request import ConnectRequest, why_not
from chatsessions.cluster.connected import ConnectedSession, Move
from chatsessions.cluster.directory import SOON, Owner
from chatsessions.cluster.remote import RemoteSession
from chatsessions.cluster.visited import VisitedSession
from chatsessions.exceptions import OwnerUnreachable, SessionUnavailable
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.chat_context import in_use
from chatsessions.models import ChatSession
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark, ThreadKey, ThreadPart, read_context

from .host import WorkerHost

logger = logging.getLogger("chatsessions.worker")

R = TypeVar("R", bound=RemoteSession)
#: Seconds before an owner that is busy is asked for its session again.
BUSY = 0.2
#: Makes the object that stands here for another worker's session.
MakeRemote = Callable[[ChatSession, Owner], R]


class Overtaken(SessionUnavailable):
    """
    A newer connection has come for the session while this one waited.

    Mostly the client has given up this connection and opened another. If not, it connects again,
    and that connection is then the newest.
    """

    def __init__(self) -> None:
        super().__init__("A newer connection has come for the session.")


class StoredSessions:
    """Reads stored sessions, and finds out who owns them."""

    def __init__(self, host: WorkerHost) -> None:
        self._host = host
        #: The sessions for HTTP requests, by id and generation.
        self._visited: WeakValueDictionary[tuple[UUID, int], VisitedSession] = WeakValueDictionary()

    async def find_row(self, session_id: UUID) -> ChatSession | None:
        """Return a session's row without its contents, or None if there is no such session."""
        return await self._host.threads.read(self._host.store.find, session_id)

    async def read(self, session_id: UUID) -> Loaded | None:
        """Return a session, with its messages if ``chat_context`` is used."""
        return await self._host.threads.read_ahead(self._load, session_id)

    async def read_all(self, session_ids: Collection[UUID]) -> list[Loaded]:
        """Return several sessions as :meth:`read` does, without those that do not exist."""
        return await self._host.threads.read(self._load_all, session_ids)

    def _load(self, session_id: UUID) -> Loaded | None:
        loaded = self._host.store.load(session_id)
        return None if loaded is None else _with_context(loaded)

    def _load_all(self, session_ids: Collection[UUID]) -> list[Loaded]:
        return [_with_context(loaded) for loaded in self._host.store.load_all(session_ids)]

    async def take(
        self,
        chat: Chat,
        row: ChatSession,
        request: ConnectRequest,
        *,
        how: How,
        make_remote: MakeRemote[R],
    ) -> Loaded | R | str:
        """
        Return a stored session, or the reason why it is refused.

        A session without an owner is returned as ``Loaded``, one that another worker owns as a
        remote session. If no channel layer leads to the owner, a connection takes the session from
        it. Raises ``OwnerUnreachable`` for a request, ``Overtaken`` for a connection,
        ``SessionUnavailable``.
        """
        directory = self._host.directory
        deadline = directory.deadline()
        given = token_after(request.token, row.pk)
        connections = row.connections
        while True:
            if self._host.closing:
                raise SessionUnavailable
            owner = directory.owner_of(row)
            if owner is None or (how != "visit" and not (owner.channel or owner.is_here)):
                loaded = await self.read(row.pk)
                again = None if loaded is None else loaded.row
                refusal = _why_no_more(chat, again, request, connections, how)
                if loaded is None or refusal is not None:
                    return refusal or "unknown"
                row = loaded.row
                owner_now = directory.owner_of(row)
                if owner_now is None or (owner is not None and owner_now.id == owner.id):
                    return loaded
                continue  # another worker was faster
            if not (owner.channel or owner.is_here):
                raise OwnerUnreachable(row.pk, owner.name)
            answer: Attached | NotResumed | Busy | None = None
            if not owner.channel:  # another loop of this process, during a call from outside
                await asyncio.sleep(SOON)
            else:
                remote = make_remote(row, owner)
                answer = await remote.attach(request, given=given, connections=connections, how=how)
                if isinstance(answer, Attached):
                    return remote
            if isinstance(answer, NotResumed):
                return answer.reason
            if isinstance(answer, Busy) and how == "visit":  # from an older release
                raise OwnerUnreachable(row.pk, owner.name)
            if self._host.loop.time() > deadline:
                logger.info("Session %s is not given away by %s", row.pk, owner.name)
                if how == "visit":
                    silent = bool(owner.channel)
                    raise OwnerUnreachable(row.pk, owner.name, silent=silent, is_here=not silent)
                raise SessionUnavailable
            if isinstance(answer, Busy):
                await asyncio.sleep(BUSY)
            again = await self.find_row(row.pk)
            refusal = _why_no_more(chat, again, request, connections, how)
            if again is None or refusal is not None:
                return refusal or "unknown"
            row = again

    def connected(self, move: Move, row: ChatSession, owner: Owner) -> ConnectedSession:
        """Return a session of ``owner`` for a connection."""
        host = self._host
        return ConnectedSession(
            row, owner, directory=host.directory, remotes=host.remotes, move=move
        )

    def visited(self, row: ChatSession, owner: Owner) -> VisitedSession:
        """Return a session of ``owner`` for requests; all requests share one object."""
        host, key = self._host, (row.pk, row.generation)
        known = self._visited.get(key)
        if known is None or known.closed:
            known = VisitedSession(row, owner, directory=host.directory, remotes=host.remotes)
            self._visited[key] = known
        return known


def _why_no_more(
    chat: Chat, row: ChatSession | None, request: ConnectRequest, connections: int, how: How
) -> str | None:
    """Return :func:`why_not` for a row that was read again. Raises ``Overtaken``."""
    refusal = why_not(chat, row, request)
    if row is not None and how != "visit" and row.connections > connections:
        raise Overtaken
    return refusal


def _with_context(loaded: Loaded) -> Loaded:
    """Add the messages of a session, if ``chat_context`` is used."""
    if in_use():
        row = loaded.row
        key = ThreadKey(id=row.thread_id, user_id=row.user_id, chat=row.chat)
        own = ThreadPart(session=row.pk, mark=Mark.of(row.chat_context), streams=row.streams)
        loaded.said = read_context(key, own, before=row.created_at)
    return loaded
