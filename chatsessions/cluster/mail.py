"""
``Mail``: commands from one worker to another, over the channel layer.

A layer may drop whatever it is given. So a command carries an id, is sent again until there is a
sign of it, and is taken once however often it arrives; losing a message costs a moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from channels.layers import InMemoryChannelLayer, get_channel_layer

from chatsessions.conf import settings

logger = logging.getLogger("chatsessions.mail")

#: Seconds between the tries of a command: half as much again from the first to the last. A layer
#: needs some milliseconds, so the first repeat is nearly always for one that was lost.
FIRST_REPEAT = 0.1
LAST_REPEAT = 1.0
#: Seconds that one message may take into the layer before it counts as lost.
SEND_TIMEOUT = 2.0
#: Seconds before a layer that fails to receive is asked again.
RECEIVE_RETRY = 0.5
#: Answers that are remembered for repeats that are still under way, and their bytes.
MAX_ANSWERS = 10_000
MAX_ANSWER_BYTES = 8 * 1024 * 1024

Letter = dict[str, Any]


class NoAnswer(Exception):
    """The other worker gave no sign for as long as it was waited for."""


@dataclass(slots=True)
class _Asked:
    """A command that waits for its answer."""

    answer: asyncio.Future[bytes]
    heard_at: float


class Mail:
    """
    One worker's letter box. ``answer`` handles a command and returns the answer to it.

    ``channel`` is where others reach it; empty where no layer leads to another process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answer: Callable[[bytes], Awaitable[bytes]],
        own: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self.channel = ""
        self._loop = loop
        self._answer = answer
        self._own = own
        self._layer: Any = None
        self._asked: dict[str, _Asked] = {}
        #: Commands that are worked on, and the answers to those that were.
        self._working: set[str] = set()
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._answer_bytes = 0
        self._receiver: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Get a channel, if there is a layer that crosses processes. Raises what the layer does."""
        layer = crossing_layer()
        if layer is None or self._receiver is not None:
            return
        self._layer = layer
        async with asyncio.timeout(settings.STORE_TIMEOUT):
            self.channel = await layer.new_channel()
        self._receiver = self._loop.create_task(
            self._receive(), name="chatsessions-mail", context=Context()
        )

    async def settle(self, seconds: float) -> None:
        """Wait until everything asked is answered, for so long at most."""
        deadline = self._loop.time() + seconds
        while self._asked and self._loop.time() < deadline:
            waiting = [asked.answer for asked in self._asked.values()]
            await asyncio.wait(waiting, timeout=deadline - self._loop.time())

    async def close(self) -> None:
        """Receive nothing more; who waits for an answer gets ``NoAnswer``."""
        receiver, self._receiver = self._receiver, None
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(NoAnswer("this worker is closing"))
        if receiver is not None:
            receiver.cancel()
            await asyncio.wait([receiver], timeout=SEND_TIMEOUT)

    async def ask(
        self, channel: str, command: bytes, *, patience: float, number: str | None = None
    ) -> bytes:
        """
        The answer of the worker behind ``channel`` to ``command``, which it takes once.

        ``patience`` is how many seconds it may give no sign; while it works on the command it
        does. With the same ``number`` a command is the same one again. Raises ``NoAnswer``.
        """
        number = number or uuid4().hex
        letter = {"type": "chatsessions.ask", "id": number, "to": self.channel, "body": command}
        asked = _Asked(self._loop.create_future(), self._loop.time())
        self._asked[number] = asked
        try:
            for pause in _pauses():
                await self._send(channel, letter)
                done, _ = await asyncio.wait([asked.answer], timeout=pause)
                if done:
                    return asked.answer.result()
                if self._loop.time() - asked.heard_at > patience:
                    raise NoAnswer(f"no sign of the worker for {patience} seconds")
            raise NoAnswer  # never: the pauses have no end
        finally:
            self._asked.pop(number, None)
            asked.answer.cancel()

    def tell(self, channel: str, command: bytes) -> None:
        """Send a command whose loss does no harm: there is no answer, and no repeat."""
        letter = {"type": "chatsessions.tell", "body": command}
        self._own(self._loop.create_task(self._send(channel, letter), context=Context()))

    async def _send(self, channel: str, letter: Letter) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._layer.send(channel, letter)
        except Exception as error:
            logger.debug("A %s is lost: %r", letter["type"], error)

    # Receiving

    async def _receive(self) -> None:
        fails = False
        while True:
            try:
                letter = await self._layer.receive(self.channel)
            except Exception as error:
                if not fails:
                    logger.warning("The channel layer fails; it is tried further: %s", error)
                fails = True
                await asyncio.sleep(RECEIVE_RETRY)
                continue
            fails = False
            self._take(letter)

    def _take(self, letter: Letter) -> None:
        match letter.get("type"):
            case "chatsessions.ask":
                self._take_command(letter)
            case "chatsessions.tell":
                self._own(self._loop.create_task(self._hear(letter["body"])))
            case "chatsessions.sign":
                asked = self._asked.get(letter["id"])
                if asked is not None:
                    asked.heard_at = self._loop.time()
            case "chatsessions.answer":
                asked = self._asked.get(letter["id"])
                if asked is not None and not asked.answer.done():
                    asked.answer.set_result(letter["body"])

    def _take_command(self, letter: Letter) -> None:
        number = letter["id"]
        if number in self._working:
            sign = {"type": "chatsessions.sign", "id": number}
            step = self._send(letter["to"], sign)
        elif number in self._answers:
            step = self._reply(letter, self._answers[number])
        else:
            self._working.add(number)
            step = self._work(letter)
        self._own(self._loop.create_task(step, name="chatsessions-command"))

    async def _work(self, letter: Letter) -> None:
        number = letter["id"]
        try:
            answer = await self._answer(letter["body"])
            self._remember(number, answer)
        finally:
            self._working.discard(number)
        await self._reply(letter, answer)

    def _remember(self, number: str, answer: bytes) -> None:
        self._answers[number] = answer
        self._answer_bytes += len(answer)
        while len(self._answers) > MAX_ANSWERS or self._answer_bytes > MAX_ANSWER_BYTES:
            _, forgotten = self._answers.popitem(last=False)
            self._answer_bytes -= len(forgotten)

    async def _reply(self, letter: Letter, answer: bytes) -> None:
        reply = {"type": "chatsessions.answer", "id": letter["id"], "body": answer}
        await self._send(letter["to"], reply)

    async def _hear(self, command: bytes) -> None:
        await self._answer(command)


def crossing_layer() -> Any:
    """The channel layer that leads to other processes, None if there is none."""
    layer = get_channel_layer()
    return None if layer is None or isinstance(layer, InMemoryChannelLayer) else layer


def _pauses() -> Iterator[float]:
    pause = FIRST_REPEAT
    while True:
        yield pause
        pause = min(1.5 * pause, LAST_REPEAT)
