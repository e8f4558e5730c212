"""The tokens by which anonymous clients come back to their sessions."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from uuid import UUID

from django.utils.crypto import salted_hmac


def new_token(session_id: UUID | None = None) -> str:
    """
    Return a random token of 256 bits, by which an anonymous client comes back to its session.

    With ``session_id`` the token also names the session, for clients that send only one word.
    """
    token = secrets.token_urlsafe(32)
    return token if session_id is None else f"{session_id.hex}.{token}"


def token_after(used: str | None, session_id: UUID) -> str:
    """
    Return the token that a client gets when it comes back to a session with the token ``used``.

    All connections that come with the same token get the same next token, at every worker and in
    any order. So a connection that the client has given up cannot make the token invalid that
    another connection was given. Only the server can compute the next token: it takes the
    ``SECRET_KEY``. Without ``used`` the token is random.
    """
    if used is None:
        return new_token()
    value = session_id.bytes + used.encode(errors="replace")
    digest = salted_hmac("chatsessions.token_after", value, algorithm="sha256").digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def session_of_token(token: str) -> str | None:
    """Return the session that a token names, if it names one."""
    found, dot, _ = token.partition(".")
    return found if dot else None


def hash_token(token: str) -> str:
    """Return the hash of a token, to be stored. It may be fast: nobody guesses 256 bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Tokens:
    """
    The hashes of a session's two valid tokens; "" stands for none.

    ``previous`` is the token that the client came with last, ``current`` the one that it was given
    then. Both are valid until the client is heard on a connection that was given ``current``, so
    that a client is not locked out if welcomes get lost.
    """

    current: str
    previous: str

    def accept(self, token_hash: str | None) -> bool:
        """Return True if the token with this hash is valid."""
        # These are hashes of 256 random bits: a comparison in constant time would hide nothing.
        return bool(token_hash) and token_hash in (self.current, self.previous)

    def rotate(self, used: str | None, given: str) -> None:
        """Note that a client which came with the token ``used`` was given the token ``given``."""
        if given == self.current:
            return  # another connection has come with the same token
        if not (used and used == self.previous):
            self.previous = self.current
        self.current = given

    def confirm(self) -> bool:
        """Make the previous token invalid; return whether it was valid."""
        news = bool(self.previous)
        self.previous = ""
        return news
