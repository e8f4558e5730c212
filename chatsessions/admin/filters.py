"""The filters beside the list of sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from chatsessions.models import ChatSession, ChatSessionQuerySet, Worker, WorkerQuerySet

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    Choices = Iterable[tuple[str, str | _StrPromise]]

#: A client names its own type, so the values are not ours to bound: the most frequent are shown.
MAX_CHOICES = 20
#: Of so many sessions, the latest.
LATEST = 5_000


class _Filter(admin.SimpleListFilter):
    """One query parameter, and the QuerySet method or lookup it stands for."""

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ChatSession]
    ) -> QuerySet[ChatSession] | None:
        value = self.value()
        if value is None or not isinstance(queryset, ChatSessionQuerySet):
            return None
        return self.apply(queryset, value)

    def apply(self, sessions: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        raise NotImplementedError


class StatusFilter(_Filter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[ChatSession]) -> Choices:
        return [*ChatSession.Status.choices, ("silent", _("connected, but worker silent"))]

    def apply(self, sessions: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        return sessions.stale() if value == "silent" else sessions.filter(status=value)


class WorkerFilter(_Filter):
    title = _("worker")
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[ChatSession]) -> Choices:
        # Those that were heard of last: there may be many that a crash has left.
        workers = Worker.objects.order_by("-heartbeat_at")[:MAX_CHOICES]
        named = sorted((str(worker), str(worker.pk)) for worker in workers)
        return [*((pk, name) for name, pk in named), ("none", _("(none)"))]

    def apply(self, sessions: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        if value == "none":
            return sessions.filter(worker=None)
        try:
            return sessions.filter(worker=UUID(value))
        except ValueError:
            return sessions.none()


class AliveFilter(admin.SimpleListFilter):
    """Of workers: whether they have been heard of."""

    title = _("alive")
    parameter_name = "alive"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Worker]) -> Choices:
        return [("yes", _("alive")), ("no", _("silent"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker] | None:
        if self.value() is None or not isinstance(queryset, WorkerQuerySet):
            return None
        return queryset.alive() if self.value() == "yes" else queryset.stale()


class LoggedInFilter(_Filter):
    title = _("logged in")
    parameter_name = "logged_in"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[ChatSession]) -> Choices:
        return [("yes", _("Yes")), ("no", _("No"))]

    def apply(self, sessions: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        return sessions.filter(user__isnull=value == "no")


class FailuresFilter(_Filter):
    title = _("failed turns")
    parameter_name = "failures"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[ChatSession]) -> Choices:
        return [("yes", _("With failures")), ("no", _("Without"))]

    def apply(self, sessions: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        failed = {"turns_failed__gt": 0}
        return sessions.filter(**failed) if value == "yes" else sessions.exclude(**failed)


class _ValuesFilter(_Filter):
    """The values that are most frequent in a field of late: all there are would take a scan."""

    field: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[ChatSession]) -> Choices:
        latest = ChatSession.objects.order_by("-created_at").values_list(self.field, flat=True)
        counted = Counter(latest[:LATEST])
        values = {value for value, _count in counted.most_common(MAX_CHOICES)}
        if (chosen := self.value()) is not None:
            values.add(chosen)
        return [(value, value or _("(none)")) for value in sorted(values)]

    def apply(self, sessions: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        return sessions.filter(**{self.field: value})


class ChatFilter(_ValuesFilter):
    title = _("chat")
    parameter_name = field = "chat"


class ClientTypeFilter(_ValuesFilter):
    title = _("client type")
    parameter_name = field = "client_type"
