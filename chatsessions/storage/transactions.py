"""The transaction that wraps a test, which the store's threads do not see into."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from chatsessions.conf import settings


def refuse_test_transaction() -> None:
    """
    Raise ``ImproperlyConfigured`` if this thread is in the transaction of a ``TestCase``.

    The store has threads and connections of its own: it would not find what the test has made, and
    would wait for the locks of its transaction until it gives up.
    """
    blocks: list[Any] = connections[settings.DATABASE].atomic_blocks
    if any(block._from_testcase for block in blocks):
        raise ImproperlyConfigured(
            "This test runs in a transaction, and the sessions' store does not see what is in it. "
            "Use django.test.TransactionTestCase instead of TestCase; with pytest-django mark the "
            "test with @pytest.mark.django_db(transaction=True), or take the chat_communicator "
            "fixture."
        )


async def arefuse_test_transaction() -> None:
    """
    :func:`refuse_test_transaction` for asynchronous code.

    The transaction may be that of the thread in which synchronous code runs, as in a ``TestCase``,
    or that of the event loop's own thread, as with pytest-asyncio.
    """
    if "django.test.testcases" not in sys.modules:
        return
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)  # inside of a loop Django shows other connections
    try:
        refuse_test_transaction()
    finally:
        asyncio._set_running_loop(loop)
    await sync_to_async(refuse_test_transaction)()
