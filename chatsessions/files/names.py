"""The names of files, as people may be shown them. No name from a client reaches a storage."""

from __future__ import annotations

import unicodedata

#: What a file is called whose name has nothing to show.
UNNAMED = "file"
#: The longest name that is kept; it is a column of the file's row.
MAX_NAME = 255
#: The longest ending that a shortened name keeps.
MAX_SUFFIX = 20

#: Control characters, such as NUL; what writes from right to left, and other invisible signs;
#: halves of surrogate pairs; separators of lines and paragraphs.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
#: Invisible as well, but Persian words and many emoji are other ones without them.
_JOINERS = "\u200c\u200d"


def clean_name(name: str) -> str:
    """
    ``name`` without folders, and without characters that are not what they look like.

    Never empty, at most ``MAX_NAME`` characters; its ending stays.
    """
    # Of what is too long only the end can matter. Normalizing costs with the length.
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1][-8 * MAX_NAME :]
    shown = "".join(map(_shown, unicodedata.normalize("NFC", last)))
    words = " ".join(shown.split()).strip(". " + _JOINERS) if shown.strip(". ") else ""
    if not words:
        return UNNAMED
    # A name of settings, such as ".env", begins with its dot.
    return _shortened(f".{words}" if shown.lstrip().startswith(".") else words)


def suffix_of(name: str) -> str:
    """The ending of a cleaned name, with its dot and in lower case; "" if it has none."""
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
