"""
Many rows, fast: ``python -m benchmarks.filling --sessions 100000 --entries 50``.

Run with the settings of the database that is to be filled. One session is made by the models, and
multiplied by SQL: whatever columns there are.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from chatsessions.models import ChatSession

#: Sessions per transaction.
CHUNK = 2_000
USERS = 1_000
#: The chat of the sessions made here, by which they are found again.
CHAT = "filled"
PAGE_CHAT = "filled page"

CLIENT_DATA = '{"content":"message #, and what else one has to say"}'
SERVER_DATA = (
    '{"id":"5f0c9a4e-0d0e-4c2f-9d55-6f1c3a1f0b7e","author":"Assistant","content":'
    '"You have sent # message(s)!","created_at":"2025-01-01T12:00:00.123456Z","streaming":false}'
)


def fill(sessions: int, entries: int) -> None:
    """Add sessions until there are ``sessions``, each with ``entries`` entries in its log."""
    from chatsessions.models import ChatSession

    _make_users()
    there = ChatSession.objects.filter(chat=CHAT).count()
    while there < sessions:
        count = min(CHUNK, sessions - there)
        _multiply(CHAT, first=there, count=count, entries=entries)
        there += count
    _vacuum()


def make_page(entries: int) -> str:
    """Make one session with ``entries`` entries in its log, and return its id."""
    from chatsessions.models import ChatSession

    _make_users()
    _multiply(PAGE_CHAT, first=0, count=1, entries=entries)
    newest = ChatSession.objects.filter(chat=PAGE_CHAT, head=entries).values_list("pk", flat=True)
    return str(newest[0])


def _make_users() -> None:
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if not users.exists():
        users.bulk_create(users.model(username=f"user{number}") for number in range(USERS))


def _multiply(chat: str, *, first: int, count: int, entries: int) -> None:
    from django.db import connection, transaction

    prototype = _prototype(chat, entries)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_fresh(_series(first, first + count)))
        cursor.execute(_sessions(prototype))
        cursor.execute(_entries(entries))
        cursor.execute("DROP TABLE fresh")
    prototype.delete()


def _prototype(chat: str, entries: int) -> ChatSession:
    from django.utils import timezone

    from chatsessions.models import ChatSession

    now = timezone.now()
    said = (entries + 1) // 2
    return ChatSession.objects.create(
        chat=chat,
        token_hash="0" * 64,
        client_type="webapp",
        language="en",
        ip="192.0.2.1",
        user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        topic="message 1, and what else one has to say",
        status=ChatSession.Status.ENDED,
        end_reason=ChatSession.EndReason.USER,
        state=json.dumps({"message_count": said}),
        state_bytes=20,
        accepted=said,
        handled=said,
        head=entries,
        events_in=said,
        events_out=entries - said,
        connections=1,
        created_at=now - timedelta(minutes=5),
        last_seen_at=now,
        connected_at=now - timedelta(minutes=5),
        disconnected_at=now,
        ended_at=now,
    )


def _fresh(numbers: str) -> str:
    """Return the statement that makes the table ``fresh``, with the ids of new sessions."""
    columns = f"{_new_uuid()} AS id, i AS number"
    return f"CREATE TEMPORARY TABLE fresh AS SELECT {columns} FROM {numbers} ORDER BY 1"  # noqa: S608


def _sessions(prototype: ChatSession) -> str:
    """
    Return the statement that makes a session for each row of ``fresh``.

    Their times are 12 seconds apart, and every other session is an anonymous one.
    """
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.order_by("pk").values_list("pk", flat=True)[0]
    # The client of one session in fifty is away; the other sessions have ended.
    away = "f.number % 50 = 0"
    changed = {
        "id": "f.id",
        "thread_id": "f.id",
        "user_id": f"CASE WHEN f.number % 2 = 0 THEN {user} + f.number % {USERS} END",
        "status": f"CASE WHEN {away} THEN 'away' ELSE p.status END",
        "end_reason": f"CASE WHEN {away} THEN '' ELSE p.end_reason END",
        "ended_at": f"CASE WHEN {away} THEN NULL ELSE {_earlier('p.ended_at')} END",
        "created_at": _earlier("p.created_at"),
        "last_seen_at": _earlier("p.last_seen_at"),
        "connected_at": _earlier("p.connected_at"),
    }
    meta = type(prototype)._meta
    columns = [str(field.column) for field in meta.concrete_fields]
    values = [changed.get(column, f'p."{column}"') for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    return (
        f"INSERT INTO {meta.db_table} ({names}) SELECT {', '.join(values)} "  # noqa: S608  # names
        f"FROM fresh f, {meta.db_table} p WHERE p.id = '{prototype.pk.hex}' ORDER BY f.id"
    )


def _entries(count: int) -> str:
    """
    Return the statement that gives each session in ``fresh`` a log of ``count`` entries.

    The entries are messages of the client and of the bot in turn.
    """
    from chatsessions.models import ChatSession, SessionEvent

    by_client, said = "s.i % 2 = 0", "(s.i + 2) / 2"
    texts = [
        f"replace('{text}', '#', CAST({said} AS varchar(10)))"
        for text in (CLIENT_DATA, SERVER_DATA)
    ]
    values = {
        "session_id": "f.id",
        "seq": "s.i + 1",
        "n": f"CASE WHEN {by_client} THEN {said} END",
        "turn": f"CASE WHEN {by_client} THEN NULL ELSE {said} END",
        "name": "'message'",
        "data": f"CASE WHEN {by_client} THEN {texts[0]} ELSE {texts[1]} END",
        "created_at": "c.created_at",
    }
    return (
        f"INSERT INTO {SessionEvent._meta.db_table} ({', '.join(values)}) "  # noqa: S608  # names
        f"SELECT {', '.join(values.values())} FROM {_series(0, count)} CROSS JOIN fresh f "
        f"JOIN {ChatSession._meta.db_table} c ON c.id = f.id ORDER BY f.id, s.i"
    )


# SQL in which the databases differ


def _series(first: int, end: int) -> str:
    return (
        f"(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n "  # noqa: S608
        f"WHERE i + 1 < {end}) SELECT i FROM n) AS s"
    )


def _new_uuid() -> str:
    return "gen_random_uuid()" if _is_postgresql() else "lower(hex(randomblob(16)))"


def _earlier(column: str) -> str:
    """
    Return the SQL of a time that is 12 seconds earlier for each session.

    A hundred thousand sessions then take two weeks.
    """
    if _is_postgresql():
        return f"{column} - f.number * interval '12 seconds'"
    return f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-' || (f.number * 12) || ' seconds')"


def _is_postgresql() -> bool:
    from django.db import connection

    return connection.vendor == "postgresql"


def _vacuum() -> None:
    """Do now what the database would otherwise do by itself during a measurement."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if _is_postgresql() else "PRAGMA wal_checkpoint(TRUNCATE)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filling", description=__doc__)
    parser.add_argument("--sessions", type=int, default=0, help="how many there are to be")
    parser.add_argument("--entries", type=int, default=50, help="in the log of each")
    parser.add_argument("--page", type=int, metavar="ENTRIES", help="one more, with so many")
    options = parser.parse_args()
    django.setup()
    if options.sessions:
        fill(options.sessions, options.entries)
    if options.page:
        sys.stdout.write(make_page(options.page))


if __name__ == "__main__":
    main()
