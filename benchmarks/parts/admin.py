"""The pages of the admin, with many rows in the database and with few."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.modes import DEFAULT, POSTGRES
from benchmarks.records import Record

from .part import MILLI, Column, Part

#: The databases, which these records have in place of a server's name.
STORES = {DEFAULT.name: "SQLite", POSTGRES.name: "PostgreSQL"}
#: The sessions in the small database, and the log entries of the session shown.
FEW_SESSIONS = 100
FEW_ENTRIES = 100


def _run(bench: Bench) -> Iterator[Record]:
    many = bench.plan.session_rows[-1]
    for mode in bench.available((DEFAULT, POSTGRES)):
        young = _step(FEW_SESSIONS, FEW_ENTRIES)
        for sessions, entries in ((FEW_SESSIONS, FEW_ENTRIES), (many, bench.plan.page_entries)):
            setup = bench.filled(mode, sessions)
            session = setup.run("benchmarks.filling", f"--page={entries}")
            pages = json.loads(setup.run("benchmarks.pages", session))
            for name, page in pages.items():
                yield Record(
                    part="admin",
                    server=STORES[mode.name],
                    mode=name,
                    step=_step(sessions, entries),
                    rounds=page,
                    base_mode=name,
                    base_step=young,
                )
            bench.say(f"{mode.name}: {sessions:,} sessions")


def _step(sessions: int, entries: int) -> str:
    return f"{sessions:,} sessions, a log of {entries:,}"


PART = Part(
    name="admin",
    title="Pages of the admin",
    run=_run,
    columns=(
        Column(figure="time", title="time, ms", scale=MILLI, spread=True),
        Column(figure="cpu", title="CPU of Python, ms", scale=MILLI),
        Column(figure="queries", title="queries"),
        Column(figure="queries", title="more than with few", compared="difference"),
    ),
    mode_title="page",
    step_title="with",
)
