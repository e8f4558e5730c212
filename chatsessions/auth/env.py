"""The client's own keys (``env`` of ``hello``): which a session keeps, and how it hides them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping

from chatsessions.conf import settings
from chatsessions.exceptions import AccessRefused, ChatError, FrameError

#: Shorter values are not hidden: they occur in texts by chance.
MIN_SECRET = 6
#: The replacement for a client's value in a text.
HIDDEN = "[hidden: env]"
#: The longest name of a key.
MAX_NAME = 100


def checked_names(given: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the ``user_env`` of a chat as a tuple. Raises ``ChatError`` for invalid names."""
    if given is None:
        return None
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ChatError(f"user_env={given!r}: write a list of names, such as ['OPENAI_API_KEY'].")
    names = tuple(given)
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
            raise ChatError(f"user_env: {name!r:.80} is no name of 1 to {MAX_NAME} characters.")
        if "," in name or not name.isprintable() or any(map(str.isspace, name)):
            raise ChatError(f"user_env: {name!r} has a comma, a space or worse in it.")
    return tuple(dict.fromkeys(names))


def taken_env(given: Mapping[str, str] | None, names: tuple[str, ...] | None) -> dict[str, str]:
    """
    Return the part of ``env`` that a session keeps: with ``names``, those keys and no others.

    Raises ``FrameError`` for too many or too long keys and values, and ``AccessRefused``
    (``missing_env``) if one of ``names`` has no value.
    """
    env = dict(given or {})
    problem = _problem_of(env, names)
    if problem is not None:
        # Cleared, as Django's debug page shows the variables of all functions in the traceback.
        given, env = None, {}
        raise problem
    return env if names is None else {name: env[name] for name in names}


def _problem_of(
    env: Mapping[str, str], names: tuple[str, ...] | None
) -> FrameError | AccessRefused | None:
    if len(env) > settings.MAX_ENV_KEYS:
        return FrameError("bad_frame", f"env has at most {settings.MAX_ENV_KEYS} keys")
    size = sum(len(text.encode(errors="replace")) for item in env.items() for text in item)
    if size > settings.MAX_ENV_BYTES:
        return FrameError("bad_frame", f"env has at most {settings.MAX_ENV_BYTES} bytes")
    missing = [name for name in names or () if not env.get(name, "").strip()]
    return AccessRefused("missing_env", ", ".join(missing)) if missing else None


def hide(text: str, env: Mapping[str, str]) -> str:
    """Return ``text`` without the values of ``env``: errors of an API often quote the key."""
    # The longest first: one may be part of another.
    for value in sorted(env.values(), key=len, reverse=True):
        for secret in (value, value.strip(), repr(value)[1:-1]):
            if len(secret) >= MIN_SECRET:
                text = text.replace(secret, HIDDEN)
    return text


def log_error(
    logger: logging.Logger,
    env: Mapping[str, str],
    message: str,
    *args: object,
    error: BaseException,
) -> None:
    """Log ``message % args`` and ``error`` with its traceback, without the values of ``env``."""
    trace = "".join(traceback.format_exception(error)) if env else ""
    shown = hide(trace, env)
    if shown == trace:
        logger.error(message, *args, exc_info=error)
    else:
        # Without the exception itself, as a log handler may show its text and arguments.
        logger.error(f"{message}\n%s", *args, shown.rstrip())  # noqa: G004
