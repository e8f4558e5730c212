"""Channels' client of a websocket consumer, which waits as long as every other test."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.testing import WebsocketCommunicator


class Communicator(WebsocketCommunicator):
    """Channels waits for a second, and a first connection starts the worker and its threads."""

    async def connect(self, timeout: float = 90.0) -> tuple[bool, Any]:
        answer: tuple[bool, Any] = await super().connect(timeout)
        return answer

    async def receive_output(self, timeout: float = 90.0) -> Any:
        """Raise at once what the application raises; Channels only looks after the timeout."""
        output = asyncio.create_task(super().receive_output(timeout))
        await asyncio.wait([output, self.future], return_when=asyncio.FIRST_COMPLETED)
        if output.done() or not self.output_queue.empty():
            return await output
        output.cancel()
        self.future.result()
        raise TimeoutError("the application has returned")

    async def receive_from(self, timeout: float = 90.0) -> Any:
        return await super().receive_from(timeout)

    async def receive_json_from(self, timeout: float = 90.0) -> Any:
        return await super().receive_json_from(timeout)

    async def disconnect(self, code: int = 1000, timeout: float = 90.0) -> None:
        await super().disconnect(code, timeout)
