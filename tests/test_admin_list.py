"""The list of many sessions: what it looks at, in which order, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chatsessions.admin import listing
from chatsessions.admin.sessions import ChatSessionAdmin
from chatsessions.models import ChatSession

from .support.admin import LIST, listed, say
from .support.storage import session_row, worker_row

pytestmark = pytest.mark.django_db

TABLE = ChatSession._meta.db_table


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> list[ChatSession]:
    """Seven sessions on pages of three, of two users and of nobody; some have a log."""
    monkeypatch.setattr(ChatSessionAdmin, "list_per_page", 3)
    now = timezone.now()
    # The one who came later is the first by name.
    zoe, anna = User.objects.create_user("zoe"), User.objects.create_user("anna")
    made = []
    for number in range(7):
        session = session_row(
            chat="ab"[number % 2],
            user=(zoe, anna, None)[number % 3],
            status=("away", "ended")[number // 4],
            events_in=number % 4,
            created_at=now - timedelta(hours=number),
            last_seen_at=now - timedelta(minutes=number % 5),
        )
        for _ in range(number % 3):
            say(session, "message", {})
        made.append(session)
    return made


@pytest.fixture
def rows_read(admin_client: Client) -> Callable[..., list[str]]:
    """What SQLite plans to do for a page of the list, where it reads rows without an index."""
    if connection.vendor != "sqlite":
        pytest.skip("the plans are SQLite's")
    admin_client.get(reverse(LIST))

    def rows_read(**query: str) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(reverse(LIST), query).status_code == 200
            statements = [one["sql"] for one in queries.captured_queries]
        return [
            step
            for sql in statements
            if TABLE in sql
            for step in plan(sql)
            if step.startswith(f"SCAN {TABLE}") and " INDEX " not in step
        ]

    return rows_read


def plan(sql: str) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%', '%%')}", ())
        for *_, step in cursor.fetchall():
            yield step


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"p": "3"},
        {"o": "4"},
        {"status": "connected"},
        {"status": "away"},
        {"status": "ended"},
        {"status": "silent"},
        {"logged_in": "yes"},
        {"user__pk__exact": "1"},
        {"thread_id__exact": "4f1c9a2b-7d3e-4a5b-8c6d-0e1f2a3b4c5d"},
        {"worker": "4f1c9a2b-7d3e-4a5b-8c6d-0e1f2a3b4c5d"},
        {"worker": "none"},
        {"created_at__gte": "2026-01-01 00:00:00+00:00"},
    ],
    ids=str,
)
def test_no_row_is_read_that_is_not_shown(
    query: dict[str, str], rows_read: Callable[..., list[str]], many: list[ChatSession]
) -> None:
    assert rows_read(**query) == []


def test_all_rows_are_read_where_no_index_helps(
    rows_read: Callable[..., list[str]], many: list[ChatSession]
) -> None:
    """As a filter would be told by the test above, if it came to that."""
    assert rows_read(failures="yes")


@pytest.mark.parametrize("query", [{}, {"p": "2"}, {"p": "3"}, {"o": "6"}, {"q": "zoe"}], ids=str)
def test_any_page_takes_the_same_queries(
    query: dict[str, str],
    many: list[ChatSession],
    admin_client: Client,
    django_assert_max_num_queries: Any,
) -> None:
    session_row(user=User.objects.create_user("zoey"), worker=worker_row())
    listed(admin_client)  # content types are looked up once per process
    with django_assert_max_num_queries(8):
        assert listed(admin_client, **query)


def test_pages_are_in_order_from_both_ends(many: list[ChatSession], admin_client: Client) -> None:
    assert listed(admin_client) == many[:3]
    assert listed(admin_client, p="2") == many[3:6]
    assert listed(admin_client, p="3") == many[6:]
    assert listed(admin_client, all="") == many


@pytest.mark.parametrize("column", range(1, len(ChatSessionAdmin.list_display) + 1))
@pytest.mark.parametrize("direction", ["", "-"])
def test_each_order_has_each_session_once(
    column: int, direction: str, many: list[ChatSession], admin_client: Client
) -> None:
    """However long its log, and whether or not it has a user."""
    order = f"{direction}{column}"
    paged = [one for page in "123" for one in listed(admin_client, o=order, p=page)]
    assert sorted(one.pk for one in paged) == sorted(one.pk for one in many)
    assert paged == listed(admin_client, o=order, all="")


def test_users_are_in_the_order_of_their_names(
    many: list[ChatSession], admin_client: Client
) -> None:
    column = ChatSessionAdmin.list_display.index("who") + 1
    users = [one.user.username for one in listed(admin_client, o=f"{column}", all="") if one.user]
    assert users == ["anna"] * 2 + ["zoe"] * 3


def test_a_search_shows_a_bounded_number(
    many: list[ChatSession], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ChatSession.objects.update(user=User.objects.get(username="zoe"))
    monkeypatch.setattr(listing, "MAX_FOUND", 5)
    response = admin_client.get(reverse(LIST), {"q": "zoe", "p": "2"})
    assert list(response.context["cl"].result_list) == many[3:5]
    assert response.context["cl"].result_count == 5
    told = [str(message) for message in response.context["messages"]]
    assert told == ["More than 5 sessions match. These are the first of them."]
    monkeypatch.setattr(listing, "MAX_FOUND", 7)
    response = admin_client.get(reverse(LIST), {"q": "zoe", "p": "3"})
    assert list(response.context["cl"].result_list) == many[6:]
    assert list(response.context["messages"]) == []


def test_an_empty_list_offers_nothing_to_do(many: list[ChatSession], admin_client: Client) -> None:
    text = admin_client.get(reverse(LIST), {"status": "connected"}).content.decode()
    assert "0 sessions" in text
    assert 'name="action"' not in text


def test_choices_are_not_counted(
    many: list[ChatSession], admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    """Django's counts beside the filters would look at every session, many times."""
    listed(admin_client)
    with django_assert_max_num_queries(8):
        admin_client.get(reverse(LIST), {"_facets": "True"})


def test_a_page_that_is_not_there_is_told(many: list[ChatSession], admin_client: Client) -> None:
    response = admin_client.get(reverse(LIST), {"p": "9"})
    assert response.status_code == 302


def test_sessions_are_paged_for_a_field_of_another_admin_too(
    many: list[ChatSession], rf: RequestFactory
) -> None:
    """As Django does it for ``autocomplete_fields``."""
    found = admin.site.get_model_admin(ChatSession)
    rows = ChatSession.objects.order_by("-created_at")
    options = {"orphans": 0, "allow_empty_first_page": True}
    pages = found.get_paginator(rf.get("/", {"term": "x"}), rows, 3, **options)
    assert list(pages.page(3).object_list) == many[6:]
    assert not pages.page(3).has_next()


def test_what_to_filter_by_is_what_was_used_of_late(
    many: list[ChatSession], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ChatSession.objects.filter(pk=many[-1].pk).update(chat="forgotten")
    monkeypatch.setattr(listing, "LATEST", 6)
    assert chats_offered(admin_client) == ["a", "b"]
    monkeypatch.setattr(listing, "LATEST", 7)
    assert chats_offered(admin_client) == ["a", "b", "forgotten"]


def test_what_is_filtered_by_is_offered_however_old(
    many: list[ChatSession], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ChatSession.objects.filter(pk=many[-1].pk).update(chat="forgotten")
    monkeypatch.setattr(listing, "LATEST", 6)
    assert chats_offered(admin_client, chat="forgotten") == ["a", "b", "forgotten"]
    assert listed(admin_client, chat="forgotten") == [many[-1]]


def chats_offered(client: Client, **query: str) -> list[str]:
    specs = client.get(reverse(LIST), query).context["cl"].filter_specs
    (choices,) = (one.lookup_choices for one in specs if isinstance(one, listing.ChatFilter))
    return [value for value, _title in choices]
