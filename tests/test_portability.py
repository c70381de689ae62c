from __future__ import annotations

from pathlib import Path

import pytest

from cqa_helpers import paths, portability


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("data/rehearsal/base-a", "data/rehearsal/base-a"),
        ("gpt2", "gpt2"),
        ("/srv/models/qwen-7b/", "qwen-7b"),
        ("../models/qwen-7b", "qwen-7b"),
        ("~/models/qwen-7b", "qwen-7b"),
        ("C:\\models\\qwen-7b", "qwen-7b"),
        ("\\\\server\\share\\qwen-7b", "qwen-7b"),
    ],
)
def test_a_name_of_this_machine_keeps_its_last_part_and_any_other_stays(
    name: str, wanted: str
) -> None:
    assert portability.portable(name) == wanted


def test_a_folder_of_the_repository_is_named_from_its_root() -> None:
    whole = str(paths.root() / "data" / "rehearsal" / "base-a")
    assert portability.portable(whole) == "data/rehearsal/base-a"


def test_places_are_found_in_any_text_and_not_in_longer_words(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "config.json").write_text(f'{{"from": "{tmp_path}/base"}}')
    (folder / "README.md").write_text(f"see {tmp_path}-other and {Path.home()}stead, nowhere")
    (folder / "model.safetensors").write_bytes(str(tmp_path).encode())
    assert portability.places(folder) == [f"deep/config.json: {tmp_path}"]
    other = Path(f"{tmp_path}-other")
    assert f"README.md: {other}" in portability.places(folder, other)
