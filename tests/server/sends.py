"""The tests' application with middleware around ``send``, which does as ``?send=…`` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from tests.server.app import application as inner

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

#: What a message has in it that the middleware is to hold up.
MARK = "held up"


def _marked(message: Message) -> bool:
    return MARK in (message.get("text") or "")


def _slow(send: Send) -> Send:
    async def slow(message: Message) -> None:
        async with asyncio.timeout(90):
            await asyncio.sleep(0.02)
            await send(message)

    return slow


def _times_out(send: Send) -> Send:
    async def timed(message: Message) -> None:
        async with asyncio.timeout(90):
            if _marked(message):
                async with asyncio.timeout(0.1):
                    await asyncio.Event().wait()
            await send(message)

    return timed


def _hangs(send: Send) -> Send:
    async def hanging(message: Message) -> None:
        if _marked(message):
            await asyncio.Event().wait()
        await send(message)

    return hanging


_AROUND = {"slow": _slow, "times_out": _times_out, "hangs": _hangs}


async def application(scope: dict[str, Any], receive: Any, send: Send) -> None:
    around = parse_qs(scope.get("query_string", b"").decode()).get("send")
    await inner(scope, receive, _AROUND[around[0]](send) if around else send)
