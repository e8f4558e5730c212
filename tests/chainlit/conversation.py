"""A chat page's websocket, in the words of the tests of bots."""

from __future__ import annotations

from typing import Any, Self

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

    def steps(self) -> dict[str, Frame]:
        """The steps as the log has them now, by name."""
        found: dict[str, Frame] = {}
        for frame in self.event_frames():
            if frame["name"] in ("step", "step_update"):
                found[frame["data"]["id"]] = frame["data"]
            elif frame["name"] == "step_remove":
                del found[frame["data"]["id"]]
        return {step["name"]: step for step in found.values()}
