"""The workers: which server processes there are, whether they live, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from chatsessions.models import Worker, WorkerQuerySet

from .labels import alive_label

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Worker]
else:
    _ModelAdmin = admin.ModelAdmin


class WorkerAdmin(_ModelAdmin):
    """Server processes. Their rows are theirs: nothing can be added, changed or deleted."""

    list_display = ("hostname", "pid", "started_at", "heartbeat_at", "alive", "session_count")
    list_display_links = ("hostname",)
    fields = ("hostname", "pid", "channel", *list_display[2:])
    ordering = ("-heartbeat_at",)
    search_fields = ("hostname",)
    show_full_result_count = False

    class Media:
        css: ClassVar = {"all": ["chatsessions/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        rows = cast(WorkerQuerySet, super().get_queryset(request))
        return rows.timed().annotate(held=Count("sessions"))

    @admin.display(description=_("alive"), ordering="heartbeat_at")
    def alive(self, worker: Worker) -> SafeString:
        return alive_label(worker)

    @admin.display(description=_("sessions"), ordering="held")
    def session_count(self, worker: Worker) -> SafeString:
        url = reverse("admin:chatsessions_chatsession_changelist", current_app=self.admin_site.name)
        held: int = worker.held  # type: ignore[attr-defined]  # annotated above
        return format_html('<a href="{}?worker__id__exact={}">{}</a>', url, worker.pk, held)
