"""Where the quarto program is installed: it makes the same report as the preview path."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest

from cqa_helpers import report
from synthetic_run import CELLS, make_run

pytestmark = pytest.mark.skipif(
    shutil.which("quarto") is None, reason="the quarto program is not on the PATH"
)
PAGES = ("index", "experiment", "methodology", "data", "reproducibility")


def words(page: Path) -> list[str]:
    """Return the words of a page's main text, less numbering that the two write differently."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r"<main[^>]*>(.*)</main>", text, re.DOTALL)
    assert found
    body = re.sub(r"<(script|style|annotation|nav).*?</\1>", " ", found[1], flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", " ", body)
    return re.findall(r"[a-z]{4,}", html.unescape(body).lower())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    first = make_run(tmp_path_factory.mktemp("quarto"))
    second = make_run(tmp_path_factory.mktemp("preview"))
    said = report.render(first, "quarto")
    report.render(second, "preview")
    return first / "report", second / "report", said


def test_quarto_warns_of_nothing(both: tuple[Path, Path, list[str]]) -> None:
    assert both[2] == []


def test_quarto_resolves_everything(both: tuple[Path, Path, list[str]]) -> None:
    for name in PAGES:
        text = (both[0] / f"{name}.html").read_text(encoding="utf-8")
        assert not re.search(r"\?@|\?var|\?invalid|\{\{<", text), name
        assert not re.search(r'(src|<link[^>]*href)="https?:', text), name
        assert "Simulated rehearsal" in text


def test_both_show_every_caption(both: tuple[Path, Path, list[str]]) -> None:
    wanted = {caption for cells in CELLS.values() for caption in cells.values()}
    for made in both[:2]:
        text = (made / "experiment.html").read_text(encoding="utf-8")
        assert not {caption for caption in wanted if caption not in text}


@pytest.mark.parametrize("name", PAGES)
def test_both_say_the_same(both: tuple[Path, Path, list[str]], name: str) -> None:
    quarto, ours = (set(words(made / f"{name}.html")) for made in both[:2])
    # The colophon names the renderer; Quarto labels its list of other formats, and tells screen
    # readers what kind a callout is.
    own = {"note", "warning"} | {
        "quarto",
        "preview",
        "path",
        "pandoc",
        "typst",
        "other",
        "links",
        "formats",
    }
    assert (ours ^ quarto) - own == set()
