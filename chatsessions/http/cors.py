"""CORS: pages of ``ALLOWED_ORIGINS`` may send requests, without cookies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from chatsessions.auth.origins import MAX_SHOWN, is_allowed
from chatsessions.conf import settings

logger = logging.getLogger("chatsessions.http")

View = TypeVar("View", bound=Callable[..., Any])

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-File-Name",
    "Access-Control-Max-Age": "600",
}


def cross_origin(view: View) -> View:
    """
    Let pages of ``ALLOWED_ORIGINS`` call the view and read its answers, by CORS.

    A preflight of any other origin is answered with 403, and the origin is logged.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _shared(request, _preflight(request) or view(request, *args, **kwargs))

    @wraps(view)
    async def aanswer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _shared(request, _preflight(request) or await view(request, *args, **kwargs))

    return cast(View, aanswer if iscoroutinefunction(view) else answer)


def _preflight(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a preflight request; None for other requests."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    origin = request.headers.get("Origin", "")
    if is_allowed(origin):
        return HttpResponse(status=204, headers=_PREFLIGHT)
    logger.warning(
        "A page of %r may not ask for %r (403): is its origin in CHATSESSIONS['ALLOWED_ORIGINS']?",
        origin[:MAX_SHOWN],
        request.path[:MAX_SHOWN],  # decoded: it may have line ends
    )
    refusal = "This origin is not in CHATSESSIONS['ALLOWED_ORIGINS'].\n"
    return HttpResponse(refusal, status=403, content_type="text/plain")


def _shared(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if settings.ALLOWED_ORIGINS:
        patch_vary_headers(response, ["Origin"])
    origin = request.headers.get("Origin", "")
    if is_allowed(origin):
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Expose-Headers"] = "Content-Disposition, Retry-After"
    return response
