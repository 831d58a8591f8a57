"""Smells of names: names, quoted texts and codes of the question that the query does not use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.rephrasing import (
    has_most_words,
    has_similar_value,
    in_evidence,
    is_abbreviated,
    is_rephrased_by_evidence,
)
from text2sql.data.audit.smell import Smell
from text2sql.data.schema_text import stems

# Consecutive capitalized words: Maria Miller.
_FULL_NAME = re.compile(r"[A-ZÀ-Ý][\w'À-ÿ-]+(?: [A-ZÀ-Ý][\w'À-ÿ-]+)+")
# Codes: letters and digits in one word, such as M23-26.
_CODE = re.compile(r"(?<![\w.-])(?=[\w.-]*\d)(?=[\w.-]*[A-Za-z])\w[\w.-]*\w(?![\w-])")
# Numbers with a suffix, a unit or a currency, which are not codes.
_NUMBER_WITH_UNIT = re.compile(
    r"[\d.,:-]+(?:st|nd|rd|th|s|am|pm|a\.m|p\.m|k|m|km|kg|g|cm|mm|lbs?|min|h|hrs?|d|x|%|year-old|years?)"
    r"|[a-z]{2,4}\$?\d+|(?:no|nr|num)\.\d+"
)


def ignored_names(r: Reading) -> Iterator[Smell]:
    """Names and quoted texts of the question that the query does not use."""
    for text in r.quoted_texts:
        if text not in r.literal_text and not has_most_words(text, r.literal_text) and text not in r.column_names:
            yield Smell("quoted value ignored", f'"{text}" of the question is not in the query')
    known = stems(" ".join([*r.column_names, *r.tables.values(), r.example.db_id or ""]))
    ignored = [name for name in r.capitalized_words() if not stems(name) & known and not _is_used(r, name)]
    for name in ignored:
        kind = "name told ignored" if in_evidence(r, name) else "name ignored"
        yield Smell(kind, f"{name} of the question is not in the query")
    for full_name in _FULL_NAME.findall(r.example.question):
        parts = [re.sub(r"'s?$", "", part).lower() for part in full_name.split()]
        used = [part for part in parts if len(part) > 2 and part in r.literal_text]
        if used and any(part in ignored for part in parts):
            yield Smell("half of a name ignored", f"of {full_name} only {' '.join(used)} is in the query")


def ignored_codes(r: Reading) -> Iterator[Smell]:
    """Codes of the question that the query does not use."""
    for match in _CODE.findall(r.example.question):
        code = match.lower()
        if (
            len(code) > 2
            and code != (r.example.db_id or "").lower()
            and not _NUMBER_WITH_UNIT.fullmatch(code)
            and not _is_used(r, code)
        ):
            yield Smell("code ignored", f"{match} of the question is not in the query")


def _is_used(r: Reading, name: str) -> bool:
    """Whether a name is in the query, literally or in another form."""
    return (
        _is_in_query(r, name)
        or name.rstrip("s") in r.literal_text
        or is_rephrased_by_evidence(r, name)
        or is_abbreviated(r, name)
        or has_similar_value(r, name)
    )


def _is_in_query(r: Reading, name: str) -> bool:
    """Whether a name, or a part of a composed name, is in a value or a column's name of the query."""
    columns = " ".join(r.column_names)
    composed = "-" in name or re.search(r"\d", name) is not None
    parts = [name, *(re.findall(r"[^\W\d]{2,}|\d{2,}", name) if composed else ())]
    return any(part in r.literal_text or (len(part) > 2 and part in columns) for part in parts)
