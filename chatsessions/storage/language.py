"""Which of the project's languages a session's handlers run in."""

from __future__ import annotations

from django.conf import settings
from django.utils import translation


def supported_language(tag: str) -> str:
    """Return the language of ``LANGUAGES`` that ``tag`` asks for, else ``LANGUAGE_CODE``."""
    try:
        return translation.get_supported_language_variant(tag)
    except (LookupError, ValueError):
        return settings.LANGUAGE_CODE
