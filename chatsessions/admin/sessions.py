"""The admin of sessions: the list, the page of one session, ending and deleting."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, path
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from chatsessions.http.export import FORMATS, read_conversation, respond
from chatsessions.http.files import respond_with
from chatsessions.http.responses import non_atomic
from chatsessions.models import ChatSession, ChatSessionQuerySet, SessionFile

from . import listing, page
from .actions import Deleted, delete_all, deleted_objects, end_before_deletion, end_sessions
from .labels import (
    admin_url,
    ago,
    chat_label,
    date_over_time,
    number,
    status_label,
    user_label,
    worker_label,
)
from .values import mask

#: Sessions that one action accepts. They are ended one by one, and a form has at most
#: DATA_UPLOAD_MAX_NUMBER_FIELDS (1,000) fields.
MAX_SELECTED = 500

#: Columns of up to a megabyte that lists do not need, and hashes that nothing here needs.
_DEFERRED = (
    "state",
    "chat_settings",
    "streams",
    "token_hash",
    "previous_token_hash",
    "former_token_hash",
)


@admin.register(ChatSession)
class ChatSessionAdmin(listing.ReadOnlyAdmin):
    """View, end and delete sessions. Nothing in them can be edited."""

    list_display = ("label", "who", "chat_name", "started", "seen", "counts")
    list_filter = (
        listing.StatusFilter,
        listing.ChatFilter,
        "end_reason",
        listing.LoggedInFilter,
        listing.FailuresFilter,
        listing.FeedbackFilter,
        listing.ClientTypeFilter,
        listing.WorkerFilter,
        # A date_hierarchy would read the date of every session.
        ("created_at", admin.DateFieldListFilter),
    )
    open_lookups = (
        "pk",
        "id",
        "user",
        "chat",
        "thread_id",
        "ip",
        "profile",
        "last_seen_at",
        "turns_failed",
    )
    list_select_related = ("user", "worker")
    list_per_page = 50
    # Facets would count every session, for each choice of each filter.
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-created_at",)
    # This shows the search box; get_search_results() does the search.
    search_fields = ("id",)
    search_help_text = gettext_lazy(
        "Search by session id, or a part of it, by thread id, user, topic and IP address."
    )
    actions = ("end_selected", "delete_selected")
    # No form fields: the template makes the page of a session from page_context().
    fieldsets = ((None, {"fields": ()}),)

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may end sessions; for ``permissions=["end"]`` of an action."""
        return request.user.has_perm("chatsessions.end_chatsession")

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatSession]:
        rows = cast(ChatSessionQuerySet, super().get_queryset(request))
        return rows.timed().defer(*_DEFERRED)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[listing.SessionList]:
        return listing.SessionList

    def get_paginator(
        self, request: HttpRequest, queryset: Any, per_page: int, *args: Any, **kwargs: Any
    ) -> listing.Pages:
        searched = bool(request.GET.get(SEARCH_VAR, "").strip())
        return listing.Pages(queryset, per_page, *args, searched=searched, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ChatSession], search_term: str
    ) -> tuple[QuerySet[ChatSession], bool]:
        return listing.find_sessions(cast(ChatSessionQuerySet, queryset), search_term), False

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def label(self, session: ChatSession) -> SafeString:
        short = '{}<br><code title="{}">{}</code>'
        return format_html(short, status_label(session), session.pk, str(session.pk)[:8])

    @admin.display(
        description=gettext_lazy("user"), ordering=f"user__{get_user_model().USERNAME_FIELD}"
    )
    def who(self, session: ChatSession) -> str:
        quiet = '<span class="chatsessions-quiet">{}</span>'
        return user_label(session) if session.user else format_html(quiet, user_label(session))

    @admin.display(description=gettext_lazy("chat"), ordering="chat")
    def chat_name(self, session: ChatSession) -> SafeString:
        """The chat, and the beginning of the conversation."""
        if not session.topic:
            return chat_label(session)
        topic = '{}<div class="chatsessions-topic" dir="auto">{}</div>'
        return format_html(topic, chat_label(session), session.topic)

    @admin.display(description=gettext_lazy("started"), ordering="created_at")
    def started(self, session: ChatSession) -> SafeString:
        return date_over_time(session.created_at)

    @admin.display(description=gettext_lazy("last seen"), ordering="last_seen_at")
    def seen(self, session: ChatSession) -> SafeString:
        """The time since the client was last active, and the worker that owns the session."""
        seen = ago(session.last_seen_at)
        if session.worker is None:
            return seen
        query = urlencode({listing.WorkerFilter.parameter_name: str(session.worker_id)})
        return format_html('{}<br><a href="?{}">{}</a>', seen, query, worker_label(session.worker))

    @admin.display(description=gettext_lazy("events in / out"), ordering="events_in")
    def counts(self, session: ChatSession) -> SafeString | str:
        """The numbers of events in both directions, and of failed turns."""
        # Django would take a method named "events" for the relation of that name when ordering.
        counts = f"{number(session.events_in)} / {number(session.events_out)}"
        if not session.turns_failed:
            return counts
        failed = _("%(count)s failed") % {"count": number(session.turns_failed)}
        mark = '{}<br><span class="chatsessions-mark chatsessions-mark-bad">{}</span>'
        return format_html(mark, counts, failed)

    # The page of one session

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        session: ChatSession = kwargs["obj"]
        over = session.status == ChatSession.Status.ENDED
        context |= page.page_context(session, request, self.admin_site.name)
        context |= {
            "title": _("Session"),
            "may_end": not over and self.has_end_permission(request),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLResolver | URLPattern]:  # type: ignore[override]
        end = self.admin_site.admin_view(require_POST(self.end_view))
        file = self.admin_site.admin_view(require_safe(self.file_view))
        export = self.admin_site.admin_view(require_safe(self.export_view))
        urls: list[URLResolver | URLPattern] = [
            path("<path:object_id>/end/", end, name="chatsessions_chatsession_end"),
            path(
                "<path:object_id>/export/<str:kind>/",
                export,
                name="chatsessions_chatsession_export",
            ),
            path(
                "<path:object_id>/files/<uuid:file_id>/", file, name="chatsessions_chatsession_file"
            ),
            *super().get_urls(),
        ]
        for url in urls:
            # Another thread stores the end of a session. SQLite has one writer, so that thread
            # would wait for a transaction of the request.
            if isinstance(url, URLPattern):
                non_atomic(url.callback)
        return urls

    def file_view(self, request: HttpRequest, object_id: str, file_id: UUID) -> HttpResponseBase:
        """Return the content of one file of a session."""
        session = self.get_object(request, unquote(object_id))
        allowed = request.user.has_perm(page.FILE_PERMISSION)
        if not (allowed and self.has_view_permission(request, session)):
            raise PermissionDenied
        file = SessionFile.objects.filter(pk=file_id, session=session).first()
        if session is None or file is None:
            raise Http404
        try:
            return respond_with(request, file.as_chat_file())
        except FileNotFoundError as error:
            raise Http404 from error

    def export_view(self, request: HttpRequest, object_id: str, kind: str) -> HttpResponseBase:
        """Return the conversation of a session as a file, in Markdown or JSON."""
        session = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, session):
            raise PermissionDenied
        conversation = None if session is None else read_conversation(session.pk)
        if conversation is None or kind not in FORMATS:
            raise Http404
        if request.user.has_perm("chatsessions.view_secrets"):
            return respond(request, conversation, kind)
        return respond(request, conversation, kind, shown=mask)

    def end_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End one session from its page."""
        session = self.get_object(request, unquote(object_id))
        if not (self.has_end_permission(request) and self.has_view_permission(request, session)):
            raise PermissionDenied
        if session is None:
            text = _("There is no session %(id)s any more.")
            messages.warning(request, text % {"id": object_id})
            return HttpResponseRedirect(admin_url(self.admin_site.name, "changelist"))
        end_sessions(request, [session])
        return self._to_page(session)

    # Ending and deleting

    @admin.action(
        permissions=["end"], description=gettext_lazy("End selected %(verbose_name_plural)s")
    )
    def end_selected(self, request: HttpRequest, queryset: QuerySet[ChatSession]) -> None:
        sessions = self._selected(request, queryset)
        if sessions:
            end_sessions(request, sessions)

    @admin.action(
        permissions=["delete"], description=gettext_lazy("Delete selected %(verbose_name_plural)s")
    )
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[ChatSession]
    ) -> HttpResponse | None:
        """
        Delete sessions as Django's action does, but end live sessions first.

        A session that cannot be ended is not deleted.
        """
        sessions = self._selected(request, queryset)
        if not sessions:
            return None
        ids = [session.pk for session in sessions]
        if request.POST.get("post") and self._are_deletable(request, sessions):
            held = end_before_deletion(request, sessions)
            ids = [pk for pk in ids if pk not in held]
        # Select by id, because ended sessions may no longer match the filters of the list.
        chosen = self.get_queryset(request).filter(pk__in=ids).select_related("user")
        return delete_selected(self, request, chosen) if ids else None

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # End the session before Django's view opens a transaction: another thread stores the end,
        # and would wait for that transaction.
        if request.method == "POST":
            session = self.get_object(request, unquote(object_id))
            if (
                session is not None
                and self.has_delete_permission(request, session)
                and self._are_deletable(request, [session])
                and end_before_deletion(request, [session])
            ):
                return self._to_page(session)
        return super().delete_view(request, object_id, extra_context)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ChatSession]) -> None:
        delete_all(queryset)

    def get_deleted_objects(self, objs: Collection[ChatSession], request: HttpRequest) -> Deleted:
        return deleted_objects(objs, request, self.admin_site)

    def _selected(self, request: HttpRequest, queryset: QuerySet[ChatSession]) -> list[ChatSession]:
        """Return the selected sessions; if they are too many, show an error and return none."""
        sessions = list(queryset[: MAX_SELECTED + 1])
        if len(sessions) <= MAX_SELECTED:
            return sessions
        text = _("Select at most %(count)d sessions at a time. Nothing was changed.")
        messages.error(request, text % {"count": MAX_SELECTED})
        return []

    def _are_deletable(self, request: HttpRequest, sessions: list[ChatSession]) -> bool:
        """
        Return True if nothing that refers to the sessions prevents their deletion.

        If something does, Django refuses the deletion, and the sessions must not be ended for it.
        """
        _names, _counts, lacking, protected = self.get_deleted_objects(sessions, request)
        return not (lacking or protected)

    def _to_page(self, session: ChatSession) -> HttpResponse:
        return HttpResponseRedirect(admin_url(self.admin_site.name, "change", session.pk))
