"""The list of feedback: users' ratings of answers, and the share of good ones for each chat."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from chatsessions.models import SessionFeedback

from .labels import NOTHING, admin_url, chat_label, date_over_time, feedback_label, user_label
from .listing import FeedbackChatFilter, FeedbackValueFilter, ReadOnlyAdmin
from .page import BEFORE, PAGE

#: Characters of a comment in the list; the page of one feedback shows the whole comment.
MAX_COMMENT = 300
_COLUMNS = (
    "message",
    "seq",
    "value",
    "comment",
    "given_at",
    "session__chat",
    "session__topic",
    f"session__user__{get_user_model().USERNAME_FIELD}",
)
#: Chats whose shares are shown, those with the most feedback.
MAX_CHATS = 50


class FeedbackList(ChangeList):
    """Django's list, with the share of thumbs up for each chat."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # All filters of the list apply, except the filter by thumb.
        rows: Any = self.get_queryset(
            request, exclude_parameters=[FeedbackValueFilter.parameter_name]
        )
        chats = (
            rows.order_by()
            .values(chat=F("session__chat"))
            .annotate(up=Count("pk", filter=Q(value="up")), given=Count("pk"))
            .order_by("-given", "chat")[:MAX_CHATS]
        )
        #: For each chat how many thumbs up and down it has, the chat with the most first.
        self.shares = [
            {
                "chat": one["chat"],
                "up": one["up"],
                "down": one["given"] - one["up"],
                "percent": round(100 * one["up"] / one["given"]),
            }
            for one in chats
        ]


@admin.register(SessionFeedback)
class SessionFeedbackAdmin(ReadOnlyAdmin):
    """The list and pages of feedback. Sessions write the rows; nothing can be changed here."""

    list_display = ("thumb", "said", "chat_name", "who", "conversation", "given")
    list_display_links = ("thumb",)
    list_filter = (
        FeedbackValueFilter,
        FeedbackChatFilter,
        ("given_at", admin.DateFieldListFilter),
    )
    open_lookups = ("pk", "id", "session", "given_at")
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-given_at", "-pk")
    fields = ("thumb", "comment", "chat_name", "who", "conversation", "given")

    def has_delete_permission(
        self, request: HttpRequest, obj: SessionFeedback | None = None
    ) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SessionFeedback]:
        rows: QuerySet[SessionFeedback] = super().get_queryset(request)
        # Leave out the other columns of the session, which may have a megabyte of values.
        return rows.select_related("session__user").only(*_COLUMNS)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FeedbackList]:
        return FeedbackList

    @admin.display(description=_("feedback"), ordering="value")
    def thumb(self, feedback: SessionFeedback) -> SafeString:
        return feedback_label(feedback)

    @admin.display(description=_("comment"))
    def said(self, feedback: SessionFeedback) -> SafeString | str:
        if not feedback.comment:
            return NOTHING
        short = Truncator(feedback.comment).chars(MAX_COMMENT)
        return format_html('<div dir="auto">{}</div>', short)

    @admin.display(description=_("chat"), ordering="session__chat")
    def chat_name(self, feedback: SessionFeedback) -> SafeString:
        return chat_label(feedback.session)

    @admin.display(description=_("user"))
    def who(self, feedback: SessionFeedback) -> str:
        return user_label(feedback.session)

    @admin.display(description=_("conversation"))
    def conversation(self, feedback: SessionFeedback) -> SafeString:
        """A link to the message on the page of its session."""
        text = feedback.session.topic or str(feedback.session_id)[:8]
        try:
            url = admin_url(self.admin_site.name, "change", feedback.session_id)
        except NoReverseMatch:  # not registered
            return format_html("<bdi>{}</bdi>", text)
        query = f"?{BEFORE}={feedback.seq + PAGE // 2}#entry-{feedback.seq}"
        return format_html('<a href="{}{}"><bdi>{}</bdi></a>', url, query, text)

    @admin.display(description=_("given"), ordering="given_at")
    def given(self, feedback: SessionFeedback) -> SafeString:
        return date_over_time(feedback.given_at)
