"""How long the scenarios go on: with a few known seeds, or with many new ones (``make faults``)."""

from __future__ import annotations

import os
import random

#: With many seeds that nobody has tried.
LONG = os.environ.get("CHATSESSIONS_FAULTS") == "long"
#: What all seeds of the run follow from; to be given again to repeat it.
FIRST_SEED = int(
    os.environ.get("CHATSESSIONS_FAULTS_SEED") or random.SystemRandom().randrange(10**6)
)
# Processes of one run have one seed.
os.environ["CHATSESSIONS_FAULTS_SEED"] = str(FIRST_SEED)
#: Seeds of a scenario that does not say how many it is worth.
SEEDS = 4


def seeds(count: int, *, everyday: int = 1, known: tuple[int, ...] = ()) -> list[int]:
    """
    Of one scenario: ``count`` of a long run, of every other ``everyday``.

    ``known`` are those that have found something once; every run has them.
    """
    first = FIRST_SEED if LONG else 1
    found = [*known, *range(first, first + (count if LONG else everyday))]
    return list(dict.fromkeys(found))
