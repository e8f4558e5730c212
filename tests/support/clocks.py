"""Clocks that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone


@contextmanager
def clock_off(minutes: int) -> Iterator[None]:
    """This process' clock is wrong; the database's is not."""
    real = timezone.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: real() + timedelta(minutes=minutes))
        yield
