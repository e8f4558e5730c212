"""Who asks over HTTP for a session, and what everybody else is answered."""

from __future__ import annotations

import logging

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse

from chatsessions.auth.access import Refused
from chatsessions.cluster.connect_request import User
from chatsessions.conf import settings
from chatsessions.handlers.chat import (
    Chat,
    find_chat,
)
from chatsessions.models import ChatSession
from chatsessions.storage.connections import (
    is_unmigrated,
    unavailable,
)
from chatsessions.storage.ids import parse_uuid
from chatsessions.storage.session import (
    Tokens,
    hash_token,
    is_owner,
)

logger = logging.getLogger("chatsessions.http")

#: The longest token that is looked at, in characters; the session's own are shorter.
MAX_TOKEN = 200
#: What is needed of the row; the values of a session may have a megabyte.
_COLUMNS = (
    "chat",
    "user_id",
    "token_hash",
    "previous_token_hash",
    "status",
    "end_reason",
    "disconnected_at",
)


def refusal(chat: Chat, user: User) -> Refused | None:
    """
    Why none of the chat's ways in lets ``user`` in, by login and permissions, if so.

    A chat that nothing serves in this process has none, and refuses nobody. Synchronous.
    """
    refused = None
    for access in list(chat.doors):
        try:
            access.check(user)
        except Refused as error:
            refused = error
        except DatabaseError:
            raise
        except Exception:
            logger.exception("The permissions of a user could not be looked at")
            refused = Refused("forbidden", "not allowed")
        else:
            return None
    return refused


def status_of(refused: Refused) -> int:
    """The status of an answer that says so."""
    return 401 if refused.code == "unauthorized" else 403


def session_of(request: HttpRequest, session_id: str) -> tuple[ChatSession, bool] | None:
    """
    The session, and whether the request has its token, if the request comes from its client.

    The rule is that of ``hello``: the user is the session's owner (all anonymous users count as
    the same), and is logged in or has a valid token. A token alone does not do for the session
    of a logged-in user: it would outlive the logout. None for anybody else's session as for one
    that is not there. Raises ``Refused`` if the chat is not open to its client any more, or if it
    cannot be known who that is.
    """
    # Asked for in any case: it decides about a header of the answer, which would tell the rest.
    user, is_authenticated = user_of(request)
    pk = parse_uuid(session_id)
    if pk is None:
        return None
    rows = ChatSession.objects.using(settings.DATABASE).only(*_COLUMNS)
    session = rows.filter(pk=pk).first()
    if session is None or not is_owner(session.user_id, user):
        return None
    tokens = Tokens(session.token_hash, session.previous_token_hash)
    token = bearer_token(request)
    has_token = token is not None and tokens.accept(hash_token(token))
    if not has_token and not is_authenticated:
        return None
    refused = refusal(find_chat(session.chat), user)
    if refused is not None:
        raise refused
    return session, has_token


def client_session(
    request: HttpRequest, session_id: str
) -> tuple[ChatSession, bool] | JsonResponse:
    """What :func:`session_of` finds, or what a request is answered that gets nothing."""
    try:
        found = session_of(request, session_id)
    except (Refused, DatabaseError) as error:
        return not_served(error)
    return not_found() if found is None else found


def not_served(error: Refused | DatabaseError) -> JsonResponse:
    """The answer to a request of somebody who is not let in, or who cannot be looked up."""
    if isinstance(error, Refused):
        return problem(status_of(error), error.code, error.detail)
    if is_unmigrated(error):
        return problem(503, *unavailable(error, "What a request needs could not be looked up"))
    logger.error("What a request needs could not be looked up", exc_info=error)
    return problem(503, "storage_unavailable", "It could not be looked up; try again.")


def user_of(request: HttpRequest) -> tuple[User, bool]:
    """
    Whoever asks, and whether they are logged in.

    Raises ``Refused`` if an authentication backend fails, and what the database raises.
    """
    try:
        user = getattr(request, "user", None) or AnonymousUser()
        return user, bool(user.is_authenticated)
    except DatabaseError:
        raise
    except Exception as error:
        logger.exception("The user of a request could not be looked up: nobody comes in")
        raise Refused("forbidden", "not allowed") from error


def bearer_token(request: HttpRequest) -> str | None:
    """The token of an ``Authorization: Bearer`` header; None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()[:MAX_TOKEN]
    return token if scheme.lower() == "bearer" and token else None


def problem(status: int, code: str, detail: str, **headers: str) -> JsonResponse:
    """An answer that says what went wrong."""
    headers["Cache-Control"] = "no-store"
    return JsonResponse({"error": code, "detail": detail}, status=status, headers=headers)


def not_found() -> JsonResponse:
    """One answer for what is not there and for what is not the client's, to the byte."""
    return problem(404, "not_found", "There is nothing here, or nothing of yours.")


def not_allowed(*methods: str) -> JsonResponse:
    """The URL is there, and is not for this method."""
    allow = ", ".join(methods)
    return problem(405, "method_not_allowed", f"Use {allow}.", Allow=allow)
