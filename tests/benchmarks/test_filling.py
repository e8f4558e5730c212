"""The rows that are made by SQL are such as the models make, and the admin shows them."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from benchmarks.filling import CHAT, PAGE_CHAT, fill, make_page
from chatsessions.models import ChatSession, SessionEvent

pytestmark = pytest.mark.django_db(transaction=True)


def test_as_many_sessions_as_wanted_each_with_its_log() -> None:
    fill(60, 5)
    fill(60, 5)
    assert ChatSession.objects.count() == 60
    assert SessionEvent.objects.count() == 300
    fill(61, 5)
    assert ChatSession.objects.count() == 61


def test_sessions_differ_in_what_the_admin_looks_at() -> None:
    fill(100, 2)
    sessions = ChatSession.objects.filter(chat=CHAT)
    assert sessions.away().count() == 2
    assert sessions.ended().count() == 98
    assert sessions.filter(user=None).count() == 50
    assert sessions.values("created_at").distinct().count() == 100
    oldest, newest = sessions.earliest("created_at"), sessions.latest("created_at")
    assert (newest.created_at - oldest.created_at).total_seconds() == pytest.approx(99 * 12, abs=1)
    for session in sessions:
        session.clean_fields(exclude=["previous_token_hash"])
        assert (session.ended_at is None) == (session.status == "away")


def test_a_log_reads_as_one_that_was_spoken() -> None:
    fill(3, 5)
    for session in ChatSession.objects.filter(chat=CHAT):
        log = list(session.events.order_by("seq"))
        assert [entry.seq for entry in log] == [1, 2, 3, 4, 5]
        assert [entry.n for entry in log] == [1, None, 2, None, 3]
        assert [entry.turn for entry in log] == [None, 1, None, 2, None]
        assert (session.head, session.accepted, session.handled) == (5, 3, 3)
        assert log[2].data == {"content": "message 2, and what else one has to say"}
        assert log[3].data["content"] == "You have sent 2 message(s)!"


def test_the_admin_shows_the_long_page() -> None:
    session = make_page(40)
    assert ChatSession.objects.get(chat=PAGE_CHAT).events.count() == 40
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    page = client.get(f"/admin/chatsessions/chatsession/{session}/change/")
    assert "You have sent 20 message(s)!" in page.content.decode()
