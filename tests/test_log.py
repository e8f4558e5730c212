"""A log's topic: one line, which fits its column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsessions.storage.log import MAX_TOPIC, topic_of


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("", ""),
        (" \n\t", ""),
        ("one\ntwo\x00\x1b[0m", "one two[0m"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 99 + "…"),
        ("half \ud800 a pair", "half ? a pair"),
    ],
)
def test_a_topic_is_one_line(text: str, topic: str) -> None:
    assert topic_of(text) == topic


@given(st.text())
def test_a_topic_fits_and_can_be_stored(text: str) -> None:
    topic = topic_of(text)
    assert len(topic) <= MAX_TOPIC
    assert "\0" not in topic
    topic.encode()
