"""What a streamed token costs, compared with ``await self.send(…)`` in a loop."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, closed_loop
from benchmarks.modes import STREAMS
from benchmarks.records import Record

from .part import BUSY, Column, Part, times


def _run(bench: Bench) -> Iterator[Record]:
    modes = [mode for pair in STREAMS.values() for mode in pair]
    for server in bench.servers:
        with bench.contenders(server, modes, bench.plan.connections) as contenders:
            figures = bench.take_turns(contenders, closed_loop, server)
        for step, (bare, ours) in STREAMS.items():
            for mode in (bare, ours):
                yield Record(
                    part="streams",
                    server=server,
                    mode=mode.name,
                    step=step,
                    rounds=figures[mode.name],
                    base_mode=bare.name,
                    base_step=step,
                )


PART = Part(
    name="streams",
    title="Streaming: 50 streams of 200 tokens each, one after another",
    run=_run,
    columns=(
        times("cpu_per_token", "of the bare consumer's `send` loop"),
        Column(figure="cpu_per_token", title="server CPU per token, µs", digits=1),
        Column(figure="tokens_per_second", title="tokens/s"),
        Column(figure="client_cpu_per_token", title="client CPU per token, µs", digits=1),
        *BUSY,
    ),
    step_title="tokens",
    needs_client=("tokens_per_second",),
)
