"""What the template of one session's page is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.translation import gettext as _

from chatsessions.conf import settings
from chatsessions.models import ChatSession

from .facts import fact_groups
from .files import file_list, name_files
from .labels import status_label, user_label
from .log import FIRST, LogPage, parse_before, read_page
from .transcript import transcript
from .values import MAX_SHOWN, Shown, show_json, stored_values

BEFORE = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Stored values: what to show, or why there is nothing."""

    shown: Shown | None
    note: str = ""


def page_context(session: ChatSession, request: HttpRequest, site: str) -> dict[str, Any]:
    """
    Everything that the page says of ``session``, for ``request.user``.

    Secrets are masked unless the user has the permission ``chatsessions.view_secrets``.
    """
    reveal = request.user.has_perm("chatsessions.view_secrets")
    page = read_page(session, parse_before(request.GET.get(BEFORE)))
    lines = transcript(page.entries, client=user_label(session), reveal=reveal)
    name_files([file for line in lines for file in line.files], session, request, site)
    return {
        "session": session,
        "status_label": status_label(session),
        "lines": lines,
        "log": page,
        "log_links": _log_links(page, request),
        "log_note": _log_note(session, page),
        "values": _values(session, reveal=reveal),
        "chat_settings": _chat_settings(session, reveal=reveal),
        "files": file_list(session, request, site),
        "reveal": reveal,
        "groups": fact_groups(session, request, site),
    }


def _log_links(page: LogPage, request: HttpRequest) -> dict[str, str]:
    """The pages on both sides, with whatever else is in the query string."""

    def link(before: int | None) -> str:
        query = request.GET.copy()
        query.pop(BEFORE, None)
        if before is not None:
            query[BEFORE] = str(before)
        return f"?{query.urlencode()}#transcript"

    links = {}
    if page.earlier is not None:
        links["first"] = link(FIRST)
        links["earlier"] = link(page.earlier)
    if not page.last:
        links["later"] = link(page.later)
        links["latest"] = link(None)
    return links


def _log_note(session: ChatSession, page: LogPage) -> str:
    if page.entries:
        if page.dropped:
            text = _("Entries 1 to %(last)d are no longer kept.")
            return text % {"last": page.dropped}
        return ""
    return _("There are no entries here.") if session.head else _("Nothing has been said yet.")


def _values(session: ChatSession, *, reveal: bool) -> Panel:
    text = stored_values(session)
    if text is not None:
        return Panel(shown=show_json(text, reveal=reveal))
    if settings.USER_SESSION_STORE == "cache":
        text = _("The values live in the cache (USER_SESSION_STORE is “cache”), not in the row.")
        return Panel(shown=None, note=text)
    return Panel(shown=None, note=_("The application has stored nothing."))


def _chat_settings(session: ChatSession, *, reveal: bool) -> Shown | None:
    # As text, and not more than is shown: the field would decode whatever a client has sent.
    row = ChatSession.objects.filter(pk=session.pk)
    text = row.values_list(Substr("chat_settings", 1, MAX_SHOWN), flat=True).first()
    return None if text in (None, "", "{}", "null") else show_json(text, reveal=reveal)
