"""
``RemoteSession``: a session that another worker owns, as this worker sees it.

The other end is a :class:`~chatsessions.cluster.server.RemoteSubscriber` at the owner.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils.translation import gettext
from msgspec import Raw

from chatsessions.auth.access import hash_token
from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, FrameError, OwnerUnreachable
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.sessions.posted import Posted
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Standing, Subscriber, Subscribers
from chatsessions.storage.log import Entry
from chatsessions.storage.store import Peek, peek_at

from .commands import (
    Alive,
    Answer,
    Attach,
    Attached,
    Busy,
    Detach,
    Hint,
    How,
    NotHere,
    NotResumed,
    Part,
    Post,
    Reply,
    Taken,
)
from .connect_request import ConnectRequest
from .directory import LOOK_AGAIN, SOON, Owner, WorkerDirectory
from .follower import LogFollower
from .link import OwnerLink
from .owner import take_frame
from .rpc import NoAnswer

if TYPE_CHECKING:
    from chatsessions.auth.access import User

logger = logging.getLogger("chatsessions.cluster")

#: Seconds after which an owner that has told nothing counts as silent.
SILENCE = 1.0
#: Seconds between two looks at the session's row: what a lost hint may cost.
POLL = 1.0
#: Seconds before a look when a hint is missed: it may only be late.
SOONEST = 0.05


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


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a session's row has found."""

    #: None if there is no such session any more.
    peek: Peek | None
    #: Whether its owner is dead.
    is_dead: bool
    #: Whether its owner knows nothing of us any more.
    is_left: bool


#: What a hint says, the owner says when asked, or the row says; None stands for a lost hint, in
#: whose place the row is looked at: its turns ended before those of the next one.
News = Part | Standing | Look | None


class RemoteSession:
    """
    A session that another worker owns, for its connection here, or for all requests here.

    Commands go to the owner over the channel layer, and each is taken once. The owner's hints tell
    how far the log is stored, and pass on the frames that are not in the log; the entries are read
    from the database. A hint may be lost: a look at the session's row once a second finds how far
    the log is, which turns have ended, and who owns the session; what streams the owner is asked.

    With ``move`` it is for the session's connection: when nothing runs at the owner any more, the
    session moves here. Without, it is for requests: the owner keeps the session while one of them
    lasts. These are two: a newer connection replaces the one, and leaves the other alone.
    """

    def __init__(
        self,
        row: ChatSession,
        owner: Owner,
        *,
        directory: WorkerDirectory,
        remotes: dict[str, RemoteSession],
        move: Move | None = None,
    ) -> None:
        self.id: UUID = row.pk
        self.generation = row.generation
        self.language = row.language
        self.loop = directory.rpc.loop
        #: Whether nothing more is told.
        self.closed = False
        #: Why, if the session has not ended.
        self.lost: Exception | None = None
        self._user_id = row.user_id
        self._owner = owner
        self._directory = directory
        self._remotes = remotes
        self._move_here = move
        self._link = OwnerLink(
            self.id,
            directory.rpc,
            owner,
            start=self._start,
            taken=self._taken_by_owner,
            left=self._left_by_owner,
            give_up=self._give_up,
        )
        self._misses_hint = asyncio.Event()
        self._follower = LogFollower(
            self.id, directory.threads, give_up=self._give_up, misses=self._misses_hint.set
        )
        #: Requests that have it.
        self._holders = 0
        #: How many connections the session had with the one that is here.
        self._connections = 0
        self._token = ""
        self._confirmed = False
        # News
        self._news: deque[News] = deque()
        self._has_news = asyncio.Event()
        self._last_hint = 0
        self._heard_at = self._asked_at = self.loop.time()
        self._asking: asyncio.Task[None] | None = None
        #: Whether the last look has found the session to be nobody's.
        self._was_free = False
        self._is_followed = False
        self._moving = False
        self._detaching: asyncio.Task[None] | None = None
        #: Set when nothing more is told.
        self.left = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_visit(self) -> bool:
        """Whether it is for requests."""
        return self._move_here is None

    async def attach(
        self, request: ConnectRequest, *, given: str, connections: int, how: How
    ) -> Attached | NotResumed | Busy | None:
        """
        Ask the owner for the session. If it is ``Attached``, its hints come here from now on.

        ``given`` is the token that the client is given, and ``connections`` how many the session
        had when it came. Returns None if the session is to be looked for again: it was given away,
        or there was no sign of the owner.
        """
        user = request.user
        command = Attach(
            session=self.id,
            remote=self._link.number,
            channel=self._directory.rpc.channel,
            user=str(user.pk) if user.is_authenticated else None,
            used=request.token_hash,
            given=hash_token(given),
            connections=connections,
            how=how,
            again=self._is_followed,
            language=request.asked_language,
        )
        self._token = given
        self._remotes[self._link.number] = self
        self._holders += 1
        answer = None
        try:
            answer = await self._directory.ask_in_turn(self._owner, command)
        except NoAnswer:
            return None
        except ChatSessionsError as error:
            if type(error) is not ChatSessionsError:
                raise
            # It does not know the command, as another release may not, or failed at it.
            logger.warning("Worker %s does not give its sessions away: %s", self._owner.name, error)
            await asyncio.sleep(LOOK_AGAIN)
            return None
        finally:
            if not isinstance(answer, Attached):
                self._not_attached(answer)
        if isinstance(answer, Attached):
            await self._attached(answer.standing)
            return None if self.closed else answer
        if isinstance(answer, NotResumed | Busy):
            return answer
        if answer is not None:
            await asyncio.sleep(SOON)
        return None

    def _not_attached(self, answer: Answer | None) -> None:
        """Leave if nobody else has it."""
        self._holders -= 1
        if self._is_followed and isinstance(answer, NotHere):
            self._give_up("its owner has let its requests go")
        elif not self._holders and not self.closed:
            if answer is None or self._is_followed:  # the owner knows of us, or may
                self._detach()
            else:
                self._leave()

    async def _attached(self, standing: Standing) -> None:
        self._heard_at = self.loop.time()
        if self._is_followed:  # by another request
            await self._follower.begin_again(standing)
        else:
            self._connections = standing.connections
            self._follower.begin(standing)
            if self._move_here is None:
                self.go()

    # What a connection asks of its session

    @property
    def client(self) -> RemoteSession:
        """What is told of the client, which goes to the owner as all else does."""
        return self

    @property
    def is_hammered(self) -> bool:
        """Return False: the owner says itself that such a connection is to be closed."""
        return False

    def issue_token(self, used: str | None, *, named: bool = False) -> str:
        """Return the token whose hash the owner knows."""
        return self._token

    def connect(
        self, subscriber: LocalSubscriber, *, language: str = "", welcome: Callable[[], None]
    ) -> None:
        """Greet the connection: the owner has stored that there is one, and its language."""
        self._follower.subscribers.connection = subscriber
        welcome()

    def announce(self, *, resumed: bool) -> None:
        """Do nothing: the owner tells the application."""

    def renew_user(self, subscriber: Subscriber | None, user: User) -> None:
        """Do nothing: the owner's turns keep their user, and the session gets it when it moves."""

    def confirm_token(self, subscriber: Subscriber) -> None:
        """Tell the owner that the client was heard by ``subscriber`` after its welcome."""
        if not self._confirmed and subscriber is self._follower.subscribers.connection:
            self._confirmed = True
            self._link.forward()

    async def receive(self, subscriber: Subscriber, frame: frames.ClientFrame, data: Any) -> None:
        """
        Send an event or an answer of the client to the owner.

        Raises ``FrameError`` ``busy`` if too many wait.
        """
        if len(self._link.frames) >= settings.MAX_PENDING_EVENTS:
            n = frame.n if isinstance(frame, frames.ClientEvent | frames.Answer) else None
            detail = gettext("The server that runs this session is slow to answer.")
            raise FrameError("busy", detail, n=n, retry_after=POLL)
        self._link.forward(frame)

    def stop(self) -> None:
        """Stop the running turn."""
        if self._moving:
            self._link.stop_next()
        else:
            self._start(self._link.stop())

    def end(self, reason: str) -> None:
        """End the session, as its user."""
        self._link.forward(frames.End())

    def disconnect(self, subscriber: Subscriber, code: int) -> None:
        """Leave the session to its owner: the client is gone."""
        if subscriber is self._follower.subscribers.connection and not self.closed:
            self._detach(code)

    # What a request asks of its session

    @property
    def posted(self) -> RemoteSession:
        """What takes events of requests: this as well."""
        return self

    async def settle(self) -> None:
        """Wait until the subscribers have been told all that is stored now."""
        look = await self._look()
        if look.peek is not None:
            await self._follower.read_up_to(look.peek.head)

    async def begun(self) -> None:
        """Do nothing: only a new session has yet to begin, and is where its client is."""

    @property
    def is_ending(self) -> bool:
        """Whether the session is over, or about to be."""
        return self._follower.is_ending

    def standing(self) -> Standing:
        """Return how the session stands, as far as the subscribers have been told."""
        return self._follower.standing()

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Return stored entries behind ``after``, oldest first."""
        return await self._follower.read_log(after, limit)

    def follow(self, subscriber: Subscriber) -> Standing:
        """Tell ``subscriber`` of the session from now on."""
        if self.closed:
            subscriber.close(frames.CloseCode.SHUTTING_DOWN)
        else:
            self._follower.subscribers.followers.add(subscriber)
        return self.standing()

    def unfollow(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` nothing more."""
        self._follower.subscribers.followers.discard(subscriber)

    async def post(self, name: str, raw: bytes, data: object, *, key: str | None) -> Posted:
        """Give the session an event: see :meth:`.PostedEvents.post`."""
        number = self._link.number
        return await self._have_taken(Post(remote=number, name=name, data=Raw(raw), key=key))

    async def answer(self, call: str, raw: bytes, data: object) -> Posted:
        """Give the session the answer to a question: see :meth:`.PostedEvents.answer`."""
        return await self._have_taken(Reply(remote=self._link.number, call=call, data=Raw(raw)))

    async def _have_taken(self, command: Post | Reply) -> Posted:
        """Raises ``OwnerUnreachable`` if the owner is gone: it may have taken it or not."""
        posted = await self._link.ask_once(command, is_gone=self._owner_is_gone)
        if posted is None:
            self._give_up("its owner takes nothing")
            raise self.lost or self._unreachable()
        if posted.outcome is not None:  # all that came of it is stored
            await self._follower.read_up_to(posted.head)
        else:  # it may have ended before we heard that it was taken
            posted.outcome = self._follower.turns.ended.get(posted.turn)
        return posted

    def visited(self) -> None:
        """Tell the owner that the session's client is still there."""
        if not self.closed:
            alive = Alive(remote=self._link.number, visited=True)
            self._start(self._link.ask_quietly(alive))

    async def acted(self) -> None:
        """Tell the owner that the session's client has done something that is no event."""
        alive = Alive(remote=self._link.number, visited=True, acted=True)
        await self._link.ask_quietly(alive)

    def let_go(self) -> None:
        """Leave the session to its owner if no other request has it."""
        self._holders -= 1
        if not self._holders:
            self.leave()

    def leave(self) -> None:
        """Leave the session to its owner, whoever has it."""
        followers = self._follower.subscribers
        if not self.closed:
            self._detach()
        followers.close_followers(frames.CloseCode.SHUTTING_DOWN)

    async def given_back(self) -> None:
        """Wait until the owner knows that the last request is over."""
        if self._detaching is not None:
            await asyncio.wait([self._detaching], timeout=LOOK_AGAIN)

    # News

    def hear(self, hint: Hint) -> None:
        """Take what the owner tells, unless a later hint has come before."""
        if hint.number <= self._last_hint:
            return
        if hint.number > self._last_hint + 1:
            self._follower.streams.tear()
            self._add_news(None)
            self._misses_hint.set()
        self._last_hint = hint.number
        self._heard_at = self.loop.time()
        for part in hint.parts:
            self._add_news(part)

    def _add_news(self, news: News) -> None:
        self._news.append(news)
        self._has_news.set()

    def go(self) -> None:
        """Tell the subscribers the news, and look at the session's row in case there are none."""
        if not self._is_followed:
            self._is_followed = True
            self._start(self._tell_news())
            self._start(self._watch())

    async def _tell_news(self) -> None:
        try:
            while not self.closed:
                self._has_news.clear()
                while self._news and not self.closed:
                    await self._take(self._news.popleft())
                if not self.closed:
                    await self._has_news.wait()
        except Exception:
            logger.exception("What the owner of a session tells cannot be passed on")
            self._give_up("what its owner tells cannot be passed on")

    async def _take(self, news: News) -> None:
        match news:
            case None:
                await self._take_look(await self._look())
            case Standing():
                await self._follower.take_standing(news)
            case Look():
                await self._take_look(news)
            case Part():
                await self._follower.take_part(news)
                if news.code is not None:
                    await self._part(news.code, news)

    async def _part(self, code: int, part: Part) -> None:
        """Tell nothing more, as the owner says."""
        if part.released or part.ended is not None:  # behind all that came before
            await self._take_look(await self._look(is_left=True))
        if not self.closed and not self._moving:
            self.close(frames.CloseCode(code), ended=part.ended)

    # What the session's row says, for when hints are lost

    async def _watch(self) -> None:
        """Look at the row once a second, or when something is missed; ask the owner as well."""
        while not self.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(POLL, settings.WORKER_HEARTBEAT)):
                    await self._misses_hint.wait()
            await asyncio.sleep(SOONEST)
            self._misses_hint.clear()
            try:
                self._add_news(await self._look())
            except Exception as error:
                logger.warning("Session %s: its row cannot be read: %s", self.id, error)
            if self._has_to_ask and (self._asking is None or self._asking.done()):
                self._asking = self._start(self._ask_how_it_stands())

    @property
    def _has_to_ask(self) -> bool:
        """Whether a look at the row is not enough."""
        streams = self._follower.streams
        return (
            streams.lack_something
            # The last tokens before a pause may be lost.
            or (bool(streams.so_far) and self._is_silent and self._asked_at < self._heard_at)
            or self.loop.time() - self._asked_at > settings.WORKER_HEARTBEAT
        )

    async def _ask_how_it_stands(self) -> None:
        """Ask the owner what streams, and whether it still knows of us."""
        self._asked_at = self.loop.time()
        try:
            answer = await self._link.ask(Alive(remote=self._link.number))
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner is gone: {error}")
            return
        if isinstance(answer, Attached):
            self._add_news(answer.standing)
        else:
            await self._left_by_owner()

    async def _look(self, *, is_left: bool = False) -> Look:
        """Read where the session stands, and whether its owner is dead."""
        return await self._directory.threads.read(partial(self._read_row, is_left))

    def _read_row(self, is_left: bool) -> Look:
        peek = peek_at(self.id)
        owner = None if peek is None else peek.worker_id
        is_dead = self._is_silent and owner is not None and not self._directory.rows.lives(owner)
        return Look(peek, is_dead, is_left)

    @property
    def _is_silent(self) -> bool:
        """Whether the owner has told nothing for a while."""
        return self.loop.time() - self._heard_at > SILENCE

    async def _owner_is_gone(self) -> bool:
        """Return True if the owner died or no longer owns the session."""
        look = await self._look()
        return look.is_dead or not self._is_owned(look.peek)

    def _is_owned(self, peek: Peek | None) -> bool:
        return (
            peek is not None and peek.worker_id is not None and peek.generation == self.generation
        )

    async def _take_look(self, look: Look) -> None:
        """Tell what the row says and the owner has not told; go on, or not."""
        peek = look.peek
        if self._moving:
            return
        if peek is None:
            self.close(frames.CloseCode.SESSION_ENDED, ended=ChatSession.EndReason.ADMIN)
        elif peek.user_id != self._user_id:  # it was given to a user meanwhile
            self.close(frames.CloseCode.SHUTTING_DOWN)
        elif peek.status == ChatSession.Status.ENDED:
            await self._follower.take_row(peek)
            self.close(frames.CloseCode.SESSION_ENDED, ended=peek.end_reason)
        elif peek.generation != self.generation:
            self._taken(is_connected=peek.status == ChatSession.Status.CONNECTED)
        else:
            await self._follower.take_row(peek)
            await self._judge(peek, look)

    async def _judge(self, peek: Peek, look: Look) -> None:
        was_free, self._was_free = self._was_free, peek.worker_id is None
        if self._move_here is not None and peek.connections > self._connections:
            self.close(frames.CloseCode.TAKEN_OVER)
        elif peek.worker_id is None:
            if was_free or look.is_left:  # else its owner may find that it is needed after all
                await self._released()
        elif look.is_dead:
            self._give_up("its owner is dead")
        elif look.is_left:
            self._give_up("its owner has let this client go")

    def _taken_by_owner(self, taken: Taken) -> None:
        """Tell the connection what the owner says of its frames."""
        for error in taken.errors:
            self._follower.tell(error)
        if taken.code is not None:
            self.close(frames.CloseCode(taken.code))

    async def _left_by_owner(self) -> None:
        """Find out why the owner knows nothing of us."""
        try:
            self._add_news(await self._look(is_left=True))
        except Exception as error:
            self._give_up(f"its owner has let this client go, and its row cannot be read: {error}")

    # Moving

    async def _released(self) -> None:
        """The owner has let the session go."""
        if self._move_here is None:
            self._give_up("its owner has it no more")
        else:
            await self._move(self._move_here)

    async def _move(self, move_here: Move) -> None:
        """Hold the session here, which is nobody's now, and go on with its connection."""
        subscriber: Any = self._follower.subscribers.connection
        if self._moving or subscriber is None:
            return
        self._moving = True
        self._link.pause()
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
        while self._link.frames:
            error = await take_frame(live, subscriber, self._link.frames.popleft())
            if error is not None:
                subscriber.frame(error)

    # The end

    def _give_up(self, why: str) -> None:
        """Nobody knows what became of it: the client asks again, and finds the session then."""
        if not self.closed and not self._moving:
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
        told = self._leave()
        if told.connection is not None:
            told.connection.close(code, ended=ended)
        for follower in list(told.followers):
            follower.close(code, ended=ended)

    def _detach(self, code: int = 1006) -> None:
        """Leave, and tell the owner so."""
        self._leave()
        detach = Detach(remote=self._link.number, code=int(code))
        self._detaching = self._directory.rpc.start_task(self._link.ask_quietly(detach))

    def _leave(self) -> Subscribers:
        """Tell nothing more; return who has been told."""
        self.closed = True
        self._link.pause()
        self._remotes.pop(self._link.number, None)
        self.left.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        return self._follower.stop()

    def _start(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._directory.rpc.start_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
