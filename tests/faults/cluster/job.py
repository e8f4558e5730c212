"""
A job beside the workers that streams into a session, as a task queue runs it.

``python -m tests.faults.cluster.job SESSION HOW``: until its input is closed, when it sends the
whole, or with ``raise`` fails.
"""

from __future__ import annotations

import sys
import threading
import time
from itertools import count

import django

# Before anything that imports models.
django.setup()

from chatsessions import Message, session_context, user_session  # noqa: E402


def main(session: str, how: str) -> None:
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    with session_context(session):
        user_session["before"] = 1
        message = Message()
        for number in count():
            message.stream_token(f"{number} ")
            time.sleep(0.05)
            if is_over.is_set():
                break
        if how == "raise":
            raise RuntimeError("on purpose")
        message.send()


if __name__ == "__main__":
    main(*sys.argv[1:])
