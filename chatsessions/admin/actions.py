"""End and delete sessions, and report the outcome to the administrator."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import NestedObjects
from django.db import models, router
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import capfirst
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
from chatsessions.models import ChatSession, SessionEvent, SessionFeedback
from chatsessions.workers import outside

from .labels import admin_url, user_label

logger = logging.getLogger("chatsessions.admin")

#: The most objects that the confirmation of a deletion names; its summary counts all.
MAX_LISTED = 100
#: Sessions deleted in one transaction. The journal waits for it, and each session may have a long
#: log.
BATCH = 20
#: The most reasons that are shown in full; hundreds of sessions may have hundreds.
MAX_REASONS = 3


@dataclass(slots=True, kw_only=True)
class Endings:
    """
    The sessions of a request to end them, grouped by outcome.

    Those in ``over`` had ended before, those in ``gone`` no longer exist, and those in ``refused``
    could not be ended, because of the error.
    """

    ended: list[ChatSession] = field(default_factory=list)
    over: list[ChatSession] = field(default_factory=list)
    gone: list[ChatSession] = field(default_factory=list)
    refused: dict[UUID, Exception] = field(default_factory=dict)

    @property
    def held(self) -> dict[UUID, Exception]:
        """The refused sessions that a worker may still own; the others are only damaged."""
        damaged = (StorageError, ChatError)
        return {pk: error for pk, error in self.refused.items() if not isinstance(error, damaged)}


def end_all(sessions: Iterable[ChatSession]) -> Endings:
    """
    End every session that has not ended, with the reason ``admin``.

    If one session cannot be ended, the others are still ended.
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
        except Exception as error:  # the application's handlers may raise anything
            if not isinstance(error, ChatSessionsError):
                logger.exception("Session %s could not be ended from the admin", session.pk)
            endings.refused[session.pk] = error
        else:
            endings.ended.append(session)
    return endings


def show_outcome(request: HttpRequest, endings: Endings) -> None:
    """Show the outcome on the next page."""
    if count := len(endings.ended):
        text = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", count)
        messages.success(request, text % {"count": count})
    if count := len(endings.over):
        text = ngettext(
            "%(count)d session had already ended.", "%(count)d sessions had already ended.", count
        )
        messages.info(request, text % {"count": count})
    if count := len(endings.gone):
        text = ngettext(
            "%(count)d session no longer exists.", "%(count)d sessions no longer exist.", count
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
    """Return the message about sessions that were not deleted, because they could not be ended."""
    text = ngettext(
        "%(count)d session was not deleted, because it could not be ended: %(reasons)s",
        "%(count)d sessions were not deleted, because they could not be ended: %(reasons)s",
        len(endings.held),
    )
    return text % {"count": len(endings.held), "reasons": reasons(endings.held.values())}


def reasons(errors: Collection[Exception]) -> str:
    """Return why sessions were refused: unreachable owners, and ``MAX_REASONS`` other reasons."""
    owners = sorted({error.owner for error in errors if isinstance(error, OwnerUnreachable)})
    others = [_reason(error) for error in errors if not isinstance(error, OwnerUnreachable)]
    shown = list(dict.fromkeys(others))[:MAX_REASONS]
    if owners:
        text = _(
            "the owner is another process (%(owners)s), which this one cannot reach. Do this "
            "inside the server process, or when the client is away."
        )
        shown.insert(0, text % {"owners": _first(owners)})
    return " ".join(shown)


def _reason(error: Exception) -> str:
    if isinstance(error, ChatSessionsError):
        return str(error)
    # The text of any other exception may contain secrets. The server's log has it.
    return _("%(error)s, see the server's log.") % {"error": type(error).__name__}


def _first(names: list[str]) -> str:
    more = len(names) - MAX_REASONS
    return ", ".join([*names[:MAX_REASONS], *(["…"] if more > 0 else [])])


# Deleting

#: Models whose rows are deleted with a session, and are counted instead of listed by name.
COUNTED: tuple[type[models.Model], ...] = (SessionEvent, SessionFeedback)

Deleted = tuple[list[Any], dict[str, int], set[str], list[str]]


def deleted_objects(
    sessions: Collection[ChatSession], request: HttpRequest, site: AdminSite
) -> Deleted:
    """
    Return what Django's ``get_deleted_objects`` returns, with at most ``MAX_LISTED`` names.

    Log entries and feedback are counted, not fetched. Objects of other applications that refer to
    the sessions are collected as Django does it, with their protection and permissions.
    """
    collector = _Collector(using=router.db_for_write(ChatSession), origin=sessions)
    collector.collect(list(sessions))
    found: dict[Any, Any] = collector.model_objs  # typed as if its keys were names
    counts = {str(model._meta.verbose_name_plural): len(some) for model, some in found.items()}
    for model in COUNTED:
        rows: models.QuerySet[Any] = model._default_manager.filter(
            session__in=[session.pk for session in sessions]
        )
        if count := rows.count():
            counts[str(model._meta.verbose_name_plural)] = count
    lacking = {
        str(model._meta.verbose_name)
        for model, some in found.items()
        if not _may_delete(site, request, model, some)
    }
    names = collector.nested(lambda one: _name(one, site))
    return _bounded(names), counts, lacking, [_name(one, site) for one in collector.protected]


def delete_all(sessions: models.QuerySet[ChatSession]) -> None:
    """Delete sessions with their log entries, in short transactions."""
    ids = list(sessions.values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        ChatSession.objects.filter(pk__in=ids[start : start + BATCH]).delete()


class _Collector(NestedObjects):
    """Django's collector of the objects to delete, without those that are only counted."""

    def related_objects(self, related_model: Any, *args: Any) -> models.QuerySet[Any]:
        found: models.QuerySet[Any] = super().related_objects(related_model, *args)
        return found.none() if related_model in COUNTED else found


def _may_delete(site: AdminSite, request: HttpRequest, model: Any, found: Collection[Any]) -> bool:
    if not site.is_registered(model):
        return True
    admin = site.get_model_admin(model)
    return all(admin.has_delete_permission(request, one) for one in found)


def _name(found: models.Model, site: AdminSite) -> str:
    title = capfirst(str(found._meta.verbose_name))
    if not isinstance(found, ChatSession):
        return _("%(title)s: %(object)s") % {"title": title, "object": found}
    url = admin_url(site.name, "change", found.pk)
    facts = f"{found.chat}, {user_label(found)}, {found.get_status_display()}"
    return format_html('{}: <a href="{}">{}</a> ({})', title, url, found, facts)


def _bounded(names: list[Any]) -> list[Any]:
    """
    Return the first ``MAX_LISTED`` names, and how many more there are.

    The nested list of an object's dependants counts as one name.
    """
    more = len(names) - MAX_LISTED
    if more <= 0:
        return names
    return [*names[:MAX_LISTED], _("… and %(more)d more") % {"more": more}]
