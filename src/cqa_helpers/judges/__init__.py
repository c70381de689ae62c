"""Judges: whoever is shown a passage and writes :class:`~cqa_helpers.records.Verdict` rows.

A local model and an endpoint are asked through one interface, :class:`Judge`; recorded verdicts,
baselines and juries come as rows.
"""

from cqa_helpers.judges.local import LocalJudge
from cqa_helpers.judges.panel import Judge, JudgeError, NotRecordedError, Panel, rows
from cqa_helpers.judges.reward import reward

__all__ = ["Judge", "JudgeError", "LocalJudge", "NotRecordedError", "Panel", "reward", "rows"]
