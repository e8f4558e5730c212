"""
``Logins``: check repeatedly that users may still be connected.

The logins of a worker's connections are checked together every ``REVALIDATE_SECONDS``, and at once
when a signal in this process says that a login has changed.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_backends,
    get_user_model,
    load_backend,
    user_logged_out,
)
from django.contrib.auth.backends import AllowAllUsersModelBackend, ModelBackend
from django.contrib.auth.models import AbstractBaseUser, Group, PermissionsMixin
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import Signal
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from chatsessions.conf import settings

from .access import Access

logger = logging.getLogger("chatsessions.logins")

LOGGED_OUT = gettext_lazy("You were logged out.")

T = TypeVar("T")

#: How many logins are checked at a time: SQLite takes at most 999 parameters, and other checks use
#: the same threads.
BATCH = 500
#: Seconds that ``channels.auth.logout()`` may take to end the Django session after its signal. The
#: signal does not name the Django session, so the user's logins are checked after this time.
LOGOUT_TAKES = 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Login:
    """
    The login of one connection's user.

    ``renewed`` is called with the current user after each check, ``revoked`` with a sentence when
    the user may no longer be connected; both in the worker's event loop.
    """

    user: AbstractBaseUser
    access: Access
    #: The path of the authentication backend; None if the scope has no Django session.
    backend: str | None
    #: A hash that changes with the password; None for a user model without one.
    auth_hash: str | None
    #: The class and the key of the Django session.
    store: type[SessionBase] | None
    session_key: str | None
    renewed: Callable[[Any], None]
    revoked: Callable[[Promise], None]

    @classmethod
    def of(
        cls,
        scope: dict[str, Any],
        access: Access,
        *,
        renewed: Callable[[Any], None],
        revoked: Callable[[Promise], None],
    ) -> Login | None:
        """
        Return the login of a ``scope``; None if nobody is logged in.

        Synchronous, as it reads a Django session that was not read yet.
        """
        user = scope.get("user")
        if user is None or not user.is_authenticated:
            return None
        store = session_key = backend = auth_hash = None
        session = scope.get("session")
        if session is not None and SESSION_KEY in session:  # the login comes from it
            store, session_key = session.__class__, session.session_key
            backend, auth_hash = session.get(BACKEND_SESSION_KEY), session.get(HASH_SESSION_KEY)
        if auth_hash is None and hasattr(user, "get_session_auth_hash"):
            auth_hash = user.get_session_auth_hash()
        return cls(
            user=user,
            access=access,
            backend=backend,
            auth_hash=auth_hash,
            store=store,
            session_key=session_key,
            renewed=renewed,
            revoked=revoked,
        )


class Logins:
    """The logins of one worker's open connections. Used only in the worker's event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read: Callable[..., Awaitable[Any]],
        own: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self._loop = loop
        #: Runs a function in a thread, with a database connection.
        self._read = read
        self._own = own
        self._logins: set[Login] = set()
        #: The users to check soon; None stands for all whose login needs permissions.
        self._changed: set[Any | None] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False
        self._signals: list[tuple[Signal, Callable[..., None], Any]] = []

    def __len__(self) -> int:
        return len(self._logins)

    def add(self, login: Login) -> None:
        """Check ``login`` from now on."""
        if self._closed:
            return
        if not self._signals:
            self._listen()
        self._logins.add(login)

    def discard(self, login: Login) -> None:
        """Stop checking ``login``: its connection is gone."""
        self._logins.discard(login)

    async def watch(self) -> None:
        """Check all logins every ``REVALIDATE_SECONDS``, for ever."""
        while True:
            await asyncio.sleep(settings.REVALIDATE_SECONDS)
            await self._look_at(list(self._logins))

    def close(self) -> None:
        """Stop checking logins."""
        self._closed = True
        for signal, receiver, sender in self._signals:
            signal.disconnect(receiver, sender=sender)
        self._signals.clear()
        self._logins.clear()

    # Checks

    async def _look_at(self, logins: Sequence[Login]) -> None:
        try:
            for start in range(0, len(logins), BATCH):
                await self._check(logins[start : start + BATCH])
        except DatabaseError:
            logger.exception("Logins could not be looked at again; they are, next time")

    async def _check(self, batch: Sequence[Login]) -> None:
        """
        Check ``batch``, and tell each login.

        If the project's code raises, such as a backend that cannot answer for one user, the logins
        are checked one by one: the others are checked all the same. Raises database errors.
        """
        try:
            verdicts = await self._read(look_again, batch)
        except DatabaseError:
            raise
        except Exception:
            if len(batch) > 1:
                for login in batch:
                    await self._check([login])
            else:
                text = "The login of user %s could not be looked at again; it is, next time"
                logger.exception(text, batch[0].user.pk)
            return
        for login, verdict in zip(batch, verdicts, strict=True):
            if login in self._logins:
                try:
                    self._tell(login, verdict)
                except Exception:  # go on with the others
                    logger.exception("User %s could not be told of", login.user.pk)

    def _tell(self, login: Login, verdict: AbstractBaseUser | Promise) -> None:
        if isinstance(verdict, Promise):
            self._logins.discard(login)
            logger.info("User %s may not stay connected: %s", login.user.pk, verdict)
            login.revoked(verdict)
        else:
            login.renewed(verdict)

    # Signals: received in any thread

    def _listen(self) -> None:
        user_model = get_user_model()
        self._signals = [
            (user_logged_out, self._on_logged_out, None),
            (post_save, self._on_user_changed, user_model),
            (post_delete, self._on_user_changed, user_model),
        ]
        for table in _permission_tables(user_model):
            self._signals.append((m2m_changed, self._on_permissions_changed, table))
        for signal, receiver, sender in self._signals:
            signal.connect(receiver, sender=sender, weak=False)

    def _on_logged_out(self, *, user: Any = None, request: Any = None, **_: Any) -> None:
        session = getattr(request, "session", None)
        session_key = getattr(session, "session_key", None)
        self._call(self._logged_out, getattr(user, "pk", None), session_key)

    def _on_user_changed(self, *, instance: Any, using: str, **_: Any) -> None:
        self._look_after_commit(instance.pk, using)  # read now: a deleted instance loses its pk

    def _on_permissions_changed(self, *, action: str, using: str, **_: Any) -> None:
        if action.startswith("post_"):
            self._look_after_commit(None, using)

    def _look_after_commit(self, user_id: Any | None, using: str) -> None:
        look = partial(self._call, self._look_soon, user_id)
        transaction.on_commit(look, using=using, robust=True)

    def _call(self, step: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(step, *args)

    # Their effects: in the event loop

    def _logged_out(self, user_id: Any | None, session_key: str | None) -> None:
        """
        Revoke the logins of a Django session that was logged out.

        The user's connections without a Django session are revoked too, as it is unknown by which
        login they came.
        """
        for login in list(self._logins):
            known = login.session_key
            if known == session_key if known is not None else login.user.pk == user_id:
                self._tell(login, LOGGED_OUT)
        if session_key is None and user_id is not None:
            self._loop.call_later(LOGOUT_TAKES, self._look_soon, user_id)

    def _look_soon(self, user_id: Any | None) -> None:
        """Check a user's logins soon; for None, all logins that need permissions."""
        self._changed.add(user_id)
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(
                self._look(), name="chatsessions-logins", context=Context()
            )
            self._own(self._looking)

    async def _look(self) -> None:
        while self._changed:
            changed, self._changed = self._changed, set()
            await self._look_at(
                [
                    login
                    for login in self._logins
                    if login.user.pk in changed or (None in changed and login.access.permissions)
                ]
            )


# Checks: synchronous, in a thread


def look_again(logins: Sequence[Login]) -> list[AbstractBaseUser | Promise]:
    """
    Return for each login the current user, or the reason why they may not stay connected.

    This takes one query for the users, one for Django sessions in the database and one for each
    permission. A project's own authentication backends may need more.
    """
    users: dict[Login, AbstractBaseUser] = {}
    for (model, backend), group in _grouped(logins, lambda one: (one.user.__class__, one.backend)):
        users.update(_find_users(model, backend, group))
    open_sessions: set[tuple[Any, str | None]] = {(None, None)}
    for store, group in _grouped(logins, lambda one: one.store):
        if store is not None:
            keys = {one.session_key for one in group if one.session_key is not None}
            open_sessions |= {(store, key) for key in _open_sessions(store, keys)}
    permitted: set[Login] = set()
    for (_, access), group in _grouped(users, lambda one: (one.user.__class__, one.access)):
        permitted |= _permitted(access.permissions, {one: users[one] for one in group})
    verdicts: list[AbstractBaseUser | Promise] = []
    for login in logins:
        if login not in users:
            verdicts.append(gettext_lazy("The account is not active any more."))
        elif not _same_password(users[login], login.auth_hash):
            verdicts.append(gettext_lazy("The password was changed."))
        elif (login.store, login.session_key) not in open_sessions:
            verdicts.append(LOGGED_OUT)
        elif login not in permitted:
            verdicts.append(gettext_lazy("A permission was taken away."))
        else:
            verdicts.append(users[login])
    return verdicts


def _grouped(logins: Iterable[Login], key: Callable[[Login], T]) -> Iterable[tuple[T, list[Login]]]:
    groups: defaultdict[T, list[Login]] = defaultdict(list)
    for login in logins:
        groups[key(login)].append(login)
    return groups.items()


def _find_users(
    model: type[AbstractBaseUser], path: str | None, logins: Sequence[Login]
) -> Iterator[tuple[Login, AbstractBaseUser]]:
    """Yield the logins whose users may still log in, each with its own copy of the user."""
    if path is not None and path not in django_settings.AUTHENTICATION_BACKENDS:
        return
    backend: Any = ModelBackend() if path is None else load_backend(path)
    keys = {login.user.pk for login in logins}
    found: dict[Any, Any]
    if type(backend).get_user is ModelBackend.get_user:
        rows = model._default_manager.filter(pk__in=keys)
        found = {user.pk: user for user in rows if backend.user_can_authenticate(user)}
    else:
        found = {key: _user_of(backend, key) for key in keys}
    for login in logins:
        user = found.get(login.user.pk)
        if user is not None:
            user = copy.copy(user)
            if path is not None:
                user.backend = path
            yield login, user


def _user_of(backend: Any, key: Any) -> AbstractBaseUser | None:
    """Return what ``get_user()`` of a project's backend returns; None if it raises in its place."""
    try:
        user: AbstractBaseUser | None = backend.get_user(key)
    except ObjectDoesNotExist:
        return None  # for one deleted user no login of the worker would be checked any more
    return user


def _same_password(user: AbstractBaseUser, known: str | None) -> bool:
    if known is None or not hasattr(user, "get_session_auth_hash"):
        return True
    if constant_time_compare(known, user.get_session_auth_hash()):
        return True
    fallbacks: Iterable[str] = getattr(user, "get_session_auth_fallback_hash", tuple)()
    return any(constant_time_compare(known, one) for one in fallbacks)


def _open_sessions(store: type[SessionBase], keys: Collection[str]) -> set[str]:
    """Return the keys of the Django sessions in which a user is still logged in."""
    if issubclass(store, DatabaseSessions):
        # A logout deletes the row, as do a change of user and a new key.
        rows = store.get_model_class()._default_manager
        unexpired = rows.filter(session_key__in=keys, expire_date__gt=timezone.now())
        return set(unexpired.values_list("session_key", flat=True))
    return {key for key in keys if SESSION_KEY in store(key).load()}


def _permitted(permissions: tuple[str, ...], users: dict[Login, AbstractBaseUser]) -> set[Login]:
    """Return the logins whose users have all ``permissions``."""
    if not permissions:
        return set(users)
    if _asks_djangos_tables(users) and all(one.count(".") == 1 for one in permissions):
        keys = {user.pk for user in users.values()}
        for permission in permissions:
            holders = ModelBackend().with_perm(permission)
            keys = set(holders.filter(pk__in=keys).values_list("pk", flat=True))
        return {login for login, user in users.items() if user.pk in keys}
    access = Access(permissions=permissions)
    return {login for login, user in users.items() if access.allows(user)}


def _asks_djangos_tables(users: dict[Login, AbstractBaseUser]) -> bool:
    """Return True if only Django's own backends decide permissions, so that one query is enough."""
    stock = (ModelBackend, AllowAllUsersModelBackend)
    return all(type(backend) in stock for backend in get_backends()) and all(
        user.__class__ is get_user_model()
        and getattr(user.__class__, "has_perms", None) is PermissionsMixin.has_perms
        and getattr(user.__class__, "has_perm", None) is PermissionsMixin.has_perm
        for user in users.values()
    )


def _permission_tables(user_model: Any) -> Iterator[Any]:
    """Yield the models of the many-to-many tables of permissions and groups."""
    for owner, name in (
        (user_model, "groups"),
        (user_model, "user_permissions"),
        (Group, "permissions"),
    ):
        through = getattr(getattr(owner, name, None), "through", None)
        if through is not None:
            yield through
