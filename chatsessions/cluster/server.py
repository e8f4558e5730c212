"""``CommandServer``: where a worker does what other workers ask of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from django.contrib.auth import get_user_model

from chatsessions.conf import settings
from chatsessions.exceptions import SessionOver
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.storage.worker_rows import WorkerRows

from . import forwarded, posting
from .commands import (
    Alive,
    Answer,
    Apply,
    Attach,
    Attached,
    Broadcast,
    Busy,
    Call,
    Command,
    Detach,
    Done,
    End,
    Failed,
    Forward,
    Halt,
    News,
    NotHere,
    NotResumed,
    OfGuest,
    Post,
    Reply,
    decode_command,
    encode,
    failure_of,
)
from .connect_request import (
    is_visitors,
    why_over,
)
from .guests import RemoteHttpSubscriber, RemoteSubscriber
from .link import OwnerLink
from .rpc import RpcClient
from .steps import apply

logger = logging.getLogger("chatsessions.relay")

T = TypeVar("T")

#: Seconds that a session which nobody needs here may take to be given away, before it is relayed
#: instead: a slow ``on_disconnect`` is to keep nobody waiting.
GIVE_TIMEOUT = 1.0
#: To a worker of another release, or whoever sends what looks like a command.
UNKNOWN = Failed("ChatSessionsError", "the owner of the session does not know this command")


class CommandServerHost(Protocol):
    """The worker, as its desk sees it."""

    loop: asyncio.AbstractEventLoop
    mail: RpcClient
    live: dict[UUID, LiveSession]
    relays: dict[str, OwnerLink]
    rows: WorkerRows

    def own(self, task: asyncio.Task[Any]) -> None:
        """See ``task`` to its end, and log what it raises."""

    async def read(self, function: Callable[[], T]) -> T:
        """Run something that reads the store."""

    async def acquire(self, session_id: UUID, *, to_end: bool = False) -> LiveSession: ...


class CommandServer:
    """Answers commands. What it does for a relay, a :class:`RemoteSubscriber` stands for."""

    def __init__(self, host: CommandServerHost) -> None:
        self._host = host
        self._guests: dict[str, RemoteSubscriber] = {}

    async def answer(self, raw: bytes) -> bytes:
        """Do a command, and give its answer; what it raises is one, too."""
        try:
            command = decode_command(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            logger.warning("A command from another worker is none that is known here: %s", error)
            return encode(UNKNOWN)
        try:
            return encode(await self._do(command))
        except Exception as error:
            return encode(failure_of(error))

    def look_round(self) -> None:
        """Part with the guests whose worker is not heard of any more."""
        now = self._host.loop.time()
        for guest in list(self._guests.values()):
            if not guest.over and now - guest.heard_at > settings.WORKER_STALE:
                guest.lost(1006)
            if guest.over and not guest.is_sending:
                del self._guests[guest.relay]
        for live in list(self._host.live.values()):
            if live.writers.suspects():
                self._host.own(self._host.loop.create_task(self._look_for_writers(live)))

    async def _look_for_writers(self, live: LiveSession) -> None:
        """Close the streams of blocks elsewhere whose process is gone, or silent for long."""
        for number, writer in live.writers.suspects().items():
            is_lost = live.writers.is_lost(writer)
            if not is_lost and writer.worker is not None:
                lives = partial(self._host.rows.lives, writer.worker)
                is_lost = not await self._host.read(lives)
            if is_lost and not live.closed:
                logger.info("Session %s: a block that streamed into it is gone", live.id)
                live.writers.interrupt(number)

    async def _do(self, command: Command) -> Answer:
        match command:
            case Attach():
                return await self._attach(command)
            case News():
                return self._hear(command)
            case Forward() | Halt() | Detach() | Alive() | Post() | Reply():
                return await self._for_guest(command)
            case Broadcast():
                return Done(await self.broadcast(command))
        return await self._outside(command)

    # For a worker with a client

    async def _attach(self, command: Attach) -> Answer:
        live = self._host.live.get(command.session)
        if live is None or live.closed:
            return NotHere()
        if not is_visitors(live, command.user, command.used):
            return NotResumed("unknown")
        if live.ending is not None:
            return NotResumed(why_over(live.ending))
        if _is_overtaken(live, command):
            return NotHere()
        if live.is_spare and (live.listener is None or command.how != "visit"):
            live.subscribers.part(frames.CloseCode.TAKEN_OVER)
            live.note()
            try:
                async with asyncio.timeout(GIVE_TIMEOUT):
                    await live.until_closed()
            except TimeoutError:
                pass
            else:
                return NotHere()
        if command.how == "give":
            return Busy()
        if command.user is not None:
            live.session.renew_user(await self._host.read(partial(_user, live.owner_id)))
        # The session may have been given to a user meanwhile.
        is_theirs = is_visitors(live, command.user, command.used)
        if live.closed or not is_theirs or _is_overtaken(live, command):
            return NotHere()
        take_in = self._take_in if command.how == "relay" else self._take_in_visitor
        return await take_in(live, command)

    async def _take_in(self, live: LiveSession, command: Attach) -> Answer:
        """The session has its connection elsewhere from now on."""
        guest = RemoteSubscriber(
            live, self._host.mail, relay=command.relay, channel=command.channel
        )
        self._guests[command.relay] = guest
        live.subscribers.rotate_tokens(command.used, command.given)
        stored = asyncio.Event()
        live.connect(guest, welcome=stored.set)
        live.go()
        await _first_of(stored.wait(), live.until_closed())
        if live.listener is not guest:
            return NotHere()
        guest.welcome()
        live.announce(resumed=True)
        return _facts(live)

    async def _take_in_visitor(self, live: LiveSession, command: Attach) -> Answer:
        """Somebody follows the session elsewhere, beside whatever connection it has."""
        guest = RemoteHttpSubscriber(
            live, self._host.mail, relay=command.relay, channel=command.channel
        )
        self._guests[command.relay] = guest
        guest.arrive()
        live.go()
        try:
            if live.log.head > live.log.stored:
                await live.sink.flush()
        except BaseException:
            guest.lost(1006)
            raise
        if guest.over:
            return NotHere()
        guest.welcome()
        return _facts(live)

    async def _for_guest(self, command: OfGuest) -> Answer:
        guest = self._guests.get(command.relay)
        if guest is None or guest.over or not guest.is_here:
            return NotHere()
        guest.heard()
        live = guest.live
        match command:
            case Forward():
                await self._receive(live, guest, command.frames)
            case Halt():
                live.stop()
            case Detach():
                guest.lost(command.code)
            case Alive(visited=visited, acted=acted):
                if visited:
                    live.subscribers.visited()
                if acted:
                    live.subscribers.acted()
            case Post(name=name, data=raw):
                data = frames.decode_data(frames.ClientEvent(1, name, raw))
                return await posting.post(live, name, bytes(raw), data, key=command.key)
            case Reply(call=call, data=raw):
                data = frames.decode_data(frames.Answer(1, call, raw))
                return await posting.answer(live, call, bytes(raw), data)
        return Done()

    async def _receive(
        self, live: LiveSession, guest: RemoteSubscriber, given: list[msgspec.Raw]
    ) -> None:
        live.confirm_token(guest)
        live.holders += 1  # not to be let go between two frames
        try:
            for raw in given:
                if not await forwarded.take(live, guest, raw) and live.is_hammered:
                    guest.close(frames.CloseCode.RATE_LIMITED)
                    live.disconnect(guest, frames.CloseCode.RATE_LIMITED)
        finally:
            live.holders -= 1
            live.note()

    def _hear(self, news: News) -> Answer:
        relay = self._host.relays.get(news.relay)
        if relay is None:
            return NotHere()
        relay.hear(news.items)
        return Done()

    # From outside

    async def _outside(self, command: Apply | Call | End) -> Answer:
        """What code elsewhere wants of a session that this worker holds."""
        live = self._host.live.get(command.session)
        if live is None or live.closed:
            return NotHere()
        match command:
            case End():
                live.end(command.reason)
                await live.until_closed()
                if live.lost is not None:
                    raise live.lost
                return Done()
            case Apply():
                await self._held(live, lambda: apply(live, command))
                return Done()
            case Call():
                call = partial(
                    live.sink.call, command.kind, command.data, timeout=command.timeout, turn=None
                )
                return Done(await self._held(live, call))

    async def _held(self, live: LiveSession, step: Callable[[], Any]) -> Any:
        if live.ending is not None:
            raise SessionOver(live.id, live.ending)
        live.holders += 1
        try:
            return await step()
        finally:
            live.holders -= 1
            live.note()

    async def broadcast(self, command: Broadcast) -> int:
        """To every session here that has a connection, until it is stored; how many there are."""
        told = []
        for live in list(self._host.live.values()):
            meant = command.chat is None or live.chat.name == command.chat
            if meant and live.listener is not None and live.ending is None and not live.closed:
                live.emit(command.name, bytes(command.data))
                told.append(live.draft.waiter())
                live.note()
        stored = await asyncio.gather(*told, return_exceptions=True)
        return sum(result is None for result in stored)


def _is_overtaken(live: LiveSession, command: Attach) -> bool:
    """Whether a newer connection has come since ``command`` was begun: it has the session."""
    return command.how != "visit" and live.subscribers.connections > command.connections


def _facts(live: LiveSession) -> Attached:
    """How a session stands, for whoever follows it from now on."""
    return Attached(
        received=live.received,
        first=live.first,
        head=live.stored,
        turn=live.turn,
        turn_name=next((turn.name for turn in live.turns.running), ""),
        idle=live.position.is_idle,
        numbered=live.numbered,
        streams=[msgspec.Raw(frames.encode(stream).encode()) for stream in live.open_streams],
    )


def _user(pk: Any) -> Any:
    return get_user_model()._default_manager.using(settings.DATABASE).get(pk=pk)


async def _first_of(*steps: Any) -> None:
    """Wait until one of ``steps`` is done, and cancel the others."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
