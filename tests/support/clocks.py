"""Clocks that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone


@contextmanager
def clock_off(minutes: int) -> Iterator[None]:
    """Move the clock of this process by ``minutes``; the database's clock stays right."""
    real = timezone.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: real() + timedelta(minutes=minutes))
        yield
