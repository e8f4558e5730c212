"""``manage.py clearchatsessions``: what it ends, deletes, leaves alone, and says."""

from __future__ import annotations

import sys
from datetime import timedelta
from io import StringIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string

from chatsessions import Chat, context, user_session
from chatsessions.auth.access import hash_token
from chatsessions.models import ChatSession, SessionEvent, Worker
from chatsessions.workers.worker import get_worker, running_workers

from .support.database import noted_statements, poisoned
from .support.sessions import Client, join_threads_of_ours, threads_of_ours
from .support.storage import expired_row, session_row, worker_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def lifetimes(settings: Settings) -> None:
    # Its first import sets up Django's logging again, and caplog would be cut off.
    import_string(settings.ASGI_APPLICATION)
    settings.CHATSESSIONS = {"SESSION_AGE": 60, "KEEP": 3600}


def run(*arguments: str) -> list[str]:
    """The lines that the command writes; nothing of it may be left behind."""
    out, err = StringIO(), StringIO()
    workers = set(Worker.objects.values_list("pk", flat=True))
    try:
        call_command("clearchatsessions", *arguments, stdout=out, stderr=err, no_color=True)
    finally:
        join_threads_of_ours()
        assert threads_of_ours() == set()
        assert running_workers() == []
        assert set(Worker.objects.values_list("pk", flat=True)) <= workers
    return (out.getvalue() + err.getvalue()).splitlines()


def over(chat: Chat, hours: float = 2, *, entries: int = 3) -> ChatSession:
    """A session that ended a while ago, with its log."""
    row = session_row(
        chat=chat.name,
        status=ChatSession.Status.ENDED,
        end_reason="user",
        ended_at=timezone.now() - timedelta(hours=hours),
        head=entries,
    )
    data: Any = {}  # the stubs take a JSONTextField for text
    SessionEvent.objects.bulk_create(
        SessionEvent(session=row, seq=seq, name="message", data=data, created_at=row.created_at)
        for seq in range(1, entries + 1)
    )
    return row


def snapshot() -> list[Any]:
    return [
        list(model.objects.order_by("pk").values()) for model in (ChatSession, SessionEvent, Worker)
    ]


def status_of(row: ChatSession) -> tuple[str, str]:
    row = ChatSession.objects.get(pk=row.pk)
    return row.status, row.end_reason


# What it does


def test_what_is_neither_expired_nor_past_its_keep_stays(chat: Chat) -> None:
    session_row(chat=chat.name)
    session_row(chat=chat.name, status=ChatSession.Status.CONNECTED, worker=worker_row())
    over(chat, hours=0.5)
    before = snapshot()
    assert run() == ["Ended 0 sessions, deleted 0 sessions."]
    assert snapshot() == before


@pytest.mark.parametrize(
    ("away", "ended", "line"),
    [
        (0, 0, "Would end 0 sessions and delete 0 sessions."),
        (1, 1, "Would end 1 session and delete 1 session."),
        (3, 2, "Would end 3 sessions and delete 2 sessions."),
    ],
)
def test_a_dry_run_counts_and_changes_nothing(
    chat: Chat, settings: Settings, away: int, ended: int, line: str
) -> None:
    calls: list[str] = []
    chat.on_chat_end(calls.append)
    for _ in range(away):
        expired_row(chat)
    for _ in range(ended):
        over(chat)
    session_row(chat=chat.name)
    before = snapshot()
    # It runs no handler, so it needs no application.
    settings.ASGI_APPLICATION = "tests.nowhere.application"
    assert run("--dry-run") == [line]
    assert snapshot() == before
    assert calls == []


def test_what_has_expired_ends_with_its_hook(chat: Chat) -> None:
    calls: list[Any] = []

    @chat.on_chat_end
    async def end(reason: str) -> None:
        calls.append((context.session.id, reason))
        user_session["bye"] = user_session["name"]

    rows = [expired_row(chat, state=f'{{"name":{number}}}') for number in range(3)]
    kept = session_row(chat=chat.name)
    assert run() == ["Ended 3 sessions, deleted 0 sessions."]
    assert sorted(calls) == sorted((row.pk, "expired") for row in rows)
    for number, row in enumerate(rows):
        assert status_of(row) == ("ended", "expired")
        after = ChatSession.objects.get(pk=row.pk)
        assert after.state == f'{{"name":{number},"bye":{number}}}'
        assert after.worker is None
        assert after.ended_at is not None
    assert status_of(kept) == ("away", "")
    # Once: the second run finds nothing.
    assert run() == ["Ended 0 sessions, deleted 0 sessions."]
    assert len(calls) == 3


def test_a_failing_hook_keeps_nobody_from_ending(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    @chat.on_chat_end
    async def end() -> None:
        raise ValueError("on purpose")

    rows = [expired_row(chat) for _ in range(2)]
    assert run() == ["Ended 2 sessions, deleted 0 sessions."]
    assert [status_of(row) for row in rows] == [("ended", "expired")] * 2
    assert caplog.text.count("ValueError: on purpose") == 2


def test_a_row_that_cannot_be_written_keeps_nobody_from_ending(chat: Chat) -> None:
    rows = [expired_row(chat) for _ in range(3)]
    with poisoned(rows[1].pk):
        lines = run()
    assert status_of(rows[0]) == status_of(rows[2]) == ("ended", "expired")
    assert status_of(rows[1]) == ("away", "")
    assert "Ended 2 sessions, deleted 0 sessions." in lines
    assert any(str(rows[1].pk) in line for line in lines)


def test_an_end_that_a_crash_cut_short_is_finished(chat: Chat) -> None:
    """Its on_chat_end has begun before; it is not run again."""
    calls: list[str] = []
    chat.on_chat_end(calls.append)
    row = expired_row(chat, end_reason="user")
    run()
    assert status_of(row) == ("ended", "user")
    assert calls == []


def test_what_is_past_its_keep_is_deleted_with_its_log(chat: Chat) -> None:
    calls: list[str] = []
    chat.on_chat_end(calls.append)
    for _ in range(3):
        over(chat)
    kept = over(chat, hours=0.5, entries=2)
    assert run() == ["Ended 0 sessions, deleted 3 sessions."]
    assert list(ChatSession.objects.all()) == [kept]
    assert SessionEvent.objects.count() == SessionEvent.objects.filter(session=kept).count() == 2
    assert calls == []


def test_sessions_of_a_living_worker_are_left_to_it(chat: Chat) -> None:
    calls: list[str] = []
    chat.on_chat_end(calls.append)
    other = worker_row()
    held, free = expired_row(chat, worker=other), expired_row(chat)
    lines = run()
    assert lines[0] == "Ended 1 session, deleted 0 sessions."
    assert lines[1].startswith("Left 1 session to the servers that hold")
    assert len(lines) == 2
    after = ChatSession.objects.get(pk=held.pk)
    assert (after.status, after.worker, after.generation) == ("away", other, 1)
    assert status_of(free) == ("ended", "expired")
    assert list(Worker.objects.all()) == [other]
    assert calls == ["expired"]


def test_sessions_of_a_dead_worker_are_ended(chat: Chat) -> None:
    dead = worker_row(heartbeat_at=timezone.now() - timedelta(hours=1))
    row = expired_row(chat, worker=dead)
    assert run() == ["Ended 1 session, deleted 0 sessions."]
    assert status_of(row) == ("ended", "expired")
    assert not Worker.objects.exists()


def test_a_client_that_comes_back_while_others_end_keeps_its_session(
    chat: Chat, settings: Settings
) -> None:
    """A session may wait for hundreds of ends before its turn comes."""
    settings.CHATSESSIONS = {"SESSION_AGE": 3600, "UNUSED_SESSION_AGE": 60}
    # Of clients that have only connected, so that they may come back.
    token = {"token_hash": hash_token("token"), "has_acted": False}
    left = {expired_row(chat, **token).pk for _ in range(2)}
    back: list[Client] = []

    @chat.on_chat_end
    async def end(reason: str) -> None:
        left.remove(context.session.id)
        if not back:
            (other,) = left
            back.append(await Client.open(get_worker(), chat, other, "token"))

    assert run() == ["Ended 1 session, deleted 0 sessions."]
    (client,) = back
    assert client.resumed
    assert client.closed == [(4000, None)]  # as the command's process ends
    assert status_of(ChatSession(pk=client.live.id)) == ("away", "")


def test_those_that_no_code_is_told_of_end_together(chat: Chat) -> None:
    """Those of a chat that is gone among them. One by one, a hundred thousand took half an hour."""
    calls: list[str] = []
    chat.on_chat_end(calls.append)
    rows = [expired_row(one) for one in [Chat("tests.long.gone")] * 50 + [chat] * 2]
    kept = session_row(chat=chat.name)
    with noted_statements() as statements:
        connection.close()
        assert run() == ["Ended 52 sessions, deleted 0 sessions."]
    assert [status_of(row) for row in rows] == [("ended", "expired")] * 52
    assert status_of(kept) == ("away", "")
    assert calls == ["expired"] * 2
    assert 0 < sum(sql.startswith('UPDATE "chatsessions_chatsession"') for sql in statements) < 10


# Batches


def test_batches_say_how_far_they_are(chat: Chat) -> None:
    for _ in range(3):
        expired_row(chat)
    for _ in range(2):
        over(chat)
    assert run("--batch-size", "1") == [
        "Ending: 1 of 3",
        "Ending: 2 of 3",
        "Ending: 3 of 3",
        "Deleting: 1 of 2",
        "Deleting: 2 of 2",
        "Ended 3 sessions, deleted 2 sessions.",
    ]
    assert ChatSession.objects.ended().count() == ChatSession.objects.count() == 3


@pytest.mark.parametrize(
    ("size", "progress"),
    [(2, ["Deleting: 2 of 5", "Deleting: 4 of 5", "Deleting: 5 of 5"]), (5, [])],
)
def test_the_last_batch_may_be_smaller_and_a_single_one_says_nothing(
    chat: Chat, size: int, progress: list[str]
) -> None:
    for _ in range(5):
        over(chat)
    assert run(f"--batch-size={size}") == [*progress, "Ended 0 sessions, deleted 5 sessions."]
    assert not SessionEvent.objects.exists()


# What it refuses


@pytest.mark.parametrize("size", ["0", "-1", "x", "", "1.5"])
def test_wrong_batch_sizes(chat: Chat, size: str) -> None:
    row = expired_row(chat)
    with pytest.raises(CommandError) as raised:
        run(f"--batch-size={size}")
    assert str(raised.value) == "Error: argument --batch-size: must be 1 or more"
    assert status_of(row) == ("away", "")


def test_unknown_arguments(chat: Chat) -> None:
    with pytest.raises(CommandError, match="unrecognized arguments: --everything"):
        run("--everything")


@pytest.mark.parametrize(
    "path", ["tests.nowhere.application", "tests.settings.application", "application"]
)
def test_an_application_that_cannot_be_imported(chat: Chat, settings: Settings, path: str) -> None:
    settings.ASGI_APPLICATION = path
    row, past = expired_row(chat), over(chat)
    with pytest.raises(CommandError, match=f"ASGI_APPLICATION '{path}' cannot be imported: "):
        run()
    assert status_of(row) == ("away", "")
    assert ChatSession.objects.filter(pk=past.pk).exists()


def test_without_an_application_it_says_that_no_hooks_run(chat: Chat, settings: Settings) -> None:
    del settings.ASGI_APPLICATION
    row = expired_row(chat)
    assert run() == [
        "Ended 1 session, deleted 0 sessions.",
        "ASGI_APPLICATION is not set: no on_chat_end handler will run.",
    ]
    assert status_of(row) == ("ended", "expired")


def test_the_application_brings_the_hooks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, chat: Chat
) -> None:
    """The command imports it before anything ends."""
    calls: list[str] = []

    class Application(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name != "application":
                raise AttributeError(name)
            chat.on_chat_end(calls.append)
            return object()

    monkeypatch.setitem(sys.modules, "tests_asgi", Application("tests_asgi"))
    settings.ASGI_APPLICATION = "tests_asgi.application"
    expired_row(chat)
    run()
    assert calls == ["expired"]
