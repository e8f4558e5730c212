"""
What comes from elsewhere, as the owner of its session takes it: each thing once.

Frames of clients at other workers, events and answers that nobody has numbered, and changes by code
that holds no session.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

import msgspec
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import Error as DatabaseError

from chatsessions.conf import settings
from chatsessions.exceptions import FrameError, SessionConnected, SessionOver
from chatsessions.handlers.emitter import Streaming, Turn
from chatsessions.protocol import frames
from chatsessions.protocol.frames import message_key
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber
from chatsessions.storage.log import Entry
from chatsessions.storage.store import outcome_of

from .commands import (
    AddToken,
    Append,
    Apply,
    Assign,
    CloseStream,
    Declare,
    Drop,
    Offer,
    OpenStream,
    Posted,
    Put,
    Step,
    Withdraw,
)

T = TypeVar("T")

#: Seconds after which what could not be looked up may be posted again.
RETRY_AFTER = 1.0
#: Changes that a session remembers, to know them again when they come twice.
REMEMBERED = 20


async def take_frame(live: LiveSession, subscriber: Subscriber, raw: msgspec.Raw) -> bool:
    """Give a session a frame of the client of ``subscriber``; return False if it is refused."""
    frame = frames.decode(bytes(raw).decode())
    if isinstance(frame, frames.End):
        live.end("user")
    elif isinstance(frame, frames.Stop):
        live.stop()
    elif isinstance(frame, frames.ClientEvent | frames.Answer):
        try:
            await live.receive(subscriber, frame, frames.decode_data(frame))
        except FrameError as error:
            subscriber.frame(frames.error_of(error))
            return False
    return True


# Events and answers that nobody has numbered


async def post(
    live: LiveSession, name: str, raw: bytes, data: object, *, key: str | None = None
) -> Posted:
    """
    Give the session an event; one with the ``key`` of an earlier one is that one again.

    ``raw`` is the JSON of ``data``. Raises ``FrameError`` for one that cannot be accepted now,
    ``SessionConnected``, ``SessionOver``, ``StoreUnavailable``.
    """
    async with live.posting:
        known = None if key is None else await _find(live, key)
        if known is None:
            n = live.inbound.next_number
            await live.inbound.check_files(frames.ClientEvent(n, name, msgspec.Raw(raw)), data)
            _check(live)
            before = live.log.head
            n = live.inbound.next_number
            live.submit(frames.ClientEvent(n, name, msgspec.Raw(raw)), data)
            live.inbound.has_posted(n)
            return Posted(turn=n, name=name, after=before, head=live.log.stored)
    return await _repeated(live, name, known)


async def answer(live: LiveSession, call: str, raw: bytes, data: object) -> Posted:
    """
    As :func:`post`, for the answer to a question; its turn is the one that asked.

    If none asked that runs (a hook did, or a task that has outlived its turn), it is done with.
    """
    async with live.posting:
        n = live.inbound.next_number
        await live.inbound.check_answer_files(frames.Answer(n, call, msgspec.Raw(raw)), data)
        _check(live)
        before = live.log.head
        asking = _running(live, live.asks.turn_of(call))
        n = live.inbound.next_number
        try:
            live.inbound.answer(frames.Answer(n, call, msgspec.Raw(raw)), data)
        finally:
            if live.position.accepted == n:  # refused or not, it has the number
                live.inbound.has_posted(n)
    if asking is not None:
        return Posted(turn=asking.n or 0, name=asking.name, after=before, head=live.log.stored)
    await live.sink.flush()
    return Posted(turn=n, name="answer", after=before, outcome="done", head=live.log.stored)


async def _repeated(live: LiveSession, name: str, known: Entry) -> Posted:
    """Return what came of an event that was posted before."""
    n, outcome = known.n or 0, None
    if n in live.turns.handled:
        await live.sink.flush()
        outcome = await _looked_up(live.worker.threads.read(partial(outcome_of, live.id, n)))
    return Posted(turn=n, name=name, after=known.seq, outcome=outcome, head=live.log.stored)


async def _find(live: LiveSession, key: str) -> Entry | None:
    """
    Return the message that was posted with the id ``key``, which counts as another would.

    Raises ``FrameError`` ``rate_limited`` before anything is looked for.
    """
    n = live.inbound.next_number
    live.inbound.check_pace(n)
    if live.log.head > live.log.stored:
        await live.sink.flush()
    known = await _looked_up(
        live.worker.threads.read(live.worker.store.find_posted, live.id, message_key(key))
    )
    if known is not None:
        live.inbound.charge(n)
    return known


async def _looked_up(look: Awaitable[T]) -> T:
    try:
        return await look
    except DatabaseError as error:
        detail = "whether it was posted before could not be looked up; try again"
        raise FrameError("storage_unavailable", detail, retry_after=RETRY_AFTER) from error


def _running(live: LiveSession, n: int | None) -> Turn | None:
    """Return turn ``n`` if it runs."""
    return next((turn for turn in live.turns.running if turn.n == n), None)


def _check(live: LiveSession) -> None:
    if live.ending is not None:
        raise SessionOver(live.id, live.ending)
    live.check(None)
    if live.subscribers.connection is not None:
        raise SessionConnected(live.id)


# Changes from outside


async def apply(live: LiveSession, change: Apply) -> None:
    """
    Make ``change`` in a session that is held, and wait until it is stored.

    Raises ``TooLarge`` for values that have no room, ``SessionOver``, ``OwnershipLost``,
    ``StoreUnavailable``.
    """
    writer = live.writers.heard(change.writer, change.worker)
    try:
        await _apply(live, change, writer)
    finally:
        live.writers.settle(change.writer)


async def _apply(live: LiveSession, change: Apply, writer: Turn) -> None:
    if not change.steps:
        return
    if change.number not in live.applied:
        live.check(None)
        live.values.raise_error()
        live.user_session.put_encoded(
            {step.key: step.value for step in change.steps if isinstance(step, Put)},
            drops=[step.key for step in change.steps if isinstance(step, Drop)],
        )
        for step in change.steps:
            await _do(live, step, writer)
        live.applied = [*live.applied, change.number][-REMEMBERED:]
        live.pending.set(applied=live.applied)
    await live.sink.flush()


async def _do(live: LiveSession, step: Step, writer: Turn) -> None:
    sink = live.sink
    match step:
        case Append():
            sink.append(step.name, bytes(step.data), None)
        case Offer():
            sink.offer(step.message, step.actions)
        case Withdraw():
            await sink.withdraw(step.action, None)
        case Declare():
            sink.declare_settings(step.inputs, step.values, None)
        case OpenStream():
            sink.open_stream(ForeignStream(step.event), writer)
        case AddToken():
            stream = sink.streams.find(step.message)
            if stream is not None:
                sink.write(stream, step.text, None, replaces=step.replaces)
        case Assign():
            live.assign_user(await live.worker.threads.read(partial(find_user, step.user)))
        case CloseStream():
            sink.close_stream(step.message)


def find_user(pk: str) -> AbstractBaseUser:
    """Read a user. Raises what the model raises for one that is not there."""
    users = get_user_model()._default_manager.using(settings.DATABASE)
    user: AbstractBaseUser = users.get(pk=pk)
    return user


class ForeignStream(Streaming):
    """A message that another process streams, as its session's owner knows it."""

    def __init__(self, event: dict[str, Any]) -> None:
        super().__init__(event["id"], event["content"])
        self._event = event
        self._streaming = True

    def as_event(self) -> dict[str, Any]:
        return self._event | {"content": self.content, "streaming": self._streaming}
