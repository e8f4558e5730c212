"""
What type a file is, by its content and by its name; and whether the two go together.

A table of our own, because what is wanted is not a guess: a claim that the content contradicts is
to be refused, and an honest file never. Libraries that guess give other answers from one version
to the next, and an answer for everything.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable

from .names import suffix_of

#: Bytes from the beginning of a file that its type is decided by.
HEAD = 8192
#: Nothing is known of the type.
UNKNOWN = "application/octet-stream"
PLAIN = "text/plain"
#: Pictures that a browser only paints: no script, no reference in them is followed.
RASTER = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"}
)

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z")
_PATTERN = re.compile(r"\*/\*\Z|[a-z0-9][a-z0-9!#$&^_.+-]*/(\*|[a-z0-9][a-z0-9!#$&^_.+-]*)\Z")

#: How contents begin: family, where, and the bytes.
_SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("png", 0, b"\x89PNG\r\n\x1a\n"),
    ("jpeg", 0, b"\xff\xd8\xff"),
    ("gif", 0, b"GIF87a"),
    ("gif", 0, b"GIF89a"),
    ("webp", 8, b"WEBP"),
    ("tiff", 0, b"II*\x00"),
    ("tiff", 0, b"MM\x00*"),
    ("ico", 0, b"\x00\x00\x01\x00"),
    ("psd", 0, b"8BPS\x00"),
    ("wav", 8, b"WAVEfmt"),
    ("avi", 8, b"AVI LIST"),
    ("flac", 0, b"fLaC\x00"),
    ("ogg", 0, b"OggS\x00"),
    ("mp3", 0, b"ID3\x02"),
    ("mp3", 0, b"ID3\x03"),
    ("mp3", 0, b"ID3\x04"),
    ("ebml", 0, b"\x1aE\xdf\xa3"),
    ("zip", 0, b"PK\x03\x04"),
    ("zip", 0, b"PK\x05\x06"),  # an empty one
    ("gzip", 0, b"\x1f\x8b\x08"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\x00"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("ole", 0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("rtf", 0, b"{\\rtf"),
    ("sqlite", 0, b"SQLite format 3\x00"),
    ("elf", 0, b"\x7fELF"),
    ("mach-o", 0, b"\xcf\xfa\xed\xfe"),
    ("java", 0, b"\xca\xfe\xba\xbe"),
    ("wasm", 0, b"\x00asm"),
    ("woff", 0, b"wOFF"),
    ("woff2", 0, b"wOF2"),
)

#: Of each family, the type that its content alone stands for.
_CANONICAL = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "ico": "image/x-icon",
    "bmp": "image/bmp",
    "psd": "image/vnd.adobe.photoshop",
    "avif": "image/avif",
    "heif": "image/heic",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "avi": "video/x-msvideo",
    "isom": "video/mp4",
    "ebml": "video/webm",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "7z": "application/x-7z-compressed",
    "rar": "application/vnd.rar",
    "rtf": "application/rtf",
    "sqlite": "application/vnd.sqlite3",
    "wasm": "application/wasm",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "exe": "application/vnd.microsoft.portable-executable",
    "elf": "application/x-executable",
    "mach-o": "application/x-executable",
    "java": "application/java-vm",
    "ole": "application/x-ole-storage",
}

_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."

#: Types whose content begins in one of these ways, without exception.
_BEGINS: dict[str, frozenset[str]] = {
    **{mime: frozenset({family}) for family, mime in _CANONICAL.items()},
    "audio/aiff": frozenset({"aiff"}),
    "image/avif": frozenset({"avif", "heif"}),
    "image/heif": frozenset({"heif"}),
    "video/mp4": frozenset({"isom"}),
    "audio/mp4": frozenset({"isom"}),
    "video/3gpp": frozenset({"isom"}),
    "video/quicktime": frozenset({"isom"}),
    "video/ogg": frozenset({"ogg"}),
    "audio/webm": frozenset({"ebml"}),
    "video/x-matroska": frozenset({"ebml"}),
    "application/msword": frozenset({"ole", "rtf"}),
    "application/vnd.ms-excel": frozenset({"ole"}),
    "application/vnd.ms-powerpoint": frozenset({"ole"}),
    f"{_OFFICE}wordprocessingml.document": frozenset({"zip"}),
    f"{_OFFICE}spreadsheetml.sheet": frozenset({"zip"}),
    f"{_OFFICE}presentationml.presentation": frozenset({"zip"}),
    f"{_OPEN}text": frozenset({"zip"}),
    f"{_OPEN}spreadsheet": frozenset({"zip"}),
    f"{_OPEN}presentation": frozenset({"zip"}),
    "application/epub+zip": frozenset({"zip"}),
    "application/java-archive": frozenset({"zip"}),
}
# An MP3 may begin in the middle of a frame, and what is executable has more than one beginning.
del _BEGINS["audio/mpeg"], _BEGINS["application/x-executable"]

#: Not ``text/…``, and text all the same.
_TEXTS = frozenset(
    {
        "application/json",
        "application/ld+json",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/yaml",
        "application/toml",
        "application/sql",
        "image/svg+xml",
    }
)

#: Other names that clients give to types.
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/x-aiff": "audio/aiff",
    "video/x-m4v": "video/mp4",
    "video/avi": "video/x-msvideo",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-rar-compressed": "application/vnd.rar",
    "text/rtf": "application/rtf",
    "application/javascript": "text/javascript",
    "application/x-javascript": "text/javascript",
    "application/xml": "text/xml",
}

#: Endings that the oldest supported Python does not know, or that servers see differently.
_SUFFIXES = {
    ".avif": "image/avif",
    ".bz2": "application/x-bzip2",
    ".docx": f"{_OFFICE}wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ico": "image/x-icon",
    ".jar": "application/java-archive",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".odp": f"{_OPEN}presentation",
    ".ods": f"{_OPEN}spreadsheet",
    ".odt": f"{_OPEN}text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": f"{_OFFICE}presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".svg": "image/svg+xml",
    ".tgz": "application/gzip",
    ".toml": "application/toml",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".7z": "application/x-7z-compressed",
}
#: TypeScript or a film: only the content can tell.
_AMBIGUOUS = frozenset({".ts", ".mts"})

#: Of this package alone: what a machine has in /etc/mime.types is not to make a difference.
_known_suffixes = mimetypes.MimeTypes()


class TypeMismatch(ValueError):
    """A file is not what its name, or whoever sends it, says it is."""

    def __init__(self, claimed: str, found: str) -> None:
        self.claimed = claimed
        self.found = found
        super().__init__(f"The content is not {claimed} but {found}.")


def type_of(name: str, head: bytes, *, declared: str = "") -> str:
    """
    The type of a file, such as ``image/png``.

    ``name`` is cleaned, ``head`` the first ``HEAD`` bytes, ``declared`` what the client says.
    Raises ``TypeMismatch`` if the content is not what the name says, or not the picture, sound,
    film or text that the client says.
    """
    by_name = type_of_name(name)
    said = normal_type(declared)
    if suffix_of(name) in _AMBIGUOUS:
        return PLAIN if _is_text(head) else "video/mp2t"
    if by_name:
        _check(by_name, head)
    if said and said != UNKNOWN and (not by_name or _is_shown(said)):
        _check(said, head)
    if by_name and not _is_recording(by_name, said):
        return by_name
    return said if said and said != UNKNOWN else type_of_content(head)


def type_of_name(name: str) -> str:
    """The type that the ending of ``name`` stands for; "" if it stands for none."""
    suffix = suffix_of(name)
    if suffix in _AMBIGUOUS:
        return ""
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    for known in (_known_suffixes.types_map[True], _known_suffixes.types_map[False]):
        if suffix in known:
            found = normal_type(known[suffix])
            return "" if found == UNKNOWN else found
    return ""


def type_of_content(head: bytes) -> str:
    """The type that the content alone stands for."""
    family = _family(head)
    if family is not None:
        return _CANONICAL.get(family, UNKNOWN)
    return PLAIN if _is_text(head) else UNKNOWN


def normal_type(mime: str) -> str:
    """``mime`` in lower case, without parameters and by its usual name; "" if it is none."""
    bare = mime.split(";", 1)[0].strip().lower()
    if len(bare) > 100 or not _MIME.match(bare):
        return ""
    return _ALIASES.get(bare, bare)


def accepts(patterns: Iterable[str], mime: str) -> bool:
    """Whether ``mime`` is one of ``patterns``, such as ``image/*``, ``text/csv`` or ``*/*``."""
    major = mime.split("/", 1)[0]
    return any(normal_type(one) == mime or one in ("*/*", f"{major}/*") for one in patterns)


def is_pattern(value: object) -> bool:
    """Whether ``value`` can be compared with types: ``image/*``, ``text/csv`` or ``*/*``."""
    return isinstance(value, str) and _PATTERN.match(value) is not None


def _is_shown(mime: str) -> bool:
    """
    Whether a wrong claim would be believed by whoever shows the file.

    Of other types clients know little: Windows, for one, calls a CSV file an Excel sheet.
    """
    return mime.startswith(("image/", "audio/", "video/", "text/"))


def _is_recording(by_name: str, said: str) -> bool:
    """Whether one ending stands for sound and film, and the client says which."""
    return said.startswith(("audio/", "video/")) and _BEGINS.get(said) == _BEGINS.get(by_name, "")


def _check(claimed: str, head: bytes) -> None:
    if not _may_be(claimed, head):
        raise TypeMismatch(claimed, type_of_content(head))


def _may_be(claimed: str, head: bytes) -> bool:
    family = _family(head)
    if claimed in _BEGINS:
        return family in _BEGINS[claimed]
    if claimed == "image/svg+xml":
        return _is_text(head) and b"<svg" in head.lower()
    if claimed.startswith("text/") or claimed in _TEXTS:
        return _is_text(head) and not head.startswith(b"%PDF-")
    if claimed.startswith(("image/", "audio/", "video/", "font/")):
        major = claimed.split("/", 1)[0]
        known = "" if family is None else _CANONICAL.get(family, "")
        other = family is not None and not known.startswith((f"{major}/", "video/"))
        return not other and not (claimed in ("audio/mpeg", "video/mp2t") and _is_text(head))
    return True


def _family(head: bytes) -> str | None:
    """How the content begins, if it is one of the ways known here."""
    for family, start, signature in _SIGNATURES:
        if head.startswith(signature, start):
            return family
    if head[4:8] == b"ftyp":
        return _isom(head[8:12])
    if head[4:8] in (b"moov", b"mdat", b"wide") and not head[0]:
        return "isom"  # QuickTime, of old
    if head[:1] == b"\xff" and head[1:2] in (b"\xfb", b"\xfa", b"\xf3", b"\xf2"):
        return "mp3"
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    # Two letters are also how a text may begin: a few bytes more have to fit.
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "bmp"
    if head.startswith(b"MZ") and b"\x00" in head[2:64]:
        return "exe"
    if b"%PDF-" in head[:1024]:  # readers allow for something before it
        return "pdf"
    return None


def _isom(brand: bytes) -> str:
    if brand in (b"avif", b"avis"):
        return "avif"
    heif = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    return "heif" if brand in heif else "isom"


def _is_text(head: bytes) -> bool:
    """Whether people could read it. Of what encoding is not asked, but for UTF-16 and UTF-32."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        return True
    if b"\x00" in head:
        return False
    # Texts have line ends, tabs and, from terminals, escapes and backspaces.
    odd = sum(byte < 0x20 and byte not in b"\t\n\r\f\b\x1b" for byte in head)
    if odd > len(head) // 100:
        return False
    return _family(head) in (None, "rtf", "pdf", "bzip2")
