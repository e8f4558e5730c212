"""Channels' client of a websocket consumer, with the timeout of our other clients."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.testing import WebsocketCommunicator


class Communicator(WebsocketCommunicator):
    """
    Channels' communicator with longer timeouts.

    Channels waits for a second by default, but the first connection starts the worker's threads.
    """

    async def connect(self, timeout: float = 90.0) -> tuple[bool, Any]:
        answer: tuple[bool, Any] = await super().connect(timeout)
        return answer

    async def receive_output(self, timeout: float = 90.0) -> Any:
        """Return the next output, or raise at once what the application raises."""
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
