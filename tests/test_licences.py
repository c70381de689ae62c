from __future__ import annotations

import pytest

from cqa_helpers import licences


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("MIT License", "mit"),
        ("you must submit a permit", None),
        ("MIT or Apache-2.0", None),
        ("", None),
    ],
)
def test_a_licence_is_read_where_one_is_named(text: str, wanted: str | None) -> None:
    assert licences.identifier(text) == wanted


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        (["MIT", "mit licence"], "mit"),
        (["MIT", "Apache-2.0"], "other"),
        (["MIT", None], "unknown"),
        (["MIT", ""], "unknown"),
        (["ask the author"], "other"),
    ],
)
def test_what_comes_of_several_has_their_licence_only_where_they_agree(
    stated: list[str | None], wanted: str
) -> None:
    assert licences.joint(stated) == wanted
