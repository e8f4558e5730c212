"""What the page of one session says about it, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import display_for_value
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chatsessions.models import ChatSession, Worker
from chatsessions.protocol.delivery import Handled

from .labels import (
    NOTHING,
    ago,
    alive_label,
    chat_label,
    duration,
    moment,
    owner,
    status_label,
    user_label,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Facts under one heading: pairs of a name and what to show."""

    title: str
    facts: list[tuple[str, SafeString | str]]


def fact_groups(session: ChatSession, request: HttpRequest, site: str) -> Iterator[Group]:
    """
    What is known of a session.

    ``site`` is the admin site's name; links are made to what ``request.user`` may see there.
    """
    links = _Links(request, site)
    yield Group(title=_("Session"), facts=_session_facts(session, links))
    yield Group(title=_("Client"), facts=_client_facts(session, links))
    yield Group(title=_("Times"), facts=_times(session))
    yield Group(title=_("Activity"), facts=_activity(session))
    yield Group(title=_("Server"), facts=_server_facts(session, links))


@dataclass(frozen=True, slots=True)
class _Links:
    request: HttpRequest
    site: str

    def to(self, model: type[Any], pk: object, text: str) -> SafeString | str:
        """A link to the admin's page of an object, where there is one that the user may see."""
        meta = model._meta
        permissions = (f"{meta.app_label}.{verb}_{meta.model_name}" for verb in ("view", "change"))
        if not any(map(self.request.user.has_perm, permissions)):
            return text
        try:
            url = self._url(f"{meta.app_label}_{meta.model_name}_change", [pk])
        except NoReverseMatch:  # not registered
            return text
        return format_html('<a href="{}">{}</a>', url, text)

    def sessions(self, text: object, **lookups: str) -> SafeString:
        """A link to the list of sessions, filtered."""
        url = self._url("chatsessions_chatsession_changelist", [])
        return format_html('<a href="{}?{}">{}</a>', url, urlencode(lookups), text)

    def _url(self, name: str, args: list[object]) -> str:
        return reverse(f"admin:{name}", args=args, current_app=self.site)


def _session_facts(session: ChatSession, links: _Links) -> list[tuple[str, SafeString | str]]:
    facts: list[tuple[str, SafeString | str]] = [(_("Status"), status_label(session))]
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
    """The thread's id, with a link to its other sessions if there are any."""
    thread = _code(session.thread_id)
    others = ChatSession.objects.filter(thread_id=session.thread_id).exclude(pk=session.pk).count()
    if not others:
        return thread
    text = ngettext("%(count)d other session", "%(count)d other sessions", others)
    lookup = {"thread_id__exact": str(session.thread_id)}
    return format_html("{} ({})", thread, links.sessions(text % {"count": others}, **lookup))


def _client_facts(session: ChatSession, links: _Links) -> list[tuple[str, SafeString | str]]:
    return [
        (_("User"), _user(session, links)),
        (_("IP address"), _address(session, links)),
        (_("Client type"), session.client_type),
        (_("Language"), session.language or NOTHING),
        (_("User agent"), session.user_agent or NOTHING),
    ]


def _times(session: ChatSession) -> list[tuple[str, SafeString | str]]:
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


def _activity(session: ChatSession) -> list[tuple[str, SafeString | str]]:
    running = [f"#{n}" for n in (session.running, session.aside) if n is not None]
    handled = Handled(session.handled, session.handled_ahead)
    waiting = session.accepted - handled.up_to - handled.count_ahead
    return [
        (_("Events in / out"), f"{_number(session.events_in)} / {_number(session.events_out)}"),
        (_("Accepted events"), _number(session.accepted)),
        (_("Log entries"), _number(session.head)),
        (_("Connections"), _number(session.connections)),
        (_("Running turn"), ", ".join(running) or NOTHING),
        (_("Open questions"), _number(len(session.asks))),
        (_("Waiting events"), _number(max(0, waiting))),
        (_("Failed turns"), _number(session.turns_failed)),
        (_("User session"), filesizeformat(session.state_bytes)),
    ]


def _server_facts(session: ChatSession, links: _Links) -> list[tuple[str, SafeString | str]]:
    generation = (_("Generation"), _number(session.generation))
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
    """What a session has, and a link to all sessions that have it."""
    return format_html("{} ({})", text, links.sessions(_("all sessions"), **lookups))


def _with_age(at: datetime, now: datetime | None = None) -> SafeString:
    return format_html('{} <span class="chatsessions-quiet">({})</span>', moment(at), ago(at, now))


def _code(value: object) -> SafeString:
    return format_html("<code>{}</code>", value)


def _number(value: int) -> str:
    return display_for_value(value, NOTHING)
