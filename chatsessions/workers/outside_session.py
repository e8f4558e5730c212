"""
A session that another worker owns, as a ``session_context()`` block here sees it.

Its values are those that are stored; what the block sets and sends is gathered, and made by the
owner.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import msgspec
from django.contrib.auth.models import AnonymousUser

from chatsessions.cluster.commands import (
    AddToken,
    Append,
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
from chatsessions.conf import settings
from chatsessions.exceptions import (
    ChatSessionsError,
    SessionNotFound,
)
from chatsessions.handlers.chat import find_chat
from chatsessions.handlers.context import Context
from chatsessions.handlers.emitter import (
    Emitter,
    Sink,
    Streaming,
    Turn,
    encode_data,
)
from chatsessions.handlers.user_session import UserSession
from chatsessions.sessions.files import SessionFiles
from chatsessions.sessions.history import ConversationCache
from chatsessions.sessions.outbound import DETAIL
from chatsessions.sessions.pending import PendingChange, SessionLog
from chatsessions.storage.journal import Position
from chatsessions.storage.serializer import split_state
from chatsessions.storage.store import Loaded
from chatsessions.storage.thread_rows import Mark

from . import calls as reaching
from .worker import Worker


class AfarSession:
    """What a block has of a session that is owned elsewhere."""

    def __init__(self, worker: Worker, loaded: Loaded) -> None:
        row = loaded.row
        self.host = worker
        self.loop = worker.loop
        self.owner_id = row.user_id
        self.chat = find_chat(row.chat)
        self.session = session_of(row, row.user or AnonymousUser())
        self.session.restored = True
        files = SessionFiles(self.session.id, worker.loop, worker.threads, may_save=self._may_save)
        self.session.list_files, self.session.keep_file = files.all, files.save
        self._before = split_state(loaded.state)
        self.user_session = UserSession(
            self.session,
            dict(self._before),
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=lambda: None,
            after_change=lambda: None,
        )
        self.sink = AfarSink(self)
        position = Position.of(row)
        pending = PendingChange(
            row.pk,
            generation=row.generation,
            position=position,
            claims=None,
            tell_journal=lambda: None,
        )
        self.recall = ConversationCache(
            self.session,
            SessionLog(pending, position, first=loaded.first, journal=worker.journal),
            worker.threads,
            loop=worker.loop,
            mark=Mark.of(row.chat_context),
            said=loaded.said,
            texts=dict,  # of streaming messages the owner knows what the log does not have
            before_change=_refuse_recall,
            after_change=lambda: None,
        )

    @classmethod
    async def open(cls, worker: Worker, session_id: UUID) -> AfarSession:
        """As it is stored. Raises ``SessionNotFound``, ``SessionOver``."""
        loaded = await worker.registry.read(session_id)
        if loaded is None:
            raise SessionNotFound(session_id)
        return cls(worker, loaded)

    @property
    def id(self) -> UUID:
        return self.session.id

    def context(self) -> Context:
        """What the block's code sees."""
        return Context(
            session=self.session,
            user_session=self.user_session,
            emitter=Emitter(self.sink, None),
            chat=self.chat,
            turn=None,
            spawn=_refuse_spawn,
            recall=self.recall,
        )

    async def close(self, *, failed: bool = False) -> None:
        """
        Have made what the block has gathered, also of one that has ``failed``.

        Raises what :func:`reaching.change` raises.
        """
        await self.sink.close(failed=failed)

    def take_values(self) -> list[Step]:
        """What was changed in ``user_session`` since this was asked last."""
        put, dropped = self.user_session.changes_since(self._before)
        self._before = self.user_session.encoded()
        return [*(Put(*item) for item in put.items()), *map(Drop, dropped)]

    async def _may_save(self, turn: Turn | None) -> None:
        """Its row is there, or it could not have been loaded."""
        await self.sink.flush()


class AfarSink(Sink):
    """Gathers what an emitter makes, and sends it to the session's owner, in order."""

    def __init__(self, host: AfarSession) -> None:
        self.loop = host.loop
        self._host = host
        self._steps: list[Step] = []
        #: By which the owner knows this block.
        self._writer = uuid4().hex
        self._streams: dict[str, Streaming] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None
        self._error: Exception | None = None

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
        if self._pump is None:  # at once: somebody watches it being written
            self._pump = self.loop.create_task(self._send_on(), context=contextvars.Context())
            self._host.host.own(self._pump)

    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        self._steps.append(OpenStream(stream.as_event()))
        self._streams[stream.id] = stream
        if self._keeper is None:
            self._keeper = self.loop.create_task(
                self._keep_streams(), context=contextvars.Context()
            )
            self._host.host.own(self._keeper)

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
        return await reaching.call(self._host.host, self._host.id, kind, data, timeout)

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

    async def close(self, *, failed: bool) -> None:
        """
        Send the rest, with the end of what still streams, as a turn's end has it.

        Also if a value cannot be stored: it stays as it was, and is raised behind the others.
        """
        left, self._streams = self._streams, {}
        for stream in left.values():
            stream.end_stream()
            self._steps.append(CloseStream(stream.id))
            update = encode_data("message_update", stream.as_event())
            self._steps.append(Append("message_update", msgspec.Raw(update)))
        if left and failed:
            error = encode_data("error", {"code": "interrupted", "detail": DETAIL})
            self._steps.append(Append("error", msgspec.Raw(error)))
        if self._keeper is not None:
            self._keeper.cancel()
        refused = self._host.user_session.look()
        await self._send_all()
        if refused is not None:
            raise refused

    async def _send_all(self) -> None:
        async with self._sending:
            self._raise()
            steps, self._steps = [*self._host.take_values(), *self._steps], []
            if steps:
                await self._send(steps)

    async def _send(self, steps: list[Step]) -> None:
        await reaching.change(self._host.host, self._host.id, steps, writer=self._writer)

    async def _keep_streams(self) -> None:
        """Say now and then that this block goes on with what it streams."""
        while True:
            await asyncio.sleep(settings.WORKER_HEARTBEAT / 2)
            if self._streams:
                with suppress(ChatSessionsError):  # whoever sends next hears of it
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
            self._error = error  # it surfaces at the next emit or flush
        finally:
            self._pump = None

    def _check(self) -> None:
        """Raise if the client may be told nothing now."""
        self._raise()
        self._host.user_session.check()

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
