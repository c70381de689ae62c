"""YAML files read as one validated model, every fault with its file, line, key and remedy."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
Place = tuple[int | str, ...]


def read(path: Path, kind: type[M], fault: type[Exception], consequence: str = "") -> M:
    """Read a YAML file as one model.

    ``consequence`` says what did not happen because of the faults; with it, the message begins
    with a line that counts them.

    Raises
    ------
    fault
        Not YAML, a key given twice, or values that do not fit: one line each, with file, line
        number, key, the value given and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        repeated = [f"{path}:{line}: {key}: given twice" for key, line in _repeated_keys(node)]
        value = None if repeated else yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise fault(f"{path}: not readable as YAML: {error}") from None
    if repeated:
        raise fault("\n".join(repeated))
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        lines = [_explain(path, node, kind, e) for e in error.errors()]
    if consequence:
        lines.insert(0, f"{len(lines)} fault(s) in {path}; {consequence}")
    raise fault("\n".join(lines))


def _explain(path: Path, node: yaml.Node | None, kind: type[BaseModel], error: Any) -> str:
    loc = error["loc"]
    key = ".".join(map(str, loc)) or "(whole file)"
    hint = error["msg"]
    if error["type"] == "extra_forbidden":
        hint = "unknown key; allowed: " + ", ".join(_keys_at(kind, loc[:-1]))
    given = ""
    if error["type"] != "missing":
        shown = repr(error["input"])
        given = f" (given: {shown if len(shown) <= 60 else shown[:57] + '...'})"
    return f"{path}:{_line(node, loc)}: {key}: {hint}{given}"


def _keys_at(kind: Any, loc: Place) -> list[str]:
    """Return the keys that the model at a place allows."""
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _filled(kind.model_fields[str(part)].annotation)
        else:  # a sequence or a mapping: step into what it holds
            kind = _filled(next(a for a in reversed(typing.get_args(kind)) if a is not Ellipsis))
    return list(kind.model_fields)


def _filled(kind: Any) -> Any:
    """Return what a field holds when it is not null."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(kind) if a is not type(None))
    return kind


def _line(node: yaml.Node | None, loc: Place) -> int:
    """Return the line number of the deepest part of a place that the file has."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _repeated_keys(node: yaml.Node | None, above: str = "") -> Iterator[tuple[str, int]]:
    """Yield key and line of what YAML would silently overwrite."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield f"{above}{name}", key.start_mark.line + 1
            seen.add(name)
            yield from _repeated_keys(value, f"{above}{name}.")
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated_keys(value, f"{above}{index}.")
