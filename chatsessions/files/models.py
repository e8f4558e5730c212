"""The rows of uploads that are not finished; part of :mod:`.models`."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from chatsessions.conf import settings
from chatsessions.store.database_time import ago

from .storage import session_storage


class SessionUploadQuerySet(models.QuerySet["SessionUpload"]):
    def stale(self, now: datetime | None = None) -> SessionUploadQuerySet:
        """Uploads of which nothing has come for ``UPLOAD_AGE`` seconds."""
        return self.filter(touched_at__lt=ago(settings.UPLOAD_AGE, now))


class SessionUpload(models.Model):
    """A file that a client brings in slices, until all are there and it is a ``SessionFile``."""

    #: The file's as well, once it is one.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(
        "chatsessions.ChatSession",
        on_delete=models.CASCADE,
        related_name="uploads",
        verbose_name=_("session"),
    )
    name = models.CharField(_("name"), max_length=255)
    #: What the client says; "" for nothing that is a type.
    mime = models.CharField(_("type"), max_length=100, blank=True)
    size = models.PositiveBigIntegerField(_("bytes"))
    #: Of every slice but the last; what UPLOAD_SLICE_BYTES was when it began.
    slice_bytes = models.PositiveBigIntegerField(_("bytes of a slice"))
    #: Bytes of the slices that are there: all up to here.
    received = models.PositiveBigIntegerField(_("bytes received"), default=0)
    #: The request that puts it together, and touches it meanwhile; none if nobody does.
    joiner = models.UUIDField(null=True, blank=True)
    #: When something came of it, by the database's clock.
    touched_at = models.DateTimeField(_("last touched"))

    objects = SessionUploadQuerySet.as_manager()

    class Meta:
        verbose_name = _("unfinished upload")
        verbose_name_plural = _("unfinished uploads")

    def __str__(self) -> str:
        return self.name

    def length_at(self, offset: int) -> int:
        """How many bytes the slice at ``offset`` has; 0 if there is none."""
        if offset < 0 or offset % self.slice_bytes:
            return 0
        return max(0, min(self.slice_bytes, self.size - offset))


class UploadSlice(models.Model):
    """A part of an upload, which lies in the storage as a file does."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The unique constraint on (upload, number) is the index.
    upload = models.ForeignKey(
        SessionUpload, on_delete=models.CASCADE, related_name="slices", db_index=False
    )
    number = models.PositiveIntegerField(_("number"))
    content = models.FileField(_("content"), storage=session_storage, max_length=200)

    class Meta:
        verbose_name = _("slice of an upload")
        verbose_name_plural = _("slices of uploads")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["upload", "number"], name="chatsessions_slice_number"),
        ]

    def __str__(self) -> str:
        return str(self.number)
