"""Which lookups the query string of a list may have: those that tell no more than the list."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.filters import SimpleListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

#: Comparisons with a whole value. Those with a part of one would find out a value bit by bit.
COMPARISONS = frozenset({"exact", "in", "isnull", "gt", "gte", "lt", "lte"})


class OpenLookupsOnly(_ModelAdmin):
    """
    A list that can be looked through by what it shows, and by nothing else.

    Django lets whoever may see a list filter it by any column, so that values which the pages mask
    could be guessed letter by letter: ``?state__regex=…``. Here it takes the fields of
    ``open_lookups`` and of ``list_filter``, and what a ``limit_choices_to`` of a model asks for.
    """

    #: Fields that every viewer of the list is shown; related objects by their primary keys.
    open_lookups: ClassVar[Collection[str]] = ()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        if self._is_limit_of_choices(lookup, value):
            return True
        given = self.list_filter if request is None else self.get_list_filter(request)
        names = set(self.open_lookups)
        for one in given:
            if isinstance(one, type) and issubclass(one, SimpleListFilter):
                if lookup == one.parameter_name:
                    return True
            else:
                names.add(str(one[0] if isinstance(one, list | tuple) else one))
        return any(self._is_of(name, lookup) for name in names)

    def _is_of(self, name: str, lookup: str) -> bool:
        """Whether ``lookup`` compares field ``name``, or the primary key of what it points to."""
        if lookup == name:
            return True
        if not lookup.startswith(name + LOOKUP_SEP):
            return False
        first, *rest = lookup.removeprefix(name + LOOKUP_SEP).split(LOOKUP_SEP)
        if first in self._keys(name):
            first, *rest = rest or ["exact"]
        return first in COMPARISONS and not rest

    def _keys(self, name: str) -> set[str]:
        """What the primary key of the objects is called that field ``name`` points to."""
        if name == "pk":
            return set()
        related = get_fields_from_path(self.model, name)[-1].related_model
        return set() if related is None else {"pk", related._meta.pk.name}

    def _is_limit_of_choices(self, lookup: str, value: Any) -> bool:
        """Whether it is what a foreign key to this model narrows its choices to."""
        for limit in self.opts.related_fkey_lookups:
            found = limit() if callable(limit) else limit
            if (lookup, value) in url_params_from_lookup_dict(found).items():
                return True
        return False
