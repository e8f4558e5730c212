"""What deleting sessions takes with it, without looking at every log entry."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import NestedObjects
from django.db import models, router
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from chatsessions.models import ChatSession, SessionEvent

from .labels import user_label

#: Objects that the confirmation names; the summary above them counts all.
MAX_LISTED = 100
#: Sessions per transaction: each may have MAX_LOG_ENTRIES entries, and the journal waits.
BATCH = 20

Deleted = tuple[list[Any], dict[str, int], set[str], list[str]]


def deleted_objects(
    sessions: Collection[ChatSession], request: HttpRequest, site: AdminSite
) -> Deleted:
    """
    What Django's ``get_deleted_objects`` returns, at most ``MAX_LISTED`` objects by name.

    Log entries are counted, not fetched. What other applications have attached to the sessions
    is collected as Django does it, protection and permissions included.
    """
    collector = _Collector(using=router.db_for_write(ChatSession), origin=sessions)
    collector.collect(list(sessions))
    found: dict[Any, Any] = collector.model_objs  # typed as if its keys were names
    counts = {str(model._meta.verbose_name_plural): len(some) for model, some in found.items()}
    if entries := SessionEvent.objects.filter(session__in=[s.pk for s in sessions]).count():
        counts[str(SessionEvent._meta.verbose_name_plural)] = entries
    lacking = {
        str(model._meta.verbose_name)
        for model, some in found.items()
        if not _may_delete(site, request, model, some)
    }
    names = collector.nested(lambda one: _name(one, site))
    return _bounded(names), counts, lacking, [_name(one, site) for one in collector.protected]


def delete_all(sessions: models.QuerySet[ChatSession]) -> None:
    """Delete sessions with their entries, in short transactions."""
    ids = list(sessions.values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        ChatSession.objects.filter(pk__in=ids[start : start + BATCH]).delete()


class _Collector(NestedObjects):
    """Django's collector of what is to be deleted, but for log entries."""

    def related_objects(self, related_model: Any, *args: Any) -> models.QuerySet[Any]:
        found: models.QuerySet[Any] = super().related_objects(related_model, *args)
        return found.none() if related_model is SessionEvent else found


def _may_delete(site: AdminSite, request: HttpRequest, model: Any, found: Collection[Any]) -> bool:
    if not site.is_registered(model):
        return True
    admin = site.get_model_admin(model)
    return all(admin.has_delete_permission(request, one) for one in found)


def _name(found: models.Model, site: AdminSite) -> str:
    title = capfirst(str(found._meta.verbose_name))
    if not isinstance(found, ChatSession):
        return _("%(title)s: %(object)s") % {"title": title, "object": found}
    url = reverse("admin:chatsessions_chatsession_change", args=[found.pk], current_app=site.name)
    facts = f"{found.chat}, {user_label(found)}, {found.get_status_display()}"
    return format_html('{}: <a href="{}">{}</a> ({})', title, url, found, facts)


def _bounded(names: list[Any]) -> list[Any]:
    """The first names; what hangs on an object is a list after it and counts as one."""
    more = len(names) - MAX_LISTED
    if more <= 0:
        return names
    return [*names[:MAX_LISTED], _("… and %(more)d more") % {"more": more}]
