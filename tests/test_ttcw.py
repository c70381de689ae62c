from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import agreement, baselines, sources, taxonomy, ttcw
from cqa_helpers.pairing import EXPERTS
from cqa_helpers.records import to_table

real = pytest.mark.skipif(
    not os.environ.get(sources.MIRROR_VARIABLE),
    reason=f"needs the public TTCW files: set {sources.MIRROR_VARIABLE}",
)

# Small and simulated, in the shape of the public files.
STORIES: list[dict[str, Any]] = [
    {"story_idx": 0, "story_id": "0_NewYorker", "content": "https://example.org/a"},
    {"story_idx": 0, "story_id": "0_GPT3.5", "content": "The bell rang. Nobody came."},
    {"story_idx": 1, "story_id": "1_Claude", "content": "雨停了。"},
]
ANNOTATIONS = [
    {
        "story_idx": int(story["story_id"][0]),
        "story_id": story["story_id"],
        "expert_idx": expert,
        "ttcw_idx": test,
        "category": "x",
        "binary_verdict": "Yes" if (test + expert) % 3 == 0 else "No",
        "explanation": f"Reason {test} of {expert}.",
    }
    for story in STORIES
    for expert in (0, 10)
    for test in (1, 14)
]
RESPONSES = [
    {"id": "story_0_NewYorker_test1", "response": "Yes, it closes."},
    {"id": "story_0_GPT3.5_test14", "response": "No.\n\nFlat."},
    {"id": "story_1_Claude_test2", "response": "Content Blocked"},
]


class Folder:
    """Serves the simulated files; a test may change one first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put("ttcw-stories", STORIES)
        self.put("ttcw-annotations", ANNOTATIONS)
        for judge in ttcw.JUDGES:
            self.put(f"ttcw-judge-{judge}", RESPONSES)

    def put(self, name: str, rows: object) -> None:
        if name.startswith("ttcw-judge"):
            assert isinstance(rows, list)
            text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
            (self.path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        else:
            (self.path / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")

    def fetch(self, name: str) -> Path:
        return next(self.path.glob(f"{name}.json*"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("Yes, it does.", 1),
        ("No", 0),
        ("no: too flat", 0),
        ("YES!", 1),
        ("  \n“Yes” — it is earned", 1),
        ("**No**\n\nIt stops.", 0),
        ("**Answer:** Yes", 1),
        ("Answer: No. It stops.", 0),
        ("Yes\nbecause", 1),
        ("Yes  The story holds.", 1),
        ("No I do not think so.", 0),
        ("", None),
        ("Content Blocked", None),
        ("Nothing happens.", None),
        ("No one could believe it, so yes.", None),
        ("No-nonsense prose: yes.", None),
        ("Yes and no.", None),
        ("Yes/No", None),
        ("Yesterday, no.", None),
        ("The answer is Yes.", None),
        ("Maybe. Yes", None),
    ],
)
def test_an_answer_is_read_only_where_it_starts_the_response(
    response: str, value: int | None
) -> None:
    assert ttcw.parse_answer(response) == value


def test_stories_on_one_plot_are_one_work_and_links_have_no_text(folder: Folder) -> None:
    passages = {p.id: p for p in ttcw.read(folder.fetch).passages}
    assert passages["0_NewYorker"].work_id == passages["0_GPT3.5"].work_id == "plot-0"
    assert passages["0_NewYorker"].text is None
    assert passages["0_NewYorker"].url == "https://example.org/a"
    assert passages["0_NewYorker"].origin == "published"
    assert "BSD" not in passages["0_NewYorker"].licence
    assert passages["0_GPT3.5"].meta == {"writer": "GPT3.5"}
    assert passages["1_Claude"].text == "雨停了。"
    assert passages["1_Claude"].origin == "model-authored"


def test_expert_rows_keep_value_and_reason(folder: Folder) -> None:
    verdicts = ttcw.read(folder.fetch).expert_verdicts
    assert len(verdicts) == len(ANNOTATIONS)
    one = next(
        v
        for v in verdicts
        if (v.item_id, v.judge_id, v.dimension) == ("1_Claude", "expert-10", "ttcw-14")
    )
    assert (one.value, one.reason, one.status) == (1, "Reason 14 of 10.", "ok")


def test_what_does_not_parse_is_unparsed_with_its_text_and_never_a_zero(folder: Folder) -> None:
    rows = [v for v in ttcw.read(folder.fetch).recorded_verdicts if v.judge_id == "gpt4"]
    assert [(v.item_id, v.dimension, v.value, v.status) for v in rows] == [
        ("0_NewYorker", "ttcw-01", 1, "ok"),
        ("0_GPT3.5", "ttcw-14", 0, "ok"),
        ("1_Claude", "ttcw-02", None, "unparsed"),
    ]
    assert rows[2].reason == "Content Blocked"


def test_absent_rows_are_counted_and_not_invented(folder: Folder) -> None:
    folder.put("ttcw-judge-gemini-pro", RESPONSES[:1])
    data = ttcw.read(folder.fetch)
    assert data.missing["gemini-pro"] == 3 * 14 - 1
    assert data.missing["gpt4"] == 3 * 14 - 3
    assert sum(v.judge_id == "gemini-pro" for v in data.recorded_verdicts) == 1


@pytest.mark.parametrize(
    ("name", "rows", "hint"),
    [
        ("ttcw-judge-gpt4", [*RESPONSES, RESPONSES[0]], "gpt4 judges ttcw-01 of 0_NewYorker twice"),
        ("ttcw-annotations", [*ANNOTATIONS, ANNOTATIONS[0]], "expert-0 judges .* twice"),
        ("ttcw-judge-gpt4", [{"id": "story_7_X_test1", "response": "Yes"}], "known story"),
        ("ttcw-judge-gpt4", [{"id": "story_1_Claude_test15", "response": "Yes"}], "ttcw-15"),
        ("ttcw-judge-gpt4", [{"id": "1_Claude", "response": "Yes"}], r"0\.id: .*pattern"),
        ("ttcw-judge-gpt4", [{"id": "story_1_Claude_test1"}], r"0\.response: Field required"),
        (
            "ttcw-annotations",
            [{**ANNOTATIONS[0], "binary_verdict": "Perhaps"}],
            r"0\.binary_verdict: .*'Yes' or 'No'",
        ),
    ],
)
def test_data_of_another_shape_are_refused(
    folder: Folder, name: str, rows: list[object], hint: str
) -> None:
    folder.put(name, rows)
    with pytest.raises(ValueError, match=hint):
        ttcw.read(folder.fetch)


def test_each_expert_of_a_passage_gives_one_annotation_in_the_order_asked(folder: Folder) -> None:
    data = ttcw.read(folder.fetch)
    made = ttcw.as_annotations(data, ["1_Claude", "0_GPT3.5"])
    assert [a.id for a in made] == [
        f"{item}-{expert}-{test}"
        for item in ("1_Claude", "0_GPT3.5")
        for expert in ("expert-0", "expert-10")
        for test in ("ttcw-01", "ttcw-14")
    ]
    assert made[1].cot_body == made[1].judgements[0].reason == "Reason 14 of 0."
    assert [[j.dimension for j in a.judgements] for a in made[:2]] == [["ttcw-01"], ["ttcw-14"]]
    assert made[0].protocol == "solo"
    assert ttcw.as_annotations(data, []) == []


def test_the_taxonomy_names_the_same_tests() -> None:
    assert taxonomy.load("ttcw").ids() == ttcw.DIMENSIONS


@pytest.fixture(scope="module")
def data() -> ttcw.TTCW:
    return ttcw.read()


@real
def test_public_files_hold_what_is_said_of_them(data: ttcw.TTCW) -> None:
    assert len(data.passages) == 48
    assert sum(p.text is None for p in data.passages) == 12
    assert len({p.work_id for p in data.passages}) == 12
    assert len(data.expert_verdicts) == 48 * 14 * 3
    assert len({v.judge_id for v in data.expert_verdicts}) == 11
    assert data.missing == {j: 14 * (j == "gemini-pro") for j in ttcw.JUDGES}
    status = Counter((v.judge_id, v.status) for v in data.recorded_verdicts)
    assert {k: n for k, n in status.items() if k[1] != "ok"} == {
        ("gemini-pro", "unparsed"): 50,
        ("claudev2", "unparsed"): 1,
    }
    yes = {
        j: sum(v.value == 1 for v in data.recorded_verdicts if v.judge_id == j) / status[j, "ok"]
        for j in ttcw.JUDGES
    }
    assert yes["gpt4"] == pytest.approx(0.79, abs=0.005)


@real
@pytest.mark.parametrize(
    ("texts_only", "judge", "expected"),
    [
        (False, EXPERTS, (0.43, 0.30, 0.52)),
        (False, "gpt4", (0.08, 0.05, 0.12)),
        (False, "claude3-opus", (0.14, 0.09, 0.19)),
        (True, EXPERTS, (0.14, 0.05, 0.23)),
        (True, "gpt4", (0.07, 0.04, 0.09)),
    ],
)
def test_pooled_kappas_on_the_public_data_are_those_computed_independently(
    data: ttcw.TTCW, texts_only: bool, judge: str, expected: tuple[float, float, float]
) -> None:
    kept = {p.id for p in data.passages if p.text or not texts_only}
    rows = [v for v in (*data.expert_verdicts, *data.recorded_verdicts) if v.item_id in kept]
    experts = sorted({v.judge_id for v in data.expert_verdicts})
    found = agreement.kappa_against_experts(to_table(rows), judge, experts, chance="pooled")
    assert found.kappa.value == pytest.approx(expected[0], abs=0.005)
    assert found.kappa[1:] == pytest.approx(expected[1:], abs=0.015)
    assert found.n_clusters == len(kept)


@real
def test_on_public_data_no_blind_baseline_beats_gpt4_unless_chance_is_pooled(
    data: ttcw.TTCW,
) -> None:
    names: list[baselines.Name] = ["always-no", "always-yes", "majority", "longest", "shuffled"]
    rows = baselines.verdicts(names, data.passages, data.expert_verdicts)
    table = to_table([*data.expert_verdicts, *data.recorded_verdicts, *rows])
    experts = sorted({v.judge_id for v in data.expert_verdicts})
    for name in names:
        found = agreement.paired_difference(table, name, "gpt4", experts).difference
        assert found.low is not None
        assert found.low < 0, name
    pooled = agreement.paired_difference(table, "majority", "gpt4", experts, chance="pooled")
    assert pooled.difference.low is not None
    assert pooled.difference.low > 0


@real
def test_fleiss_kappas_of_the_tests_span_the_known_range(data: ttcw.TTCW) -> None:
    table = to_table(data.expert_verdicts)
    found = {d: agreement.fleiss_kappa(table, d) for d in ttcw.DIMENSIONS}
    assert min(found, key=lambda d: found[d] or 0) == "ttcw-02"
    assert max(found, key=lambda d: found[d] or 0) == "ttcw-12"
    assert found["ttcw-02"] == pytest.approx(0.25, abs=0.005)
    assert found["ttcw-12"] == pytest.approx(0.65, abs=0.005)


@real
def test_every_listed_file_in_the_mirror_has_the_declared_size() -> None:
    listed = [s for s in sources.load().sources if s.name.startswith("ttcw-")]
    for source in listed:
        assert sources.fetch(source.name).stat().st_size == source.bytes
