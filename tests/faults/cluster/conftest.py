"""Services for the whole run, a cluster per module, a scenario per test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .long_run import FIRST_SEED, LONG, SEEDS, seeds
from .postgres import Postgres
from .redis_server import RedisServer
from .rig import STEADY, Cluster, Services, clusters, started
from .scenario import Scenario
from .tally import add, plain, table, tallies, tally_of


@pytest.fixture(scope="session")
def services(postgres: Postgres, redis_server: RedisServer) -> Iterator[Services]:
    found = Services(postgres, redis_server)
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def module_cluster(services: Services) -> Iterator[Cluster]:
    with started(services) as cluster:
        yield cluster


@pytest.fixture
def cluster(module_cluster: Cluster) -> Cluster:
    """The module's pair of workers, both running."""
    module_cluster.refresh()
    return module_cluster


@pytest.fixture(scope="module")
def module_steady(services: Services) -> Iterator[Cluster]:
    with started(services, chatsessions=STEADY) as cluster:
        yield cluster


@pytest.fixture
def steady(module_steady: Cluster) -> Cluster:
    """As ``cluster``; but a worker that is late, on a busy machine, is not taken for dead."""
    module_steady.refresh()
    return module_steady


@pytest.fixture
def make_cluster(services: Services) -> Iterator[Callable[..., Cluster]]:
    """Clusters of a test's own: ``make_cluster(wired=True, chatsessions={…})``."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(started(services, **options))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """
    A long run plays each scenario with many seeds, any other with as many as it says.

    ``@pytest.mark.seeds(8, everyday=4, known=(650056,))``: all of it may be left out.
    """
    if "seed" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("seeds")
        args, options = (mark.args, mark.kwargs) if mark else ((), {})
        metafunc.parametrize("seed", seeds(*(args or (SEEDS,)), **options))


def pytest_report_header() -> list[str]:
    return [f"faults: CHATSESSIONS_FAULTS_SEED={FIRST_SEED}"] if LONG else []


@pytest.fixture
async def play(request: pytest.FixtureRequest, seed: int) -> AsyncIterator[Callable[..., Scenario]]:
    """Begins a scenario, named after its test; its tabs leave at the test's end."""
    scenarios: list[Scenario] = []
    name = re.sub(r"\[.*", "", request.node.name).removeprefix("test_").replace("_", " ")

    def begin(cluster: Cluster) -> Scenario:
        scenarios.append(Scenario(name, cluster, tally_of(name), seed))
        return scenarios[-1]

    yield begin
    for scenario in scenarios:
        for tab in scenario.tabs:
            await tab.leave()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for cluster in clusters:
            for worker in cluster.workers:
                report.sections.append((f"log of {worker!r}", worker.log()[-20_000:]))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)  # of pytest-xdist
    if output is not None:
        output["tallies"] = plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    add(getattr(node, "workeroutput", {}).get("tallies", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if tallies:
        terminalreporter.section("faults")
        for line in table():
            terminalreporter.line(line)
