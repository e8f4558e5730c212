"""The page of one session: its transcript, values, files, and facts about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet, Sum
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chatsessions.conf import settings
from chatsessions.models import ChatSession, SessionEvent, SessionFeedback, SessionFile, Worker
from chatsessions.protocol.delivery import Handled
from chatsessions.protocol.frames import parse_seq, parse_uuid

from .labels import (
    NOTHING,
    admin_url,
    ago,
    alive_label,
    chat_label,
    date_over_time,
    duration,
    moment,
    number,
    owner,
    status_label,
    user_label,
)
from .transcript import Attached, LoggedEvent, transcript
from .values import MAX_SHOWN, Shown, show_json, stored_values

#: The parameter of the query string that names the page of the log.
BEFORE = "before"
#: Entries on one page.
PAGE = 500
#: The ``seq`` of a log's first entry.
FIRST = 1
#: Characters of one entry that are read: 500 entries of the largest frames would be 128 MB.
MAX_FETCHED = 64 * 1024

_FIELDS = ("seq", "n", "turn", "name", "status", "created_at")
#: The most files that are listed: the latest.
MAX_FILES = 200
#: The most files of a transcript whose names are read: the latest. SQLite takes 999 parameters.
MAX_FILE_NAMES = 900
#: The permission to download files. Their names are shown to everybody who may view the session.
FILE_PERMISSION = "chatsessions.view_sessionfile"

Facts = list[tuple[str, SafeString | str]]


def page_context(session: ChatSession, request: HttpRequest, site: str) -> dict[str, Any]:
    """
    Return the context of the page's template.

    ``site`` is the name of the admin site. Secrets are masked for users without the permission
    ``chatsessions.view_secrets``.
    """
    reveal = request.user.has_perm("chatsessions.view_secrets")
    links = _Links(request, site)
    page = read_page(session, parse_seq(request.GET.get(BEFORE, "")) or None)
    lines = transcript(
        page.entries,
        session=session.pk,
        client=user_label(session),
        reveal=reveal,
        ratings=_ratings(session, page),
    )
    _name_files([file for line in lines for file in line.files], session, links)
    files, files_note = _files(session, links)
    values = stored_values(session)
    return {
        "session": session,
        "status_label": status_label(session),
        "lines": lines,
        "log": page,
        "log_links": _log_links(page, request),
        "log_note": _log_note(session, page),
        "values": None if values is None else show_json(values, reveal=reveal),
        "values_note": _why_no_values(),
        "chat_settings": _chat_settings(session, reveal=reveal),
        "files": files,
        "files_note": files_note,
        "reveal": reveal,
        "groups": [
            (_("Session"), _session_facts(session, links)),
            (_("Client"), _client_facts(session, links)),
            (_("Times"), _times(session)),
            (_("Activity"), _activity(session)),
            (_("Server"), _server_facts(session, links)),
        ],
    }


def _why_no_values() -> str:
    if settings.USER_SESSION_STORE == "cache":
        return _("The values live in the cache (USER_SESSION_STORE is “cache”), not in the row.")
    return _("The application has stored nothing.")


def _chat_settings(session: ChatSession, *, reveal: bool) -> Shown | None:
    # Read as text, and only the part that is shown: the model's field would decode all of it.
    row = ChatSession.objects.filter(pk=session.pk)
    text = row.values_list(Substr("chat_settings", 1, MAX_SHOWN), flat=True).first()
    return None if text in (None, "", "{}", "null") else show_json(text, reveal=reveal)


# The log


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """
    Entries in the order of ``seq``.

    ``links`` has the parameter ``before`` of the pages around them, None for the page without it.
    ``dropped`` counts the entries at the log's start that are no longer kept.
    """

    entries: list[LoggedEvent]
    links: dict[str, int | None]
    dropped: int

    @property
    def last_seq(self) -> int:
        """The number of the last entry on this page."""
        return self.entries[-1].seq


def read_page(session: ChatSession, before: int | None = None) -> LogPage:
    """
    Return the last entries, or the last ones before a ``seq``, with one bounded query.

    ``before=FIRST`` stands for the first page, as there are no entries before it.
    """
    events = SessionEvent.objects.filter(session=session)
    if before == FIRST:
        entries, more = _fetch(events.order_by("seq"))
        is_first, is_last = True, not more
        end = entries[-1].seq + 1 if entries else FIRST
    else:
        if before is not None:
            events = events.filter(seq__lt=before)
        entries, more = _fetch(events.order_by("-seq"))
        entries.reverse()
        end = before or session.head + 1
        is_first, is_last = not more, end > session.head
    first = entries[0].seq if entries else FIRST
    links: dict[str, int | None] = {}
    if not is_first:
        links |= {"first": FIRST, "earlier": first}
    if not is_last:
        following = end + PAGE
        links |= {"later": following if following <= session.head else None, "latest": None}
    return LogPage(entries=entries, links=links, dropped=first - 1 if is_first else 0)


def _fetch(events: QuerySet[SessionEvent]) -> tuple[list[LoggedEvent], bool]:
    """Return the first ``PAGE`` of ``events``, and whether there are more."""
    # Read the data as text: the model's field would decode the whole of every entry.
    rows = events.values(*_FIELDS, text=Substr("data", 1, MAX_FETCHED))[: PAGE + 1]
    entries = [LoggedEvent(data=row.pop("text").encode(errors="replace"), **row) for row in rows]
    return entries[:PAGE], len(entries) > PAGE


def _ratings(session: ChatSession, page: LogPage) -> dict[str, SessionFeedback]:
    """Return the feedback on messages of a page of the log, by the messages' ids."""
    if not page.entries:
        return {}
    between = (page.entries[0].seq, page.last_seq)
    rows = SessionFeedback.objects.filter(session=session, seq__range=between)
    return {row.message: row for row in rows}


def _log_links(page: LogPage, request: HttpRequest) -> dict[str, str]:
    """Return the links to the pages before and after, with the rest of the query string kept."""
    links = {}
    for name, before in page.links.items():
        query = request.GET.copy()
        query.pop(BEFORE, None)
        if before is not None:
            query[BEFORE] = str(before)
        links[name] = f"?{query.urlencode()}#transcript"
    return links


def _log_note(session: ChatSession, page: LogPage) -> str:
    if page.dropped:
        return _("Entries 1 to %(last)d are no longer kept.") % {"last": page.dropped}
    if page.entries:
        return ""
    return _("There are no entries here.") if session.head else _("Nothing has been said yet.")


# Facts


@dataclass(frozen=True, slots=True)
class _Links:
    """Makes links to pages of the admin site that the user may see."""

    request: HttpRequest
    site: str

    def to(self, model: type[Any], pk: object, text: str) -> SafeString | str:
        """Return ``text``, as a link to the page of an object if the user may view that."""
        meta = model._meta
        permissions = (f"{meta.app_label}.{verb}_{meta.model_name}" for verb in ("view", "change"))
        if not any(map(self.request.user.has_perm, permissions)):
            return text
        try:
            url = admin_url(self.site, "change", pk, model=model)
        except NoReverseMatch:  # not registered
            return text
        return format_html('<a href="{}">{}</a>', url, text)

    def sessions(self, text: str, **lookups: str) -> SafeString:
        """Return ``text`` as a link to the filtered list of sessions."""
        url = admin_url(self.site, "changelist")
        return format_html('<a href="{}?{}">{}</a>', url, urlencode(lookups), text)

    def with_all(self, text: str, **lookups: str) -> SafeString:
        """Return ``text``, with a link to all sessions that match the lookups."""
        return format_html("{} ({})", text, self.sessions(_("all sessions"), **lookups))

    def file(self, row: SessionFile) -> str:
        """Return the URL of a file's content; empty if the user may not fetch it."""
        if not self.request.user.has_perm(FILE_PERMISSION):
            return ""
        return admin_url(self.site, "file", row.session_id, row.pk)


def _session_facts(session: ChatSession, links: _Links) -> Facts:
    facts: Facts = [(_("Status"), status_label(session))]
    if session.end_reason:
        facts.append((_("Ended"), session.get_end_reason_display()))
    return [
        *facts,
        (_("Id"), _code(session.pk)),
        (_("Chat"), links.with_all(chat_label(session), chat=session.chat)),
        (_("Profile"), session.profile or NOTHING),
        (_("Topic"), format_html("<bdi>{}</bdi>", session.topic) if session.topic else NOTHING),
        (_("Thread"), _thread(session, links)),
    ]


def _thread(session: ChatSession, links: _Links) -> SafeString:
    """Return the thread's id, with a link to its other sessions if there are any."""
    thread = _code(session.thread_id)
    others = ChatSession.objects.filter(thread_id=session.thread_id).exclude(pk=session.pk).count()
    if not others:
        return thread
    text = ngettext("%(count)d other session", "%(count)d other sessions", others)
    lookup = {"thread_id__exact": str(session.thread_id)}
    return format_html("{} ({})", thread, links.sessions(text % {"count": others}, **lookup))


def _client_facts(session: ChatSession, links: _Links) -> Facts:
    user: SafeString | str = user_label(session)
    if session.user is not None:
        named = links.to(get_user_model(), session.user.pk, user)
        user = links.with_all(named, user__pk__exact=str(session.user.pk))
    ip = links.with_all(session.ip, ip__exact=session.ip) if session.ip else NOTHING
    return [
        (_("User"), user),
        (_("IP address"), ip),
        (_("Client type"), session.client_type),
        (_("Language"), session.language or NOTHING),
        (_("User agent"), session.user_agent or NOTHING),
    ]


def _times(session: ChatSession) -> Facts:
    until = session.ended_at or session.last_seen_at
    facts = [
        (_("Started"), session.created_at),
        (_("Connected"), session.connected_at),
        (_("Last seen"), session.last_seen_at),
        (_("Disconnected"), session.disconnected_at),
        (_("Ended at"), session.ended_at),
    ]
    return [
        *((name, _with_age(at)) for name, at in facts if at is not None),
        (_("Duration"), duration(until - session.created_at)),
    ]


def _activity(session: ChatSession) -> Facts:
    running = [f"#{n}" for n in (session.running, session.aside) if n is not None]
    handled = Handled(session.handled, session.handled_ahead)
    waiting = session.accepted - handled.up_to - handled.count_ahead
    return [
        (_("Events in / out"), f"{number(session.events_in)} / {number(session.events_out)}"),
        (_("Accepted events"), number(session.accepted)),
        (_("Log entries"), number(session.head)),
        (_("Connections"), number(session.connections)),
        (_("Running turn"), ", ".join(running) or NOTHING),
        (_("Open questions"), number(len(session.asks))),
        (_("Waiting events"), number(max(0, waiting))),
        (_("Failed turns"), number(session.turns_failed)),
        (_("Feedback"), _thumbs(session)),
        (_("User session"), filesizeformat(session.state_bytes)),
    ]


def _thumbs(session: ChatSession) -> str:
    """Return how many thumbs up and down there are."""
    rows = SessionFeedback.objects.filter(session=session)
    counted = Counter(rows.values_list("value", flat=True))
    if not counted:
        return NOTHING
    text = _("%(up)d up, %(down)d down")
    return text % {"up": counted["up"], "down": counted["down"]}


def _server_facts(session: ChatSession, links: _Links) -> Facts:
    generation = (_("Generation"), number(session.generation))
    worker = owner(session)
    if worker is None:
        return [(_("Worker"), _("none")), generation]
    named = links.to(Worker, worker.pk, str(worker))
    its_sessions = links.sessions(_("its sessions"), worker=str(worker.pk))
    heard = _with_age(worker.heartbeat_at, session.read_at)
    return [
        (_("Worker"), format_html("{} ({})", named, its_sessions)),
        (_("Heartbeat"), format_html("{} {}", alive_label(worker), heard)),
        generation,
    ]


def _with_age(at: datetime, now: datetime | None = None) -> SafeString:
    return format_html('{} <span class="chatsessions-quiet">({})</span>', moment(at), ago(at, now))


def _code(value: object) -> SafeString:
    return format_html("<code>{}</code>", value)


# Files


def _files(session: ChatSession, links: _Links) -> tuple[list[dict[str, Any]], str]:
    """Return the latest files of a session, and a note if there are more."""
    rows = SessionFile.objects.filter(session=session)
    latest = list(rows.order_by("-created_at")[: MAX_FILES + 1])
    files = [
        {
            "name": row.name,
            "mime": row.mime,
            "size": filesizeformat(row.size),
            "created": date_over_time(row.created_at),
            "url": links.file(row),
        }
        for row in latest[:MAX_FILES]
    ]
    if len(latest) <= MAX_FILES:
        return files, ""
    total = {"count": rows.count(), "size": filesizeformat(rows.aggregate(n=Sum("size"))["n"])}
    return files, _("The latest of %(count)d files, %(size)s in all.") % total


def _name_files(attached: Sequence[Attached], session: ChatSession, links: _Links) -> None:
    """Give the files of a transcript their names and links, with one query for all."""
    asked = [pk for file in reversed(attached) if (pk := parse_uuid(file.id)) is not None]
    ids = list(dict.fromkeys(asked))[:MAX_FILE_NAMES]
    known = SessionFile.objects.filter(session=session).in_bulk(ids)
    for file in attached:
        pk = parse_uuid(file.id)  # a client may write it as it likes
        row = None if pk is None else known.get(pk)
        if row is not None:
            file.name, file.url = row.name, links.file(row)
        elif file.name == file.id and pk is not None:
            file.name = _("a file that no longer exists")
