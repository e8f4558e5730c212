"""``WorkerRows``: the rows that say which workers live, and what follows from one that does not."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone

from chatsessions.conf import settings
from chatsessions.expressions import (
    DatabaseNow,
    ago,
)
from chatsessions.models import (
    ChatSession,
    Worker,
)

logger = logging.getLogger("chatsessions.worker")

#: A clock further from the database's than this is worth a warning, in seconds. Those that a time
#: service keeps are within milliseconds.
MAX_CLOCK_SKEW = 5.0
#: A smaller difference is not corrected, in seconds: it would be that of the question.
CLOCK_TOLERANCE = timedelta(seconds=1)
#: Of the reaper, after which a worker ends expired sessions of another one's share.
ROUNDS = 3


#: What is read of an expired session.
_EXPIRED = (
    *("chat", "worker", "running", "aside", "accepted", "handled", "streams", "asks"),
    "end_reason",
)


class Expired(NamedTuple):
    """A session whose client has been away for too long."""

    id: UUID
    chat: str
    #: Whether nothing of it waits, runs, is asked or is said, and no worker owns it.
    is_idle: bool


class WorkerRows:
    """One worker's view of all workers, and of whose the sessions are. Synchronous, as a store."""

    def __init__(self, worker_id: UUID) -> None:
        self._id = worker_id
        self._hostname = socket.gethostname()
        self._pid_space = pid_space()
        self._made = self._swept = False
        #: How often it was late with a beat, and when the last one began.
        self._beats = (0, 0.0)
        #: Where other workers reach this one.
        self.channel = ""
        #: How far this process' clock was ahead of the database's at the last heartbeat.
        self.clock_ahead = timedelta()
        #: For how many seconds nothing could be stored; None while storing works.
        self.stuck_for: Callable[[], float | None] = lambda: None

    def beat(self) -> bool:
        """This worker lives. Makes its row; whether one was swept away since the last time."""
        self._beat()
        swept, self._swept = self._swept, False
        return swept

    def restore(self) -> bool:
        """Make this worker's row again if somebody has deleted it; whether it was gone."""
        known, self._swept = self._swept, False
        self._beat()
        gone, self._swept = self._swept, self._swept or known
        return gone

    def beat_if_late(self) -> None:
        """
        A worker that was paused makes sure of its row before it writes sessions.

        They refer to it, and somebody may have swept it away meanwhile.
        """
        if self._is_late:
            self._beat()

    @property
    def pauses(self) -> int:
        """
        How often this worker has been silent for so long that it counted as dead, now included.

        Its sessions may have been taken each time.
        """
        return self._beats[0] + self._is_late

    @property
    def _is_late(self) -> bool:
        return self._made and time.monotonic() - self._beats[1] > settings.WORKER_STALE

    def _beat(self) -> None:
        begun_at = time.monotonic()
        stuck_for = self.stuck_for()
        rows = Worker.objects.using(settings.DATABASE)
        beat: dict[str, Any] = {
            "heartbeat_at": DatabaseNow(),
            "clock_at": timezone.now(),
            "channel": self.channel,
            "stuck_since": None if stuck_for is None else ago(stuck_for),
        }
        if not rows.filter(pk=self._id).update(**beat):
            rows.create(
                id=self._id,
                hostname=self._hostname,
                pid=os.getpid(),
                pid_space=self._pid_space,
                started_at=DatabaseNow(),
                **beat,
            )
            self._swept, self._made = self._made, True
        self._beats = (self.pauses, begun_at)
        self._compare_clocks()

    def now(self) -> datetime:
        """The database's time, which other workers compare what is stored with."""
        return timezone.now() - self.clock_ahead

    def _compare_clocks(self) -> None:
        rows = Worker.objects.using(settings.DATABASE).filter(pk=self._id)
        asked = timezone.now()
        row = rows.timed().first()
        took = timezone.now() - asked
        if row is not None and row.read_at is not None:
            ahead = asked + took / 2 - row.read_at
            self.clock_ahead = ahead if abs(ahead) > CLOCK_TOLERANCE + took else timedelta()

    def let_go(self, session_id: UUID, generation: int) -> None:
        """A session that cannot be stored is nobody's; its client may come back for it."""
        rows = ChatSession.objects.using(settings.DATABASE)
        rows = rows.filter(pk=session_id, generation=generation, worker=self._id)
        _leave_behind(rows.exclude(status=ChatSession.Status.ENDED), DatabaseNow())

    def leave(self) -> None:
        """This worker is going; nobody is to wait for it."""
        Worker.objects.using(settings.DATABASE).filter(pk=self._id).delete()

    def is_alive(self, worker: Worker) -> bool:
        """Whether another worker still holds its sessions."""
        if not worker.is_heard():
            return False
        return worker.pid_space != self._pid_space or _process_lives(worker.pid)

    def is_of_this_process(self, worker: Worker) -> bool:
        """Whether a living worker is another event loop of this process."""
        return worker.pid == os.getpid() and worker.pid_space == self._pid_space

    def sweep(self) -> int:
        """
        Forget dead workers; their sessions that still say connected become away. How many.

        A client is away since its worker's last sign of life, however long it had been silent.
        """
        swept = 0
        for worker in Worker.objects.using(settings.DATABASE).timed():
            if worker.pk == self._id:
                _tell_of_clock(worker)
            elif not self.is_alive(worker):
                swept += _forget(worker)
        sessions = ChatSession.objects.using(settings.DATABASE).connected()
        return swept + _leave_behind(sessions.filter(worker=None), DatabaseNow())

    def expired(self, limit: int, but: Collection[UUID] = ()) -> list[Expired]:
        """
        Sessions whose client has been away for too long, that are for this worker to end.

        Those that it owns, and its share of those that nobody owns. What is left undone in the
        others' shares for several rounds is anybody's.
        """
        rows = ChatSession.objects.using(settings.DATABASE).expired().exclude(pk__in=but)
        first, last = self._share()
        unowned = Q(worker=None, pk__gte=first, pk__lte=last)
        mine = rows.filter(Q(worker=self._id) | unowned).order_by("disconnected_at")
        found = list(mine.only(*_EXPIRED)[:limit])
        if not found:
            since = ago(settings.SESSION_AGE + ROUNDS * settings.REAP_INTERVAL)
            late = rows.filter(worker=None, disconnected_at__lt=since)
            # From the other end than whoever is at work on them.
            found = list(late.order_by("-disconnected_at").only(*_EXPIRED)[:limit])
        return [_expired(row) for row in found]

    def expired_of(self, ids: Collection[UUID]) -> list[Expired]:
        """Those of ``ids`` whose client has been away for too long, whoever owns them."""
        rows = ChatSession.objects.using(settings.DATABASE).expired().filter(pk__in=ids)
        return [_expired(row) for row in rows.only(*_EXPIRED)]

    def end_expired(self, ids: Collection[UUID]) -> int:
        """
        End idle sessions of which nobody has to be told; how many.

        Without an owner, all in one statement: what its owner would have to store of each is known.
        """
        rows = ChatSession.objects.using(settings.DATABASE).expired().filter(pk__in=ids)
        idle = rows.filter(worker=None, running=None, accepted=F("handled"), end_reason="")
        return idle.update(
            status=ChatSession.Status.ENDED,
            end_reason=ChatSession.EndReason.EXPIRED,
            ended_at=DatabaseNow(),
            generation=F("generation") + 1,
            previous_token_hash="",
        )

    def _share(self) -> tuple[UUID, UUID]:
        """The range of ids that is this worker's, of as many equal ones as there are workers."""
        rows = Worker.objects.using(settings.DATABASE).alive()
        workers = sorted({self._id, *rows.values_list("pk", flat=True)})
        place, size = workers.index(self._id), 2**128 // len(workers)
        end = 2**128 if place == len(workers) - 1 else (place + 1) * size
        return UUID(int=place * size), UUID(int=end - 1)

    def count_connected(self, user_id: Any, other_than: UUID | None) -> int:
        """How many sessions of a user are connected to other workers."""
        rows = ChatSession.objects.using(settings.DATABASE).connected().filter(user=user_id)
        rows = rows.exclude(worker=self._id)
        return rows.count() if other_than is None else rows.exclude(pk=other_than).count()

    def others(self, here: Collection[UUID], chat: str | None) -> list[Worker]:
        """The living workers but those ``here`` that have connected sessions (of ``chat``)."""
        sessions = ChatSession.objects.using(settings.DATABASE).connected()
        if chat is not None:
            sessions = sessions.filter(chat=chat)
        rows = Worker.objects.using(settings.DATABASE).timed().exclude(pk__in=here)
        workers = rows.filter(pk__in=sessions.values("worker"))
        return [worker for worker in workers if self.is_alive(worker)]

    def lives(self, worker_id: UUID) -> bool:
        """Whether another worker is there, and heard of."""
        worker = Worker.objects.using(settings.DATABASE).timed().filter(pk=worker_id).first()
        return worker is not None and self.is_alive(worker)

    def exists(self, session_id: UUID) -> bool:
        """Whether the session is still there and not over."""
        rows = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id)
        return rows.exclude(status=ChatSession.Status.ENDED).exists()


def _expired(row: ChatSession) -> Expired:
    return Expired(row.pk, row.chat, is_idle=_is_idle(row))


def _is_idle(row: ChatSession) -> bool:
    waits = row.running is not None or row.aside is not None or row.accepted != row.handled
    is_owned = row.worker_id is not None or bool(row.end_reason)
    return not (waits or is_owned or row.streams or row.asks)


def pid_space() -> str:
    """
    Among which processes a pid is the number of one: this host's since its start, or a container's.

    Not the host's name alone: containers may share it, and do not see each other's processes.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # no Linux, so no containers
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _forget(worker: Worker) -> int:
    """Delete the row of a dead worker, unless it has come to life since it was read."""
    with transaction.atomic(using=settings.DATABASE):
        rows = Worker.objects.using(settings.DATABASE).select_for_update()
        # Not for equality: SQLite compares text, and its own has fewer digits than Python's.
        as_read = worker.heartbeat_at + timedelta(milliseconds=1)
        if rows.filter(pk=worker.pk, heartbeat_at__lt=as_read).first() is None:
            return 0
        sessions = ChatSession.objects.using(settings.DATABASE).connected()
        swept = _leave_behind(sessions.filter(worker=worker), worker.heartbeat_at)
        worker.delete()
    return swept


def _leave_behind(sessions: QuerySet[ChatSession], since: datetime | Combinable) -> int:
    return sessions.update(status=ChatSession.Status.AWAY, disconnected_at=since, worker=None)


def _tell_of_clock(worker: Worker) -> None:
    ahead = worker.clock_ahead.total_seconds()
    if abs(ahead) > MAX_CLOCK_SKEW:
        logger.warning(
            "The clock of %s is %.0f s %s the database's. Times in logs and transcripts are "
            "wrong by that much; set the clock, and have a time service keep it.",
            worker,
            abs(ahead),
            "ahead of" if ahead > 0 else "behind",
        )


def _process_lives(pid: int) -> bool:
    """Whether a process of this host lives; another one of our own number cannot be us."""
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
