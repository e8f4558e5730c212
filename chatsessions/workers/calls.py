"""How code that holds no session reaches one: through its owner, or as its owner for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import Error

from chatsessions.cluster.commands import (
    Apply,
    Call,
    Done,
    End,
    Step,
)
from chatsessions.cluster.directory import (
    SOON,
    OwnedElsewhere,
)
from chatsessions.cluster.owner import apply
from chatsessions.cluster.rpc import NoAnswer
from chatsessions.conf import settings
from chatsessions.exceptions import (
    OwnershipLost,
    OwnerUnreachable,
    SessionOver,
    StoreUnavailable,
)
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.database import is_transient
from chatsessions.storage.journal import FIRST_RETRY

from .worker import Worker

logger = logging.getLogger("chatsessions.worker")

T = TypeVar("T")


async def patiently(step: Callable[[], Awaitable[T]]) -> T:
    """
    Return what ``step`` does, which is tried again while the database does not answer.

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
    """As :meth:`Worker.acquire`. Raises ``StoreUnavailable`` if the database does not answer."""
    return await patiently(partial(worker.acquire, session_id, to_end=to_end))


async def change(worker: Worker, session_id: UUID, steps: list[Step], *, writer: str = "") -> None:
    """
    Make changes in a session, all of them or none, and wait until they are stored.

    ``writer`` is the number of the block that makes them. Without steps it says that it goes on.

    Raises ``SessionNotFound``, ``SessionOver``, ``OwnerUnreachable``, ``StoreUnavailable``, and
    ``TooLarge`` for values that have no room.
    """
    number = uuid4().hex
    command = Apply(session=session_id, number=number, steps=steps, writer=writer, worker=worker.id)
    await _reach(worker, command, lambda live: apply(live, command), number=number)


async def call(
    worker: Worker, session_id: UUID, kind: str, data: dict[str, Any], timeout: float | None
) -> Any:
    """Ask a session's client, and wait for its answer. Raises ``TimeoutError`` as well."""
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
        if live.lost is not None:
            raise live.lost

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
    Have ``command`` done by the session's owner, or do it ``here`` if there is no other.

    The owner may change meanwhile, or die: the command is known again by its ``number``.
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
                    return None  # it was done, and its answer is lost
                raise
            except OwnedElsewhere as error:
                owned = error
            else:
                try:
                    return await holding(live, here)
                except OwnershipLost:
                    if live.pending.is_stored or worker.loop.time() > deadline:
                        raise
                    continue  # It never was this worker's: somebody else was faster.
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
    """Do ``step`` with an acquired session, and let it go."""
    try:
        return await step(live)
    finally:
        await let_go(live)


async def let_go(live: LiveSession) -> None:
    """Hold an acquired session no more, and wait until another worker could take it."""
    live.let_go()
    await live.given_back()
