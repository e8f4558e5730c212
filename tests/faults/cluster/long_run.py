"""How long the scenarios go on: each once with a known seed, or many times (``make faults``)."""

from __future__ import annotations

import os
import random

#: Half an hour, with seeds that nobody has tried.
LONG = os.environ.get("CHATSESSIONS_FAULTS") == "long"
#: What all seeds of the run follow from; to be given again to repeat it.
FIRST_SEED = int(
    os.environ.get("CHATSESSIONS_FAULTS_SEED") or random.SystemRandom().randrange(10**6)
)
#: Seeds of a scenario that does not say how many it is worth.
SEEDS = 4


def seeds(count: int) -> list[int]:
    """Of one scenario, which a run of everyday has but one of."""
    return [FIRST_SEED + number for number in range(count)] if LONG else [1]
