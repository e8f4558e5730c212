"""The slices of an upload, read as the one file that they make."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chatsessions.files.joined import JoinedSlices
from chatsessions.files.storage import SessionStorage


@pytest.fixture(autouse=True)
def own_storage(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


def stored(content: bytes, slice_bytes: int) -> list[str]:
    parts = [content[at : at + slice_bytes] for at in range(0, len(content), slice_bytes)]
    return [SessionStorage().save("part", ContentFile(part)) for part in parts]


def joined(content: bytes, slice_bytes: int, opened: Any = lambda: None) -> JoinedSlices:
    keys = stored(content, slice_bytes)
    return JoinedSlices(keys, slice_bytes=slice_bytes, size=len(content), opened=opened)


STEPS = st.lists(
    st.tuples(st.just("read"), st.integers(-1, 60))
    | st.tuples(st.just("seek"), st.integers(0, 60), st.just(0))
    | st.tuples(st.just("seek"), st.integers(0, 20), st.just(1))
    | st.tuples(st.just("seek"), st.integers(-40, 10), st.just(2)),
    max_size=12,
)


@given(content=st.binary(max_size=50), slice_bytes=st.integers(1, 60), steps=STEPS)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_it_reads_and_seeks_as_one_file_does(
    content: bytes, slice_bytes: int, steps: list[tuple[Any, ...]]
) -> None:
    expected = io.BytesIO(content)
    with io.BufferedReader(joined(content, slice_bytes), 8) as found:
        for name, *arguments in steps:
            if name == "seek" and arguments[1] == 2 and len(content) + arguments[0] < 0:
                continue  # a position before the beginning is an error in one of them
            assert getattr(found, name)(*arguments) == getattr(expected, name)(*arguments)
            assert found.tell() == expected.tell()


def test_one_slice_is_open_at_a_time_and_each_once() -> None:
    opened: list[None] = []
    with joined(b"abcdefgh", 3, opened=lambda: opened.append(None)) as found:
        assert [found.read(2) for _ in range(5)] == [b"ab", b"c", b"de", b"f", b"gh"]
    assert len(opened) == 3


def test_a_slice_that_is_cut_is_no_end_of_the_file() -> None:
    keys = stored(b"abcdef", 3)
    Path(SessionStorage().path(keys[0])).write_bytes(b"ab")
    with (
        JoinedSlices(keys, slice_bytes=3, size=6, opened=lambda: None) as found,
        pytest.raises(OSError, match="ends before byte 2 of 6"),
    ):
        found.readall()


def test_what_a_slice_has_too_much_is_not_read() -> None:
    keys = stored(b"abcdef", 3)
    Path(SessionStorage().path(keys[0])).write_bytes(b"abcXYZ")
    with JoinedSlices(keys, slice_bytes=3, size=6, opened=lambda: None) as found:
        assert found.readall() == b"abcdef"
