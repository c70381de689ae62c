from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import audit, taxonomy
from cqa_helpers.annotations import Annotation, Claim, Counterfactual, Judgement, Step
from cqa_helpers.records import Verdict, to_table


def verdict(item: str, reason: str, judge: str = "e", value: int | None = 1) -> Verdict:
    return Verdict(item_id=item, dimension="craft", judge_id=judge, value=value, reason=reason,
                   status="ok" if value is not None else "refused")  # fmt: skip


def annotation(name: str, body: str = "x", **changes: object) -> Annotation:
    known = {"id": name, "passage_id": name, "protocol": "solo", "expert_id": "e",
             "cot_body": body,
             "judgements": (Judgement(dimension="craft", value=1, reason="r"),)}  # fmt: skip
    return Annotation(**known | changes)


def test_coverage_counts_passages_against_the_target_and_what_is_missing() -> None:
    rows = [verdict("a", ""), verdict("a", "", "f"), verdict("b", ""), verdict("c", "", value=None)]
    notes = [annotation("a"), annotation("b", judgements=(
        Judgement(dimension="craft", value=1, reason="r", facets={"lexis": 1, "mythos": 0}),
    ))]  # fmt: skip
    found = audit.coverage(to_table(rows), notes, taxonomy.load("cqa"), target=100)
    craft, audience = found.to_dict("records")[:2]
    assert (craft["items"], craft["judges_per_item"], craft["missing"]) == (2, 1.5, 1)
    assert (craft["annotated"], craft["share"], craft["facets"]) == (2, 0.02, 2)
    assert (audience["items"], audience["annotated"]) == (0, 0)
    assert audience["judges_per_item"] is None or audience["judges_per_item"] != 0


def test_reasons_that_are_empty_copied_or_formulaic_are_told_apart() -> None:
    rows = [
        verdict("a", "It works since the clue is late."), verdict("b", "it works, since the clue "
        "is late!"), verdict("c", "It works since the clue is shown twice."),
        verdict("d", "An alibi that nobody checks."), verdict("e", " "),
        verdict("f", "ignored", value=None),
    ]  # fmt: skip
    found = audit.reasons(to_table(rows))
    assert (found.n, found.empty, found.duplicate, found.formulaic) == (5, 0.2, 0.5, 0.75)
    assert found.quartiles == (6.5, 7.0, 7.25)
    assert audit.reasons(to_table([])) == audit.Reasons(0, None, None, None, None)


def test_chinese_reasons_are_measured_in_characters() -> None:
    found = audit.reasons(to_table([verdict("a", "线索埋得太响，读者先猜到了。")]))
    assert found.quartiles == (12.0, 12.0, 12.0)


def test_proxies_are_computed_from_what_was_logged_and_null_where_nothing_was() -> None:
    claims = (
        Claim(text="c", dimension="craft", load_bearing=True, counterfactuals=(
            Counterfactual(premise="p", outcome="o"),
            Counterfactual(premise="q", outcome="o", explicit=False))),
        Claim(text="d", dimension="craft", load_bearing=True),
        Claim(text="e", dimension="craft", load_bearing=False, counterfactuals=(
            Counterfactual(premise="p", outcome="o"),)),
    )  # fmt: skip
    steps = (Step(kind="observation", text="o"), Step(kind="verdict", text="v"))
    full = annotation("a", "Um, wait. The clue is late.", claims=claims, judgements=(
        Judgement(dimension="craft", value=1, reason="r", steps=steps),))  # fmt: skip
    found = {p.quality: p for p in audit.proxies([full])}
    assert found["counterfactual-density"].value == 0.5
    assert found["chain-completeness"].value == 0.4
    assert found["premises-externalised"].value == 50
    assert round(found["naturalness"].value or 0, 1) == 33.3
    bare = {p.quality: p for p in audit.proxies([annotation("b")])}
    assert bare["counterfactual-density"] == audit.Proxy(
        "counterfactual-density", bare["counterfactual-density"].what, None, 0
    )
    assert bare["chain-completeness"].value is None


def test_ratings_are_means_over_what_was_rated() -> None:
    of = taxonomy.load("cot-quality")
    first = of.ids()[0]
    rows = [
        Verdict(item_id=i, dimension=first, judge_id=j, value=v, scale="1-5")
        for i, j, v in (("a", "x", 2), ("a", "y", 4), ("b", "x", 3))
    ]
    found = audit.rated(rows, of).to_dict("records")
    assert (found[0]["mean"], found[0]["n"], found[0]["raters"]) == (3.0, 3, 2)
    assert found[1]["n"] == 0


@given(
    st.text("他说 wait不对 the clue，。", max_size=60),
    st.text("他说 the clue late，。", max_size=60),
)
def test_edits_give_back_both_texts(raw: str, edited: str) -> None:
    runs = audit.edits(raw, edited)
    assert "".join(t for kind, t in runs if kind != "added") == raw
    assert "".join(t for kind, t in runs if kind != "cut") == edited
