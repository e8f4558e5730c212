"""Labels and times, as the admin's lists and pages show them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.utils import display_for_value, quote
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format, time_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from chatsessions.models import ChatSession, SessionFeedback, Worker
from chatsessions.storage.worker_rows import MAX_CLOCK_SKEW

NOTHING = "—"


def admin_url(site: str, page: str, *args: Any, model: type[Model] = ChatSession) -> str:
    """Return the URL of a page of a model in the admin site named ``site``."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    return reverse(name, args=[quote(arg) for arg in args], current_app=site)


def owner(session: ChatSession) -> Worker | None:
    """
    Return the worker of a session; None if no worker owns it.

    A worker without a ``read_at`` gets that of the session.
    """
    if session.worker is not None:
        session.worker.read_at = session.worker.read_at or session.read_at
    return session.worker


def status_label(session: ChatSession) -> SafeString:
    """
    Return a coloured label with the status.

    It says "worker silent" for a session that is marked as connected, but no living worker owns it.
    """
    if session.status == ChatSession.Status.CONNECTED:
        worker = owner(session)
        if worker is None or not worker.is_heard():
            return _label("silent", _("worker silent"))
    return _label(session.status, session.get_status_display())


def alive_label(worker: Worker) -> SafeString:
    """
    Return a coloured label that says if a worker is alive.

    It is alive if its last heartbeat is at most ``WORKER_STALE`` seconds old. If it is alive, but
    cannot store anything, the label says for how long.
    """
    if not worker.is_heard():
        return _label("silent", _("silent"))
    if worker.stuck_since is None:
        return _label("connected", _("alive"))
    since = max(worker.heartbeat_at - worker.stuck_since, timedelta())
    return _label("silent", _("stores nothing for %(time)s") % {"time": duration(since)})


def feedback_label(feedback: SessionFeedback) -> SafeString:
    """Return a coloured label with the user's rating."""
    kind = "connected" if feedback.value == SessionFeedback.Value.UP else "silent"
    return _label(kind, feedback.get_value_display())


def worker_label(worker: Worker) -> SafeString:
    """Return host and process id in an element that wraps long host names, as of containers."""
    return format_html('<span class="chatsessions-owner" title="{0}">{0}</span>', worker)


def clock_text(worker: Worker) -> str:
    """Return how far a worker's clock is wrong; empty if it is right."""
    ahead = worker.clock_ahead
    if abs(ahead.total_seconds()) <= MAX_CLOCK_SKEW:
        return ""
    text = _("clock %(time)s ahead") if ahead > timedelta() else _("clock %(time)s behind")
    return text % {"time": duration(abs(ahead))}


def user_label(session: ChatSession) -> str:
    """Return the user's name; without a query if the user was fetched with the session."""
    return _("anonymous") if session.user is None else session.user.get_username()


def chat_label(session: ChatSession) -> SafeString:
    """Return the chat's name, with possible line breaks after its dots."""
    parts = session.chat.replace(".", ".\0").split("\0")
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in parts))


def moment(at: datetime) -> SafeString:
    """Return a date and time in the admin's format, with the exact time on hover."""
    return _time(at, display_for_value(at, NOTHING))


def date_over_time(at: datetime) -> SafeString:
    """Return a date with the time below it, for narrow columns."""
    shown = local_time(at)
    return _time(at, format_html("{}<br>{}", date_format(shown), time_format(shown)))


def ago(at: datetime, now: datetime | None = None) -> SafeString:
    """
    Return how long ago ``at`` was, with the exact time on hover.

    ``at`` and ``now`` have to be times of the same clock.
    """
    seconds = max(0, int(((now or timezone.now()) - at).total_seconds()))
    if seconds < 60:
        text = _("%(count)d s ago") % {"count": seconds}
    elif seconds < 3600:
        text = _("%(count)d min ago") % {"count": seconds // 60}
    elif seconds < 2 * 86400:
        text = _("%(count)d h ago") % {"count": seconds // 3600}
    else:
        text = _("%(count)d d ago") % {"count": seconds // 86400}
    return _time(at, text)


def number(value: int) -> str:
    """Return a number with the separators of the admin's language."""
    return number_format(value, force_grouping=True)


def duration(value: timedelta) -> str:
    """Return a duration in at most two units: ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    seconds = max(0, int(value.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 1:
        return _("%(seconds)d s") % {"seconds": seconds}
    if hours < 1:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": seconds % 60}
    if days < 1:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes % 60}
    return _("%(days)d d %(hours)d h") % {"days": days, "hours": hours % 24}


def _time(at: datetime, text: str) -> SafeString:
    exact = local_time(at).isoformat(sep=" ", timespec="seconds")
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact, text)


def local_time(at: datetime) -> datetime:
    """Return a time in the time zone of the page."""
    return at if timezone.is_naive(at) else timezone.localtime(at)


def _label(kind: str, text: str) -> SafeString:
    return format_html(
        '<span class="chatsessions-label chatsessions-label-{}">{}</span>', kind, text
    )
