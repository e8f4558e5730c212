"""Files that come in slices: taken once and in order, whoever asks how often, and never in part."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage
from django.core.management import call_command
from django.db import connections
from django.test import AsyncClient, Client
from django.utils import timezone
from django.utils.module_loading import import_string

from chatsessions import Chat
from chatsessions.conf import Settings
from chatsessions.consumers import ChatConsumer
from chatsessions.files import uploads
from chatsessions.files.sweep import MIN_AGE, sweep
from chatsessions.models import ChatSession, SessionFile, SessionUpload, UploadSlice
from chatsessions.session import hash_token

from .support.files import (
    HTML,
    PNG,
    bearer,
    contents,
    files_url,
    stored_file,
    token_session,
    upload_body,
)
from .support.storage import session_row

pytestmark = pytest.mark.django_db(transaction=True)

SOURCES = Path(__file__).resolve().parent.parent / "frontend" / "src"
#: Bytes of a slice in these tests, the least that the setting allows.
SLICE = 64 * 1024
#: Two slices and a half.
CONTENT = bytes(range(256)) * (SLICE // 256) * 2 + b"x" * (SLICE // 2)
TOTAL = len(CONTENT)


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.CHATSESSIONS = {"UPLOAD_SLICE_BYTES": SLICE}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = str(temporary)
    yield
    assert list(temporary.iterdir()) == []


def use_storage(settings: Any, kind: type[Storage]) -> None:
    backend = f"{kind.__module__}.{kind.__qualname__}"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": backend}}


class Uploader:
    """A session's client that uploads one file in slices."""

    def __init__(self, client: Client, session: ChatSession, token: str = "") -> None:
        self.client = client
        self.headers = bearer(token) if token else {}
        self.url = f"/chats/{session.pk}/uploads/"

    def begin(self, size: int = TOTAL, *, name: Any = "data.bin", mime: Any = "") -> Any:
        return self.send("post", self.url, json.dumps({"name": name, "size": size, "mime": mime}))

    def begun(self, size: int = TOTAL, **told: Any) -> str:
        """The address of a new upload."""
        response = self.begin(size, **told)
        assert response.status_code == 201, response.content
        return f"{self.url}{json.loads(response.content)['upload']}/"

    def put(self, url: str, offset: Any, content: bytes | None = None) -> Any:
        if content is None:
            content = CONTENT[int(offset) : int(offset) + SLICE]
        return self.send("put", f"{url}?offset={offset}", content, "application/octet-stream")

    def brought(self, content: bytes = CONTENT, **told: Any) -> str:
        """The address of an upload whose slices are all there."""
        url = self.begun(len(content), **told)
        for offset in range(0, len(content), SLICE):
            response = self.put(url, offset, content[offset : offset + SLICE])
            assert told_of(response) == (200, min(offset + SLICE, len(content)))
        return url

    def finish(self, url: str) -> Any:
        return self.send("post", url)

    def give_up(self, url: str) -> Any:
        return self.send("delete", url)

    def send(self, method: str, url: str, body: Any = b"", mime: str = "application/json") -> Any:
        call: Callable[..., Any] = getattr(self.client, method)
        return call(url, body, content_type=mime, headers=self.headers)


@pytest.fixture
def uploader(client: Client) -> Uploader:
    session, token = token_session()
    return Uploader(client, session, token)


def told_of(response: Any) -> tuple[int, int]:
    """The status, and how far the upload has come."""
    return response.status_code, json.loads(response.content)["offset"]


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, json.loads(response.content)["error"]


def nothing_is_left() -> bool:
    left = SessionUpload.objects.count(), UploadSlice.objects.count(), SessionFile.objects.count()
    return left == (0, 0, 0) and contents() == set()


# The way of a file


def test_slices_are_stored_as_they_come_and_make_a_file_at_the_end(uploader: Uploader) -> None:
    response = uploader.begin(name="../../photo.dat")
    told = json.loads(response.content)
    assert (told["offset"], told["slice"]) == (0, SLICE)
    url = f"{uploader.url}{told['upload']}/"
    for number, offset in enumerate(range(0, TOTAL, SLICE), start=1):
        assert uploader.put(url, offset).status_code == 200
        assert len(contents()) == UploadSlice.objects.count() == number
    assert not SessionFile.objects.exists()
    response = uploader.finish(url)
    assert response.status_code == 201
    row = SessionFile.objects.get()
    expected = {"name": "photo.dat", "mime": "application/octet-stream", "size": TOTAL}
    assert json.loads(response.content) == {"id": str(row.pk), **expected}
    assert Path(row.content.path).read_bytes() == CONTENT
    assert (len(contents()), SessionUpload.objects.count()) == (1, 0)


def test_a_file_of_one_slice_and_one_of_exactly_two(uploader: Uploader) -> None:
    for size in (1, SLICE, 2 * SLICE):
        url = uploader.brought(b"x" * size)
        assert uploader.finish(url).status_code == 201
    for row, size in zip(SessionFile.objects.order_by("size"), (1, SLICE, 2 * SLICE), strict=True):
        assert Path(row.content.path).read_bytes() == b"x" * size


async def test_an_asgi_server_takes_slices(async_client: AsyncClient) -> None:
    session, token = await sync_to_async(token_session)()
    url, headers = f"/chats/{session.pk}/uploads/", bearer(token)
    body = {"name": "a.bin", "size": TOTAL}
    told = await async_client.post(url, body, content_type="application/json", headers=headers)
    url += f"{json.loads(told.content)['upload']}/"
    for offset in range(0, TOTAL, SLICE):
        part = CONTENT[offset : offset + SLICE]
        response = await async_client.put(f"{url}?offset={offset}", part, headers=headers)
        assert response.status_code == 200
    response = await async_client.post(url, content_type="text/plain", headers=headers)
    assert response.status_code == 201
    row = await SessionFile.objects.aget()
    assert await row.as_chat_file().read() == CONTENT


def test_an_upload_keeps_the_slices_that_it_was_begun_with(
    uploader: Uploader, settings: Any
) -> None:
    url = uploader.begun()
    settings.CHATSESSIONS = {"UPLOAD_SLICE_BYTES": 2 * SLICE}
    for offset in range(0, TOTAL, SLICE):
        assert uploader.put(url, offset).status_code == 200
    assert uploader.finish(url).status_code == 201


# Again


def test_a_slice_that_comes_again_changes_nothing(uploader: Uploader) -> None:
    url = uploader.begun()
    uploader.put(url, 0)
    before = contents()
    assert told_of(uploader.put(url, 0)) == (200, SLICE)
    assert told_of(uploader.put(url, 0, b"z" * SLICE)) == (200, SLICE)
    assert contents() == before
    uploader.put(url, SLICE)
    assert told_of(uploader.put(url, 0)) == (200, 2 * SLICE)
    uploader.put(url, 2 * SLICE)
    assert uploader.finish(url).status_code == 201
    assert Path(SessionFile.objects.get().content.path).read_bytes() == CONTENT


def test_what_is_finished_is_told_again_and_stays_one_file(uploader: Uploader) -> None:
    url = uploader.brought()
    first = uploader.finish(url)
    assert [uploader.finish(url).content, uploader.put(url, 0).content] == [first.content] * 2
    assert SessionFile.objects.count() == len(contents()) == 1
    assert uploader.give_up(url).status_code == 204
    assert SessionFile.objects.count() == len(contents()) == 1


def test_two_at_once_bring_a_slice_once(uploader: Uploader) -> None:
    url = uploader.begun()
    at_once(4, lambda: told_of(uploader.put(url, 0)), expected=[(200, SLICE)] * 4)
    assert len(contents()) == UploadSlice.objects.count() == 1


def test_two_at_once_make_one_file(uploader: Uploader) -> None:
    url = uploader.brought()
    said = at_once(4, lambda: uploader.finish(url).status_code)
    assert set(said) <= {201, 202}
    assert 201 in said
    assert SessionFile.objects.count() == len(contents()) == 1
    assert uploader.finish(url).status_code == 201


def at_once(count: int, step: Callable[[], Any], *, expected: list[Any] | None = None) -> list[Any]:
    said: list[Any] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        try:
            said.append(step())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert expected is None or said == expected
    return said


# Slices that do not belong there


def test_a_slice_out_of_order_is_told_where_to_go_on(uploader: Uploader) -> None:
    url = uploader.begun()
    response = uploader.put(url, SLICE)
    assert (error_of(response), told_of(response)) == ((409, "wrong_offset"), (409, 0))
    uploader.put(url, 0)
    assert told_of(uploader.put(url, 2 * SLICE)) == (409, SLICE)
    assert len(contents()) == 1


@pytest.mark.parametrize(
    "offset",
    [
        *("", "-1", "1", "x", "1e3", "0x0", "\u0660", "9" * 19, "9" * 5000, "nan", "0&offset=1"),
        *map(str, (SLICE // 2, SLICE + 1, 3 * SLICE, TOTAL)),
    ],
)
def test_no_slice_overlaps_another_or_lies_beyond_the_end(uploader: Uploader, offset: str) -> None:
    url = uploader.begun()
    assert error_of(uploader.put(url, offset, b"x" * SLICE)) == (400, "bad_request")
    assert contents() == set()


def test_a_slice_has_the_length_that_belongs_there(uploader: Uploader) -> None:
    url = uploader.begun()
    assert error_of(uploader.put(url, 0, b"x" * (SLICE + 1))) == (413, "too_large")
    assert error_of(uploader.put(url, 0, b"x" * (SLICE - 1))) == (400, "bad_request")
    assert error_of(uploader.put(url, 0, b"")) == (400, "bad_request")
    uploader.put(url, 0)
    uploader.put(url, SLICE)
    assert error_of(uploader.put(url, 2 * SLICE, b"x" * SLICE)) == (413, "too_large")
    assert len(contents()) == 2


def test_an_upload_is_not_finished_before_its_last_slice(uploader: Uploader) -> None:
    url = uploader.begun()
    uploader.put(url, 0)
    response = uploader.finish(url)
    assert (error_of(response), told_of(response)) == ((409, "wrong_offset"), (409, SLICE))
    assert not SessionFile.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"nonsense", b"[]", b"{}", b"null", b"\xff", b'{"name": "a"}', b'{"size": 1}'),
        *(b'{"name": 1, "size": 1}', b'{"name": "a", "size": "1"}', b'{"name": "a", "size": 1.5}'),
        *(b'{"name": "a", "size": true}', b'{"name": "a", "size": -1}'),
        b'{"name": "a", "size": 1e400}',
    ],
)
def test_what_begins_no_upload_says_what_does(uploader: Uploader, body: bytes) -> None:
    assert error_of(uploader.send("post", uploader.url, body)) == (400, "bad_request")
    assert nothing_is_left()


def test_a_form_is_no_slice(uploader: Uploader) -> None:
    url = uploader.begun()
    for mime in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        for method, address in (("post", uploader.url), ("put", f"{url}?offset=0"), ("post", url)):
            response = uploader.send(method, address, b"--x\r\n", mime)
            assert error_of(response) == (400, "bad_request")


def test_other_methods_are_not_allowed(uploader: Uploader) -> None:
    assert uploader.send("get", uploader.url).status_code == 405
    response = uploader.send("patch", uploader.begun())
    assert (error_of(response), response["Allow"]) == (
        (405, "method_not_allowed"),
        "PUT, POST, DELETE",
    )


# Limits


def test_the_page_brings_what_the_server_takes() -> None:
    """What it sends at once by default; of other limits the server tells it."""
    script = (SOURCES / "slices.js").read_text()
    found = re.search(r"export const SLICE = (\d+) \* 1024 \*\* 2;", script)
    assert found is not None
    assert int(found[1]) * 1024**2 == Settings.UPLOAD_SLICE_BYTES.default


def test_a_file_that_would_be_too_large_or_empty_is_not_begun(
    uploader: Uploader, settings: Any
) -> None:
    settings.CHATSESSIONS |= {"MAX_FILE_BYTES": 3 * SLICE}
    assert error_of(uploader.begin(3 * SLICE + 1)) == (413, "too_large")
    assert error_of(uploader.begin(10**30)) == (413, "too_large")
    assert error_of(uploader.begin(0)) == (400, "empty_file")
    assert uploader.begin(3 * SLICE).status_code == 201


def test_an_open_upload_counts_as_a_file(uploader: Uploader, settings: Any, client: Client) -> None:
    """So no session has more than a number of them, however many are begun."""
    settings.CHATSESSIONS |= {"MAX_FILES_PER_SESSION": 2}
    url = uploader.begun()
    uploader.begun()
    assert error_of(uploader.begin()) == (409, "too_many_files")
    session = ChatSession.objects.get()
    token = uploader.headers["Authorization"].removeprefix("Bearer ")
    assert error_of(upload_body(client, session, token, b"x")) == (409, "too_many_files")
    assert uploader.give_up(url).status_code == 204
    assert uploader.begin().status_code == 201


def test_what_has_come_of_uploads_takes_room(uploader: Uploader, settings: Any) -> None:
    settings.CHATSESSIONS |= {"MAX_FILES_BYTES_PER_SESSION": 3 * SLICE}
    assert error_of(uploader.begin(3 * SLICE + 1)) == (409, "too_many_files")
    first, second = uploader.begun(), uploader.begun()
    assert uploader.put(first, 0).status_code == 200
    assert uploader.put(second, 0).status_code == 200
    assert error_of(uploader.begin(SLICE + 1)) == (409, "too_many_files")
    assert uploader.put(first, SLICE).status_code == 200
    assert error_of(uploader.put(first, 2 * SLICE)) == (409, "too_many_files")
    assert error_of(uploader.put(second, SLICE)) == (409, "too_many_files")
    assert len(contents()) == UploadSlice.objects.count() == 3
    uploader.give_up(second)
    assert uploader.put(first, 2 * SLICE).status_code == 200
    assert uploader.finish(first).status_code == 201


@pytest.mark.parametrize("way", ["form", "body"])
def test_more_than_a_slice_in_one_request_is_refused(
    client: Client, uploader: Uploader, way: str
) -> None:
    session = ChatSession.objects.get()
    token = uploader.headers["Authorization"].removeprefix("Bearer ")
    for size, expected in ((SLICE, 201), (SLICE + 1, 413), (10 * SLICE, 413)):
        content = b"x" * size
        if way == "form":
            file = {"file": StringIO("x" * size)}
            response: Any = client.post(files_url(session), file, headers=bearer(token))
        else:
            response = upload_body(client, session, token, content)
        assert response.status_code == expected
    assert error_of(response) == (413, "slices_expected")
    assert len(contents()) == 1


def test_a_type_that_lies_about_itself_is_refused_with_the_first_slice(uploader: Uploader) -> None:
    url = uploader.begun(name="photo.png", mime="image/png")
    lie = HTML.ljust(SLICE, b" ")
    assert error_of(uploader.put(url, 0, lie)) == (415, "type_mismatch")
    assert nothing_is_left()
    assert error_of(uploader.put(url, 0, PNG.ljust(SLICE, b"\0"))) == (404, "not_found")


def test_a_type_that_is_not_taken_any_more_is_refused_at_the_end(
    uploader: Uploader, settings: Any
) -> None:
    url = uploader.brought(PNG.ljust(SLICE + 1, b"\0"), name="photo.png")
    settings.CHATSESSIONS |= {"FILE_TYPES": ["text/*"]}
    assert error_of(uploader.finish(url)) == (415, "type_not_accepted")
    assert nothing_is_left()


# Who may


def test_the_token_of_another_session_begins_brings_and_finishes_nothing(
    client: Client, uploader: Uploader
) -> None:
    url = uploader.brought()
    foreign, token = token_session()
    stranger = Uploader(client, foreign, token)
    own = stranger.begun()
    # Mine by its address, and by the address of the stranger's own session.
    theirs = f"{stranger.url}{url.rstrip('/').rpartition('/')[2]}/"
    unknown = f"{stranger.url}{uuid4()}/"
    answers = [stranger.send("post", uploader.url, b"{}")]
    for address in (url, theirs, unknown, f"{stranger.url}no-id/"):
        answers += [stranger.put(address, 0), stranger.finish(address)]
    assert {(one.status_code, one.content) for one in answers} == {(404, answers[0].content)}
    given_up = [stranger.give_up(address).status_code for address in (url, theirs, unknown)]
    assert given_up == [404, 204, 204]
    assert SessionUpload.objects.get(session=foreign).received == 0
    assert uploader.finish(url).status_code == 201
    assert error_of(stranger.finish(theirs)) == (404, "not_found")
    assert stranger.put(own, 0).status_code == 200


def test_another_site_cannot_upload_slices_on_behalf_of_a_logged_in_user() -> None:
    client = Client(enforce_csrf_checks=True)
    user = User.objects.create_user("alice")
    client.force_login(user)
    forged = Uploader(client, session_row(user=user, token_hash=hash_token("the token")))
    assert error_of(forged.begin()) == (403, "csrf_failed")
    client.get("/admin/login/?next=/")
    genuine = Uploader(client, ChatSession.objects.get())
    genuine.headers = {"X-CSRFToken": client.cookies["csrftoken"].value}
    url = genuine.brought()
    for response in (forged.put(url, 0), forged.finish(url), forged.give_up(url)):
        assert error_of(response) == (403, "csrf_failed")
    assert genuine.finish(url).status_code == 201


def test_slices_of_a_chat_that_is_not_open_any_more(client: Client, chat: Chat) -> None:
    session, token = token_session(chat=chat.name)
    uploader = Uploader(client, session, token)
    url = uploader.begun()
    ChatConsumer.as_asgi(chat=chat, login_required=True)
    for response in (uploader.begin(), uploader.put(url, 0), uploader.finish(url)):
        assert error_of(response) == (401, "unauthorized")
    assert contents() == set()


def test_nothing_is_taken_once_the_session_has_ended(uploader: Uploader) -> None:
    url, whole = uploader.begun(), uploader.brought()
    before = contents()
    ChatSession.objects.update(status="ended", end_reason="user", ended_at=timezone.now())
    for response in (uploader.begin(), uploader.put(url, 0), uploader.finish(whole)):
        assert error_of(response) == (410, "session_ended")
    assert (contents(), SessionFile.objects.count()) == (before, 0)
    assert uploader.give_up(url).status_code == uploader.give_up(whole).status_code == 204
    assert nothing_is_left()


class EndsMeanwhile(FileSystemStorage):
    """The session ends while a file is stored."""

    def _save(self, name: str, content: File[Any]) -> str:
        ChatSession.objects.update(status="ended", end_reason="user", ended_at=timezone.now())
        return super()._save(name, content)


def test_a_session_that_ends_while_a_slice_or_a_file_is_stored(
    uploader: Uploader, settings: Any
) -> None:
    url, whole = uploader.begun(), uploader.brought()
    before = contents()
    use_storage(settings, EndsMeanwhile)
    assert error_of(uploader.put(url, 0)) == (410, "session_ended")
    assert contents() == before
    ChatSession.objects.update(status="connected", end_reason="", ended_at=None)
    assert error_of(uploader.finish(whole)) == (410, "session_ended")
    assert (contents(), SessionFile.objects.count()) == (set(), 0)


# What is given up


def test_what_is_given_up_takes_its_slices_along(uploader: Uploader) -> None:
    url = uploader.begun()
    uploader.put(url, 0)
    assert uploader.give_up(url).status_code == 204
    assert nothing_is_left()
    for response in (uploader.put(url, SLICE), uploader.finish(url)):
        assert error_of(response) == (404, "not_found")
    assert uploader.give_up(url).status_code == 204


def test_slices_go_with_their_session(uploader: Uploader) -> None:
    uploader.put(uploader.begun(), 0)
    ChatSession.objects.all().delete()
    assert nothing_is_left()


def age(url: str, *, seconds: float) -> None:
    then = timezone.now() - timedelta(seconds=seconds)
    SessionUpload.objects.filter(pk=url.rstrip("/").rpartition("/")[2]).update(touched_at=then)


def test_a_new_upload_takes_the_place_of_one_that_nobody_goes_on_with(
    uploader: Uploader, settings: Any
) -> None:
    settings.CHATSESSIONS |= {"MAX_FILES_PER_SESSION": 1, "UPLOAD_AGE": 60}
    old = uploader.begun()
    uploader.put(old, 0)
    age(old, seconds=59)
    assert error_of(uploader.begin()) == (409, "too_many_files")
    age(old, seconds=61)
    assert uploader.begin().status_code == 201
    assert error_of(uploader.put(old, SLICE)) == (404, "not_found")
    assert contents() == set()


def test_a_slice_that_comes_late_is_welcome_as_long_as_there_is_room(uploader: Uploader) -> None:
    url = uploader.begun()
    uploader.put(url, 0)
    age(url, seconds=24 * 3600)
    assert told_of(uploader.put(url, SLICE)) == (200, 2 * SLICE)


def clearchatsessions(*arguments: str) -> str:
    out = StringIO()
    import_string("demo_project.asgi.application")
    call_command("clearchatsessions", *arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def test_the_command_gives_up_what_was_never_finished_and_says_so(uploader: Uploader) -> None:
    never, now = uploader.begun(), uploader.begun()
    uploader.put(never, 0)
    uploader.put(now, 0)
    age(never, seconds=601)
    assert "Would give up 1 unfinished upload." in clearchatsessions("--dry-run")
    assert len(contents()) == 2
    assert "Gave up 1 unfinished upload." in clearchatsessions()
    assert (len(contents()), SessionUpload.objects.count()) == (1, 1)
    assert "upload" not in clearchatsessions()


def test_the_sweep_leaves_slices_that_have_a_row(uploader: Uploader) -> None:
    uploader.put(uploader.begun(), 0)
    later = timezone.now() + 2 * MIN_AGE
    assert sweep(now=later).found == 0
    UploadSlice.objects.all()._raw_delete("default")
    assert sweep(now=later).found == 1
    assert contents() == set()


# Storages that fail, and servers that die


class Full(FileSystemStorage):
    """Writes some of a file, and then no more."""

    def _save(self, name: str, content: File[Any]) -> str:
        super()._save(name, content)
        raise OSError(28, "No space left on device")


def test_a_storage_that_fails_loses_nothing_of_an_upload(
    uploader: Uploader, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = settings.STORAGES
    url = uploader.begun()
    uploader.put(url, 0)
    use_storage(settings, Full)
    assert error_of(uploader.put(url, SLICE)) == (503, "storage_unavailable")
    assert len(contents()) == 1
    settings.STORAGES = good
    for offset in (SLICE, 2 * SLICE):
        assert uploader.put(url, offset).status_code == 200
    use_storage(settings, Full)
    assert error_of(uploader.finish(url)) == (503, "storage_unavailable")
    assert (len(contents()), SessionFile.objects.count()) == (3, 0)
    settings.STORAGES = good
    assert uploader.finish(url).status_code == 201
    assert Path(SessionFile.objects.get().content.path).read_bytes() == CONTENT
    assert caplog.text.count("No space left") >= 2


def test_while_one_request_puts_it_together_another_is_told_to_ask_again(
    uploader: Uploader,
) -> None:
    url = uploader.brought()
    SessionUpload.objects.update(joiner=uuid4())
    response = uploader.finish(url)
    assert (told_of(response), response["Retry-After"]) == ((202, TOTAL), "1")
    assert told_of(uploader.put(url, 0)) == (200, TOTAL)
    assert not SessionFile.objects.exists()


def test_what_a_dead_server_was_putting_together_another_puts_together(uploader: Uploader) -> None:
    url = uploader.brought()
    SessionUpload.objects.update(joiner=uuid4())
    age(url, seconds=uploads.JOINER_SILENCE + 1)
    assert uploader.finish(url).status_code == 201
    assert len(contents()) == SessionFile.objects.count() == 1


class Overtaken(FileSystemStorage):
    """While it reads the slices somebody else does something to the upload."""

    meanwhile: Callable[[], Any]

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        type(self).meanwhile()
        return super()._open(name, mode)


@pytest.mark.parametrize("by", ["another", "nobody"])
def test_who_is_overtaken_while_putting_together_leaves_it_to_the_other(
    uploader: Uploader, settings: Any, by: str
) -> None:
    """A server that slept, or a client that has given the upload up meanwhile."""
    url = uploader.brought()
    use_storage(settings, Overtaken)
    if by == "another":
        Overtaken.meanwhile = lambda: SessionUpload.objects.update(joiner=uuid4())
    else:
        Overtaken.meanwhile = lambda: SessionUpload.objects.all().delete()
    assert uploader.finish(url).status_code == 202
    assert not SessionFile.objects.exists()
    left = 3 if by == "another" else 0
    assert (len(contents()), UploadSlice.objects.count()) == (left, left)
    assert uploader.finish(url).status_code == (202 if by == "another" else 404)


def test_files_and_slices_of_one_session_lie_beside_each_other(uploader: Uploader) -> None:
    session = ChatSession.objects.get()
    file = stored_file(session)
    uploader.give_up(uploader.brought())
    assert contents() == {file.key.removeprefix("chatsessions/")}
