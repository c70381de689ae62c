"""One YAML is one run: every value explicit, validated before anything starts."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cqa_helpers import paths, yamlfile

Status = Literal["simulated", "public-replay", "model-authored", "funded-study"]
ArmName = Literal["cot", "verdict-only", "style-only", "shuffled"]
Notebook = Literal[
    "01-annotate-audit", "02-fine-tune", "03-calibrated-surprise", "04-judge", "05-blind-analysis"
]
NOTEBOOKS: tuple[Notebook, ...] = (
    "01-annotate-audit",
    "02-fine-tune",
    "03-calibrated-surprise",
    "04-judge",
    "05-blind-analysis",
)
# What each notebook reads: a change elsewhere neither reruns it nor stales its results.
SECTIONS: dict[str, tuple[str, ...]] = {
    "01-annotate-audit": (
        "profile", "status", "language", "seed", "taxonomy", "corpus", "study.n_boot",
    ),
    "02-fine-tune": (
        "seed", "taxonomy", "corpus", "models", "tuning", "judging", "study.n_boot", "study.level",
    ),
    "03-calibrated-surprise": (
        "seed", "taxonomy", "corpus", "models", "tuning", "judging", "surprise", "study.level",
    ),
    "04-judge": ("seed", "taxonomy", "corpus", "models", "tuning", "judging", "blind", "study"),
    "05-blind-analysis": (
        "seed", "taxonomy", "corpus", "models", "tuning", "judging", "blind", "study",
    ),
}  # fmt: skip


class ParamsError(ValueError):
    """The params file does not say a valid run; the message lists each fault with its line."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RehearsalPeople(Section):
    """The declared skill of everyone who is simulated."""

    n_experts: int = Field(ge=2, le=20)
    expert_accuracy: float = Field(gt=0.5, le=1)
    reference_accuracy: float = Field(gt=0.5, le=1)
    n_raters: int = Field(ge=2, le=20)


class Corpus(Section):
    """Where passages, annotations, verdicts and pairs come from.

    ``folder`` holds a golden set, ``pairs`` is a folder of pairs; both from the repository root.
    ``target`` is how many annotations the study set out for.
    """

    source: Literal["rehearsal", "ttcw", "golden"]
    folder: str | None = None
    pairs: str | None = None
    n_train: int = Field(ge=0, le=10_000)
    n_test: int = Field(ge=1, le=10_000)
    n_pairs: int = Field(ge=0, le=10_000)
    target: int = Field(default=100, ge=1)
    people: RehearsalPeople | None = None

    @model_validator(mode="after")
    def _people_are_simulated_in_the_rehearsal_only(self) -> Corpus:
        if (self.source == "rehearsal") != (self.people is not None):
            raise ValueError("people (simulated experts and raters) belongs to source: rehearsal")
        return self

    @model_validator(mode="after")
    def _folders_are_the_golden_sets_only(self) -> Corpus:
        if (self.source == "golden") != (self.folder is not None):
            raise ValueError("folder (passages, annotations, verdicts) belongs to source: golden")
        if self.pairs is not None and self.source != "golden":
            raise ValueError("pairs (a folder of JSON Lines) belongs to source: golden")
        return self


class Models(Section):
    """The base model, and how it is loaded."""

    base: str = Field(min_length=1)
    revision: str | None = None
    second_base: str | None = None
    precision: Literal["float32", "bfloat16", "nf4"]
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=1, le=256)
    dialect: str = Field(min_length=1)


class Tuning(Section):
    """LoRA fine-tuning: arms with their sizes, over seeds, equal steps for all."""

    arms: dict[ArmName, list[int]] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    steps: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=1, le=1024)
    micro_batch_size: int = Field(ge=1, le=1024)
    learning_rate: float = Field(gt=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"]
    warmup_steps: int = Field(ge=0)
    max_length: int = Field(ge=16, le=131_072)
    lora_rank: int = Field(ge=1, le=1024)
    lora_alpha: int = Field(ge=1, le=4096)
    lora_dropout: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _whole_batches(self) -> Tuning:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} does not divide batch_size "
                f"{self.batch_size}"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are repeated: {self.seeds}")
        return self


class Live(Section):
    """A judge behind an OpenAI-compatible endpoint; its key comes from the environment."""

    judge_id: str
    model: str
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = Field(ge=16, le=100_000)
    usd_per_million_input: float = Field(ge=0)
    usd_per_million_output: float = Field(ge=0)
    budget_usd: float = Field(gt=0)


class Judging(Section):
    """Who judges, and how local models are sampled."""

    temperature: float = Field(ge=0, le=2)
    max_new_tokens: int = Field(ge=1, le=32_768)
    batch_size: int = Field(ge=1, le=4096)
    recorded: list[str] = []
    live: list[Live] = []
    baselines: list[Literal["always-no", "always-yes", "majority", "longest", "shuffled"]]


class Surprise(Section):
    """The calibrated-surprise measure."""

    primary: Literal["judgment", "text"]
    arms: list[ArmName] = Field(min_length=1)
    clip: float = Field(gt=0, lt=0.5)
    batch_size: int = Field(ge=1, le=4096)


class Blind(Section):
    """The blind test: how many passages, and whose diagnoses the raters see."""

    n_items: int = Field(ge=1, le=10_000)
    judges: list[str] = Field(min_length=2)


class Study(Section):
    """What is decided before data are opened."""

    candidate: str
    reference: str
    margin: float = Field(gt=0, lt=1)
    level: float = Field(gt=0.5, lt=1)
    n_boot: int = Field(ge=100, le=1_000_000)


class Params(Section):
    """A whole run."""

    profile: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    status: Status
    language: Literal["en", "zh"]
    seed: int = Field(ge=0)
    taxonomy: str
    corpus: Corpus
    models: Models | None
    tuning: Tuning | None
    judging: Judging
    surprise: Surprise | None
    blind: Blind | None
    study: Study

    @model_validator(mode="after")
    def _hangs_together(self) -> Params:
        if (self.models is None) != (self.tuning is None):
            raise ValueError("models and tuning come together: give both, or null for both")
        if self.surprise is not None and self.models is None:
            raise ValueError("surprise needs models: give models and tuning, or surprise: null")
        read = set(self.surprise.arms) if self.surprise else set()
        if self.tuning is not None and (unknown := read - set(self.tuning.arms)):
            raise ValueError(
                f"surprise.arms names {', '.join(sorted(unknown))}; tuning.arms has "
                f"{', '.join(self.tuning.arms)}"
            )
        if self.tuning is not None:
            for arm, sizes in self.tuning.arms.items():
                for n in sizes:
                    if not 1 <= n <= self.corpus.n_train:
                        raise ValueError(
                            f"tuning.arms.{arm}: size {n} is not within 1..corpus.n_train "
                            f"({self.corpus.n_train})"
                        )
        return self

    def notebooks(self) -> tuple[Notebook, ...]:
        """Return the notebooks this profile runs: without local models, no 02 and no 03."""
        skipped = set()
        if self.tuning is None:
            skipped.add("02-fine-tune")
        if self.surprise is None:
            skipped.add("03-calibrated-surprise")
        return tuple(n for n in NOTEBOOKS if n not in skipped)

    def fingerprint(self, notebook: str) -> str:
        """Return the hash of what a notebook reads, 16 hexadecimal digits."""
        read = {}
        for key in SECTIONS[notebook]:
            value: Any = self.model_dump(mode="json")
            for part in key.split("."):
                value = value[part]
            read[key] = value
        return fingerprint(read)


def fingerprint(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def profiles() -> list[str]:
    """Return the names of the profiles in ``params/``."""
    return sorted(path.stem for path in (paths.root() / "params").glob("*.yaml"))


def file_of(profile: str) -> Path:
    """Return a profile's YAML.

    Raises
    ------
    ParamsError
        Unknown profile: the list of those there are.
    """
    path = paths.root() / "params" / f"{profile}.yaml"
    if not path.is_file():
        raise ParamsError(f"No profile {profile!r}. There are: {', '.join(profiles())}.")
    return path


def load(file: Path | str) -> Params:
    """Read and validate a params file; a relative path is taken from the repository root.

    Raises
    ------
    ParamsError
        Each fault with file, line, key, the value given and what is allowed.
    """
    path = Path(file)
    if not path.is_absolute():
        path = paths.root() / path
    if not path.is_file():
        raise ParamsError(f"{path}: no such params file. Profiles: {', '.join(profiles())}.")
    return yamlfile.read(path, Params, ParamsError, "nothing was run.")


def dump(params: Params) -> str:
    """Return the resolved params as YAML."""
    return yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    try:
        load(file_of(sys.argv[1] if len(sys.argv) > 1 else "rehearsal"))
    except ParamsError as fault:
        sys.exit(str(fault))
