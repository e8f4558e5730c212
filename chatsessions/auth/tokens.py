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
    What lets an anonymous client come back: 256 bits, as the random token of a session.

    With ``session_id`` it also says whose it is, for clients that have room for one word only.
    """
    token = secrets.token_urlsafe(32)
    return token if session_id is None else f"{session_id.hex}.{token}"


def token_after(used: str | None, session_id: UUID) -> str:
    """
    The token that a client of a session gets when it comes back with ``used``.

    Every connection that comes with the same token gets the same one, whichever worker it comes
    to and in whatever order: of connections that a client has given up, none can take a token
    from it that it got by another. Only the server can tell what follows a token: it needs the
    ``SECRET_KEY``. Without ``used`` it is a random one.
    """
    if used is None:
        return new_token()
    value = session_id.bytes + used.encode(errors="replace")
    digest = salted_hmac("chatsessions.token_after", value, algorithm="sha256").digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def session_of_token(token: str) -> str | None:
    """The session that a token says it belongs to, if it does."""
    found, dot, _ = token.partition(".")
    return found if dot else None


def hash_token(token: str) -> str:
    """What is stored of a token. A fast hash will do: there is nothing to guess in 256 bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Tokens:
    """
    The hashes of the tokens that are valid for a session; "" stands for none.

    ``previous`` is what the client came with last, ``current`` what it was given then. Both are
    valid until the client is heard on a connection that was given ``current``: a lost welcome
    locks nobody out, however many there are.
    """

    current: str
    previous: str

    def accept(self, token_hash: str | None) -> bool:
        """Whether the token with this hash is valid."""
        # Hashes of 256 random bits: comparing them in constant time would hide nothing.
        return bool(token_hash) and token_hash in (self.current, self.previous)

    def rotate(self, used: str | None, given: str) -> None:
        """Give the token hashed as ``given`` to a client that came with that of ``used``."""
        if given == self.current:
            return  # another connection has come with the same token
        if not (used and used == self.previous):
            self.previous = self.current
        self.current = given

    def confirm(self) -> bool:
        """Let only the current token be valid; return whether the other one was."""
        news = bool(self.previous)
        self.previous = ""
        return news
