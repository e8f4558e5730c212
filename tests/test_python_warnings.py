"""What Python warns of is heard under daphne, too."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest
from twisted.logger import LogBeginner, LogPublisher

from chatsessions.workers.shutdown import hear_warnings


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    shows = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield
    logging.captureWarnings(False)
    warnings.showwarning = shows


def test_what_twisted_takes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As daphne begins Twisted's log: for nobody."""
    beginner = LogBeginner(LogPublisher(), io.StringIO(), sys, warnings)
    beginner.beginLoggingTo([lambda _: None], redirectStandardIO=False)
    warnings.warn("coroutine 'Message.send' was never awaited", RuntimeWarning, stacklevel=1)
    assert caplog.records == []
    hear_warnings()
    warnings.warn("coroutine 'Message.send' was never awaited", RuntimeWarning, stacklevel=1)
    [record] = caplog.records
    assert record.name == "py.warnings"
    assert "never awaited" in record.getMessage()


def test_what_others_hear_is_left_to_them(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[object] = []
    warnings.showwarning = lambda *args, **_: heard.append(args[0])
    hear_warnings()
    warnings.warn("something", RuntimeWarning, stacklevel=1)
    assert len(heard) == 1
    assert caplog.records == []
