"""The words and sentences of the simulated micro-mysteries, and nothing but data.

All lower case, tokens separated by single spaces, punctuation is a token. A placeholder in
braces stands for one drawn word. Invented for this project; nothing is taken from a source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DIMENSIONS = ("craft", "audience", "reality_logic")

PEOPLE = _words(
    "wilma jasper cora lionel tess corin barnaby pearl agnes edgar "
    "hattie milton nora otis ruth silas ida felix maud victor"
)
DETECTIVES = _words("quill thorne pike sorrel brandt hobbs")
INDOORS = _words("library cellar kitchen attic chapel tower")
OUTDOORS = _words("bridge orchard harbour quarry meadow market")
PLACES = INDOORS + OUTDOORS
DAY = _words("dawn noon four six")
NIGHT = _words("dusk nine ten midnight")
TIMES = DAY + NIGHT
OBJECTS = _words(
    "watch letter key glove scarf candle knife coin ring ledger bottle mirror lantern brooch map"
)
ADJECTIVES = _words("broken wet torn rusty small heavy cracked faded")
FURNITURE = _words("chair desk bed stove shelf trunk")
DEEDS = _words("locked opened searched cleaned painted emptied")
ACTS = (
    "lit the fire",
    "wound the clock",
    "fed the geese",
    "poured the tea",
    "rang the bell",
    "swept the stairs",
)

OPENINGS = (
    "{detective} reached the {place} at {time} .",
    "at {time} {detective} came to the {place} .",
    "it was {time} when {detective} entered the {place} .",
)
BODIES = (
    "in the {body_place} {finder} found {victim} dead .",
    "{finder} had found {victim} dead in the {body_place} .",
    "the body of {victim} was found by {finder} in the {body_place} .",
)

MOOD_NOUNS = _words("rain smoke dust fog frost moss ash steam")
MOOD_VERBS = _words("ticked hung gathered crept settled leaned")
MOOD_PREPOSITIONS = _words("on under above along")
MOOD_SURFACES = _words("slates shutters gutters hedges bricks panes")
FRESH_MOOD = "{mood_noun} {mood_verb} {mood_preposition} the {mood_surface} ."
# Stock phrases by the noun that a note names.
WORN_MOODS = (
    ("night", "the night was black as ink ."),
    ("rain", "the rain came down in buckets ."),
    ("fog", "a thick fog swallowed everything ."),
    ("wind", "the wind howled like a wolf ."),
    ("silence", "silence fell like a stone ."),
    ("thunder", "thunder rolled in the distance ."),
    ("smoke", "smoke curled like a snake ."),
    ("shadows", "shadows danced on the walls ."),
    ("moon", "the moon hid behind a cloud ."),
    ("dust", "dust lay thick as snow ."),
)

SPEECHES = (
    "{detective} said : {line} .",
    "then {detective} spoke : {line} .",
    "so {detective} asked : {line} .",
)
PLAIN_LINES = (
    "i heard a step upstairs",
    "we must send for help",
    "the lamp was still warm",
    "no one left the house",
    "ask the cook about supper",
    "that door is never open",
    "someone has moved the plates",
    "he owed money to everyone",
)
MODERN_LINES = (
    "dude this is so random",
    "lol we are totally done",
    "that is a massive yikes",
    "bro just check your phone",
    "okay so let us vibe",
    "no way this one slaps",
    "literally i cannot even now",
    "my mood is a meme",
)

FIRST_CLUES = (
    "a {adjective} {object} lay by the {furniture} .",
    "by the {furniture} lay a {adjective} {object} .",
    "a {adjective} {object} stood near the {furniture} .",
)
SECOND_CLUES = (
    "someone had left a {adjective} {object} on the {furniture} .",
    "a {adjective} {object} was hidden under the {furniture} .",
    "on the {furniture} they saw a {adjective} {object} .",
)
QUESTIONS = (
    "who had {deed} the {place} ?",
    "but who had {deed} the {place} ?",
    "they wondered who had {deed} the {place} .",
)
ANSWERS = (
    "in the end {person} had {deed} the {place} .",
    "it was {person} who had {deed} the {place} .",
    "{person} , it turned out , had {deed} the {place} .",
)

CLAIMS = (
    "{killer} swore to be in the {place} at {time} .",
    "at {time} , said {killer} , i was in the {place} .",
    "{killer} named the {place} as home at {time} .",
)
SIGHTINGS = (
    "{witness} put {killer} in the {place} at {time} .",
    "{witness} met {killer} at {time} in the {place} .",
    "at {time} {witness} saw {killer} in the {place} .",
)
MOVES = (
    "later {mover} {act} .",
    "an hour on {mover} {act} .",
    "after that {mover} {act} .",
)

REVEALS_BY_CLUE = (
    "the {object} proved that {killer} was the killer .",
    "{killer} was the killer , as the {object} showed .",
    "thanks to the {object} , {killer} was known as the killer .",
)
REVEALS_BARE = (
    "at last {killer} was known as the killer .",
    "{killer} was the killer after all .",
    "everyone saw that {killer} was the killer .",
)

_LANDMARKS = _words("mill well pond gate oak wall")
_TRADES = _words("baker tailor nurse clerk smith teacher sailor farmer")
_MATERIALS = _words("brass glass silver wood tin leather")


def _spread(keys: Iterable[str], values: tuple[str, ...], stride: int) -> dict[str, str]:
    return {
        key: values[(i * stride + i // len(values)) % len(values)] for i, key in enumerate(keys)
    }


# The factual world: arbitrary but fixed, each value shared by several keys.
FACTS = {
    "place": _spread(PLACES, _LANDMARKS, 5),
    "person": _spread(PEOPLE, _TRADES, 3),
    "object": _spread(OBJECTS, _MATERIALS, 5),
}
FACT_SENTENCES = {
    "place": (
        "the {key} stands near the {value} .",
        "you find the {key} near the {value} .",
        "next to the {key} is the {value} .",
    ),
    "person": (
        "{key} works as a {value} .",
        "the trade of {key} is {value} .",
        "{key} earns a living as {value} .",
    ),
    "object": (
        "the {key} is made of {value} .",
        "they made the {key} of {value} .",
        "{value} is what the {key} is made of .",
    ),
}

# Notes by kind, in two wordings. Both operands stand before the word that is compared or
# classified, and no two wordings share a first word, so that the first word names the kind.
NOTES = {
    "mood": ("mood line of {x} , stock {answer}", "air set by {x} , worn {answer}"),
    "speech": (
        "voice of {x} opens {y} , modern {answer}",
        "spoken by {x} as {y} , slang {answer}",
    ),
    "clue": (
        "early clues {x} and {y} , reveal names {z} , planted {answer}",
        "shown first {x} then {y} , last clue {z} , prepared {answer}",
    ),
    "question": (
        "question {x} , later {y} , settled {answer}",
        "raised {x} , in the end {y} , answered {answer}",
    ),
    "alibi": (
        "claim of {x} is {y} , seen in {z} , same {answer}",
        "whereabouts of {x} are {y} , witness has {z} , agreed {answer}",
    ),
    "mover": (
        "killed is {x} , later mover is {y} , same {answer}",
        "corpse of {x} , afterwards acts {y} , alike {answer}",
    ),
    "finder": (
        "killer is {x} , finder is {y} , same {answer}",
        "guilty is {x} , found by {y} , alike {answer}",
    ),
    "hour": ("time is {x} , night {answer}", "clock says {x} , dark {answer}"),
    "start": ("start in {x} , indoors {answer}", "opening at {x} , roofed {answer}"),
    "scene": (
        "scene one {x} , body in {y} , same {answer}",
        "setting is {x} , dead lies in {y} , alike {answer}",
    ),
}
# Relevant kinds: dimension, subtype, and the answer that keeps the dimension's standard. The
# polarity differs on purpose: "same yes" is good of an alibi and bad of a mover.
STANDARDS = {
    "mood": ("craft", "a", False),
    "speech": ("craft", "b", False),
    "clue": ("audience", "a", True),
    "question": ("audience", "b", True),
    "alibi": ("reality_logic", "a", True),
    "mover": ("reality_logic", "b", False),
}
PLANS = {
    "mood": "tone fresh",
    "speech": "tone plain",
    "clue": "clue {x}",
    "question": "riddle {x}",
    "alibi": "alibi {x} {y}",
    "mover": "death {x}",
}


def words() -> set[str]:
    """Return every word that this grammar can put into a text."""
    drawn = (
        *DIMENSIONS, *PEOPLE, *DETECTIVES, *PLACES, *TIMES, *OBJECTS, *ADJECTIVES, *FURNITURE,
        *DEEDS, *ACTS, *MOOD_NOUNS, *MOOD_VERBS, *MOOD_PREPOSITIONS, *MOOD_SURFACES, *PLAIN_LINES,
        *MODERN_LINES, *(phrase for pair in WORN_MOODS for phrase in pair), "yes", "no",
    )  # fmt: skip
    templates = (
        *OPENINGS, *BODIES, FRESH_MOOD, *SPEECHES, *FIRST_CLUES, *SECOND_CLUES, *QUESTIONS,
        *ANSWERS, *CLAIMS, *SIGHTINGS, *MOVES, *REVEALS_BY_CLUE, *REVEALS_BARE, *PLANS.values(),
        *(t for pair in NOTES.values() for t in pair),
        *(t for three in FACT_SENTENCES.values() for t in three),
    )  # fmt: skip
    facts = (value for table in FACTS.values() for value in table.values())
    text = " ".join((*drawn, *facts, *(re.sub(r"\{\w+\}", " ", t) for t in templates)))
    return set(text.split())
