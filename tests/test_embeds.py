"""Labelled cells of executed notebooks."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import embeds
from synthetic_run import FIGURE, TABLE, code_cell, labelled_cell, shown, write_notebook


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return tmp_path / "04-judge.ipynb"


def one(notebook: Path, source: str, outputs: list[dict[str, Any]]) -> Path:
    write_notebook(notebook, [code_cell(source, outputs)])
    return notebook


def test_a_figure_comes_with_caption_and_picture(notebook: Path) -> None:
    write_notebook(notebook, [labelled_cell("fig-judges", "Judges differ")])
    found = embeds.exhibit(notebook, "fig-judges")
    assert found.caption == found.alt == "Judges differ"
    assert found.file_name == "fig-judges.svg"
    assert found.picture == FIGURE.encode()


def test_a_bitmap_is_decoded(notebook: Path) -> None:
    png = base64.b64encode(b"\x89PNG").decode()
    one(notebook, '#| label: fig-a\n#| fig-cap: "C"\nx', [shown("image/png", png)])
    found = embeds.exhibit(notebook, "fig-a")
    assert (found.file_name, found.picture) == ("fig-a.png", b"\x89PNG")


def test_a_table_is_its_markdown_form(notebook: Path) -> None:
    write_notebook(notebook, [labelled_cell("tbl-judges", "All judges")])
    assert embeds.exhibit(notebook, "tbl-judges").content == TABLE


def test_lists_of_lines_are_read_as_text(notebook: Path) -> None:
    output = {"output_type": "display_data", "data": {"text/markdown": TABLE.splitlines(True)}}
    cell = code_cell("", [output])
    cell["source"] = ["#| label: tbl-a\n", '#| tbl-cap: "C"\n', "show()"]
    write_notebook(notebook, [cell])
    assert embeds.exhibit(notebook, "tbl-a").content == TABLE


HEAD = '#| label: fig-a\n#| fig-cap: "C"\nx'
PICTURE = shown("image/svg+xml", FIGURE)
FAILED = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}


@pytest.mark.parametrize(
    ("source", "outputs", "said"),
    [
        (HEAD, [], "shows nothing"),
        (HEAD, [shown("image/svg+xml", " \n")], "shows nothing"),
        (HEAD, [shown("text/plain", "<Figure>")], "shows nothing"),
        (HEAD, [PICTURE, PICTURE], "2 outputs"),
        (HEAD, [PICTURE, FAILED], "failed with ValueError"),
        ("#| label: fig-a\nx", [PICTURE], "no caption"),
        ('#| label: tbl-a\n#| tbl-cap: "C"\nx', [shown("text/markdown", "| a |\n|--|\n")], "rows"),
        ("#| label: fig-b\nx", [PICTURE], "no cell has this label; there are: fig-b"),
    ],
)
def test_what_would_be_a_hole_in_the_page_is_an_error(
    notebook: Path, source: str, outputs: list[dict[str, Any]], said: str
) -> None:
    one(notebook, source, outputs)
    label = "tbl-a" if "tbl-a" in source else "fig-a"
    with pytest.raises(embeds.EmbedError, match=rf"04-judge\.ipynb#{label}.*{said}"):
        embeds.exhibit(notebook, label)


def test_a_missing_notebook_is_named(notebook: Path) -> None:
    with pytest.raises(embeds.EmbedError, match=r"04-judge\.ipynb: no such notebook"):
        embeds.exhibit(notebook, "fig-a")


def test_a_label_twice_is_refused(notebook: Path) -> None:
    write_notebook(notebook, [labelled_cell("fig-a", "1"), labelled_cell("fig-a", "2")])
    with pytest.raises(embeds.EmbedError, match="two cells"):
        embeds.shown(notebook)


def test_trimming_keeps_one_output_of_each_labelled_cell(notebook: Path) -> None:
    plain = code_cell("print(1)", [{"output_type": "stream", "name": "stdout", "text": "1"}])
    cells = [plain, labelled_cell("tbl-a", "T"), labelled_cell("fig-a", "F")]
    cells.append(code_cell(HEAD.replace("fig-a", "fig-empty"), []))
    write_notebook(notebook, cells)
    trimmed = embeds.trimmed(notebook)
    assert "printed on the way" not in trimmed
    assert "html form" not in trimmed
    kept = json.loads(trimmed)["cells"]
    assert [len(cell["outputs"]) for cell in kept] == [1, 1, 0]
    again = notebook.with_name("again.ipynb")
    again.write_text(trimmed, encoding="utf-8")
    for label in ("tbl-a", "fig-a"):
        assert embeds.exhibit(again, label) == embeds.exhibit(notebook, label)
