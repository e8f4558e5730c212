"""
A process beside the workers, as a task queue has them: ``python -m … SESSION STEP [STEP …]``.

A step is ``emit:NAME:JSON``, ``set:KEY:JSON``, ``count:KEY`` (what is there, and one more) or
``end:REASON``.
"""

from __future__ import annotations

import json
import sys

import django

# Before anything that imports models.
django.setup()

from chatsessions import emit_to, end_session, session_context, user_session  # noqa: E402


def do(session: str, step: str) -> None:
    what, _, rest = step.partition(":")
    name, _, value = rest.partition(":")
    if what == "emit":
        emit_to(session, name, json.loads(value))
    elif what == "end":
        end_session(session, name)
    else:
        with session_context(session):
            if what == "set":
                user_session[name] = json.loads(value)
            else:
                user_session[name] = user_session.get(name, 0) + 1


if __name__ == "__main__":
    for one in sys.argv[2:]:
        do(sys.argv[1], one)
