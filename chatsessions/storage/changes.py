"""What is to be stored of sessions, many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from django.utils import timezone
from msgspec import Struct, structs

if TYPE_CHECKING:
    from chatsessions.models import ChatSession

# What is made for every message is a Struct: a dataclass takes several times as long. What has only
# values in it is in no cycle, and the garbage collector need not look at it.


class Entry(Struct, gc=False):
    """One entry of a session's log. ``data`` is JSON as it goes over the wire."""

    seq: int
    n: int | None
    turn: int | None
    name: str
    data: bytes
    created_at: datetime
    #: The id that the client gave its message, in hexadecimal. It is stored, and not read again.
    key: str | None = None

    @property
    def closes(self) -> str | None:
        """The id of the message whose stream, if it has one, ends here. Another may begin."""
        if self.name not in ("message_update", "message_remove"):
            return None
        data: Any = msgspec.json.decode(self.data)
        if not isinstance(data, dict) or data.get("n") is not None:
            return None  # with a number it is of the client's message, which is no stream
        found = data.get("id")
        return found if isinstance(found, str) else None


class Position(Struct, gc=False):
    """The columns of a session that move with every event."""

    accepted: int
    handled: int
    running: int | None
    head: int
    events_in: int
    events_out: int
    turns_failed: int
    #: When there was a client last.
    last_seen_at: datetime
    #: What the kept entries of its log take.
    log_bytes: int = 0

    @classmethod
    def of(cls, row: ChatSession) -> Position:
        return cls(
            accepted=row.accepted,
            handled=row.handled,
            running=row.running,
            head=row.head,
            events_in=row.events_in,
            events_out=row.events_out,
            turns_failed=row.turns_failed,
            last_seen_at=row.last_seen_at or timezone.now(),
            log_bytes=row.log_bytes,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no turn runs or waits."""
        return self.running is None and self.handled >= self.accepted

    def copy(self) -> Position:
        """As it is now: the session's own moves on while this one is being stored."""
        return structs.replace(self)


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What a row was when it was read, and still has to be for the session to be claimed.

    Its owner may have counted as dead and have woken up since, and have written once more.
    """

    generation: int
    head: int
    handled: int
    state_revision: int

    @classmethod
    def on(cls, row: ChatSession) -> Claim:
        return cls(row.generation, row.head, row.handled, row.state_revision)


class Change(Struct, kw_only=True):
    """What one session has to store in one commit."""

    session_id: UUID
    #: The same in hexadecimal, as keys of the cache and SQLite have it.
    session_hex: str
    generation: int
    #: Until it is taken the session's own, which moves.
    position: Position
    entries: list[Entry] = []
    #: All values of user_session as one JSON text; None if they did not change.
    state: bytes | None = None
    #: Which writing of them this is; counted through all owners.
    state_revision: int = 0
    #: Other columns, by field name.
    fields: dict[str, Any] = {}
    #: The row as it was read, where this change claims the session.
    claims: Claim | None = None
    #: Whether the row is new; ``fields`` then hold all that it needs.
    insert: bool = False
    #: Outcomes of client events other than done: ``n`` and status.
    outcomes: list[tuple[int, str]] = []
    #: Entries up to this one are no longer kept.
    trim: int | None = None
    #: So many bytes of the oldest entries are to go, of those before entry ``needed``. The store
    #: knows which they are, and sets ``trim``.
    trim_bytes: int = 0
    needed: int | None = None
    #: The bytes of what is trimmed; None until the store has looked.
    trimmed_bytes: int | None = None


@dataclass(slots=True)
class Batch:
    """The changes of many sessions, on their way into the store together."""

    changes: list[Change]
    #: Those whose rows are not stored yet.
    pending: list[Change] = field(init=False)
    #: Sessions whose change cannot be stored, now or later.
    refused: dict[UUID, Exception] = field(default_factory=dict)
    #: Those that were committed, as far as is known: the answer was lost.
    doubtful: list[Change] = field(default_factory=list)
    #: Whether there ever were any: a commit may arrive after all.
    was_in_doubt: bool = False

    def __post_init__(self) -> None:
        self.pending = list(self.changes)

    @property
    def accepted(self) -> list[Change]:
        """Those that are not refused."""
        if not self.refused:
            return self.changes
        return [change for change in self.changes if change.session_id not in self.refused]
