"""Parts of the benchmark against real servers, as small as they can be; and what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks import profile
from benchmarks.__main__ import main, parse
from benchmarks.bench import Bench, closed_loop, few_each, network, paced
from benchmarks.modes import BARE, COMPRESSED, COUNTERS, DEFAULT, HOARD, POSTGRES, SERVERS
from benchmarks.parts import PARTS
from benchmarks.plan import Plan
from benchmarks.process import ROOT, Cores
from benchmarks.wire import BenchmarkError
from tests import services

#: The tests' own process stays on all cores.
ANYWHERE = Cores(server=None, client=None, services=None, count=1)
TINY = Plan(
    rounds=2,
    long_rounds=1,
    fresh_rounds=1,
    closed_seconds=0.05,
    paced_seconds=0.05,
    idle_seconds=0.05,
    connections=4,
    throng=6,
    crowd=5,
    sessions_held=(5, 6),
    session_rows=(10,),
    entries_per_session=4,
    state_kib=(1, 64),
    log_entries=(3, 70),
    few=2,
    reloading=1,
    page_entries=150,
)


@pytest.fixture(scope="module", autouse=True)
def unwatched() -> Iterator[None]:
    """What is measured is not slowed down by coverage, nor is the start of so many processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(scope="module")
def bench(unwatched: None) -> Iterator[Bench]:
    """Servers of a test's own come from it; what it is filled with is shared."""
    with Bench(TINY, ANYWHERE, ["uvicorn"]) as found:
        yield found


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o711)
        yield Path(path)


@pytest.fixture
def no_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No services, wherever they would be looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("DAEMONS", "POSTGRES_FOLDERS"):
        monkeypatch.setattr(services, name, str(tmp_path))


# Measuring


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("server", SERVERS)
def test_every_counter_counts_and_is_measured(bench: Bench, server: str) -> None:
    wanted = COUNTERS if server == "uvicorn" else [BARE, DEFAULT]
    modes = [mode for mode in wanted if not mode.services]
    with bench.contenders(server, modes, 4) as contenders:
        figures = bench.take_turns(contenders, closed_loop, server)
        for contender in contenders.values():
            # The client itself checks each reply; what it has sent was counted.
            assert all(client.sent == client.answered > 0 for client in contender.crowd.clients)
    assert set(figures) == {mode.name for mode in modes}
    for rounds in figures.values():
        assert len(rounds) == TINY.rounds
        for figure in rounds:
            assert figure["cpu"] > 0
            assert figure["server_busy"] > 0
            assert figure["per_second"] * figure["reply"] > 0


@pytest.mark.server
def test_as_many_messages_as_are_wanted_until_the_server_goes_away(bench: Bench) -> None:
    with bench.contenders("uvicorn", [BARE, DEFAULT], 4) as contenders:
        for contender in contenders.values():
            before = [client.sent for client in contender.crowd.clients]
            few_each(bench, contender, 5)
            assert sum(client.sent for client in contender.crowd.clients) == sum(before) + 20
            figures = paced(bench, contender)
            assert sum(client.sent for client in contender.crowd.clients) == sum(before) + 30
            assert figures["per_second"] < 1.2 * TINY.rate
        bare = contenders[BARE.name]
        bare.process.stop()
        with pytest.raises(BenchmarkError, match="connection"):
            bare.crowd.one_each()


@pytest.mark.server
def test_clients_come_back_to_their_sessions(bench: Bench) -> None:
    with network() as wires, bench.contender(wires, "uvicorn", HOARD) as contender:
        crowd = contender.crowd
        crowd.connect(2)
        crowd.command("chatter", {"entries": 100})
        crowd.one_each()
        client = crowd.clients[0]
        head = client.received
        # The greeting, the command, its entries, the message and its reply.
        assert head == 104
        for whole in (False, True, False):
            crowd.come_back(client, whole=whole)
            assert client.received == head
        crowd.one_each()
        assert client.answered == 2


@pytest.mark.server
def test_a_compressed_conversation_is_understood(bench: Bench) -> None:
    with bench.contenders("uvicorn", [COMPRESSED], 2) as contenders:
        few_each(bench, contenders[COMPRESSED.name], 30)
        assert all(client.answered >= 30 for client in contenders[COMPRESSED.name].crowd.clients)


@pytest.mark.server
def test_a_server_that_does_not_compress_is_told_of(bench: Bench) -> None:
    with (
        network() as wires,
        bench.contender(wires, "daphne", COMPRESSED) as contender,
        pytest.raises(BenchmarkError, match="does not compress"),
    ):
        contender.crowd.connect(1)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.usefixtures("no_services")
@pytest.mark.parametrize("name", ["arrivals", "state"])
def test_a_part_measures_all_that_its_table_shows(bench: Bench, name: str) -> None:
    part = PARTS[name]
    records = list(part.run(bench))
    assert {record.server for record in records} == {"uvicorn"}
    wanted = {column.figure for column in part.columns} - {"services_cpu"}
    for record in records:
        assert record.rounds
        assert all(wanted <= figures.keys() for figures in record.rounds), record


@pytest.mark.server
@pytest.mark.slow
def test_told_to_end_it_leaves_nothing_behind(open_folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only=bursts"]
    command += ["--servers=uvicorn"]
    environment = {**os.environ, "TMPDIR": str(open_folder), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=environment, cwd=ROOT, text=True
    ) as process:
        assert process.stderr is not None
        assert any("round 1 of" in line for line in process.stderr)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
    assert not psutil.wait_procs(started, timeout=5)[1]
    assert not list(open_folder.iterdir())


# What is missing


@pytest.mark.usefixtures("no_services")
def test_modes_whose_services_are_missing_are_skipped_loudly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = Bench(TINY, ANYWHERE, [])
    assert POSTGRES not in bench.available(COUNTERS)
    assert DEFAULT in bench.available(COUNTERS)
    (line,) = [line for line in bench.skipped if line.startswith(POSTGRES.title)]
    assert "PostgreSQL (initdb, postgres)" in line
    assert "Redis (redis-server)" in line
    assert capsys.readouterr().err.count(f"SKIPPED {line}") == 1


@pytest.mark.usefixtures("no_services")
def test_a_profile_without_its_services_says_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert profile.main(["--mode", "postgres"]) == 1
    assert "error: not installed: PostgreSQL" in capsys.readouterr().err


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "messages,speed"])
    assert "'speed' is none of messages, latency" in capsys.readouterr().err


def test_what_is_shown_again_is_not_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "none.json"
    assert main(["--from", str(path)]) == 1
    assert f"error: {path} is no file of --json" in capsys.readouterr().err
    path.write_text(
        '{"environment": {"Python": "3"}, "records": [], "skipped": ["x: y"], "failed": false}'
    )
    assert main(["--from", str(path), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "| goal | server | wanted | measured |  |" in shown
    assert "- not measured: x: y" in shown
    assert "- Python: 3" in shown
