"""
Calls by which code outside of a session works with it.

If another worker owns the session, a call is one command to the owner; else this worker owns the
session during the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import Error

from chatsessions.cluster.commands import Apply, Call, Done, End, Step
from chatsessions.cluster.directory import SOON, OwnedElsewhere
from chatsessions.cluster.owner import carry_out
from chatsessions.cluster.rpc import NoAnswer
from chatsessions.conf import settings
from chatsessions.exceptions import OwnershipLost, OwnerUnreachable, SessionOver, StoreUnavailable
from chatsessions.models import ChatSession
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.database import is_transient
from chatsessions.storage.journal import FIRST_RETRY
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
    await reach(worker, change_of(worker, session_id, steps, writer))


def change_of(worker: Worker, session_id: UUID, steps: list[Step], writer: str) -> Apply:
    """Return the command by which :func:`change` makes ``steps``."""
    number = uuid4().hex
    return Apply(session=session_id, number=number, steps=steps, writer=writer, worker=worker.id)


async def call(
    worker: Worker, session_id: UUID, kind: str, data: dict[str, Any], timeout: float | None
) -> Any:
    """
    Ask a session's client, and return its answer.

    Raises ``TimeoutError`` after ``timeout`` seconds, and what :func:`change` raises.
    """
    return await reach(worker, Call(session=session_id, kind=kind, data=data, timeout=timeout))


async def end(worker: Worker, session_id: UUID, reason: str) -> None:
    """End a session, and wait until that is stored."""
    await reach(worker, End(session=session_id, reason=reason))


async def expire(worker: Worker, session_id: UUID) -> bool:
    """Do as :func:`end` if a session has expired; return False if its client has come back."""
    reason = ChatSession.EndReason.EXPIRED
    ended = await reach(worker, End(session=session_id, reason=reason, if_expired=True))
    return ended is not False  # None: the end was stored, and the answer was lost


async def reach(worker: Worker, command: Apply | Call | End, *, number: str | None = None) -> Any:
    """
    Send ``command`` to the session's owner, or do it here if no other worker owns the session.

    If the owner changes or dies meanwhile, the command is sent again. Its ``number``, and that of a
    change, make sure that it is done once.
    """
    directory = worker.directory
    deadline = directory.deadline()
    number = number or uuid4().hex
    to_end = isinstance(command, End)
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
                    return await holding(live, partial(carry_out, command=command))
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
