from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from cqa_helpers import (
    adapters,
    cli,
    cohort,
    corpus,
    exports,
    merging,
    models,
    paths,
    provenance,
    results,
)
from cqa_helpers.merging import MergeError, Tolerance
from cqa_helpers.params import Params
from cqa_helpers.portability import ExportError

NAME = "first-cot-4-1"


class Study(NamedTuple):
    params: Params
    run: Path

    @property
    def adapter(self) -> Path:
        return self.run / "adapters" / NAME

    def export(self, out: Path, **more: Any) -> exports.Exported:
        return exports.export(self.params, self.run, NAME, out, **more)


@pytest.fixture(scope="module")
def made(
    small_params: Callable[..., Params], tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    params = small_params(models={"base": str(tiny_folder)})
    run = tmp_path_factory.mktemp("run")
    material = corpus.prepare(params, run)
    member = next(m for m in cohort.planned(params) if m.name == NAME)
    assert params.models is not None
    cohort.train(member, cohort.Base(params.models), params, material, run)
    return Study(params, run)


@pytest.fixture
def study(made: Study, tmp_path: Path) -> Study:
    """Return a copy that a test may spoil."""
    return made._replace(run=Path(shutil.copytree(made.run, tmp_path / "run")))


@pytest.fixture(scope="module")
def exported(made: Study, tmp_path_factory: pytest.TempPathFactory) -> exports.Exported:
    return made.export(tmp_path_factory.mktemp("out") / "model", merge=True)


def code(card: Path) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def run(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(block, names)
    assert said.getvalue().strip() == names["answer"].strip()
    return names


def test_an_export_holds_weights_card_licence_and_the_hash_of_every_file(
    exported: exports.Exported, made: Study
) -> None:
    there = {p.relative_to(exported.folder).as_posix() for p in exported.folder.rglob("*")
             if p.is_file()}  # fmt: skip
    assert there >= {"adapter_model.safetensors", "adapter_config.json", "README.md", "LICENSE",
                     "training.json", "MANIFEST.json", "merged/model.safetensors",
                     "merged/tokenizer.json", "merged/parity.json", "merged/README.md"}  # fmt: skip
    listed = json.loads((exported.folder / "MANIFEST.json").read_text())
    assert set(listed) == there - {"MANIFEST.json"}
    assert listed == exported.files
    assert all(provenance.sha256(exported.folder / name) == h for name, h in listed.items())
    weights = "adapter_model.safetensors"
    assert listed[weights] == provenance.sha256(made.adapter / weights)
    assert not [name for name in there if name.endswith((".bin", ".pt", ".py"))]


def test_nothing_in_an_export_names_a_place_of_this_machine(
    exported: exports.Exported, made: Study, tiny_folder: Path
) -> None:
    config = json.loads((exported.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_folder.name
    record = json.loads((exported.folder / "training.json").read_text())
    assert record["base"].startswith(f"{tiny_folder.name}@")
    for path in exported.folder.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            for place in (tiny_folder, made.run, paths.root(), Path.home()):
                assert re.search(re.escape(str(place)).encode() + rb"(?![\w.-])", held) is None


def test_an_export_that_would_name_a_place_is_not_written(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "portable", lambda name: name)
    with pytest.raises(ExportError, match=r"name places of this machine: .*README\.md"):
        study.export(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_the_recipe_in_the_adapters_card_loads_it_and_answers_as_the_study_does(
    exported: exports.Exported, made: Study, tiny_folder: Path
) -> None:
    block = code(exported.folder / "README.md")
    assert f"base = {tiny_folder.name!r}" in block
    assert block.count("trust_remote_code=False") == 2
    assert "use_safetensors=True" in block
    names = run(
        block.replace(f"base = {tiny_folder.name!r}", f"base = {str(tiny_folder)!r}")
        .replace("'path/to/this/folder'", repr(str(exported.folder)))
        .replace("Your passage.", "the inn at dawn .")
    )
    assert made.params.models is not None
    base = models.load(made.params.models)
    tuned = adapters.with_adapter(base, made.adapter)
    ids = names["inputs"]["input_ids"]
    with torch.inference_mode():
        ours, theirs = tuned.model(ids).logits, names["model"](ids).logits
        bare = models.load(made.params.models).model(ids).logits
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, bare)
    assert names["output"].shape[1] > ids.shape[1]


def test_the_recipe_in_the_merged_models_card_runs_without_the_base(
    exported: exports.Exported,
) -> None:
    folder = exported.folder / "merged"
    block = code(folder / "README.md")
    assert "peft" not in block
    names = run(block.replace("'path/to/this/folder'", repr(str(folder))))
    assert type(names["model"]).__name__ == "LlamaForCausalLM"


def test_the_card_says_it_is_simulated_before_anything_else(exported: exports.Exported) -> None:
    for folder in (exported.folder, exported.folder / "merged"):
        card = ModelCard.load(folder / "README.md")
        assert card.data.license == "unknown"  # nobody stated that of the tiny base
        assert "simulated" in card.data.tags
        first = card.text.strip().split("\n\n")[1]
        assert first.startswith("**Simulated.**")


def test_what_was_not_measured_is_said_and_what_was_is_quoted_with_its_interval(
    study: Study, tmp_path: Path
) -> None:
    study.export(tmp_path / "before")
    card = (tmp_path / "before" / "README.md").read_text()
    assert card.count("| not measured | none |") == 4
    hashed = {"params_hash": study.params.fingerprint("02-fine-tune")}
    arms = {
        "cot": {
            "4": {
                "1": {"mean_auc": 0.61234, "accuracy": None},
                "summary": {"mean_auc": {"value": 0.7, "low": 0.6, "high": 0.8}},
            }
        }
    }
    results.save(study.run, "02-fine-tune", {"arms": arms, "provenance": hashed})
    study.export(tmp_path / "after")
    card = (tmp_path / "after" / "README.md").read_text()
    assert "| this seed | 0.612 | none |" in card
    assert "| 0.700 | 0.600 to 0.800 |" in card
    assert card.count("| not measured | none |") == 2
    results.save(study.run, "02-fine-tune", {"arms": arms, "provenance": {"params_hash": "old"}})
    study.export(tmp_path / "stale")
    assert "0.612" not in (tmp_path / "stale" / "README.md").read_text()


def test_kappa_stands_only_in_the_card_of_the_size_that_judged(made: Study, study: Study) -> None:
    hashed = {"params_hash": study.params.fingerprint("04-judge")}
    kappa = {"value": 0.5, "low": 0.4, "high": 0.6}
    results.save(study.run, "04-judge", {"judges": {"tuned": {"kappa": kappa}},
                                         "provenance": hashed})  # fmt: skip
    by_name = {m.name: m for m in cohort.planned(study.params)}
    small, full = (exports.measured(study.params, study.run, by_name[n])[-1].interval
                   for n in ("first-cot-4-1", "first-cot-8-1"))  # fmt: skip
    assert small.value is None
    assert full == (0.5, 0.4, 0.6)


def test_a_merged_model_that_is_another_judge_leaves_nothing_behind(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(merging.TOLERANCE, "float32", Tolerance(-1.0, 0.001))
    with pytest.raises(MergeError, match=r"mean divergence .* bits a token"):
        study.export(tmp_path / "out", merge=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "training.json").unlink(), "no finished adapter"),
        (lambda f: (f / "training.json").write_text('{"weights": '), "no finished adapter"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "no finished adapter"),
        (lambda f: os.truncate(f / "adapter_model.safetensors", 5000), "not what training wrote"),
        (lambda f: (f / "optimizer.pt").write_bytes(b"x"), "optimizer.pt: pickles"),
        (lambda f: (f / "adapter_model.bin").write_bytes(b"x"), "adapter_model.bin: pickles"),
        (lambda f: (f / "modeling.py").write_text("print(1)"), "modeling.py: pickles and code"),
        (lambda f: edit(f / "adapter_config.json", auto_map={"AutoModel": "x.Y"}), "auto_map"),
        (lambda f: edit(f / "adapter_config.json", auto_mapping={"parent_library": "os"}),
         "auto_mapping"),
        (lambda f: edit(f / "training.json", recipe="0" * 16), "other settings, on another base"),
    ],
)  # fmt: skip
def test_what_may_not_leave_is_refused_with_its_reason(
    study: Study, tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(study.adapter)
    with pytest.raises(ExportError, match=said):
        study.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_weights_that_are_not_numbers_are_refused(study: Study, tmp_path: Path) -> None:
    file = study.adapter / "adapter_model.safetensors"
    weights = load_file(file)
    first = next(iter(weights))
    weights[first][0, 0] = float("nan")
    save_file(weights, file)
    edit(study.adapter / "training.json", weights=models.weights_identity(study.adapter))
    with pytest.raises(ExportError, match=r"1 of \d+ weights are not numbers"):
        study.export(tmp_path / "out")


def test_a_base_that_needs_code_of_its_own_is_refused(
    study: Study, tmp_path: Path, tiny_folder: Path
) -> None:
    base = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    edit(base / "config.json", auto_map={"AutoModelForCausalLM": "modeling.Own"})
    assert study.params.models is not None
    spec = study.params.models.model_copy(update={"base": str(base)})
    params = study.params.model_copy(update={"models": spec})
    with pytest.raises(ExportError, match="code of its own"):
        exports.export(params, study.run, NAME, tmp_path / "out")


def test_a_folder_that_is_there_is_never_written_over(study: Study, tmp_path: Path) -> None:
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "novel.txt").write_text("…")
    with pytest.raises(ExportError, match="is there already"):
        study.export(kept)
    assert [p.name for p in kept.iterdir()] == ["novel.txt"]


def test_a_model_that_the_profile_does_not_plan_is_named_with_those_it_does(
    study: Study, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="no model 'tuned'; it plans first-cot-4-1"):
        exports.export(study.params, study.run, "tuned", tmp_path / "out")


def test_a_run_without_its_material_says_what_to_do(study: Study, tmp_path: Path) -> None:
    shutil.rmtree(study.run / "corpus")
    with pytest.raises(ExportError, match="run notebook 01-annotate-audit first"):
        study.export(tmp_path / "out")


def test_the_command_writes_an_export_and_a_fault_is_a_sentence(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.params, "load", lambda file: made.params)
    monkeypatch.setattr(cli.paths, "run_dir", lambda profile: made.run)
    out = tmp_path / "out"
    assert cli.main(["export-model", "rehearsal", NAME, str(out), "--merge"]) == 0
    said = capsys.readouterr()
    assert "adapter_model.safetensors" in said.out
    assert "same likeliest token 100.0%" in said.out
    assert cli.main(["export-model", "rehearsal", NAME, str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["export-model", "rehearsal", "first-cot-4-99", str(tmp_path / "b")]) == 1
    assert "plans no model 'first-cot-4-99'" in capsys.readouterr().err
    assert cli.main(["export-model", "no-such", NAME, str(tmp_path / "c")]) == 1
    assert "No profile 'no-such'" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
