"""Files stored and deleted, rows and content together; what a crash leaves is swept."""

from __future__ import annotations

import gzip
import inspect
import os
import threading
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from chatsessions import ChatFile, FileRefused, SessionNotFound, SessionOver
from chatsessions.admin.actions import delete_all
from chatsessions.models import ChatSession, SessionFile
from chatsessions.storage import serializer
from chatsessions.storage.files import files_of, find_files, store, sweep

from .support.files import contents, storage_root, stored_file
from .support.storage import session_row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


def use_storage(settings: Any, kind: type[Storage]) -> None:
    backend = f"{kind.__module__}.{kind.__qualname__}"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": backend}}


class NotDeleting(FileSystemStorage):
    """Deletes nothing while the network is away."""

    def delete(self, name: str) -> None:
        raise ConnectionError("no storage here")


class RemoteStorage(FileSystemStorage):
    """As S3 is: without local paths, and here without a list."""

    def path(self, name: str) -> str:
        if inspect.stack()[1].filename.endswith("filesystem.py"):
            return super().path(name)
        raise NotImplementedError("This backend doesn't support absolute paths.")

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        raise NotImplementedError("subclasses of Storage must provide a listdir() method")


# Storing


def test_a_stored_file_is_read_again() -> None:
    session = session_row()
    file = stored_file(session, b"hello")
    assert file.key == f"chatsessions/{session.pk.hex}/{SessionFile.objects.get().pk.hex}"
    assert Path(file.path).read_bytes() == b"hello"
    with file.open() as content:
        assert content.read() == b"hello"
    assert (file.type, file.mime, file.size) == ("text/plain", "text/plain", 5)
    assert files_of(session.pk) == find_files(session.pk, [file.id]) == [file]


async def test_a_file_is_read_in_a_handler() -> None:

    file = await sync_to_async(lambda: stored_file(session_row()))()
    assert await file.read() == b"hello"


def test_a_file_can_be_kept_in_user_session() -> None:
    file = stored_file(session_row())
    assert serializer.loads(serializer.dumps({"file": file})) == {"file": file}


def test_files_of_no_session_are_not_stored() -> None:
    gone = ChatSession(id=uuid4())
    with pytest.raises(SessionNotFound):
        stored_file(gone)
    ended = session_row(status="ended", end_reason="user")
    with pytest.raises(SessionOver, match="user"):
        stored_file(ended)
    assert contents() == set()
    assert not any(storage_root().iterdir())


def test_a_foreign_file_is_not_found() -> None:
    mine, foreign = session_row(), session_row()
    file = stored_file(foreign)
    for ids in ([file.id], [stored_file(mine).id, file.id], ["no-id"], ["1" * 5000]):
        with pytest.raises(FileRefused, match="no such file"):
            find_files(mine.pk, ids)


def test_files_are_found_in_the_order_asked_for_and_once() -> None:
    session = session_row()
    first, second = stored_file(session), stored_file(session)
    ids = [second.id, first.id, second.id.upper(), second.id]
    assert find_files(session.pk, ids) == [second, first]
    assert find_files(session.pk, []) == []


def test_more_ids_than_there_can_be_files_are_not_even_looked_up(
    settings: Any, django_assert_num_queries: Any
) -> None:

    settings.CHATSESSIONS = {"MAX_FILES_PER_SESSION": 3}
    with django_assert_num_queries(0), pytest.raises(FileRefused):
        find_files(uuid4(), [str(uuid4()) for _ in range(4)])


def test_two_uploads_at_once_do_not_share_the_last_place(settings: Any) -> None:
    settings.CHATSESSIONS = {"MAX_FILES_PER_SESSION": 3}
    session = session_row()
    refused = []
    barrier = threading.Barrier(6)

    def add() -> None:
        barrier.wait()
        try:
            store(session.pk, ContentFile(b"x"), name="a", mime="text/plain")
        except FileRefused as error:
            refused.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["too_many_files"] * 3
    assert len(contents()) == SessionFile.objects.count() == 3


def test_a_storage_elsewhere_has_no_path_and_says_what_to_do(settings: Any) -> None:
    use_storage(settings, RemoteStorage)
    file = stored_file(session_row())
    with pytest.raises(NotImplementedError, match=r"await file\.read\(\)"):
        _ = file.path
    with file.open() as content:
        assert content.read() == b"hello"
    SessionFile.objects.all().delete()
    assert contents() == set()


class Unmeasured(FileSystemStorage):
    """Does not tell how large its files are, as a storage may."""

    def size(self, name: str) -> int:
        raise NotImplementedError("subclasses of Storage must provide a size() method")


def test_in_a_storage_that_tells_no_sizes_a_file_is_as_large_as_it_says(settings: Any) -> None:
    use_storage(settings, Unmeasured)
    assert stored_file(session_row()).size == 5


class Packed(FileSystemStorage):
    """Packs what it stores, and says how large that is."""

    def _save(self, name: str, content: File[bytes]) -> str:
        return super()._save(name, ContentFile(gzip.compress(content.read())))

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        with super()._open(name, mode) as packed:
            return ContentFile(gzip.decompress(packed.read()))


def test_a_file_in_a_storage_that_packs_is_as_large_as_what_is_read(settings: Any) -> None:
    use_storage(settings, Packed)
    assert stored_file(session_row()).size == 5


def test_a_file_whose_commit_was_not_confirmed_keeps_its_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_row()
    commit = connection.commit

    def commit_unheard() -> None:
        commit()
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patched:
        patched.setattr(connection, "commit", commit_unheard)
        with pytest.raises(OperationalError, match="lost"):
            stored_file(session)
    [file] = files_of(session.pk)
    with file.open() as content:
        assert content.read() == b"hello"


# Deleting


def by_queryset(session: ChatSession) -> None:
    ChatSession.objects.filter(pk=session.pk).delete()


def by_instance(session: ChatSession) -> None:
    session.delete()


def by_user(session: ChatSession) -> None:
    assert session.user is not None
    session.user.delete()


def by_file(session: ChatSession) -> None:
    SessionFile.objects.filter(session=session).delete()


def by_command(session: ChatSession) -> None:
    long_ago = timezone.now() - timedelta(days=30)
    ChatSession.objects.filter(pk=session.pk).update(status="ended", ended_at=long_ago)
    run()


def by_admin(session: ChatSession) -> None:

    delete_all(ChatSession.objects.filter(pk=session.pk))


@pytest.mark.parametrize(
    "delete", [by_queryset, by_instance, by_user, by_file, by_command, by_admin]
)
def test_content_goes_with_its_row(delete: Any) -> None:
    session = session_row(user=User.objects.create_user("alice"))
    stored_file(session)
    stored_file(session)
    kept = stored_file(session_row())
    delete(session)
    assert contents() == {kept.key.removeprefix("chatsessions/")}
    assert [path.name for path in storage_root().iterdir()] == [kept.session_id.hex]
    assert SessionFile.objects.count() == 1


def test_content_stays_while_its_deletion_may_be_undone() -> None:
    session = session_row()
    stored_file(session)
    with transaction.atomic():
        session.delete()
        assert len(contents()) == 1
        transaction.set_rollback(True)
    assert len(contents()) == SessionFile.objects.count() == 1


def test_a_storage_that_fails_stops_no_deletion_and_is_swept_later(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session = session_row()
    file = stored_file(session)
    good = settings.STORAGES
    use_storage(settings, NotDeleting)
    session.delete()
    assert not ChatSession.objects.exists()
    assert "is swept later" in caplog.text
    assert len(contents()) == 1
    age(file.key)
    assert (sweep().found, sweep().failed) == (1, 1)
    settings.STORAGES = good
    assert sweep().found == 1
    assert contents() == set()


# The sweep


def age(key: str, *, days: float = 2) -> None:
    """``key`` was last changed ``days`` ago."""
    path = storage_root().parent / key
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


def put(key: str, *, days: float) -> str:
    path = storage_root().parent / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"orphan")
    age(key, days=days)
    return key.removeprefix("chatsessions/")


FOLDER = "chatsessions/" + "a" * 32


def test_the_sweep_deletes_old_content_without_a_row_and_nothing_else() -> None:
    kept = stored_file(session_row())
    age(kept.key)
    put(f"{FOLDER}/{'b' * 32}", days=2)
    put(f"{FOLDER}/{'b' * 32}_Xy7zzzz", days=2)
    left = {
        kept.key.removeprefix("chatsessions/"),
        put(f"{FOLDER}/{'c' * 32}", days=0.5),  # may still get its row
        put(f"{FOLDER}/readme.txt", days=2),
        put("chatsessions/others/" + "b" * 32, days=2),
    }
    swept = sweep(dry_run=True)
    assert (swept.found, swept.possible) == (2, True)
    assert len(contents()) == 6
    assert sweep().found == 2
    assert contents() == left
    assert sweep().found == 0


def test_the_sweep_removes_the_folder_that_it_has_emptied() -> None:
    put(f"{FOLDER}/{'b' * 32}", days=2)
    sweep()
    age(FOLDER)
    sweep()
    assert list(storage_root().iterdir()) == []


def test_a_storage_without_anything_is_swept_in_peace() -> None:
    assert sweep().found == 0


def run(*arguments: str) -> str:
    out = StringIO()
    import_string("demo_project.asgi.application")
    call_command("clearchatsessions", *arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def test_the_command_sweeps_and_says_so() -> None:
    put(f"{FOLDER}/{'b' * 32}", days=2)
    assert "Would delete 1 file without a session." in run("--dry-run")
    assert len(contents()) == 1
    assert "Deleted 1 file without a session." in run()
    assert contents() == set()
    assert "file" not in run()


def test_the_command_says_what_it_could_not_sweep(settings: Any) -> None:
    put(f"{FOLDER}/{'b' * 32}", days=2)
    use_storage(settings, NotDeleting)
    assert "1 file without a session could not be deleted" in run()
    use_storage(settings, RemoteStorage)
    assert "cannot list its files" in run()
    settings.CHATSESSIONS = {"STORAGE": "nowhere"}
    assert "could not be swept" in run()


def test_a_storage_is_looked_up_at_use(settings: Any, tmp_path: Path) -> None:
    other = {"BACKEND": FileSystemStorage.__module__ + ".FileSystemStorage"}
    other |= {"OPTIONS": {"location": str(tmp_path / "other")}}  # type: ignore[dict-item]
    settings.STORAGES = settings.STORAGES | {"other": other}
    settings.CHATSESSIONS = {"STORAGE": "other"}
    file = stored_file(session_row())
    assert Path(file.path).is_relative_to(tmp_path / "other")
    row = SessionFile.objects.get()
    with row.content.open() as content:
        assert content.read() == b"hello"
    assert row.as_chat_file() == file
    assert isinstance(file, ChatFile)
    assert connection.alias == "default"
