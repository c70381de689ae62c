"""What is known of a base before it is loaded, on disk, in the hub's cache and from the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cqa_helpers import bases
from cqa_helpers.params import Models, Params


@pytest.fixture
def spec(small_params: Callable[..., Params]) -> Models:
    made = small_params().models
    assert made is not None
    return made


def test_the_rehearsals_base_is_known_from_its_folder(spec: Models) -> None:
    known = bases.known(spec)
    assert (known.where, known.weights, known.pickled) == (
        "repository",
        ("model.safetensors",),
        (),
    )
    assert known.shape is not None
    assert known.shape.parameters == 906_496  # as data/rehearsal/README.md says
    assert known.licence is not None
    assert bases.permissive(known.licence)


def test_a_base_that_is_nowhere_is_said_to_be_on_the_hub_and_nothing_is_asked(
    spec: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socket

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", never)
    known = bases.known(spec, "Qwen/Qwen2.5-7B-not-here")
    assert (known.where, known.folder, known.shape) == ("hub", None, None)
    assert known.shape_error is not None
    assert known.licence is None
    published = bases._shape(bases.PUBLISHED["Qwen/Qwen2.5-7B"])[0]
    assert published is not None
    assert published.parameters == 7_615_616_512


def test_what_the_hub_says_is_taken_over(spec: Models) -> None:
    def hub(name: str, revision: str | None) -> Any:
        files = [("a.safetensors", 2**30), ("b.safetensors", 2**30), ("pytorch_model.bin", 9)]
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=n, size=s) for n, s in files],
            card_data={"license": "apache-2.0"},
            config={"auto_map": {"AutoModel": "own.Model"}},
            sha="c0ffee",
        )

    known = bases.known(spec, "Some/Base", hub)
    assert (known.gib, known.commit, known.licence) == (2.0, "c0ffee", "apache-2.0")
    assert known.weights == ("a.safetensors", "b.safetensors")
    assert known.pickled == ("pytorch_model.bin",)
    assert known.own_code == ("AutoModel",)


@pytest.mark.parametrize(
    ("card", "licence", "free"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# A model\n", "apache-2.0", True),
        ("# A model\n| Licence | weights CC-BY-4.0 |\n", "weights CC-BY-4.0", True),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0", False),
        ("---\nlicense: other\n---\n", "other", False),
        ("# A model with no word on it\n", None, None),
    ],
)
def test_a_licence_is_read_from_the_card_and_never_guessed(
    tmp_path: Path, spec: Models, card: str, licence: str | None, free: bool | None
) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (folder / "README.md").write_text(card)
    known = bases.known(spec, str(folder))
    assert known.licence == licence
    assert licence is None or bases.permissive(licence) == free
    assert known.shape is None
    assert "gpt2" in str(known.shape_error)


def test_a_broken_config_is_told(tmp_path: Path, spec: Models) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    assert "no config.json" in str(bases.known(spec, str(folder)).shape_error)
    (folder / "config.json").write_text("{")
    assert "not JSON" in str(bases.known(spec, str(folder)).shape_error)
