from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import params as run_params
from cqa_helpers import results
from cqa_helpers.agreement import Interval
from cqa_helpers.params import Params
from cqa_helpers.results import ResultsError

Maker = Callable[..., Params]
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(),
    st.builds(np.float64, st.floats()), st.builds(np.int64, st.integers(-9, 9)),
    st.sampled_from([pd.NA, pd.NaT, np.nan, np.inf, np.bool_(True)]),
    st.builds(Interval, st.floats(), st.none(), st.floats()),
)  # fmt: skip
anything = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v), max_leaves=8
)


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf, pd.NA, pd.NaT, None, np.nan])
def test_what_is_missing_or_not_finite_becomes_null(missing: Any) -> None:
    assert results.plain({"a": [missing]}) == {"a": [None]}


def test_numpy_and_named_tuples_become_plain() -> None:
    made = results.plain(
        {1: np.int64(3), "b": np.array([[0.5, np.nan]]), "c": Interval(0.1, None, 0.2)}
    )
    assert made == {
        "1": 3, "b": [[0.5, None]], "c": {"value": 0.1, "low": None, "high": 0.2},
    }  # fmt: skip
    assert type(results.plain(np.bool_(True))) is bool


def test_a_set_is_written_in_one_order() -> None:
    assert results.plain({"b", "a", "c"}) == ["a", "b", "c"]


@settings(max_examples=30, deadline=None)
@given(anything)
def test_whatever_a_notebook_saves_is_strict_json(value: Any) -> None:
    text = json.dumps(results.plain({"value": value}), allow_nan=False)
    assert json.loads(text) == results.plain({"value": value})


def test_a_section_comes_back(tmp_path: Path) -> None:
    results.save(tmp_path, "04-judge", {"kappa": math.nan, "名": "专家"})
    assert results.load(tmp_path, "04-judge") == {"kappa": None, "名": "专家"}


def test_a_missing_section_names_the_notebook_to_run(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"is missing: run notebook 02-fine-tune first"):
        results.load(tmp_path, "02-fine-tune/first-cot-100")


def save_all(folder: Path, params: Params) -> None:
    for name in params.notebooks():
        block = {"provenance": {"params_hash": params.fingerprint(name)}, "n": 1}
        results.save(folder, name, block)


def test_sections_are_joined_by_notebook(tmp_path: Path, small_params: Maker) -> None:
    save_all(tmp_path, small_params())
    whole = json.loads(results.collect(small_params(), tmp_path).read_text(encoding="utf-8"))
    assert tuple(whole) == small_params().notebooks()
    assert whole["04-judge"]["n"] == 1


def test_results_of_other_params_are_refused_by_name(tmp_path: Path, small_params: Maker) -> None:
    save_all(tmp_path, small_params())
    changed = small_params(surprise={"clip": 0.1})
    with pytest.raises(ResultsError, match=r"results of 03-calibrated-surprise .*other params"):
        results.collect(changed, tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_a_missing_notebook_stops_the_joining(tmp_path: Path, small_params: Maker) -> None:
    save_all(tmp_path, small_params())
    (tmp_path / "results" / "05-blind-analysis.json").unlink()
    with pytest.raises(ResultsError, match="run notebook 05-blind-analysis first"):
        results.collect(small_params(), tmp_path)


def test_the_command_writes_results_and_resolved_params_or_says_why_not(
    tmp_path: Path, small_params: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(run_params.dump(small_params()), encoding="utf-8")
    command = ["--params", str(file), "--run", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match="is missing: run notebook 01"):
        results.main(command)
    save_all(tmp_path / "run", small_params())
    results.main(command)
    assert (tmp_path / "run" / "results.json").is_file()
    assert run_params.load(tmp_path / "run" / "params.yaml") == small_params()


def test_equal_runs_are_equal_without_their_times() -> None:
    one = {"a": [{"wall_seconds": 1.0, "n": 2}], "git_commit": "x", "train_seconds": 3}
    two = {"a": [{"wall_seconds": 9.0, "n": 2}], "git_commit": "y"}
    assert results.without_times(one) == results.without_times(two) == {"a": [{"n": 2}]}
