"""A session's files on its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.admin.utils import quote
from django.db.models import Sum
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.translation import gettext as _

from chatsessions.models import ChatSession, SessionFile
from chatsessions.protocol.frames import parse_uuid

from .labels import date_over_time
from .transcript import Attached

#: Files that are listed, the latest.
MAX_LISTED = 200
#: Files whose names a transcript is given, the latest; SQLite takes 999 parameters.
MAX_NAMED = 900
#: Names of files are shown with a session; what is in them is another matter.
PERMISSION = "chatsessions.view_sessionfile"
URL = "chatsessions_chatsession_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One file, as it is listed. ``url`` is empty for who may not have it."""

    id: str
    name: str
    mime: str
    size: str
    created: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """A session's files."""

    lines: Sequence[Line]
    note: str = ""


def file_list(session: ChatSession, request: HttpRequest, site: str) -> FileList:
    """The files of ``session``, with links for who has the permission ``view_sessionfile``."""
    rows = SessionFile.objects.filter(session=session)
    latest = list(rows.order_by("-created_at")[: MAX_LISTED + 1])
    shown = latest[:MAX_LISTED]
    note = ""
    if len(latest) > MAX_LISTED:
        total = {"count": rows.count(), "size": filesizeformat(rows.aggregate(n=Sum("size"))["n"])}
        note = _("The latest of %(count)d files, %(size)s in all.") % total
    site = site if request.user.has_perm(PERMISSION) else ""
    return FileList(lines=[_line(row, site) for row in shown], note=note)


def name_files(
    attached: Sequence[Attached], session: ChatSession, request: HttpRequest, site: str
) -> None:
    """Give the files of a transcript their names, and links as in the list; one query for all."""
    asked = [pk for file in reversed(attached) if (pk := parse_uuid(file.id)) is not None]
    ids = list(dict.fromkeys(asked))[:MAX_NAMED]
    if not ids:
        return
    site = site if request.user.has_perm(PERMISSION) else ""
    rows = SessionFile.objects.filter(session=session, pk__in=ids)
    known = {str(row.pk): _line(row, site) for row in rows}
    for file in attached:
        line = known.get(file.id)
        if line is not None:
            file.name, file.url = line.name, line.url
        elif file.name == file.id and parse_uuid(file.id) is not None:
            file.name = _("a file that is no longer there")


def _line(row: SessionFile, site: str) -> Line:
    url = ""
    if site:
        args = [quote(row.session_id), str(row.pk)]
        url = reverse(f"admin:{URL}", args=args, current_app=site)
    return Line(
        id=str(row.pk),
        name=row.name,
        mime=row.mime,
        size=filesizeformat(row.size),
        created=date_over_time(row.created_at),
        url=url,
    )
