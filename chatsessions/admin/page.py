"""The page of one session: its transcript, values, files, and facts about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
    page = read_page(session, parse_seq(request.GET.get(BEFORE, "")) or None)
    client = user_label(session)
    lines = transcript(
        page.entries,
        session=session.pk,
        client=client,
        reveal=reveal,
        ratings=_ratings(session, page),
    )
    file_site = site if request.user.has_perm(FILE_PERMISSION) else ""
    _name_files([file for line in lines for file in line.files], session, file_site)
    files, files_note = _files(session, file_site)
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
        "groups": _fact_groups(session, _Links(request, site)),
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
    Entries in the order of ``seq``, and the parameter ``before`` of the pages around them.

    ``earlier`` is None on the first page, and ``later`` on the last, where ``last`` is true.
    ``dropped`` counts the entries at the log's start that are no longer kept.
    """

    entries: list[LoggedEvent]
    earlier: int | None
    later: int | None
    last: bool
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
    if before == FIRST:
        return _first_page(session)
    entries = _read(session, before)
    more = len(entries) > PAGE
    entries = entries[-PAGE:]
    first = entries[0].seq if entries else 1
    last = before is None or before > session.head
    return LogPage(
        entries=entries,
        earlier=first if more else None,
        later=None if before is None or last or before + PAGE > session.head else before + PAGE,
        last=last,
        dropped=0 if more else first - 1,
    )


def _first_page(session: ChatSession) -> LogPage:
    entries = _fetch(SessionEvent.objects.filter(session=session).order_by("seq"))
    last = len(entries) <= PAGE
    entries = entries[:PAGE]
    following = entries[-1].seq + 1 + PAGE if entries else FIRST
    return LogPage(
        entries=entries,
        earlier=None,
        later=None if following > session.head else following,
        last=last,
        dropped=entries[0].seq - 1 if entries else 0,
    )


def _read(session: ChatSession, before: int | None) -> list[LoggedEvent]:
    events = SessionEvent.objects.filter(session=session).order_by("-seq")
    if before is not None:
        events = events.filter(seq__lt=before)
    return _fetch(events)[::-1]


def _fetch(events: QuerySet[SessionEvent]) -> list[LoggedEvent]:
    """Return the first ``PAGE`` of ``events``, and one more if there are more."""
    # Read the data as text: the model's field would decode the whole of every entry.
    rows = events.values(*_FIELDS, text=Substr("data", 1, MAX_FETCHED))[: PAGE + 1]
    return [LoggedEvent(data=row.pop("text").encode(errors="replace"), **row) for row in rows]


def _ratings(session: ChatSession, page: LogPage) -> dict[str, SessionFeedback]:
    """Return the feedback on messages of a page of the log, by the messages' ids."""
    if not page.entries:
        return {}
    between = (page.entries[0].seq, page.last_seq)
    rows = SessionFeedback.objects.filter(session=session, seq__range=between)
    return {row.message: row for row in rows}


def _log_links(page: LogPage, request: HttpRequest) -> dict[str, str]:
    """Return the links to the pages before and after, with the rest of the query string kept."""

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


# Facts


def _fact_groups(session: ChatSession, links: _Links) -> Iterator[tuple[str, Facts]]:
    """Yield groups of facts about a session: a title, and pairs of a name and a value."""
    yield _("Session"), _session_facts(session, links)
    yield _("Client"), _client_facts(session, links)
    yield _("Times"), _times(session)
    yield _("Activity"), _activity(session)
    yield _("Server"), _server_facts(session, links)


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

    def sessions(self, text: object, **lookups: str) -> SafeString:
        """Return ``text`` as a link to the filtered list of sessions."""
        url = admin_url(self.site, "changelist")
        return format_html('<a href="{}?{}">{}</a>', url, urlencode(lookups), text)


def _session_facts(session: ChatSession, links: _Links) -> Facts:
    facts: Facts = [(_("Status"), status_label(session))]
    if session.end_reason:
        facts.append((_("Ended"), session.get_end_reason_display()))
    return [
        *facts,
        (_("Id"), _code(session.pk)),
        (_("Chat"), _with_all(chat_label(session), links, chat=session.chat)),
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
    return [
        (_("User"), _user(session, links)),
        (_("IP address"), _address(session, links)),
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
    return [
        (
            _("Worker"),
            format_html(
                "{} ({})",
                links.to(Worker, worker.pk, str(worker)),
                links.sessions(_("its sessions"), worker=str(worker.pk)),
            ),
        ),
        (
            _("Heartbeat"),
            format_html(
                "{} {}", alive_label(worker), _with_age(worker.heartbeat_at, session.read_at)
            ),
        ),
        generation,
    ]


def _user(session: ChatSession, links: _Links) -> SafeString | str:
    if session.user is None:
        return user_label(session)
    user = links.to(get_user_model(), session.user.pk, user_label(session))
    return _with_all(user, links, user__pk__exact=str(session.user.pk))


def _address(session: ChatSession, links: _Links) -> SafeString | str:
    return _with_all(session.ip, links, ip__exact=session.ip) if session.ip else NOTHING


def _with_all(text: str, links: _Links, **lookups: str) -> SafeString:
    """Return ``text``, with a link to all sessions that match the lookups."""
    return format_html("{} ({})", text, links.sessions(_("all sessions"), **lookups))


def _with_age(at: datetime, now: datetime | None = None) -> SafeString:
    return format_html('{} <span class="chatsessions-quiet">({})</span>', moment(at), ago(at, now))


def _code(value: object) -> SafeString:
    return format_html("<code>{}</code>", value)


# Files


def _files(session: ChatSession, site: str) -> tuple[list[dict[str, Any]], str]:
    """
    Return the latest files of a session, and a note if there are more.

    The files have links unless ``site`` is empty.
    """
    rows = SessionFile.objects.filter(session=session)
    latest = list(rows.order_by("-created_at")[: MAX_FILES + 1])
    files = [
        {
            "name": row.name,
            "mime": row.mime,
            "size": filesizeformat(row.size),
            "created": date_over_time(row.created_at),
            "url": _file_url(row, site),
        }
        for row in latest[:MAX_FILES]
    ]
    if len(latest) <= MAX_FILES:
        return files, ""
    total = {"count": rows.count(), "size": filesizeformat(rows.aggregate(n=Sum("size"))["n"])}
    return files, _("The latest of %(count)d files, %(size)s in all.") % total


def _name_files(attached: Sequence[Attached], session: ChatSession, site: str) -> None:
    """
    Give the files of a transcript their names, with one query for all.

    They also get links, unless ``site`` is empty.
    """
    asked = [pk for file in reversed(attached) if (pk := parse_uuid(file.id)) is not None]
    ids = list(dict.fromkeys(asked))[:MAX_FILE_NAMES]
    if not ids:
        return
    known = {row.pk: row for row in SessionFile.objects.filter(session=session, pk__in=ids)}
    for file in attached:
        pk = parse_uuid(file.id)  # a client may write it as it likes
        row = None if pk is None else known.get(pk)
        if row is not None:
            file.name, file.url = row.name, _file_url(row, site)
        elif file.name == file.id and pk is not None:
            file.name = _("a file that no longer exists")


def _file_url(row: SessionFile, site: str) -> str:
    """Return the URL of a file's content; empty without a ``site``."""
    return admin_url(site, "file", row.session_id, row.pk) if site else ""
