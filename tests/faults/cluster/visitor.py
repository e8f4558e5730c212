"""A client that comes by plain requests, through any door, and asks again until it is answered."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.support.client import Frame

from .tab import PATIENCE, Door

#: Seconds after which somebody who is refused comes again.
AGAIN = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """An answer; status 0 is none, as the server has gone."""

    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def turn(self) -> tuple[int, str]:
        return self.body["turn"]["turn"], self.body["turn"]["status"]


class Visitor:
    """Has one session, once it has posted something."""

    def __init__(self, doors: Sequence[Door], source: random.Random) -> None:
        self.doors = doors
        self.source = source
        #: None until it has posted something.
        self.session: Any = None
        self.token: Any = None
        #: How often it was told to come again, by status.
        self.refused: list[int] = []

    async def post(self, door: Door, **body: Any) -> Told:
        return await asyncio.to_thread(self._ask, door, "POST", self._mine() | body)

    async def get(self, door: Door) -> Told:
        return await asyncio.to_thread(self._ask, door, "GET", None)

    async def end(self, door: Door) -> Told:
        return await asyncio.to_thread(self._ask, door, "DELETE", self._mine())

    async def say(self, content: str) -> Told:
        """Post a message through any door, again and again until it has come to its end."""
        key, deadline = str(uuid4()), time.monotonic() + PATIENCE
        while True:
            told = await self.post(self.source.choice(self.doors), content=content, id=key)
            if told.status == 200:
                return told
            assert told.status in (0, 202, 409, 429, 503), told
            self.refused.append(told.status)
            assert time.monotonic() < deadline, (self.refused[-20:], told)
            await asyncio.sleep(AGAIN)

    async def stream(self, door: Door, **body: Any) -> AsyncIterator[Frame]:
        """The frames that come of an event, as they come."""
        line = http.client.HTTPConnection("127.0.0.1", door.port, timeout=PATIENCE)
        with closing(line):
            response = await asyncio.to_thread(self._begin, line, self._mine() | body)
            assert response.status == 200, response.read()
            while raw := await asyncio.to_thread(response.readline):
                if raw.startswith(b"data: "):
                    yield json.loads(raw.removeprefix(b"data: "))

    def _mine(self) -> dict[str, Any]:
        return {} if self.token is None else {"session": self.session, "token": self.token}

    def _begin(
        self, line: http.client.HTTPConnection, body: dict[str, Any]
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        line.request("POST", "/http/books/", json.dumps(body), headers)
        return line.getresponse()

    def _ask(self, door: Door, method: str, body: dict[str, Any] | None) -> Told:
        since = time.monotonic()
        line = http.client.HTTPConnection("127.0.0.1", door.port, timeout=PATIENCE)
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            with closing(line):
                text = None if body is None else json.dumps(body)
                line.request(method, "/http/books/", text, headers)
                response = line.getresponse()
                raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            return Told(0, {"error": repr(error)}, time.monotonic() - since)
        told = json.loads(raw) if raw else {}
        if response.status in (200, 202):
            self.session, self.token = told["session"], told["token"]
        return Told(response.status, told, time.monotonic() - since)
