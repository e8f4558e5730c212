"""A session's files in the admin: listed with the session, fetched with a permission of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from chatsessions.admin import files as admin_files
from chatsessions.models import ChatSession, SessionFile

from .support.files import HTML, contents, stored_file
from .support.storage import session_row

pytestmark = pytest.mark.django_db

StaffOf = Callable[..., Client]


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


@pytest.fixture
def staff() -> StaffOf:
    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user(f"staff{uuid4().hex}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return log_in


def page_of(client: Client, session: ChatSession) -> str:
    url = reverse("admin:chatsessions_chatsession_change", args=[session.pk])
    return client.get(url).content.decode()


def url_of(session: ChatSession, file_id: object) -> str:
    return reverse(f"admin:{admin_files.URL}", args=[session.pk, file_id])


def test_names_are_listed_and_links_are_for_who_may_have_the_files(staff: StaffOf) -> None:
    session = session_row()
    file = stored_file(session, HTML, "<b>evil</b>.html", "text/html")
    page = page_of(staff("view_chatsession"), session)
    assert "b&gt;.html" in page
    assert "<b>evil" not in page
    assert "text/html" in page
    assert file.id not in page
    page = page_of(staff("view_chatsession", "view_sessionfile"), session)
    assert url_of(session, file.id) in page


def test_a_session_without_files_says_nothing_of_them(staff: StaffOf) -> None:
    assert 'id="files"' not in page_of(staff("view_chatsession"), session_row())


def test_a_file_is_fetched_as_safely_as_by_its_owner(staff: StaffOf) -> None:
    session = session_row()
    file = stored_file(session, HTML, "page.html", "text/html")
    response = staff("view_chatsession", "view_sessionfile").get(url_of(session, file.id))
    assert b"".join(response.streaming_content) == HTML  # type: ignore[attr-defined]
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("held", [(), ("view_chatsession",), ("view_sessionfile",)])
def test_without_both_permissions_no_file_is_fetched(staff: StaffOf, held: tuple[str]) -> None:
    session = session_row()
    file = stored_file(session)
    assert staff(*held).get(url_of(session, file.id)).status_code == 403
    assert Client().get(url_of(session, file.id)).status_code == 302


def test_a_file_is_there_under_its_own_session_only(staff: StaffOf) -> None:
    session, other = session_row(), session_row()
    file = stored_file(session)
    client = staff("view_chatsession", "view_sessionfile")
    assert client.get(url_of(other, file.id)).status_code == 404
    assert client.get(url_of(session, uuid4())).status_code == 404
    Path(file.path).unlink()
    assert client.get(url_of(session, file.id)).status_code == 404
    assert client.post(url_of(session, file.id)).status_code == 405


def test_very_many_files_are_not_all_listed(
    staff: StaffOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_files, "MAX_LISTED", 2)
    session = session_row()
    for number in range(3):
        stored_file(session, name=f"file {number}.txt")
    page = page_of(staff("view_chatsession"), session)
    assert "file 0.txt" not in page
    assert "The latest of 3 files, 15\xa0bytes in all." in page


@pytest.mark.django_db(transaction=True)
def test_a_deletion_in_the_admin_names_the_files_and_takes_their_content(staff: StaffOf) -> None:
    session = session_row()
    stored_file(session)
    ChatSession.objects.update(status="ended", end_reason="user")
    client = staff("view_chatsession", "delete_chatsession", "delete_sessionfile")
    url = reverse("admin:chatsessions_chatsession_delete", args=[session.pk])
    assert "notes.txt" in client.get(url).content.decode()
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert (SessionFile.objects.count(), contents()) == (0, set())
