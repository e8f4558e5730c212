"""
From outside, by threads of processes that serve no websockets: each call is done once, and returns.

Views under a threaded WSGI server, task queues and management commands with pools of threads.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.deployment.processes import Process
from tests.support.ports import free_port
from tests.support.process import ROOT

from .long_run import LONG
from .rig import STEADY, Cluster, Services, started, until
from .scenario import Play
from .tab import PATIENCE, Tab

pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.timeout(900)]

THREADS = 8
CALLS = 40


@pytest.fixture(scope="module", params=["pubsub", "core"])
def module_server(services: Services, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    options = {"kinds": ("uvicorn",), "layer": request.param}
    with started(services, chatsessions=STEADY, **options) as cluster:
        yield cluster


@pytest.fixture
def server(module_server: Cluster) -> Cluster:
    """A uvicorn for the websockets; who calls from outside does not take it for dead."""
    module_server.refresh()
    return module_server


@pytest.fixture
def site(server: Cluster) -> Iterator[Process]:
    """A gunicorn for the views, with threads."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", str(THREADS)),
        *("--bind", f"127.0.0.1:{port}", "tests.faults.cluster.site:application"),
    ]
    process = Process(command, port, server.folder / "site.log", server.workers[0].environment())
    process.start()
    try:
        yield process
    finally:
        process.end()


def get(site: Process, path: str) -> int:
    """The status of an answer; 0 if there is none in time."""
    url = f"http://127.0.0.1:{site.port}/{path}/"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


async def done_by(site: Process, view: str, tab: Tab) -> tuple[set[int], set[int]]:
    """
    Have a view do something ``CALLS`` times at once, each with a number of its own.

    Returns the numbers of those that were done, and of those that may have been: on a busy machine
    the owner or its store may be too slow to say so.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(THREADS) as pool:
        paths = [f"{view}/{tab.session}/{number}" for number in range(CALLS)]
        answers = [loop.run_in_executor(pool, get, site, path) for path in paths]
        statuses = await asyncio.gather(*answers)
    assert set(statuses) <= {200, 503}, site.said()
    done = {number for number, status in enumerate(statuses) if status == 200}
    assert done
    return done, set(range(CALLS)) - done


def assert_once(numbers: list[int], done: set[int], unknown: set[int]) -> None:
    """All that was done is there, each once, and nothing else but what may have been."""
    assert len(numbers) == len(set(numbers))
    assert done <= set(numbers) <= done | unknown


def notes(tab: Tab) -> list[int]:
    """The numbers that the client was told, in order."""
    events = [note.frame for note in tab.record if note.frame["type"] == "event"]
    return [event["data"] for event in events if event["name"] == "note"]


async def all_told(server: Cluster, tab: Tab, done: set[int], unknown: set[int]) -> None:
    """The client is told each number that was done, once."""
    await tab.until(lambda: done <= set(notes(tab)))
    assert_once(notes(tab), done, unknown)
    server.assert_calm()


@pytest.mark.parametrize("view", ["emit", "emit-async"])
async def test_events_of_views_in_threads_are_each_emitted_once(
    server: Cluster, site: Process, play: Play, view: str
) -> None:
    tab = await play(server).tab(bundles=True).begun()
    done, unknown = await done_by(site, view, tab)
    await all_told(server, tab, done, unknown)
    site.stop()


async def test_blocks_of_views_in_threads_are_each_made_once(
    server: Cluster, site: Process, play: Play
) -> None:
    tab = await play(server).tab().begun()
    done, unknown = await done_by(site, "write", tab)
    stored = await asyncio.to_thread(server.books.stored, tab.session)
    kept = [number for number in range(CALLS) if stored.state.get(f"key {number}") == number]
    assert len(kept) == len(stored.state)
    texts = [entry.data["content"] for entry in stored.log if entry.name == "message"]
    told = [int(text.removeprefix("note ")) for text in texts[1:]]
    assert_once(told, done, unknown)
    assert sorted(told) == kept  # a block is made whole
    site.stop()


async def test_a_session_that_is_live_nowhere_is_reached_by_views_in_threads(
    server: Cluster, site: Process, play: Play
) -> None:
    """Two threads of one process are not two processes that keep the session from each other."""
    tab = await play(server).tab().begun()
    session = tab.session
    await tab.stay_away()
    await until(lambda: server.books.session(session)["worker_id"] is None)
    done, unknown = await done_by(site, "emit", tab)
    tab.come_back()
    await all_told(server, tab, done, unknown)
    site.stop()


#: How a crowd comes, and how many calls it makes: 32 threads with 50 each in a long run.
CROWDS = [("threads", 1600 if LONG else 160), ("fork", 80), ("loops", 50)]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "count"), CROWDS)
@pytest.mark.timeout(900)
async def test_a_crowd_of_threads_reaches_a_session(
    server: Cluster, play: Play, how: str, count: int
) -> None:
    tab = await play(server).tab(bundles=True).begun()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.faults.cluster.crowd", tab.session, how, "0"],
        cwd=ROOT,
        env=server.workers[0].environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # On a busy machine the owner may be too slow to answer: whoever was told so does not know.
    unknown = {int(number) for number in done.stdout.split()}
    done_once = set(range(count)) - unknown
    assert done_once
    await all_told(server, tab, done_once, unknown)


def launched(server: Cluster, tab: Tab, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.cluster.job", tab.session, how],
        cwd=ROOT,
        env=server.workers[0].environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


async def streaming(server: Cluster, tab: Tab, how: str) -> subprocess.Popen[str]:
    """A job that streams into the tab's session, when the tab has seen some of it."""
    job = launched(server, tab, how)
    await tab.until(lambda: len(shown(tab).split()) >= 10)
    return job


def shown(tab: Tab) -> str:
    """The text of the latest message, as this line has it: its tokens as they come, by index."""
    line, text, index = tab.lines[-1].number, "", 0
    for note in tab.record:
        frame = note.frame
        if note.sent or note.connection != line:
            continue
        if frame["type"] == "event" and frame["name"] in ("message", "message_update"):
            text, index = frame["data"]["content"], 0
        elif frame["type"] == "stream":
            text, index = frame["content"], frame["index"]
        elif frame["type"] == "token":
            assert frame["index"] == index, f"token {frame['index']} after {index - 1}"
            text, index = text + frame["text"], index + 1
    return text


def is_streaming(tab: Tab) -> bool:
    events = [note.frame for note in tab.record if note.frame["type"] == "event"]
    latest = [event for event in events if event["name"] in ("message", "message_update")][-1]
    return bool(latest["data"]["streaming"])


async def reloaded(tab: Tab) -> None:
    lines = len(tab.lines)
    tab.reload()
    await tab.until(lambda: len(tab.lines) > lines and tab.is_welcome)


def end(job: subprocess.Popen[str]) -> None:
    assert job.stdin is not None
    job.stdin.close()
    job.wait(30)


@pytest.mark.slow
async def test_a_page_that_is_reloaded_goes_on_seeing_what_a_job_streams(
    server: Cluster, play: Play
) -> None:
    tab = await play(server).tab().begun()
    job = await streaming(server, tab, "go on")
    try:
        await reloaded(tab)
        before = len(shown(tab).split())
        await tab.until(lambda: len(shown(tab).split()) >= max(before, 10) + 10)
        assert is_streaming(tab)
    finally:
        end(job)
    await tab.until(lambda: not is_streaming(tab))
    words = shown(tab).split()
    assert words == [str(number) for number in range(len(words))]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "kill"])
async def test_a_stream_whose_job_is_gone_is_closed_with_all_that_was_seen(
    server: Cluster, play: Play, how: str
) -> None:
    tab = await play(server).tab().begun()
    job = await streaming(server, tab, how)
    if how == "kill":
        job.kill()
    end(job)
    seen = shown(tab)
    await tab.until(lambda: not is_streaming(tab))
    assert shown(tab).startswith(seen)
    await reloaded(tab)
    await tab.until(lambda: shown(tab).startswith(seen))
    assert not is_streaming(tab)
    errors = [note.frame["data"] for note in tab.record if note.frame.get("name") == "error"]
    assert [error["code"] for error in errors][:1] == ["interrupted"]
    stored = await asyncio.to_thread(server.books.stored, tab.session)
    # As a turn that fails, the block keeps what it did before.
    assert stored.state == ({"before": 1} if how == "raise" else {})
