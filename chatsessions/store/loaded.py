"""What is read of a stored session, for whoever is to hold it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chatsessions.models import ChatSession
from chatsessions.transcript import Said

from .changes import Claim, Entry


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A session as it was stored."""

    row: ChatSession
    #: What the row was when it was read.
    claim: Claim
    state: bytes
    state_lost: bool
    first: int
    #: Events that were accepted and whose turn has not come to its end.
    pending: list[Entry]
    #: What was said in it and before in its thread, if that was asked for.
    said: list[Said] | None = None


@dataclass(frozen=True, slots=True)
class Peek:
    """Where a session stands, without what is in it."""

    generation: int
    worker_id: UUID | None
    status: str
    end_reason: str
    head: int
