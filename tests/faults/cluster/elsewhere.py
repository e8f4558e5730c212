"""A worker that seems to run on another machine, whose clock is wrong."""

from __future__ import annotations

import socket
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone


def install() -> None:
    """What ``CLUSTER`` says of ``host`` and ``skew`` (seconds) is so from now on."""
    host = settings.CLUSTER.get("host")
    if host:
        # Nobody can look there whether its processes live.
        socket.gethostname = lambda: host
    skew = settings.CLUSTER.get("skew")
    if skew:
        _skew(skew)


def _skew(seconds: float) -> None:
    now, clock = timezone.now, time.time

    def skewed_now() -> datetime:
        return now() + timedelta(seconds=seconds)

    timezone.now = skewed_now
    time.time = lambda: clock() + seconds
