"""
``RemoteSession``: a session that another worker owns, as this worker sees it.

The other end is a :class:`~chatsessions.cluster.server.RemoteSubscriber` at the owner.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

from chatsessions.auth.access import hash_token
from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, OwnerUnreachable
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.sessions.subscribers import Standing, Subscriber, Subscribers
from chatsessions.storage.log import Entry
from chatsessions.storage.store import Peek, peek_at

from .commands import (
    Alive,
    Answer,
    Attach,
    Attached,
    Busy,
    Command,
    Detach,
    Hint,
    HintPart,
    How,
    NotHere,
    NotResumed,
)
from .connect_request import ConnectRequest
from .directory import LOOK_AGAIN, SOON, Owner, WorkerDirectory
from .follower import LogFollower
from .rpc import NoAnswer

if TYPE_CHECKING:
    from chatsessions.auth.access import User

logger = logging.getLogger("chatsessions.cluster")

#: Seconds without news after which an owner counts as silent.
SILENCE = 1.0
#: Seconds between two reads of the session's row: the delay after a lost hint.
POLL = 1.0
#: Seconds before the row is read when a hint is missing, as the hint may only be late.
SOONEST = 0.05


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one read of a session's row."""

    #: None if the session no longer exists.
    peek: Peek | None
    #: Whether its owner is dead.
    is_dead: bool
    #: Whether its owner no longer knows this worker's ``RemoteSession``.
    is_left: bool


#: News from a hint, from the owner when asked, or from the row. None stands for a lost hint: the
#: row is read in its place, as the turns that it reported ended before those of the next hint.
News = HintPart | Standing | Look | None


class RemoteSession(ABC):
    """
    A session that another worker owns, for its connection here, or for all requests here.

    Commands go to the owner over the channel layer, and each is done once. The owner's hints say
    how far the log is stored, and have the frames that are not in the log; the entries are read
    from the database. As hints may be lost, the session's row is read once a second: it says how
    far the log is stored, which turns have ended, and who owns the session. Only the owner has the
    text of open streams, and is asked for it.

    The connection and the requests use different objects, so that a newer connection replaces only
    the object of the older connection.
    """

    def __init__(
        self,
        row: ChatSession,
        owner: Owner,
        *,
        directory: WorkerDirectory,
        remotes: dict[str, RemoteSession],
    ) -> None:
        self.id: UUID = row.pk
        self.generation = row.generation
        self.language = row.language
        #: Identifies this object at both workers.
        self.number = uuid4().hex
        self.loop = directory.rpc.loop
        #: Whether nothing more is sent.
        self.closed = False
        #: Set when ``closed`` is.
        self.left = asyncio.Event()
        #: Why it was closed, if the session could not be followed further.
        self.failure: Exception | None = None
        self._user_id = row.user_id
        self._owner = owner
        self._directory = directory
        self._remotes = remotes
        self._misses_hint = asyncio.Event()
        self._follower = LogFollower(
            self.id, directory.threads, give_up=self._give_up, misses=self._misses_hint.set
        )
        #: How many requests or connections use it.
        self._holders = 0
        self._token = ""
        # News
        self._news: asyncio.Queue[News] = asyncio.Queue()
        self._last_hint = 0
        self._heard_at = self._asked_at = self.loop.time()
        self._asking: asyncio.Task[None] | None = None
        #: Whether the session had no owner when the row was last read.
        self._was_free = False
        self._is_followed = False
        #: Whether the session is moving here.
        self._is_moving = False
        self._detaching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def attach(
        self, request: ConnectRequest, *, given: str, connections: int, how: How
    ) -> Attached | NotResumed | Busy | None:
        """
        Ask the owner for the session. After the answer ``Attached`` the owner sends hints here.

        ``given`` is the token that the client gets, and ``connections`` is how many connections the
        session had had when the client came. Returns None if the owner has to be looked up again,
        for instance because it has released the session or is silent.
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
            again=self._is_followed,
            language=request.asked_language,
        )
        self._token = given
        self._remotes[self.number] = self
        self._holders += 1
        answer = None
        try:
            answer = await self._directory.ask_in_turn(self._owner, command)
        except NoAnswer:
            return None
        except ChatSessionsError as error:
            if type(error) is not ChatSessionsError:
                raise
            # The owner is of another release and does not know the command, or the command failed.
            logger.warning("Worker %s does not give its sessions away: %s", self._owner.name, error)
            await asyncio.sleep(LOOK_AGAIN)
            return None
        finally:
            if not isinstance(answer, Attached):
                self._not_attached(answer)
        if isinstance(answer, Attached):
            # The owner may have released the session, and taken it again, since its row was read.
            self.generation = answer.generation or self.generation
            try:
                await self._attached(answer.standing)
            except BaseException:  # the client went away, or the log cannot be read
                self._not_attached(None)
                raise
            return None if self.closed else answer
        if isinstance(answer, NotResumed | Busy):
            return answer
        if answer is not None:
            await asyncio.sleep(SOON)
        return None

    def _not_attached(self, answer: Answer | None) -> None:
        """
        Leave if no other request or connection uses this object.

        ``answer`` is None if the owner may have attached this object.
        """
        self._holders -= 1
        if self._is_followed and isinstance(answer, NotHere):
            self._give_up("its owner has let its requests go")
        elif not self._holders and not self.closed:
            if answer is None or self._is_followed:
                self._detach()
            else:
                self._leave()

    async def _attached(self, standing: Standing) -> None:
        self._heard_at = self.loop.time()
        self._follower.begin(standing)

    # For connections and requests

    @property
    def client(self) -> Self:
        """This object, which also has the methods of ``SessionClient`` that are used here."""
        return self

    def issue_token(self, used: str | None, *, named: bool = False) -> str:
        """Return the token whose hash the owner knows."""
        return self._token

    def renew_user(self, subscriber: Subscriber | None, user: User) -> None:  # noqa: B027
        """Do nothing: the session gets the user when it moves here."""

    def standing(self) -> Standing:
        """Return the position and state of the session that the subscribers have reached."""
        return self._follower.standing()

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Return at most ``limit`` stored entries after ``after``, oldest first."""
        return await self._follower.read_log(after, limit)

    # Commands to the owner

    async def _ask(self, command: Command) -> Answer:
        """
        Send a command to the owner, and return its answer.

        Raises ``NoAnswer`` after ``WORKER_STALE`` seconds without a sign, and what the owner
        raised.
        """
        return await self._directory.ask(
            self._owner.channel, command, patience=settings.WORKER_STALE
        )

    async def _ask_quietly(self, command: Command) -> Answer | None:
        """Send a command to the owner, and return its answer; None if it fails, which is logged."""
        try:
            return await self._ask(command)
        except (NoAnswer, ChatSessionsError) as error:
            logger.info("Session %s: its owner took no %s: %s", self.id, command, error)
            return None

    # News

    def hear(self, hint: Hint) -> None:
        """Take a hint of the owner. Ignore it if a later hint has come before it."""
        if hint.number <= self._last_hint:
            return
        if hint.number > self._last_hint + 1:
            self._follower.streams.tear()
            self._news.put_nowait(None)
            self._misses_hint.set()
        self._last_hint = hint.number
        self._heard_at = self.loop.time()
        for part in hint.parts:
            self._news.put_nowait(part)

    def go(self) -> None:
        """Begin to send news to the subscribers, and to read the session's row."""
        if not self._is_followed:
            self._is_followed = True
            self._start(self._tell_news())
            self._start(self._watch())

    async def _tell_news(self) -> None:
        try:
            while not self.closed:
                await self._take(await self._news.get())
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
            case HintPart():
                await self._follower.take_part(news)
                if news.code is not None:
                    await self._close_as_told(news.code, news)

    async def _close_as_told(self, code: int, part: HintPart) -> None:
        """Close with ``code``: ``part`` is the last one that the owner sends."""
        if part.released or part.ended is not None:  # first take the end of the log from the row
            await self._take_look(await self._look(is_left=True))
        if not self.closed and not self._is_moving:
            self.close(frames.CloseCode(code), ended=part.ended)

    # The session's row, for when hints are lost

    async def _watch(self) -> None:
        """Read the row once a second, and when a hint is missing; ask the owner if necessary."""
        while not self.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(POLL, settings.WORKER_HEARTBEAT)):
                    await self._misses_hint.wait()
            await asyncio.sleep(SOONEST)
            self._misses_hint.clear()
            try:
                self._news.put_nowait(await self._look())
            except Exception as error:
                logger.warning("Session %s: its row cannot be read: %s", self.id, error)
            if self._has_to_ask and (self._asking is None or self._asking.done()):
                self._asking = self._start(self._ask_how_it_stands())

    @property
    def _has_to_ask(self) -> bool:
        """Whether to ask the owner, as the row is not enough."""
        streams = self._follower.streams
        return (
            streams.lack_something
            # The last tokens before a pause may be lost without a gap in the hints.
            or (bool(streams.so_far) and self._is_silent and self._asked_at < self._heard_at)
            or self.loop.time() - self._asked_at > settings.WORKER_HEARTBEAT
        )

    async def _ask_how_it_stands(self) -> None:
        """Ask the owner for its standing, and whether it still knows this object."""
        self._asked_at = self.loop.time()
        try:
            answer = await self._ask(Alive(remote=self.number))
        except (NoAnswer, ChatSessionsError) as error:
            self._give_up(f"its owner is gone: {error}")
            return
        if isinstance(answer, Attached):
            self._news.put_nowait(answer.standing)
        else:
            await self._left_by_owner()

    async def _left_by_owner(self) -> None:
        """Find out from the row why the owner no longer knows this object."""
        try:
            self._news.put_nowait(await self._look(is_left=True))
        except Exception as error:
            self._give_up(f"its owner has let this client go, and its row cannot be read: {error}")

    async def _look(self, *, is_left: bool = False) -> Look:
        """Read the session's row, and find out whether its owner is dead."""
        return await self._directory.threads.read(partial(self._read_row, is_left))

    def _read_row(self, is_left: bool) -> Look:
        peek = peek_at(self.id)
        owner = None if peek is None else peek.worker_id
        is_dead = self._is_silent and owner is not None and not self._directory.rows.lives(owner)
        return Look(peek, is_dead, is_left)

    @property
    def _is_silent(self) -> bool:
        """Whether the owner has sent nothing for ``SILENCE`` seconds."""
        return self.loop.time() - self._heard_at > SILENCE

    async def _take_look(self, look: Look) -> None:
        """Send the news of the row; close if the session can no longer be followed."""
        peek = look.peek
        if self._is_moving:
            return
        if peek is None:
            self.close(frames.CloseCode.SESSION_ENDED, ended=ChatSession.EndReason.ADMIN)
        elif peek.user_id != self._user_id:  # it was assigned to a user meanwhile
            self.close(frames.CloseCode.SHUTTING_DOWN)
        elif peek.status == ChatSession.Status.ENDED:
            await self._follower.take_row(peek)
            self.close(frames.CloseCode.SESSION_ENDED, ended=peek.end_reason)
        else:
            is_owned = peek.generation == self.generation  # by the owner of this object
            if is_owned:
                await self._follower.take_row(peek)
            if self._is_overtaken(peek):
                self.close(frames.CloseCode.TAKEN_OVER)
            elif is_owned:
                await self._judge(peek, look)
            else:
                self._give_up("another worker has it")

    async def _judge(self, peek: Peek, look: Look) -> None:
        """Decide whether to go on with a session that its owner still has, or has released."""
        was_free, self._was_free = self._was_free, peek.worker_id is None
        if peek.worker_id is None:
            if was_free or look.is_left:  # else its owner may claim it again at once
                await self._released()
        elif look.is_dead:
            self._give_up("its owner is dead")
        elif look.is_left:
            self._give_up("its owner has let this client go")

    @abstractmethod
    async def _released(self) -> None:
        """Take the session, which its owner has released, or give it up."""

    def _is_overtaken(self, peek: Peek) -> bool:
        """Return True if the session has a newer connection than this one."""
        return False

    # The end

    def _give_up(self, why: str) -> None:
        """
        Close, as the session cannot be followed any more.

        When the client comes back, the session's owner is looked up again.
        """
        if not self.closed and not self._is_moving:
            logger.info("Session %s is followed no more: %s", self.id, why)
            self.failure = self._unreachable()
            self.close(frames.CloseCode.SHUTTING_DOWN)

    def _unreachable(self) -> OwnerUnreachable:
        return OwnerUnreachable(self.id, self._owner.name, silent=True)

    def close(self, code: frames.CloseCode, *, ended: str | None = None) -> None:
        """Close this object and all its subscribers."""
        told = self._leave()
        if told.connection is not None:
            told.connection.close(code, ended=ended)
        for follower in list(told.followers):
            follower.close(code, ended=ended)

    def _detach(self, code: int = 1006) -> None:
        """Leave, and tell the owner."""
        self._leave()
        detach = Detach(remote=self.number, code=int(code))
        self._detaching = self._directory.rpc.start_task(self._ask_quietly(detach))

    def _leave(self) -> Subscribers:
        """Send nothing more; return the subscribers."""
        self.closed = True
        self._remotes.pop(self.number, None)
        self.left.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        return self._follower.stop()

    def _start(self, step: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._directory.rpc.start_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
