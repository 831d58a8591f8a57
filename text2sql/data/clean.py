"""Drops unusable rows and counts them by reason; no row is silently repaired or truncated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from text2sql.data.example import Example
from text2sql.data.facts import ExampleFacts, Facts
from text2sql.engines.dialect import DIALECTS, DISPLAY_NAMES
from text2sql.engines.trees import parse_query
from text2sql.errors import UserError

# Reasons that are not the data's fault.
REPEATED = "repeated"
SET_ASIDE = "set aside to keep schemas apart"
UNPARSABLE = "answer is not a query that parses"
# Unparsable queries that are parsed in other dialects, for the message.
_SAMPLE = 50


class Cleaned(NamedTuple):
    """The usable examples, in their order, and the number dropped for each reason."""

    examples: list[Example]
    dropped: dict[str, int]


def clean(examples: Sequence[Example], max_dropped: float, facts: ExampleFacts | None = None) -> Cleaned:
    """Drops rows that cannot be trained on or scored.

    Reasons: the source cannot use the row; a field is empty; the schema has no ``CREATE TABLE``; the answer does not
    parse as a query (by sqlglot, in its own dialect); ``db`` names no file (a relative path starts in the working
    directory); the row repeats an earlier one (same schema, question and query).

    Args:
        examples: The rows.
        max_dropped: The share of rows that may be unusable.
        facts: Learns the facts of the examples, for later use by the caller.

    Raises:
        UserError: There are no rows, or more than `max_dropped` of them are unusable.
    """
    if not examples:
        raise UserError("data: the source has no rows.")
    dropped: Counter[str] = Counter()
    kept, seen = [], set()
    known_facts = facts or ExampleFacts()
    known_facts.learn(examples)
    for example in examples:
        reason = _reason(example, known_facts.of(example))
        key = (example.context, example.question, example.answer)
        if reason is None and key in seen:
            reason = REPEATED
        seen.add(key)
        if reason is None:
            kept.append(example)
        else:
            dropped[reason] += 1
    if _are_too_many(dropped, len(examples), max_dropped):
        unparsable = [example for example in examples if _reason(example, known_facts.of(example)) == UNPARSABLE]
        check_dropped(dropped, len(examples), max_dropped, _other_dialect_remark(unparsable))
    return Cleaned(kept, dict(dropped))


def check_dropped(dropped: Counter[str] | dict[str, int], rows: int, max_dropped: float, remark: str = "") -> None:
    """Raises UserError if a larger share of the rows than `max_dropped` is unusable; repeated ones are not.

    Args:
        dropped: The number of dropped rows by reason.
        rows: The number of all rows.
        max_dropped: The share of rows that may be unusable.
        remark: A further sentence for the message, with a space at its end.
    """
    if _are_too_many(dropped, rows, max_dropped):
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"data: {_count_lost(dropped)} of {rows} rows cannot be used ({reasons}), more than "
            f"data.max_dropped={max_dropped:g}. {remark}Check data.columns and the source, or raise data.max_dropped."
        )


def _count_lost(dropped: Mapping[str, int]) -> int:
    return sum(count for reason, count in dropped.items() if reason not in (REPEATED, SET_ASIDE))


def _are_too_many(dropped: Mapping[str, int], rows: int, max_dropped: float) -> bool:
    lost = _count_lost(dropped)
    return lost == rows or lost > max_dropped * rows


def _other_dialect_remark(unparsable: Sequence[Example]) -> str:
    """A remark on another dialect in which most of the unparsable queries parse; empty if there is none."""
    sample = unparsable[:_SAMPLE]
    counts = {
        dialect: sum(parse_query(example.answer, dialect) is not None for example in sample)
        for dialect in DIALECTS
        if sample and dialect != sample[0].dialect
    }
    best = max(counts, key=lambda dialect: counts[dialect], default=None)
    if best is None or 2 * counts[best] <= len(sample):
        return ""
    share = f"{counts[best]} of {len(sample)} queries that do not parse as {DISPLAY_NAMES[sample[0].dialect]}"
    return f"{share} do as {DISPLAY_NAMES[best]} (data.dialect={best}). "


def _reason(example: Example, facts: Facts) -> str | None:
    if example.problem:
        return example.problem
    for field in ("question", "context", "answer"):
        if not getattr(example, field):
            return f"empty {field}"
    if not facts.tables:
        return "schema without CREATE TABLE"
    if example.db is not None and not Path(example.db).is_file():
        return "database file not found"
    return None if facts.is_query else UNPARSABLE
