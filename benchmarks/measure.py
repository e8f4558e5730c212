"""What is measured of one server in one round."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from .client import BareClient, ChatClient, Client, Crowd, Load
from .process import Cores, ServerProcess, serve

SERVERS = ("daphne", "uvicorn")
CLIENTS: dict[str, type[Client]] = {
    "bare": BareClient,
    "default": ChatClient,
    "fastest": ChatClient,
}
#: Above this the client's core may be what limits the server.
CLIENT_LIMIT = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int
    #: Connections that send messages.
    connections: int = 50
    #: Messages a second of the paced load, over all connections.
    rate: float = 200.0
    #: Connections that come at once, and stay idle.
    crowd: int = 500
    closed_seconds: float = 2.0
    paced_seconds: float = 3.0


#: A result: names of figures and their values. CPU and latency in microseconds.
Figures = dict[str, float]


def measure(server: str, variant: str, plan: Plan, *, cores: Cores, data: Path) -> Figures:
    """One round of one server: two processes, for messages and for connections."""
    figures: Figures = {}
    with serve(server, variant, cores=cores, data=data) as process:
        figures |= _messages(process, CLIENTS[variant], plan)
    with serve(server, variant, cores=cores, data=data) as process:
        figures |= _connections(process, CLIENTS[variant], plan)
    return figures


@contextmanager
def crowd_of(process: ServerProcess, client: type[Client], count: int) -> Iterator[Crowd]:
    """``count`` connected clients that have had their first message answered."""
    crowd = Crowd(client, process.port)
    try:
        crowd.connect(count)
        crowd.one_each()
        yield crowd
    finally:
        crowd.close()


def _messages(process: ServerProcess, client: type[Client], plan: Plan) -> Figures:
    with crowd_of(process, client, plan.connections) as crowd:
        crowd.closed_loop(plan.closed_seconds / 5)  # to warm up
        before = process.cpu()
        closed = crowd.closed_loop(plan.closed_seconds)
        between = process.cpu()
        paced = crowd.paced(plan.rate, plan.paced_seconds)
        after = process.cpu()
    return {
        "cpu_per_message": (between - before) / closed.messages * 1e6,
        "messages_per_second": closed.messages / closed.seconds,
        "closed_server_busy": (between - before) / closed.seconds,
        "closed_client_busy": closed.client_busy,
        "closed_client_cpu": closed.client_cpu / closed.messages * 1e6,
        **_latencies("closed_", closed),
        "paced_cpu_per_message": (after - between) / paced.messages * 1e6,
        "paced_client_busy": paced.client_busy,
        "paced_lateness": paced.lateness * 1e6,
        **_latencies("", paced),
    }


def _latencies(prefix: str, load: Load) -> Figures:
    return {
        f"{prefix}reply_median": median(load.replies) * 1e6,
        f"{prefix}reply_p99": quantiles(load.replies, n=100)[98] * 1e6,
        f"{prefix}done_median": median(load.ends) * 1e6,
        f"{prefix}done_p99": quantiles(load.ends, n=100)[98] * 1e6,
    }


def _connections(process: ServerProcess, client: type[Client], plan: Plan) -> Figures:
    # A few that stay: what the first connection imports and starts is not the crowd's.
    with crowd_of(process, client, 10):
        resident, cpu = process.resident(), process.cpu()
        crowd = Crowd(client, process.port)
        try:
            arrived = crowd.connect(plan.crowd)
            cpu = process.cpu() - cpu
            crowd.one_each()
            time.sleep(0.3)
            grown = process.resident() - resident
        finally:
            crowd.close()
    return {
        "connects_per_second": arrived.messages / arrived.seconds,
        "connect_cpu": cpu / plan.crowd * 1e6,
        "connect_client_busy": arrived.client_busy,
        "kib_per_connection": grown / 1024 / plan.crowd,
    }
