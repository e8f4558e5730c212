"""Sessions by HTTP on real servers: streams that come as they are made, and clients that leave."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from .harness import Kind, Server, running

pytestmark = pytest.mark.server

KINDS: tuple[Kind, ...] = ("daphne", "uvicorn")


@pytest.fixture(scope="module", params=KINDS)
def either(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(kind=request.param) as server:
        yield server


@contextmanager
def ask(server: Server, method: str = "POST", **options: Any) -> Iterator[http.client.HTTPResponse]:
    """Send a request; the answer is read in the block, at whose end the client is gone."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Content-Type": "application/json", **options.get("headers", {})}
    if options.get("token"):
        headers["Authorization"] = f"Bearer {options['token']}"
    body = json.dumps(options["body"]) if "body" in options else None
    with closing(line):
        line.request(method, "/http/faulty/", body, headers)
        with closing(line.getresponse()) as response:
            yield response


def told(server: Server, method: str = "POST", **options: Any) -> dict[str, Any]:
    with ask(server, method, **options) as response:
        answer: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, answer
        return answer


def read_frames(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The frames of a stream."""
    while line := response.readline():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def wait_until_handled(server: Server, session: str, n: int) -> None:
    deadline = time.monotonic() + 90
    while server.database.session(session)["handled"] < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


STREAM = {"Accept": "text/event-stream"}


def test_answers(either: Server) -> None:
    first = told(either, body={"content": "a"})
    assert [event["data"]["content"] for event in first["events"]] == ["started", "a"]
    second = told(either, body={"content": "b"}, token=first["token"])
    assert [event["data"]["content"] for event in second["events"]] == ["b"]
    assert second["session"] == first["session"]
    assert either.database.session(first["session"])["worker_id"] is None


def test_a_stream_comes_as_it_is_made(either: Server) -> None:
    body = {"name": "stream", "data": {"count": 5, "waits": True}}
    with ask(either, body=body, headers=STREAM) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        frames = read_frames(response)
        welcome = next(frames)
        tokens = [next(frame["text"] for frame in frames if frame["type"] == "token")]
        # The handler waits for this behind its first token.
        told(either, body={"name": "unblock", "data": welcome["session"]})
        rest = list(frames)
    tokens += [frame["text"] for frame in rest if frame["type"] == "token"]
    assert tokens == [f"{number} " for number in range(5)]
    assert rest[-1] == {"type": "turn", "turn": 1, "name": "stream", "status": "done"}


def test_a_client_that_leaves_in_the_middle(either: Server) -> None:
    """The turn goes on, and the stream is resumed behind the last id that came."""
    body = {"name": "stream", "data": {"count": 20, "pause": 0.05, "mixed": True}}
    seqs, welcome = [], {}
    with ask(either, body=body, headers=STREAM) as response:
        for frame in read_frames(response):
            welcome = frame if frame["type"] == "welcome" else welcome
            seqs += [frame["seq"]] if "seq" in frame else []
            if len(seqs) == 8:
                break
    headers = STREAM | {"Last-Event-ID": str(seqs[-1])}
    with ask(either, "GET", token=welcome["token"], headers=headers) as response:
        frames = list(read_frames(response))
    seqs += [frame["seq"] for frame in frames if "seq" in frame]
    assert frames[-1]["status"] == "done"
    row = either.database.session(welcome["session"])
    assert seqs == list(range(1, row["head"] + 1))


def test_nothing_is_held_for_a_client_that_has_left(either: Server) -> None:
    with ask(either, body={"name": "slow", "data": 0.5}, headers=STREAM) as response:
        welcome = next(read_frames(response))
        assert either.database.session(welcome["session"])["accepted"] == 1  # stored, then told
    wait_until_handled(either, welcome["session"], 1)
    deadline = time.monotonic() + 90
    while either.database.session(welcome["session"])["worker_id"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    since = told(either, "GET", token=welcome["token"])
    texts = [one["data"]["content"] for one in since["events"] if one["name"] == "message"]
    assert texts == ["started", "slow begins", "slow ends"]


def test_a_turn_that_a_shutdown_lets_finish(either: Server) -> None:
    """Its stream as well is seen to its end."""
    with ask(either, body={"name": "slow", "data": 0.7}, headers=STREAM) as response:
        frames = read_frames(response)
        welcome = next(frames)
        assert next(frames)["type"] == "accepted"
        runs = {"type": "turn", "turn": 1, "name": "slow", "status": "running"}
        assert runs in frames
        either.terminate(wait=False)
        assert list(frames)[-1] == {"type": "turn", "turn": 1, "name": "slow", "status": "done"}
    either.wait()
    either.start()
    since = told(either, "GET", token=welcome["token"])
    texts = [one["data"]["content"] for one in since["events"] if one["name"] == "message"]
    assert texts == ["started", "slow begins", "slow ends"]
