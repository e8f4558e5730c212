"""``manage.py clearchatsessions``: end expired sessions, and delete old ones and lost files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.utils.module_loading import import_string

from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, OwnerUnreachable
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.storage.files import sweep
from chatsessions.workers import calls
from chatsessions.workers.worker import get_worker


class Command(BaseCommand):
    help = (
        "End sessions whose client has been away for longer than SESSION_AGE. Delete sessions that "
        "ended more than KEEP seconds ago, with their files. Delete the content of files that a "
        "crash has left without a row, after a day. Run it regularly, for instance by cron; "
        "servers may run at the same time."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would be done, and do nothing"
        )
        parser.add_argument(
            "--batch-size",
            type=_positive,
            default=500,
            metavar="N",
            help="sessions to take at a time (default: 500)",
        )

    def handle(self, *args: Any, dry_run: bool, batch_size: int, **options: Any) -> None:
        if batch_size < 1:  # from call_command(), which parses nothing
            raise CommandError(f"batch_size must be 1 or more, not {batch_size!r}.")
        expired = ChatSession.objects.using(settings.DATABASE).expired()
        past_keep = ChatSession.objects.using(settings.DATABASE).past_keep()
        if dry_run:
            self.stdout.write(
                f"Would end {_sessions(expired.count())} and delete {_sessions(past_keep.count())}."
            )
            self._sweep(dry_run=True)
            return
        self._load_chats()
        ended, skipped = async_to_sync(self._end)(
            list(expired.values_list("pk", flat=True)), batch_size
        )
        deleted = self._delete(list(past_keep.values_list("pk", flat=True)), batch_size)
        self.stdout.write(
            self.style.SUCCESS(f"Ended {_sessions(ended)}, deleted {_sessions(deleted)}.")
        )
        if skipped:
            self.stdout.write(
                f"Left {_sessions(skipped)} to the servers that hold them; those end them."
            )
        self._sweep(dry_run=False)

    def _load_chats(self) -> None:
        """Import the ASGI application, whose routing imports the chats and their handlers."""
        path = getattr(django_settings, "ASGI_APPLICATION", None)
        if path is None:
            self.stderr.write("ASGI_APPLICATION is not set: no on_chat_end handler will run.")
            return
        try:
            import_string(path)
        except ImportError as error:
            raise CommandError(f"ASGI_APPLICATION {path!r} cannot be imported: {error}") from error

    async def _end(self, ids: Sequence[UUID], batch_size: int) -> tuple[int, int]:
        """
        End sessions by their owners, so that ``on_chat_end`` runs.

        Return how many were ended, and how many were left to other workers. A session whose client
        has come back meanwhile is neither. Sessions whose chat has no handler for the end are ended
        together.
        """
        ended = skipped = 0
        worker = get_worker()
        try:
            for batch in self._batches("Ending", ids, batch_size):
                untold, others = await worker.end_untold(batch)
                ended += untold
                for session_id in others:
                    try:
                        ended += await calls.expire(worker, session_id)
                    except OwnerUnreachable:
                        skipped += 1
                    except (ChatSessionsError, DatabaseError) as error:
                        # The next run tries this session again.
                        self.stderr.write(f"{session_id}: {error}")
        finally:
            await worker.shut_down()
        return ended, skipped

    def _delete(self, ids: Sequence[UUID], batch_size: int) -> int:
        deleted = 0
        for batch in self._batches("Deleting", ids, batch_size):
            # Delete the log first, by a query of its own: the cascade would load every entry.
            log = SessionEvent.objects.using(settings.DATABASE).filter(session__in=batch)
            log._raw_delete(log.db)
            sessions = ChatSession.objects.using(settings.DATABASE).filter(pk__in=batch)
            _, by_model = sessions.delete()
            deleted += by_model.get(ChatSession._meta.label, 0)
        return deleted

    def _sweep(self, *, dry_run: bool) -> None:
        """Delete content without a row. An error of the storage is reported, not raised."""
        try:
            swept = sweep(dry_run=dry_run)
        except Exception as error:  # a storage may raise anything
            self.stderr.write(f"The storage of files could not be swept: {error}")
            return
        if not swept.possible:
            self.stdout.write("The storage cannot list its files: none were swept.")
        if deleted := swept.found - swept.failed:
            would = "Would delete" if dry_run else "Deleted"
            self.stdout.write(f"{would} {_counted(deleted, 'file')} without a session.")
        if swept.failed:
            failed = _counted(swept.failed, "file")
            self.stderr.write(f"{failed} without a session could not be deleted; see the log.")

    def _batches(self, what: str, ids: Sequence[UUID], size: int) -> Iterable[Sequence[UUID]]:
        for start in range(0, len(ids), size):
            yield ids[start : start + size]
            done = min(start + size, len(ids))
            if len(ids) > size:
                self.stdout.write(f"{what}: {done:,} of {len(ids):,}")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _sessions(count: int) -> str:
    return _counted(count, "session")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
