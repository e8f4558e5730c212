"""
A server under WSGI beside the workers: each line is posted as a message to ``session``.

The answer to each is a line of JSON: the status, and what was told.
"""

from __future__ import annotations

import json
import sys

import django

# Before anything that imports models.
django.setup()

from django.test import Client  # noqa: E402


def post(session: str, token: str, content: str) -> dict[str, object]:
    body = {"session": session, "token": token, "content": content}
    client = Client(headers={"host": "127.0.0.1"})
    response = client.post("/http/books/", body, content_type="application/json")
    return {"status": response.status_code, **response.json()}


if __name__ == "__main__":
    for line in sys.stdin:
        told = post(*sys.argv[1:], line.strip())
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
