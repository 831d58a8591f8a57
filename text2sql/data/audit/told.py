"""Words of a question that its query has in another form: as the evidence says, shortened, or spelt otherwise."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from text2sql.data.audit.reading import Reading, plain_value

# How alike two spellings of a name are.
_ALIKE = 0.85
# A column compared with a value, as evidence writes it.
COMPARISON = re.compile(r"`?(\w+)`?\s*(?:=|!=|LIKE|>=?|<=?)\s*(?:'([^']+)'|(\d+(?:\.\d+)?)\b)", re.IGNORECASE)
# Behind a value: the evidence says what it stands for.
EXPLAINS = re.compile(r"\s*(?:means?|stands? for|indicates?|implies|denotes?)\b")
# Values as evidence spells them, behind what they stand for.
_VALUES = re.compile(r"'([^']+)'|(?<![\w.])(\d+(?:\.\d+)?)(?![\w.]*\d)")
_REFERS = re.compile(r"\b(?:refers?(?: to)?|means?|implies|stands? for)\b")
_IS = re.compile(r"\b(?:is|are)\b")
# Peoples whose countries begin otherwise, and countries that are known by letters.
_PEOPLES = {
    "american": ("usa", "us", "america"),
    "british": ("uk", "britain", "england"),
    "danish": ("denmark",),
    "dutch": ("netherlands", "holland"),
    "finnish": ("finland",),
    "french": ("france",),
    "greek": ("greece",),
    "irish": ("ireland",),
    "polish": ("poland",),
    "scottish": ("scotland",),
    "spanish": ("spain",),
    "swedish": ("sweden",),
    "swiss": ("switzerland",),
    "turkish": ("turkey",),
    "welsh": ("wales",),
}
_LETTERS = {
    "usa": "united states",
    "us": "united states",
    "uk": "united kingdom",
    "uae": "united arab emirates",
}


def told_otherwise(r: Reading, word: str) -> bool:
    """Whether the evidence says what a word stands for, and the query has that: ``California refers to 'CA'``."""
    for clause in re.split(r";|\.\s", r.example.evidence or ""):
        before, verb, behind = _halves(clause)
        if not verb or not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", before.lower()):
            continue
        values = [plain_value(text or number) for text, number in _VALUES.findall(behind)]
        if word not in values and any(value in r.values for value in values):
            return True
    return False


def _halves(clause: str) -> tuple[str, str, str]:
    match = _REFERS.search(clause) or _IS.search(clause)
    return (clause[: match.start()], match[0], clause[match.end() :]) if match else (clause, "", "")


def shortened(r: Reading, word: str) -> bool:
    """Whether a value of the query is the first letters of words of which this is one: NY for New York."""
    countries = [_LETTERS[value] for value in r.values if value in _LETTERS]
    if any(word in country and country in r.question for country in countries):
        return True
    for run in re.findall(r"[A-Z][\w'-]*(?:\s+(?:of\s+|and\s+|the\s+)*[A-Z][\w'-]*)+", r.example.question):
        letters = "".join(part[0] for part in run.split() if part[0].isupper()).lower()
        if word in run.lower() and any(letters[at:end] in r.values for at, end in _spans(len(letters))):
            return True
    return False


def letters_of(r: Reading, value: str) -> bool:
    """Whether a value is the first letters of words in a row: NY for New York, USA with what stands between them."""
    letters = "".join(word[0] for word in re.findall(r"\b[A-Z]\w*", r.example.question)).lower()
    return (1 < len(value) < 6 and value in letters) or _LETTERS.get(value, "\n") in r.said


def _spans(length: int) -> list[tuple[int, int]]:
    return [(at, end) for at in range(length) for end in range(at + 2, length + 1)]


def spelt_otherwise(r: Reading, word: str) -> bool:
    """Whether a word of the query's values is nearly this one: Africa for African, or one letter less."""
    return any(near(word, other) for other in re.findall(r"\w+", r.texts))


def near(word: str, other: str) -> bool:
    """Whether two words, in lower case, are two spellings or two endings of one."""
    if other in _PEOPLES.get(word, ()) or word in _PEOPLES.get(other, ()):
        return True
    if min(len(word), len(other)) < 4 or word.isdigit() or other.isdigit():
        return False
    begins = len(min(word, other, key=len)) >= 5 and (word.startswith(other) or other.startswith(word))
    return (begins and abs(len(word) - len(other)) <= 3) or SequenceMatcher(None, word, other).ratio() >= _ALIKE


def in_evidence(r: Reading, word: str) -> bool:
    """Whether a word, in lower case, is in the evidence too."""
    return word in (r.example.evidence or "").lower()


def parts_in(text: str, texts: str) -> bool:
    """Whether most words of a text are in another."""
    words = re.findall(r"\w+", text)
    return bool(words) and sum(word in texts for word in words) >= 0.6 * len(words)
