"""JSON read back into the frozen dataclasses that it was written from: exactly, or not at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}


def parsed(text: str, *, finite: bool = True) -> Any:
    """What JSON says.

    Args:
        text: the JSON.
        finite: whether numbers that are none are refused.

    Raises:
        ValueError: it is not valid; it has a name twice, a text that is no Unicode, or
            is nested too deeply.
    """
    try:
        text.encode()
        constant = _refuse_constant if finite else float
        found = json.loads(text, parse_constant=constant, object_pairs_hook=_once)
        json.dumps(found, ensure_ascii=False).encode()  # escapes may spell half a character
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def decoded(kind: type[Record], value: object, path: str = "") -> Record:
    """The dataclass that parsed JSON stands for; names with defaults may be missing, no other may be there.

    Args:
        kind: the dataclass.
        value: parsed JSON.
        path: of the value, for the message.

    Raises:
        ValueError: a name is missing or unknown, or a value is not of its type.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{path or 'it'} is {_short(value)}, not an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in value:
        if name not in fields:
            raise ValueError(f"{_below(path, name)} is unknown")
    given, hints = {}, _hints(cast(Any, kind))
    for name, field in fields.items():
        if name in value:
            given[name] = _value(hints[name], value[name], _below(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_below(path, name)} is missing")
    return kind(**given)


def _value(kind: Any, value: object, path: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _one_of(inner, value, path)
    if origin is Literal:
        if value not in inner or type(value) not in map(type, inner):
            raise ValueError(f"{path} is {_short(value)}, not one of {', '.join(map(str, inner))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{path} is {_short(value)}, not a list")
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        if len(kinds) != len(value):
            raise ValueError(f"{path} has {len(value)} values, not {len(kinds)}")
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(_value(one, member, f"{path}[{place}]") for place, (one, member) in pairs)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{path} is {_short(value)}, not an object")
        return {name: _value(inner[1], member, _below(path, name)) for name, member in value.items()}
    if dataclasses.is_dataclass(kind):
        return decoded(kind, value, path)  # type: ignore[arg-type]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{path} is {_short(value)}, not {_PLAIN[kind]}")
    return value


def _one_of(kinds: tuple[Any, ...], value: object, path: str) -> Any:
    """The first kind that is exactly the value's, else the last that is no null, which says what is wrong."""
    for kind in kinds:
        if type(value) is kind:
            return value
    return _value([kind for kind in kinds if kind is not NoneType][-1], value, path)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _below(path: str, name: str) -> str:
    return f"{path}.{_clean(name)}" if path else _clean(name)


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return _clean(json.dumps(value))


def _clean(text: str) -> str:
    """At most 40 characters in one line."""
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found
