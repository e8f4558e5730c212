"""
The pages of the list of sessions: ids first, whole rows only of those on the page.

A database that sorts, or skips to the last page, takes along what is selected. Whole rows of a
hundred thousand sessions are seconds, their ids are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from chatsessions.models import ChatSession

if TYPE_CHECKING:
    _Paginator = Paginator[ChatSession]
else:
    _Paginator = Paginator

#: Sessions that a search finds, the first in the list's order. It looks at every session there
#: is: once, to find them, and not once more to count them.
MAX_FOUND = 1_000

#: What no list needs, and what can be large.
_LARGE = ("chat_context", "asks", "actions", "inputs", "applied", "handled_ahead")


class Pages(_Paginator):
    """Pages of sessions, whose ids can be had alone; ``searched`` ones are counted by finding."""

    def __init__(
        self,
        sessions: QuerySet[ChatSession],
        per_page: int,
        *args: Any,
        searched: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(sessions, per_page, *args, **kwargs)
        self.searched = searched
        self._ids: QuerySet[ChatSession, UUID] = sessions.values_list("pk", flat=True)

    @cached_property
    def count(self) -> int:
        """How many there are; of those that were searched for at most ``MAX_FOUND``."""
        return min(len(self._found), MAX_FOUND) if self.searched else self._ids.count()

    @property
    def more(self) -> bool:
        """Whether a search would have found more."""
        return self.searched and len(self._found) > MAX_FOUND

    def ids(self, first: int, end: int) -> list[UUID]:
        """The ids from position ``first`` on, and before ``end``."""
        end = min(end, self.count)
        if self.searched:
            return self._found[first:end]
        if first <= self.count // 2:
            return list(self._ids[first:end])
        # From the other end: a database reads what it skips.
        return list(self._ids.reverse()[self.count - end : self.count - first])[::-1]

    @cached_property
    def _found(self) -> list[UUID]:
        return list(self._ids[: MAX_FOUND + 1])


class SessionList(ChangeList):
    """Django's list, with the rows of its page fetched by their ids."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        pages: Pages = self.paginator
        self.show_admin_actions = bool(self.result_count)
        paged = self.multi_page and not (self.show_all and self.can_show_all)
        first = (self.page_num - 1) * self.list_per_page if paged else 0
        end = first + self.list_per_page if paged else self.result_count
        self.result_list = self._rows(pages.ids(first, end))
        if pages.more:
            text = _("More than %(count)d sessions match. These are the first of them.")
            messages.info(request, text % {"count": MAX_FOUND})

    def _rows(self, ids: list[UUID]) -> list[ChatSession]:
        rows = self.apply_select_related(self.root_queryset.filter(pk__in=ids)).defer(*_LARGE)
        found = {session.pk: session for session in rows.order_by()}
        # One may have been deleted meanwhile.
        return [found[pk] for pk in ids if pk in found]
