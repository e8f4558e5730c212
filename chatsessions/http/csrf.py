"""Django's protection against forged requests, for views that answer in JSON."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware


class _CsrfCheck(CsrfViewMiddleware):
    """Django's check, which tells why it refuses instead of answering with a page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def csrf_problem(request: HttpRequest) -> str | None:
    """
    Why Django's CSRF check refuses the request; None if it does not.

    For a browser that is logged in, which sends its cookie on anybody's behalf. Who has the
    session's token needs no check: no other site has it. Synchronous.
    """
    check = _CsrfCheck(lambda _request: HttpResponse())
    check.process_request(request)
    reason: Any = check.process_view(request, None, (), {})  # type: ignore[arg-type]  # no view
    return None if reason is None else str(reason)
