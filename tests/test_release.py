from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import mlcroissant as mlc
import pyarrow.parquet as pq
import pytest
import yaml

from cqa_helpers import consent, paths, provenance, release
from cqa_helpers.annotations import Annotation, Claim, Counterfactual, Judgement, Span
from cqa_helpers.params import Params
from cqa_helpers.records import Constraints, Pair, Passage, Verdict, write_jsonl
from cqa_helpers.release import ReleaseError

SECRET = (
    "他把病历翻到第七页，手指停在一个被涂改过的日期上，许久没有说话，"
    "窗外的雨声越来越大，走廊尽头有人推着车经过。"
)
HOSTILE = "<script>alert(1)</script> =cmd() \u202e </textarea> | 𠮷"
PEOPLE = {
    "title": "A test set", "licence": "CC-BY-4.0", "collected": "2026", "contact": "nobody",
    "people": [
        {"id": "e1", "role": "expert", "description": "a novelist", "payment": "40 an hour",
         "consents": ["verdicts", "annotations", "transcript"]},
        {"id": "k1", "role": "engineer", "description": "an engineer", "payment": "salary",
         "consents": ["annotations"]},
        {"id": "e2", "role": "expert", "description": "a critic", "payment": "none",
         "consents": []},
    ],
}  # fmt: skip


def passage(name: str, text: str, licence: str) -> Passage:
    return Passage(id=name, work_id=f"w-{name}", text=text, language="zh", origin="published",
                   licence=licence, source="a novel")  # fmt: skip


def annotation(name: str, passage_id: str, expert: str, quote: str, said: str) -> Annotation:
    return Annotation(
        id=name, passage_id=passage_id, protocol="bc", expert_id=expert, engineer_id="k1",
        cot_body=said, transcript="嗯，这个……",
        judgements=tuple(Judgement(dimension=d, value=1, reason=said)
                         for d in ("craft", "audience", "reality_logic")),
        claims=(Claim(text="c", dimension="craft", load_bearing=True,
                      counterfactuals=(Counterfactual(premise="p", outcome="o"),)),),
        evidence=(Span(start=0, end=len(quote), dimension="craft", quote=quote),),
    )  # fmt: skip


@pytest.fixture
def study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_params: Callable[..., Params]
) -> Callable[..., Params]:
    """Return a maker of a golden profile in a root of its own."""
    data = tmp_path / "data"
    shutil.copytree(paths.root() / "data" / "taxonomy", data / "taxonomy")
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    open_text = HOSTILE + "雨停了。"
    write_jsonl(data / "golden" / "passages.jsonl", [
        passage("open", open_text, "CC-BY-4.0"), passage("shut", SECRET, "all rights reserved"),
    ])  # fmt: skip
    write_jsonl(data / "golden" / "annotations.jsonl", [
        annotation("a1", "open", "e1", open_text[:6], HOSTILE),
        annotation("a2", "shut", "e1", SECRET[:8], f"我想到「{SECRET[2:50]}」，好。他把病历翻到，"),
        annotation("a3", "open", "e2", open_text[:6], "不同意公开。"),
    ])  # fmt: skip
    write_jsonl(data / "golden" / "verdicts.jsonl", [
        Verdict(item_id="shut", dimension="craft", judge_id="e2", value=0, reason=SECRET),
    ])  # fmt: skip
    write_jsonl(data / "pairs" / "p.jsonl", [
        Pair(id="x", good="好", degraded="坏", dimension="craft", group="literary",
             constraints=Constraints(intent="i"), origin="model-authored"),
    ])  # fmt: skip
    (data / "golden" / "people.yaml").write_text(yaml.safe_dump(PEOPLE), "utf-8")

    def make(**corpus: Any) -> Params:
        made = small_params(
            corpus={"source": "golden", "people": None, "folder": "data/golden",
                    "pairs": "data/pairs"} | corpus,
            judging={"recorded": []},
        )  # fmt: skip
        return made.model_copy(update={"models": None, "tuning": None, "surprise": None})

    return make


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    return [r for file in sorted((folder / "data" / table).glob("*.parquet"))
            for r in pq.read_table(file).to_pylist()]  # fmt: skip


def test_a_release_opens_with_datasets_and_validates_with_mlcroissant(
    study: Callable[..., Params], tmp_path: Path
) -> None:
    done = release.release(study(), tmp_path / "run", tmp_path / "out")
    for table, n in (("passages", 2), ("annotations", 2), ("verdicts", 6), ("pairs", 1)):
        loaded = datasets.load_dataset(str(done.folder), table, cache_dir=str(tmp_path / "cache"))
        assert sum(len(split) for split in loaded.values()) == n, table
    annotations = datasets.load_dataset(str(done.folder), cache_dir=str(tmp_path / "cache"))
    first = annotations["test"][0]
    assert first["cot_body"] == HOSTILE
    assert first["counterfactual_density"] == 1.0
    checked = mlc.Dataset(jsonld=str(done.folder / "croissant.json"))
    assert not checked.metadata.ctx.issues.errors
    read = list(checked.records(record_set="verdicts-test"))
    assert {r["verdicts-test/dimension"] for r in read} == {b"craft", b"audience", b"reality_logic"}


def test_a_text_that_may_not_be_shared_is_nowhere_in_the_folder(
    study: Callable[..., Params], tmp_path: Path
) -> None:
    done = release.release(study(), tmp_path / "run", tmp_path / "out")
    assert done.withheld == ["shut"]
    shut = next(r for r in rows(done.folder, "passages") if r["id"] == "shut")
    assert (shut["text"], shut["characters"]) == (None, len(SECRET))
    second = next(r for r in rows(done.folder, "annotations") if r["id"] == "a2")
    assert second["cot_body"] == "我想到「⟦shut:2-50⟧」，好。他把病历翻到，"
    assert second["evidence"] == [
        {"start": 0, "end": 8, "dimension": "craft", "quote": "", "note": ""}
    ]
    for file in done.folder.rglob("*"):
        if file.suffix == ".parquet":
            text = json.dumps(pq.read_table(file).to_pylist(), ensure_ascii=False)
        else:
            text = file.read_text("utf-8") if file.is_file() else ""
        for k in range(len(SECRET) - consent.QUOTED):
            assert SECRET[k : k + consent.QUOTED + 1] not in text, file.name


def test_who_did_not_consent_is_not_in_it_and_a_transcript_needs_both(
    study: Callable[..., Params], tmp_path: Path
) -> None:
    done = release.release(study(), tmp_path / "run", tmp_path / "out")
    assert done.without_consent == ["e2"]
    assert {r["id"] for r in rows(done.folder, "annotations")} == {"a1", "a2"}
    assert {r["judge_id"] for r in rows(done.folder, "verdicts")} == {"e1"}
    assert {r["transcript"] for r in rows(done.folder, "annotations")} == {""}


def test_every_file_stands_in_the_manifest_with_its_hash(
    study: Callable[..., Params], tmp_path: Path
) -> None:
    folder = release.release(study(), tmp_path / "run", tmp_path / "out").folder
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(manifest) == files - {"MANIFEST.json"}
    assert all(provenance.sha256(folder / name) == h for name, h in manifest.items())
    again = release.release(study(), tmp_path / "run", tmp_path / "out").folder
    assert json.loads((again / "MANIFEST.json").read_text()) == manifest


def test_the_card_has_the_hub_s_sections_and_says_who_and_under_what_licence(
    study: Callable[..., Params], tmp_path: Path
) -> None:
    folder = release.release(study(), tmp_path / "run", tmp_path / "out").folder
    text = (folder / "README.md").read_text("utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert {c["config_name"] for c in front["configs"]} == {
        "passages", "annotations", "verdicts", "pairs"
    }  # fmt: skip
    for part in (
        "Dataset Card for", "Direct Use", "Out-of-Scope Use", "Curation Rationale", "Source Data",
        "Personal and Sensitive Information", "Bias, Risks, and Limitations", "Citation",
        "a novelist", "40 an hour", "all rights reserved", "no: id and offsets only",
    ):  # fmt: skip
        assert part in text


def test_without_consent_on_record_nothing_is_written(
    study: Callable[..., Params], tmp_path: Path
) -> None:
    listed = tmp_path / "data" / "golden" / "people.yaml"
    listed.write_text(yaml.safe_dump(PEOPLE | {"people": PEOPLE["people"][:1]}), "utf-8")
    with pytest.raises(ReleaseError, match="does not list e2, k1"):
        release.release(study(), tmp_path / "run", tmp_path / "out")
    listed.unlink()
    with pytest.raises(ReleaseError, match=r"people\.yaml: missing"):
        release.release(study(), tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_a_set_of_one_s_own_is_released(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match="reads rehearsal"):
        release.release(small_params(), tmp_path / "run", tmp_path / "out")
