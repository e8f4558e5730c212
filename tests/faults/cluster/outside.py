"""
A process beside the workers, which reaches sessions as a task queue or a server under WSGI does.

A line is ``emit SESSION NAME JSON``, ``count SESSION KEY`` (what is there, and one more), ``end
SESSION REASON`` or ``post SESSION TOKEN CONTENT``; the answer to each is a line: for a post the
status and what was told, as JSON; ``ok`` or what was raised for the others. An empty line is
answered by ``ok``, as soon as the process is there.
"""

from __future__ import annotations

import json
import sys

import django

# Before anything that imports models.
django.setup()

from django.test import Client  # noqa: E402

from chatsessions import emit_to, end_session, session_context, user_session  # noqa: E402


def do(what: str = "", session: str = "", name: str = "", value: str = "") -> str:
    if what == "emit":
        emit_to(session, name, json.loads(value))
    elif what == "count":
        with session_context(session):
            user_session[name] = user_session.get(name, 0) + 1
    elif what == "end":
        end_session(session, name)
    elif what == "post":
        return post(session, token=name, content=value)
    return "ok"


def post(session: str, *, token: str, content: str) -> str:
    body = {"session": session, "token": token, "content": content}
    client = Client(headers={"host": "127.0.0.1"})
    response = client.post("/http/books/", body, content_type="application/json")
    return json.dumps({"status": response.status_code, **response.json()})


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            said = do(*line.split())
        except Exception as error:
            said = repr(error)
        sys.stdout.write(f"{said}\n")
        sys.stdout.flush()
