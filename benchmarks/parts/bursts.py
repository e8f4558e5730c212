"""Handlers that emit many events at once, by how far they may run ahead of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import Bench, Contender, network
from benchmarks.modes import UNCOMMITTED
from benchmarks.records import Figures, Record

from .part import Column, Part, by_mode, times

#: Entries that each client's handler emits in a round.
ENTRIES = 200


def _run(bench: Bench) -> Iterator[Record]:
    for server in bench.servers:
        with network() as wires, ExitStack() as stack:
            contenders: dict[str, Contender] = {}
            for mode in UNCOMMITTED:
                contender = stack.enter_context(bench.contender(wires, server, mode))
                contender.crowd.connect(bench.plan.few)
                contender.crowd.command("chatter", {"entries": ENTRIES})
                contenders[mode.name] = contender
            figures = bench.take_turns(contenders, _measure, server)
        yield from by_mode("bursts", server, figures, UNCOMMITTED[0])


def _measure(_bench: Bench, contender: Contender) -> Figures:
    cpu = contender.process.cpu()
    load = contender.crowd.command("chatter", {"entries": ENTRIES})
    entries = load.messages * ENTRIES
    return {
        "cpu": (contender.process.cpu() - cpu) / entries * 1e6,
        "per_second": entries / load.seconds,
        "client_cpu": load.client_cpu / entries * 1e6,
        "client_busy": load.client_busy,
    }


PART = Part(
    name="bursts",
    title="Handlers that emit 200 events in a row: 20 at once",
    run=_run,
    columns=(
        times("cpu", "of the default"),
        Column(figure="cpu", title="server CPU per event, µs", digits=1),
        Column(figure="per_second", title="events/s"),
        Column(figure="client_busy", title="client busy, %", scale=100),
    ),
    mode_title="setting",
    needs_client=("per_second",),
)
