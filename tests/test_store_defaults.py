"""On Django's default cache there is room for sessions."""

from __future__ import annotations

from uuid import uuid4

from django.core.cache import caches
from django.test import override_settings

from chatsessions.storage.store import Store

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


@override_settings(CACHES={"default": {"BACKEND": LOCAL, "LOCATION": uuid4().hex}})
def test_a_thousand_sessions_fit_into_a_cache_in_local_memory() -> None:
    """Django's default throws the first away when the 301st comes."""
    cache = Store().cache
    keys = [f"chatsessions:{number}:{uuid4()}" for number in range(1000)]
    cache.set_many(dict.fromkeys(keys, b"{}"))
    try:
        assert len(cache.get_many(keys)) == 1000
        assert caches["default"].get(keys[0]) is None
    finally:
        cache.delete_many(keys)


@override_settings(
    CACHES={"default": {"BACKEND": LOCAL, "LOCATION": "ours", "OPTIONS": {"MAX_ENTRIES": 200_000}}}
)
def test_a_cache_with_room_is_used_as_it_is() -> None:
    cache = Store().cache
    cache.set("chatsessions:here", b"{}")
    assert caches["default"].get("chatsessions:here") == b"{}"
    cache.delete("chatsessions:here")
