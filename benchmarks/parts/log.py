"""What a message, a resume and a reload cost with a longer and longer log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.bench import Bench, Contender, few_each, network
from benchmarks.modes import HOARD
from benchmarks.records import Figures, Record

from .part import MILLI, Column, Part, by_step, times

#: Messages of each client in a round. They are few, because they make the log longer.
EACH = 20


def _run(bench: Bench) -> Iterator[Record]:
    sizes = bench.plan.log_entries
    for server in bench.servers:
        with network() as wires, ExitStack() as stack:
            contenders: dict[str, Contender] = {}
            for entries in sizes:
                contender = stack.enter_context(bench.contender(wires, server, HOARD))
                contender.crowd.connect(bench.plan.few)
                contender.crowd.command("chatter", {"entries": entries})
                contender.crowd.one_each()
                contenders[_step(entries)] = contender
                bench.say(f"{server}: logs of {entries:,} entries")
            figures = bench.take_turns(contenders, _measure, server, rounds=bench.plan.long_rounds)
        yield from by_step("log", server, HOARD, figures)


def _step(entries: int) -> str:
    return f"{entries:,}"


def _measure(bench: Bench, contender: Contender) -> Figures:
    return (
        _come_back(contender, "resume", bench.plan.few)
        | _come_back(contender, "replay", bench.plan.reloading, whole=True)
        | few_each(bench, contender, EACH)
    )


def _come_back(contender: Contender, name: str, count: int, *, whole: bool = False) -> Figures:
    """Measure ``count`` clients that lose their connection and resume, one after the other."""
    crowd = contender.crowd
    cpu = contender.process.cpu()
    seconds = [crowd.come_back(client, whole=whole).seconds for client in crowd.clients[:count]]
    cpu = contender.process.cpu() - cpu
    return {name: median(seconds) * 1e6, f"{name}_cpu": cpu / len(seconds) * 1e6}


PART = Part(
    name="log",
    title="The log of a session: 20 clients",
    run=_run,
    columns=(
        times("cpu", "message, of that with 10"),
        Column(figure="cpu", title="server CPU per message, µs"),
        Column(figure="resume", title="resuming, nothing missed: time, ms", scale=MILLI, digits=1),
        Column(figure="resume_cpu", title="server CPU, ms", scale=MILLI, digits=1),
        Column(figure="replay", title="reloading, all of it: time, ms", scale=MILLI, digits=1),
        Column(figure="replay_cpu", title="server CPU, ms", scale=MILLI, digits=1),
    ),
    step_title="entries",
)
