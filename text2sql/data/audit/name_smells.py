"""Names, quoted texts and codes of a question that its query does not use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell
from text2sql.data.audit.told import in_evidence, parts_in, shortened, spelt_otherwise, told_otherwise
from text2sql.data.schema_text import stems

# Words in capitals one behind the other: Maria Miller.
_RUN = re.compile(r"[A-ZÀ-Ý][\w'À-ÿ-]+(?: [A-ZÀ-Ý][\w'À-ÿ-]+)+")
# Letters and digits in one word: M23-26.
_CODE = re.compile(r"(?<![\w.-])(?=[\w.-]*\d)(?=[\w.-]*[A-Za-z])\w[\w.-]*\w(?![\w-])")
# Numbers with an ending, a unit or a currency, which are no codes.
_UNIT = re.compile(
    r"[\d.,:-]+(?:st|nd|rd|th|s|am|pm|a\.m|p\.m|k|m|km|kg|g|cm|mm|lbs?|min|h|hrs?|d|x|%|year-old|years?)"
    r"|[a-z]{2,4}\$?\d+|(?:no|nr|num)\.\d+"
)


def ignored_names(r: Reading) -> Iterator[Smell]:
    """A name or a quoted text of the question that the query does not use."""
    for text in r.quoted:
        if text not in r.texts and not parts_in(text, r.texts) and text not in r.column_names:
            yield Smell("quoted value ignored", f'"{text}" of the question is not in the query')
    known = stems(" ".join([*r.column_names, *r.tables.values(), r.example.db_id or ""]))
    ignored = [name for name in r.names() if not stems(name) & known and not _met(r, name)]
    for name in ignored:
        kind = "name told ignored" if in_evidence(r, name) else "name ignored"
        yield Smell(kind, f"{name} of the question is not in the query")
    for run in _RUN.findall(r.example.question):
        parts = [re.sub(r"'s?$", "", part).lower() for part in run.split()]
        met = [part for part in parts if len(part) > 2 and part in r.texts]
        if met and any(part in ignored for part in parts):
            yield Smell("half of a name ignored", f"of {run} only {' '.join(met)} is in the query")


def ignored_codes(r: Reading) -> Iterator[Smell]:
    """A code of the question, letters with digits, that the query does not use."""
    for found in _CODE.findall(r.example.question):
        code = found.lower()
        if (
            len(code) > 2
            and code != (r.example.db_id or "").lower()
            and not _UNIT.fullmatch(code)
            and not _met(r, code)
        ):
            yield Smell("code ignored", f"{found} of the question is not in the query")


def _met(r: Reading, name: str) -> bool:
    """Whether a name is in the query, as it is or in another form."""
    return (
        _named(r, name)
        or name.rstrip("s") in r.texts
        or told_otherwise(r, name)
        or shortened(r, name)
        or spelt_otherwise(r, name)
    )


def _named(r: Reading, name: str) -> bool:
    """Whether a name is a value of the query or in a column's name, or a part of it where it has several."""
    columns = " ".join(r.column_names)
    composed = "-" in name or re.search(r"\d", name) is not None
    parts = [name, *(re.findall(r"[^\W\d]{2,}|\d{2,}", name) if composed else ())]
    return any(part in r.texts or (len(part) > 2 and part in columns) for part in parts)
