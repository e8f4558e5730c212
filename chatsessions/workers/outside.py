"""
The API for views, tasks and the shell: ``session_context()``, ``emit_to()`` and the like.

They reach a session through its owner, in this process or another. A session without an owner is
held here for as long as the call needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from contextvars import Context as ContextVars
from functools import partial
from threading import Event
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.contrib.auth.models import AbstractBaseUser
from django.db import connections

from chatsessions.cluster.commands import Append, Assign, Broadcast, Step
from chatsessions.cluster.connect_request import User
from chatsessions.cluster.directory import SOON, OwnedElsewhere
from chatsessions.conf import settings
from chatsessions.exceptions import OwnerUnreachable, ServerStopped, SessionNotFound, SessionOver
from chatsessions.handlers.bridge import PATIENCE, background_loop, has_loop, is_background, submit
from chatsessions.handlers.chat import Chat, resolve_chat
from chatsessions.handlers.context import Context, use_context
from chatsessions.handlers.emitter import encode_data
from chatsessions.handlers.session import Session
from chatsessions.models import ChatSession
from chatsessions.storage.database import arefuse_test_transaction, refuse_test_transaction

from . import blocks, calls
from .worker import Worker, running_workers, visiting

T = TypeVar("T")

#: A session, or the id of one.
Which = Session | ChatSession | UUID | str

#: How many sessions of one user are sent an event at the same time.
EMITS_AT_A_TIME = 10


class session_context:  # noqa: N801  # used like a function
    """
    Work with a session from outside of it, ``with`` or ``async with``. ``session`` is its id, its
    row, or the session that a signal is sent with.

    Inside the block ``user_session``, ``context`` and ``Message`` are the session's; what is set
    and sent there is stored when the block ends. The block gets the context (``as``).

    If another process owns the session, the block reads the stored values, and the owner makes the
    block's changes when the block ends (tokens of a stream at once). Raises ``SessionNotFound``,
    ``SessionOver``, ``OwnerUnreachable`` (no way to that process, or no sign of it),
    ``StoreUnavailable``, and ``OwnershipLost`` if another process took the session during the
    block.
    """

    def __init__(self, session: Which) -> None:
        self.session_id = _id_of(session)
        self._stack = ExitStack()
        #: Releases the session and the worker, in the worker's event loop.
        self._holding = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Context:
        with self._opening() as open_here:
            context = await _with_worker_of(self.session_id, open_here)
        return self._stack.enter_context(use_context(context))

    @contextmanager
    def _opening(self) -> Iterator[Callable[[Worker], Coroutine[Any, Any, Context]]]:
        """Yield the function that opens the session. If the block raises, release the session."""
        given_up = Event()
        try:
            yield partial(self._open, given_up)
        except BaseException:
            given_up.set()  # before the loop is read: _open() sets the loop, then looks at this
            loop, self._loop = self._loop, None
            if loop is not None:
                with suppress(ServerStopped):
                    _begin(self._release, loop)
            raise

    async def _open(self, given_up: Event, worker: Worker) -> Context:
        """Hold the session and the worker. Runs in the worker's event loop."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(visiting())
            context = await blocks.open_block(worker, self.session_id, stack)
            self._loop = worker.loop
            if given_up.is_set():
                raise asyncio.CancelledError
            self._holding = stack.pop_all()
        return context

    async def _release(self) -> None:
        await self._holding.aclose()

    async def __aexit__(self, *raised: Any) -> None:
        self._stack.close()
        loop, self._loop = self._loop, None
        if loop is not None:
            # Store the block's changes and release all, in the worker's event loop.
            await _in_loop(loop, partial(self._holding.__aexit__, *raised))

    def __enter__(self) -> Context:
        _refuse_in_loop("session_context")
        _refuse_in_transaction("session_context")
        with self._opening() as open_here:
            context = _run_in(_lasting_loop(), partial(_with_worker_of, self.session_id, open_here))
        return self._stack.enter_context(use_context(context))

    def __exit__(self, *raised: Any) -> None:
        self._stack.close()
        loop, self._loop = self._loop, None
        if loop is not None:
            _run_in(loop, partial(self._holding.__aexit__, *raised))


async def aemit_to(session: Which, name: str, data: Any = None) -> None:
    """
    Emit an event to one session, in any process, also if its client is away.

    ``session`` is a session or the id of one. Returns when the event is stored. Raises what
    ``context.emitter.emit`` raises, ``SessionNotFound``, ``SessionOver``, and
    ``OwnerUnreachable``; nothing is emitted then.
    """
    found = _id_of(session)
    steps: list[Step] = [_append(name, data)]
    await _with_worker_of(found, lambda worker: calls.change(worker, found, steps))


def emit_to(session: Which, name: str, data: Any = None) -> None:
    """Call :func:`aemit_to` from synchronous code."""
    _run_sync("emit_to", partial(aemit_to, session, name, data))


async def aemit_to_user(user: User | Any, name: str, data: Any = None) -> int:
    """
    Emit an event to every session of a user that has not ended. Return how many got it.

    A session whose client is away keeps the event until the client returns. ``user`` is a user or
    the id of one. Raises ``ValueError`` for a user that is not stored or anonymous, and what
    :func:`aemit_to` raises. If it is known that a session cannot be reached, ``OwnerUnreachable``
    is raised before anything is emitted; if that turns out later, it is raised when all other
    sessions have got the event.
    """
    await _refuse_in_test()
    pk = getattr(user, "pk", user)
    if pk is None:  # the sessions of nobody are those of all visitors
        raise ValueError(f"An event is emitted to a user that is stored, not to {user!r}.")
    encode_data(name, data)  # refused before any of them gets it
    return await _in_loop(_lasting_loop(), partial(_emit_to_user, pk, name, data))


async def _emit_to_user(pk: Any, name: str, data: Any) -> int:
    async with visiting() as worker:
        await calls.patiently(worker.start)
        find = partial(worker.threads.read, _sessions_of, worker, pk)
        found = await calls.patiently(find)
        room = asyncio.Semaphore(EMITS_AT_A_TIME)

        async def emit(session_id: UUID) -> int:
            async with room:
                try:
                    await aemit_to(session_id, name, data)
                except (SessionNotFound, SessionOver):
                    return 0  # it has ended meanwhile
                return 1

        return await _all_told(map(emit, found))


def emit_to_user(user: User | Any, name: str, data: Any = None) -> int:
    """Call :func:`aemit_to_user` from synchronous code."""
    return _run_sync("emit_to_user", lambda: aemit_to_user(_looked_up(user), name, data))


async def abroadcast(name: str, data: Any = None, *, chat: Chat | str | None = None) -> int:
    """
    Emit an event to every connected session of ``chat``, or of all chats. Return how many got it.

    ``chat`` is a ``Chat``, a dotted path of one, or a name. Sessions whose clients are away do
    not get it. Raises what ``context.emitter.emit`` raises, and ``OwnerUnreachable`` if a worker
    that has such sessions cannot be reached. If that is known beforehand, nothing is emitted; if it
    turns out later, it is raised when all other sessions have got the event.
    """
    await _refuse_in_test()
    step = _append(name, data)
    wanted = None if chat is None else _chat_name(chat)
    command = Broadcast(name=step.name, data=step.data, chat=wanted)
    return await _in_loop(_lasting_loop(), partial(_broadcast, command))


async def _broadcast(command: Broadcast) -> int:
    async with visiting() as worker:
        await calls.patiently(worker.start)
        here = running_workers()
        ids = [one.id for one in here]
        find = partial(worker.threads.read, worker.rows.others, ids, command.chat)
        others = await calls.patiently(find)
        worker.directory.check_reachable(others)
        return await _all_told(
            [
                *(_broadcast_here(command, one) for one in here),
                *(worker.directory.broadcast(command, one) for one in others),
            ]
        )


async def _broadcast_here(command: Broadcast, worker: Worker) -> int:
    """Emit an event to the connected sessions of a worker of this process."""
    try:
        return await _in_loop(worker.loop, partial(worker.server.broadcast, command))
    except ServerStopped:
        return 0  # its event loop has ended, as that of a request does: nobody is connected there


async def _all_told(telling: Iterable[Coroutine[Any, Any, int]]) -> int:
    """Await all of ``telling``; then raise the first error, or return the sum."""
    told = await asyncio.gather(*telling, return_exceptions=True)
    for error in told:
        if isinstance(error, BaseException):
            raise error
    return sum(one for one in told if isinstance(one, int))


def broadcast(name: str, data: Any = None, *, chat: Chat | str | None = None) -> int:
    """Call :func:`abroadcast` from synchronous code."""
    return _run_sync("broadcast", partial(abroadcast, name, data, chat=chat))


async def aend_session(session: Which, reason: str = "app") -> None:
    """
    End a session: stop its turn, run ``on_chat_end``, tell its client.

    ``session`` is a session or the id of one, ``reason`` one of ``ChatSession.EndReason``.
    Returns when the end is stored. Raises what ``session_context`` raises.
    """
    found = _id_of(session)
    if reason not in ChatSession.EndReason.values:
        raise ValueError(
            f"{reason!r} is no reason to end a session; there are: "
            f"{', '.join(ChatSession.EndReason.values)}."
        )
    await _with_worker_of(found, lambda worker: calls.end(worker, found, reason))


def end_session(session: Which, reason: str = "app") -> None:
    """Call :func:`aend_session` from synchronous code."""
    _run_sync("end_session", partial(aend_session, session, reason))


async def aassign_user(session: Which, user: AbstractBaseUser) -> None:
    """
    Give a session that was begun without a login to ``user``, for instance when they log in.

    ``session`` is a session or the id of one; the caller makes sure that it is theirs. From now on
    only that user can open it, and its old tokens are invalid; what runs in it goes on. Returns
    when that is stored. Raises ``SessionOwned`` if the session has a user, ``ValueError`` for a
    user that is not stored or anonymous, and what :func:`aemit_to` raises.
    """
    found = _id_of(session)
    if not user.is_authenticated or user.pk is None:
        raise ValueError(f"A session is assigned to a user that is stored, not to {user!r}.")
    steps: list[Step] = [Assign(str(user.pk))]
    await _with_worker_of(found, lambda worker: calls.change(worker, found, steps))


def assign_user(session: Which, user: AbstractBaseUser) -> None:
    """Call :func:`aassign_user` from synchronous code."""
    _run_sync("assign_user", lambda: aassign_user(session, _looked_up(user)))


def _append(name: str, data: Any) -> Append:
    return Append(name, msgspec.Raw(encode_data(name, data)))


def _looked_up(user: T) -> T:
    """Return ``user``, looked up in this thread: ``request.user`` cannot be in an event loop."""
    getattr(user, "pk", None)
    return user


def _chat_name(chat: Chat | str) -> str:
    return chat if isinstance(chat, str) and "." not in chat else resolve_chat(chat).name


def _sessions_of(worker: Worker, user: Any) -> list[UUID]:
    """Return a user's sessions. Raises ``OwnerUnreachable`` if the owner of one has no channel."""
    rows = ChatSession.objects.using(settings.DATABASE).timed().filter(user=user)
    found = list(rows.exclude(status=ChatSession.Status.ENDED).select_related("worker"))
    for row in found:
        if row.worker is not None:
            row.worker.read_at = row.read_at
        try:
            worker.directory.refuse(row)
        except OwnedElsewhere:
            continue
        except OwnerUnreachable as error:
            if not error.is_here:
                raise
    return [row.pk for row in found]


def _run_sync(name: str, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``step`` for synchronous code, in a long-lived event loop of the process."""
    _refuse_in_loop(name, f"a{name}")
    _refuse_in_transaction(name)
    return _run_in(_lasting_loop(), step)


def _lasting_loop() -> asyncio.AbstractEventLoop:
    """
    Return the event loop for calls from outside.

    It is a server's, if possible the running one, else the background one. The loop of a single
    view or task would end while others use it.
    """
    here = asyncio.get_running_loop() if has_loop() else None
    loops = [worker.loop for worker in running_workers() if worker.serves]
    if here in loops:
        return here
    return loops[0] if loops else background_loop()


def _loop_for(session_id: UUID) -> asyncio.AbstractEventLoop:
    """Return the event loop that holds a session in memory, else :func:`_lasting_loop`."""
    lasting = _lasting_loop()
    for worker in running_workers():
        if session_id in worker.live and (worker.loop is lasting or worker.serves):
            return worker.loop
    return lasting


async def _with_worker_of(session_id: UUID, step: Callable[[Worker], Coroutine[Any, Any, T]]) -> T:
    """
    Return the result of ``step`` with the worker that reaches the session.

    If another event loop of this process holds the session, wait for it, at most ``STORE_TIMEOUT``
    seconds.
    """

    async def visit() -> T:
        async with visiting() as worker:
            return await step(worker)

    await _refuse_in_test()
    clock = asyncio.get_running_loop()
    deadline = clock.time() + settings.STORE_TIMEOUT
    while True:
        try:
            return await _in_loop(_loop_for(session_id), visit)
        except OwnerUnreachable as error:
            if not error.is_here or clock.time() > deadline:
                raise
        await asyncio.sleep(SOON)


def _run_in(loop: asyncio.AbstractEventLoop, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``step`` in another thread's event loop. Raises ``ServerStopped`` if the loop ends."""
    future = _begin(step, loop)
    try:
        while not wait([future], PATIENCE).done:
            if not loop.is_running():
                raise ServerStopped
        return future.result()
    except CancelledError as error:
        raise ServerStopped from error
    except BaseException:
        future.cancel()
        raise


async def _in_loop(
    loop: asyncio.AbstractEventLoop, step: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Await ``step`` in ``loop``. Raises ``ServerStopped`` if the loop ends."""
    if loop is asyncio.get_running_loop():
        return await step()
    future = asyncio.wrap_future(_begin(step, loop))
    try:
        while not (await asyncio.wait([future], timeout=PATIENCE))[0]:
            if not loop.is_running():
                raise ServerStopped
    finally:
        future.cancel()
    if future.cancelled():
        raise ServerStopped
    return future.result()


def _begin(
    step: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop
) -> Future[T]:
    """Begin ``step`` in another event loop. Raises ``ServerStopped`` if it no longer runs."""
    try:
        # In an empty context: what is started here outlives the call.
        return ContextVars().run(submit, step(), loop)
    except RuntimeError as error:
        raise ServerStopped from error


def _id_of(session: Which) -> UUID:
    named = session.id if isinstance(session, Session | ChatSession) else session
    try:
        return named if isinstance(named, UUID) else UUID(named)
    except (ValueError, AttributeError, TypeError) as error:
        raise SessionNotFound(named) from error


def _refuse_in_transaction(name: str) -> None:
    """Raise in a transaction on SQLite, which has one writer: the owner would wait for its end."""
    refuse_test_transaction()
    connection = connections[settings.DATABASE]
    if connection.vendor == "sqlite" and connection.in_atomic_block:
        raise RuntimeError(
            f"{name} was called inside of a transaction, for whose end the session's store has "
            "to wait. Call it after the block, for instance with transaction.on_commit()."
        )


async def _refuse_in_test() -> None:
    """
    Raise ``ImproperlyConfigured`` if asynchronous code is called in a test with a transaction.

    In a server's event loop, and in the background one, the caller was checked before.
    """
    here = asyncio.get_running_loop()
    if here is not _lasting_loop() and not is_background(here):
        await arefuse_test_transaction()


def _refuse_in_loop(name: str, instead: str = "") -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    remedy = f"await {instead}()" if instead else f"write 'async with {name}(…):'"
    raise RuntimeError(f"{name} would block the event loop here; {remedy}.")
