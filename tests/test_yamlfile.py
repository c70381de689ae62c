from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from cqa_helpers import yamlfile


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Leaf(Strict):
    colour: Literal["red", "blue"]
    weight: float = 1.0


class Tree(Strict):
    name: str
    leaf: Leaf | None = None
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}


class TreeError(Exception):
    pass


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tree.yaml"


def fault(file: Path, text: str, consequence: str = "") -> list[str]:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TreeError) as caught:
        yamlfile.read(file, Tree, TreeError, consequence)
    return str(caught.value).splitlines()


def test_a_good_file_is_read(file: Path) -> None:
    file.write_text("name: 树\nleaf: {colour: red}\nby_name:\n  a: {colour: blue}\n")
    tree = yamlfile.read(file, Tree, TreeError)
    assert tree == Tree(name="树", leaf=Leaf(colour="red"), by_name={"a": Leaf(colour="blue")})


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("name: a\nleafs: 1\n", 2, "leafs: unknown key; allowed: name, leaf, leaves, by_name"),
        ("name: a\nleaf:\n  colour: red\n  color: x\n", 4, "leaf.color: unknown key; allowed: col"),
        ("name: a\nleaves:\n- colour: red\n- colour: red\n  big: 1\n", 5, "leaves.1.big: unknown"),
        ("name: a\nby_name:\n  x:\n    colour: red\n    big: 1\n", 5, "by_name.x.big: unknown key"),
    ],
)
def test_an_unknown_key_at_any_depth_lists_the_allowed_ones(
    file: Path, text: str, line: int, key: str
) -> None:
    (said,) = fault(file, text)
    assert said.startswith(f"{file}:{line}: {key}")
    assert "allowed: " in said


def test_every_fault_has_its_own_line_with_the_value_given(file: Path) -> None:
    said = fault(file, "name: [1]\nleaf:\n  colour: green\n  weight: heavy\n")
    assert [line.split(": ")[:2] for line in said] == [
        [f"{file}:1", "name"],
        [f"{file}:3", "leaf.colour"],
        [f"{file}:4", "leaf.weight"],
    ]
    assert "'red' or 'blue' (given: 'green')" in said[1]


def test_a_long_value_is_cut_in_the_message(file: Path) -> None:
    (said,) = fault(file, f"name: a\nleaves: {'x' * 200}\n")
    assert said.endswith("...)")
    assert len(said) < 200 + len(str(file))


def test_a_missing_key_is_told_at_its_section_without_a_value(file: Path) -> None:
    (said,) = fault(file, "name: a\nleaf:\n  weight: 1\n")
    assert said == f"{file}:2: leaf.colour: Field required"


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("name: a\nname: b\n", 2, "name"),
        ("name: a\nleaf:\n  colour: red\n  colour: blue\n", 4, "leaf.colour"),
        ("name: a\nleaves:\n- colour: red\n  colour: blue\n", 4, "leaves.0.colour"),
    ],
)
def test_a_key_given_twice_is_refused_at_any_depth(
    file: Path, text: str, line: int, key: str
) -> None:
    assert fault(file, text) == [f"{file}:{line}: {key}: given twice"]


@pytest.mark.parametrize("text", ["name: [", "name: a\n\tleaf: 1\n", "? [a]\n: 1\n"])
def test_what_is_not_yaml_of_this_kind_is_a_fault_and_not_a_crash(file: Path, text: str) -> None:
    assert str(file) in fault(file, text)[0]


def test_other_bytes_than_utf8_are_a_fault(file: Path) -> None:
    file.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(TreeError, match="not readable as YAML"):
        yamlfile.read(file, Tree, TreeError)


def test_an_empty_file_is_a_fault_of_the_whole_file(file: Path) -> None:
    assert "(whole file)" in fault(file, "")[0]


def test_the_consequence_heads_the_message_and_counts_the_faults(file: Path) -> None:
    said = fault(file, "nam: a\n", "nothing was run.")
    assert said[0] == f"2 fault(s) in {file}; nothing was run."
    assert len(said) == 3
