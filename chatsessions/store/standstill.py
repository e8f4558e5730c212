"""
Transactions that stand still, and keep rows locked that others have to write.

A worker that is paused in the middle of a commit holds its locks until it wakes up. PostgreSQL's
own watch on idle transactions, which every commit is under, does not see all of that time: while
statements are sent in a pipeline, as ``executemany`` does, it is off.
"""

from __future__ import annotations

import logging

from django.db import connections

from chatsessions.conf import settings
from chatsessions.models import ChatSession

logger = logging.getLogger("chatsessions.worker")

#: Ends transactions of our own role whose client says nothing, and that somebody waits for who
#: has a table of ours to write. Who is asked about only if there is somebody who waits.
END = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND wait_event = 'ClientRead' AND xact_start IS NOT NULL
    AND state_change < clock_timestamp() - make_interval(secs => %s)
    AND pid IN (
        SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
        WHERE usename = current_user AND wait_event_type = 'Lock' AND query LIKE %s
    )
"""


def end_standstills() -> int:
    """End the transactions that stand still for ``WORKER_STALE`` in others' way; how many."""
    connection = connections[settings.DATABASE]
    if connection.vendor != "postgresql":
        return 0  # SQLite's lock is the process's, and MySQL does not say who waits for whom
    tables = f"%{ChatSession._meta.app_label}\\_%"
    with connection.cursor() as cursor:
        cursor.execute(END, [settings.WORKER_STALE, tables])
        ended = [pid for pid, done in cursor.fetchall() if done]
    for pid in ended:
        logger.warning(
            "A transaction that kept rows locked and did nothing is ended (process %d of the "
            "database): whoever has it was paused in the middle of a commit.",
            pid,
        )
    return len(ended)
