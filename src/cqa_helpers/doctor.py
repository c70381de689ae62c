"""Will a profile run on this machine? Each thing it needs, looked at before a second is spent.

A check that is not ok stops the run; one that is None is a warning, or something that cannot be
known from here. Every line that is not ok says what to do.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import bases, capacity, cohort, corpus, hardware, prices, splits, supervision
from cqa_helpers.arms import ArmError
from cqa_helpers.bases import Known
from cqa_helpers.checks import Check, environment, failed, lines
from cqa_helpers.corpus import Corpus, CorpusError
from cqa_helpers.golden import GoldenError
from cqa_helpers.hardware import GIB, Machine
from cqa_helpers.params import Params
from cqa_helpers.prompts import DialectError
from cqa_helpers.records import RecordError
from cqa_helpers.sources import SourceError
from cqa_helpers.supervision import Audit, TuningError

# Corpus, record of calls, notebooks and report of a run: our choice, a rehearsal has 60 MB.
BESIDES_GIB = 0.2
__all__ = [
    "Check", "Findings", "environment", "examine", "failed", "lines", "tokenizer_of",
]  # fmt: skip

UNREADABLE = (CorpusError, GoldenError, RecordError, SourceError, OSError)


class Findings(NamedTuple):
    """All checks of a profile, and what they learnt that an estimate can use.

    ``tokens`` has one audit for each execution of 02, where the tokenizer is on disk.
    """

    checks: list[Check]
    machine: Machine
    known: Known | None
    material: Corpus | None
    tokens: dict[str, Audit]
    choice: capacity.Choice | None


def examine(
    params: Params,
    run_dir: Path,
    *,
    hub: bases.Hub | None = None,
    machine: Machine | None = None,
    variables: Mapping[str, str] = os.environ,
    tokenizer: Callable[[Known], Any] | None = None,
) -> Findings:
    """Look at all that a profile needs; nothing is downloaded and nothing written that stays.

    ``hub`` is asked about bases that are not on disk; without it the network is left alone.
    """
    machine = machine or hardware.machine(run_dir)
    checks = environment(machine)
    material, said = _material(params, run_dir)
    checks += said
    checks += [*_prompts(params), *_keys(params, variables), *_prices(params)]
    found: Known | None = None
    choice: capacity.Choice | None = None
    tokens: dict[str, Audit] = {}
    if params.models is not None and params.tuning is not None:
        names = [params.models.base, *([params.models.second_base or ""])]
        for name in filter(None, names):
            one = _known(params, name, hub)
            checks += [one] if isinstance(one, Check) else _base(one, params)
            if found is None and not isinstance(one, Check):
                found = one
        checks.append(_device(params, machine))
        if material is not None:
            tokens, said = _rows(params, material, found, tokenizer or tokenizer_of)
            checks += said
        if found is not None:
            choice, check = _memory(params, machine, found, list(tokens.values()))
            checks += [check, _disk(params, machine, found)]
    return Findings(checks, machine, found, material, tokens, choice)


def _material(params: Params, run_dir: Path) -> tuple[Corpus | None, list[Check]]:
    """Prepare the corpus in a folder that goes again, and say what came of it."""
    if params.corpus.source == "ttcw" and (missing := corpus_downloads()):
        size = sum(s.bytes for s in missing) / 1e6
        said = f"{len(missing)} public file(s) of TTCW, {size:.1f} MB, will be downloaded"
        return None, [Check("data", None, said, "connect to the network for the first run, or set "
                            "CQA_DATA_MIRROR to a folder that holds them")]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        try:
            material = corpus.prepare(params, Path(folder))
        except splits.SplitError as error:
            return None, [Check("split", False, str(error), "keep all passages of a work under "
                                "one work_id; where there are too few, add works")]  # fmt: skip
        except UNREADABLE as error:
            return None, [
                Check("data", False, str(error), "give the data it names, then ask again")
            ]
    said = (
        f"{len(material.passages)} passages, {len(material.annotations)} annotations; "
        f"{len(material.split.train)} to train on, {len(material.split.test)} held out"
    )
    clean = "no passage, work, text or near-duplicate stands on both sides"
    # A corpus is checked for leaks as it is made.
    return material, [Check("data", True, said), Check("split", True, clean)]


def corpus_downloads() -> list[Any]:
    """Return the public files of TTCW that are neither in a mirror nor in the cache."""
    import pooch

    from cqa_helpers import sources, ttcw

    names = ["ttcw-stories", "ttcw-annotations", *(f"ttcw-judge-{j}" for j in ttcw.JUDGES)]
    if os.environ.get(sources.MIRROR_VARIABLE):
        return []
    cache = Path(pooch.os_cache("cqa"))
    known = sources.load()
    return [s for s in map(known.get, names) if not (cache / s.place).is_file()]


def _keys(params: Params, variables: Mapping[str, str]) -> Iterator[Check]:
    for live in params.judging.live:
        is_set = bool(variables.get(live.key_variable))
        yield Check(
            f"key of {live.judge_id}", is_set,
            f"{live.key_variable} is {'set' if is_set else 'not set'}",
            f"export {live.key_variable}=…, or set recorded verdicts in its place "
            "(judging.recorded, with live: [])",
        )  # fmt: skip


def _prompts(params: Params) -> Iterator[Check]:
    """Check each live judge's words: a file that is missing would else stop the run in 04."""
    for live in params.judging.live:
        try:
            put = cohort.live_panel(live, params)
            known = live.form in put.dialect.forms
            said = f"data/prompts/{live.dialect}.yaml, form {live.form}"
            what = f"choose one of its forms: {', '.join(put.dialect.forms)}"
        except DialectError as error:
            known, said, what = False, str(error), "name a file of data/prompts in judging.live"
        yield Check(f"prompts of {live.judge_id}", known, said, what)


def _prices(params: Params) -> Iterator[Check]:
    listed = params.judging.prices
    if listed is None or not params.judging.live:
        return
    warning = prices.outdated(listed, date.today())
    yield Check("prices", None if warning else True,
                warning or f"as of {listed.as_of}, {listed.source}",
                "look the prices up and set judging.prices with the day")  # fmt: skip


def _known(params: Params, name: str, hub: bases.Hub | None) -> Known | Check:
    assert params.models is not None
    try:
        return bases.known(params.models, name, hub)
    except Exception as error:  # whatever the hub's client raises, the base is out of reach
        return Check(f"base {name}", False, f"the hub does not give it ({type(error).__name__})",
                     "check name and models.revision, and the network")  # fmt: skip


def _base(known: Known, params: Params) -> Iterator[Check]:
    assert params.models is not None
    name = f"base {known.name}"
    size = "of unknown size" if known.gib is None else f"{known.gib:.2g} GiB"
    where = {"repository": "in the repository", "cache": "in the hub's cache"}.get(known.where)
    yield Check(name, True if where else None,
                f"{where}, {size}" if where else f"not on disk: {size} to be downloaded",
                "connect to the network for the first run, or put its files in a folder and name "
                "that in models.base; --online asks the hub now")  # fmt: skip
    if known.where != "repository":
        pinned = params.models.revision
        found = f"; {'here' if known.where == 'cache' else 'there'} is {known.commit}"
        yield Check("  revision", True if pinned else None,
                    f"pinned to {pinned}" if pinned
                    else f"not pinned{found if known.commit else ''}",
                    "write the commit into models.revision: weights may change")  # fmt: skip
    if known.weights is not None:
        good = bool(known.weights)
        yield Check("  weights", good,
                    f"{len(known.weights)} safetensors file(s)" if good
                    else f"no safetensors, only {', '.join(known.pickled) or 'nothing'}",
                    "take a base with safetensors: pickles can run code, none is read")  # fmt: skip
    if known.own_code:
        yield Check("  code", False, f"its config would run {', '.join(known.own_code)}",
                    "take a base that transformers knows: trust_remote_code stays off")  # fmt: skip
    free = known.licence is not None and bases.permissive(known.licence)
    yield Check("  licence", True if free else None,
                known.licence or "unknown: no model card is here that states one",
                "read its terms: may it be tuned, and may adapters be passed on?")  # fmt: skip


def _device(params: Params, machine: Machine) -> Check:
    assert params.models is not None
    spec = params.models
    wanted = f"models.device is {spec.device}"
    if spec.device == "cuda" and machine.gpu is None:
        return Check("device", False, f"{wanted}, and there is no CUDA device",
                     "use a machine with a GPU, or set models.device to auto or cpu")  # fmt: skip
    if spec.precision == "nf4" and util.find_spec("bitsandbytes") is None:
        return Check("device", False, "nf4 needs bitsandbytes, and it is not installed",
                     "pip install 'cqa_helpers[gpu]', or set models.precision to auto")  # fmt: skip
    used = machine.gpu if machine.gpu and spec.device != "cpu" else "CPU"
    return Check("device", True, f"{wanted}: {used}")


def tokenizer_of(known: Known) -> Any:
    """Return the tokenizer of a base that is on disk."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(known.folder), trust_remote_code=False)


def _rows(
    params: Params, material: Corpus, known: Known | None, load: Callable[[Known], Any]
) -> tuple[dict[str, Audit], list[Check]]:
    """Make every arm's rows, read their verdicts back, and count their tokens."""
    assert params.tuning is not None
    wrong, tokens, made = [], {}, 0
    tokenizer = load(known) if known is not None and known.folder is not None else None
    for cell, member in cohort.cells(params).items():
        try:
            # Rows read their verdicts back as they are made.
            rows = cohort.taught(member, params, material)
            made += len(rows)
            if tokenizer is not None:
                if params.tuning.too_long == "cut":
                    rows = supervision.cut(rows, tokenizer, params.tuning.max_length)
                tokens[cell] = supervision.audit(rows, tokenizer, params.tuning.max_length)
        except (ArmError, TuningError) as error:
            wrong.append(Check(f"rows of {cell}", False, str(error),
                               "mend the annotations, or change tuning as said"))  # fmt: skip
    if wrong:
        return tokens, wrong
    said = f"{made} in {len(cohort.cells(params))} arm(s) and sizes, all verdicts read back"
    if tokenizer is None:
        return tokens, [Check("rows", None, f"{said}; not counted in tokens: no tokenizer on disk",
                              "fetch the base, then ask again whether every row fits")]  # fmt: skip
    longest = max(a.longest for a in tokens.values())
    said += f"; the longest has {longest} tokens of {params.tuning.max_length}"
    return tokens, [Check("rows", True, said)]


def _memory(
    params: Params, machine: Machine, known: Known, tokens: Sequence[Audit]
) -> tuple[capacity.Choice | None, Check]:
    assert params.models is not None
    assert params.tuning is not None
    if known.shape is None:
        return None, Check("memory", None, f"not estimated: {known.shape_error}",
                           "try a short run first (tuning.steps: 2)")  # fmt: skip
    on_gpu = params.models.device != "cpu" and machine.gpu is not None
    if params.models.device == "cuda" and machine.gpu is None:
        free = None
    else:
        free = machine.gpu_free_gib if on_gpu else machine.ram_free_gib
    length = max((a.longest for a in tokens), default=params.tuning.max_length)
    each = max((-(-a.supervised_tokens // a.rows) for a in tokens), default=length // 4)
    try:
        choice = capacity.choose(
            known.shape, free,
            precision=params.models.precision,
            checkpointing=params.tuning.activation_checkpointing,
            rank=params.tuning.lora_rank, micro_batch=params.tuning.micro_batch_size,
            length=length, supervised=each, dropout=params.tuning.lora_dropout > 0,
            device="cuda" if on_gpu or params.models.device == "cuda" else "cpu",
        )  # fmt: skip
    except capacity.CapacityError as error:
        return None, Check("memory", False, str(error), "change one of these, then ask again")
    return choice, Check("memory", None if free is None else True, choice.why,
                         "ask again on the machine with the card")  # fmt: skip


def _disk(params: Params, machine: Machine, known: Known) -> Check:
    assert params.tuning is not None
    shape = known.shape
    members = len(cohort.planned(params))
    # Adapters are written in float32, and as many checkpoints as are kept.
    each = 4 * shape.lora(params.tuning.lora_rank) * params.tuning.checkpoints / GIB if shape else 0
    download = (known.gib or 0) if known.where == "hub" else 0
    wanted = members * each + download + BESIDES_GIB
    said = f"{wanted:.2g} GiB of {machine.disk_free_gib:.0f} GiB free: {members} adapters"
    said += f" of {params.tuning.checkpoints} checkpoint(s)" if shape else ", their size unknown"
    said += f", and the base's {download:.0f} GiB" if download else ""
    return Check("disk", wanted < machine.disk_free_gib, said,
                 "make room, or lower tuning.checkpoints")  # fmt: skip
