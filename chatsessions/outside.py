"""
From outside of a session's connection: views, tasks and the shell.

They reach the session through its owner, in this process or another; one that nobody owns is taken
for as long as it needs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from asgiref.sync import async_to_sync
from django.db import connections

from .arrival import User
from .chat import Chat, resolve_chat
from .cluster import reaching
from .cluster.afar import AfarSession
from .cluster.commands import Append, Broadcast, Step
from .cluster.elsewhere import OwnedElsewhere
from .conf import settings
from .context import Context, use_context
from .emitter import encode_data
from .exceptions import SessionNotFound, SessionOver
from .live.session import LiveSession
from .models import ChatSession
from .session import Session
from .worker import Worker, get_worker, running_workers

T = TypeVar("T")

#: A session, or the id of one.
Which = Session | ChatSession | UUID | str

#: Sessions of one user that are reached at a time.
EMITS_AT_A_TIME = 10


class session_context:  # noqa: N801  # used like a function
    """
    Work with a session from outside of it, ``with`` or ``async with``. It is named by its id, or
    is one that somebody has: a row, or what a signal tells of.

    Inside the block ``user_session``, ``context`` and ``Message`` are the session's; what is set
    and sent there is stored when the block ends. Gives the context.

    Where another process owns the session, the values are those that are stored, and what is set
    and sent is made by the owner when the block ends (tokens of a stream at once). Raises
    ``SessionNotFound``, ``SessionOver``, ``OwnerUnreachable`` (no way to that process) and
    ``StoreUnavailable``.
    """

    def __init__(self, session: Which) -> None:
        self.session_id = _id_of(session)
        self._stack = ExitStack()
        self._visit: AbstractAsyncContextManager[Worker] | None = None
        self._held: LiveSession | AfarSession | None = None
        self._runner: _Runner | None = None

    async def __aenter__(self) -> Context:
        worker = _holder(self.session_id) or get_worker()
        context = await _in_loop(worker.loop, lambda: self._open(worker))
        return self._stack.enter_context(use_context(context))

    async def _open(self, worker: Worker) -> Context:
        """In the worker's loop: hold the session, and the worker while it is held."""
        visit = worker.visit()
        await visit.__aenter__()
        try:
            try:
                held = self._held = await worker.acquire(self.session_id)
                context = held.context(None)
            except OwnedElsewhere:
                afar = self._held = await AfarSession.open(worker, self.session_id)
                context = afar.context()
        except BaseException:
            await visit.__aexit__(None, None, None)
            raise
        self._visit = visit
        return context

    async def _close(self) -> None:
        """In the worker's loop: store what the block changed, and let everything go."""
        held, visit = self._held, self._visit
        self._held = self._visit = None
        if held is None or visit is None:
            return
        try:
            if isinstance(held, LiveSession):
                await release(held)
            else:
                await held.close()
        finally:
            await visit.__aexit__(None, None, None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._held is not None:
            await _in_loop(self._held.loop, self._close)

    def __enter__(self) -> Context:
        _refuse_in_loop("session_context")
        _refuse_in_transaction("session_context")
        self._runner = _Runner(self.session_id)
        try:
            context = self._runner.run(self._open)
        except BaseException:
            self._runner.close()
            raise
        return self._stack.enter_context(use_context(context))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            try:
                runner.run(lambda _worker: self._close())
            finally:
                runner.close()


async def aemit_to(session: Which, name: str, data: Any = None) -> None:
    """
    Emit an event to one session, wherever it is, also to one whose client is away.

    ``session`` is a session or the id of one. Returns when it is stored. Raises what
    ``context.emitter.emit`` raises, ``SessionNotFound``, ``SessionOver``, and
    ``OwnerUnreachable``; nothing is emitted then.
    """
    found = _id_of(session)
    steps: list[Step] = [_append(name, data)]
    worker = _holder(found) or get_worker()

    async def emit() -> None:
        async with worker.visit():
            await reaching.change(worker, found, steps)

    await _in_loop(worker.loop, emit)


def emit_to(session: Which, name: str, data: Any = None) -> None:
    """:func:`aemit_to` for synchronous code."""
    _run_sync("emit_to", partial(aemit_to, session, name, data))


async def aemit_to_user(user: User | Any, name: str, data: Any = None) -> int:
    """
    Emit an event to every session of a user that has not ended; how many got it.

    A session whose client is away keeps it for the client's return. ``user`` is a user or the id
    of one. Raises what :func:`aemit_to` raises; ``OwnerUnreachable`` for a session that is known
    to be out of reach comes before anything is emitted, for one that is found to be when all the
    others have got it.
    """
    encode_data(name, data)  # refused before any of them gets it
    async with get_worker().visit() as worker:
        await worker.start()
        found = await worker.threads.read(_sessions_of, worker, getattr(user, "pk", user))
        room = asyncio.Semaphore(EMITS_AT_A_TIME)

        async def emit(session_id: UUID) -> int:
            async with room:
                try:
                    await aemit_to(session_id, name, data)
                except (SessionNotFound, SessionOver):
                    return 0  # it has ended meanwhile
                return 1

        # One that cannot be reached after all keeps it from no other.
        told = await asyncio.gather(*map(emit, found), return_exceptions=True)
        for error in told:
            if isinstance(error, BaseException):
                raise error
        return sum(one for one in told if isinstance(one, int))


def emit_to_user(user: User | Any, name: str, data: Any = None) -> int:
    """:func:`aemit_to_user` for synchronous code."""
    return _run_sync("emit_to_user", partial(aemit_to_user, user, name, data))


async def abroadcast(name: str, data: Any = None, *, chat: Chat | str | None = None) -> int:
    """
    Emit an event to every connected session of ``chat``, or of all chats; how many got it.

    ``chat`` is a ``Chat``, a dotted path of one, or a name. Sessions whose clients are away do
    not get it. Raises what ``context.emitter.emit`` raises, and ``OwnerUnreachable`` if a worker
    that has such sessions cannot be reached; if that is known beforehand, nothing is emitted.
    """
    step = _append(name, data)
    wanted = None if chat is None else _chat_name(chat)
    command = Broadcast(name=step.name, data=step.data, chat=wanted)
    async with get_worker().visit() as worker:
        await worker.start()
        here = running_workers()
        told = await worker.broadcast_elsewhere(command, [one.id for one in here])
        for one in here:
            told += await _in_loop(one.loop, partial(one.broadcast, command))
        return told


def broadcast(name: str, data: Any = None, *, chat: Chat | str | None = None) -> int:
    """:func:`abroadcast` for synchronous code."""
    return _run_sync("broadcast", partial(abroadcast, name, data, chat=chat))


async def aend_session(session: Which, reason: str = "app") -> None:
    """
    End a session: its turn is stopped, ``on_chat_end`` runs, its client is told.

    ``session`` is a session or the id of one, ``reason`` one of ``ChatSession.EndReason``.
    Returns when the end is stored. Raises what ``session_context`` raises.
    """
    found = _id_of(session)
    _checked(reason)
    worker = _holder(found) or get_worker()

    async def end() -> None:
        async with worker.visit():
            await reaching.end(worker, found, reason)

    await _in_loop(worker.loop, end)


def end_session(session: Which, reason: str = "app") -> None:
    """:func:`aend_session` for synchronous code."""
    _run_sync("end_session", partial(aend_session, session, reason))


class _Runner:
    """
    Runs coroutines for synchronous code: in the server's event loop, or in one of its own.

    A loop of its own lives in a thread, so that what the block sends can be stored meanwhile.
    """

    def __init__(self, session_id: UUID) -> None:
        self._thread: threading.Thread | None = None
        worker = _holder(session_id) or next(iter(running_workers()), None)
        if worker is None:
            if settings.JOURNAL_INLINE:
                raise RuntimeError(
                    "With JOURNAL_INLINE everything happens in the caller's database connection, "
                    "which a thread does not share: write 'async with session_context(…):'."
                )
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="chatsessions-outside", daemon=True
            )
            self._thread.start()
            worker = self._run(_make_worker())
        else:
            self._loop = worker.loop
        self._worker = worker

    def run(self, step: Callable[[Worker], Coroutine[Any, Any, T]]) -> T:
        return self._run(step(self._worker))

    def close(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _make_worker() -> Worker:
    return get_worker()


async def release(live: LiveSession) -> None:
    """Store what a block changed, and let the session go."""
    try:
        live.user_session_used()
        if not (live.closed and live.ending):
            await live.sink.flush()
    finally:
        await reaching.let_go(live)


def _append(name: str, data: Any) -> Append:
    return Append(name, msgspec.Raw(encode_data(name, data)))


def _chat_name(chat: Chat | str) -> str:
    return chat if isinstance(chat, str) and "." not in chat else resolve_chat(chat).name


def _sessions_of(worker: Worker, user: Any) -> list[UUID]:
    """A user's sessions. Raises ``OwnerUnreachable`` if nothing leads to the owner of one."""
    rows = ChatSession.objects.using(settings.DATABASE).timed().filter(user=user)
    found = list(rows.exclude(status=ChatSession.Status.ENDED).select_related("worker"))
    for row in found:
        if row.worker is not None:
            row.worker.read_at = row.read_at
        if _holder(row.pk) is None:
            with suppress(OwnedElsewhere):
                worker.elsewhere.refuse(row)
    return [row.pk for row in found]


def _run_sync(name: str, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``step`` in the server's event loop if this process has one, else in one of its own."""
    _refuse_in_loop(name, f"a{name}")
    _refuse_in_transaction(name)
    worker = next(iter(running_workers()), None)
    if worker is None:
        return async_to_sync(step)()
    return asyncio.run_coroutine_threadsafe(step(), worker.loop).result()


async def _in_loop(loop: asyncio.AbstractEventLoop, step: Callable[[], Awaitable[T]]) -> T:
    """Await ``step`` in the event loop of the session's owner."""
    if loop is asyncio.get_running_loop():
        return await step()

    async def there() -> T:
        return await step()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))


def _holder(session_id: UUID) -> Worker | None:
    """The worker of this process that has the session in memory."""
    return next((worker for worker in running_workers() if session_id in worker.live), None)


def _id_of(session: Which) -> UUID:
    named = session.id if isinstance(session, Session | ChatSession) else session
    try:
        return named if isinstance(named, UUID) else UUID(named)
    except (ValueError, AttributeError, TypeError) as error:
        raise SessionNotFound(named) from error


def _checked(reason: str) -> str:
    if reason not in ChatSession.EndReason.values:
        raise ValueError(
            f"{reason!r} is no reason to end a session; there are: "
            f"{', '.join(ChatSession.EndReason.values)}."
        )
    return reason


def _refuse_in_transaction(name: str) -> None:
    """SQLite has one writer: the session's owner would wait for the transaction of this one."""
    connection = connections[settings.DATABASE]
    waits = connection.vendor == "sqlite" and not settings.JOURNAL_INLINE
    if waits and connection.in_atomic_block:
        raise RuntimeError(
            f"{name} was called inside of a transaction, for whose end the session's store has "
            "to wait. Call it after the block, for instance with transaction.on_commit()."
        )


def _refuse_in_loop(name: str, instead: str = "") -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    remedy = f"await {instead}()" if instead else f"write 'async with {name}(…):'"
    raise RuntimeError(f"{name} would block the event loop here; {remedy}.")
