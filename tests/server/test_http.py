"""Sessions by HTTP on real servers: streams that come as they are made, and clients that leave."""

from __future__ import annotations

import time

import pytest

from .harness import Server
from .requests import STREAM, ask, read_frames, told

pytestmark = pytest.mark.server


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
    # Nothing is held for who has left, and the session goes on.
    deadline = time.monotonic() + 90
    while either.database.session(welcome["session"])["worker_id"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    later = told(either, body={"content": "b"}, token=welcome["token"])
    assert [event["data"]["content"] for event in later["events"]] == ["b"]
    assert later["session"] == welcome["session"]


def test_a_turn_that_a_shutdown_lets_finish(either: Server) -> None:
    """Its stream as well is seen to its end."""
    with ask(either, body={"name": "slow", "data": 0.7}, headers=STREAM) as response:
        frames = read_frames(response)
        welcome = next(frames)
        assert next(frames)["type"] == "accepted"
        runs = {"type": "turn", "turn": 1, "name": "slow", "status": "running"}
        assert runs in frames
        either.terminate()
        assert list(frames)[-1] == {"type": "turn", "turn": 1, "name": "slow", "status": "done"}
    either.wait()
    either.start()
    since = told(either, "GET", token=welcome["token"])
    texts = [one["data"]["content"] for one in since["events"] if one["name"] == "message"]
    assert texts == ["started", "slow begins", "slow ends"]
