"""What type a file is: honest files keep theirs, and a claim that the content denies is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsessions.files.types import (
    HEAD,
    UNKNOWN,
    TypeMismatch,
    accepts,
    is_pattern,
    normal_type,
    type_of,
    type_of_name,
)

from .support.files import HTML, PDF, PNG

ZIP = b"PK\x03\x04\x14\x00\x06\x00"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00"
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00"
AVIF = b"\x00\x00\x00\x18ftypavif\x00\x00"
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EXE = b"MZ\x90\x00\x03\x00\x00\x00"

HONEST = [
    ("photo.png", "image/png", PNG, "image/png"),
    ("photo.JPG", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
    ("anim.gif", "image/gif", b"GIF89a\x01\x00", "image/gif"),
    ("new.webp", "image/webp", b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
    ("phone.heic", "image/heic", HEIC, "image/heic"),
    ("new.avif", "", AVIF, "image/avif"),
    ("old.bmp", "image/x-ms-bmp", b"BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36", "image/bmp"),
    ("drawing.svg", "image/svg+xml", SVG, "image/svg+xml"),
    ("paper.pdf", "application/pdf", PDF, "application/pdf"),
    ("paper.pdf", "application/pdf", b"junk before\n" + PDF, "application/pdf"),
    ("sheet.xlsx", XLSX, ZIP, XLSX),
    ("letter.doc", "application/msword", OLE, "application/msword"),
    ("letter.doc", "application/msword", b"{\\rtf1 hello}", "application/msword"),
    ("a.zip", "application/x-zip-compressed", ZIP, "application/zip"),
    ("a.tar.gz", "application/x-gzip", b"\x1f\x8b\x08\x00", "application/gzip"),
    ("song.mp3", "audio/mp3", b"ID3\x04\x00", "audio/mpeg"),
    ("song.mp3", "audio/mpeg", b"\xff\xfb\x90\x64\x00", "audio/mpeg"),
    ("song.mp3", "audio/mpeg", b"\x00\x00\x00 from the middle of a frame", "audio/mpeg"),
    ("voice.wav", "audio/x-wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
    ("film.mp4", "video/mp4", MP4, "video/mp4"),
    ("film.mov", "video/quicktime", b"\x00\x00\x00\x08wide\x00", "video/quicktime"),
    ("voice.webm", "audio/webm", WEBM, "audio/webm"),
    ("film.webm", "video/webm", WEBM, "video/webm"),
    ("notes.txt", "text/plain", b"hello", "text/plain"),
    ("notes.txt", "text/plain", HTML, "text/plain"),
    ("notes.txt", "", b"BMW and MZ are no pictures, BZh neither", "text/plain"),
    ("old.txt", "text/plain", "Größe".encode("latin-1"), "text/plain"),
    ("wide.txt", "text/plain", "wide".encode("utf-16"), "text/plain"),
    ("terminal.log", "", b"\x1b[31mred\x1b[0m\r\n", "text/plain"),
    ("data.csv", "application/vnd.ms-excel", b"a;b\n1;2\n", "text/csv"),
    ("data.json", "application/json", b"{}", "application/json"),
    ("page.html", "text/html", HTML, "text/html"),
    ("readme.md", "", b"# Hello", "text/markdown"),
    ("code.ts", "video/vnd.dlna.mpeg-tts", b"const a: number = 1;", "text/plain"),
    ("film.ts", "video/mp2t", b"\x47\x40\x00\x10\x00\x00", "video/mp2t"),
    ("model.bin", "application/octet-stream", bytes(100), UNKNOWN),
    ("weights.bin", "", ZIP, "application/zip"),
    ("blob", "image/png", PNG, "image/png"),
    ("blob", "", PNG, "image/png"),
    ("about.md", "", b"A PDF begins with %PDF-1.7, a program with MZ.", "text/markdown"),
    ("Makefile", "", b"all:\n\techo", "text/plain"),
    ("blob", "no type at all", b"\x00\x01\x02", UNKNOWN),
]


@pytest.mark.parametrize(("name", "declared", "content", "mime"), HONEST)
def test_an_honest_file_keeps_its_type(name: str, declared: str, content: bytes, mime: str) -> None:
    assert type_of(name, content[:HEAD], declared=declared) == mime


LIES = [
    ("photo.png", "image/png", HTML),
    ("photo.png", "image/png", EXE),
    ("photo.png", "image/png", b"\xff\xd8\xff\xe0"),
    ("photo.png", "", SVG),
    ("photo.png", "text/html", PNG),
    ("page.html", "image/png", HTML),
    ("blob", "image/png", HTML),
    ("notes.txt", "", PNG),
    ("notes.txt", "", EXE),
    ("notes.txt", "", PDF),
    ("data.csv", "", ZIP),
    ("data.json", "", bytes(10)),
    ("script.js", "", b"\x7fELF\x02"),
    ("paper.pdf", "", HTML),
    ("sheet.xlsx", "", HTML),
    ("sheet.xls", "", b"<table>"),
    ("drawing.svg", "", HTML),
    ("drawing.svg", "", PNG),
    ("song.mp3", "", HTML),
    ("song.mp3", "", PNG),
    ("film.mp4", "", HTML),
    ("phone.heic", "", MP4),
    ("a.zip", "", b"Rar!\x1a\x07\x00"),
]


@pytest.mark.parametrize(("name", "declared", "content"), LIES)
def test_a_claim_that_the_content_denies_is_refused(
    name: str, declared: str, content: bytes
) -> None:
    with pytest.raises(TypeMismatch, match="The content is not "):
        type_of(name, content, declared=declared)


@given(st.text(max_size=40), st.binary(max_size=100), st.text(max_size=40))
def test_whatever_comes_has_a_type_or_is_refused(name: str, head: bytes, declared: str) -> None:
    try:
        found = type_of(name, head, declared=declared)
    except TypeMismatch:
        return
    assert normal_type(found) == found
    assert len(found) <= 100


def test_types_of_names_do_not_depend_on_the_machine() -> None:
    assert type_of_name("a.WEBP") == "image/webp"
    assert type_of_name("setup.exe") == ""
    assert type_of_name("no-ending") == type_of_name(".env") == type_of_name("") == ""


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("image/jpg", "image/jpeg"),
        ("application/xml", "text/xml"),
        ("text/plain\r\nX-Evil: 1", ""),
        ("nonsense", ""),
        ("a/" + "b" * 100, ""),
        ("../..", ""),
    ],
)
def test_a_type_is_written_in_one_way(given: str, normal: str) -> None:
    assert normal_type(given) == normal


def test_patterns() -> None:
    assert accepts(["image/*"], "image/png")
    assert not accepts(["image/*"], "imagex/png")
    assert accepts(["text/csv", "image/jpg"], "image/jpeg")
    assert accepts(["*/*"], "a/b")
    assert not accepts([], "a/b")
    good, bad = (
        ["image/*", "*/*", "text/csv"],
        ["*", "image", "*/png", "image/", "/png", "", 1, None],
    )
    assert all(map(is_pattern, good))
    assert not any(map(is_pattern, bad))
