"""Names are shown as what they are, whoever made them up."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsessions.files.types import MAX_NAME, clean_name, suffix_of


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("Größe Übersicht.pdf", "Größe Übersicht.pdf"),
        ("日本語.txt", "日本語.txt"),
        (".env", ".env"),
        ("a b.txt", "a b.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\photo.png", "photo.png"),
        ("folder/", "folder"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("   ", "file"),
        ("///", "file"),
        ("\0", "file"),
        ("a\0b.txt", "ab.txt"),
        ("line\r\nbreak.txt", "line break.txt"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("\u200f\u200ea.txt", "a.txt"),
        ("\ufeffa.txt", "a.txt"),
        ("a\ud800.txt", "a.txt"),
        ("\u0645\u06cc\u200c\u062e\u0648.txt", "\u0645\u06cc\u200c\u062e\u0648.txt"),
        ("👩\u200d💻.png", "👩\u200d💻.png"),
        ("trailing. . ", "trailing"),
        ("e\u0301.txt", "é.txt"),
    ],
)
def test_a_name_is_cleaned(name: str, shown: str) -> None:
    assert clean_name(name) == shown


def test_a_long_name_keeps_its_ending() -> None:
    assert clean_name("a" * 5000 + ".txt") == "a" * (MAX_NAME - 4) + ".txt"
    assert len(clean_name("a." + "b" * 5000)) <= MAX_NAME


@given(st.text(alphabet=st.characters(), max_size=600))
def test_whatever_comes_can_be_stored_and_shown(name: str) -> None:
    shown = clean_name(name)
    assert 0 < len(shown) <= MAX_NAME
    assert "/" not in shown
    assert "\\" not in shown
    assert shown not in (".", "..")
    kinds = {unicodedata.category(char) for char in shown if char not in "\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()


def test_cleaning_twice_changes_nothing() -> None:
    for name in ("..a..b..", ". .x", "a\u202e.txt", "x" * 300 + ".é"):
        assert clean_name(clean_name(name)) == clean_name(name)


def test_the_ending_of_a_name() -> None:
    assert suffix_of("a.TXT") == ".txt"
    assert suffix_of("a.tar.gz") == ".gz"
    assert suffix_of("none") == suffix_of(".env") == suffix_of("a.") == ""
