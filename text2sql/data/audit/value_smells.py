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
from text2sql.data.audit.told import in_evidence, letters_of, near, parts_in, told_otherwise
from text2sql.data.schema_text import stems

# What a percentage, a unit and SQL itself bring into queries without a word in the question.
UNSAID = frozenset(
    ("100", "100.0", "1", "0", "1.0", "0.0", "2", "", "%", "%y", "%m", "%d", "%y-%m", "-", " ", "now", "365")
)
# Before a bound that is taken in.
_TAKEN_IN = "at least|at most|since|up to|until|through|from|to|between|and|no less than|no more than"


def ignored_values(r: Reading) -> Iterator[Smell]:
    """A value of the question that the query does not use."""
    values = [str(node.this).lower() for node in r.tree.find_all(exp.Literal)]
    values += [name for name in r.column_names if re.search(r"\d", name)]
    values += [*_days_meant(r), *_ranks_meant(r), *_bounds_meant(r).values()]
    used = [number for value in values for number in re.findall(r"\d+(?:\.\d+)?", value)]
    digits = Counter(map(_plain, used))
    said = Counter(r.numbers)
    ignored = 0
    for number, count in said.items():
        plain = _plain(number)
        if plain not in digits and not any(same_number(d, number) for d in digits) and not told_otherwise(r, number):
            kind = "number told ignored" if in_evidence(r, number) else "number ignored"
            yield Smell(kind, f"the question says {number}, the query does not")
            ignored += 1
        elif count > digits[plain] and not number.startswith(("19", "20")) and not told_otherwise(r, number):
            yield Smell("number used once", f"the question says {number} {count} times, the query fewer")
    if ignored > 1:
        yield Smell("several numbers ignored", f"the question says {ignored} numbers that the query does not")
    for word in re.findall(r"[a-z]+", r.question):
        number = NUMBERS.get(word, "1")
        if number not in ("1", "2", "100", "1000") and number not in digits and not word.endswith(("th", "rd")):
            yield Smell("number word ignored", f"the question says {word}, the query does not")


def _plain(number: str) -> str:
    """Digits as a number has them, without the zeros that a date puts in front."""
    return re.sub(r"^0+(?=\d)", "", number)


def _days_meant(r: Reading) -> Iterator[str]:
    """The day that a bound of whole days means: after 11 February is ``>= '2024-02-12'``, and ``>`` the day before."""
    for bound in r.tree.find_all(exp.GTE, exp.LT, exp.GT, exp.LTE):
        if isinstance(bound.expression, exp.Literal) and re.match(r"\d{4}-\d\d-\d\d", str(bound.expression.this)):
            days = -1 if isinstance(bound, (exp.GTE, exp.LT)) else 1
            with suppress(ValueError, OverflowError):
                yield str(date.fromisoformat(str(bound.expression.this)[:10]) + timedelta(days=days))


def _bounds_meant(r: Reading) -> dict[str, str]:
    """What bounds of whole numbers mean where it is said so: at least 3 is ``> 2``, and up to 2011 is ``< 2012``."""
    found = {}
    for bound in r.tree.find_all(exp.GT, exp.LT):
        number = str(bound.expression.this) if isinstance(bound.expression, exp.Literal) else ""
        if number.isdigit():
            meant = str(int(number) + (1 if isinstance(bound, exp.GT) else -1))
            if re.search(rf"\b(?:{_TAKEN_IN}) {meant}\b|\b{meant} or (?:more|less|fewer|above|below)\b", r.said):
                found[number] = meant
    return found


def _ranks_meant(r: Reading) -> Iterator[str]:
    """The rank of the first row that is taken: the fourth is ``LIMIT 1 OFFSET 3``."""
    for offset in r.tree.find_all(exp.Offset):
        if isinstance(offset.expression, exp.Literal) and str(offset.expression.this).isdigit():
            yield str(int(str(offset.expression.this)) + 1)


def unsaid_values(r: Reading) -> Iterator[Smell]:
    """A value of the query that neither question nor evidence says."""
    spelt = {digits for word, digits in NUMBERS.items() if word in r.words}
    spelt |= {bound for bound, meant in _bounds_meant(r).items() if meant in r.numbers}
    for literal in r.literals:
        value = str(literal.this).strip("%").lower()
        compared = _is_compared(literal)
        if literal.is_string and not (compared and re.search(r"\w", value.replace("_", ""))):
            continue
        if not literal.is_string and not compared and isinstance(literal.parent, exp.Func):
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
        if literal.is_string and words and (parts_in(value, r.said) or stems(value) & r.stems):
            if not all(word in r.said for word in words):
                yield Smell("value partly unsaid", f"'{value}' is only partly in the question")
            continue
        if literal.is_string and (letters_of(r, value) or any(near(w, said) for w in words for said in r.all_words)):
            continue
        if re.fullmatch(r"\d+(?:\.\d+)?", value) and same_number(value, r.said):
            continue
        if value in ("0", "1"):
            yield Smell("flag unsaid", f"{literal.parent.sql() if literal.parent else value} is not said")
            continue
        kind = "text unsaid" if literal.is_string else "number unsaid" if compared else "number of a sum unsaid"
        yield Smell(kind, f"{literal.sql()} of the query is in neither question nor evidence")


def _is_compared(literal: exp.Literal) -> bool:
    """Whether a value is what a column is compared with, and no argument of a function."""
    node: exp.Expr | None = literal.parent
    kinds = (exp.EQ, exp.NEQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Between, exp.In, exp.Like)
    return isinstance(node, kinds) and (literal.is_string or literal.find_ancestor(exp.Where, exp.Having) is not None)
