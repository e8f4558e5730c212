"""Measurements of one server under one load, each for a second or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles

from .bench import Bench, Contender
from .crowd import Client, Load
from .records import Figures
from .wire import PATIENCE


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
