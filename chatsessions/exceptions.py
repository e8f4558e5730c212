"""
All exceptions of ``chatsessions``.

::

    ChatSessionsError
    ├── ContextNotFound          no session is current here
    ├── SessionNotFound          no such session
    ├── SessionOver              the session has ended
    ├── SessionConnected         the session has a websocket; send events there
    ├── SessionOwned             the session belongs to a user already
    ├── SessionUnavailable       the session cannot be opened now; try again
    ├── TooManySessions          the user has as many connected sessions as allowed
    ├── OwnershipLost            another worker holds the session now
    ├── OwnerUnreachable         the session is live in another process
    ├── ServerStopped            the server stopped during a call from outside
    ├── TurnStopped              the turn was stopped; it can change nothing more
    ├── StoreUnavailable         the database (or cache) did not take a commit in time
    ├── CacheFailed              the cache failed to store or to read values
    ├── AccessRefused            a login, a permission or a key is missing
    ├── FileRefused              a file that a session does not accept
    ├── ChatError                a Chat is declared wrongly
    ├── FrameError               a frame that breaks the protocol, or comes too soon
    └── StorageError
        ├── NotStorable          a value that cannot be stored
        ├── NotLoadable          stored data that cannot be read back
        ├── ReservedKey          a user_session key that belongs to the session
        └── TooLarge             more bytes than a limit allows
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from django.utils.functional import Promise


class ChatSessionsError(Exception):
    """The root of every error of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # ``args`` has the message, and not the arguments of ``__init__``.
        return _again, (type(self), self.args, self.__dict__)


def _again(
    cls: type[ChatSessionsError], args: tuple[Any, ...], data: dict[str, Any]
) -> ChatSessionsError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(data)
    return error


class ContextNotFound(ChatSessionsError, LookupError):
    """A function that needs a current session was used where there is none."""

    def __init__(self, what: str = "context") -> None:
        self.what = what
        super().__init__(
            f"{what!r} was used outside of a session's context. In a task started by a handler "
            "use chatsessions.spawn(); in an executor, a thread or a library's callback wrap the "
            "function with chatsessions.bind_context(); in a view, a task queue or the shell use "
            "'with chatsessions.session_context(session_id):'."
        )


class SessionNotFound(ChatSessionsError, LookupError):
    """There is no session with this id."""

    def __init__(self, session_id: UUID | str) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session not found: {session_id}. Its id is another, or it has been deleted; look for "
            "it in the admin, or among ChatSession.objects."
        )


class SessionOver(ChatSessionsError):
    """The session has ended; nothing can be added to it."""

    def __init__(self, session_id: UUID | str, reason: str) -> None:
        self.session_id = session_id
        self.reason = reason
        super().__init__(
            f"Session {session_id} has ended ({reason}). Nothing can be added to it any more; a "
            "new connection starts a new one."
        )


class SessionConnected(ChatSessionsError):
    """The session is connected by a websocket, and only that client may number events."""

    def __init__(self, session_id: UUID | str) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session {session_id} is connected by a websocket: send its events there, or when "
            "that is closed."
        )


class SessionOwned(ChatSessionsError):
    """The session already belongs to a user, and cannot be assigned again."""

    def __init__(self, session_id: UUID | str) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session {session_id} belongs to a user already. Only a session that was begun "
            "without a login can be assigned, and once; for another user begin a new one."
        )


class SessionUnavailable(ChatSessionsError):
    """The session cannot be opened now, mostly because the server is shutting down; try again."""

    def __init__(self, why: str = "The server is shutting down.") -> None:
        super().__init__(f"{why} No session was opened; try again in a moment.")


class TooManySessions(ChatSessionsError):
    """The user has as many connected sessions as ``MAX_SESSIONS_PER_USER`` allows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"The user has {limit} connected sessions, and may have no more. Close one, or raise "
            "CHATSESSIONS['MAX_SESSIONS_PER_USER']."
        )


class OwnershipLost(ChatSessionsError):
    """This worker no longer holds the session: it was released, deleted or taken by another."""

    def __init__(self, session_id: UUID | str) -> None:
        self.session_id = session_id
        super().__init__(
            f"Session {session_id} is no longer held by this worker. A task that outlives its "
            "turn keeps its session when it is started with chatsessions.spawn(); anything else "
            "opens the session again with chatsessions.session_context()."
        )


class OwnerUnreachable(ChatSessionsError):
    """
    The session is live in another process, which cannot be reached from this one.

    Either no channel layer connects the processes, or the other process does not answer. The owner
    may also be another event loop of this process, which is busy with the session.
    """

    def __init__(
        self,
        session_id: UUID | str | None,
        owner: str,
        *,
        silent: bool = False,
        is_here: bool = False,
    ) -> None:
        #: None for an event to all sessions.
        self.session_id = session_id
        self.owner = owner
        self.silent = silent
        #: Whether the owner is another event loop of this process, which has it only for a moment.
        self.is_here = is_here
        which = "A session that it is for" if session_id is None else f"Session {session_id}"
        if is_here:
            super().__init__(
                f"{which} is in use by another event loop of this process ({owner}). Try again "
                "when that is done with it. Nothing was changed."
            )
            return
        remedy = (
            "It lives, but gives no sign over the channel layer: look whether the layer's Redis "
            "can be reached from both, and try again."
            if silent
            else "Let both use one channel layer, channels_redis.pubsub.RedisPubSubChannelLayer "
            "in CHANNEL_LAYERS; or do this inside the server process, or when the session's client "
            "is away. Nothing was changed."
        )
        super().__init__(
            f"{which} is live in another process ({owner}), which this process "
            f"cannot reach. {remedy}"
        )


class ServerStopped(ChatSessionsError):
    """The server of this process stopped before a call from outside was done."""

    def __init__(self) -> None:
        super().__init__(
            "The server of this process stopped before the call was through: whether it was done "
            "is not known. Look at the session, or let the task be tried again in a process that "
            "goes on."
        )


class TurnStopped(ChatSessionsError):
    """The turn was stopped; its code can no longer send messages or set values."""

    def __init__(self) -> None:
        super().__init__("The turn was stopped; it can no longer send messages or set values.")


class StoreUnavailable(ChatSessionsError):
    """A commit was not stored within ``STORE_TIMEOUT``. Nothing is lost: the commit is repeated."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"The store has not taken a commit for {seconds:.1f} seconds. What is pending is kept "
            "in memory and written as soon as the store answers."
        )


class CacheFailed(ChatSessionsError):
    """The cache failed to store or to read values: those of ``keys``, or all if it is empty."""

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        self.keys = frozenset(keys)
        super().__init__(message)


class AccessRefused(ChatSessionsError):
    """
    A user is refused, before a session was created or taken over for them.

    ``code`` is one of the protocol's error codes. ``detail`` is a sentence, translated when it is
    shown, or what the protocol defines for the code. A connection is closed with 4502.
    """

    def __init__(
        self, code: Literal["unauthorized", "forbidden", "missing_env"], detail: str | Promise
    ) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class FileRefused(ChatSessionsError, ValueError):
    """
    A file that a session does not accept. It is not stored.

    ``code`` is one of ``empty_file``, ``too_large``, ``too_many_files``, ``type_mismatch``,
    ``type_not_accepted`` and ``unknown_file``, ``detail`` a sentence that users may read.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(detail)


class ChatError(ChatSessionsError):
    """A ``Chat`` or one of its handlers is declared wrongly, or cannot be found."""


class FrameError(ChatSessionsError):
    """
    A frame that breaks the protocol, or an event that cannot be accepted now.

    ``code`` is one of the protocol's error codes, ``detail`` a sentence for a developer, ``n``
    the number of the event concerned, if any, ``retry_after`` the seconds after which the same
    event may be sent again.
    """

    def __init__(
        self, code: str, detail: str, *, n: int | None = None, retry_after: float | None = None
    ) -> None:
        self.code = code
        self.detail = detail
        self.n = n
        self.retry_after = retry_after
        super().__init__(f"{code}: {detail}")


class StorageError(ChatSessionsError):
    """A value that ``user_session`` or the log refuses, or that cannot be read."""


#: The default advice for a value that cannot be stored.
_ADVICE = (
    "Register its class with @chatsessions.serializable, store plain data instead, or keep a live "
    "object in user_session.local, which is never stored."
)


class NotStorable(StorageError, TypeError):
    """
    A value that cannot be stored.

    ``path`` says where it is: the ``user_session`` key, then the path inside its value. ``advice``
    says what can be done with such a value.
    """

    def __init__(
        self, path: str, value_type: type, reason: str = "", *, advice: str = _ADVICE
    ) -> None:
        self.path = path
        self.value_type = value_type
        self.reason = reason
        super().__init__(
            f"{path or 'the value'} is a {value_type.__module__}.{value_type.__qualname__}, which "
            f"cannot be stored{f' ({reason})' if reason else ''}. {advice}"
        )


class NotLoadable(StorageError, ValueError):
    """Stored data that cannot be read back: damaged, or of a class that is not registered."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class ReservedKey(StorageError, KeyError):
    """A key of ``user_session`` that is read from the session and cannot be set."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(key)

    def __str__(self) -> str:
        return (
            f"{self.key!r} is reserved: user_session reads it live from the session. "
            "Use another key."
        )


class TooLarge(StorageError, ValueError):
    """More bytes than a limit allows; the stored value stays as it was."""

    def __init__(self, what: str, size: int, limit: int, setting: str) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        self.setting = setting
        super().__init__(
            f"{what} takes {size:,} bytes; the limit is {limit:,}. Store less, or raise "
            f"CHATSESSIONS['{setting}']."
        )
