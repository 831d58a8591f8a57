"""Smells of values: numbers of the question that the query ignores, and values of the query that nobody mentions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta

from sqlglot import exp

from text2sql.data.audit.reading import NUMBERS, Reading
from text2sql.data.audit.rephrasing import (
    are_similar,
    has_most_words,
    in_evidence,
    is_acronym,
    is_rephrased_by_evidence,
)
from text2sql.data.audit.smell import Smell, same_number
from text2sql.data.schema_text import stems

# Values that percentages, units and SQL itself require without a word in the question.
NEVER_MENTIONED = frozenset(
    ("100", "100.0", "1", "0", "1.0", "0.0", "2", "", "%", "%y", "%m", "%d", "%y-%m", "-", " ", "now", "365")
)
# Words before an inclusive bound.
_INCLUSIVE = "at least|at most|since|up to|until|through|from|to|between|and|no less than|no more than"


def ignored_numbers(r: Reading) -> Iterator[Smell]:
    """Numbers of the question that the query does not use."""
    values = [str(node.this).lower() for node in r.tree.find_all(exp.Literal)]
    values += [name for name in r.column_names if re.search(r"\d", name)]
    values += [*_implied_days(r), *_implied_ranks(r), *_implied_bounds(r).values()]
    used = [number for value in values for number in re.findall(r"\d+(?:\.\d+)?", value)]
    used_counts = Counter(map(_without_leading_zeros, used))
    mentioned = Counter(r.numbers)
    ignored = 0
    for number, count in mentioned.items():
        digits_of_number = _without_leading_zeros(number)
        if (
            digits_of_number not in used_counts
            and not any(same_number(used_number, number) for used_number in used_counts)
            and not is_rephrased_by_evidence(r, number)
        ):
            kind = "number told ignored" if in_evidence(r, number) else "number ignored"
            yield Smell(kind, f"the question says {number}, the query does not")
            ignored += 1
        elif (
            count > used_counts[digits_of_number]
            and not number.startswith(("19", "20"))
            and not is_rephrased_by_evidence(r, number)
        ):
            yield Smell("number used once", f"the question says {number} {count} times, the query fewer")
    if ignored > 1:
        yield Smell("several numbers ignored", f"the question says {ignored} numbers that the query does not")
    for word in re.findall(r"[a-z]+", r.question):
        number = NUMBERS.get(word, "1")
        if number not in ("1", "2", "100", "1000") and number not in used_counts and not word.endswith(("th", "rd")):
            yield Smell("number word ignored", f"the question says {word}, the query does not")


def _without_leading_zeros(number: str) -> str:
    """A number's digits without leading zeros, which dates have."""
    return re.sub(r"^0+(?=\d)", "", number)


def _implied_days(r: Reading) -> Iterator[str]:
    """The days that date bounds imply: ``>= '2024-02-12'`` implies "after 11 February"."""
    for bound in r.tree.find_all(exp.GTE, exp.LT, exp.GT, exp.LTE):
        if isinstance(bound.expression, exp.Literal) and re.match(r"\d{4}-\d\d-\d\d", str(bound.expression.this)):
            days = -1 if isinstance(bound, (exp.GTE, exp.LT)) else 1
            with suppress(ValueError, OverflowError):
                yield str(date.fromisoformat(str(bound.expression.this)[:10]) + timedelta(days=days))


def _implied_bounds(r: Reading) -> dict[str, str]:
    """The inclusive bounds that the question mentions for exclusive ones: "at least 3" for ``> 2``."""
    bounds = {}
    for bound in r.tree.find_all(exp.GT, exp.LT):
        number = str(bound.expression.this) if isinstance(bound.expression, exp.Literal) else ""
        if number.isdigit():
            inclusive = str(int(number) + (1 if isinstance(bound, exp.GT) else -1))
            if re.search(
                rf"\b(?:{_INCLUSIVE}) {inclusive}\b|\b{inclusive} or (?:more|less|fewer|above|below)\b", r.text
            ):
                bounds[number] = inclusive
    return bounds


def _implied_ranks(r: Reading) -> Iterator[str]:
    """The ranks that offsets imply: ``LIMIT 1 OFFSET 3`` implies the fourth."""
    for offset in r.tree.find_all(exp.Offset):
        if isinstance(offset.expression, exp.Literal) and str(offset.expression.this).isdigit():
            yield str(int(str(offset.expression.this)) + 1)


def unmentioned_values(r: Reading) -> Iterator[Smell]:
    """Values of the query that neither question nor evidence mentions."""
    spelled_out = {digits for word, digits in NUMBERS.items() if word in r.words}
    spelled_out |= {bound for bound, inclusive in _implied_bounds(r).items() if inclusive in r.numbers}
    for literal in r.literals:
        value = str(literal.this).strip("%").lower()
        compared = _is_compared(literal)
        if literal.is_string and not (compared and re.search(r"\w", value.replace("_", ""))):
            continue
        if not literal.is_string and not compared and isinstance(literal.parent, exp.Func):
            continue
        if value in r.text and (not value.isdigit() or re.search(rf"(?<!\d){value}(?!\d)", r.text)):
            continue
        if (
            value in spelled_out
            or (value in NEVER_MENTIONED and not (compared and value.isdigit()))
            or (not value.strip() and not compared)
        ):
            continue
        words = re.findall(r"\w+", value)
        if literal.is_string and words and (has_most_words(value, r.text) or stems(value) & r.stems):
            if not all(word in r.text for word in words):
                yield Smell("value partly unsaid", f"'{value}' is only partly in the question")
            continue
        if literal.is_string and (
            is_acronym(r, value) or any(are_similar(w, mentioned) for w in words for mentioned in r.all_words)
        ):
            continue
        if re.fullmatch(r"\d+(?:\.\d+)?", value) and same_number(value, r.text):
            continue
        if value in ("0", "1"):
            yield Smell("flag unsaid", f"{literal.parent.sql() if literal.parent else value} is not said")
            continue
        kind = "text unsaid" if literal.is_string else "number unsaid" if compared else "number of a sum unsaid"
        yield Smell(kind, f"{literal.sql()} of the query is in neither question nor evidence")


def _is_compared(literal: exp.Literal) -> bool:
    """Whether a value is compared with a column, and not an argument of a function."""
    node: exp.Expr | None = literal.parent
    kinds = (exp.EQ, exp.NEQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Between, exp.In, exp.Like)
    return isinstance(node, kinds) and (literal.is_string or literal.find_ancestor(exp.Where, exp.Having) is not None)
