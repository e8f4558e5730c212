"""
``RpcClient``: commands and hints from one worker to another, over the channel layer.

A channel layer may drop messages. So a command has an id, is sent again until it is answered, and
is done once however often it arrives; a lost message costs only time. A hint is sent once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from uuid import uuid4

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from chatsessions.conf import settings

logger = logging.getLogger("chatsessions.rpc")
worker_logger = logging.getLogger("chatsessions.worker")

#: The first and the longest pause between two tries of a command, in seconds; each pause is 1.5
#: times the one before. A layer delivers within milliseconds, so a command that has no answer after
#: the first pause was nearly always lost.
FIRST_REPEAT = 0.1
LAST_REPEAT = 1.0
#: If workers are busy, answers are late, and repeats add to the load. So the first pause is
#: multiplied by ``NEEDLESS`` after a needless repeat, and by ``NOT_NEEDED`` after an answer.
NEEDLESS = 1.25
NOT_NEEDED = 0.99
#: Seconds that the layer may take to send a message before it counts as lost.
SEND_TIMEOUT = 2.0
#: Seconds to wait after the layer failed to receive.
RECEIVE_RETRY = 0.5
#: The most answers that are kept for repeats that may still come, and the most bytes of them.
MAX_ANSWERS = 10_000
MAX_ANSWER_BYTES = 8 * 1024 * 1024
#: Seconds between two warnings that messages were skipped.
SKIPPED_EVERY = 60.0
#: Seconds before a loop that has ended is started again.
RESTART_AFTER = 0.5

_Name = Annotated[str, msgspec.Meta(max_length=200)]


class _Ask(msgspec.Struct, tag_field="type", tag="chatsessions.ask"):
    """A command; the answer goes to the channel ``to``."""

    id: _Name
    to: _Name
    body: bytes


class _Sign(msgspec.Struct, tag_field="type", tag="chatsessions.sign"):
    """A sign that the worker is still working on the command."""

    id: _Name


class _Answer(msgspec.Struct, tag_field="type", tag="chatsessions.answer"):
    """The answer to a command."""

    id: _Name
    body: bytes


class _Hint(msgspec.Struct, tag_field="type", tag="chatsessions.hint"):
    """A message that is sent once, and may be lost."""

    body: bytes


_Message: TypeAlias = _Ask | _Sign | _Answer | _Hint
#: Not converted, as layers carry bytes.
_AS_IS = (bytes,)


class NoAnswer(Exception):
    """The other worker has given no sign within the ``patience`` of :meth:`RpcClient.ask`."""


@dataclass(slots=True)
class _Asked:
    """A command that waits for its answer."""

    answer: asyncio.Future[bytes]
    #: When the other worker has last given a sign. Later if this event loop was held up since.
    heard_at: float


class RpcClient:
    """
    Sends commands to other workers, and receives theirs.

    ``start_task`` starts a task that the worker owns: see ``Worker.start_task``.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, start_task: Callable[..., asyncio.Task[Any]]
    ) -> None:
        #: The channel of this worker; empty if no layer leads to other processes.
        self.channel = ""
        self.loop = loop
        self.start_task = start_task
        # Set by ``open()``:
        self._layer: Any
        self._do: Callable[[bytes], Awaitable[bytes]]
        self._hear: Callable[[bytes], None]
        self._asked: dict[str, _Asked] = {}
        self._first_pause = FIRST_REPEAT
        self._lengthened_at = 0.0
        #: The ids of commands in progress, and the answers to earlier ones.
        self._working: set[str] = set()
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._answer_bytes = 0
        self._receiver: asyncio.Task[None] | None = None
        #: How many unknown messages were skipped since the last warning, and when that was.
        self._skipped = 0
        self._skipped_at = -SKIPPED_EVERY

    async def open(
        self, do: Callable[[bytes], Awaitable[bytes]], hear: Callable[[bytes], None]
    ) -> None:
        """
        Get a channel, if a layer leads to other processes.

        Calls ``do`` with each command from there, and ``hear`` with each hint. Raises what the
        layer raises.
        """
        layer = crossing_layer()
        if layer is None or self._receiver is not None:
            return
        self._layer, self._do, self._hear = layer, do, hear
        async with asyncio.timeout(settings.STORE_TIMEOUT):
            self.channel = await layer.new_channel()
        receiver = keep_running("The worker's task 'rpc'", self._receive)
        self._receiver = self.start_task(receiver, "chatsessions-rpc")

    async def settle(self, seconds: float) -> None:
        """Wait until all commands are answered, for at most ``seconds``."""
        deadline = self.loop.time() + seconds
        while self._asked and self.loop.time() < deadline:
            waiting = [asked.answer for asked in self._asked.values()]
            await asyncio.wait(waiting, timeout=deadline - self.loop.time())

    async def close(self) -> None:
        """Stop receiving, and raise ``NoAnswer`` in every :meth:`ask` that waits."""
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
        Send ``command`` to the worker behind ``channel``, and return its answer.

        Raises ``NoAnswer`` after ``patience`` seconds without a sign; a worker that still works on
        the command answers each repeat with a sign. Commands with the same ``number`` are done
        once.
        """
        number = number or uuid4().hex
        message = _Ask(number, self.channel, command)
        asked = _Asked(self.loop.create_future(), self.loop.time())
        self._asked[number] = asked
        try:
            pause = self._first_pause
            while True:
                await self._send(channel, message)
                due = self.loop.time() + pause
                done, _ = await asyncio.wait([asked.answer], timeout=pause)
                if done:
                    return asked.answer.result()
                # A hold-up of this event loop is no silence: signs that came are not read yet.
                asked.heard_at += max(0.0, self.loop.time() - due)
                if self.loop.time() - asked.heard_at > patience:
                    raise NoAnswer(f"no sign of the worker for {patience} seconds")
                pause = min(1.5 * pause, LAST_REPEAT)
        finally:
            self._asked.pop(number, None)
            asked.answer.cancel()

    async def tell(self, channel: str, hint: bytes) -> None:
        """Send a hint to the worker behind ``channel``, once."""
        await self._send(channel, _Hint(hint))

    async def _send(self, channel: str, message: _Message) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._layer.send(channel, msgspec.to_builtins(message, builtin_types=_AS_IS))
        except Exception as error:
            logger.debug("A %s is lost: %r", type(message).__name__, error)

    # Receiving

    async def _receive(self) -> None:
        fails = False
        while True:
            try:
                raw = await self._layer.receive(self.channel)
            except Exception as error:
                if not fails:
                    logger.warning("The channel layer fails; it is tried further: %s", error)
                fails = True
                await asyncio.sleep(RECEIVE_RETRY)
                continue
            fails = False
            try:
                message = msgspec.convert(raw, _Message, builtin_types=_AS_IS)
            except (msgspec.MsgspecError, RecursionError) as error:
                self._skip(error)
            else:
                self._take(message)

    def _skip(self, error: Exception) -> None:
        """
        Skip a message that is no command, answer or hint: any process can send to the channel.

        Its contents are not logged.
        """
        self._skipped += 1
        now = self.loop.time()
        if now - self._skipped_at >= SKIPPED_EVERY:
            logger.warning(
                "Skipped %d message(s) on this worker's channel that are none of ours: %s",
                self._skipped,
                str(error)[:200],
            )
            self._skipped, self._skipped_at = 0, now

    def _take(self, message: _Message) -> None:
        match message:
            case _Ask():
                self._take_command(message)
            case _Sign():
                asked = self._asked.get(message.id)
                if asked is not None:
                    asked.heard_at = self.loop.time()
            case _Answer():
                self._take_answer(message)
            case _Hint():
                self._hear(message.body)

    def _take_answer(self, message: _Answer) -> None:
        asked = self._asked.get(message.id)
        if asked is None or asked.answer.done():  # an answer to a needless repeat
            now = self.loop.time()
            if now - self._lengthened_at >= self._first_pause:  # at most once per pause
                self._first_pause = min(NEEDLESS * self._first_pause, LAST_REPEAT)
                self._lengthened_at = now
        else:
            asked.answer.set_result(message.body)
            self._first_pause = max(NOT_NEEDED * self._first_pause, FIRST_REPEAT)

    def _take_command(self, command: _Ask) -> None:
        number = command.id
        if number in self._working:
            step = self._send(command.to, _Sign(number))
        elif number in self._answers:
            step = self._reply(command, self._answers[number])
        else:
            self._working.add(number)
            step = self._work(command)
        self.start_task(step, "chatsessions-command")

    async def _work(self, command: _Ask) -> None:
        number = command.id
        try:
            answer = await self._do(command.body)
            self._remember(number, answer)
        finally:
            self._working.discard(number)
        await self._reply(command, answer)

    def _remember(self, number: str, answer: bytes) -> None:
        self._answers[number] = answer
        self._answer_bytes += len(answer)
        while len(self._answers) > MAX_ANSWERS or self._answer_bytes > MAX_ANSWER_BYTES:
            _, forgotten = self._answers.popitem(last=False)
            self._answer_bytes -= len(forgotten)

    async def _reply(self, command: _Ask, answer: bytes) -> None:
        await self._send(command.to, _Answer(command.id, answer))


def crossing_layer() -> Any:
    """Return the channel layer that leads to other processes, None if there is none."""
    layer = get_channel_layer()
    return None if layer is None or isinstance(layer, InMemoryChannelLayer) else layer


async def keep_running(what: str, loop: Callable[[], Awaitable[None]]) -> None:
    """
    Run ``loop`` until this task is cancelled: if the loop ends before, log that and restart it.

    ``what`` is the name of the loop in the log. It is also restarted after a ``CancelledError``
    that does not come from a cancellation of this task, but for instance from a library.
    """
    while True:
        try:
            await loop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            worker_logger.exception("%s was cancelled by what it called; it is started again", what)
        except Exception:
            worker_logger.exception("%s has failed; it is started again", what)
        else:
            worker_logger.error("%s has ended by itself; it is started again", what)
        await asyncio.sleep(RESTART_AFTER)
