"""The admin's lists are looked through by what they show: what is masked cannot be searched for."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import reverse

from chatsessions.admin import ChatSessionAdmin
from chatsessions.models import ChatSession, SessionFeedback, Worker

from .support.admin import LIST, PAGE, listed, say, staff
from .support.storage import session_row, worker_row

pytestmark = pytest.mark.django_db

FEEDBACK = "admin:chatsessions_sessionfeedback_changelist"
WORKERS = "admin:chatsessions_worker_changelist"
USERS = "admin:auth_user_changelist"

#: What a list shows, with a value to compare it with. A new field is in neither until it is shown
#: to every viewer.
OPEN: dict[type[models.Model], dict[str, str]] = {
    ChatSession: {
        "id": "6f1b3c1a-8f0e-4b8e-9d2c-0c7f5a4d9e11",
        "user": "1",
        "chat": "bots.counter",
        "thread_id": "6f1b3c1a-8f0e-4b8e-9d2c-0c7f5a4d9e11",
        "client_type": "webapp",
        "profile": "x",
        "status": "away",
        "end_reason": "user",
        "worker": "none",
        "turns_failed": "1",
        "ip": "192.0.2.1",
        "created_at": "2026-01-01T00:00:00+00:00",
        "last_seen_at": "2026-01-01T00:00:00+00:00",
    },
    SessionFeedback: {
        "id": "1",
        "session": "6f1b3c1a-8f0e-4b8e-9d2c-0c7f5a4d9e11",
        "given_at": "2026-01-01T00:00:00+00:00",
    },
    Worker: {
        "id": "6f1b3c1a-8f0e-4b8e-9d2c-0c7f5a4d9e11",
        "hostname": "web-1",
        "pid": "1",
        "started_at": "2026-01-01T00:00:00+00:00",
        "heartbeat_at": "2026-01-01T00:00:00+00:00",
    },
}
#: By a parameter of a filter of ours, which has no lookups.
FILTERS = ("status", "chat", "client_type", "worker")
#: Those that tell a part of a value, and so all of it in the end.
PARTS = ("regex", "iregex", "startswith", "istartswith", "contains", "icontains", "endswith")
COMPARISONS = ("exact", "in", "gt", "gte", "lt", "lte", "isnull")
TRANSFORMS = ("length__gt", "date__gt", "year", "iexact", "0", "range")


@pytest.fixture
def viewer(db: None) -> Client:
    """Somebody of the staff who may see sessions, workers and users, and no secrets."""
    return staff(
        "view_chatsession",
        "view_sessionfeedback",
        "view_worker",
        "view_user",
        "delete_chatsession",
    )


@pytest.fixture
def secret(db: None) -> ChatSession:
    row = session_row(
        state='{"api_key":"s3cret"}',
        token_hash="f00d",
        chat_settings={"password": "s3cret"},
        worker=worker_row(channel="s3cret"),
        user=User.objects.create_user("ada"),
        ip="192.0.2.1",
    )
    session_row(thread_id=row.thread_id)  # the page links to it
    say(row, "message", {"key": "s3cret"})
    return row


def paths(model: type[models.Model], *, depth: int = 3) -> Iterator[str]:
    """Every field that can be named from ``model``, through relations in either direction."""
    for field in model._meta.get_fields(include_hidden=True):
        names = {field.name, getattr(field, "attname", field.name)}
        yield from names
        related = field.related_model
        ours = isinstance(related, type) and (
            related._meta.app_label == "chatsessions" or related is User
        )
        if ours and depth > 1:
            for inner in paths(related, depth=depth - 1):
                yield f"{field.name}__{inner}"


def status_of(client: Client, name: str, **query: str) -> int:
    return client.get(reverse(name), query).status_code


LISTS = {ChatSession: LIST, SessionFeedback: FEEDBACK, Worker: WORKERS}


@pytest.mark.parametrize("model", LISTS)
def test_no_field_that_a_list_does_not_show_can_be_looked_for(
    model: type[models.Model], secret: ChatSession
) -> None:
    """With ``?state__regex=…`` a masked key was read letter by letter."""
    site = admin.site._registry[model]
    request = RequestFactory().get("/")
    for path in paths(model):
        first, *rest = path.split("__")
        known = first.removesuffix("_id") if first != "thread_id" else first
        key_of_known = known in OPEN[model] and rest in ([], ["id"], ["pk"])
        for lookup in ("", *PARTS, *COMPARISONS, *TRANSFORMS):
            name = f"{path}__{lookup}" if lookup else path
            is_open = key_of_known and lookup in ("", *COMPARISONS)
            allowed = site.lookup_allowed(name, "s3cret", request)
            assert not allowed or is_open, name


@pytest.mark.parametrize("model", LISTS)
def test_every_list_refuses_it_by_http(
    model: type[models.Model], viewer: Client, secret: ChatSession
) -> None:
    closed = {field.name for field in model._meta.get_fields()} - OPEN[model].keys()
    assert {"state", "token_hash", "events"} <= closed or model is not ChatSession
    for name in closed:
        assert status_of(viewer, LISTS[model], **{f"{name}__regex": "s"}) == 400, name
    name = sorted(closed)[0]
    for query in (
        {f"{name}__exact": "s3cret"},
        {name: "s3cret"},
        {"id": str(secret.pk), f"{name}__startswith": "s", "_popup": "1"},
        {f"{name}__regex": "s", "q": "x", "o": "1", "p": "1", "all": ""},
    ):
        assert status_of(viewer, LISTS[model], **query) == 400, query


@pytest.mark.parametrize(
    "query",
    [
        "chat_sessions__state__regex",
        "chat_sessions__token_hash__startswith",
        "chat_sessions__events__data__regex",
    ],
)
def test_the_list_of_users_is_no_way_around(query: str, viewer: Client) -> None:
    assert status_of(viewer, USERS, **{query: "s"}) == 400


def test_actions_and_pages_refuse_it_too(viewer: Client, secret: ChatSession) -> None:
    data = {"action": "delete_selected", "_selected_action": [str(secret.pk)]}
    url = f"{reverse(LIST)}?{urlencode({'state__regex': 's3'})}"
    assert viewer.post(url, data).status_code == 400


@pytest.mark.parametrize("field", ["state", "token_hash", "chat_context", "user"])
def test_no_field_can_be_picked_by_a_popup(field: str, viewer: Client) -> None:
    assert status_of(viewer, LIST, _popup="1", _to_field=field) == 400


def test_what_is_ordered_and_searched_by_is_shown(viewer: Client, secret: ChatSession) -> None:
    for model, name in LISTS.items():
        columns = len(admin.site._registry[model].list_display) + 3
        for order in (-1, *range(columns)):
            with CaptureQueriesContext(connection) as queries:
                assert status_of(viewer, name, o=str(order)) == 200
            orders = [sql.partition("ORDER BY")[2] for sql in _sqls(queries)]
            for word in ("state", "token", "chat_settings", "data", "password"):
                assert not any(f'"{word}' in order for order in orders), (word, orders)
    for text in ("s3cret", "f00d", "api_key"):
        assert listed(viewer, q=text) == []


def _sqls(queries: CaptureQueriesContext) -> list[str]:
    return [one["sql"] for one in queries.captured_queries]


def test_autocomplete_finds_by_nothing_else(viewer: Client, secret: ChatSession) -> None:
    for text, count in (("s3cret", 0), ("f00d", 0), (str(secret.pk), 1)):
        query = {"app_label": "chatsessions", "model_name": "sessionevent", "field_name": "session"}
        answer = viewer.get(reverse("admin:autocomplete"), query | {"term": text})
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == count


@pytest.mark.parametrize("model", LISTS)
def test_what_the_lists_show_can_be_looked_for(
    model: type[models.Model], viewer: Client, secret: ChatSession
) -> None:
    for name, value in OPEN[model].items():
        assert status_of(viewer, LISTS[model], **{name: value}) == 200, name
        if name in FILTERS and model is ChatSession:
            continue
        for lookup in ("exact", "in"):
            assert status_of(viewer, LISTS[model], **{f"{name}__{lookup}": value}) == 200
    if model is ChatSession:
        user, start = str(secret.user_id), "2020-01-01T00:00:00+00:00"
        assert listed(viewer, user__id__exact=user, created_at__gte=start) == [secret]


def test_every_link_of_the_lists_and_pages_works(viewer: Client, secret: ChatSession) -> None:
    """Filters' choices, columns, and the links from pages to lists."""
    pages = [
        reverse(LIST),
        reverse(WORKERS),
        reverse(PAGE, args=[secret.pk]),
        reverse("admin:chatsessions_worker_change", args=[secret.worker_id]),
    ]
    followed = 0
    for page in pages:
        html = viewer.get(page).content.decode()
        for link in set(_links(html)):
            url = f"{page}{link}" if link.startswith("?") else link
            assert viewer.get(url).status_code == 200, url
            followed += 1
    assert followed > 30


def _links(html: str) -> list[str]:
    hrefs = [part.partition('"')[0].replace("&amp;", "&") for part in html.split('href="')[1:]]
    return [
        href for href in hrefs if href.startswith("?") or ("/chatsessions/" in href and "?" in href)
    ]


@isolate_apps("tests")
def test_what_a_project_asks_for_is_allowed(viewer: Client) -> None:
    """Its own filters, and what its own foreign keys narrow their choices to."""

    class Ours(ChatSessionAdmin):
        list_filter = (*ChatSessionAdmin.list_filter, "language", "user__groups")

    ours = Ours(ChatSession, admin.site)
    request = RequestFactory().get("/")
    assert ours.lookup_allowed("language__exact", "de", request)
    assert not ours.lookup_allowed("language__regex", "d", request)
    # What the links of such a filter have; it was a bad request.
    assert ours.lookup_allowed("user__groups__id__exact", "1", request)
    assert ours.lookup_allowed("user__groups__isnull", "True", request)
    assert not ours.lookup_allowed("user__groups__name__startswith", "a", request)
    limits = ChatSession._meta.related_fkey_lookups  # type: ignore[attr-defined]  # Django's own
    limits.append({"events_in__gt": 5})
    try:
        assert ours.lookup_allowed("events_in__gt", "5", request)
        assert not ours.lookup_allowed("events_in__gt", "6", request)
    finally:
        limits.pop()
