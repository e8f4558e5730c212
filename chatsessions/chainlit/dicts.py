"""``DictMixin``: dataclasses as dicts and as JSON, and back, as Chainlit's are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, Self, cast

import msgspec


class DictMixin:
    """Gives a dataclass ``to_dict``, ``from_dict``, ``to_json`` and ``from_json``."""

    def to_dict(self, encode_json: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        """Return it as a dict; with ``encode_json`` its values are those that JSON has."""
        found = asdict(cast("Any", self))
        return cast("dict[str, Any]", json.loads(_json(found))) if encode_json else found

    @classmethod
    def from_dict(cls, kvs: Mapping[str, Any], *, infer_missing: bool = False) -> Self:
        """
        Return the object that a dict describes; unknown keys are ignored.

        With ``infer_missing`` a missing required value is None. Raises ``ValueError`` for a value
        of another type.
        """
        given = dict(kvs)
        if infer_missing:
            for field in fields(cast("Any", cls)):
                if field.default is MISSING and field.default_factory is MISSING:
                    given.setdefault(field.name, None)
        return msgspec.convert(given, cls)

    def to_json(self, **options: Any) -> str:
        """Return it as JSON. The options are those of ``json.dumps()``."""
        return _json(self.to_dict(), **options)

    @classmethod
    def from_json(cls, s: str | bytes, *, infer_missing: bool = False) -> Self:
        """Return the object that a JSON text describes, as :meth:`from_dict` does."""
        return cls.from_dict(json.loads(s), infer_missing=infer_missing)


def _json(found: dict[str, Any], **options: Any) -> str:
    return json.dumps(found, **({"default": str} | options))
