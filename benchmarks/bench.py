"""``Bench`` starts what a part of the benchmark needs, and measures in turns."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

from . import services
from .crowd import Client, Crowd, Load
from .modes import Mode
from .plan import Plan
from .process import Cores, ServerProcess, Setup, folder, serve
from .records import Figures
from .services import Services
from .wire import PATIENCE, Network

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Contender:
    """One server process, and the crowd of clients that it serves."""

    mode: Mode
    process: ServerProcess
    crowd: Crowd


Measure = Callable[["Bench", Contender], Figures]


class Bench:
    """Starts servers and services, connects crowds to them, and measures them in turns."""

    def __init__(self, plan: Plan, cores: Cores, servers: Sequence[str]) -> None:
        self.plan = plan
        self.cores = cores
        self.servers = servers
        self.skipped: list[str] = []
        self.services = Services(cores)
        self._stack = ExitStack()
        self._started = time.monotonic()
        self._part = ""
        self._filled: dict[tuple[str, int], Setup] = {}

    def __enter__(self) -> Bench:
        self._stack.enter_context(self.services)
        # A folder with a migrated database. Each server gets a copy of it.
        self._template = self._stack.enter_context(folder())
        Setup(folder=self._template).run("django", "migrate", "--verbosity=0")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # Progress

    def begin(self, part: str, position: str) -> None:
        """Name the part in the lines that follow; ``position`` is ``3/8``, for instance."""
        self._part = f"{position} {part}"

    def say(self, text: str) -> None:
        """Print a line about the progress to standard error."""
        seconds = time.monotonic() - self._started
        print(f"{seconds:6.0f} s  {self._part}: {text}", file=sys.stderr, flush=True)

    def skip(self, what: str, why: str) -> None:
        """Record that ``what`` is left out; print it now, and with the results."""
        line = f"{what}: {why}"
        if line not in self.skipped:
            self.skipped.append(line)
            self.say(f"SKIPPED {line}")

    # Servers and measurements

    def available(self, modes: Sequence[Mode]) -> list[Mode]:
        """Return those of ``modes`` whose services are installed; skip the others."""
        lacking = services.missing()
        if not lacking:
            return list(modes)
        for mode in modes:
            if mode.services:
                self.skip(mode.title, f"not installed: {', '.join(lacking)}")
        return [mode for mode in modes if not mode.services]

    @contextmanager
    def fresh(self, mode: Mode) -> Iterator[Setup]:
        """Make a folder with an empty database, and the other things that ``mode`` needs."""
        with ExitStack() as stack:
            data = stack.enter_context(folder())
            shutil.copytree(self._template, data, dirs_exist_ok=True)
            variables = stack.enter_context(self.services.database()) if mode.services else {}
            yield Setup(folder=data, settings=mode.settings, variables=variables)

    def filled(self, mode: Mode, sessions: int) -> Setup:
        """Return a setup whose database has this many sessions; make it once for all parts."""
        key = (mode.name, sessions)
        if key not in self._filled:
            entries = self.plan.entries_per_session
            self.say(f"filling: {sessions:,} sessions, {sessions * entries:,} log entries")
            setup = self._stack.enter_context(self.fresh(mode))
            setup.run("benchmarks.filling", f"--sessions={sessions}", f"--entries={entries}")
            self._filled[key] = setup
        return self._filled[key]

    @contextmanager
    def contender(
        self,
        network: Network,
        server: str,
        mode: Mode,
        *,
        setup: Setup | None = None,
        profile: bool = False,
    ) -> Iterator[Contender]:
        """Start a server process, with ``setup`` or a fresh one, and a crowd without clients."""
        with ExitStack() as stack:
            setup = setup or stack.enter_context(self.fresh(mode))
            process = stack.enter_context(serve(setup, server, cores=self.cores, profile=profile))
            crowd = Crowd(
                network, mode.dialect, port=process.port, path=mode.path, compressed=mode.compressed
            )
            stack.callback(crowd.close)
            yield Contender(mode=mode, process=process, crowd=crowd)

    @contextmanager
    def contenders(
        self, server: str, modes: Sequence[Mode], connections: int
    ) -> Iterator[dict[str, Contender]]:
        """Start all of ``modes``, connect and warm up a crowd for each; yield them by name."""
        with network() as wires, ExitStack() as stack:
            self.say(f"{server}: starting {', '.join(mode.name for mode in modes)}")
            found = {}
            for mode in modes:
                contender = stack.enter_context(self.contender(wires, server, mode))
                contender.crowd.connect(connections)
                contender.crowd.closed_loop(self.plan.closed_seconds / 3)
                found[mode.name] = contender
            yield found

    def take_turns(
        self,
        contenders: Mapping[str, Contender],
        measure: Measure,
        what: str,
        *,
        rounds: int | None = None,
    ) -> dict[str, list[Figures]]:
        """Measure each contender once in every round; the order changes from round to round."""
        figures: dict[str, list[Figures]] = {name: [] for name in contenders}
        rounds = rounds or self.plan.rounds
        for number in range(rounds):
            for name in rotated(list(contenders), number):
                figures[name].append(measure(self, contenders[name]))
                gc.collect()
            self.say(f"{what}: round {number + 1} of {rounds}")
        return figures


def rotated(names: Sequence[T], number: int) -> Sequence[T]:
    """
    Return ``names`` in the order of round ``number``: each round begins with the next name.

    The first measurement of a round would otherwise always be that of the same one.
    """
    shift = number % len(names)
    return [*names[shift:], *names[:shift]]


@contextmanager
def network() -> Iterator[Network]:
    """Open a network for the sockets of some crowds."""
    wires = Network()
    try:
        yield wires
    finally:
        wires.close()


# Measurements of one server under one load, each for a second or two


def closed_loop(
    bench: Bench, contender: Contender, clients: Sequence[Client] | None = None
) -> Figures:
    """Measure while each client sends as soon as it is answered, which saturates the server."""
    seconds = bench.plan.closed_seconds
    return _measure(bench, contender, lambda: contender.crowd.closed_loop(seconds, clients))


def few_each(bench: Bench, contender: Contender, each: int) -> Figures:
    """Measure a closed loop of ``each`` messages per client on average."""
    crowd = contender.crowd
    most = each * len(crowd.clients)
    return _measure(bench, contender, lambda: crowd.closed_loop(PATIENCE, most=most))


def paced(bench: Bench, contender: Contender, clients: Sequence[Client] | None = None) -> Figures:
    """Measure messages at even intervals; nearly each of them reaches an idle server."""
    rate, seconds = bench.plan.rate, bench.plan.paced_seconds
    return _measure(bench, contender, lambda: contender.crowd.paced(rate, seconds, clients))


def _measure(bench: Bench, contender: Contender, run: Callable[[], Load]) -> Figures:
    services = bench.services.cpu() if contender.mode.services else 0.0
    cpu = contender.process.cpu()
    load = run()
    cpu = contender.process.cpu() - cpu
    figures = {
        "cpu": cpu / load.messages * 1e6,
        "per_second": load.messages / load.seconds,
        "server_busy": cpu / load.seconds,
        "client_busy": load.client_busy,
        "client_cpu": load.client_cpu / load.messages * 1e6,
        "reply": median(load.replies) * 1e6,
        "reply_p99": quantiles(load.replies, n=100)[98] * 1e6,
        "done": median(load.ends) * 1e6,
        "done_p99": quantiles(load.ends, n=100)[98] * 1e6,
        "lateness": load.lateness * 1e6,
    }
    if contender.mode.services:
        figures["services_cpu"] = (bench.services.cpu() - services) / load.messages * 1e6
    if load.tokens:
        figures["cpu_per_token"] = cpu / load.tokens * 1e6
        figures["tokens_per_second"] = load.tokens / load.seconds
        figures["client_cpu_per_token"] = load.client_cpu / load.tokens * 1e6
    return figures
