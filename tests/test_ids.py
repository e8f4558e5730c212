"""Ids of messages: random UUIDs, no two alike."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from chatsessions.storage.ids import (
    POOLED,
    new_id,
)


def test_an_id_is_a_random_uuid_as_text() -> None:
    for _ in range(3 * POOLED):
        text = new_id()
        found = UUID(text)
        assert str(found) == text
        assert (found.version, found.variant) == (4, RFC_4122)


def test_every_bit_that_is_random_is_both() -> None:
    ids = [UUID(new_id()).int for _ in range(1000)]
    ever, always = 0, (1 << 128) - 1
    for one in ids:
        ever |= one
        always &= one
    fixed = UUID("00000000-0000-4000-8000-000000000000").int
    free = ~UUID("00000000-0000-f000-c000-000000000000").int & ((1 << 128) - 1)
    assert ever == fixed | free
    assert always == fixed


def test_no_two_are_alike_in_whichever_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_id(), range(20_000)))
    assert len(set(ids)) == len(ids)


FORK = """
import os
from chatsessions.storage.ids import POOLED, new_id

new_id()  # the pool is not empty now
child = os.fork()
if child:
    os.waitpid(child, 0)  # what both write at a time would be mixed
print(*(new_id() for _ in range(POOLED)), sep="\\n", flush=True)
"""


def test_a_child_draws_its_own() -> None:
    told = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    ids = told.stdout.split()
    assert len(ids) == 2 * POOLED
    assert len(set(ids)) == len(ids)
