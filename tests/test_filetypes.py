"""What type a file is: its name's or its client's word, but for pictures, which are looked into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsessions import FileRefused
from chatsessions.files.types import (
    HEAD,
    RASTER,
    UNKNOWN,
    accepts,
    normal_type,
    type_of,
    type_of_name,
)

from .support.files import HTML, PDF, PNG

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"
BMP = b"BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36"
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 "
AVIF = b"\x00\x00\x00\x18ftypavif\x00\x00"
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
EXE = b"MZ\x90\x00\x03\x00\x00\x00"


@pytest.mark.parametrize(
    ("name", "declared", "content", "mime"),
    [
        ("photo.png", "image/png", PNG, "image/png"),
        ("photo.JPG", "image/jpeg", JPEG, "image/jpeg"),
        ("anim.gif", "image/gif", b"GIF89a\x01\x00", "image/gif"),
        ("new.webp", "image/webp", WEBP, "image/webp"),
        ("new.avif", "image/avif", AVIF, "image/avif"),
        ("old.bmp", "image/x-ms-bmp", BMP, "image/bmp"),
        # A picture of another kind is the one that it is.
        ("photo.jpg", "image/jpeg", PNG, "image/png"),
        ("photo.tiff", "image/tiff", PNG, "image/png"),
        ("photo.tiff", "image/tiff", b"II*\x00", "image/tiff"),
        ("drawing.svg", "image/svg+xml", SVG, "image/svg+xml"),
        ("blob", "image/png", PNG, "image/png"),
        ("blob", "", PNG, "image/png"),
        ("weights.bin", "application/octet-stream", PNG, "image/png"),
        # Of anything else the name says what it is, and then the client.
        ("paper.pdf", "application/pdf", PDF, "application/pdf"),
        ("paper.pdf", "image/png", PNG, "application/pdf"),
        ("page.html", "image/png", PNG, "text/html"),
        ("notes.txt", "", b"BMW is no picture", "text/plain"),
        ("data.csv", "application/vnd.ms-excel", b"a;b\n", "text/csv"),
        ("photo.png.gz", "application/gzip", b"\x1f\x8b\x08", "application/gzip"),
        ("blob", "application/x-thing; a=b", b"\x00", "application/x-thing"),
        ("blob", "no type at all", b"\x00\x01\x02", UNKNOWN),
        ("blob", "", b"BMW is no picture", UNKNOWN),
        ("blob", "", HTML, UNKNOWN),
    ],
)
def test_the_type_of_a_file(name: str, declared: str, content: bytes, mime: str) -> None:
    assert type_of(name, content[:HEAD], declared=declared) == mime


@pytest.mark.parametrize(
    ("name", "declared", "content"),
    [
        ("photo.png", "image/png", HTML),
        ("photo.png", "text/html", HTML),
        ("photo.png", "", SVG),
        ("photo.jpg", "", EXE),
        ("anim.gif", "", PDF),
        ("old.bmp", "", b"BM<script>"),
        ("new.webp", "", b"RIFF\x24\x00\x00\x00WAVEfmt "),
        ("blob", "image/png", HTML),
        ("blob", "IMAGE/PNG; a=b", HTML),
        ("photo.png", "", b""),
    ],
)
def test_what_would_be_shown_and_is_no_picture_is_refused(
    name: str, declared: str, content: bytes
) -> None:
    with pytest.raises(FileRefused, match="The content is not image/"):
        type_of(name, content[:HEAD], declared=declared)


@given(
    st.text(max_size=40) | st.sampled_from(["a.png", "a.html", "a.svg", "a.gif", "data:image/png"]),
    st.binary(max_size=100) | st.sampled_from([PNG, JPEG, HTML, SVG]),
    st.text(max_size=40) | st.sampled_from(["image/png", "text/html", "image/svg+xml"]),
)
def test_only_a_picture_has_a_type_that_is_shown(name: str, content: bytes, declared: str) -> None:
    head = content[:HEAD]
    try:
        found = type_of(name, head, declared=declared)
    except FileRefused:
        return
    assert normal_type(found) == found
    assert len(found) <= 100
    if found in RASTER:
        assert type_of("", head) == found


def test_types_of_names() -> None:
    assert type_of_name("a.WEBP") == "image/webp"
    assert type_of_name("a.svgz") == type_of_name("a.tar.gz") == ""
    assert type_of_name("no-ending") == type_of_name(".env") == type_of_name("") == ""
    assert type_of_name("data:image/png,a.txt") == "text/plain"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("Text/Plain; charset=utf-8", "text/plain"),
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
    assert accepts(["text/csv", "IMAGE/JPEG"], "image/jpeg")
    assert accepts(["*/*"], "a/b")
    assert not accepts([], "a/b")
