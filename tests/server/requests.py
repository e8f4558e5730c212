"""Requests to a server, and those to its bots, whose answers may be streams."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from .harness import Server

STREAM = {"Accept": "text/event-stream"}


def fetch(
    server: Server, method: str, path: str, body: Any = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request; return the answer and its body."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with closing(line):
        line.request(method, path, body, headers)
        response = line.getresponse()
        return response, response.read()


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
