"""``InterruptedWork``: what the last owner of a stored session left undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from chatsessions.handlers.chat import (
    START,
    InterruptedTurn,
)
from chatsessions.protocol.delivery import Handled
from chatsessions.storage.changes import Entry
from chatsessions.storage.store import Loaded


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that was accepted and whose turn never began."""

    n: int
    name: str
    #: None where the log was in memory, and went with it.
    data: bytes | None


@dataclass(frozen=True, slots=True)
class InterruptedWork:
    """What a crash, or a shutdown that could not wait, has cut short."""

    #: Messages that were being streamed, as the wire knows them.
    streams: list[dict[str, Any]]
    #: Questions that nobody waits for any more, as the wire knows them.
    asks: list[dict[str, Any]]
    #: The turn that ran, and the one beside it.
    cut: list[InterruptedTurn]
    waiting: list[Waiting]

    @classmethod
    def of(cls, loaded: Loaded) -> InterruptedWork:
        row = loaded.row
        entries = {entry.n: entry for entry in loaded.pending}
        running = [n for n in (row.running, row.aside) if n is not None]
        handled = Handled(row.handled, row.handled_ahead)
        left = [
            n
            for n in range(row.handled + 1, row.accepted + 1)
            if n not in running and n not in handled
        ]
        return cls(
            streams=row.streams,
            asks=row.asks,
            cut=[_cut(n, entries.get(n)) for n in running],
            waiting=[_waiting(n, entries.get(n)) for n in left],
        )


def _cut(n: int, entry: Entry | None) -> InterruptedTurn:
    if entry is None:
        return InterruptedTurn(turn=n, name="event" if n else START, data=None)
    return InterruptedTurn(turn=n, name=entry.name, data=msgspec.json.decode(entry.data))


def _waiting(n: int, entry: Entry | None) -> Waiting:
    return Waiting(n, "event", None) if entry is None else Waiting(n, entry.name, entry.data)
