from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cqa_helpers import sources
from cqa_helpers.sources import MIRROR_VARIABLE, Source, SourceError, Sources

CONTENT = "四十八 stories\n".encode()
GOOD = Source(
    name="stories",
    repository="owner/repo",
    commit="a" * 40,
    path="folder/stories.json",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    bytes=len(CONTENT),
    licence="MIT",
    caution="made for a test",
)
LISTED = Sources(sources=(GOOD,))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    return tmp_path / "mirror"


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)


def put(mirror: Path, content: bytes) -> Path:
    path = mirror / GOOD.place
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


class Server:
    """Stands where the network is; counts what it is asked for."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, url: str, output_file: Any, pooch: Any, **_: Any) -> None:
        self.asked.append(url)
        if self.content is None:
            raise ConnectionError("no route to host")
        Path(output_file).write_bytes(self.content)


def test_every_listed_file_is_named_once_pinned_and_licensed() -> None:
    listed = sources.load().sources
    assert len({s.place for s in listed}) == len(listed)
    judges = {s.name for s in listed if s.name.startswith("ttcw-judge-")}
    assert len(judges) == 7
    assert {"ttcw-stories", "ttcw-annotations", "ttcw-majority", "ttcw-tests"} <= {
        s.name for s in listed
    }


def test_a_mirror_serves_the_file_in_place_and_leaves_the_network_alone(mirror: Path) -> None:
    path = put(mirror, CONTENT)
    server = Server(CONTENT)
    assert sources.fetch("stories", LISTED, downloader=server) == path
    assert server.asked == []


def test_a_file_missing_from_the_mirror_is_named_with_address_place_and_variable(
    mirror: Path,
) -> None:
    with pytest.raises(SourceError) as caught:
        sources.fetch("stories", LISTED)
    for part in ("stories", GOOD.address, str(mirror / GOOD.place), MIRROR_VARIABLE):
        assert part in str(caught.value)


def test_an_altered_file_in_the_mirror_is_refused_with_both_hashes(mirror: Path) -> None:
    put(mirror, CONTENT + b"!")
    with pytest.raises(SourceError) as caught:
        sources.fetch("stories", LISTED)
    for part in (GOOD.sha256, hashlib.sha256(CONTENT + b"!").hexdigest(), "is not used"):
        assert part in str(caught.value)


@pytest.mark.usefixtures("no_mirror")
def test_a_download_comes_from_the_pinned_commit_once(tmp_path: Path) -> None:
    server = Server(CONTENT)
    first = sources.fetch("stories", LISTED, tmp_path, server)
    second = sources.fetch("stories", LISTED, tmp_path, server)
    assert first == second
    assert first.read_bytes() == CONTENT
    assert server.asked == [
        f"https://raw.githubusercontent.com/owner/repo/{'a' * 40}/folder/stories.json"
    ]


@pytest.mark.usefixtures("no_mirror")
def test_the_cache_is_laid_out_like_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sources.fetch("stories", LISTED, tmp_path, Server(CONTENT))
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    assert sources.fetch("stories", LISTED) == path


@pytest.mark.usefixtures("no_mirror")
def test_an_altered_download_is_refused_with_both_hashes_and_not_kept(tmp_path: Path) -> None:
    other = b"something else"
    with pytest.raises(SourceError) as caught:
        sources.fetch("stories", LISTED, tmp_path, Server(other))
    assert GOOD.sha256 in str(caught.value)
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


@pytest.mark.usefixtures("no_mirror")
def test_a_cached_file_that_was_altered_is_downloaded_again(tmp_path: Path) -> None:
    path = sources.fetch("stories", LISTED, tmp_path, Server(CONTENT))
    path.write_bytes(b"overwritten")
    server = Server(CONTENT)
    assert sources.fetch("stories", LISTED, tmp_path, server).read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.usefixtures("no_mirror")
def test_without_network_or_mirror_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        sources.fetch("stories", LISTED, tmp_path, Server(None))
    message = str(caught.value)
    for part in ("stories", GOOD.address, MIRROR_VARIABLE, GOOD.place, "ConnectionError"):
        assert part in message
    assert "\n" not in message
    assert message.count(". ") == 0


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(SourceError, match=r"No public file 'poems'.*There are: stories\."):
        sources.fetch("poems", LISTED)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"commit": "main"}, r"sources\.0\.commit: .*pattern.*given: 'main'"),
        ({"sha256": "abc"}, r"sources\.0\.sha256"),
        ({"path": "../../etc/passwd"}, "must run downwards"),
        ({"path": "/etc/passwd"}, "must run downwards"),
        ({"bytes": 0}, r"sources\.0\.bytes: .*greater than 0"),
        ({"mirror": "x"}, r"unknown key; allowed: name, repository"),
    ],
)
def test_a_bad_list_is_refused_with_line_and_key(
    tmp_path: Path, change: dict[str, object], hint: str
) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": [{**GOOD.model_dump(), **change}]}))
    with pytest.raises(SourceError, match=hint) as caught:
        sources.load(path)
    assert str(caught.value).startswith(f"{path}:")


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": [GOOD.model_dump(), GOOD.model_dump()]}))
    with pytest.raises(SourceError, match="names given twice: stories"):
        sources.load(path)
