from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

from cqa_helpers import weights
from cqa_helpers.params import Models, Params
from cqa_helpers.weights import ModelError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def of_hub(params: Params, **changes: object) -> Models:
    assert params.models is not None
    return params.models.model_copy(update={"base": "someone/model", **changes})


class Hub:
    """A hub of one model: what its cache holds, and how often it was asked for more."""

    def __init__(self, folder: Path, online: Path | None) -> None:
        self.folder, self.online, self.fetched = folder, online, 0

    def snapshot_download(
        self,
        name: str,
        revision: str | None = None,
        local_files_only: bool = False,
        allow_patterns: list[str] | None = None,
    ) -> str:
        assert name == "someone/model"
        # The cache too: it calls a snapshot incomplete that lacks a file nobody fetches.
        assert allow_patterns == weights.PATTERNS
        if not local_files_only:
            if self.online is None:
                raise OSError("no route")
            self.fetched += 1
            assert not any("bin" in p or "py" in p for p in allow_patterns)
            shutil.copytree(self.online, self.folder, dirs_exist_ok=True)
        elif not self.folder.is_dir():
            raise OSError("not in the cache")
        return str(self.folder)


@pytest.fixture
def hub(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "models--someone--model" / "snapshots" / COMMIT, tiny_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def test_a_hub_model_is_fetched_once_and_known_by_its_commit_from_the_first_run_on(
    tiny_params: Params, hub: Hub
) -> None:
    asked = of_hub(tiny_params)
    assert [weights.identity(asked) for _ in range(3)] == [f"someone/model@{COMMIT}/float32"] * 3
    assert hub.fetched == 1


def test_what_is_in_the_cache_needs_no_network(tiny_params: Params, hub: Hub) -> None:
    weights.folder_of(of_hub(tiny_params))
    hub.online = None
    assert weights.folder_of(of_hub(tiny_params)) == hub.folder


def test_a_fetch_that_was_cut_off_is_taken_up_again(tiny_params: Params, hub: Hub) -> None:
    hub.folder.mkdir(parents=True)
    (hub.folder / "config.json").write_text("{}")
    assert weights.whole(weights.folder_of(of_hub(tiny_params)))
    assert hub.fetched == 1


def test_a_shard_that_is_missing_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not weights.whole(tmp_path)
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "one.safetensors").touch()
    assert not weights.whole(tmp_path)
    (tmp_path / "two.safetensors").touch()
    assert weights.whole(tmp_path)


def test_a_model_of_pickled_weights_is_refused(
    tiny_params: Params, hub: Hub, tmp_path: Path
) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").touch()
    hub.online = pickled
    with pytest.raises(ModelError, match=r"no whole set of safetensors.*Pickled weights are not"):
        weights.folder_of(of_hub(tiny_params))


def test_precision_auto_is_settled_by_the_device(
    tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_params.models is not None
    auto = tiny_params.models.model_copy(update={"precision": "auto"})
    assert weights.precision_of(auto) == "float32"
    machine = weights.hardware.machine()
    monkeypatch.setattr(weights, "device_of", lambda spec: "cuda")
    for gib, expected in ((80.0, "bfloat16"), (24.0, "bfloat16")):
        card = machine._replace(gpu_total_gib=gib)
        monkeypatch.setattr(weights.hardware, "machine", lambda card=card: card)
        assert weights.precision_of(auto) == expected
    assert weights.identity(auto).endswith("/bfloat16")


def test_a_pinned_commit_is_known_without_the_weights(tiny_params: Params, hub: Hub) -> None:
    asked = of_hub(tiny_params, revision=COMMIT, precision="nf4")
    assert weights.identity(asked) == f"someone/model@{COMMIT}/nf4"
    assert hub.fetched == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_nothing_is_fetched_for_a_card_that_is_not_there(tiny_params: Params, hub: Hub) -> None:
    with pytest.raises(ModelError, match="has no CUDA device"):
        weights.folder_of(of_hub(tiny_params, device="cuda"))
    assert hub.fetched == 0
