"""Upload and download over HTTP: who may, what is taken, and what a browser is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.utils import timezone

from chatsessions import Chat
from chatsessions.auth.access import hash_token
from chatsessions.consumers import ChatConsumer
from chatsessions.files.types import UNKNOWN
from chatsessions.models import ChatSession, SessionFile

from .support.database import overtaken
from .support.files import (
    HTML,
    PDF,
    PNG,
    bearer,
    contents,
    files_url,
    storage_root,
    stored_file,
    token_session,
    upload_body,
)
from .support.storage import session_row

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Folders of the test's own; no upload leaves a temporary file."""
    settings.MEDIA_ROOT = tmp_path / "files"
    folder = tmp_path / "uploads"
    folder.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = str(folder)
    yield
    assert list(folder.iterdir()) == []


class FailingStorage(FileSystemStorage):
    """Writes some of a file, and then no more."""

    def _save(self, name: str, content: File[Any]) -> str:
        super()._save(name, content)
        raise OSError(28, "No space left on device")


def post_form(client: Client, session: ChatSession, token: str, **fields: Any) -> HttpResponse:
    return client.post(files_url(session), fields, headers=bearer(token))  # type: ignore[return-value]


ways = pytest.mark.parametrize("way", ["form", "body"])


def upload(
    way: str, client: Client, session: ChatSession, token: str, content: bytes, name: str = "a.txt"
) -> HttpResponse:
    """Upload a text in the field of a form, or as the whole body."""
    if way == "body":
        return upload_body(client, session, token, content, name=name)
    file = SimpleUploadedFile("x", content, "text/plain")
    file._name = name
    return post_form(client, session, token, file=file)


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, json.loads(response.content)["error"]


def body_of(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


# Taking files


def test_a_form_with_the_token_stores_the_file(client: Client) -> None:
    session, token = token_session()
    file = SimpleUploadedFile("photo.png", PNG, "image/png")
    response = post_form(client, session, token, file=file)
    assert response.status_code == 201
    row = SessionFile.objects.get()
    expected = {"id": str(row.pk), "name": "photo.png", "mime": "image/png", "size": len(PNG)}
    assert json.loads(response.content) == expected
    assert row.session_id == session.pk
    assert Path(row.content.path).read_bytes() == PNG


def test_a_raw_body_with_its_name_in_a_header_stores_the_file(client: Client) -> None:
    session, token = token_session()
    response = upload_body(client, session, token, PNG, name="Фото 1.png", mime="image/png")
    assert response.status_code == 201
    assert json.loads(response.content)["name"] == "Фото 1.png"
    assert Path(SessionFile.objects.get().content.path).read_bytes() == PNG


def test_a_body_without_a_name_is_named_all_the_same(client: Client) -> None:
    session, token = token_session()
    headers = bearer(token)
    response = client.post(files_url(session), PNG, content_type="image/png", headers=headers)
    assert json.loads(response.content)["name"] == "file"


def test_the_token_before_a_welcome_that_may_be_lost_is_still_good(client: Client) -> None:
    session, _ = token_session(previous_token_hash=hash_token("the one before"))
    assert upload_body(client, session, "the one before", b"x").status_code == 201


def test_the_scheme_is_not_case_sensitive(client: Client) -> None:
    session, token = token_session()
    headers = {"Authorization": f"bearer  {token} "}
    response = client.post(files_url(session), b"x", content_type="text/plain", headers=headers)
    assert response.status_code == 201


async def test_an_asgi_server_takes_both_ways(
    async_client: AsyncClient, transactional_db: None
) -> None:
    session, token = await sync_to_async(token_session)()
    url = files_url(session)
    form = {"file": SimpleUploadedFile("a.txt", b"one", "text/plain")}
    first = await async_client.post(url, form, headers=bearer(token))
    second = await async_client.post(url, b"two", content_type="text/plain", headers=bearer(token))
    assert (first.status_code, second.status_code) == (201, 201)
    assert await SessionFile.objects.acount() == 2


# Who may


def test_the_token_of_another_session_stores_nothing(client: Client) -> None:
    session, _ = token_session()
    _, foreign = token_session()
    assert error_of(upload_body(client, session, foreign, b"x")) == (404, "not_found")
    assert contents() == set()


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer wrong"])
def test_without_the_token_nobody_stores_anything(client: Client, header: str) -> None:
    session, _ = token_session()
    headers = {"Authorization": header} if header else {}
    response = client.post(files_url(session), b"x", content_type="text/plain", headers=headers)
    assert error_of(response) == (404, "not_found")


def test_an_empty_previous_token_lets_nobody_in(client: Client) -> None:
    session = session_row(token_hash="", previous_token_hash="")
    assert error_of(upload_body(client, session, "", b"x")) == (404, "not_found")


def test_unknown_foreign_and_malformed_sessions_get_the_same_answer_to_the_byte(
    client: Client,
) -> None:
    mine, token = token_session()
    foreign, _ = token_session()
    kept = stored_file(foreign)
    of_user = session_row(user=User.objects.create_user("alice"), token_hash=hash_token(token))
    urls = [files_url(pk, kept.id) for pk in (foreign.pk, uuid4(), "no-id", of_user.pk)]
    urls += [files_url(mine, kept.id), files_url(mine, uuid4()), files_url(mine, "no-id")]
    answers = [client.get(url, headers=bearer(token)) for url in urls]
    assert {(one.status_code, one.content) for one in answers} == {(404, answers[0].content)}
    assert len({str(sorted(one.headers.items())) for one in answers}) == 1


def test_the_token_of_a_users_session_is_worth_nothing_after_the_logout(client: Client) -> None:
    """As for ``hello``: the token goes with the user."""
    session, token = token_session(user=User.objects.create_user("alice"))
    assert error_of(upload_body(client, session, token, b"x")) == (404, "not_found")
    client.force_login(User.objects.create_user("mallory"))
    assert error_of(upload_body(client, session, token, b"x")) == (404, "not_found")


def test_a_deactivated_user_stores_nothing(client: Client) -> None:
    user = User.objects.create_user("alice")
    session, token = token_session(user=user)
    client.force_login(user)
    User.objects.update(is_active=False)
    assert error_of(upload_body(client, session, token, b"x")) == (404, "not_found")


# Cross-site requests


@pytest.fixture
def checking_client() -> Client:
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def own_session(checking_client: Client) -> ChatSession:
    """A session of the user that ``checking_client`` is logged in as."""
    user = User.objects.create_user("alice")
    checking_client.force_login(user)
    return session_row(user=user, token_hash=hash_token("the token"))


def csrf_token(client: Client) -> str:
    client.get("/admin/login/?next=/")
    return client.cookies["csrftoken"].value


@ways
def test_another_site_cannot_upload_on_behalf_of_a_logged_in_user(
    checking_client: Client, own_session: ChatSession, way: str
) -> None:
    url = files_url(own_session)
    if way == "form":
        response = checking_client.post(url, {"file": SimpleUploadedFile("a.txt", b"x")})
    else:
        response = checking_client.post(url, b"x", content_type="text/plain")
    assert error_of(response) == (403, "csrf_failed")
    assert contents() == set()


def test_the_logged_in_owner_uploads_with_djangos_csrf_token(
    checking_client: Client, own_session: ChatSession
) -> None:
    url, csrf = files_url(own_session), csrf_token(checking_client)
    in_form = {"file": SimpleUploadedFile("a.txt", b"x"), "csrfmiddlewaretoken": csrf}
    assert checking_client.post(url, in_form).status_code == 201
    headers = {"X-CSRFToken": csrf}
    response = checking_client.post(url, b"x", content_type="text/plain", headers=headers)
    assert response.status_code == 201


def test_who_has_the_token_needs_no_csrf_token(
    checking_client: Client, own_session: ChatSession
) -> None:
    assert upload_body(checking_client, own_session, "the token", b"x").status_code == 201


# What is not taken


def test_nothing_is_taken_once_the_session_has_ended(client: Client) -> None:
    long_ago = timezone.now() - timedelta(days=1)
    ended, token = token_session(status="ended", end_reason="user", ended_at=long_ago)
    assert error_of(upload_body(client, ended, token, b"x")) == (410, "session_ended")
    ending, token = token_session(status="connected", end_reason="user")
    assert error_of(upload_body(client, ending, token, b"x")) == (410, "session_ended")
    expired, token = token_session(disconnected_at=long_ago)
    assert error_of(upload_body(client, expired, token, b"x")) == (410, "session_ended")
    assert contents() == set()


@ways
def test_an_empty_file_is_refused(client: Client, way: str) -> None:
    assert error_of(upload(way, client, *token_session(), b"")) == (400, "empty_file")


@ways
@pytest.mark.parametrize("size", [10_001, 10_000 + 2 * 64 * 1024])
def test_a_file_that_is_too_large_leaves_nothing(
    client: Client, settings: Any, way: str, size: int
) -> None:
    settings.CHATSESSIONS = {"MAX_FILE_BYTES": 10_000}
    session, token = token_session()
    response = upload(way, client, session, token, b"x" * size)
    assert error_of(response) == (413, "too_large")
    assert (contents(), SessionFile.objects.count()) == (set(), 0)
    assert upload_body(client, session, token, b"x" * 10_000).status_code == 201


def test_a_session_has_a_number_of_files_and_not_more(client: Client, settings: Any) -> None:
    settings.CHATSESSIONS = {"MAX_FILES_PER_SESSION": 2}
    session, token = token_session()
    said = [upload_body(client, session, token, b"x").status_code for _ in range(3)]
    assert said == [201, 201, 409]
    assert len(contents()) == 2
    other, token = token_session()
    assert upload_body(client, other, token, b"x").status_code == 201


def test_a_session_has_a_number_of_bytes_and_not_more(client: Client, settings: Any) -> None:
    settings.CHATSESSIONS = {"MAX_FILES_BYTES_PER_SESSION": 10}
    session, token = token_session()
    assert upload_body(client, session, token, b"x" * 6).status_code == 201
    response = upload_body(client, session, token, b"x" * 5)
    assert error_of(response) == (409, "too_many_files")
    assert len(contents()) == 1
    assert upload_body(client, session, token, b"x" * 4).status_code == 201


@pytest.mark.parametrize(
    ("name", "mime", "content"),
    [
        ("photo.png", "image/png", HTML),
        ("photo.png", "text/html", HTML),
        ("photo.jpg", "image/jpeg", PDF),
        ("photo", "image/png", b"\x7fELF\x02\x01\x01\x00"),
    ],
)
def test_what_would_be_shown_and_is_no_picture_is_refused(
    client: Client, name: str, mime: str, content: bytes
) -> None:
    session, token = token_session()
    response = upload_body(client, session, token, content, name=name, mime=mime)
    assert error_of(response) == (415, "type_mismatch")
    assert contents() == set()


@pytest.mark.parametrize(
    ("name", "mime"),
    [("page.html", "image/png"), ("drawing.svg", "image/png"), ("page", "text/html"), ("x", "")],
)
def test_what_a_browser_could_run_is_never_shown(client: Client, name: str, mime: str) -> None:
    """Whatever its client says: it is an attachment, in a sandbox, and not guessed at."""
    session, token = token_session()
    response = upload_body(client, session, token, HTML, name=name, mime=mime or UNKNOWN)
    assert response.status_code == 201
    address = files_url(session, json.loads(response.content)["id"])
    response = client.get(address, headers=bearer(token))
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert body_of(response) == HTML


def test_a_type_that_the_project_does_not_take_is_refused(client: Client, settings: Any) -> None:
    settings.CHATSESSIONS = {"FILE_TYPES": ["image/*", "application/pdf"]}
    session, token = token_session()
    assert error_of(upload_body(client, session, token, b"x")) == (415, "type_not_accepted")
    for name, mime, content in (("a.png", "image/png", PNG), ("a.pdf", "", PDF)):
        response = upload_body(client, session, token, content, name=name, mime=mime)
        assert response.status_code == 201


class Unread:
    """A request's body that counts how often it is read."""

    asked = 0

    def read(self, *_: Any) -> bytes:
        self.asked += 1
        return b""

    readline = read


LIMITS = {
    "MAX_FILE_BYTES": 1000,
    "MAX_FILES_BYTES_PER_SESSION": 500,
    "MAX_FILES_PER_SESSION": 2,
    "FILE_TYPES": ["text/plain"],
}


@pytest.mark.parametrize(
    ("mime", "length", "stored", "error"),
    [
        ("text/plain", 1001, 0, (413, "too_large")),
        ("multipart/form-data; boundary=x", 1001 + 64 * 1024, 0, (413, "too_large")),
        ("text/plain", 501, 0, (409, "too_many_files")),
        ("text/plain", 10, 2, (409, "too_many_files")),
        ("application/pdf", 10, 0, (415, "type_not_accepted")),
        ("application/x-www-form-urlencoded", 10, 0, (400, "bad_request")),
    ],
)
def test_what_the_headers_say_is_refused_before_the_body_is_read(
    client: Client, settings: Any, mime: str, length: int, stored: int, error: tuple[int, str]
) -> None:
    session, token = token_session()
    for _ in range(stored):
        stored_file(session)
    settings.CHATSESSIONS = LIMITS
    unread = Unread()
    sent: Any = {"CONTENT_LENGTH": str(length), "wsgi.input": unread}
    url = files_url(session)
    response = client.post(url, content_type=mime, headers=bearer(token), **sent)
    assert error_of(response) == error
    assert unread.asked == 0


@pytest.mark.parametrize("who", ["nobody", "another", "a forger"])
def test_who_may_not_is_refused_before_the_body_is_read(who: str) -> None:
    client = Client(enforce_csrf_checks=True)
    alice = User.objects.create_user("alice")
    session = session_row(user=alice)
    if who != "nobody":
        client.force_login(alice if who == "a forger" else User.objects.create_user("mallory"))
    unread = Unread()
    sent: Any = {"CONTENT_LENGTH": "1000", "wsgi.input": unread}
    response = client.post(files_url(session), content_type="text/plain", **sent)
    assert response.status_code == (403 if who == "a forger" else 404)
    assert unread.asked == 0


def test_what_is_no_upload_says_what_one_is(client: Client) -> None:
    session, token = token_session()
    two = [SimpleUploadedFile("a.txt", b"x"), SimpleUploadedFile("b.txt", b"x")]
    assert error_of(post_form(client, session, token, file=two)) == (400, "bad_request")
    other = SimpleUploadedFile("a.txt", b"x")
    assert error_of(post_form(client, session, token, other=other)) == (400, "bad_request")
    assert error_of(post_form(client, session, token, file="text")) == (400, "bad_request")
    broken = {"content_type": "multipart/form-data; boundary=x", "headers": bearer(token)}
    response = client.post(files_url(session), b"--x\r\nnonsense", **broken)
    assert error_of(response) == (400, "bad_request")
    assert client.get(files_url(session), headers=bearer(token)).status_code == 405
    assert contents() == set()


def test_a_storage_that_fails_half_way_keeps_nothing(
    client: Client, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = f"{FailingStorage.__module__}.{FailingStorage.__qualname__}"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": backend}}
    session, token = token_session()
    response = upload_body(client, session, token, b"x")
    assert error_of(response) == (503, "storage_unavailable")
    assert b"space" not in response.content  # an error's text stays on the server
    assert "No space left" in caplog.text
    assert (contents(), SessionFile.objects.count()) == (set(), 0)


def test_a_session_that_is_deleted_while_its_file_comes_keeps_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, token = token_session()
    save = FileSystemStorage._save

    def save_late(self: FileSystemStorage, name: str, content: File[Any]) -> str:
        ChatSession.objects.all().delete()
        return save(self, name, content)

    monkeypatch.setattr(FileSystemStorage, "_save", save_late)
    assert error_of(upload_body(client, session, token, b"x")) == (404, "not_found")
    assert contents() == set()


def test_an_upload_is_stored_though_others_commit_meanwhile(
    client: Client, transactional_db: None
) -> None:
    session, token = token_session()
    with overtaken("INSERT", SessionFile, by=session_row()):
        assert upload_body(client, session, token, b"x").status_code == 201


def test_a_host_whose_clock_is_ahead_takes_files_of_who_was_just_there(
    client: Client, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    """Who comes by HTTP is always away, since a moment of the database's clock."""
    session, token = token_session(status=ChatSession.Status.AWAY, disconnected_at=timezone.now())
    ahead = SimpleNamespace(now=lambda: timezone.now() + timedelta(days=9))
    monkeypatch.setattr("chatsessions.models.timezone", ahead)
    assert upload_body(client, session, token, b"x").status_code == 201


# Names


@ways
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\win.ini", "win.ini"),
        ("/etc/shadow", "shadow"),
        ("photo\u202egnp.exe", "photognp.exe"),
    ],
)
def test_a_name_that_climbs_out_of_its_folder_reaches_no_storage(
    client: Client, way: str, name: str, shown: str
) -> None:
    session, token = token_session()
    response = upload(way, client, session, token, b"x", name)
    assert json.loads(response.content)["name"] == shown
    row = SessionFile.objects.get()
    assert row.content.name == f"chatsessions/{session.pk.hex}/{row.pk.hex}"
    assert contents() == {f"{session.pk.hex}/{row.pk.hex}"}
    assert {path.name for path in storage_root().parent.iterdir()} == {"chatsessions"}


@pytest.mark.parametrize("name", ["a" * 5000 + ".txt", "\0\0", "a\0b.txt", "\r\nX: y", "..", ""])
def test_a_name_of_any_kind_is_cleaned(client: Client, name: str) -> None:
    session, token = token_session()
    response = upload_body(client, session, token, b"x", name=name)
    shown = json.loads(response.content)["name"]
    assert 0 < len(shown) <= 255
    assert shown.isprintable()
    got = client.get(files_url(session, json.loads(response.content)["id"]), headers=bearer(token))
    assert body_of(got) == b"x"


def test_a_form_whose_names_are_longer_than_django_reads_says_so(client: Client) -> None:
    session, token = token_session()
    response = upload("form", client, session, token, b"x", "a" * 5000)
    assert error_of(response) == (400, "bad_request")
    # Django makes it the ending of a temporary file's name.
    response = upload("form", client, session, token, b"x", "a." + "b" * 300)
    assert response.status_code in (201, 400)


# Downloads


def test_a_picture_may_be_shown_and_nothing_else(client: Client) -> None:
    session, token = token_session()
    picture = stored_file(session, PNG, 'a "photo".png', "image/png")
    response = client.get(files_url(session, picture.id), headers=bearer(token))
    assert body_of(response) == PNG
    assert response["Content-Type"] == "image/png"
    assert response["Content-Disposition"].startswith("inline")
    assert response["Content-Length"] == str(len(PNG))
    for name, mime in (("page.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.pdf", "x/y")):
        file = stored_file(session, HTML, name, mime)
        response = client.get(files_url(session, file.id), headers=bearer(token))
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response["Content-Security-Policy"]
        assert "private" in response["Cache-Control"]
        assert {"Authorization", "Cookie"} <= set(response["Vary"].split(", "))
        assert body_of(response) == HTML


def test_a_head_request_has_the_headers_alone(client: Client) -> None:
    session, token = token_session()
    file = stored_file(session)
    response = client.head(files_url(session, file.id), headers=bearer(token))
    assert (response.status_code, response["Content-Length"], response.content) == (200, "5", b"")


def test_the_logged_in_owner_downloads_without_a_token(client: Client) -> None:
    user = User.objects.create_user("alice")
    session = session_row(user=user)
    file = stored_file(session)
    assert client.get(files_url(session, file.id)).status_code == 404
    client.force_login(user)
    assert body_of(client.get(files_url(session, file.id))) == b"hello"
    client.force_login(User.objects.create_user("mallory"))
    assert client.get(files_url(session, file.id)).status_code == 404


def test_a_file_is_found_under_its_own_session_only(client: Client) -> None:
    """Both are mine: the address is that of one."""
    first, token = token_session()
    second = session_row(token_hash=hash_token(token))
    file = stored_file(first)
    assert client.get(files_url(second, file.id), headers=bearer(token)).status_code == 404


def test_files_can_be_fetched_after_the_end(client: Client) -> None:
    session, token = token_session()
    file = stored_file(session)
    ChatSession.objects.update(status="ended", end_reason="user", ended_at=timezone.now())
    assert body_of(client.get(files_url(session, file.id), headers=bearer(token))) == b"hello"


def test_a_file_whose_content_is_gone_is_not_found(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    session, token = token_session()
    file = stored_file(session)
    Path(file.path).unlink()
    assert client.get(files_url(session, file.id), headers=bearer(token)).status_code == 404
    assert "is not in the storage" in caplog.text


async def test_an_asgi_server_streams(async_client: AsyncClient, transactional_db: None) -> None:
    session, token = await sync_to_async(token_session)()
    content = b"x" * 300_000
    file = await sync_to_async(lambda: stored_file(session, content))()
    response = await async_client.get(files_url(session, file.id), headers=bearer(token))
    chunks = [chunk async for chunk in response.streaming_content]
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) < 100_000
    await sync_to_async(response.close)()


def test_nothing_but_get_is_answered_at_a_files_address(client: Client) -> None:
    session, token = token_session()
    file = stored_file(session)
    response = client.delete(files_url(session, file.id), headers=bearer(token))
    assert error_of(response) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD"


# The chat's own rules


def test_a_chat_that_is_not_open_to_the_owner_any_more(client: Client, chat: Chat) -> None:
    """Its files are not either, in whichever way the owner shows that they are theirs."""
    ChatConsumer.as_asgi(chat=chat, permission_required="auth.view_user")
    ada = User.objects.create_user("ada")
    session, token = token_session(chat=chat.name, user=ada)
    file = stored_file(session)
    client.force_login(ada)
    address = files_url(session, file.id)
    for headers in (bearer(token), {}):
        assert error_of(client.get(address, headers=headers)) == (403, "forbidden")
        upload = client.post(files_url(session), b"x", content_type="text/plain", headers=headers)
        assert error_of(upload) == (403, "forbidden")
    assert SessionFile.objects.count() == 1
    stranger = Client()
    stranger.force_login(User.objects.create_user("eve"))
    assert error_of(stranger.get(address)) == (404, "not_found")
    ada.user_permissions.add(Permission.objects.get(codename="view_user"))
    assert body_of(client.get(address)) == b"hello"
    assert upload_body(client, session, token, b"x").status_code == 201


def test_a_chat_that_asks_for_a_login_by_now(client: Client, chat: Chat) -> None:
    ChatConsumer.as_asgi(chat=chat, login_required=True)
    session, token = token_session(chat=chat.name)
    address = files_url(session, stored_file(session).id)
    assert error_of(client.get(address, headers=bearer(token))) == (401, "unauthorized")
    assert error_of(upload_body(client, session, token, b"x")) == (401, "unauthorized")
    assert error_of(client.get(address)) == (404, "not_found")
    # Another consumer serves it to everybody.
    ChatConsumer.as_asgi(chat=chat)
    assert body_of(client.get(address, headers=bearer(token))) == b"hello"
