"""
The name of a file, safe to show, and its type.

A storage never gets a name from a client. The type comes from the extension of the name, by
Python's ``mimetypes``, or else from the client. For pictures the content decides, as pictures are
the only files that a browser may show.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Iterable

from django.utils.translation import gettext

from chatsessions.exceptions import FileRefused

#: The name of a file whose own name has no visible character.
UNNAMED = "file"
#: The longest name; it is a column of the file's row.
MAX_NAME = 255
#: The longest extension that is kept when a name is shortened.
MAX_SUFFIX = 20

#: Control characters such as NUL; invisible characters, such as those that change the direction of
#: writing; lone surrogates; separators of lines and paragraphs.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
#: Invisible, too, but Persian words and many emoji need them.
_JOINERS = "\u200c\u200d"
#: How many of a file's first bytes are read to recognize a picture.
HEAD = 16
#: The type of a file about which nothing is known.
UNKNOWN = "application/octet-stream"

#: The first bytes of picture formats that cannot have scripts or references.
_SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "image/avif": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "image/bmp": re.compile(rb"BM.{4}\0{4}", re.DOTALL),
}
#: Types that a browser may show; files of all others are attachments.
RASTER = frozenset(_SIGNATURES)

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z")


# Names


def clean_name(name: str) -> str:
    """
    Return ``name`` without folders and invisible characters.

    It is never empty, has at most ``MAX_NAME`` characters, and keeps its extension.
    """
    # Only the end of a long name is normalized, as the time grows with the length.
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1][-8 * MAX_NAME :]
    shown = "".join(map(_shown, unicodedata.normalize("NFC", last)))
    words = " ".join(shown.split()).strip(". " + _JOINERS) if shown.strip(". ") else ""
    if not words:
        return UNNAMED
    # Names such as ".env" keep their dot.
    return _shortened(f".{words}" if shown.lstrip().startswith(".") else words)


def suffix_of(name: str) -> str:
    """Return the extension of a cleaned name, with its dot and in lower case; "" if none."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem and ending else ""


def _shown(char: str) -> str:
    if char in _JOINERS:
        return char
    if char in "\t\n\r":
        return " "
    return "" if unicodedata.category(char) in _INVISIBLE else char


def _shortened(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    suffix = name[len(name) - len(suffix_of(name)) :]
    if len(suffix) > MAX_SUFFIX:
        suffix = ""
    return name[: MAX_NAME - len(suffix)] + suffix


# Types


def type_of(name: str, head: bytes, *, declared: str = "") -> str:
    """
    Return the type of a file, such as ``image/png``.

    ``name`` is a cleaned name, ``head`` the first ``HEAD`` bytes, ``declared`` the client's type.
    Raises ``FileRefused`` for a file that claims a type of ``RASTER`` and is no picture.
    """
    claimed = claimed_type(name, declared)
    if claimed and not claimed.startswith("image/"):
        return claimed
    found = raster_of(head)
    if claimed in RASTER and not found:
        raise FileRefused(
            "type_mismatch", gettext("The content is not %(type)s.") % {"type": claimed}
        )
    return found or claimed or UNKNOWN


def claimed_type(name: str, declared: str) -> str:
    """Return the type by the name, or else the client's; "" if neither is known."""
    found = type_of_name(name) or normal_type(declared)
    return "" if found == UNKNOWN else found


def type_of_name(name: str) -> str:
    """Return the type by the extension of ``name``; "" if that is not known."""
    # Only the extension: guess_type() also parses URLs, and takes "a.png.gz" for a PNG.
    found, encoding = mimetypes.guess_type(f"x{suffix_of(name)}", strict=False)
    return "" if encoding else normal_type(found or "")


def raster_of(head: bytes) -> str:
    """Return the type of ``RASTER`` whose files begin like ``head``; "" if there is none."""
    return next((mime for mime, begins in _SIGNATURES.items() if begins.match(head)), "")


def normal_type(mime: str) -> str:
    """Return ``mime`` in lower case and without parameters; "" if it is not valid."""
    bare = mime.split(";", 1)[0].strip().lower()
    return bare if len(bare) <= 100 and _MIME.match(bare) else ""


def accepts(patterns: Iterable[str], mime: str) -> bool:
    """Return True if ``mime`` matches one of ``patterns``, such as ``image/*`` or ``text/csv``."""
    major = mime.split("/", 1)[0]
    return any(normal_type(one) == mime or one in ("*/*", f"{major}/*") for one in patterns)
