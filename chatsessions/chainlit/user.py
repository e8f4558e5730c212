"""``User``: the logged-in user, as bots written for Chainlit know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from .types import DictMixin

__all__ = ["PersistedUser", "PersistedUserFields", "User", "UserDict"]


class UserDict(TypedDict):
    id: str
    identifier: str
    display_name: str | None
    metadata: dict[str, Any]


@dataclass
class User(DictMixin):
    """A user: ``identifier`` is the name to log in with."""

    identifier: str
    display_name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class PersistedUserFields:
    """The fields of a user in the database: ``id`` is the primary key, as text."""

    id: str
    createdAt: str  # noqa: N815  # Chainlit's name


@dataclass
class PersistedUser(User, PersistedUserFields):
    """A user of the database."""

    @classmethod
    def of(cls, user: Any) -> PersistedUser | None:
        """Return Django's ``user``; None for an anonymous one."""
        if not user.is_authenticated:
            return None
        name = str(user.get_username())
        full_name = getattr(user, "get_full_name", str)()
        joined = getattr(user, "date_joined", None)
        metadata = {
            key: getattr(user, key)
            for key in ("email", "is_staff", "is_superuser")
            if hasattr(user, key)
        }
        return cls(
            identifier=name,
            display_name=full_name or name,
            metadata=metadata,
            id=str(user.pk),
            createdAt=joined.isoformat() if joined is not None else "",
        )
