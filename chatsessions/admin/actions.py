"""End and delete sessions, and report the outcome to the administrator."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.models import CHANGE, LogEntry
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


def end_sessions(request: HttpRequest, sessions: Iterable[ChatSession]) -> None:
    """
    End sessions, note it in the admin's log, and show the outcome on the next page.

    If one session cannot be ended, the others are still ended.
    """
    ended: list[ChatSession] = []
    refused: list[Exception] = []
    over = gone = 0
    for session in sessions:
        match _end(session):
            case None:
                ended.append(session)
            case SessionOver():
                over += 1
            case SessionNotFound():
                gone += 1
            case error:
                refused.append(error)
    if count := len(ended):
        LogEntry.objects.log_actions(
            str(request.user.pk), ended, CHANGE, change_message=_("Ended.")
        )
        text = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", count)
        messages.success(request, text % {"count": count})
    if over:
        text = ngettext(
            "%(count)d session had already ended.", "%(count)d sessions had already ended.", over
        )
        messages.info(request, text % {"count": over})
    if gone:
        text = ngettext(
            "%(count)d session no longer exists.", "%(count)d sessions no longer exist.", gone
        )
        messages.warning(request, text % {"count": gone})
    if count := len(refused):
        text = ngettext(
            "%(count)d session could not be ended: %(reasons)s",
            "%(count)d sessions could not be ended: %(reasons)s",
            count,
        )
        messages.error(request, text % {"count": count, "reasons": _reasons(refused)})


def end_before_deletion(request: HttpRequest, sessions: Iterable[ChatSession]) -> Collection[UUID]:
    """
    End sessions before their deletion, and return the ids of those that must not be deleted.

    A worker may still own them. The next page tells about them.
    """
    held: dict[UUID, Exception] = {}
    for session in sessions:
        match _end(session):
            case None | SessionOver() | SessionNotFound():
                pass
            case StorageError() | ChatError():
                pass  # it is damaged, and can be deleted all the same
            case error:
                held[session.pk] = error
    if held:
        text = ngettext(
            "%(count)d session was not deleted, because it could not be ended: %(reasons)s",
            "%(count)d sessions were not deleted, because they could not be ended: %(reasons)s",
            len(held),
        )
        values = {"count": len(held), "reasons": _reasons(held.values())}
        messages.error(request, text % values)
    return held.keys()


def _end(session: ChatSession) -> Exception | None:
    """End a session with the reason ``admin``; return why it was not ended, None if it was."""
    if session.status == ChatSession.Status.ENDED:
        return SessionOver(session.pk, session.end_reason)
    try:
        outside.end_session(session.pk, reason="admin")
    except Exception as error:  # the application's handlers may raise anything
        if not isinstance(error, ChatSessionsError):
            logger.exception("Session %s could not be ended from the admin", session.pk)
        return error
    return None


def _reasons(errors: Collection[Exception]) -> str:
    """Return why sessions were refused: unreachable owners, and ``MAX_REASONS`` other reasons."""
    owners = sorted({error.owner for error in errors if isinstance(error, OwnerUnreachable)})
    others = [_reason(error) for error in errors if not isinstance(error, OwnerUnreachable)]
    shown = list(dict.fromkeys(others))[:MAX_REASONS]
    if owners:
        if len(owners) > MAX_REASONS:
            owners[MAX_REASONS:] = ["…"]
        text = _(
            "the owner is another process (%(owners)s), which this one cannot reach. Do this "
            "inside the server process, or when the client is away."
        )
        shown.insert(0, text % {"owners": ", ".join(owners)})
    return " ".join(shown)


def _reason(error: Exception) -> str:
    if isinstance(error, ChatSessionsError):
        return str(error)
    # The text of any other exception may contain secrets. The server's log has it.
    return _("%(error)s, see the server's log.") % {"error": type(error).__name__}


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
        if site.is_registered(model)
        and not all(site.get_model_admin(model).has_delete_permission(request, one) for one in some)
    }
    # The nested list of an object's dependants counts as one name.
    names = collector.nested(lambda one: _name(one, site))
    if (more := len(names) - MAX_LISTED) > 0:
        names[MAX_LISTED:] = [_("… and %(more)d more") % {"more": more}]
    return names, counts, lacking, [_name(one, site) for one in collector.protected]


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


def _name(found: models.Model, site: AdminSite) -> str:
    title = capfirst(str(found._meta.verbose_name))
    if not isinstance(found, ChatSession):
        return _("%(title)s: %(object)s") % {"title": title, "object": found}
    url = admin_url(site.name, "change", found.pk)
    facts = f"{found.chat}, {user_label(found)}, {found.get_status_display()}"
    return format_html('{}: <a href="{}">{}</a> ({})', title, url, found, facts)
