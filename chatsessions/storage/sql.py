"""
The statements of a commit, written in SQL.

For one message the ORM would take more time than the database. On PostgreSQL no statement is an
``executemany``: psycopg sends that in a pipeline, to which the server does not apply its limit for
idle transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.utils import timezone
from msgspec.structs import astuple

from chatsessions.conf import settings
from chatsessions.exceptions import OwnershipLost
from chatsessions.models import ChatSession, SessionEvent, SessionFeedback

from .journal import Change, Claim, Position
from .log import OctetLength

#: The most bytes of rows in one argument, unless a single row has more. The argument is copied and
#: quoted several times on its way, and PostgreSQL takes less than a gigabyte.
MAX_BYTES = 4 * 1024 * 1024
#: The prefix of a column's name for the value that it must have, or the row is not updated.
EXPECTED = "expected_"

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Table:
    """
    Inserts and updates many rows of one model.

    On PostgreSQL it runs one statement with all rows as its one argument, elsewhere one
    ``executemany``.
    """

    def __init__(self, connection: BaseDatabaseWrapper, model: type[Model]) -> None:
        self._connection = connection
        self._model = model
        self._quote = connection.ops.quote_name
        self._name = self._quote(model._meta.db_table)
        self._takes_json = connection.vendor == "postgresql"
        #: The SQL, by the columns of its arguments.
        self._statements: dict[tuple[str, ...], str] = {}

    def insert(self, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows; each of ``rows`` has the values of ``columns``."""
        if columns not in self._statements:
            names = ", ".join(map(self._quote, columns))
            values = (
                f"SELECT {names} FROM {self._recordset(columns)}"  # noqa: S608  # only names
                if self._takes_json
                else f"VALUES ({', '.join(['%s'] * len(columns))})"
            )
            self._statements[columns] = f"INSERT INTO {self._name} ({names}) {values}"
        self._run(columns, rows)

    def update(
        self,
        columns: tuple[str, ...],
        rows: Sequence[tuple[Any, ...]],
        *,
        compared: tuple[str, ...],
    ) -> int:
        """
        Update rows by ``id`` if they have the expected values; return how many were updated.

        Each of ``rows`` has the values of ``columns``, the id, and then the values that the row
        must have in the columns ``compared``.
        """
        given = (*columns, "id", *map(EXPECTED.__add__, compared))
        if given not in self._statements:
            self._statements[given] = self._update_sql(columns, given, compared)
        return self._run(given, rows)

    def _update_sql(
        self, columns: tuple[str, ...], given: tuple[str, ...], compared: tuple[str, ...]
    ) -> str:
        quote = self._quote
        if not self._takes_json:
            assigned = ", ".join(f"{quote(name)} = %s" for name in columns)
            expected = "".join(f" AND {self._equal(name, quote(name), '%s')}" for name in compared)
            return f"UPDATE {self._name} SET {assigned} WHERE {quote('id')} = %s{expected}"  # noqa: S608  # only names
        assigned = ", ".join(f"{quote(name)} = given.{quote(name)}" for name in columns)
        expected = "".join(
            f" AND {self._equal(name, f'stored.{quote(name)}', f'given.{EXPECTED}{name}')}"
            for name in compared
        )
        return (
            f"UPDATE {self._name} AS stored SET {assigned} FROM {self._recordset(given)} "  # noqa: S608  # only names
            f"WHERE stored.id = given.id{expected}"
        )

    def _equal(self, name: str, stored: str, given: str) -> str:
        """Return the SQL that compares the column ``name``; NULL, too, is equal to NULL."""
        field: Any = self._model._meta.get_field(name)
        if not field.null:
            return f"{stored} = {given}"
        return f"COALESCE({stored}, -1) = COALESCE({given}, -1)"  # no number is negative

    def _run(self, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
        """Run the statement of ``columns`` for ``rows``; return how many rows it has changed."""
        sql, count = self._statements[columns], 0
        with self._connection.cursor() as cursor:
            if not self._takes_json:
                cursor.executemany(sql, rows)
                return int(cursor.rowcount)
            for values in arrays(columns, rows):
                cursor.execute(sql, [values.decode()])
                count += cursor.rowcount
        return count

    def _recordset(self, columns: tuple[str, ...]) -> str:
        """Return the SQL that makes typed rows, named ``given``, from the argument."""
        types = ", ".join(f"{self._quote(name)} {self._type(name)}" for name in columns)
        return f"json_to_recordset(%s::json) AS given({types})"

    def _type(self, name: str) -> str:
        field: Any = self._model._meta.get_field(name.removeprefix(EXPECTED))
        found: str = field.rel_db_type(self._connection)
        return found


def arrays(columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Yield ``rows`` as JSON arrays of at most ``MAX_BYTES`` each."""
    given: list[bytes] = []
    size = 0
    for row in rows:
        raw = _encode(dict(zip(columns, row, strict=True)))
        if given and size + len(raw) > MAX_BYTES:
            yield b"[%b]" % b",".join(given)
            given, size = [], 0
        given.append(raw)
        size += len(raw)
    yield b"[%b]" % b",".join(given)


POSITION = Position.__struct_fields__
STATE = ("state", "state_bytes", "state_revision")
ENTRY = ("session_id", "seq", "n", "turn", "key", "name", "data", "created_at")

#: The kind of a change: its other columns, whether it claims its session, and whether it has
#: values. Changes of the same kind share a statement.
Kind = tuple[tuple[str, ...], bool, bool]


class Statements:
    """Writes changes on one database connection, within a transaction of the caller."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self._sessions = Table(connection, ChatSession)
        self._events = Table(connection, SessionEvent)
        has_uuid = connection.features.has_native_uuid_field
        #: Returns the id of a change's session, as the database takes it.
        self._id = attrgetter("session_id" if has_uuid else "session_hex")
        self._moment = _moment_adapter(connection)
        self._last_seen: tuple[datetime | None, Any] = (None, None)

    def insert(self, changes: Sequence[Change]) -> None:
        """Insert the rows of new sessions, with defaults for columns that a change lacks."""
        for (names, *_), alike in _by_kind(changes).items():
            given = ("id", "generation", *POSITION, *STATE, *names)
            defaults = {
                field.attname: field.get_db_prep_save(field.get_default(), self.connection)
                for field in ChatSession._meta.concrete_fields
                if field.attname not in given
            }
            rows = [
                (
                    self._id(change),
                    change.generation,
                    *self._position(change.position),
                    *self._state(change),
                    *self._fields(change, names),
                    *defaults.values(),
                )
                for change in alike
            ]
            self._sessions.insert((*given, *defaults), rows)

    def update(self, changes: Sequence[Change]) -> None:
        """
        Update the rows of known sessions.

        Raises ``OwnershipLost`` if one of them has another owner by now.
        """
        for (names, claims, has_state), alike in _by_kind(changes).items():
            columns = (*POSITION, *(STATE if has_state else ()), *names, "generation")
            rows = [
                (
                    *self._position(change.position),
                    *(self._state(change) if has_state else ()),
                    *(self._fields(change, names) if names else ()),
                    change.generation,
                    self._id(change),
                    *((change.generation,) if change.claims is None else astuple(change.claims)),
                )
                for change in alike
            ]
            compared = Claim.__struct_fields__ if claims else ("generation",)
            if self._sessions.update(columns, rows, compared=compared) != len(rows):
                raise OwnershipLost(alike[0].session_id)

    def insert_entries(self, changes: Iterable[Change]) -> None:
        """Insert the new entries of the log."""
        moment = self._moment
        rows = [
            (
                self._id(change),
                entry.seq,
                entry.n,
                entry.turn,
                entry.key,
                entry.name,
                entry.data.decode(),
                moment(entry.created_at),
            )
            for change in changes
            for entry in change.entries
        ]
        if rows:
            self._events.insert(ENTRY, rows)

    def choose_trimmed(self, change: Change) -> None:
        """Find out which entries to delete, and how many bytes they have."""
        if change.trimmed_bytes is not None:
            return  # a repeated try: this is known
        log = SessionEvent.objects.using(self.connection.alias).filter(session=change.session_id)
        sizes = log.annotate(size=OctetLength("data")).order_by("seq").values_list("seq", "size")
        if change.trim is not None:
            sizes = sizes.filter(seq__lte=change.trim)
        if change.needed is not None:
            sizes = sizes.filter(seq__lt=change.needed)
        trimmed = 0
        for seq, size in sizes.iterator(chunk_size=100):
            if change.trim_bytes:
                if trimmed >= change.trim_bytes:
                    break
                change.trim = seq
            trimmed += size
        # Some of the entries may be part of this change, and have no row yet.
        last = change.trim or 0
        trimmed += sum(len(entry.data) for entry in change.entries if entry.seq <= last)
        change.trimmed_bytes = trimmed
        change.position.log_bytes = max(0, change.position.log_bytes - trimmed)

    def update_outcomes(self, change: Change) -> None:
        """Write the statuses of turns that did not end as ``done``, and delete trimmed entries."""
        log = SessionEvent.objects.using(self.connection.alias).filter(session=change.session_id)
        for n, status in change.outcomes:
            log.filter(n=n).update(status=status)
        if change.trim is not None:
            log.filter(seq__lte=change.trim).delete()

    def write_ratings(self, change: Change) -> None:
        """Write feedback on messages; delete feedback that was taken back."""
        rows = SessionFeedback.objects.using(self.connection.alias)
        for rating in change.ratings:
            if rating.value is None:
                rows.filter(session=change.session_id, message=rating.message).delete()
            else:
                rows.update_or_create(
                    session_id=change.session_id,
                    message=rating.message,
                    defaults={
                        "seq": rating.seq,
                        "value": rating.value,
                        "comment": rating.comment,
                        "given_at": timezone.now(),
                    },
                )

    # Values as the database takes them

    def _position(self, at: Position) -> tuple[Any, ...]:
        if at.last_seen_at is not self._last_seen[0]:  # the changes of a batch share it
            self._last_seen = at.last_seen_at, self._moment(at.last_seen_at)
        return (*astuple(at)[:-1], self._last_seen[1])  # ``last_seen_at`` is the last

    def _state(self, change: Change) -> tuple[str, int, int]:
        state = change.state or b""
        in_row = settings.USER_SESSION_STORE == "cached_db"
        return state.decode() if in_row else "", len(state), change.state_revision

    def _fields(self, change: Change, names: tuple[str, ...]) -> list[Any]:
        field: Any = ChatSession._meta.get_field  # typed for mypy: all these fields have columns
        return [
            field(name).get_db_prep_save(change.fields[name], self.connection) for name in names
        ]


def _by_kind(changes: Iterable[Change]) -> dict[Kind, list[Change]]:
    """Return the changes grouped by the statement that they share."""
    alike: dict[Kind, list[Change]] = {}
    for change in changes:
        names = tuple(sorted(change.fields)) if change.fields else ()
        kind = names, change.claims is not None, change.state is not None
        alike.setdefault(kind, []).append(change)
    return alike


def _moment_adapter(connection: BaseDatabaseWrapper) -> Callable[[datetime], Any]:
    """Return the function that adapts a moment for this database."""
    adapt = connection.ops.adapt_datetimefield_value
    if connection.vendor != "sqlite" or connection.timezone is not UTC:
        return adapt

    def adapt_utc(moment: datetime) -> Any:
        # The same text as Django's, without a conversion from UTC to UTC.
        if moment.tzinfo is UTC:
            return moment.isoformat(" ").removesuffix("+00:00")
        return adapt(moment)

    return adapt_utc
