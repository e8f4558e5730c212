"""Finds sessions by what an administrator types: an id, a user, an address, what it is about."""

from __future__ import annotations

import re
from ipaddress import ip_address
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import CharField, Field, Q, TextField, Value
from django.db.models.functions import Cast, Replace

from chatsessions.models import ChatSessionQuerySet

#: More words, or longer ones, are nobody's name and no id: nothing is found, and nothing is slow.
MAX_TERMS = 8
MAX_TERM_LENGTH = 254
#: Shorter pieces of an id would find everything.
MIN_ID_DIGITS = 4

_HEX = re.compile(rf"[0-9a-f]{{{MIN_ID_DIGITS},32}}")


def find_sessions(queryset: ChatSessionQuerySet, text: str) -> ChatSessionQuerySet:
    """
    The sessions that every word of ``text`` tells something of.

    A part of their id, of their user's names or of their topic; or, as a whole, the id of their
    thread or their IP address.
    """
    terms = text.split()
    if len(terms) > MAX_TERMS or any(len(term) > MAX_TERM_LENGTH for term in terms):
        return queryset.none()
    if terms:
        dashless = Replace(Cast("id", CharField()), Value("-"), Value(""))
        queryset = queryset.alias(id_digits=dashless)
    for term in terms:
        told = _id_matches(term) | _user_matches(term) | _ip_matches(term)
        queryset = queryset.filter(told | Q(topic__icontains=term))
    return queryset


def _id_matches(term: str) -> Q:
    digits = term.lower().strip("{}").removeprefix("urn:uuid:").replace("-", "")
    if not _HEX.fullmatch(digits):
        return Q(pk__in=())
    if len(digits) < 32:
        return Q(id_digits__contains=digits)
    return Q(pk=UUID(digits)) | Q(thread_id=UUID(digits))


def _ip_matches(term: str) -> Q:
    try:
        return Q(ip=str(ip_address(term)))
    except ValueError:
        return Q(pk__in=())


def _user_matches(term: str) -> Q:
    matches = Q(pk__in=())
    for name in _user_fields():
        matches |= Q(**{f"{name}__icontains": term})
    # A subquery, so that counting the sessions needs no join.
    return Q(user__in=get_user_model()._default_manager.filter(matches).values("pk"))


def _user_fields() -> list[str]:
    """The text fields of the project's user model that tell who somebody is."""
    model = get_user_model()
    names = {model.USERNAME_FIELD: None, getattr(model, "EMAIL_FIELD", None) or "email": None}
    return [name for name in names if isinstance(_field(model, name), CharField | TextField)]


def _field(model: type, name: str) -> Field[object, object] | None:
    try:
        field = model._meta.get_field(name)  # type: ignore[attr-defined]  # a model class
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, Field) else None
