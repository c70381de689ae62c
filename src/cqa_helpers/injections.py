"""Passages that speak to the judge: found and flagged, never obeyed and never removed.

The patterns are our choice and find plain attempts, in English and Chinese. What keeps an
attempt from counting is elsewhere: only the answer is parsed, never the passage.
"""

from __future__ import annotations

import re

_PATTERNS: dict[str, str] = {
    "sets the instructions aside": (
        r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,40}"
        r"\b(?:instructions?|rubrics?|prompts?|guidelines|criteria)\b"
        r"|(?:忽略|无视|不要理会|忘记|忘掉)[^。！？\n]{0,20}(?:指令|指示|评分标准|提示词?)"
    ),
    "dictates the answer": (
        r"\b(?:answer|respond|reply|rate|score|judge|grade)\b(?:\s+\w+){0,4}?\s*[:=]?\s*[\"'“]?"
        r"\b(?:yes|no|\d{1,3}(?:\s*/\s*\d+)?)\b[\"'”]?\s*(?:[.!,;\n]|$)"
        r"|(?:请|必须|务必|直接)?(?:回答|打分|评分|给出|评为)[^。！？\n]{0,8}[“\"：:]?"
        r"(?:是|否|满分|[1-5]\s*分)(?=[”\"。！，\n]|$)"
    ),
    "writes a verdict": r"\bverdict\s*:\s*\w+|\"verdict\"\s*:|结论\s*[:：]\s*[是否]",
    "speaks as the system": (
        r"(?m)^\s*(?:#+\s*)?(?:system|assistant|user)\s*:|<\|?(?:im_start|system|assistant)\b"
        r"|\byou are (?:an? )?(?:ai|language model|assistant|judge|grader)\b"
        r"|\[/?INST\]|你是(?:一个|一名)?(?:人工智能|语言模型|评委|评分员)"
    ),
}
_COMPILED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _PATTERNS.items()}


def found(text: str) -> list[str]:
    """Return what a text does that a story has no reason to do, by name; empty for nearly all."""
    return [name for name, pattern in _COMPILED.items() if pattern.search(text)]
