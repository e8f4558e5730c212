"""The crowd's websocket frames, beside those of a library that others use."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from benchmarks.wire import COMPRESSED, DEFLATE_END, TEXT, BenchmarkError, make_frame, parse_frames

#: One for each way to write a length, and its neighbours.
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000])


@given(st.lists(SIZES, max_size=5), st.data())
def test_frames_are_found_however_they_are_cut(sizes: list[int], data: st.DataObject) -> None:
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    stream = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    found: list[tuple[int, bytes]] = []
    rest = b""
    for start, end in pairwise([0, *cuts, len(stream)]):
        rest = parse_frames(rest + stream[start:end], lambda *frame: found.append(frame))
    assert found == [(TEXT, payload) for payload in payloads]
    assert rest == b""


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
def test_a_client_s_frame_is_masked_as_servers_demand(size: int) -> None:
    payload = b"x" * size
    frame = make_frame(payload)
    expected = Frame(Opcode.TEXT, payload).serialize(mask=False)
    head = len(expected) - len(payload)
    assert frame[0] == expected[0]
    assert frame[1:head] == bytes((expected[1] | 0x80,)) + expected[2:head]
    assert frame[head : head + 4] == b"\0\0\0\0"
    assert frame[head + 4 :] == payload


def test_a_compressed_frame_is_told_from_others() -> None:
    extension = PerMessageDeflate(
        remote_no_context_takeover=False,
        local_no_context_takeover=False,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )
    text = b"much of the same " * 20
    stream = Frame(Opcode.TEXT, text).serialize(mask=False, extensions=[extension])
    found: list[tuple[int, bytes]] = []
    assert parse_frames(stream, lambda *frame: found.append(frame)) == b""
    ((kind, payload),) = found
    assert kind == TEXT | COMPRESSED
    assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + DEFLATE_END) == text


def test_a_fragment_is_refused_rather_than_misread() -> None:
    stream = Frame(Opcode.TEXT, b"half", fin=False).serialize(mask=False)
    with pytest.raises(BenchmarkError, match="fragmented"):
        parse_frames(stream, lambda *frame: None)
