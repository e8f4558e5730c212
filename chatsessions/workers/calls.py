"""
How code outside of a session works with it: through its owner, or as its owner for a moment.

A call is one command. A :class:`RemoteBlock` is a ``session_context()`` block for a session that
another worker owns: it reads the stored values, and gathers its changes for the owner to make.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import msgspec
from django.contrib.auth.models import AnonymousUser
from django.db import Error

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
from chatsessions.cluster.owner import apply
from chatsessions.cluster.rpc import NoAnswer
from chatsessions.conf import settings
from chatsessions.exceptions import (
    ChatSessionsError,
    OwnershipLost,
    OwnerUnreachable,
    SessionNotFound,
    SessionOver,
    StoreUnavailable,
)
from chatsessions.handlers.bridge import in_loop
from chatsessions.handlers.chat import find_chat
from chatsessions.handlers.context import Context
from chatsessions.handlers.emitter import Emitter, Sink, Streaming, Turn, encode_data
from chatsessions.handlers.session import in_language_of
from chatsessions.handlers.user_session import UserSession
from chatsessions.sessions.history import ConversationCache
from chatsessions.sessions.outbound import WRITER_STOPPED, new_writer
from chatsessions.sessions.pending import SessionLog
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.database import is_transient
from chatsessions.storage.files import SessionFiles
from chatsessions.storage.journal import FIRST_RETRY, Position
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark

from .worker import Worker

logger = logging.getLogger("chatsessions.worker")

T = TypeVar("T")


async def patiently(step: Callable[[], Awaitable[T]]) -> T:
    """
    Return the result of ``step``, which is tried again while the database does not answer.

    Raises ``StoreUnavailable`` after ``STORE_TIMEOUT`` seconds.
    """
    try:
        async with asyncio.timeout(settings.STORE_TIMEOUT):
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
    ``TooLarge`` for values that have no room.
    """
    number = uuid4().hex
    command = Apply(session=session_id, number=number, steps=steps, writer=writer, worker=worker.id)
    await _reach(worker, command, lambda live: apply(live, command), number=number)


async def call(
    worker: Worker, session_id: UUID, kind: str, data: dict[str, Any], timeout: float | None
) -> Any:
    """Ask a session's client, and return its answer. Raises ``TimeoutError`` as well."""
    command = Call(session=session_id, kind=kind, data=data, timeout=timeout)
    return await _reach(
        worker,
        command,
        lambda live: live.sink.call(kind, data, timeout=timeout, turn=None),
        number=uuid4().hex,
    )


async def end(worker: Worker, session_id: UUID, reason: str) -> None:
    """End a session, and wait until that is stored."""

    async def end(live: LiveSession) -> None:
        live.end(reason)
        await live.until_closed()
        if live.failure is not None:
            raise live.failure

    command = End(session=session_id, reason=reason)
    await _reach(worker, command, end, number=uuid4().hex, to_end=True)


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

    If the owner changes or dies meanwhile, the command is sent again; its ``number`` makes sure
    that it is done once.
    """
    directory = worker.directory
    deadline = directory.deadline()
    has_asked = False
    while True:
        owned = None if to_end else directory.last_owner(command.session)
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
        except NoAnswer:
            directory.forget_owner(command.session)
            if worker.loop.time() > deadline:
                raise OwnerUnreachable(command.session, owned.owner, silent=True) from owned
        else:
            if isinstance(answer, Done):
                directory.remember_owner(owned)
                return answer.value
            directory.forget_owner(command.session)
            await asyncio.sleep(SOON)


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
    Return the context of a block outside of a session's turns; ``stack`` stores its changes.

    Until then this worker holds the session, unless another worker owns it. Raises
    ``SessionNotFound``, ``SessionOver``, ``OwnerUnreachable``, ``StoreUnavailable``.
    """
    try:
        live = await acquired(worker, session_id)
    except OwnedElsewhere:
        block = await RemoteBlock.open(worker, session_id)
        stack.push_async_exit(partial(leave_remote, block))
        return block.context()
    writer = new_writer()
    stack.push_async_exit(partial(_leave_here, live, writer))
    return live.context(None, writer=writer)


async def _leave_here(
    live: LiveSession, writer: Turn, kind: type[BaseException] | None, *_: object
) -> None:
    """Store a block's changes, close the streams it left open, and release the session."""
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
        self._before = split_state(loaded.state)
        self.user_session = UserSession(
            self.session,
            dict(self._before),
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=lambda: None,
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
        #: The changes for the owner to make, in order.
        self._steps: list[Step] = []
        #: The number by which the owner knows this block.
        self._writer = uuid4().hex
        self._streams: dict[str, Streaming] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None
        self._error: Exception | None = None

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
        if replaces:
            stream.replace_content(text)
        else:
            stream.add_content(text)
        self._steps.append(AddToken(stream.id, text, replaces=replaces))
        if self._pump is None:  # tokens are sent at once: the user watches the text grow
            self._pump = self._worker.start_task(self._send_on())

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self._steps.append(OpenStream(stream.as_event()))
        self._streams[stream.id] = stream
        if self._keeper is None:
            self._keeper = self._worker.start_task(self._keep_streams())

    def close_stream(self, stream_id: str) -> None:
        self._streams.pop(stream_id, None)
        self._steps.append(CloseStream(stream_id))

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        self._steps.append(Offer(message, actions))

    async def withdraw(self, action: str, turn: Turn | None) -> None:
        self._steps.append(Withdraw(action))

    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        self._check()
        self._steps.append(Declare(inputs, values))

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        await self.flush()
        return await call(self._worker, self.id, kind, data, timeout)

    @property
    def is_crowded(self) -> bool:
        return self._error is not None or len(self._steps) > settings.MAX_UNCOMMITTED

    async def room(self) -> None:
        self._raise()
        if len(self._steps) > settings.MAX_UNCOMMITTED:
            await self.flush()

    async def flush(self, turn: Turn | None = None) -> None:
        self._check()
        await self._send_all()

    # To the owner

    async def close(self, *, failed: bool = False) -> None:
        """
        Send the remaining changes, and close the open streams: as interrupted, if the block failed.

        A value that cannot be stored is left out, and its error is raised after the rest was sent.
        Raises what :func:`change` raises.
        """
        left, self._streams = self._streams, {}
        for stream in left.values():
            with in_language_of(self.session):
                stream.end_stream(cut=failed)
            self._steps.append(CloseStream(stream.id))
            update = encode_data(stream.update_name, stream.as_event())
            self._steps.append(Append(stream.update_name, msgspec.Raw(update)))
        if left and failed:
            with in_language_of(self.session):
                detail = str(WRITER_STOPPED)
            error = encode_data("error", {"code": "interrupted", "detail": detail})
            self._steps.append(Append("error", msgspec.Raw(error)))
        if self._keeper is not None:
            self._keeper.cancel()
        refused = self.user_session.look()
        await self._send_all()
        if refused is not None:
            raise refused

    def _take_values(self) -> list[Step]:
        """Return the changes in ``user_session`` since the last call."""
        put, dropped = self.user_session.changes_since(self._before)
        self._before = self.user_session.encoded()
        return [*(Put(*item) for item in put.items()), *map(Drop, dropped)]

    async def _send_all(self) -> None:
        async with self._sending:
            self._raise()
            steps, self._steps = [*self._take_values(), *self._steps], []
            if steps:
                await self._send(steps)

    async def _send(self, steps: list[Step]) -> None:
        await change(self._worker, self.id, steps, writer=self._writer)

    async def _keep_streams(self) -> None:
        """Tell the owner every half heartbeat that this block is alive, while it streams."""
        while True:
            await asyncio.sleep(settings.WORKER_HEARTBEAT / 2)
            if self._streams:
                with suppress(ChatSessionsError):  # the next change raises it
                    await self._send([])

    async def _send_on(self) -> None:
        try:
            while self._steps:
                await asyncio.sleep(0)
                async with self._sending:
                    steps, self._steps = self._steps, []
                    if steps:
                        await self._send(steps)
        except Exception as error:
            self._error = error  # the next emit or flush raises it
        finally:
            self._pump = None

    def _check(self) -> None:
        """Raise if nothing may be sent now."""
        self._raise()
        self.user_session.check()

    def _raise(self) -> None:
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
