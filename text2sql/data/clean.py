"""Which rows can be used: each row that cannot is counted under its reason, none is repaired or cut silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from text2sql.data.example import Example
from text2sql.data.facts import Facts, KnownTexts
from text2sql.engines.dialect import DIALECTS, DISPLAY_NAMES
from text2sql.engines.trees import parse_query
from text2sql.errors import UserError

# Reasons that say nothing against the data.
REPEATED, SET_ASIDE = "repeated", "set aside to keep schemas apart"
UNREAD = "answer is not a query that parses"
# Queries that are tried in other dialects.
_SAMPLE = 50


class Cleaned(NamedTuple):
    """The usable examples, in their order, and the number dropped for each reason."""

    examples: list[Example]
    dropped: dict[str, int]


def clean(examples: Sequence[Example], max_dropped: float, known: KnownTexts | None = None) -> Cleaned:
    """Drop what cannot be trained on or scored.

    Reasons: the source says that it cannot use the row; a field is empty; the schema has no ``CREATE TABLE``; the
    answer is no query that parses (sqlglot, its own dialect); ``db`` names no file (a relative path starts in the
    working directory); the row repeats an earlier one (same schema, question and query).

    Args:
        examples: The rows.
        max_dropped: The share that may be lost.
        known: Learns the facts of the examples, for whoever needs them next.

    Raises:
        UserError: There is nothing, or more than `max_dropped` of the rows would be dropped.
    """
    if not examples:
        raise UserError("data: the source has no rows.")
    dropped: Counter[str] = Counter()
    kept, seen = [], set()
    texts = known or KnownTexts()
    texts.learn(examples)
    for example in examples:
        reason = _reason(example, texts.of(example))
        key = (example.context, example.question, example.answer)
        if reason is None and key in seen:
            reason = REPEATED
        seen.add(key)
        if reason is None:
            kept.append(example)
        else:
            dropped[reason] += 1
    if _too_many(dropped, len(examples), max_dropped):
        unread = [example for example in examples if _reason(example, texts.of(example)) == UNREAD]
        check_dropped(dropped, len(examples), max_dropped, _read_elsewhere(unread))
    return Cleaned(kept, dict(dropped))


def check_dropped(dropped: Counter[str] | dict[str, int], rows: int, max_dropped: float, remark: str = "") -> None:
    """Raise UserError when more of the rows are unusable than `max_dropped`; repeated and set-aside ones are usable.

    Args:
        dropped: How many, by reason.
        rows: Of how many.
        max_dropped: The share that may be.
        remark: What else is known of them, a sentence with a space behind it.
    """
    if _too_many(dropped, rows, max_dropped):
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(
            f"data: {_lost(dropped)} of {rows} rows cannot be used ({reasons}), more than "
            f"data.max_dropped={max_dropped:g}. {remark}Check data.columns and the source, or raise data.max_dropped."
        )


def _lost(dropped: Mapping[str, int]) -> int:
    return sum(count for reason, count in dropped.items() if reason not in (REPEATED, SET_ASIDE))


def _too_many(dropped: Mapping[str, int], rows: int, max_dropped: float) -> bool:
    lost = _lost(dropped)
    return lost == rows or lost > max_dropped * rows


def _read_elsewhere(unread: Sequence[Example]) -> str:
    """In which other dialect most queries parse that do not in their own; empty where most do in none."""
    sample = unread[:_SAMPLE]
    counts = {
        dialect: sum(parse_query(example.answer, dialect) is not None for example in sample)
        for dialect in DIALECTS
        if sample and dialect != sample[0].dialect
    }
    best = max(counts, key=lambda dialect: counts[dialect], default=None)
    if best is None or 2 * counts[best] <= len(sample):
        return ""
    what = f"{counts[best]} of {len(sample)} queries that do not parse as {DISPLAY_NAMES[sample[0].dialect]}"
    return f"{what} do as {DISPLAY_NAMES[best]} (data.dialect={best}). "


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
    return None if facts.is_query else UNREAD
