"""The list of sessions: its filters, its search, its pages, and the lookups in its query string."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import CharField, Q, QuerySet, TextField, Value
from django.db.models.constants import LOOKUP_SEP
from django.db.models.functions import Cast, Replace
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chatsessions.models import (
    ChatSession,
    ChatSessionQuerySet,
    SessionFeedback,
    Worker,
    WorkerQuerySet,
)

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    _Paginator = Paginator[ChatSession]
    _ModelAdmin = admin.ModelAdmin[Any]
    Choices = Iterable[tuple[str, str | _StrPromise]]
else:
    _Paginator = Paginator
    _ModelAdmin = admin.ModelAdmin

#: The most sessions that a search finds: the first in the order of the list. A search reads every
#: session, so the list counts the ids that it has found instead of searching twice.
MAX_FOUND = 1_000

#: Columns that can be large, and that no list needs.
_LARGE = ("chat_context", "asks", "actions", "inputs", "applied", "handled_ahead")
#: A search with more words, or with a longer word, finds nothing, so that no search is slow.
MAX_TERMS = 8
MAX_TERM_LENGTH = 254
#: Shorter parts of an id would match too many sessions.
MIN_ID_DIGITS = 4

_HEX = re.compile(rf"[0-9a-f]{{{MIN_ID_DIGITS},32}}")
#: The most choices of one filter. Clients choose some values, so there may be any number of them.
MAX_CHOICES = 20
#: How many of the latest sessions are read to count the values for choices.
LATEST = 5_000
#: Lookups that compare whole values. Lookups of parts would let viewers guess hidden values bit by
#: bit.
COMPARISONS = frozenset({"exact", "in", "isnull", "gt", "gte", "lt", "lte"})


# Pages


class Pages(_Paginator):
    """
    A paginator that can return the ids of a page alone.

    A database that sorts, or skips to the last page, carries all selected columns along. That takes
    seconds for a hundred thousand whole rows, and little for their ids. With ``searched``,
    ``count`` is the number of ids that the search has found.
    """

    def __init__(
        self,
        sessions: QuerySet[ChatSession],
        per_page: int,
        *args: Any,
        searched: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(sessions, per_page, *args, **kwargs)
        self.searched = searched
        self._ids: QuerySet[ChatSession, UUID] = sessions.values_list("pk", flat=True)

    @cached_property
    def count(self) -> int:
        """The number of sessions; at most ``MAX_FOUND`` in a search."""
        return min(len(self._found), MAX_FOUND) if self.searched else self._ids.count()

    @property
    def more(self) -> bool:
        """Whether a search would find more than ``MAX_FOUND`` sessions."""
        return self.searched and len(self._found) > MAX_FOUND

    def ids(self, first: int, end: int) -> list[UUID]:
        """Return the ids at the positions from ``first`` up to, but not including, ``end``."""
        end = min(end, self.count)
        if self.searched:
            return self._found[first:end]
        if first <= self.count // 2:
            return list(self._ids[first:end])
        # Counted from the other end, because a database reads the rows that it skips.
        return list(self._ids.reverse()[self.count - end : self.count - first])[::-1]

    @cached_property
    def _found(self) -> list[UUID]:
        return list(self._ids[: MAX_FOUND + 1])


class SessionList(ChangeList):
    """Django's list, which fetches the ids of a page first, and then the rows by their ids."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        pages: Pages = self.paginator
        self.show_admin_actions = bool(self.result_count)
        paged = self.multi_page and not (self.show_all and self.can_show_all)
        first = (self.page_num - 1) * self.list_per_page if paged else 0
        ids = pages.ids(first, first + self.list_per_page if paged else self.result_count)
        rows = self.apply_select_related(self.root_queryset).defer(*_LARGE).order_by()
        found = rows.in_bulk(ids)
        # A session may have been deleted meanwhile.
        self.result_list = [found[pk] for pk in ids if pk in found]
        if pages.more:
            text = gettext("More than %(count)d sessions match. These are the first of them.")
            messages.info(request, text % {"count": MAX_FOUND})


# Search


def find_sessions(queryset: ChatSessionQuerySet, text: str) -> ChatSessionQuerySet:
    """
    Return the sessions that match every word of ``text``.

    A word matches a part of the id, of the user's names or of the topic, or the whole id of the
    thread or IP address.
    """
    terms = text.split()
    if len(terms) > MAX_TERMS or any(len(term) > MAX_TERM_LENGTH for term in terms):
        return queryset.none()
    if terms:
        dashless = Replace(Cast("id", CharField()), Value("-"), Value(""))
        queryset = queryset.alias(id_digits=dashless)
    for term in terms:
        matches = _id_matches(term) | _user_matches(term) | _ip_matches(term)
        queryset = queryset.filter(matches | Q(topic__icontains=term))
    return queryset


def _id_matches(term: str) -> Q:
    digits = term.lower().strip("{}").removeprefix("urn:uuid:").replace("-", "")
    if not _HEX.fullmatch(digits):
        return Q(pk__in=())
    if len(digits) < 32:
        return Q(id_digits__contains=digits)
    return Q(pk=UUID(digits)) | Q(thread_id=UUID(digits))


def _ip_matches(term: str) -> Q:
    try:
        return Q(ip=str(ip_address(term)))
    except ValueError:
        return Q(pk__in=())


def _user_matches(term: str) -> Q:
    model = get_user_model()
    names = (model.USERNAME_FIELD, getattr(model, "EMAIL_FIELD", None) or "email")
    matches = Q(pk__in=())
    for field in model._meta.fields:
        if field.name in names and isinstance(field, CharField | TextField):
            matches |= Q(**{f"{field.name}__icontains": term})
    # With a subquery, counting the sessions needs no join.
    return Q(user__in=model._default_manager.filter(matches).values("pk"))


# Filters


class _Filter(admin.SimpleListFilter):
    """A filter by one query parameter. Unless ``lookups`` says otherwise it has fixed choices."""

    offered: ClassVar[Choices] = ()

    def lookups(self, request: HttpRequest, model_admin: _ModelAdmin) -> Choices:
        return self.offered

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        return None if value is None else self.apply(queryset, value)

    def apply(self, rows: Any, value: str) -> Any:
        """Return those of ``rows`` that the chosen ``value`` selects."""
        raise NotImplementedError


class StatusFilter(_Filter):
    title = _("status")
    parameter_name = "status"
    offered = (
        *ChatSession.Status.choices,
        ("silent", _("connected, but worker silent")),
    )

    def apply(self, rows: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        return rows.stale() if value == "silent" else rows.filter(status=value)


class WorkerFilter(_Filter):
    title = _("worker")
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: _ModelAdmin) -> Choices:
        # Only the latest heartbeats, because crashes may have left many rows of workers.
        workers = Worker.objects.order_by("-heartbeat_at")[:MAX_CHOICES]
        named = sorted((str(worker), str(worker.pk)) for worker in workers)
        return [*((pk, name) for name, pk in named), ("none", _("(none)"))]

    def apply(self, rows: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        if value == "none":
            return rows.filter(worker=None)
        try:
            return rows.filter(worker=UUID(value))
        except ValueError:
            return rows.none()


class AliveFilter(_Filter):
    """A filter of workers by whether they are alive."""

    title = _("alive")
    parameter_name = "alive"
    offered = (("yes", _("alive")), ("no", _("silent")))

    def apply(self, rows: WorkerQuerySet, value: str) -> WorkerQuerySet:
        return rows.alive() if value == "yes" else rows.stale()


class LoggedInFilter(_Filter):
    title = _("logged in")
    parameter_name = "logged_in"
    offered = (("yes", _("Yes")), ("no", _("No")))

    def apply(self, rows: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        return rows.filter(user__isnull=value == "no")


class FailuresFilter(_Filter):
    title = _("failed turns")
    parameter_name = "failures"
    offered = (("yes", _("With failures")), ("no", _("Without")))

    def apply(self, rows: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        failed = {"turns_failed__gt": 0}
        return rows.filter(**failed) if value == "yes" else rows.exclude(**failed)


class FeedbackFilter(_Filter):
    title = _("feedback")
    parameter_name = "thumb"
    offered = (("up", _("With thumbs up")), ("down", _("With thumbs down")))

    def apply(self, rows: ChatSessionQuerySet, value: str) -> ChatSessionQuerySet:
        return rows.rated(value)


class FeedbackValueFilter(_Filter):
    """A filter of feedback by the thumb."""

    title = _("feedback")
    parameter_name = "thumb"
    offered = SessionFeedback.Value.choices

    def apply(self, rows: Any, value: str) -> Any:
        return rows.filter(value=value)


class _ValuesFilter(_Filter):
    """
    A filter by the most frequent values of a field in the latest sessions.

    Finding all values of the field would scan the table.
    """

    field: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: _ModelAdmin) -> Choices:
        latest = ChatSession.objects.order_by("-created_at").values_list(self.field, flat=True)
        counted = Counter(latest[:LATEST])
        values = {value for value, _count in counted.most_common(MAX_CHOICES)}
        if (chosen := self.value()) is not None:
            values.add(chosen)
        return [(value, value or _("(none)")) for value in sorted(values)]

    def apply(self, rows: Any, value: str) -> Any:
        return rows.filter(**{self.field: value})


class ChatFilter(_ValuesFilter):
    title = _("chat")
    parameter_name = field = "chat"


class FeedbackChatFilter(ChatFilter):
    """A filter of feedback by the chat of its session."""

    def apply(self, rows: Any, value: str) -> Any:
        return rows.filter(session__chat=value)


class ClientTypeFilter(_ValuesFilter):
    title = _("client type")
    parameter_name = field = "client_type"


# Lookups


class ReadOnlyAdmin(_ModelAdmin):
    """
    Show rows that cannot be edited, in a list that can be filtered only by fields that it shows.

    Django lets everybody who may view a list filter it by any column. With ``?state__regex=…`` they
    could guess, letter by letter, values that the pages mask. This class allows only the fields of
    ``open_lookups`` and ``list_filter``, and the lookups of a ``limit_choices_to``.
    """

    #: Fields that every viewer of the list sees; related objects by their primary keys.
    open_lookups: ClassVar[Collection[str]] = ()
    show_full_result_count = False

    class Media:
        css: ClassVar = {"all": ["chatsessions/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        for limit in self.opts.related_fkey_lookups:  # a limit_choices_to, or what returns one
            limits = limit() if callable(limit) else limit
            if (lookup, value) in url_params_from_lookup_dict(limits).items():
                return True
        names = set(self.open_lookups)
        for one in self.list_filter if request is None else self.get_list_filter(request):
            if isinstance(one, type) and issubclass(one, admin.SimpleListFilter):
                if lookup == one.parameter_name:
                    return True
            else:
                names.add(str(one[0] if isinstance(one, list | tuple) else one))
        return lookup in names or any(
            lookup.startswith(name + LOOKUP_SEP) and lookup in self._comparisons(name)
            for name in names
        )

    def _comparisons(self, name: str) -> set[str]:
        """Return the lookups that compare field ``name``, or the primary key of its object."""
        paths = [name]
        related = None if name == "pk" else get_fields_from_path(self.model, name)[-1].related_model
        if related is not None:
            paths += [name + LOOKUP_SEP + key for key in ("pk", related._meta.pk.name)]
        return {*paths, *(path + LOOKUP_SEP + end for path in paths for end in COMPARISONS)}
