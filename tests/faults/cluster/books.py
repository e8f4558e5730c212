"""
The database of a cluster as an auditor sees it: rows, log, effects, and who wrote what.

Triggers note every write of a session with the generation it has then and the process that did
it (``application_name``): proof that does not depend on what the workers say of themselves.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.server.harness import Row

from .postgres import Postgres

SCHEMA = """
CREATE TABLE effects (
    id bigserial PRIMARY KEY, session uuid NOT NULL, n bigint NOT NULL, what text NOT NULL,
    worker text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON effects (session);

CREATE TABLE audit (
    id bigserial PRIMARY KEY, session uuid NOT NULL, what text NOT NULL, generation bigint,
    seq bigint, head bigint, accepted bigint, handled bigint,
    writer text NOT NULL DEFAULT current_setting('application_name'),
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON audit (session);

CREATE FUNCTION audit_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (session, what, generation, head, accepted, handled) VALUES (
        NEW.id,
        CASE
            WHEN TG_OP = 'INSERT' THEN 'insert'
            WHEN NEW.generation <> OLD.generation THEN 'claim'
            -- Status and worker of a session whose owner is dead may be set by whoever notices.
            WHEN (NEW.head, NEW.accepted, NEW.handled, NEW.running, NEW.state, NEW.token_hash)
                IS DISTINCT FROM
                (OLD.head, OLD.accepted, OLD.handled, OLD.running, OLD.state, OLD.token_hash)
                THEN 'write'
            ELSE 'touch'
        END,
        NEW.generation, NEW.head, NEW.accepted, NEW.handled
    );
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON chatsessions_chatsession
    FOR EACH ROW EXECUTE FUNCTION audit_session();

CREATE FUNCTION audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (session, what, seq) VALUES (NEW.session_id, 'entry', NEW.seq);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT ON chatsessions_sessionevent
    FOR EACH ROW EXECUTE FUNCTION audit_entry();
"""


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a session's row (``seq`` None) or log, in the order of writing."""

    what: str
    writer: str
    generation: int | None
    seq: int | None
    xact: int
    #: Of the row: how far its log, its accepted and its handled events are.
    head: int | None = None
    accepted: int | None = None
    handled: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All that is stored of one session."""

    row: dict[str, Any]
    log: list[Row]
    state: dict[str, Any]
    #: Event and what was done for it, in order.
    effects: list[tuple[int, str]]
    writes: list[Write]


class Books:
    """Reads one database; a lost connection is made again."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres = postgres
        self._database = database
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._lock = threading.RLock()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """May be called from any thread."""
        with self._lock:
            return self._query(sql, parameters)

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        for last in (False, True):
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = self._postgres.connect(self._database)
                cursor = self._connection.execute(sql, parameters)  # type: ignore[arg-type]
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.close()
                if last:
                    raise
        raise AssertionError("not reached")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # One session

    def session(self, session: str) -> dict[str, Any]:
        found = self.query("SELECT * FROM chatsessions_chatsession WHERE id = %s", [session])
        assert found, f"no session {session} in the database"
        return found[0]

    def owner_pid(self, session: str) -> int | None:
        """The process that owns the session."""
        found = self.query(
            "SELECT w.pid FROM chatsessions_chatsession s "
            "JOIN chatsessions_worker w ON w.id = s.worker_id WHERE s.id = %s",
            [session],
        )
        return found[0]["pid"] if found else None

    def log(self, session: str) -> list[Row]:
        rows = self.query(
            "SELECT seq, n, turn, name, data, status FROM chatsessions_sessionevent "
            "WHERE session_id = %s ORDER BY seq",
            [session],
        )
        return [Row(**row | {"data": json.loads(row["data"])}) for row in rows]

    def effects(self, session: str) -> list[tuple[int, str]]:
        rows = self.query("SELECT n, what FROM effects WHERE session = %s ORDER BY id", [session])
        return [(row["n"], row["what"]) for row in rows]

    def writes(self, session: str) -> list[Write]:
        rows = self.query(
            "SELECT what, writer, generation, seq, xact::text::bigint AS xact, "
            "head, accepted, handled FROM audit WHERE session = %s ORDER BY id",
            [session],
        )
        return [Write(**row) for row in rows]

    def stored(self, session: str) -> Stored:
        """Return all of it as of one moment: a commit is in it whole, or not at all."""
        with self._lock:
            self.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                row = self.session(session)
                return Stored(
                    row=row,
                    log=self.log(session),
                    state=json.loads(row["state"] or "{}"),
                    effects=self.effects(session),
                    writes=self.writes(session),
                )
            finally:
                self.query("COMMIT")

    # All of them

    def connected(self) -> list[str]:
        """The sessions whose rows say that their client is there."""
        rows = self.query("SELECT id FROM chatsessions_chatsession WHERE status = 'connected'")
        return [str(row["id"]) for row in rows]

    def worker_pids(self) -> set[int]:
        return {row["pid"] for row in self.query("SELECT pid FROM chatsessions_worker")}
