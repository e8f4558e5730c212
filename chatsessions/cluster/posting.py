"""What clients post that number nothing, as their session's owner takes it: each thing once."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

import msgspec
from django.db import Error as DatabaseError

from chatsessions.exceptions import FrameError, SessionConnected, SessionOver
from chatsessions.handlers.emitter import Turn
from chatsessions.protocol import frames
from chatsessions.protocol.frames import message_key
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.log import Entry
from chatsessions.storage.store import outcome_of

from .commands import Posted

T = TypeVar("T")

#: Seconds after which what could not be looked up may be posted again.
RETRY_AFTER = 1.0


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
            n = live.inbox.gate.intake.expected
            await live.check_files(frames.ClientEvent(n, name, msgspec.Raw(raw)), data)
            _check(live)
            before = live.log.head
            n = live.post(name, raw, data)
            return Posted(turn=n, name=name, after=before, head=live.log.stored)
    return await _repeated(live, name, known)


async def answer(live: LiveSession, call: str, raw: bytes, data: object) -> Posted:
    """
    As :func:`post`, for the answer to a question; its turn is the one that asked.

    If none asked that runs (a hook did, or a task that has outlived its turn), it is done with.
    """
    async with live.posting:
        n = live.inbox.gate.intake.expected
        await live.check_answer_files(frames.Answer(n, call, msgspec.Raw(raw)), data)
        _check(live)
        before = live.log.head
        asking = _running(live, live.asks.turn_of(call))
        n = live.post_answer(call, raw, data)
    if asking is not None:
        return Posted(turn=asking.n or 0, name=asking.name, after=before, head=live.log.stored)
    await live.sink.flush()
    return Posted(turn=n, name="answer", after=before, outcome="done", head=live.log.stored)


async def _repeated(live: LiveSession, name: str, known: Entry) -> Posted:
    """An event that was posted before, and what came of it."""
    n, outcome = known.n or 0, None
    if n in live.handled:
        await live.sink.flush()
        outcome = await _looked_up(live.host.read(partial(outcome_of, live.id, n)))
    return Posted(turn=n, name=name, after=known.seq, outcome=outcome, head=live.log.stored)


async def _find(live: LiveSession, key: str) -> Entry | None:
    """
    The message that was posted with the id ``key``. One that is known counts as another would.

    Raises ``FrameError`` ``rate_limited`` before anything is looked for.
    """
    n = live.inbox.gate.intake.expected
    live.inbox.check_pace(n)
    if live.log.head > live.log.stored:
        await live.sink.flush()
    known = await _looked_up(live.host.find_posted(live.id, message_key(key)))
    if known is not None:
        live.inbox.charge(n)
    return known


async def _looked_up(look: Awaitable[T]) -> T:
    try:
        return await look
    except DatabaseError as error:
        detail = "whether it was posted before could not be looked up; try again"
        raise FrameError("storage_unavailable", detail, retry_after=RETRY_AFTER) from error


def _running(live: LiveSession, n: int | None) -> Turn | None:
    """Turn ``n``, if it runs."""
    return next((turn for turn in live.turns.running if turn.n == n), None)


def _check(live: LiveSession) -> None:
    if live.ending is not None:
        raise SessionOver(live.id, live.ending)
    live.check(None)
    if live.listener is not None:
        raise SessionConnected(live.id)
