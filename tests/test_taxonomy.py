from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cqa_helpers import paths, taxonomy
from cqa_helpers.taxonomy import Taxonomy, TaxonomyError

HAN = range(0x4E00, 0xA000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "taxonomy_file", lambda name: tmp_path / f"{name}.yaml")
    return tmp_path


def one_dimension(**changes: object) -> dict[str, object]:
    text = {"en": "Ink", "zh": "墨"}
    dimension = {
        "id": "ink",
        "label": text,
        "question": text,
        "scale": "1-5",
        "constraint": "craft",
        "constraint_reason": "Ink is chosen.",
        "aspect": "lexis",
    }
    return {
        "id": "small",
        "title": text,
        "source": "a test",
        "licence": "MIT",
        "mapping": "ours",
        "dimensions": [{**dimension, **changes}],
    }


def write(folder: Path, value: object) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(p.stem for p in paths.taxonomy_file("x").parent.iterdir()))
def test_every_shipped_taxonomy_is_valid_and_bilingual(name: str) -> None:
    loaded = taxonomy.load(name)
    texts = [loaded.title]
    for d in loaded.dimensions:
        texts += [d.label, d.question, *d.anchors.values()]
        assert d.constraint_reason.endswith(".")
    for text in texts:
        assert any(ord(c) in HAN for c in text.zh), text
        assert not any(ord(c) in HAN for c in text.en), text


def test_the_studys_dimensions_are_the_three_sources_of_constraint() -> None:
    cqa = taxonomy.load("cqa")
    assert cqa.ids() == ("craft", "audience", "reality_logic")
    assert [d.constraint for d in cqa.dimensions] == list(cqa.ids())
    assert all(set(d.anchors) == set(d.range()) for d in cqa.dimensions)


def test_ttcw_has_its_fourteen_tests_and_all_constraints_and_says_whose_mapping_it_is() -> None:
    ttcw = taxonomy.load("ttcw")
    assert ttcw.ids() == tuple(f"ttcw-{k:02d}" for k in range(1, 15))
    assert {d.constraint for d in ttcw.dimensions} == {"craft", "audience", "reality_logic"}
    assert "our own" in ttcw.mapping
    assert "2309.14556" in ttcw.source
    assert "BSD-3-Clause" in ttcw.licence


def test_get_returns_the_dimension_or_names_those_there_are() -> None:
    cqa = taxonomy.load("cqa")
    assert cqa.get("audience").label.in_language("zh") == "读者"
    assert cqa.get("audience").label.in_language("en") == "Audience"
    with pytest.raises(TaxonomyError, match=r"'cqa' has no dimension 'beauty'.*craft, audience"):
        cqa.get("beauty")


def test_an_unknown_taxonomy_names_those_there_are(folder: Path) -> None:
    write(folder, one_dimension())
    with pytest.raises(TaxonomyError, match=r"other\.yaml: no such taxonomy\. There are: small"):
        taxonomy.load("other")


def test_a_bad_value_is_named_with_file_line_key_value_and_what_is_allowed(folder: Path) -> None:
    path = write(folder, one_dimension(constraint="beauty"))
    line = next(
        k for k, text in enumerate(path.read_text("utf-8").split("\n"), 1) if "beauty" in text
    )
    with pytest.raises(TaxonomyError) as caught:
        taxonomy.load("small")
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: dimensions.0.constraint: ")
    for part in ("'craft'", "'audience'", "'reality_logic'", "given: 'beauty'"):
        assert part in message


def test_every_fault_is_reported_at_once(folder: Path) -> None:
    value = one_dimension(scale="yes-no", aspect="pathos")
    del value["licence"]
    write(folder, value)
    with pytest.raises(TaxonomyError) as caught:
        taxonomy.load("small")
    lines = str(caught.value).split("\n")
    assert [part for part in ("licence", "scale", "aspect") if any(part in x for x in lines)] == [
        "licence",
        "scale",
        "aspect",
    ]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (one_dimension(colour="red"), r"dimensions\.0\.colour: unknown key; allowed: id, label"),
        (one_dimension(label={"en": "Ink", "zh": "墨", "fr": "encre"}), r"fr: .*allowed: en, zh"),
        (one_dimension(label={"en": "Ink"}), r"dimensions\.0\.label\.zh: Field required"),
        (one_dimension(label={"en": "Ink", "zh": " "}), r"label\.zh: .*at least 1"),
        (one_dimension(id="Ink Blot"), r"dimensions\.0\.id: .*pattern"),
        (one_dimension(anchors={9: {"en": "a", "zh": "一"}}), r"outside the scale 1-5"),
        (one_dimension(anchors={1: {"en": "a", "zh": "一"}}), r"both ends of the scale, 1 and 5"),
        ({**one_dimension(), "dimensions": []}, "at least one dimension"),
        ({**one_dimension(), "id": "tiny"}, r"id: 'tiny' differs .* allowed: 'small'"),
        (["a list"], r"\(whole file\)"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, value: object, hint: str) -> None:
    write(folder, value)
    with pytest.raises(TaxonomyError, match=hint):
        taxonomy.load("small")


def test_a_dimension_given_twice_is_refused(folder: Path) -> None:
    value = one_dimension()
    value["dimensions"] = value["dimensions"] * 2  # type: ignore[operator]
    write(folder, value)
    with pytest.raises(TaxonomyError, match="dimension ids given twice: ink"):
        taxonomy.load("small")


def test_a_key_given_twice_is_refused_where_yaml_would_overwrite_it(folder: Path) -> None:
    path = write(folder, one_dimension())
    path.write_text(path.read_text("utf-8") + "licence: GPL\n", encoding="utf-8")
    with pytest.raises(TaxonomyError, match=r"small\.yaml:\d+: licence: given twice"):
        taxonomy.load("small")
    write(folder, one_dimension())
    text = path.read_text("utf-8")
    path.write_text(text.replace("- id: ink", "- id: ink\n  id: pen"), encoding="utf-8")
    with pytest.raises(TaxonomyError, match=r"dimensions\.0\.id: given twice"):
        taxonomy.load("small")


def test_what_is_not_yaml_is_refused(folder: Path) -> None:
    (folder / "small.yaml").write_text("id: [unclosed", encoding="utf-8")
    with pytest.raises(TaxonomyError, match="not readable as YAML"):
        taxonomy.load("small")


def test_a_taxonomy_cannot_be_changed_after_loading() -> None:
    loaded: Taxonomy = taxonomy.load("cqa")
    with pytest.raises(ValueError, match="frozen"):
        loaded.id = "other"
