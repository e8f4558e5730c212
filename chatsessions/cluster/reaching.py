"""How code that holds no session reaches one: through its owner, or as its owner for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from chatsessions.exceptions import OwnershipLost, OwnerUnreachable, SessionOver
from chatsessions.live.session import LiveSession
from chatsessions.worker import Worker

from .commands import Apply, Call, Done, End, Step
from .elsewhere import SOON, OwnedElsewhere
from .mail import NoAnswer
from .steps import apply


async def change(worker: Worker, session_id: UUID, steps: list[Step]) -> None:
    """
    Make changes in a session, all of them or none, and wait until they are stored.

    Raises ``SessionNotFound``, ``SessionOver``, ``OwnerUnreachable``, ``StoreUnavailable``, and
    ``TooLarge`` for values that have no room.
    """
    command = Apply(session=session_id, number=uuid4().hex, steps=steps)
    await _reach(worker, command, lambda live: apply(live, command), number=command.number)


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
    Have ``command`` done by the session's owner, or do it ``here`` where nobody else is.

    The owner may change meanwhile, or die; by its ``number`` the command is known again.
    """
    elsewhere = worker.elsewhere
    deadline = elsewhere.deadline()
    has_asked = False
    while True:
        try:
            live = await worker.acquire(command.session, to_end=to_end)
        except SessionOver:
            if to_end and has_asked:
                return None  # it was done, and its answer is lost
            raise
        except OwnedElsewhere as owned:
            has_asked = True
            try:
                answer = await elsewhere.ask(owned.channel, command, number=number)
            except NoAnswer:
                if worker.loop.time() > deadline:
                    raise OwnerUnreachable(command.session, owned.owner, silent=True) from owned
            else:
                if isinstance(answer, Done):
                    return answer.value
                await asyncio.sleep(SOON)
        else:
            try:
                return await holding(live, here)
            except OwnershipLost:
                if live.draft.is_stored or worker.loop.time() > deadline:
                    raise
                # It never was this worker's: somebody else was faster, and can be asked.


async def holding(live: LiveSession, step: Callable[[LiveSession], Awaitable[Any]]) -> Any:
    """Do ``step`` with an acquired session, and let it go."""
    try:
        return await step(live)
    finally:
        await let_go(live)


async def let_go(live: LiveSession) -> None:
    """Hold an acquired session no more; whoever is next, maybe elsewhere, finds it given back."""
    live.holders -= 1
    live.note()
    await live.given_back()
