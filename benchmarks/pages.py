"""
The admin's pages, timed in one process: ``python -m benchmarks.pages SESSION``.

Through Django's test client, without a server: what the page costs and not the line. Prints JSON,
by page: for each time that it was fetched, microseconds and the number of queries.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import django

HOST = "127.0.0.1"
#: How often each page is measured, after two fetches that import, compile and count queries.
TIMES = 7


def addresses(session: str) -> dict[str, str]:
    from django.contrib import admin
    from django.urls import reverse

    from chatsessions.models import ChatSession

    listed = reverse("admin:chatsessions_chatsession_changelist")
    per_page = admin.site.get_model_admin(ChatSession).list_per_page
    middle = ChatSession.objects.count() // per_page // 2 + 1
    return {
        "list": listed,
        # The page that is farthest from both ends of the list.
        "list, in the middle": f"{listed}?p={middle}",
        "list, by chat, in the middle": f"{listed}?o=3&p={middle}",
        "list, searched": f"{listed}?q=user42",
        "list, searched by a part of an id": f"{listed}?q={session[9:23]}",
        "list, filtered": f"{listed}?status=away",
        "list, those without failures": f"{listed}?failures=no",
        "session": reverse("admin:chatsessions_chatsession_change", args=[session]),
    }


def measure(client: Any, address: str) -> list[dict[str, float]]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        _fetch(client, address)
        count = len(queries.captured_queries)
    rounds = []
    for _ in range(TIMES):
        started, cpu = time.perf_counter(), time.process_time()
        _fetch(client, address)
        rounds.append(
            {
                "time": (time.perf_counter() - started) * 1e6,
                "cpu": (time.process_time() - cpu) * 1e6,
                "queries": count,
            }
        )
    return rounds


def _fetch(client: Any, address: str) -> None:
    response = client.get(address)
    if response.status_code != 200:
        raise SystemExit(f"{address} was answered by {response.status_code}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("session", help="the id of the session whose page is fetched")
    options = parser.parse_args()
    django.setup()
    from django.contrib.auth import get_user_model
    from django.test import Client

    admin, _ = get_user_model().objects.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client(SERVER_NAME=HOST)
    client.force_login(admin)
    found = {}
    for name, address in addresses(options.session).items():
        _fetch(client, address)
        found[name] = measure(client, address)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
