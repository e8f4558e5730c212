"""
What type a file is.

That of its name's ending, as Python's ``mimetypes`` knows it, or what the client says of a name
without one. Only pictures are looked into: they alone are shown by a browser, so of them alone the
content decides.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable

from chatsessions.exceptions import FileRefused

from .names import suffix_of

#: Bytes from the beginning of a file that its type is decided by.
HEAD = 16
#: Nothing is known of the type.
UNKNOWN = "application/octet-stream"

#: How the pictures begin that a browser only paints: no script in them runs, and no reference in
#: them is followed.
_SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "image/avif": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "image/bmp": re.compile(rb"BM.{4}\0{4}", re.DOTALL),
}
#: The types that are shown; all others are attachments.
RASTER = frozenset(_SIGNATURES)

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z")


def type_of(name: str, head: bytes, *, declared: str = "") -> str:
    """
    The type of a file, such as ``image/png``.

    ``name`` is cleaned, ``head`` the first ``HEAD`` bytes, ``declared`` what the client says.
    Raises ``FileRefused`` for one of ``RASTER`` by its name that is no such picture.
    """
    claimed = claimed_type(name, declared)
    if claimed and not claimed.startswith("image/"):
        return claimed
    found = raster_of(head)
    if claimed in RASTER and not found:
        raise FileRefused("type_mismatch", f"The content is not {claimed}.")
    return found or claimed or UNKNOWN


def claimed_type(name: str, declared: str) -> str:
    """What a file is by its name, or by the client's word; "" if neither says."""
    found = type_of_name(name) or normal_type(declared)
    return "" if found == UNKNOWN else found


def type_of_name(name: str) -> str:
    """The type that the ending of ``name`` stands for; "" if it stands for none."""
    # The ending alone: guess_type() reads URLs, and knows "a.png.gz" for a PNG that is packed.
    found, encoding = mimetypes.guess_type(f"x{suffix_of(name)}", strict=False)
    return "" if encoding else normal_type(found or "")


def raster_of(head: bytes) -> str:
    """Which of ``RASTER`` begins so; "" if none does."""
    return next((mime for mime, begins in _SIGNATURES.items() if begins.match(head)), "")


def normal_type(mime: str) -> str:
    """``mime`` in lower case and without parameters; "" if it is none."""
    bare = mime.split(";", 1)[0].strip().lower()
    return bare if len(bare) <= 100 and _MIME.match(bare) else ""


def accepts(patterns: Iterable[str], mime: str) -> bool:
    """Whether ``mime`` is one of ``patterns``, such as ``image/*``, ``text/csv`` or ``*/*``."""
    major = mime.split("/", 1)[0]
    return any(normal_type(one) == mime or one in ("*/*", f"{major}/*") for one in patterns)
