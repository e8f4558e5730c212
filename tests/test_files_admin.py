"""A session's files in the admin: listed with the session, fetched with a permission of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from chatsessions.admin import page as admin_page
from chatsessions.models import ChatSession, SessionEvent, SessionFile

from .support.admin import DELETE, page_of, say, staff
from .support.files import HTML, contents, stored_file
from .support.storage import session_row

pytestmark = pytest.mark.django_db

#: The login with its permissions; the session, its state, chat settings, files, thread and log.
QUERIES = 11


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


def url_of(session: ChatSession, file_id: object) -> str:
    return reverse("admin:chatsessions_chatsession_file", args=[session.pk, file_id])


def test_names_are_listed_and_links_are_for_who_may_have_the_files() -> None:
    session = session_row()
    file = stored_file(session, HTML, "<b>evil</b>.html", "text/html")
    page = page_of(staff("view_chatsession"), session)
    assert "b&gt;.html" in page
    assert "<b>evil" not in page
    assert "text/html" in page
    assert file.id not in page
    page = page_of(staff("view_chatsession", "view_sessionfile"), session)
    assert url_of(session, file.id) in page


def test_a_session_without_files_says_nothing_of_them() -> None:
    assert 'id="files"' not in page_of(staff("view_chatsession"), session_row())


def test_a_file_is_fetched_as_safely_as_by_its_owner() -> None:
    session = session_row()
    file = stored_file(session, HTML, "page.html", "text/html")
    response = staff("view_chatsession", "view_sessionfile").get(url_of(session, file.id))
    assert b"".join(response.streaming_content) == HTML  # type: ignore[attr-defined]
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("held", [(), ("view_chatsession",), ("view_sessionfile",)])
def test_without_both_permissions_no_file_is_fetched(held: tuple[str]) -> None:
    session = session_row()
    file = stored_file(session)
    assert staff(*held).get(url_of(session, file.id)).status_code == 403
    assert Client().get(url_of(session, file.id)).status_code == 302


def test_a_file_is_there_under_its_own_session_only() -> None:
    session, other = session_row(), session_row()
    file = stored_file(session)
    client = staff("view_chatsession", "view_sessionfile")
    assert client.get(url_of(other, file.id)).status_code == 404
    assert client.get(url_of(session, uuid4())).status_code == 404
    Path(file.path).unlink()
    assert client.get(url_of(session, file.id)).status_code == 404
    assert client.post(url_of(session, file.id)).status_code == 405


def test_very_many_files_are_not_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_page, "MAX_FILES", 2)
    session = session_row()
    for number in range(3):
        stored_file(session, name=f"file {number}.txt")
    page = page_of(staff("view_chatsession"), session)
    assert "file 0.txt" not in page
    assert "The latest of 3 files, 15\xa0bytes in all." in page


# In the transcript


def transcript_of(page: str) -> str:
    return page.partition('<ol class="chatsessions-log">')[2].partition("</ol>")[0]


def test_the_transcript_names_the_files_that_were_sent() -> None:
    """Those of the user, of which the log has no more than the ids, and the application's."""
    session = session_row()
    mine = stored_file(session, HTML, "<b>mine</b>.html", "text/html")
    answer, saved = stored_file(session, name="answer.txt"), stored_file(session, name="saved.txt")
    say(session, "message", {"content": "look", "files": [mine.id]}, n=1)
    say(session, "answer", {"call": "c", "data": {"files": [answer.id.upper()]}}, n=2)
    files = [saved.as_event()]
    say(session, "message", {"id": "m", "author": "Bot", "content": "there", "files": files})
    shown = transcript_of(page_of(staff("view_chatsession"), session))
    for name in ("b&gt;.html", "answer.txt", "saved.txt"):
        assert shown.count(f"{name}</bdi>") == 1
    for file in (mine, answer, saved):
        assert file.id not in shown
    shown = transcript_of(page_of(staff("view_chatsession", "view_sessionfile"), session))
    for file in (mine, answer, saved):
        assert shown.count(f'href="{url_of(session, file.id)}" download') == 1


def test_files_of_a_transcript_that_are_gone_foreign_or_none() -> None:
    session, other = session_row(), session_row()
    gone, foreign = stored_file(session, name="gone.txt"), stored_file(other, name="theirs.txt")
    SessionFile.objects.filter(pk=gone.id).delete()
    say(session, "message", {"content": "", "files": [gone.id, foreign.id]}, n=1)
    say(session, "message", {"content": "odd", "files": ["no-id", 7, {"x": 1}, None]}, n=2)
    say(session, "message", {"content": "odd", "files": "all of them"}, n=3)
    say(session, "message", {"id": "m", "content": "", "files": [gone.as_event()]})
    shown = transcript_of(page_of(staff("view_chatsession", "view_sessionfile"), session))
    assert shown.count("a file that no longer exists") == 2
    assert "theirs.txt" not in shown
    assert "gone.txt" in shown  # as the application has sent it
    assert "download" not in shown


@pytest.mark.parametrize("messages", [1, 60])
def test_the_names_of_files_take_one_query(django_assert_num_queries: Any, messages: int) -> None:
    session = session_row()
    ids = [stored_file(session).id for _ in range(20)]
    for n in range(1, messages + 1):
        say(session, "message", {"content": "x", "files": ids}, n=n)
    client = staff("view_chatsession", "view_sessionfile")
    page_of(client, session)  # content types are looked up once per process
    # More than a page without messages takes: one for files, one for what users think of answers.
    with django_assert_num_queries(QUERIES + 2):
        page_of(client, session)
    SessionEvent.objects.all().delete()
    with django_assert_num_queries(QUERIES):
        page_of(client, session)


@pytest.mark.django_db(transaction=True)
def test_a_deletion_in_the_admin_names_the_files_and_takes_their_content() -> None:
    session = session_row()
    stored_file(session)
    ChatSession.objects.update(status="ended", end_reason="user")
    client = staff("view_chatsession", "delete_chatsession", "delete_sessionfile")
    url = reverse(DELETE, args=[session.pk])
    assert "notes.txt" in client.get(url).content.decode()
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert (SessionFile.objects.count(), contents()) == (0, set())
