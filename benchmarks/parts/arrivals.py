"""Many connections opened at once, and the memory of each while it is idle."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Contender, network, rotated
from benchmarks.crowd import Crowd
from benchmarks.modes import BARE, COMPRESSED, DEFAULT, POSTGRES, Mode
from benchmarks.records import Figures, Record
from benchmarks.wire import Network

from .part import Column, Part, times

MODES = (BARE, DEFAULT, POSTGRES, COMPRESSED)
#: Clients that connect before the crowd, because the first ones cost imports and threads.
EARLY = 10
#: Seconds after the last reply in which the server finishes its remaining work.
CALM = 0.3


def _run(bench: Bench) -> Iterator[Record]:
    rounds = bench.plan.fresh_rounds
    for server in bench.servers:
        modes = bench.available([mode for mode in MODES if mode.fits(server)])
        figures: dict[str, list[Figures]] = {mode.name: [] for mode in modes}
        for number in range(rounds):
            for mode in rotated(modes, number):
                figures[mode.name].append(_measure(bench, server, mode))
            bench.say(f"{server}: round {number + 1} of {rounds}")
        for mode in modes:
            yield Record(
                part="arrivals",
                server=server,
                mode=mode.name,
                rounds=figures[mode.name],
                base_mode=BARE.name,
            )


def _measure(bench: Bench, server: str, mode: Mode) -> Figures:
    with network() as wires, bench.contender(wires, server, mode) as contender:
        contender.crowd.connect(EARLY)
        contender.crowd.one_each()
        return _arrive(bench, wires, contender)


def _arrive(bench: Bench, wires: Network, contender: Contender) -> Figures:
    count, process = bench.plan.crowd, contender.process
    mode = contender.mode
    crowd = Crowd(
        wires, mode.dialect, port=process.port, path=mode.path, compressed=mode.compressed
    )
    try:
        resident, cpu = process.resident(), process.cpu()
        arrived = crowd.connect(count)
        cpu = process.cpu() - cpu
        crowd.one_each()
        crowd.idle(CALM)
        grown = process.resident() - resident
    finally:
        crowd.close()
    return {
        "per_second": count / arrived.seconds,
        "cpu": cpu / count * 1e6,
        "kib": grown / 1024 / count,
        "client_busy": arrived.client_busy,
        "server_busy": cpu / arrived.seconds,
    }


PART = Part(
    name="arrivals",
    title="500 connections at once, greeted; then idle after a message each",
    run=_run,
    columns=(
        times("per_second", "connections/s, of the bare consumer"),
        Column(figure="per_second", title="connections/s"),
        times("kib", "memory, of the bare consumer"),
        Column(figure="kib", title="memory per connection, KiB", digits=1),
        times("cpu", "CPU, of the bare consumer"),
        Column(figure="cpu", title="server CPU, µs"),
        Column(figure="client_busy", title="client busy, %", scale=100),
    ),
    needs_client=("per_second",),
)
