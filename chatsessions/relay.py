"""
``Relay``: a session whose owner is another worker, as its connection here sees it.

The client's frames go to the owner as commands; the entries come back from the log, of which the
owner only says how far it is stored. When nothing runs any more the session moves here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID, uuid4

import msgspec

from . import frames
from .commands import (
    Alive,
    Attached,
    Command,
    Detach,
    Entries,
    Forward,
    Halt,
    NotHere,
    Parted,
    ReadLog,
    Released,
    Stored,
    Told,
    decode_answer,
    encode,
)
from .conf import settings
from .exceptions import ChatSessionsError, FrameError
from .mail import Mail, NoAnswer
from .models import ChatSession
from .ports import Listener
from .served import LocalListener
from .store import Entry, Peek, Store
from .worker_rows import WorkerRows

if TYPE_CHECKING:
    from .access import User
    from .live import LiveSession

logger = logging.getLogger("chatsessions.relay")

T = TypeVar("T")

#: Holds the session here, with its listener; what is given last is called when that is stored.
#: None if somebody else has it.
Move = Callable[["Relay", LocalListener, Callable[[], None]], Awaitable["LiveSession | None"]]

#: Seconds between two looks at the session's row: what a lost message may cost.
POLL = 1.0
#: Looks that may find the owner gone before its last words are given up.
PATIENCE = 3
#: Frames that go to the owner together.
MAX_BATCH = 50
#: Entries read at a time.
CHUNK = 200


class RelayHost(Protocol):
    """The worker, as its relays see it."""

    loop: asyncio.AbstractEventLoop
    mail: Mail
    store: Store
    rows: WorkerRows
    relays: dict[str, Relay]

    async def read(self, function: Callable[[], T]) -> T:
        """Run something that reads the store."""

    def own(self, task: asyncio.Task[Any]) -> None: ...


class Relay:
    """Stands between one connection and the owner of its session."""

    def __init__(
        self,
        host: RelayHost,
        session_id: UUID,
        *,
        generation: int,
        owner: str,
        move: Move,
    ) -> None:
        self.id = session_id
        self.loop = host.loop
        #: What both workers know the relay by.
        self.number = uuid4().hex
        host.relays[self.number] = self
        self.generation = generation
        self.listener: LocalListener | None = None
        self._host = host
        self._owner = owner
        self._move_here = move
        self._attached: Attached | None = None
        #: Up to which entry the listener has been told.
        self.stored = 0
        self._streams: dict[str, frames.Stream] = {}
        self._news: deque[Told | Stored | Parted | Released] = deque()
        self._has_news = asyncio.Event()
        self._heard_at = host.loop.time()
        self._frames: deque[msgspec.Raw] = deque()
        self._forwarder: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._confirmed = False
        #: Looks at the row that found nobody here or there to take frames.
        self._orphaned = 0
        self._moving = False
        #: The session as it is here, on its way from there.
        self._live: LiveSession | None = None
        self.over = False

    # Served: what a connection asks of its session

    @property
    def first(self) -> int:
        return self._facts.first

    @property
    def received(self) -> int:
        return self._facts.received

    @property
    def numbered(self) -> int:
        return self._facts.numbered

    @property
    def turn(self) -> int | None:
        return self._facts.turn

    @property
    def _facts(self) -> Attached:
        if self._attached is None:
            raise RuntimeError("the owner has not answered yet")  # never
        return self._attached

    @property
    def open_streams(self) -> list[frames.Stream]:
        return list(self._streams.values())

    is_hammered = False  # the owner closes the line itself

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        if settings.EVENT_LOG == "database":
            read = partial(self._host.store.read_log, self.id, after=after, limit=limit)
            return await self._host.read(read)
        answer = await self._ask(ReadLog(relay=self.number, after=after, limit=limit))
        entries = answer.entries if isinstance(answer, Entries) else []
        return [Entry(*entry) for entry in entries]

    def issue_token(self, used: str | None) -> str:
        """The one that the owner has issued."""
        return self._facts.token

    def attached(self, facts: Attached) -> None:
        """The owner sends its news from now on."""
        self._attached = facts
        self.stored = facts.head
        self._heard_at = self.loop.time()
        for raw in facts.streams:
            self._follow(frames.decode_server(bytes(raw).decode()))

    def connect(self, listener: LocalListener, *, welcome: Callable[[], None]) -> None:
        """The owner has stored that there is a connection: greet it."""
        self.listener = listener
        welcome()

    def go(self) -> None:
        self._start(self._deliver())
        self._start(self._watch())

    def announce(self, *, resumed: bool) -> None:
        """The owner does."""

    def renew_user(self, user: User) -> None:
        """The owner's turns keep theirs; the session gets this one when it moves."""

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._host.own(task)

    def confirm_token(self) -> None:
        """The client was heard after its welcome."""
        if not self._confirmed:
            self._confirmed = True
            self._forward()

    async def receive(self, listener: Listener, frame: frames.ClientFrame, data: Any) -> None:
        if len(self._frames) >= settings.MAX_PENDING_EVENTS:
            n = frame.n if isinstance(frame, frames.ClientEvent | frames.Answer) else None
            detail = "the server that runs this session is slow to answer"
            raise FrameError("busy", detail, n=n, retry_after=POLL)
        self._frames.append(msgspec.Raw(frames.encode(frame).encode()))
        self._forward()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._start(self._ask_quietly(Halt(relay=self.number)))

    def end(self, reason: str) -> None:
        self._frames.append(msgspec.Raw(frames.encode(frames.End()).encode()))
        self._forward()

    def disconnect(self, listener: Listener, code: int) -> None:
        """The client is gone: the owner has the session to itself."""
        if listener is self.listener and not self.over:
            self.abandon(code)

    def abandon(self, code: int = 1006) -> None:
        """Leave, and tell the owner."""
        self.leave()
        detach = self._ask_quietly(Detach(relay=self.number, code=int(code)))
        self._host.own(self.loop.create_task(detach))

    def leave(self) -> None:
        """Nothing more is relayed."""
        self.over = True
        self.listener = None
        self._host.relays.pop(self.number, None)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def _start(self, step: Awaitable[None]) -> None:
        self.own(asyncio.ensure_future(step, loop=self.loop))

    # To the owner

    async def _ask(self, command: Command) -> Any:
        raw = await self._host.mail.ask(
            self._owner, encode(command), patience=settings.WORKER_STALE
        )
        return decode_answer(raw)

    async def _ask_quietly(self, command: Command) -> None:
        try:
            await self._ask(command)
        except (NoAnswer, ChatSessionsError) as error:
            logger.info("Session %s: its owner took no %s: %s", self.id, command, error)

    def _forward(self) -> None:
        if self._forwarder is None and not self._moving and not self.over:
            self._forwarder = self.loop.create_task(self._send_frames())
            self.own(self._forwarder)

    async def _send_frames(self) -> None:
        """One batch after another, in order; what the owner does not take is kept for the next."""
        try:
            while not self._moving:
                batch = [self._frames[i] for i in range(min(len(self._frames), MAX_BATCH))]
                answer = await self._ask(Forward(relay=self.number, frames=batch))
                if isinstance(answer, NotHere):
                    self._start(self._check_owner())
                    return
                for _ in batch:
                    self._frames.popleft()
                if not self._frames:
                    return
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner takes nothing: {error}")
        finally:
            self._forwarder = None

    # From the owner

    def hear(self, items: Sequence[Told | Stored | Parted | Released]) -> None:
        """News, in order."""
        self._heard_at = self.loop.time()
        self._news.extend(items)
        self._has_news.set()

    async def _deliver(self) -> None:
        while not self.over:
            while self._news and self.listener is not None:
                await self._pass_on(self._news.popleft())
            self._has_news.clear()
            if not self._news:
                await self._has_news.wait()

    async def _pass_on(self, item: Told | Stored | Parted | Released) -> None:
        listener = self.listener
        if listener is None:
            return
        match item:
            case Told():
                frame = frames.decode_server(bytes(item.frame).decode())
                self._follow(frame)
                listener.frame(frame)
            case Stored():
                await self._read_up_to(item.head)
            case Parted():
                self.leave()
                listener.close(frames.CloseCode(item.code), ended=item.ended)
            case Released():
                await self._move()

    def _follow(self, frame: frames.ServerFrame) -> None:
        """Know the text of what streams, for a client that is still being brought up to date."""
        if isinstance(frame, frames.Stream):
            self._streams[frame.message] = frame
        elif isinstance(frame, frames.Token):
            so_far = self._streams.get(frame.message)
            text = "" if so_far is None else so_far.content
            if so_far is None or frame.index >= so_far.index:
                self._streams[frame.message] = frames.Stream(
                    frame.message, frame.index + 1, text + frame.text
                )

    async def _read_up_to(self, head: int) -> None:
        while self.stored < head and self.listener is not None:
            entries = await self.read_log(self.stored, CHUNK)
            if not entries or entries[0].seq != self.stored + 1:
                self._give_up("its log was cut off meanwhile")
                return
            self.stored = entries[-1].seq
            for entry in entries:
                self._forget_stream(entry)
            if self.listener is not None:
                self.listener.entries(entries)

    def _forget_stream(self, entry: Entry) -> None:
        if self._streams and entry.name in ("message_update", "message_remove"):
            self._streams.pop(msgspec.json.decode(entry.data)["id"], None)

    # Watching

    async def _watch(self) -> None:
        alive_at = self.loop.time()
        while not self.over:
            await asyncio.sleep(POLL)
            try:
                peek = await self._host.read(self._look)
            except Exception as error:
                logger.warning("Session %s: its row cannot be read: %s", self.id, error)
                continue
            if self.over or self._moving:
                return
            self._judge(*peek)
            if self.loop.time() - alive_at > settings.WORKER_HEARTBEAT:
                alive_at = self.loop.time()
                self._start(self._check_owner())

    def _look(self) -> tuple[Peek | None, bool]:
        """Where the session stands, and whether its owner is dead."""
        peek = self._host.store.peek(self.id)
        owner = None if peek is None else peek.worker_id
        dead = self._is_silent and owner is not None and not self._host.rows.lives(owner)
        return peek, dead

    def _judge(self, peek: Peek | None, is_dead: bool) -> None:  # noqa: FBT001, RUF100
        """What the row says, for when the owner's messages are lost."""
        listener = self.listener
        if listener is None:
            return
        if peek is not None and self._is_silent and settings.EVENT_LOG == "database":
            self._news.append(Stored(peek.head))
            self._has_news.set()
        if peek is None or peek.status == ChatSession.Status.ENDED:
            reason = ChatSession.EndReason.ADMIN if peek is None else peek.end_reason
            self._end_after(reason)
        elif peek.generation != self.generation:
            self.leave()
            taken = peek.status == ChatSession.Status.CONNECTED
            code = frames.CloseCode.TAKEN_OVER if taken else frames.CloseCode.SHUTTING_DOWN
            listener.close(code)
        elif peek.worker_id is None:
            self._orphaned += 1  # its last words are on the way, or lost: a welcome says it all
            if self._orphaned > PATIENCE:
                self._give_up("its owner has let it go")
        elif is_dead:
            self._give_up("its owner is dead")

    def _end_after(self, reason: str) -> None:
        """The session is over; the owner's own word for it comes first, if it comes."""
        self._orphaned += 1
        if self._orphaned > PATIENCE:
            self.hear([Parted(int(frames.CloseCode.SESSION_ENDED), reason)])

    @property
    def _is_silent(self) -> bool:
        return self.loop.time() - self._heard_at > POLL

    async def _check_owner(self) -> None:
        """Whether the owner still knows of this relay."""
        try:
            answer = await self._ask(Alive(relay=self.number))
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner is gone: {error}")
            return
        if isinstance(answer, NotHere):
            await asyncio.sleep(PATIENCE * POLL)  # for its last words
            self._give_up("its owner has let this connection go")

    def _give_up(self, why: str) -> None:
        """The client comes back, and finds the session where it is then."""
        listener = self.listener
        if listener is not None and not self._moving:
            logger.info("Session %s is relayed no more: %s", self.id, why)
            self.leave()
            listener.close(frames.CloseCode.SHUTTING_DOWN)

    # Moving

    async def _move(self) -> None:
        """The session is nobody's: it is held here from now on."""
        listener = self.listener
        if self._moving or listener is None:
            return
        self._moving = True
        if self._forwarder is not None:
            self._forwarder.cancel()  # what was taken already is known by its number
        listener.pause()
        stored = asyncio.Event()
        live = await self._take_here(listener, stored)
        if live is None:
            self._moving = False
            self._give_up("somebody else has it")
            return
        try:
            await self._go_on_with(live, listener)
            await stored.wait()
            await self._go_on_with(live, listener)
            self._live = None
            self.leave()
            listener.moved(live)
        finally:
            if self._live is not None:  # the client left meanwhile
                live.disconnect(listener, 1006)

    async def _take_here(
        self, listener: LocalListener, stored: asyncio.Event
    ) -> LiveSession | None:
        try:
            self._live = await self._move_here(self, listener, stored.set)
        except Exception as error:
            logger.warning("Session %s could not be taken over: %s", self.id, error)
        return self._live

    async def _go_on_with(self, live: LiveSession, listener: LocalListener) -> None:
        """Give the session what its last owner has not taken, in order."""
        while self._frames:
            frame = frames.decode(bytes(self._frames.popleft()).decode())
            if isinstance(frame, frames.End):
                live.end("user")
            elif isinstance(frame, frames.ClientEvent | frames.Answer):
                try:
                    await live.receive(listener, frame, frames.decode_data(frame))
                except FrameError as error:
                    listener.frame(frames.error_of(error))
