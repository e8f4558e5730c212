"""What idle sessions of a process cost the active ones."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Contender, closed_loop, paced
from benchmarks.modes import BARE, DEFAULT
from benchmarks.records import Figures, Record

from .part import MILLI, Column, Part, times


def _run(bench: Bench) -> Iterator[Record]:
    active = bench.plan.connections
    for server in bench.servers:
        with bench.contenders(server, (BARE, DEFAULT), active) as contenders:
            held = active
            start = {name: one.process.resident() for name, one in contenders.items()}
            for sessions in bench.plan.sessions_held:
                for contender in contenders.values():
                    contender.crowd.connect(sessions - held)
                    contender.crowd.one_each()
                held = sessions
                idle = {
                    name: _idle(bench, contender, held - active, start[name])
                    for name, contender in contenders.items()
                }
                figures = bench.take_turns(
                    contenders,
                    _measure,
                    f"{server}, {sessions:,} held",
                    rounds=bench.plan.long_rounds,
                )
                for name, rounds in figures.items():
                    yield Record(
                        part="held",
                        server=server,
                        mode=name,
                        step=f"{sessions:,}",
                        rounds=[idle[name] | figure for figure in rounds],
                        base_mode=BARE.name,
                        base_step=f"{sessions:,}",
                    )


def _idle(bench: Bench, contender: Contender, more: int, start: int) -> Figures:
    """Return the memory per new session, and the server's CPU per second while all are idle."""
    resident = contender.process.resident()
    cpu = contender.process.cpu()
    contender.crowd.idle(bench.plan.idle_seconds)
    return {
        "kib": (resident - start) / 1024 / more,
        "idle_cpu": (contender.process.cpu() - cpu) / bench.plan.idle_seconds * 1e6,
    }


def _measure(bench: Bench, contender: Contender) -> Figures:
    active = contender.crowd.clients[: bench.plan.connections]
    return closed_loop(bench, contender, active) | {
        f"paced_{name}": value for name, value in paced(bench, contender).items()
    }


PART = Part(
    name="held",
    title="Sessions held: 50 of them in a closed loop, then all of them, 200 messages/s together",
    run=_run,
    columns=(
        times("cpu"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="paced_reply", title="reply, paced, median, ms", scale=MILLI, digits=2),
        Column(figure="paced_reply_p99", title="p99, ms", scale=MILLI, digits=2),
        Column(figure="kib", title="memory per connection, KiB", digits=1),
        Column(figure="idle_cpu", title="CPU when idle, ms/s", scale=MILLI, digits=1),
    ),
    step_title="sessions",
)
