"""Small files of several types, requests that upload files, and the contents of the storage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.http import HttpResponse
from django.test import Client

from chatsessions.auth.access import hash_token, new_token
from chatsessions.files.storage import ChatFile
from chatsessions.models import ChatSession
from chatsessions.storage.files import store

from .storage import session_row


def png(width: int = 1, height: int = 1) -> bytes:
    """Return a red picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\x00" + b"\xff\x00\x00" * width) * height)
    parts = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


PNG = png()
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"
HTML = b"<!doctype html><script>alert(1)</script>"


def token_session(**fields: Any) -> tuple[ChatSession, str]:
    """Store a session; return its row, and the token of its client."""
    token = new_token()
    return session_row(token_hash=hash_token(token), **fields), token


def stored_file(
    session: ChatSession,
    content: bytes = b"hello",
    name: str = "notes.txt",
    mime: str = "text/plain",
) -> ChatFile:
    """Store a file of ``session``, and return it."""
    return store(session.pk, ContentFile(content), name=name, mime=mime)


def files_url(session: ChatSession | object, file_id: object = "") -> str:
    pk = session.pk if isinstance(session, ChatSession) else session
    return f"/chats/{pk}/files/" + (f"{file_id}/" if file_id else "")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def upload_body(
    client: Client,
    session: ChatSession,
    token: str,
    content: bytes,
    *,
    name: str = "notes.txt",
    mime: str = "text/plain",
) -> HttpResponse:
    """Upload ``content`` as the body of the request."""
    headers = bearer(token) | {"X-File-Name": quote(name, errors="replace")}
    url = files_url(session)
    return client.post(url, content, content_type=mime, headers=headers)  # type: ignore[return-value]


def storage_root() -> Path:
    """Return the folder in which the storage of the test settings keeps sessions' files."""
    return Path(django_settings.MEDIA_ROOT) / "chatsessions"


def contents() -> set[str]:
    """Return the paths of the files in the storage, below its root."""
    root = storage_root()
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
