"""
Blocks of code outside of a session's turns, such as ``session_context()``.

If this worker can own the session, the block works with the session itself. A :class:`RemoteBlock`
works with one that another worker owns: it reads the stored values, and gathers changes that the
owner then makes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from uuid import UUID, uuid4

import msgspec
from django.contrib.auth.models import AnonymousUser
from msgspec import to_builtins

from chatsessions.cluster.commands import (
    AddToken,
    Append,
    Apply,
    CloseStream,
    Declare,
    Drop,
    Offer,
    OpenStream,
    Put,
    Step,
    Withdraw,
)
from chatsessions.cluster.connect_request import session_of
from chatsessions.cluster.directory import OwnedElsewhere
from chatsessions.conf import settings
from chatsessions.exceptions import (
    ChatSessionsError,
    OwnershipLost,
    OwnerUnreachable,
    SessionNotFound,
    StorageError,
)
from chatsessions.handlers.bridge import in_loop
from chatsessions.handlers.chat import find_chat
from chatsessions.handlers.context import Context
from chatsessions.handlers.emitter import Emitter, Sink, Streaming, Turn, encode_data
from chatsessions.handlers.session import in_language_of
from chatsessions.handlers.user_session import UserSession
from chatsessions.sessions.history import ConversationCache
from chatsessions.sessions.outbound import WRITER_STOPPED, new_writer, sendable
from chatsessions.sessions.pending import SessionLog
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.files import SessionFiles
from chatsessions.storage.journal import Position
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark

from .calls import acquired, call, change, change_of, patiently, reach, release
from .worker import Worker

logger = logging.getLogger("chatsessions.worker")


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
        stack.push_async_exit(partial(_leave_remote, block))
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


async def _leave_remote(block: RemoteBlock, kind: type[BaseException] | None, *_: object) -> None:
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
                made = change_of(self._worker, self.id, steps, self._writer)
                await self._send(_Batch(made, after, command=uuid4().hex))

    async def _send(self, batch: _Batch) -> None:
        """Send a batch. If that fails, it is kept, and sent again before the next one."""
        self._batch = batch
        try:
            await reach(self._worker, batch.change, number=batch.command)
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
