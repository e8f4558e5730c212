"""Ends sessions, one after another, and tells what came of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chatsessions.exceptions import (
    ChatError,
    ChatSessionsError,
    OwnerUnreachable,
    SessionNotFound,
    SessionOver,
    StorageError,
)
from chatsessions.models import ChatSession
from chatsessions.workers import outside

logger = logging.getLogger("chatsessions.admin")

#: Reasons that are told in full; hundreds of sessions may have hundreds.
MAX_REASONS = 3


@dataclass(slots=True, kw_only=True)
class Endings:
    """What became of sessions that were to be ended."""

    ended: list[ChatSession] = field(default_factory=list)
    over: list[ChatSession] = field(default_factory=list)
    gone: list[ChatSession] = field(default_factory=list)
    refused: dict[UUID, Exception] = field(default_factory=dict)

    @property
    def held(self) -> dict[UUID, Exception]:
        """Refused sessions that may be live; the others are only damaged, and held by nobody."""
        damaged = (StorageError, ChatError)
        return {pk: error for pk, error in self.refused.items() if not isinstance(error, damaged)}


def end_all(sessions: Iterable[ChatSession]) -> Endings:
    """
    End every session that is not over yet, for the reason ``admin``.

    A session that cannot be ended stops none of the others.
    """
    endings = Endings()
    for session in sessions:
        if session.status == ChatSession.Status.ENDED:
            endings.over.append(session)
            continue
        try:
            outside.end_session(session.pk, reason="admin")
        except SessionOver:
            endings.over.append(session)
        except SessionNotFound:
            endings.gone.append(session)
        except Exception as error:  # of one session; the application's code runs there, too
            if not isinstance(error, ChatSessionsError):
                logger.exception("Session %s could not be ended from the admin", session.pk)
            endings.refused[session.pk] = error
        else:
            endings.ended.append(session)
    return endings


def tell(request: HttpRequest, endings: Endings) -> None:
    """Put what came of it on the next page."""
    if count := len(endings.ended):
        text = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", count)
        messages.success(request, text % {"count": count})
    if count := len(endings.over):
        text = ngettext(
            "%(count)d session was over already.", "%(count)d sessions were over already.", count
        )
        messages.info(request, text % {"count": count})
    if count := len(endings.gone):
        text = ngettext(
            "%(count)d session is no longer there.",
            "%(count)d sessions are no longer there.",
            count,
        )
        messages.warning(request, text % {"count": count})
    if count := len(endings.refused):
        text = ngettext(
            "%(count)d session could not be ended: %(reasons)s",
            "%(count)d sessions could not be ended: %(reasons)s",
            count,
        )
        messages.error(
            request, text % {"count": count, "reasons": reasons(endings.refused.values())}
        )


def not_deleted(endings: Endings) -> str:
    """What is told of sessions that could not be ended and therefore were not deleted."""
    text = ngettext(
        "%(count)d session was not deleted, because it could not be ended: %(reasons)s",
        "%(count)d sessions were not deleted, because they could not be ended: %(reasons)s",
        len(endings.held),
    )
    return text % {"count": len(endings.held), "reasons": reasons(endings.held.values())}


def reasons(errors: Collection[Exception]) -> str:
    """Why sessions were refused: where they live, and the first few other reasons in full."""
    owners = sorted({error.owner for error in errors if isinstance(error, OwnerUnreachable)})
    others = [_reason(error) for error in errors if not isinstance(error, OwnerUnreachable)]
    told = list(dict.fromkeys(others))[:MAX_REASONS]
    if owners:
        text = _(
            "the owner is another process (%(owners)s), which this one cannot reach. Do this "
            "inside the server process, or when the client is away."
        )
        told.insert(0, text % {"owners": _some(owners)})
    return " ".join(told)


def _reason(error: Exception) -> str:
    if isinstance(error, ChatSessionsError):
        return str(error)
    # What it says may be anything; the server's log has it.
    return _("%(error)s, see the server's log.") % {"error": type(error).__name__}


def _some(names: list[str]) -> str:
    more = len(names) - MAX_REASONS
    return ", ".join([*names[:MAX_REASONS], *(["…"] if more > 0 else [])])
