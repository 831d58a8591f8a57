"""Values: those of a question that its query ignores, and those of a query that nobody says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta

from sqlglot import exp

from text2sql.data.audit.reading import NUMBERS, Reading
from text2sql.data.audit.smell import Smell, same_number
from text2sql.data.schema_text import stems

# What a percentage, a unit and SQL itself bring into queries without a word in the question.
UNSAID = frozenset(
    ("100", "100.0", "1", "0", "1.0", "0.0", "2", "", "%", "%y", "%m", "%d", "%y-%m", "-", " ", "now", "365")
)


def ignored_values(r: Reading) -> Iterator[Smell]:
    """A value of the question that the query does not use."""
    values = [str(node.this).lower() for node in r.tree.find_all(exp.Literal)]
    used = [number for value in [*values, *_days_before(r)] for number in re.findall(r"\d+(?:\.\d+)?", value)]
    digits = Counter(map(_plain, used))
    said = Counter(r.numbers)
    ignored = 0
    for number, count in said.items():
        plain = _plain(number)
        if plain not in digits and not any(same_number(d, number) for d in digits):
            kind = "number told ignored" if _in_evidence(r, number) else "number ignored"
            yield Smell(kind, f"the question says {number}, the query does not")
            ignored += 1
        elif count > digits[plain] and not number.startswith(("19", "20")):
            yield Smell("number used once", f"the question says {number} {count} times, the query fewer")
    if ignored > 1:
        yield Smell("several numbers ignored", f"the question says {ignored} numbers that the query does not")
    for word in re.findall(r"[a-z]+", r.question):
        number = NUMBERS.get(word, "1")
        if number not in ("1", "2", "100", "1000") and number not in digits and not word.endswith(("th", "rd")):
            yield Smell("number word ignored", f"the question says {word}, the query does not")
    known = stems(" ".join([*r.column_names, *r.tables.values(), r.example.db_id or ""]))
    for text in r.quoted:
        if text not in r.texts and not _parts_in(text, r.texts) and text not in r.column_names:
            yield Smell("quoted value ignored", f'"{text}" of the question is not in the query')
    for name in r.names():
        if name not in r.texts and not stems(name) & known and name.rstrip("s") not in r.texts:
            told = _in_evidence(r, name)
            kind = "name told ignored" if told else "name ignored"
            yield Smell(kind, f"{name} of the question is not in the query")


def _plain(number: str) -> str:
    """Digits as a number has them, without the zeros that a date puts in front."""
    return re.sub(r"^0+(?=\d)", "", number)


def _days_before(r: Reading) -> Iterator[str]:
    """The day that a bound of whole days means: after 11 February is ``>= '2024-02-12'``, up to it ``<``."""
    for bound in r.tree.find_all(exp.GTE, exp.LT):
        if isinstance(bound.expression, exp.Literal) and re.match(r"\d{4}-\d\d-\d\d", str(bound.expression.this)):
            with suppress(ValueError, OverflowError):
                yield str(date.fromisoformat(str(bound.expression.this)[:10]) - timedelta(days=1))


def _in_evidence(r: Reading, word: str) -> bool:
    return word in (r.example.evidence or "").lower()


def _parts_in(text: str, texts: str) -> bool:
    words = re.findall(r"\w+", text)
    return bool(words) and sum(word in texts for word in words) >= 0.6 * len(words)


def unsaid_values(r: Reading) -> Iterator[Smell]:
    """A value of the query that neither question nor evidence says."""
    spelt = {digits for word, digits in NUMBERS.items() if word in r.words}
    for literal in r.literals:
        value = str(literal.this).strip("%").lower()
        compared = _is_compared(literal)
        if literal.is_string and not compared:
            continue
        if value in r.said and (not value.isdigit() or re.search(rf"(?<!\d){value}(?!\d)", r.said)):
            continue
        if (
            value in spelt
            or (value in UNSAID and not (compared and value.isdigit()))
            or (not value.strip() and not compared)
        ):
            continue
        words = re.findall(r"\w+", value)
        if literal.is_string and words and (_parts_in(value, r.said) or stems(value) & r.stems):
            if not all(word in r.said for word in words):
                yield Smell("value partly unsaid", f"'{value}' is only partly in the question")
            continue
        if re.fullmatch(r"\d+(?:\.\d+)?", value) and same_number(value, r.said):
            continue
        if value in ("0", "1"):
            yield Smell("flag unsaid", f"{literal.parent.sql() if literal.parent else value} is not said")
            continue
        kind = "text unsaid" if literal.is_string else "number unsaid"
        yield Smell(kind, f"{literal.sql()} of the query is in neither question nor evidence")


def _is_compared(literal: exp.Literal) -> bool:
    """Whether a value is what a column is compared with, and no argument of a function."""
    node: exp.Expr | None = literal.parent
    kinds = (exp.EQ, exp.NEQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Between, exp.In, exp.Like)
    return isinstance(node, kinds) and (literal.is_string or literal.find_ancestor(exp.Where, exp.Having) is not None)
