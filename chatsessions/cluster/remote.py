"""
``RemoteSession``: a session that another worker owns, as this worker sees it.

The other end is a :class:`~chatsessions.cluster.server.RemoteSubscriber` at the owner.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from chatsessions.auth.access import hash_token
from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, FrameError, OwnerUnreachable
from chatsessions.handlers.chat import ANSWER
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.sessions.posted import Posted
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Standing, Subscriber
from chatsessions.storage.log import Entry
from chatsessions.storage.store import MESSAGE_EVENTS, Peek, Store

from .commands import (
    Alive,
    Attach,
    Attached,
    Busy,
    Command,
    Detach,
    Forward,
    Halt,
    How,
    NotHere,
    NotResumed,
    Parted,
    Post,
    Released,
    Reply,
    Stored,
    Told,
    decode_answer,
    encode,
)
from .connect_request import ConnectRequest
from .directory import LOOK_AGAIN, SOON, Owner, WorkerDirectory
from .owner import take_frame
from .rpc import NoAnswer

if TYPE_CHECKING:
    from chatsessions.auth.access import User

logger = logging.getLogger("chatsessions.relay")

#: Frames of a client that go to the owner together.
MAX_BATCH = 50
#: Entries of the log that are read at a time.
CHUNK = 200
#: Seconds after which an owner that has told nothing counts as silent.
SILENCE = 1.0
#: Seconds between two looks at the session's row: what a lost message may cost.
POLL = 1.0
#: Looks that may find the owner gone before its last words are given up.
PATIENCE = 3

Item = Told | Stored | Parted | Released


class LocalSubscriber(Subscriber):
    """A connection at this worker, whose session may come here from another."""

    @abstractmethod
    def stop(self) -> None:
        """Send nothing more until :meth:`moved`."""

    @abstractmethod
    def moved(self, served: LiveSession) -> None:
        """Go on with ``served``, which is the session here, where the other one was left."""


#: Holds the session here, with its connection, and calls the last argument when that is stored.
#: Returns None if somebody else has the session.
Move = Callable[
    ["RemoteSession", LocalSubscriber, Callable[[], None]], Awaitable["LiveSession | None"]
]


class RemoteSession:
    """
    A session that another worker owns, for one connection or one request here.

    Commands go to the owner over the channel layer, and each is taken once. The owner tells in
    return how far the log is stored, and passes on the frames that are not in the log; the entries
    are read from the database. What lost messages would have told is found by a look at the
    session's row once a second.

    With ``move`` it is for the session's connection: when nothing runs at the owner any more, the
    session moves here. Without, it is for a request: the owner keeps the session while that lasts.
    """

    def __init__(
        self,
        row: ChatSession,
        owner: Owner,
        *,
        directory: WorkerDirectory,
        store: Store,
        remotes: dict[str, RemoteSession],
        move: Move | None = None,
    ) -> None:
        self.id = row.pk
        self.generation = row.generation
        self.loop = directory.rpc.loop
        #: By which both workers know it.
        self.number = uuid4().hex
        #: The connection or request here, which is told what the owner tells.
        self.subscriber: Subscriber | None = None
        #: Whether nothing more is told.
        self.over = False
        #: Why, if the session has not ended.
        self.lost: Exception | None = None
        self._owner = owner
        self._directory = directory
        self._store = store
        self._remotes = remotes
        self._move_here = move
        self._token = ""
        #: How the session stands, as far as the subscriber was told.
        self._standing = Standing()
        self.is_ending = False
        self._streams = OpenStreams()
        # From the owner
        self._news: deque[Item] = deque()
        self._has_news = asyncio.Event()
        #: Held while the log is read.
        self._reading = asyncio.Lock()
        self._heard_at = self.loop.time()
        #: Looks at the row that found neither an owner nor a way to go on.
        self._orphaned = 0
        # To the owner
        self._frames: deque[msgspec.Raw] = deque()
        self._forwarder: asyncio.Task[None] | None = None
        self._confirmed = False
        self._moving = False
        self._detaching: asyncio.Task[None] | None = None
        self._left = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_visit(self) -> bool:
        """Whether it is for a request."""
        return self._move_here is None

    async def attach(
        self, request: ConnectRequest, *, given: str, connections: int, how: How
    ) -> Attached | NotResumed | Busy | None:
        """
        Ask the owner for the session. If it is ``Attached``, its news come here from now on.

        ``given`` is the token that the client is given, and ``connections`` how many the session
        had when it came. Returns None if the session is to be looked for again: it was given away,
        or there was no sign of the owner.
        """
        user = request.user
        command = Attach(
            session=self.id,
            remote=self.number,
            channel=self._directory.rpc.channel,
            user=str(user.pk) if user.is_authenticated else None,
            used=request.token_hash,
            given=hash_token(given),
            connections=connections,
            how=how,
        )
        self._token = given
        self._remotes[self.number] = self
        try:
            answer = await self._directory.ask_in_turn(self._owner, command)
        except NoAnswer:
            self._detach()
            return None
        except BaseException as error:
            self._detach()
            if type(error) is not ChatSessionsError:
                raise
            # It does not know the command, as another release may not, or failed at it.
            logger.warning("Worker %s does not give its sessions away: %s", self._owner.name, error)
            await asyncio.sleep(LOOK_AGAIN)
            return None
        if isinstance(answer, Attached):
            self._standing = answer.standing
            self._heard_at = self.loop.time()
            for stream in answer.standing.streams:
                self._streams.told(stream)
            return answer
        self._leave()
        if isinstance(answer, NotResumed | Busy):
            return answer
        if answer is not None:
            await asyncio.sleep(SOON)
        return None

    # What a connection asks of its session

    @property
    def client(self) -> RemoteSession:
        """What is told of the client, which goes to the owner as all else does."""
        return self

    @property
    def is_hammered(self) -> bool:
        """Return False: the owner closes such a connection itself."""
        return False

    def issue_token(self, used: str | None, *, named: bool = False) -> str:
        """Return the token whose hash the owner knows."""
        return self._token

    def connect(self, subscriber: LocalSubscriber, *, welcome: Callable[[], None]) -> None:
        """Greet the connection: the owner has stored that there is one."""
        self.subscriber = subscriber
        welcome()

    def announce(self, *, resumed: bool) -> None:
        """Do nothing: the owner tells the application."""

    def renew_user(self, subscriber: Subscriber | None, user: User) -> None:
        """Do nothing: the owner's turns keep their user, and the session gets it when it moves."""

    def confirm_token(self, subscriber: Subscriber) -> None:
        """Tell the owner that the client was heard by ``subscriber`` after its welcome."""
        if not self._confirmed and subscriber is self.subscriber:
            self._confirmed = True
            self._forward()

    async def receive(self, subscriber: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """
        Send an event or an answer of the client to the owner.

        Raises ``FrameError`` ``busy`` if too many wait.
        """
        if len(self._frames) >= settings.MAX_PENDING_EVENTS:
            n = frame.n if isinstance(frame, frames.ClientEvent | frames.Answer) else None
            detail = "the server that runs this session is slow to answer"
            raise FrameError("busy", detail, n=n, retry_after=POLL)
        self._frames.append(_pack(frame))
        self._forward()

    def stop(self) -> None:
        """Stop the running turn."""
        if self._moving:
            self._stop_next()
        else:
            self._start(self._halt())

    async def _halt(self) -> None:
        """Overtake the frames. If the owner has let the session go, it is for the next owner."""
        if isinstance(await self._ask_quietly(Halt(remote=self.number)), NotHere):
            self._stop_next()

    def _stop_next(self) -> None:
        """Stop behind the events that no owner has taken yet: one of them is meant."""
        if not self._frames or self._frames[-1] is not _STOP:
            self._frames.append(_STOP)

    def end(self, reason: str) -> None:
        """End the session, as its user."""
        self._frames.append(_pack(frames.End()))
        self._forward()

    def disconnect(self, subscriber: Subscriber, code: int) -> None:
        """Leave the session to its owner: the client is gone."""
        if subscriber is self.subscriber and not self.over:
            self._detach(code)

    # What a request asks of its session

    @property
    def posted(self) -> RemoteSession:
        """What takes events of requests: this as well."""
        return self

    async def settle(self) -> None:
        """Wait until the subscriber has been told all that is stored now."""
        peek, _ = await self._look()
        if peek is not None:
            await self._read_up_to(peek.head)

    async def begun(self) -> None:
        """Do nothing: only a new session has yet to begin, and is where its client is."""

    def follow(self, subscriber: Subscriber) -> Standing:
        """Tell ``subscriber`` of the session from now on."""
        if self.over:
            subscriber.close(frames.CloseCode.SHUTTING_DOWN)
        else:
            self.subscriber = subscriber
            self.go()
        return self.standing()

    def unfollow(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` nothing more."""
        if self.subscriber is subscriber:
            self.subscriber = None

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None) -> Posted:
        """Give the session an event: see :meth:`.PostedEvents.post`."""
        command = Post(remote=self.number, name=name, data=msgspec.Raw(raw), key=key)
        return await self._have_taken(command)

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """Give the session the answer to a question: see :meth:`.PostedEvents.answer`."""
        return await self._have_taken(Reply(remote=self.number, call=call, data=msgspec.Raw(raw)))

    async def _have_taken(self, command: Post | Reply) -> Posted:
        """
        Have the owner take what was posted, once; what it raises is raised here.

        Raises ``OwnerUnreachable`` if it is gone, and may have taken it or not.
        """
        number = uuid4().hex
        deadline = self.loop.time() + settings.WORKER_STALE
        while not self.over:
            try:
                answer = await self._ask(command, patience=LOOK_AGAIN, number=number)
            except NoAnswer:
                if self.loop.time() > deadline or await self._owner_is_gone():
                    break
            else:
                if not isinstance(answer, Posted):
                    break  # it knows nothing of us any more
                if answer.outcome is not None:  # all that came of it is stored
                    await self._read_up_to(answer.head)
                return answer
        self._give_up("its owner takes nothing")
        raise self.lost or self._unreachable()

    def visited(self) -> None:
        """Tell the owner that the session's client is still there."""
        if not self.over:
            self._start(self._ask_quietly(Alive(remote=self.number, visited=True)))

    async def acted(self) -> None:
        """Tell the owner that the session's client has done something that is no event."""
        await self._ask_quietly(Alive(remote=self.number, visited=True, acted=True))

    def let_go(self) -> None:
        """Leave the session to its owner: the request is over."""
        subscriber = self.subscriber
        if not self.over:
            self._detaching = self._detach()
        if subscriber is not None:
            subscriber.close(frames.CloseCode.SHUTTING_DOWN)

    async def given_back(self) -> None:
        """Wait until the owner knows that the request is over."""
        if self._detaching is not None:
            await asyncio.wait([self._detaching], timeout=LOOK_AGAIN)

    async def until_left(self) -> None:
        """Wait until nothing more is told."""
        await self._left.wait()

    # Commands to the owner

    async def _ask(
        self, command: Command, *, patience: float | None = None, number: str | None = None
    ) -> Any:
        """
        Return the owner's answer. Raises ``NoAnswer``, and what the owner raised.

        ``patience`` is how many seconds it may give no sign (``WORKER_STALE``); with the same
        ``number`` a command is the same one again.
        """
        raw = await self._directory.rpc.ask(
            self._owner.channel,
            encode(command),
            patience=settings.WORKER_STALE if patience is None else patience,
            number=number,
        )
        return decode_answer(raw)

    async def _ask_quietly(self, command: Command) -> Any:
        """Return the owner's answer, or None where nothing can be done if there is none."""
        try:
            return await self._ask(command)
        except (NoAnswer, ChatSessionsError) as error:
            logger.info("Session %s: its owner took no %s: %s", self.id, command, error)
            return None

    def _forward(self) -> None:
        if self._forwarder is None and not self._moving and not self.over:
            self._forwarder = self._start(self._send_frames())

    async def _send_frames(self) -> None:
        """Send one batch after another. Frames that the owner does not take are kept."""
        try:
            while not self._moving:
                batch = [self._frames[i] for i in range(min(len(self._frames), MAX_BATCH))]
                answer = await self._ask(Forward(remote=self.number, frames=batch))
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

    # News from the owner

    def hear(self, items: Sequence[Item]) -> None:
        """Take news, in order. They wait for a subscriber."""
        self._heard_at = self.loop.time()
        self._add_news(items)

    def _add_news(self, items: Sequence[Item]) -> None:
        self._news.extend(items)
        self._has_news.set()

    def go(self) -> None:
        """Tell the subscriber the news, and look at the session's row in case there are none."""
        self._start(self._deliver())
        self._start(self._watch())

    async def _deliver(self) -> None:
        """Pass the news on as they come, while there is a subscriber."""
        try:
            while not self.over:
                self._has_news.clear()
                while self._news and self.subscriber is not None:
                    await self._pass_on(self._news.popleft(), self.subscriber)
                if not self.over:
                    await self._has_news.wait()
        except Exception:
            logger.exception("What the owner of a session tells cannot be passed on")
            self._give_up("what its owner tells cannot be passed on")

    async def _pass_on(self, item: Item, subscriber: Subscriber) -> None:
        match item:
            case Told():
                frame = _decoded(item.frame)
                if frame is None:
                    return
                self._streams.told(frame)
                if isinstance(frame, frames.TurnStatus):
                    self._standing.is_idle, self.is_ending = item.idle, item.ending
                subscriber.frame(frame)
            case Stored():
                await self._read_up_to(item.head)
            case Parted():
                self.close(frames.CloseCode(item.code), ended=item.ended)
            case Released():
                if self._move_here is None:
                    self._give_up("its owner has it no more")
                else:
                    await self._move(self._move_here)

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Return stored entries behind ``after``, oldest first."""
        read = partial(self._store.read_log, self.id, after=after, limit=limit)
        return await self._directory.threads.read(read)

    async def _read_up_to(self, head: int) -> None:
        """Tell the log up to ``head``. Without a subscriber it counts as told."""
        async with self._reading:
            await self._read_on(head)

    async def _read_on(self, head: int) -> None:
        while self._standing.stored < head and not self.over:
            entries = await self.read_log(self._standing.stored, CHUNK)
            if not entries or entries[0].seq != self._standing.stored + 1:
                self._give_up("its log was cut off meanwhile")
                return
            self._standing.stored = entries[-1].seq
            for entry in entries:
                if entry.n is not None and entry.name != ANSWER:
                    self._standing.is_idle = False
                self._streams.stored(entry)
            if self.subscriber is not None:
                self.subscriber.entries(entries)

    def standing(self) -> Standing:
        """Return how the session stands, as far as the subscriber has been told."""
        streams = list(self._streams.so_far.values())
        head = self._standing.stored
        return msgspec.structs.replace(self._standing, head=head, streams=streams)

    # What the session's row says, for when the owner's messages are lost

    async def _watch(self) -> None:
        alive_at = self.loop.time()
        while not self.over:
            await asyncio.sleep(POLL)
            try:
                peek, is_dead = await self._look()
            except Exception as error:
                logger.warning("Session %s: its row cannot be read: %s", self.id, error)
                continue
            if self.over or self._moving:
                return
            try:
                self._judge(peek, is_dead=is_dead)
            except Exception:
                logger.exception("Session %s: what its row says could not be acted on", self.id)
            if self.loop.time() - alive_at > settings.WORKER_HEARTBEAT:
                alive_at = self.loop.time()
                self._start(self._check_owner())

    async def _look(self) -> tuple[Peek | None, bool]:
        """Read where the session stands, and whether its owner is dead."""
        return await self._directory.threads.read(self._read_row)

    def _read_row(self) -> tuple[Peek | None, bool]:
        peek = self._store.peek(self.id)
        owner = None if peek is None else peek.worker_id
        return peek, self._is_silent and owner is not None and not self._directory.rows.lives(owner)

    @property
    def _is_silent(self) -> bool:
        """Whether the owner has told nothing for a while."""
        return self.loop.time() - self._heard_at > SILENCE

    async def _owner_is_gone(self) -> bool:
        """Return True if the owner died or no longer owns the session."""
        peek, is_dead = await self._look()
        return (
            peek is None or peek.worker_id is None or peek.generation != self.generation or is_dead
        )

    def _judge(self, peek: Peek | None, *, is_dead: bool) -> None:
        if self.subscriber is None:
            return
        if peek is not None and self._is_silent:
            self._add_news([Stored(peek.head)])
        if peek is None or peek.status == ChatSession.Status.ENDED:
            self._end_after(ChatSession.EndReason.ADMIN if peek is None else peek.end_reason)
        elif peek.generation != self.generation:
            self._taken(is_connected=peek.status == ChatSession.Status.CONNECTED)
        elif peek.worker_id is None:
            self._orphaned += 1  # its last words are on the way, or lost: a welcome says it all
            if self._orphaned > PATIENCE:
                self._give_up("its owner has let it go")
        elif is_dead:
            self._give_up("its owner is dead")
        else:
            self._orphaned = 0

    def _end_after(self, reason: str) -> None:
        """Tell that the session has ended, unless the owner does so in time."""
        self._orphaned += 1
        if self._orphaned > PATIENCE:
            self.hear([Parted(int(frames.CloseCode.SESSION_ENDED), reason)])

    async def _check_owner(self) -> None:
        """Ask the owner whether it still knows of us."""
        try:
            answer = await self._ask(Alive(remote=self.number))
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner is gone: {error}")
            return
        if isinstance(answer, NotHere):
            await asyncio.sleep(PATIENCE * POLL)  # for its last words
            self._give_up("its owner has let this client go")

    # Moving

    async def _move(self, move_here: Move) -> None:
        """Hold the session here, which is nobody's now, and go on with its connection."""
        subscriber: Any = self.subscriber
        if self._moving or subscriber is None:
            return
        self._moving = True
        if self._forwarder is not None:
            self._forwarder.cancel()  # what was taken already is known by its number
        subscriber.stop()
        live: LiveSession | None = None
        stored = asyncio.Event()
        try:
            live = await move_here(self, subscriber, stored.set)
        except Exception as error:
            logger.warning("Session %s could not be taken over: %s", self.id, error)
        if live is None:
            self._moving = False
            self._give_up("somebody else has it")
            return
        has_moved = False
        try:
            await self._give_frames(live, subscriber)
            await stored.wait()
            await self._give_frames(live, subscriber)
            has_moved = True
            self._leave()
            subscriber.moved(live)
        except Exception:
            self._moving = False  # it can be given up
            raise
        finally:
            if not has_moved:  # the client left meanwhile
                live.client.disconnect(subscriber, 1006)

    async def _give_frames(self, live: LiveSession, subscriber: LocalSubscriber) -> None:
        """Give the session what its last owner has not taken, in order."""
        while self._frames:
            await take_frame(live, subscriber, self._frames.popleft())

    # The end

    def _give_up(self, why: str) -> None:
        """Nobody knows what became of it: the client asks again, and finds the session then."""
        if not self.over and not self._moving:
            logger.info("Session %s is followed no more: %s", self.id, why)
            self.lost = self._unreachable()
            self.close(frames.CloseCode.SHUTTING_DOWN)

    def _unreachable(self) -> OwnerUnreachable:
        return OwnerUnreachable(self.id, self._owner.name, silent=True)

    def _taken(self, *, is_connected: bool) -> None:
        """Another worker has the session."""
        if self._move_here is not None and is_connected:
            self.close(frames.CloseCode.TAKEN_OVER)
        else:
            self._give_up("another worker has it")

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        """Tell nothing more, and tell whoever hears so."""
        subscriber = self.subscriber
        self._leave()
        if subscriber is not None:
            subscriber.close(code, ended=ended)

    def _detach(self, code: int = 1006) -> asyncio.Task[None]:
        """Leave, and return a task that is done when the owner knows."""
        self._leave()
        detach = self._ask_quietly(Detach(remote=self.number, code=int(code)))
        return self._directory.rpc.start_task(detach)

    def _leave(self) -> None:
        """Tell nothing more."""
        self.over = True
        self.subscriber = None
        self._remotes.pop(self.number, None)
        self._left.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def own(self, task: asyncio.Task[Any]) -> None:
        """Cancel ``task`` when nothing more is told."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._directory.rpc.start_task(step)
        self.own(task)
        return task


class OpenStreams:
    """
    The text so far of each message that streams, by what was told of it.

    A client that is still being brought up to date gets it when it is.
    """

    def __init__(self) -> None:
        self.so_far: dict[str, frames.Stream] = {}

    def told(self, frame: frames.ServerFrame) -> None:
        """Take a frame that is not in the log."""
        if isinstance(frame, frames.Stream):
            self.so_far[frame.message] = frame
        elif isinstance(frame, frames.Token):
            before = self.so_far.get(frame.message)
            text = "" if before is None else before.content
            if before is None or frame.index >= before.index:
                self.so_far[frame.message] = frames.Stream(
                    frame.message, frame.index + 1, text + frame.text
                )

    def stored(self, entry: Entry) -> None:
        """Take an entry of the log."""
        if self.so_far:
            self.so_far.pop(entry.closes or "", None)
        if b'"streaming":true' in entry.data and entry.name in STREAM_EVENTS:
            with suppress(msgspec.ValidationError):  # the application's own, by that name
                opened = msgspec.json.decode(entry.data, type=_Opened)
                if opened.streaming:
                    text = opened.content or opened.output
                    self.so_far[opened.id] = frames.Stream(opened.id, 0, text)


#: Events that may open a stream.
STREAM_EVENTS = (*MESSAGE_EVENTS, "step", "step_update")


class _Opened(msgspec.Struct):
    """What an entry says of a message or a step that may stream from there on."""

    id: str
    streaming: bool
    content: str = ""
    output: str = ""


def _decoded(raw: msgspec.Raw) -> frames.ServerFrame | None:
    """Return a frame that the owner tells, or None for one that only another release knows."""
    try:
        return frames.decode_server(bytes(raw).decode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        logger.warning("A frame from a session's owner is not known here: %s", error)
        return None


def _pack(frame: frames.ClientFrame) -> msgspec.Raw:
    """Return ``frame`` as it goes from worker to worker."""
    return msgspec.Raw(frames.encode(frame).encode())


#: One for all: where the last that waits is this, another would stop nothing more.
_STOP = _pack(frames.Stop())
