"""
A server under WSGI beside the workers: each line is a session, its token and a message to post.

The answer to each is a line of JSON: the status, and what was told. An empty line is answered by
an empty object, as soon as the process is there.
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
        told = post(*json.loads(line)) if line.strip() else {}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
