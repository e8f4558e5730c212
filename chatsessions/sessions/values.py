"""``SessionValues``: what an application keeps in a session, on its way to the store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from chatsessions.conf import settings
from chatsessions.exceptions import StorageError
from chatsessions.handlers.context import current_turn
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import UserSession

from .pending import PendingChange
from .turns import Turns


class SessionValues:
    """Looks for changes in the ``user_session``, and says who hears of one that is refused."""

    def __init__(
        self,
        session: Session,
        encoded: dict[str, bytes],
        *,
        pending: PendingChange,
        turns: Turns,
        loop: asyncio.AbstractEventLoop,
        check: Callable[[Turn | None], None],
        keep: Callable[[str, StorageError], None] | None = None,
    ) -> None:
        self._pending = pending
        self._turns = turns
        self._loop = loop
        #: Raises if a turn may not change the session any more.
        self._check = check
        self._thread = threading.get_ident()
        self.user_session = UserSession(
            session,
            encoded,
            max_bytes=settings.USER_SESSION_MAX_BYTES,
            before_change=self.before_change,
            after_change=self.after_change,
            keep=keep,
        )
        #: What could not be stored and nobody was told; it surfaces at the next emit or flush.
        self.error: StorageError | None = None

    # Around a change

    def before_change(self) -> None:
        """Raise if the running code may not change the session any more."""
        self._check(current_turn())

    def after_change(self) -> None:
        """See that a change is stored. Those of a turn go with its next event or its end."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._pending.note)
        elif (turn := current_turn()) is None or not self._turns.is_running(turn):
            self._loop.call_soon(self._pending.note)

    # Looking for changes inside values

    def look(self, *, drop: bool = True) -> StorageError | None:
        """
        Store what has changed, and return the error of a value that cannot be stored any more.

        With ``drop`` that one falls back to what is stored.
        """
        error = self.user_session.look(drop=drop)
        state = self.user_session.take_state()
        if state is not None:
            self._pending.set_state(state)
        return error

    def look_between(self, *, is_used: bool) -> None:
        """
        Look at a moment that nobody has chosen.

        Who works with a value that cannot be stored (``is_used``) hears of it when they send the
        next message, or at the end, and may mend it until then.
        """
        if is_used:
            self.look(drop=False)
        else:
            self.error = self.look() or self.error

    def used(self) -> None:
        """
        Look again: code outside of turns is through with the values it got out.

        While a turn runs, a value that cannot be stored is for that turn to mend, or to fail of.
        """
        self.look_between(is_used=self._turns.job is not None)
        self.settle(None)

    def settle(self, turn: Turn | None) -> None:
        """Look no longer at what ``turn`` got out, unless another one runs."""
        if not self._turns.has_other(turn):
            self.user_session.settle()

    def check(self, turn: Turn | None) -> None:
        """
        Raise what keeps a change inside a value from being stored, before ``turn`` tells of it.

        ``turn`` may stand for a block outside of turns. What a running turn has changed is that
        turn's to hear of, and nobody else's; and nobody without a turn works with values.
        """
        if turn is not None and (self._turns.job is None or self._turns.is_running(turn)):
            self.user_session.check()

    def raise_error(self) -> None:
        """Raise what could not be stored, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def write(self) -> None:
        """Store all values again, whatever has changed."""
        self._pending.set_state(self.user_session.as_json())
        self._pending.note()
