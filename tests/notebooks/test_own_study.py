"""A study of one's own: a taxonomy, passages, a table of verdicts and a params file, no code."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cqa_helpers import paths

ROOT = paths.root()
# Two questions of another field, one yes or no, one on five steps.
TAXONOMY = {
    "id": "letters",
    "title": {"en": "Letters from an authority", "zh": "公文来信"},
    "source": "this test", "licence": "CC0-1.0", "mapping": "ours",
    "dimensions": [
        {
            "id": "plain", "label": {"en": "Plain", "zh": "浅白"}, "scale": "0-1",
            "question": {"en": "Can it be acted on at first reading?", "zh": "读一遍就知道怎么做吗？"},
            "constraint": "audience", "constraint_reason": "readers decide", "aspect": None,
        },
        {
            "id": "courteous", "label": {"en": "Courteous", "zh": "有礼"}, "scale": "1-5",
            "question": {"en": "How courteous is it?", "zh": "语气是否有礼？"},
            "constraint": None, "constraint_reason": "none applies", "aspect": None,
            "anchors": {1: {"en": "rude", "zh": "无礼"}, 5: {"en": "kind", "zh": "体贴"}},
        },
    ],
}  # fmt: skip
HOSTILE = "<script>window.hit=1</script> | =cmd() \u202e {{< include x >}}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name in ("data", "notebooks", "report", "src", "params"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "data/taxonomy/letters.yaml").write_text(
        yaml.safe_dump(TAXONOMY, allow_unicode=True), "utf-8"
    )
    own = folder / "data/letters"
    own.mkdir()
    rng = np.random.default_rng(1)
    with (own / "passages.jsonl").open("w", encoding="utf-8") as file:
        for i in range(24):
            row = {
                "id": f"l{i:02}", "work_id": f"office-{i // 2}", "language": "en",
                "domain": "letters", "text": f"{HOSTILE} Dear resident {i}, " + "please pay. " * i,
                "origin": "published", "licence": "CC0-1.0", "source": "this test",
            }  # fmt: skip
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    with (own / "verdicts.csv").open("w", encoding="gb18030", newline="") as file:
        table = csv.writer(file)
        table.writerow(["条目", "维度", "评委", "分值", "理由"])
        for i in range(24):
            truth = int(i % 3 == 0)
            for judge, skill in (("王", 0.9), ("李", 0.85), ("some-model", 0.7)):
                seen = truth if rng.random() < skill else 1 - truth
                table.writerow([f"l{i:02}", "浅白", judge, "是" if seen else "否", f"=1+{i}"])
                table.writerow([f"l{i:02}", "courteous", judge, 1 + 3 * seen + int(i % 2), HOSTILE[:29]])
    params = yaml.safe_load((ROOT / "params/examples.yaml").read_text("utf-8"))
    params |= {"profile": "letters", "title": "Letters", "status": "funded-study",
               "taxonomy": "letters"}  # fmt: skip
    params["corpus"] |= {"folder": "data/letters", "pairs": None, "n_pairs": 0, "n_test": 24}
    params["judging"] |= {"recorded": ["some-model"]}
    params["study"] |= {"candidate": "some-model", "reference": "majority", "n_boot": 200}
    (folder / "params/letters.yaml").write_text(yaml.safe_dump(params), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(folder / "Snakefile"),
         "--directory", str(folder), "--cores", "1", "--nolock", "--config", "profile=letters"],
        env={**os.environ, "CQA_ROOT": str(folder), "OMP_NUM_THREADS": "1",
             "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd=folder, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def results(study: Path) -> dict[str, Any]:
    return dict(json.loads((study / "runs/letters/results.json").read_text("utf-8")))


def test_it_gets_a_full_audit_on_each_of_its_scales(study: Path) -> None:
    audit = results(study)["01-annotate-audit"]
    assert audit["n_experts"] == 2
    assert audit["n_verdicts"] == 96
    plain, courteous = audit["agreement"]["plain"], audit["agreement"]["courteous"]
    assert plain["alpha_ordinal"]["value"] is None
    assert courteous["alpha_ordinal"]["value"] is not None
    assert 0.2 < plain["kappa"]["value"] <= 1
    assert audit["audit"]["works_test"] == 12


def test_its_judges_are_compared(study: Path) -> None:
    judges = results(study)["04-judge"]["judges"]
    assert {"some-model", "majority", "always-no"} <= set(judges)
    primary = results(study)["05-blind-analysis"]["primary"]
    assert primary["difference"]["value"] is not None


def test_its_texts_are_shown_as_text_on_every_page(study: Path) -> None:
    pages = sorted((study / "runs/letters/report").glob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text("utf-8")
        assert "<script>window.hit" not in text
        assert "\u202e" not in text
    assert any("&lt;script&gt;window.hit=1&lt;/script&gt;" in p.read_text("utf-8") for p in pages)
