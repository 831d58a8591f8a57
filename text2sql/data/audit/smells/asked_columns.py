"""Smells of columns that the question's first words ask for, and that the query does not show."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell
from text2sql.data.schema_text import stems

_REQUEST_START = re.compile(
    r"(?:^|[.?!;:,]\s*|\band )(?:(?:and|also|please|then|in which \w+|can you|could you) )*"
    r"(?:what(?:'s| is| are| was| were| will be)?|which|list|give|name|show|state|provide|find|tell|describe|indicate|"
    r"mention|write|identify|calculate|how much(?: is| are)?)\b"
    r"(?: (?:me|down|out|all|the|a|an|of|any|each|every|please|its|their|his|her|is|are|was|were))*"
)
# The end of the words that name what is asked for.
_REQUEST_END = re.compile(
    r"\b(?:of|in|that|who|whose|which|for|with|is|are|was|were|did|does|do|has|have|had|by|from|on|to|at|used|among|"
    r"where|when|between|under|please|not|less|more|named|called)\b|[,?.;:()\"']"
)
_GENERIC_NOUNS = stems("type kind number amount list value full")
_ID_NAME = re.compile(r"id$|^id_|code$|key$|no$|num")
_NAME_NAME = re.compile(r"name|title|label|first|last")


def asked_columns(r: Reading) -> Iterator[Smell]:
    """A column, an id or a name that the question asks for, while the query shows another column."""
    select = r.select
    if not isinstance(select, exp.Select) or any(isinstance(part, exp.Star) for part in select.expressions):
        return
    shown = {column.name.lower() for part in select.expressions for column in part.find_all(exp.Column)}
    aggregated = select.find(exp.AggFunc) is not None
    if not shown & r.column_spellings.keys() or (aggregated and r.tree.find(exp.Subquery)):
        return
    phrases = _requested_phrases(r.question)
    asked_stems = stems(" ".join(phrases)) - _GENERIC_NOUNS
    unasked = {
        name for name in shown if not r.stems_of(name) & asked_stems and not _is_defined_as(r, name, " ".join(phrases))
    }
    if not unasked:
        return
    first = phrases[0] if phrases else ""
    if not aggregated:
        requested = _requested_column(r, asked_stems, shown)
        if requested is not None and any(not r.stems_of(name) & r.stems for name in unasked):
            yield Smell("asked column not shown", f"the question asks for {requested}, the query shows {min(unasked)}")
        if re.search(r"\bids?\b", first) and not any(_ID_NAME.search(name) for name in shown):
            yield Smell("id asked and not shown", f"the question asks for an id, the query shows {min(unasked)}")
    asks_for_name = re.search(r"\bnames?\b|\btitles?\b", first)
    if (
        asks_for_name
        and unasked == shown
        and not _is_named_thing(r, shown)
        and not any(_NAME_NAME.search(name) for name in shown)
    ):
        yield Smell("name asked and not shown", f"the question asks for a name, the query shows {min(shown)}")


def _requested_phrases(question: str) -> list[str]:
    """What each sentence asks for: ``gender`` for "the gender of the youngest user"."""
    phrases = []
    for start in _REQUEST_START.finditer(question):
        rest = question[start.end() :].strip()
        end = _REQUEST_END.search(rest)
        phrases.append(rest[: end.start()] if end else rest)
    return phrases


def _requested_column(r: Reading, asked: set[str], shown: set[str]) -> str | None:
    """A column of the query's tables that is asked for and not shown; None if there is none."""
    tables = [table for key in {*r.tables.values()} if (table := r.schema.tables.get(key)) is not None]
    # "Which country" asks for a column of the table country, whatever it is.
    entities = [stems(table) for table in r.tables.values()]
    for name in (name for table in tables for name in table.columns if name not in shown):
        words = r.stems_of(name)
        if words and words <= asked and words not in entities and not re.search("^id_|id$", name):
            return name
    return None


def _is_named_thing(r: Reading, shown: set[str]) -> bool:
    """Whether a shown column is named like the thing whose name is asked for: ``lake`` for the name of the lake."""
    owner = re.search(r"\b(?:names?|titles?) of (?:the |all |each |every )?(\w+(?: \w+)?)", r.question)
    return owner is not None and any(r.stems_of(name) & stems(owner[1]) for name in shown)


def _is_defined_as(r: Reading, column: str, head: str) -> bool:
    """Whether the evidence defines what is asked for as this column: ``names of airlines refers to Description``."""
    asked = {word.rstrip("s") for word in re.findall(r"\w+", head)}
    for clause in (r.example.evidence or "").lower().split(";"):
        before, verb, behind = clause.partition(" refer")
        words = {word.rstrip("s") for word in re.findall(r"\w+", before)}
        if verb and asked & words and re.search(rf"\b{re.escape(column)}\b", behind):
            return True
    return False
