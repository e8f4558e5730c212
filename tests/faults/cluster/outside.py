"""
A process beside the workers, as a task queue has them: it does a session's steps, line by line.

A line is ``emit NAME JSON``, ``count KEY`` (what is there, and one more) or ``end REASON``; the
answer to each is a line, ``ok`` or what was raised.
"""

from __future__ import annotations

import json
import sys

import django

# Before anything that imports models.
django.setup()

from chatsessions import emit_to, end_session, session_context, user_session  # noqa: E402


def do(session: str, what: str, name: str, value: str = "") -> None:
    if what == "emit":
        emit_to(session, name, json.loads(value))
    elif what == "end":
        end_session(session, name)
    else:
        with session_context(session):
            user_session[name] = user_session.get(name, 0) + 1


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            do(sys.argv[1], *line.split())
        except Exception as error:
            sys.stdout.write(f"{error!r}\n")
        else:
            sys.stdout.write("ok\n")
        sys.stdout.flush()
