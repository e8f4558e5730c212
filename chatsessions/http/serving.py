"""By which worker a request is served, under ASGI and WSGI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from chatsessions.storage.transactions import arefuse_test_transaction
from chatsessions.workers.limits import (
    SHARED,
    Limits,
)
from chatsessions.workers.worker import (
    get_worker,
    visiting,
)


@asynccontextmanager
async def serving(request: HttpRequest) -> AsyncIterator[None]:
    """
    Under ASGI the worker stays; under WSGI the event loop ends with the request, and so it.

    Raises ``ImproperlyConfigured`` in a test that runs in a transaction.
    """
    await arefuse_test_transaction()
    if isinstance(request, ASGIRequest):
        get_worker().serve()
        yield
    else:
        async with visiting() as worker:
            worker.limits = SHARED
            yield


def limits_of(request: HttpRequest) -> Limits:
    """By what the requests of a client are counted."""
    return get_worker().limits if isinstance(request, ASGIRequest) else SHARED
