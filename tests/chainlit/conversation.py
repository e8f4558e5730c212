"""A chat page's websocket, in the words of the tests of bots."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self
from urllib.request import Request, urlopen

from tests.cli.command import PATIENCE, Run
from tests.server.client import Client, Frame


class Tab(Client):
    """One tab with a bot in it."""

    run: Run

    @classmethod
    def at(cls, run: Run, slug: str, *, cookie: str | None = None) -> Tab:
        """A tab for a bot of ``run``, not connected yet."""
        tab = cls(run.socket(slug), run.origin, cookie)
        tab.run = run
        return tab

    async def connect(self, **options: Any) -> Self:
        """Open the websocket, however busy the machine is."""
        return await super().connect(**{"open_timeout": PATIENCE} | options)

    async def hello(self, *, timeout: float = PATIENCE, **keys: Any) -> Frame:
        """Say hello and wait for the welcome."""
        return await super().hello(timeout=timeout, **keys)

    async def entry(self, name: str, *, since: int = 0, **data: Any) -> Frame:
        """Wait for an event of this name whose data has these keys; its data."""
        frame = await self.until(
            lambda frame: (
                frame["type"] == "event"
                and frame["name"] == name
                and all(frame["data"].get(key) == value for key, value in data.items())
            ),
            PATIENCE,
            since=since,
        )
        found: Frame = frame["data"]
        return found

    async def tell(self, text: str) -> str:
        """Send a message, and wait until its turn is over; what became of it."""
        return await self.outcome(await self.message(text), PATIENCE)

    async def answers(self, text: str) -> list[str]:
        """Send a message; what the bot's messages that its turn made say now."""
        before = len(self.contents)
        assert await self.tell(text) == "done", self.tail()
        return self.contents[before:]

    async def press(self, label: str, **changes: Any) -> int:
        """Press the button of this label that was offered last; the number of the event."""
        found = [
            action
            for frame in self.event_frames()
            if frame["name"] in ("message", "message_update", "ask")
            for action in frame["data"].get("actions", ())
            if action["label"] == label
        ]
        assert found, self.tail()
        sent = {key: found[-1][key] for key in ("id", "name", "payload")}
        return await self.event("action", sent | changes)

    async def upload(self, name: str, mime: str, content: bytes) -> str:
        """Upload a file; its id."""
        request = Request(  # noqa: S310
            f"{self.run.origin}/chats/{self.session}/files/",
            content,
            {"Authorization": f"Bearer {self.token}", "Content-Type": mime, "X-File-Name": name},
        )

        def send() -> str:
            with urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
                found: str = json.load(response)["id"]
                return found

        return await asyncio.to_thread(send)

    async def fetch(self, file: str) -> bytes:
        """The content of a file of the session."""
        request = Request(  # noqa: S310
            f"{self.run.origin}/chats/{self.session}/files/{file}/",
            headers={"Authorization": f"Bearer {self.token}"},
        )

        def get() -> bytes:
            with urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
                found: bytes = response.read()
                return found

        return await asyncio.to_thread(get)

    def steps(self) -> dict[str, Frame]:
        """The steps as the log has them now, by name."""
        found: dict[str, Frame] = {}
        for frame in self.event_frames():
            if frame["name"] in ("step", "step_update"):
                found[frame["data"]["id"]] = frame["data"]
            elif frame["name"] == "step_remove":
                del found[frame["data"]["id"]]
        return {step["name"]: step for step in found.values()}
