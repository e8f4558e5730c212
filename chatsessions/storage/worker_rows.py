"""The rows of workers: heartbeats, which workers are alive, and the sessions of dead ones."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone

from chatsessions.conf import settings
from chatsessions.models import ChatSession, DatabaseNow, Worker, ago

logger = logging.getLogger("chatsessions.worker")

#: A warning is logged if a worker's clock differs from the database's by more seconds than this. A
#: time service keeps the difference within milliseconds.
MAX_CLOCK_SKEW = 5.0
#: A smaller difference is not corrected: the query itself takes some time.
CLOCK_TOLERANCE = timedelta(seconds=1)
#: Rounds of the reaper after which a worker ends expired sessions of other workers' shares too.
ROUNDS = 3


#: The columns of an expired session that are read.
_EXPIRED = (
    *("chat", "worker", "running", "aside", "accepted", "handled", "streams", "asks"),
    "end_reason",
)


class WorkerRows:
    """Reads and writes the rows of workers, for one worker. Its methods are synchronous."""

    def __init__(self, worker_id: UUID) -> None:
        self._id = worker_id
        self._hostname = socket.gethostname()
        self._pid_space = pid_space()
        self._made = False
        #: Whether the row was deleted since the last :meth:`beat`, and ``pauses`` at that time.
        self._swept = False
        self._known_pauses = 0
        #: How many heartbeats were late, and when the last one began; the first is never late.
        self.beats = (0, math.inf)
        #: The channel by which other workers reach this one.
        self.channel = ""
        #: How far this process's clock was ahead of the database's at the last heartbeat.
        self.clock_ahead = timedelta()
        #: For how many seconds nothing could be stored; None while storing works.
        self.stuck_for: Callable[[], float | None] = lambda: None

    def beat(self) -> bool:
        """
        Write a heartbeat; return True if this worker counted as dead since the last one.

        If so, other workers may have taken its sessions, even if its row is still there.
        """
        self.restore()
        known, self._known_pauses = self._known_pauses, self.pauses
        swept, self._swept = self._swept, False
        return swept or known != self._known_pauses

    @property
    def pauses(self) -> int:
        """
        How often this worker was silent for so long that it counted as dead.

        Each time other workers may have taken its sessions.
        """
        late, begun_at = self.beats
        return late + (time.monotonic() - begun_at > settings.WORKER_STALE)

    def restore(self) -> bool:
        """Write a heartbeat; return True if the row had been deleted, and was created again."""
        gone = False
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
            gone, self._made = self._made, True
            self._swept = self._swept or gone
        self.beats = (self.pauses, begun_at)
        self._compare_clocks()
        return gone

    def now(self) -> datetime:
        """Return the database's time, with which other workers compare stored times."""
        now = timezone.now()
        return now - self.clock_ahead if self.clock_ahead else now

    def _compare_clocks(self) -> None:
        rows = Worker.objects.using(settings.DATABASE).filter(pk=self._id)
        asked = timezone.now()
        row = rows.timed().first()
        took = timezone.now() - asked
        if row is not None and row.read_at is not None:
            ahead = asked + took / 2 - row.read_at
            self.clock_ahead = ahead if abs(ahead) > CLOCK_TOLERANCE + took else timedelta()

    def give_up(self, session_id: UUID, generation: int) -> None:
        """Give up a session that cannot be stored; its client can come back to it."""
        rows = ChatSession.objects.using(settings.DATABASE)
        rows = rows.filter(pk=session_id, generation=generation, worker=self._id)
        _leave_behind(rows.exclude(status=ChatSession.Status.ENDED), DatabaseNow())

    def leave(self) -> None:
        """Delete this worker's row, so that nobody waits for it."""
        Worker.objects.using(settings.DATABASE).filter(pk=self._id).delete()

    def is_alive(self, worker: Worker) -> bool:
        """Return True if another worker is alive, and so owns its sessions."""
        if not worker.is_heard():
            return False
        return worker.pid_space != self._pid_space or _process_lives(worker.pid)

    def is_of_this_process(self, worker: Worker) -> bool:
        """Return True if a worker that is alive is an event loop of this process."""
        return worker.pid == os.getpid() and worker.pid_space == self._pid_space

    def sweep(self) -> int:
        """
        Delete the rows of dead workers, and mark their connected sessions as away; return how many.

        The clients count as away since the worker's last heartbeat.
        """
        swept = 0
        for worker in Worker.objects.using(settings.DATABASE).timed():
            if worker.pk == self._id:
                _tell_of_clock(worker)
            elif not self.is_alive(worker):
                swept += _forget(worker)
        sessions = ChatSession.objects.using(settings.DATABASE).connected()
        return swept + _leave_behind(sessions.filter(worker=None), DatabaseNow())

    def expired(self, limit: int, but: Collection[UUID] = ()) -> list[ChatSession]:
        """
        Return the expired sessions that this worker has to end.

        These are the sessions that it owns, and its share of those without an owner. If there are
        none, it takes sessions of other workers' shares that expired ``ROUNDS`` rounds ago.
        """
        rows = ChatSession.objects.using(settings.DATABASE).expired().exclude(pk__in=but)
        first, last = self._share()
        unowned = Q(worker=None, pk__gte=first, pk__lte=last)
        mine = rows.filter(Q(worker=self._id) | unowned).order_by("disconnected_at")
        found = list(mine.only(*_EXPIRED)[:limit])
        if not found:
            since = ago(settings.SESSION_AGE + ROUNDS * settings.REAP_INTERVAL)
            late = rows.filter(worker=None, disconnected_at__lt=since)
            # The newest first: the other worker begins with the oldest.
            found = list(late.order_by("-disconnected_at").only(*_EXPIRED)[:limit])
        return found

    def expired_of(self, ids: Collection[UUID]) -> list[ChatSession]:
        """Return the expired ones of the sessions ``ids``, with any owner."""
        rows = ChatSession.objects.using(settings.DATABASE).expired().filter(pk__in=ids)
        return list(rows.only(*_EXPIRED))

    def end_expired(self, ids: Collection[UUID]) -> int:
        """
        End the expired, idle ones of the sessions ``ids`` with one statement; return how many.

        They need no owner for this, as no code runs at their end.
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
        """Return this worker's range of ids; all workers have ranges of the same size."""
        rows = Worker.objects.using(settings.DATABASE).alive()
        workers = sorted({self._id, *rows.values_list("pk", flat=True)})
        place, size = workers.index(self._id), 2**128 // len(workers)
        end = 2**128 if place == len(workers) - 1 else (place + 1) * size
        return UUID(int=place * size), UUID(int=end - 1)

    def count_connected(self, user_id: Any, other_than: UUID | None) -> int:
        """Return how many sessions of a user are connected to other workers."""
        rows = ChatSession.objects.using(settings.DATABASE).connected().filter(user=user_id)
        rows = rows.exclude(worker=self._id)
        return rows.count() if other_than is None else rows.exclude(pk=other_than).count()

    def others(self, here: Collection[UUID], chat: str | None) -> list[Worker]:
        """Return the living workers with connected sessions (of ``chat``), except ``here``."""
        sessions = ChatSession.objects.using(settings.DATABASE).connected()
        if chat is not None:
            sessions = sessions.filter(chat=chat)
        rows = Worker.objects.using(settings.DATABASE).timed().exclude(pk__in=here)
        workers = rows.filter(pk__in=sessions.values("worker"))
        return [worker for worker in workers if self.is_alive(worker)]

    def lives(self, worker_id: UUID) -> bool:
        """Return True if a worker exists and is alive."""
        worker = Worker.objects.using(settings.DATABASE).timed().filter(pk=worker_id).first()
        return worker is not None and self.is_alive(worker)


def is_idle(row: ChatSession) -> bool:
    """Return True if no worker owns a session, and nothing in it waits, runs, streams or asks."""
    waits = row.running is not None or row.aside is not None or row.accepted != row.handled
    is_owned = row.worker_id is not None or bool(row.end_reason)
    return not (waits or is_owned or row.streams or row.asks)


def pid_space() -> str:
    """
    Return a name for the space in which a pid is unique: a host since its start, or a container.

    The host's name is not enough: containers may share it, and do not see each other's processes.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # no Linux, so no containers
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _forget(worker: Worker) -> int:
    """Delete the row of a dead worker, unless it has had a heartbeat since it was read."""
    with transaction.atomic(using=settings.DATABASE):
        # Not "=": SQLite compares texts, and its times have fewer digits than Python's.
        as_read = worker.heartbeat_at + timedelta(milliseconds=1)
        rows = Worker.objects.using(settings.DATABASE)
        # The row is locked by an update that changes nothing, as SQLite has no SELECT FOR UPDATE.
        # There a transaction that begins with a read cannot write any more after another
        # connection has committed.
        if not rows.filter(pk=worker.pk, heartbeat_at__lt=as_read).update(pid=F("pid")):
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
            "The clock of %s is %.0f s %s the database's. Times of messages and deadlines are "
            "wrong by that much; set the clock, and have a time service keep it.",
            worker,
            abs(ahead),
            "ahead of" if ahead > 0 else "behind",
        )


def _process_lives(pid: int) -> bool:
    """Return True if the process ``pid`` of this host is alive."""
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # the process belongs to another user
    return True
