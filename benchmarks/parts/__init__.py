"""The parts of the benchmark. ``--only NAME`` runs one of them."""

from __future__ import annotations

from . import admin, arrivals, bursts, held, log, messages, rows, settings, state, streams
from .part import Column, Part

__all__ = ["PARTS", "Column", "Part"]

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        messages.MESSAGES,
        messages.LATENCY,
        messages.THROUGHPUT,
        arrivals.PART,
        streams.PART,
        state.PART,
        rows.PART,
        admin.PART,
        held.PART,
        log.PART,
        settings.PART,
        bursts.PART,
    )
}
