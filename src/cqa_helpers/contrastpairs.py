"""True and false texts by others: AI21's FACTOR and creak's contrast set as factual pairs.

Muhlgay et al. 2024 (FACTOR, EACL; arXiv 2307.06908) and Onoe et al. 2021 (CREAK; arXiv
2109.01653), both MIT. The texts are read where they are needed and kept nowhere.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cqa_helpers import sources
from cqa_helpers.records import Constraints, Origin, Pair
from cqa_helpers.sources import SourceError

FACTOR_COLUMNS = (
    "full_prefix", "doc_id", "completion", "contradiction_0", "contradiction_1", "contradiction_2",
)  # fmt: skip
CREAK_COLUMNS = ("sentence", "label", "entity", "pair_id")
# Below this share of words in common, a text was written anew and not edited (our choice).
LEAST_COMMON = 0.5

# The file writes "Asnwer"; a corrected one would still be read.
_QUESTION = re.compile(
    r"Question:\s*(?P<question>.+?)\s*\n\s*(?:Asnwer|Answer):(?P<begun>.*)", re.DOTALL
)
_BEFORE_A_STOP = re.compile(r"\s+(?=[.,;:!?](?:\s|$))")


class Found(NamedTuple):
    """Pairs drawn; by source, how many items could be used, and what was dropped and why.

    A broken row is counted once, a false text that cannot be used once each.
    """

    pairs: list[Pair]
    usable: dict[str, int]
    dropped: dict[str, dict[str, int]]


class _Item(NamedTuple):
    number: str
    document: str
    begun: str
    true: str
    # Each with its number in the file.
    false: tuple[tuple[int, str], ...]
    constraints: Constraints


def read(
    names: Sequence[str],
    n: int,
    seed: int,
    falsehoods: int = 1,
    fetch: Callable[[str], Path] = sources.fetch,
) -> Found:
    """Draw ``n`` items of each source as factual pairs: the true text, and one that is false.

    No constraint says what is true. It names the question asked (FACTOR) or the thing spoken of
    (creak), which both texts of a pair share, and says of every pair alike that a text should
    hold in the world: with the fact itself in the prefix, a model could copy it, and I(x; y)
    would measure copying. Both texts are set alike first: in FACTOR's file a blank stands before
    the full stop of 165 of 236 true completions and of about one false one in thirty.

    Of FACTOR, the answer begun and its completion are the text, and the question is the intent.
    Items of a document (FACTOR) or entity (creak) share words: as far as ``n`` allows, each item
    comes from another, and ``meta.document`` names it. A smaller draw with the same seed is the
    beginning of a larger one, whatever other sources are read.

    Parameters
    ----------
    names
        ``creak-contrast-set`` and names that begin with ``factor-``, as in ``data/sources.yaml``.
    n, seed
        Items a source; at least 1.
    falsehoods
        The most false texts an item, drawn among those it has, a pair each.
    fetch
        Returns the path of a public file by its name.

    Raises
    ------
    SourceError
        A file is unknown, out of reach, altered or without the columns needed; or it has fewer
        usable items than asked for.
    """
    if n < 1 or falsehoods < 1:
        raise ValueError(f"n is {n} and falsehoods {falsehoods}: ask for at least 1 of each")
    known = sources.load()
    pairs: list[Pair] = []
    usable: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    for name in dict.fromkeys(names):
        if name != "creak-contrast-set" and not name.startswith("factor-"):
            raise SourceError(
                f"{name!r} holds no pairs of true and false texts: name creak-contrast-set or a "
                "source that begins with factor-."
            )
        licence = known.get(name).licence
        reader = _factor if name.startswith("factor-") else _creak
        items, why = reader(fetch(name), name)
        items = _sound(items, why)
        usable[name], dropped[name] = len(items), dict(sorted(why.items()))
        if len(items) < n:
            raise SourceError(
                f"{name} has {len(items)} usable items and {n} were asked for "
                f"(dropped: {dropped[name] or 'none'}): ask for at most {len(items)}."
            )
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        for item in _drawn(items, rng)[:n]:
            pairs += _pairs(item, falsehoods, name, licence)
    return Found(pairs, usable, dropped)


def _pairs(item: _Item, falsehoods: int, name: str, licence: str) -> list[Pair]:
    # FACTOR's answers were written by models and revised by experts, its false ones by a model.
    origin: Origin = "model-authored" if name.startswith("factor-") else "published"
    return [
        Pair(
            id=f"{name}-{item.number}-{k}",
            good=f"{item.begun} {item.true}".strip(),
            degraded=f"{item.begun} {false}".strip(),
            dimension="reality_logic",
            constraints=item.constraints,
            group="factual",
            origin=origin,
            meta={
                "language": "en", "source": name, "licence": licence, "item": item.number,
                "document": item.document,
            },
        )
        for k, false in item.false[:falsehoods]
    ]  # fmt: skip


def _drawn(items: Sequence[_Item], rng: np.random.Generator) -> list[_Item]:
    """Return all items in an order drawn, one of each document before the second of any."""
    mixed = [
        item._replace(false=tuple(item.false[k] for k in rng.permutation(len(item.false))))
        for item in items
    ]
    turns: list[tuple[int, _Item]] = []
    met: Counter[str] = Counter()
    for i in rng.permutation(len(mixed)):
        turns.append((met[mixed[i].document], mixed[i]))
        met[mixed[i].document] += 1
    return [item for _, item in sorted(turns, key=lambda turn: turn[0])]


def _sound(items: Sequence[_Item], dropped: Counter[str]) -> list[_Item]:
    """Return the items with the false texts that make a pair; count the rest by reason."""
    kept: list[_Item] = []
    met: set[str] = set()
    for item in items:
        whole = _bare(item.begun + item.true)
        if whole in met:
            dropped["the same true text as another item's"] += 1
            continue
        false: list[tuple[int, str]] = []
        for k, text in item.false:
            if fault := _fault(item.true, text, [other for _, other in false]):
                dropped[fault] += 1
            else:
                false.append((k, text))
        if false:
            met.add(whole)
            kept.append(item._replace(false=tuple(false)))
    return kept


def _fault(true: str, false: str, others: Collection[str]) -> str | None:
    """Return why two texts are no pair, or None."""
    if true == false:
        return "the two texts are equal"
    if _bare(true) == _bare(false):
        return "the texts differ in capitals, blanks or punctuation alone"
    if _bare(false) in map(_bare, others):
        return "the same false text twice"
    if true[-1] != false[-1] and not (true[-1].isalnum() and false[-1].isalnum()):
        return "the texts end in different marks"
    words = true.lower().split(), false.lower().split()
    if difflib.SequenceMatcher(None, *words, autojunk=False).ratio() < LEAST_COMMON:
        return "written anew, not edited"
    return None


def _factor(path: Path, name: str) -> tuple[list[_Item], Counter[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        _check_columns(name, "the head", FACTOR_COLUMNS, reader.fieldnames or ())
        rows = list(reader)
    items: list[_Item] = []
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows):
        cells = [row[column] for column in FACTOR_COLUMNS]
        # A row too long has its surplus under None.
        if None in row or not all(cell and cell.strip() for cell in cells):
            dropped["broken row"] += 1
            continue
        match = _QUESTION.fullmatch(row["full_prefix"])
        if match is None:
            dropped["no question that the text answers"] += 1
            continue
        constraints = Constraints(
            intent=f"To answer the question: {_set(match['question'])}",
            audience="The person who asked.",
            reality="What the answer says should hold in the world.",
        )
        true, *false = (_set(row[column]) for column in FACTOR_COLUMNS[2:])
        document = f"{name}-{row['doc_id'].strip()}"
        items.append(
            _Item(f"{number:04d}", document, _set(match["begun"]), true, tuple(enumerate(false)),
                  constraints)
        )  # fmt: skip
    return items, dropped


def _creak(path: Path, name: str) -> tuple[list[_Item], Counter[str]]:
    dropped: Counter[str] = Counter()
    groups: dict[str, list[dict[str, str]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            dropped["broken row"] += 1
            continue
        _check_columns(name, f"line {number}", CREAK_COLUMNS, row)
        cells = [row[column] for column in CREAK_COLUMNS]
        if not all(isinstance(cell, str) and cell.strip() for cell in cells):
            dropped["broken row"] += 1
            continue
        groups.setdefault(row["pair_id"], []).append(row)
    items: list[_Item] = []
    for pair_id, rows in groups.items():
        if sorted(row["label"] for row in rows) != ["false", "true"]:
            dropped["not one true claim and one false"] += 1
            continue
        true, false = sorted(rows, key=lambda row: row["label"], reverse=True)
        entity = _shared_entity(true, false)
        if entity is None:
            dropped["no entity that both claims name"] += 1
            continue
        constraints = Constraints(
            intent=f"To make one claim about this: {entity}.",
            audience="A general reader.",
            reality="What the claim says should hold in the world.",
        )
        items.append(
            _Item(pair_id, f"{name}-{entity.lower()}", "", _set(true["sentence"]),
                  ((0, _set(false["sentence"])),), constraints)
        )  # fmt: skip
    return items, dropped


def _shared_entity(true: dict[str, str], false: dict[str, str]) -> str | None:
    """Return the entity that both claims name: named in one alone, it would favour that one."""
    for entity in sorted({true["entity"], false["entity"]}):
        if all(entity.lower() in row["sentence"].lower() for row in (true, false)):
            return _set(entity)
    return None


def _check_columns(name: str, where: str, wanted: Sequence[str], found: Collection[str]) -> None:
    if missing := [column for column in wanted if column not in found]:
        raise SourceError(
            f"{name}, {where}: no {', '.join(missing)}; found {', '.join(map(str, found))}. The "
            "file's columns have changed: declare the commit that this was written for in "
            "data/sources.yaml."
        )


def _set(text: str) -> str:
    """Return a text with single blanks and none before a stop, so that both of a pair are alike."""
    return " ".join(_BEFORE_A_STOP.sub("", text).split())


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()
