"""What a message costs with many rows of other sessions in the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import Bench, closed_loop, network
from benchmarks.modes import DEFAULT, POSTGRES
from benchmarks.records import Record

from .part import BUSY, Column, Part, by_step, times


def _run(bench: Bench) -> Iterator[Record]:
    sizes = (0, *bench.plan.session_rows)
    for mode in bench.available((DEFAULT, POSTGRES)):
        # Fill before any client connects: meanwhile clients answer no pings, and would be cut off.
        setups = {sessions: bench.filled(mode, sessions) for sessions in sizes}
        for server in bench.servers:
            with network() as wires, ExitStack() as stack:
                contenders = {}
                for sessions, setup in setups.items():
                    contender = stack.enter_context(
                        bench.contender(wires, server, mode, setup=setup)
                    )
                    contender.crowd.connect(bench.plan.connections)
                    contender.crowd.closed_loop(bench.plan.closed_seconds)
                    contenders[_step(bench, sessions)] = contender
                figures = bench.take_turns(contenders, closed_loop, f"{server}, {mode.name}")
            yield from by_step("rows", server, mode, figures)


def _step(bench: Bench, sessions: int) -> str:
    return f"{sessions:,} / {sessions * bench.plan.entries_per_session:,}"


PART = Part(
    name="rows",
    title="A message on a database that holds others' sessions: 50 clients",
    run=_run,
    columns=(
        times("cpu", "of that on an empty one"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="services_cpu", title="CPU of PostgreSQL and Redis, µs"),
        Column(figure="per_second", title="messages/s"),
        *BUSY,
    ),
    step_title="sessions / log entries",
)
