"""``http_session``: the session of a request, for views of one's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec
from django.http import HttpRequest

from chatsessions.auth.env import taken_env
from chatsessions.cluster.visited import VisitedSession
from chatsessions.conf import settings
from chatsessions.exceptions import SessionNotFound
from chatsessions.handlers.chat import Chat, resolve_chat
from chatsessions.handlers.context import Context, use_context
from chatsessions.handlers.session import Session
from chatsessions.protocol import frames
from chatsessions.protocol.frames import parse_uuid
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.workers import blocks
from chatsessions.workers.worker import get_worker

from .requests import Body, Credentials, credentials_of, keep, serving
from .visits import Visit, begin_visit

UNOPENED = "none: http_session() is used as 'async with http_session(…):'"


class http_session:  # noqa: N801  # used like a function
    """
    Work with the session of a request: ``async with http_session(request, chat="shop") as found:``.

    It opens the session that ``session`` and ``token`` or an ``Authorization: Bearer`` header name,
    or the one that Django's session keeps for the chat; else a new session, which Django's session
    keeps from then on. Inside the block ``user_session``, ``context`` and ``Message`` are the
    session's; what the block sets and sends is stored when it ends. The block waits for
    ``on_chat_start`` of a new session, but not for a running turn.

    If another process is busy with the session, the block reads the stored values. When the block
    ends, that process applies what the block has set and sent; it sends tokens of a stream at once.

    ``chat`` is a ``Chat``, a dotted path of one, a module's name, or any name without a dot for
    sessions that have no handlers. ``env`` are the client's own keys, which a new session of a chat
    with ``user_env`` needs.

    Raises ``ChatError``; ``OwnerUnreachable`` for a process that cannot be reached;
    ``SessionOver`` for a given session that has ended; ``FrameError`` for an ``env`` that is too
    large, and (``rate_limited``) for a client that asks too often; ``AccessRefused`` for an ``env``
    that misses a key; ``StoreUnavailable``, ``SessionUnavailable``, ``TooManySessions``; and
    database errors.
    """

    #: The session: ``id``, ``user``, …
    session: Session
    #: The token to resume the session with; empty for a logged-in user who sent none.
    token: str
    #: Whether the session was the client's before.
    resumed: bool
    #: Why the session is a new one: ``new``, ``unknown``, ``ended`` or ``expired``.
    reason: str | None

    def __init__(
        self,
        request: HttpRequest,
        *,
        chat: Chat | str,
        session: str | None = None,
        token: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._request = request
        self._chat = chat
        self._env = env
        self._asked = Body(session=session, token=token)
        self._stack = AsyncExitStack()
        self._emitted = _Emitted()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serving(self._request))
            visit, context = await self._begin(stack)
            if visit.reason is not None:
                await visit.served.begun()
            self.session, self.token = context.session, visit.token
            self.resumed, self.reason = visit.resumed, visit.reason
            stack.enter_context(use_context(context))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def _begin(self, stack: AsyncExitStack) -> tuple[Visit, Context]:
        """Open the session; ``stack`` lets it go."""
        chat = self._chat
        named = isinstance(chat, str) and "." not in chat
        chat = resolve_chat(Chat(str(chat)) if named else chat)
        asked = await credentials_of(self._request, chat.name, self._asked)
        if self._env is not None:
            asked = asked.with_env(taken_env(self._env, chat.user_env))
        visit = await begin_visit(chat, asked, admit=partial(self._admit, chat, asked))
        served = visit.served
        stack.push_async_callback(served.given_back)
        stack.callback(visit.leave)
        await served.client.acted()
        stack.callback(served.unfollow, self._emitted)
        stack.push_async_callback(served.settle)
        context = await blocks.open_block(get_worker(), served.id, stack)
        context.session.renew_user(asked.connect.user)
        if asked.connect.env:
            context.session.env = asked.connect.env
        self._emitted.follow(served)
        if visit.reason is not None and asked.may_keep:
            await keep(self._request, chat.name, str(served.id), visit.token)
        return visit, context

    async def _admit(self, chat: Chat, asked: Credentials, session: Session) -> None:
        """Refuse a new session without the chat's ``user_env``; an old one has its client's."""
        if self._env is None and session.id != parse_uuid(asked.connect.session_id or ""):
            taken_env(None, chat.user_env)

    def __getattr__(self, name: str) -> Any:
        if name in ("session", "token", "resumed", "reason"):
            raise SessionNotFound(UNOPENED)
        raise AttributeError(f"http_session has no attribute {name!r}")

    @property
    def events(self) -> list[dict[str, Any]]:
        """
        The stored events that were emitted since the block began: ``seq``, ``name``, ``data``.

        The list is complete when the block has ended; if no other process has the session, also
        after ``await context.emitter.flush()``.
        """
        return [
            {"seq": entry.seq, "name": entry.name, "data": msgspec.json.decode(entry.data)}
            for entry in self._emitted.stored
        ]


class _Emitted(Subscriber):
    """Collects what is emitted for a session."""

    def __init__(self) -> None:
        self.stored: deque[Entry] = deque(maxlen=settings.MAX_LOG_ENTRIES)
        self._last = 0

    def follow(self, served: LiveSession | VisitedSession) -> None:
        """Subscribe to ``served``."""
        self._last = served.follow(self).stored

    def entries(self, entries: Sequence[Entry]) -> None:
        news = [entry for entry in entries if entry.seq > self._last]
        if news:
            self._last = news[-1].seq
            self.stored.extend(entry for entry in news if entry.n is None)

    def frame(self, frame: frames.ServerFrame) -> None:
        """Do nothing: tokens and turns are not in the log."""

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        """Do nothing: what was stored before stays."""
