"""
``serializable``: register the classes whose instances can be stored.

Loading stored data imports nothing, and calls only classes that are registered here, and pydantic
models of modules that are already imported.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from enum import Enum, Flag
from typing import Any, TypeVar, overload

import msgspec

_Class = TypeVar("_Class", bound=type)


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """Converts instances of one class to plain data, and creates them again from it."""

    name: str
    cls: type
    take: Callable[[Any], Any]
    build: Callable[[Any], Any]
    by_field: bool = True


by_class: dict[type, Codec] = {}
by_name: dict[str, Codec] = {}


@overload
def serializable(cls: _Class, /) -> _Class: ...
@overload
def serializable(*, name: str = ...) -> Callable[[_Class], _Class]: ...
def serializable(cls: Any = None, /, *, name: str = "") -> Any:
    """
    Let instances of a class be stored: ``@serializable``, or ``@serializable(name="shop.Cart")``.

    A class may be a dataclass, a pydantic model (of version 2), a msgspec Struct, a named tuple or
    an Enum. Any other class needs a method ``to_storable(self)``, which returns a storable value,
    and a class method ``from_storable(cls, data)``, which gets this value and returns an instance.
    If a class has these methods, they are always used. A subclass has to be registered itself.

    ``name`` identifies the class in stored data; the default is ``module.Class``. When a class
    moves, give its old name. A class may have several names: it is written under the last one, and
    read under each.

    A dataclass is created again without a call of ``__init__`` and ``__post_init__``, a pydantic
    model without validation and with the private attributes of a new one, a Struct by calling its
    class. A field that stored data lacks gets its default; data without a field is ignored.

    Raises ``TypeError`` for a class that cannot be stored, and ``ValueError`` for a name that
    belongs to another class. The same class, defined again by a reload, replaces the earlier one.
    """
    if cls is None:
        return lambda given: _register(given, name)
    return _register(cls, name)


def default_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _register(cls: _Class, name: str) -> _Class:
    if not isinstance(cls, type):
        raise TypeError(f"@serializable is for classes, not for {cls!r}.")
    name = name or default_name(cls)
    codec = _codec(cls, name)
    previous = by_name.get(name)
    if previous and previous.cls is not cls:
        if default_name(previous.cls) != default_name(cls):
            raise ValueError(
                f"{default_name(cls)} cannot be registered as {name!r}: that is the name of "
                f"{default_name(previous.cls)}. Give one of them another name with "
                "@serializable(name=...)."
            )
        by_class.pop(previous.cls, None)  # from before its module was reloaded
    by_name[name] = by_class[cls] = codec
    return cls


def _codec(cls: Any, name: str) -> Codec:
    if hasattr(cls, "to_storable") or hasattr(cls, "from_storable"):
        return _method_codec(cls, name)
    if issubclass(cls, Enum):
        return _enum_codec(cls, name)
    if issubclass(cls, msgspec.Struct):
        return _struct_codec(cls, name)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _namedtuple_codec(cls, name)
    if is_pydantic_model(cls):
        return _pydantic_codec(cls, name)
    if dataclasses.is_dataclass(cls):
        return _dataclass_codec(cls, name)
    raise TypeError(
        f"{default_name(cls)} is no dataclass, pydantic model (of version 2), msgspec Struct, Enum "
        "or named tuple, so it needs the methods to_storable(self) and from_storable(cls, data). "
        "(Put @serializable above @dataclass.)"
    )


def is_serializable(cls: type) -> bool:
    """Return True if a class can be registered as it is."""
    return (
        callable(getattr(cls, "to_storable", None))
        or issubclass(cls, Enum | msgspec.Struct)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or is_pydantic_model(cls)
        or dataclasses.is_dataclass(cls)
    )


def is_pydantic_model(cls: type) -> bool:
    """Return True for a model of pydantic 2, which need not be installed."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return isinstance(base, type) and issubclass(cls, base) and hasattr(cls, "model_fields")


def model_codec(cls: type) -> Codec | None:
    """Return the codec of a pydantic model that is not registered, or None."""
    name = default_name(cls)
    if not is_pydantic_model(cls) or find_model(name) is not cls:
        return None
    return by_class.get(_register(cls, name))


def find_model(name: str) -> type | None:
    """Return the pydantic model ``module.Class``, or None if its module is not imported."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        if found is None:
            continue
        for part in parts[length:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        known = isinstance(found, type) and is_pydantic_model(found)
        return found if known and default_name(found) == name else None
    return None


def _method_codec(cls: Any, name: str) -> Codec:
    for method in ("to_storable", "from_storable"):
        if not callable(getattr(cls, method, None)):
            raise TypeError(f"{default_name(cls)} needs a method {method}() as well.")
    return Codec(name, cls, lambda v: v.to_storable(), cls.from_storable, by_field=False)


def _enum_codec(cls: Any, name: str) -> Codec:
    if issubclass(cls, Flag):  # combined flags have no name of their own
        return Codec(name, cls, lambda v: v._value_, cls, by_field=False)
    return Codec(name, cls, lambda v: v._name_, lambda c: cls[c], by_field=False)


def _struct_codec(cls: Any, name: str) -> Codec:
    names = cls.__struct_fields__
    return Codec(name, cls, _taker(names), lambda c: cls(**{n: c[n] for n in names if n in c}))


def _namedtuple_codec(cls: Any, name: str) -> Codec:
    names, defaults = cls._fields, cls._field_defaults

    def build(content: dict[str, Any]) -> Any:
        return tuple.__new__(cls, [content[n] if n in content else defaults[n] for n in names])

    return Codec(name, cls, _taker(names), build)


def _dataclass_codec(cls: Any, name: str) -> Codec:
    fields = dataclasses.fields(cls)
    try:
        object.__new__(cls)
    except TypeError as error:
        raise TypeError(
            f"{default_name(cls)} is more than its fields ({error}), so it needs the methods "
            "to_storable(self) and from_storable(cls, data)."
        ) from error

    def build(content: dict[str, Any]) -> Any:
        # As copy and pickle do it: no __init__, so neither frozen, init=False nor InitVar matter.
        value = object.__new__(cls)
        for field in fields:
            given = content[field.name] if field.name in content else _default(field)
            object.__setattr__(value, field.name, given)
        return value

    return Codec(name, cls, _taker([field.name for field in fields]), build)


#: The key for the names of a pydantic model's unset fields. No field can have this name.
_UNSET = " unset"
#: Whether the factory of a default gets the earlier fields; new in pydantic 2.10.
_TAKES_DATA = "default_factory_takes_validated_data"


def _pydantic_codec(cls: Any, name: str) -> Codec:
    def take(value: Any) -> dict[str, Any]:
        names = cls.model_fields
        content = {name: getattr(value, name) for name in names} | (value.model_extra or {})
        unset = sorted(names.keys() - value.model_fields_set)
        return content | {_UNSET: unset} if unset else content

    def build(content: dict[str, Any]) -> Any:
        unset = content.pop(_UNSET, [])
        fields = cls.model_fields
        values = {}
        for name, field in fields.items():
            if name in content:
                values[name] = content.pop(name)
            elif field.is_required():
                raise LookupError(f"no value for {name!r}, which has no default")
            else:
                before = {"validated_data": values} if getattr(field, _TAKES_DATA, False) else {}
                values[name] = field.get_default(call_default_factory=True, **before)
                unset = [*unset, name]
        extra = content if cls.model_config.get("extra") == "allow" else None
        # As pydantic's own copy and pickle do it: no validation, no code of the model.
        value = cls.__new__(cls)
        value.__setstate__(
            {
                "__dict__": values,
                "__pydantic_extra__": extra,
                "__pydantic_fields_set__": (fields.keys() | (extra or {}).keys()) - set(unset),
                "__pydantic_private__": _private(cls, values),
            }
        )
        return value

    return Codec(name, cls, take, build)


def _private(cls: Any, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return the private attributes of a new pydantic model."""
    if not cls.__private_attributes__:
        return None
    undefined: Any = sys.modules["pydantic_core"].PydanticUndefined
    made: dict[str, Any] = {}
    for name, attribute in cls.__private_attributes__.items():
        factory = attribute.default_factory
        if factory is None and attribute.default is not undefined:
            made[name] = deepcopy(attribute.default)
        elif factory is not None and getattr(attribute, _TAKES_DATA, False):
            made[name] = factory({**fields, **made})
        elif factory is not None:
            made[name] = factory()
    return made


def _taker(names: Iterable[str]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: getattr(value, name) for name in names}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise LookupError(f"no value for {field.name!r}, which has no default")
