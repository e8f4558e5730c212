"""``WorkerRows``: the rows that say which workers live, and what follows from one that does not."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from .conf import settings
from .models import ChatSession, Worker


class WorkerRows:
    """One worker's view of all workers, and of whose the sessions are. Synchronous, as a store."""

    def __init__(self, worker_id: UUID) -> None:
        self._id = worker_id
        self._hostname = socket.gethostname()

    def beat(self) -> None:
        """This worker lives. Also makes its row, again if somebody swept it away."""
        now = timezone.now()
        rows = Worker.objects.using(settings.DATABASE)
        if not rows.filter(pk=self._id).update(heartbeat_at=now):
            rows.create(
                id=self._id,
                hostname=self._hostname,
                pid=os.getpid(),
                started_at=now,
                heartbeat_at=now,
            )

    def let_go(self, session_id: UUID, generation: int) -> None:
        """A session that cannot be stored is nobody's; its client may come back for it."""
        rows = ChatSession.objects.using(settings.DATABASE)
        rows.filter(pk=session_id, generation=generation, worker=self._id).exclude(
            status=ChatSession.Status.ENDED
        ).update(status=ChatSession.Status.AWAY, disconnected_at=timezone.now(), worker=None)

    def leave(self) -> None:
        """This worker is going; nobody is to wait for it."""
        Worker.objects.using(settings.DATABASE).filter(pk=self._id).delete()

    def is_alive(self, worker: Worker) -> bool:
        """Whether another worker still holds its sessions."""
        if worker.heartbeat_at < timezone.now() - timedelta(seconds=settings.WORKER_STALE):
            return False
        return worker.hostname != self._hostname or _process_lives(worker.pid)

    def sweep(self) -> int:
        """
        Forget dead workers; their sessions that still say connected become away. How many.

        A client is away since its worker's last sign of life, however long it had been silent.
        """
        workers = Worker.objects.using(settings.DATABASE).exclude(pk=self._id)
        sessions = ChatSession.objects.using(settings.DATABASE).connected()
        swept = 0
        for worker in workers:
            if not self.is_alive(worker):
                swept += _leave_behind(sessions.filter(worker=worker), worker.heartbeat_at)
                worker.delete()
        return swept + _leave_behind(sessions.filter(worker=None), timezone.now())

    def expired(self, limit: int) -> list[UUID]:
        """Sessions whose client has been away for too long."""
        rows = ChatSession.objects.using(settings.DATABASE).expired()
        return list(rows.order_by("disconnected_at").values_list("pk", flat=True)[:limit])

    def count_connected(self, user_id: Any, other_than: UUID | None) -> int:
        """How many sessions of a user are connected to other workers."""
        rows = ChatSession.objects.using(settings.DATABASE).connected().filter(user=user_id)
        rows = rows.exclude(worker=self._id)
        return rows.count() if other_than is None else rows.exclude(pk=other_than).count()

    def exists(self, session_id: UUID) -> bool:
        """Whether the session is still there and not over."""
        rows = ChatSession.objects.using(settings.DATABASE).filter(pk=session_id)
        return rows.exclude(status=ChatSession.Status.ENDED).exists()


def _leave_behind(sessions: QuerySet[ChatSession], since: datetime) -> int:
    return sessions.update(status=ChatSession.Status.AWAY, disconnected_at=since, worker=None)


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
