"""The list and pages of workers: whether they are alive, and their sessions."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from chatsessions.models import ChatSession, Worker, WorkerQuerySet

from .labels import (
    NOTHING,
    admin_url,
    ago,
    alive_label,
    clock_text,
    date_over_time,
    status_label,
    user_label,
    worker_label,
)
from .listing import AliveFilter, ReadOnlyAdmin, WorkerFilter

VIEW_SESSIONS = "chatsessions.view_chatsession"
#: The most sessions on the page of a worker, which links to the list of all its sessions.
MAX_SESSIONS = 50
_SHOWN = (
    "status",
    "chat",
    "last_seen_at",
    "worker__heartbeat_at",
    f"user__{get_user_model().USERNAME_FIELD}",
)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The list and pages of workers. They write their own rows; nothing can be changed here."""

    list_display = (
        "name",
        "alive",
        "heartbeat",
        "session_count",
        "connected_count",
        "running_count",
        "started",
    )
    list_filter = (AliveFilter,)
    open_lookups = ("pk", "id", "hostname", "pid", "heartbeat_at", "started_at")
    ordering = ("-heartbeat_at",)
    search_fields = ("hostname",)

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        rows = cast(WorkerQuerySet, super().get_queryset(request))
        connected = Q(sessions__status=ChatSession.Status.CONNECTED)
        return rows.timed().annotate(
            held=Count("sessions"),
            connected=Count("sessions", filter=connected),
            running=Count("sessions", filter=Q(sessions__running__isnull=False)),
        )

    def get_fields(self, request: HttpRequest, obj: Worker | None = None) -> Any:
        fields = ["hostname", "pid", "channel", *self.list_display[1:]]
        return [*fields, "sessions"] if request.user.has_perm(VIEW_SESSIONS) else fields

    @admin.display(description=_("worker"), ordering="hostname")
    def name(self, worker: Worker) -> SafeString:
        return worker_label(worker)

    @admin.display(description=_("alive"), ordering="heartbeat_at")
    def alive(self, worker: Worker) -> SafeString:
        return alive_label(worker)

    @admin.display(description=_("heartbeat"), ordering="heartbeat_at")
    def heartbeat(self, worker: Worker) -> SafeString:
        """The time since the last heartbeat, and how far the worker's clock is wrong."""
        heard = ago(worker.heartbeat_at, worker.read_at)
        clock = clock_text(worker)
        return format_html("{}<br>{}", heard, clock) if clock else heard

    @admin.display(description=_("started"), ordering="started_at")
    def started(self, worker: Worker) -> SafeString:
        return date_over_time(worker.started_at)

    # Any: the counts are annotated above.

    @admin.display(description=_("sessions"), ordering="held")
    def session_count(self, worker: Any) -> SafeString:
        return self._to_sessions(worker, worker.held)

    @admin.display(description=_("connected"), ordering="connected")
    def connected_count(self, worker: Any) -> SafeString:
        return self._to_sessions(worker, worker.connected, status="connected")

    @admin.display(description=_("running"), ordering="running")
    def running_count(self, worker: Any) -> Any:
        return worker.running

    @admin.display(description=_("latest sessions"))
    def sessions(self, worker: Worker) -> SafeString | str:
        """The sessions that were active last."""
        rows = ChatSession.objects.timed().filter(worker=worker).select_related("user", "worker")
        shown = rows.only(*_SHOWN).order_by("-last_seen_at")[:MAX_SESSIONS]
        lines = [
            (status_label(one), self._page(one), one.chat, user_label(one), ago(one.last_seen_at))
            for one in shown
        ]
        if not lines:
            return NOTHING
        listed = format_html_join("", "<li>{} {} <span>{}</span> <bdi>{}</bdi> {}</li>", lines)
        return format_html('<ul class="chatsessions-list">{}</ul>', listed)

    def _page(self, session: ChatSession) -> SafeString:
        url = admin_url(self.admin_site.name, "change", session.pk)
        return format_html('<a href="{}"><code>{}</code></a>', url, str(session.pk)[:8])

    def _to_sessions(self, worker: Worker, count: int, **lookups: str) -> SafeString:
        url = admin_url(self.admin_site.name, "changelist")
        query = urlencode({WorkerFilter.parameter_name: str(worker.pk)} | lookups)
        return format_html('<a href="{}?{}">{}</a>', url, query, count)
