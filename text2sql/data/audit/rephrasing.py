"""Words of a question that its query has in another form: as the evidence says, abbreviated, or spelt differently."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from text2sql.data.audit.reading import Reading, plain_value

# The smallest similarity of two spellings of a name.
_MIN_SIMILARITY = 0.85
# A column compared with a value, as evidence writes it.
COMPARISON = re.compile(r"`?(\w+)`?\s*(?:=|!=|LIKE|>=?|<=?)\s*(?:'([^']+)'|(\d+(?:\.\d+)?)\b)", re.IGNORECASE)
# What follows a value that the evidence only explains.
EXPLAINS = re.compile(r"\s*(?:means?|stands? for|indicates?|implies|denotes?)\b")
# Values in the evidence, after the words that they stand for.
_VALUES = re.compile(r"'([^']+)'|(?<![\w.])(\d+(?:\.\d+)?)(?![\w.]*\d)")
_REFERS = re.compile(r"\b(?:refers?(?: to)?|means?|implies|stands? for)\b")
_IS = re.compile(r"\b(?:is|are)\b")
# Nationalities whose countries' names start differently, and countries with acronyms.
_NATIONALITIES = {
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
_ACRONYMS = {
    "usa": "united states",
    "us": "united states",
    "uk": "united kingdom",
    "uae": "united arab emirates",
}


def is_rephrased_by_evidence(r: Reading, word: str) -> bool:
    """Whether the evidence says what a word stands for, and the query has that: ``California refers to 'CA'``."""
    for clause in re.split(r";|\.\s", r.example.evidence or ""):
        before, verb, after = _split_clause(clause)
        if not verb or not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", before.lower()):
            continue
        values = [plain_value(text or number) for text, number in _VALUES.findall(after)]
        if word not in values and any(value in r.values for value in values):
            return True
    return False


def _split_clause(clause: str) -> tuple[str, str, str]:
    match = _REFERS.search(clause) or _IS.search(clause)
    return (clause[: match.start()], match[0], clause[match.end() :]) if match else (clause, "", "")


def is_abbreviated(r: Reading, word: str) -> bool:
    """Whether a value of the query is an acronym of words that include this one: NY for New York."""
    countries = [_ACRONYMS[value] for value in r.values if value in _ACRONYMS]
    if any(word in country and country in r.question for country in countries):
        return True
    for run in re.findall(r"[A-Z][\w'-]*(?:\s+(?:of\s+|and\s+|the\s+)*[A-Z][\w'-]*)+", r.example.question):
        letters = "".join(part[0] for part in run.split() if part[0].isupper()).lower()
        if word in run.lower() and any(letters[at:end] in r.values for at, end in _spans(len(letters))):
            return True
    return False


def is_acronym(r: Reading, value: str) -> bool:
    """Whether a value consists of the initials of words in the question: NY for New York."""
    letters = "".join(word[0] for word in re.findall(r"\b[A-Z]\w*", r.example.question)).lower()
    return (1 < len(value) < 6 and value in letters) or _ACRONYMS.get(value, "\n") in r.text


def _spans(length: int) -> list[tuple[int, int]]:
    return [(at, end) for at in range(length) for end in range(at + 2, length + 1)]


def has_similar_value(r: Reading, word: str) -> bool:
    """Whether a word of the query's values is similar to this one: Africa for African, or a letter missing."""
    return any(are_similar(word, other) for other in re.findall(r"\w+", r.literal_text))


def are_similar(word: str, other: str) -> bool:
    """Whether two lower-case words are spellings or inflections of one word."""
    if other in _NATIONALITIES.get(word, ()) or word in _NATIONALITIES.get(other, ()):
        return True
    if min(len(word), len(other)) < 4 or word.isdigit() or other.isdigit():
        return False
    begins = len(min(word, other, key=len)) >= 5 and (word.startswith(other) or other.startswith(word))
    return (begins and abs(len(word) - len(other)) <= 3) or SequenceMatcher(
        None, word, other
    ).ratio() >= _MIN_SIMILARITY


def in_evidence(r: Reading, word: str) -> bool:
    """Whether a lower-case word is in the evidence."""
    return word in (r.example.evidence or "").lower()


def has_most_words(text: str, texts: str) -> bool:
    """Whether most words of a text are in another text."""
    words = re.findall(r"\w+", text)
    return bool(words) and sum(word in texts for word in words) >= 0.6 * len(words)
