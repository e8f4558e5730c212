"""
Calls and blocks by which code outside of a session works with it.

If another worker owns the session, a call is one command to the owner; else this worker owns the
session during the call. A :class:`RemoteBlock` is a ``session_context()`` block for a session that
another worker owns: it reads the stored values, and gathers changes that the owner then makes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import msgspec
from django.contrib.auth.models import AnonymousUser
from django.db import Error
from msgspec import to_builtins

from chatsessions.cluster.commands import (
    AddToken,
    Append,
    Apply,
    Call,
    CloseStream,
    Declare,
    Done,
    Drop,
    End,
    Offer,
    OpenStream,
    Put,
    Step,
    Withdraw,
)
from chatsessions.cluster.connect_request import session_of
from chatsessions.cluster.directory import SOON, OwnedElsewhere
from chatsessions.cluster.owner import apply, do_end
from chatsessions.cluster.rpc import NoAnswer
from chatsessions.conf import settings
from chatsessions.exceptions import (
    ChatSessionsError,
    OwnershipLost,
    OwnerUnreachable,
    SessionNotFound,
    SessionOver,
    StorageError,
    StoreUnavailable,
)
from chatsessions.handlers.bridge import in_loop
from chatsessions.handlers.chat import find_chat
from chatsessions.handlers.context import Context
from chatsessions.handlers.emitter import Emitter, Sink, Streaming, Turn, encode_data
from chatsessions.handlers.session import in_language_of
from chatsessions.handlers.user_session import UserSession
from chatsessions.models import ChatSession
from chatsessions.sessions.history import ConversationCache
from chatsessions.sessions.outbound import WRITER_STOPPED, new_writer, sendable
from chatsessions.sessions.pending import SessionLog
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.database import is_transient
from chatsessions.storage.files import SessionFiles
from chatsessions.storage.journal import FIRST_RETRY, Position
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark
from chatsessions.timers import deadline

from .worker import Worker

logger = logging.getLogger("chatsessions.worker")

T = TypeVar("T")


async def patiently(step: Callable[[], Awaitable[T]]) -> T:
    """
    Return the result of ``step``, which is tried again while the database does not answer.

    Raises ``StoreUnavailable`` after ``STORE_TIMEOUT`` seconds.
    """
    try:
        async with deadline(settings.STORE_TIMEOUT):
            while True:
                try:
                    return await step()
                except Error as error:
                    if not is_transient(error):
                        raise
                    logger.warning("The database fails, trying again: %s", error)
                await asyncio.sleep(FIRST_RETRY)
    except TimeoutError as error:
        raise StoreUnavailable(settings.STORE_TIMEOUT) from error


async def acquired(worker: Worker, session_id: UUID, *, to_end: bool = False) -> LiveSession:
    """
    Return a session, as :meth:`Worker.acquire` does, and wait for the database.

    Raises ``StoreUnavailable`` if the database does not answer, and what ``acquire`` raises.
    """
    return await patiently(partial(worker.acquire, session_id, to_end=to_end))


async def change(worker: Worker, session_id: UUID, steps: list[Step], *, writer: str = "") -> None:
    """
    Make changes in a session, all of them or none, and wait until they are stored.

    ``writer`` is the number of the block that makes them. A call without steps says that the block
    is still alive.

    Raises ``SessionNotFound``, ``SessionOver``, ``OwnerUnreachable``, ``StoreUnavailable``, and
    ``TooLarge`` if the values would be too large.
    """
    number = uuid4().hex
    made = Apply(session=session_id, number=number, steps=steps, writer=writer, worker=worker.id)
    await _make(worker, made, number=number)


async def _make(worker: Worker, change: Apply, *, number: str) -> None:
    """Make ``change`` in its session by the command ``number``; raises as :func:`change`."""
    await _reach(worker, change, lambda live: apply(live, change), number=number)


async def call(
    worker: Worker, session_id: UUID, kind: str, data: dict[str, Any], timeout: float | None
) -> Any:
    """
    Ask a session's client, and return its answer.

    Raises ``TimeoutError`` after ``timeout`` seconds, and what :func:`change` raises.
    """
    command = Call(session=session_id, kind=kind, data=data, timeout=timeout)
    return await _reach(
        worker,
        command,
        lambda live: live.sink.call(kind, data, timeout=timeout, turn=None),
        number=uuid4().hex,
    )


async def end(worker: Worker, session_id: UUID, reason: str) -> None:
    """End a session, and wait until that is stored."""
    await _end(worker, End(session=session_id, reason=reason))


async def expire(worker: Worker, session_id: UUID) -> bool:
    """Do as :func:`end` if a session has expired; return False if its client has come back."""
    reason = ChatSession.EndReason.EXPIRED
    ended = await _end(worker, End(session=session_id, reason=reason, if_expired=True))
    return ended is not False  # None: the end was stored, and the answer was lost


async def _end(worker: Worker, command: End) -> Any:
    end_here = partial(do_end, command=command)
    return await _reach(worker, command, end_here, number=uuid4().hex, to_end=True)


async def _reach(
    worker: Worker,
    command: Apply | Call | End,
    here: Callable[[LiveSession], Awaitable[Any]],
    *,
    number: str,
    to_end: bool = False,
) -> Any:
    """
    Send ``command`` to the session's owner, or run ``here`` if no other worker owns the session.

    If the owner changes or dies meanwhile, the command is sent again. Its ``number``, and that of a
    change, make sure that it is done once.
    """
    directory = worker.directory
    deadline = directory.deadline()
    has_asked = False
    while True:
        owned = None if to_end else directory.last_owners.get(command.session)
        if owned is None or command.session in worker.live:
            try:
                live = await acquired(worker, command.session, to_end=to_end)
            except SessionOver:
                if to_end and has_asked:
                    return None  # the end was stored, and the answer was lost
                raise
            except OwnedElsewhere as error:
                owned = error
            else:
                try:
                    return await holding(live, here)
                except OwnershipLost:
                    if live.log.is_stored or worker.loop.time() > deadline:
                        raise
                    continue  # the claim failed: another worker was faster
        has_asked = True
        try:
            answer = await directory.ask(owned.channel, command, number=number)
            if isinstance(answer, Done):
                directory.remember_owner(command.session, owned)
                return answer.value
            number = uuid4().hex  # it has done nothing, and gives this number the same answer again
            await asyncio.sleep(SOON)
        except NoAnswer:
            pass
        except OwnershipLost:  # it had lost the session before, so that nothing was stored
            if isinstance(command, Call):
                raise  # the client may have seen the question
            number = uuid4().hex
        directory.last_owners.pop(command.session, None)
        if worker.loop.time() > deadline:
            raise OwnerUnreachable(command.session, owned.owner, silent=True) from owned


async def holding(live: LiveSession, step: Callable[[LiveSession], Awaitable[Any]]) -> Any:
    """Run ``step`` with an acquired session, then release it."""
    try:
        return await step(live)
    finally:
        await release(live)


async def release(live: LiveSession) -> None:
    """Release an acquired session, and wait until another worker can take it."""
    live.release()
    await live.given_back()


async def open_block(worker: Worker, session_id: UUID, stack: AsyncExitStack) -> Context:
    """
    Return the context of a block outside of a session's turns.

    When ``stack`` is closed, the block's changes are stored. Until then this worker holds the
    session, unless another worker owns it. Raises ``SessionNotFound``, ``SessionOver``,
    ``OwnerUnreachable``, ``StoreUnavailable``.
    """
    try:
        live = await acquired(worker, session_id)
    except OwnedElsewhere:
        block = await RemoteBlock.open(worker, session_id)
        stack.push_async_exit(partial(leave_remote, block))
        return block.context()
    writer = new_writer()
    live.values.blocks += 1
    stack.push_async_exit(partial(_leave_here, live, writer))
    return live.context(None, writer=writer)


async def _leave_here(
    live: LiveSession, writer: Turn, kind: type[BaseException] | None, *_: object
) -> None:
    """Store a block's changes, close the streams it left open, and release the session."""
    live.values.blocks -= 1
    try:
        with _unless_raised(live.id, kind):
            if not live.closed:
                live.writers.close(writer, interrupted=kind is not None)
            live.values.used()
            if not (live.closed and live.ending):
                await live.sink.flush()
    finally:
        await release(live)


async def leave_remote(block: RemoteBlock, kind: type[BaseException] | None, *_: object) -> None:
    """Have the owner store the changes of a block, for a session of another worker."""
    with _unless_raised(block.id, kind):
        await block.close(failed=kind is not None)


@contextmanager
def _unless_raised(session_id: UUID, kind: type[BaseException] | None) -> Iterator[None]:
    """Log an error instead of raising it, if the block has raised ``kind`` itself."""
    try:
        yield
    except ChatSessionsError as error:
        if kind is None:
            raise
        logger.warning(
            "Session %s: not all that a block did before it raised %s could be stored",
            session_id,
            kind.__name__,
            exc_info=error,
        )


@dataclass(slots=True)
class _Batch:
    """Changes that a block sends together, and again until the owner has stored them."""

    #: Its number tells the session whether the change was made already.
    change: Apply
    #: The session's values after the change, as far as the block knows.
    values: dict[str, bytes]
    #: The number of the command that sends the change. Repeats have it until one is answered.
    command: str


class RemoteBlock(Sink):
    """A block for a session that another worker owns, and the sink of the block's emitter."""

    def __init__(self, worker: Worker, loaded: Loaded) -> None:
        row = loaded.row
        self.id = row.pk
        self.loop = worker.loop
        self.chat = find_chat(row.chat)
        self.session = session_of(row, row.user or AnonymousUser())
        self.session.restored = True
        self.session.stored_files = SessionFiles(
            row.pk, worker.threads, may_save=lambda: in_loop(self.flush(), worker.loop)
        )
        self._worker = worker
        #: The values that are stored, as far as the block knows.
        self._before = split_state(loaded.state)
        self.user_session = UserSession(
            self.session,
            dict(self._before),
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=self._check_open,
            after_change=lambda: None,
        )
        position = Position.of(row)
        log = SessionLog(
            row.pk,
            position,
            worker.journal,
            None,  # nothing is stored from here
            first=loaded.first,
            generation=row.generation,
        )
        self._conversation = ConversationCache(
            self.session,
            log,
            worker.threads,
            loop=worker.loop,
            mark=Mark.of(row.chat_context),
            said=loaded.said,
            texts=dict,  # only the owner has the text of open streams
            before_change=_refuse_recall,
            after_change=lambda: None,
        )
        #: The changes for the owner to make, in order, after those of the batch. They hold nothing
        #: that the block's code can still change.
        self._steps: list[Step] = []
        #: The changes that are being sent, or could not be sent.
        self._batch: _Batch | None = None
        #: The number by which the owner knows this block.
        self._writer = uuid4().hex
        self._streams: dict[str, Streaming] = {}
        #: The actions that the block has withdrawn.
        self._withdrawn: set[str] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None
        #: Why tokens could not be sent; the next emit raises it.
        self._error: Exception | None = None
        #: Whether the block has ended, so that nothing more would be sent.
        self._is_closed = False

    @classmethod
    async def open(cls, worker: Worker, session_id: UUID) -> Self:
        """Read the session; return a block. Raises ``SessionNotFound``, ``StoreUnavailable``."""
        loaded = await patiently(partial(worker.registry.stored.read, session_id))
        if loaded is None:
            raise SessionNotFound(session_id)
        return cls(worker, loaded)

    def context(self) -> Context:
        """Return the context for the block's code."""
        return Context(
            session=self.session,
            user_session=self.user_session,
            emitter=Emitter(self, None),
            chat=self.chat,
            turn=None,
            spawn=_refuse_spawn,
            recall=self._conversation,
        )

    # Sink

    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        self._check()
        self._steps.append(Append(name, msgspec.Raw(data)))
        return 0  # the owner numbers it

    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        self._raise()
        if replaces:
            stream.replace_content(text)
        else:
            stream.add_content(text)
        self._steps.append(AddToken(stream.id, text, replaces=replaces))
        if self._pump is None:  # tokens are sent at once: the user watches the text grow
            self._pump = self._worker.start_task(self._send_on())

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self._steps.append(OpenStream(to_builtins(stream.as_event())))
        self._streams[stream.id] = stream
        if self._keeper is None:
            self._keeper = self._worker.start_task(self._keep_streams())

    def close_stream(self, stream_id: str) -> None:
        self._streams.pop(stream_id, None)
        self._steps.append(CloseStream(stream_id))

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        self._steps.append(Offer(message, to_builtins(actions)))

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        # In a command of its own: if it fails at the owner, a repeat would make the changes before
        # it in the same command again.
        await self.flush()
        await change(self._worker, self.id, [Withdraw(action)], writer=self._writer)
        self._withdrawn.add(action)
        for stream in self._streams.values():
            stream.take_off(action)

    def withdrawn(self, message: str) -> set[str]:
        return self._withdrawn

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        self._check()
        self._steps.append(Declare(to_builtins(inputs), to_builtins(values)))

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        await self.flush()
        return await call(self._worker, self.id, kind, data, timeout)

    @property
    def is_crowded(self) -> bool:
        return len(self._steps) > settings.MAX_UNCOMMITTED

    async def room(self) -> None:
        if self.is_crowded:
            await self.flush()

    async def flush(self, turn: Turn | None = None) -> None:
        self._check_open()
        self.user_session.check()
        await self._send_all()

    # To the owner

    async def close(self, *, failed: bool = False) -> None:
        """
        Send the remaining changes, and close the open streams: as interrupted, if the block failed.

        What cannot be stored, a value or a part of a message, is left out, and its error is raised
        after the rest was sent. Raises what :func:`change` raises.
        """
        refused = None
        try:
            refused = self._close_streams(failed=failed)
        finally:
            if self._keeper is not None:
                self._keeper.cancel()
            refused = self.user_session.look() or refused
            try:
                await self._send_all()
            except StorageError as error:
                refused = error
                await self._send_all(values=False)
            finally:
                self._is_closed = True
        if refused is not None:
            raise refused

    def _close_streams(self, *, failed: bool) -> Exception | None:
        """Close the open streams; return the error of one that cannot be sent as it is."""
        error = None
        left, self._streams = self._streams, {}
        for stream in left.values():
            with in_language_of(self.session):
                stream.end_stream(cut=failed)
            raw, actions, refused = sendable(stream, is_open=False)
            error = refused or error
            self.offer(stream.id, actions)
            self._steps.append(CloseStream(stream.id))
            self._steps.append(Append(stream.update_name, msgspec.Raw(raw)))
        if left and failed:
            with in_language_of(self.session):
                detail = str(WRITER_STOPPED)
            told = encode_data("error", {"code": "interrupted", "detail": detail})
            self._steps.append(Append("error", msgspec.Raw(told)))
        return error

    async def _send_all(self, *, values: bool = True) -> None:
        """
        Send all changes so far, and wait until they are stored.

        With ``values`` False the changes of ``user_session`` are left out.
        """
        async with self._sending:
            if self._batch is not None:
                await self._send(self._batch)
            steps: list[Step] = []
            after = self._before
            if values:
                after = self.user_session.encoded()
                put, dropped = self.user_session.changes_since(self._before)
                steps = [*(Put(*item) for item in put.items()), *map(Drop, dropped)]
            steps += self._steps
            self._steps = []
            if steps:
                number = uuid4().hex
                made = Apply(
                    session=self.id,
                    number=number,
                    steps=steps,
                    writer=self._writer,
                    worker=self._worker.id,
                )
                await self._send(_Batch(made, after, command=number))

    async def _send(self, batch: _Batch) -> None:
        """Send a batch. If that fails, it is kept, and sent again before the next one."""
        self._batch = batch
        try:
            await _make(self._worker, batch.change, number=batch.command)
        except OwnerUnreachable:
            raise  # the command may have arrived: a repeat with its number gets its answer
        except Exception as error:
            batch.command = uuid4().hex  # the old number would get this answer again
            if isinstance(error, StorageError):
                # The owner has refused the batch for its values, or has made it and then reported
                # another value. A repeat without the values makes the other changes if they were
                # not made yet.
                steps = batch.change.steps
                batch.change.steps = [one for one in steps if not isinstance(one, Put | Drop)]
                batch.values = self._before
            raise
        self._batch, self._before, self._error = None, batch.values, None

    async def _keep_streams(self) -> None:
        """Tell the owner every half heartbeat that this block is alive, while it streams."""
        while True:
            await asyncio.sleep(settings.WORKER_HEARTBEAT / 2)
            if self._streams:
                with suppress(ChatSessionsError):  # the next change raises it
                    await change(self._worker, self.id, [], writer=self._writer)

    async def _send_on(self) -> None:
        try:
            while self._steps:
                await asyncio.sleep(0)
                await self._send_all(values=False)
        except Exception as error:
            self._error = error
        finally:
            self._pump = None

    def _check(self) -> None:
        """Raise if nothing may be sent now."""
        self._raise()
        self.user_session.check()

    def _check_open(self) -> None:
        if self._is_closed:
            raise OwnershipLost(self.id)

    def _raise(self) -> None:
        self._check_open()
        error, self._error = self._error, None
        if error is not None:
            raise error


def _refuse_spawn(coroutine: Coroutine[Any, Any, Any], name: str | None) -> Any:
    raise RuntimeError(
        "spawn() starts a task that the session's owner keeps, and that is another process: "
        "finish the work inside of the session_context() block."
    )


def _refuse_recall() -> None:
    raise RuntimeError(
        "chat_context is changed by the session's owner, and that is another process: do it in a "
        "handler of the chat."
    )
