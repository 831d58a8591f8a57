"""What a question asks for in its first words, the column that it wants to see, and what its query shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell
from text2sql.data.schema_text import stems

_STARTS = re.compile(
    r"(?:^|[.?!;:,]\s*|\band )(?:(?:and|also|please|then|in which \w+|can you|could you) )*"
    r"(?:what(?:'s| is| are| was| were| will be)?|which|list|give|name|show|state|provide|find|tell|describe|indicate|"
    r"mention|write|identify|calculate|how much(?: is| are)?)\b"
    r"(?: (?:me|down|out|all|the|a|an|of|any|each|every|please|its|their|his|her|is|are|was|were))*"
)
# What qualifies a thing and no longer names it.
_ENDS = re.compile(
    r"\b(?:of|in|that|who|whose|which|for|with|is|are|was|were|did|does|do|has|have|had|by|from|on|to|at|used|among|"
    r"where|when|between|under|please|not|less|more|named|called)\b|[,?.;:()\"']"
)
_ANY_NOUN = stems("type kind number amount list value full")
_IDS = re.compile(r"id$|^id_|code$|key$|no$|num")
_NAMES = re.compile(r"name|title|label|first|last")


def heads(r: Reading) -> Iterator[Smell]:
    """A column, an id or a name that the question asks for, and another that is shown."""
    select = r.select
    if not isinstance(select, exp.Select) or any(isinstance(part, exp.Star) for part in select.expressions):
        return
    shown = {column.name.lower() for part in select.expressions for column in part.find_all(exp.Column)}
    aggregated = select.find(exp.AggFunc) is not None
    if not shown & r.spelt.keys() or (aggregated and r.tree.find(exp.Subquery)):
        return
    spoken = _asked_for(r.question)
    asked = stems(" ".join(spoken)) - _ANY_NOUN
    aside = {name for name in shown if not r.stems_of(name) & asked and not _told_as(r, name, " ".join(spoken))}
    if not aside:
        return
    first = spoken[0] if spoken else ""
    if not aggregated:
        wanted = _wanted(r, asked, shown)
        if wanted is not None and any(not r.stems_of(name) & r.stems for name in aside):
            yield Smell("asked column not shown", f"the question asks for {wanted}, the query shows {min(aside)}")
        if re.search(r"\bids?\b", first) and not any(_IDS.search(name) for name in shown):
            yield Smell("id asked and not shown", f"the question asks for an id, the query shows {min(aside)}")
    named = re.search(r"\bnames?\b|\btitles?\b", first)
    if named and aside == shown and not _named_by(r, shown) and not any(_NAMES.search(name) for name in shown):
        yield Smell("name asked and not shown", f"the question asks for a name, the query shows {min(shown)}")


def _asked_for(question: str) -> list[str]:
    """What each sentence asks for: ``gender`` where it is the gender of the youngest user."""
    found = []
    for start in _STARTS.finditer(question):
        rest = question[start.end() :].strip()
        end = _ENDS.search(rest)
        found.append(rest[: end.start()] if end else rest)
    return found


def _wanted(r: Reading, asked: set[str], shown: set[str]) -> str | None:
    """A column of the query's tables that is asked for and not shown."""
    tables = [table for key in {*r.tables.values()} if (table := r.schema.tables.get(key)) is not None]
    # Which country is asked for by its name: a country's column is shown.
    entities = [stems(table) for table in r.tables.values()]
    for name in (name for table in tables for name in table.columns if name not in shown):
        words = r.stems_of(name)
        if words and words <= asked and words not in entities and not re.search("^id_|id$", name):
            return name
    return None


def _named_by(r: Reading, shown: set[str]) -> bool:
    """Whether what is shown is the thing itself whose name is asked for: ``lake`` for the name of the lake."""
    owner = re.search(r"\b(?:names?|titles?) of (?:the |all |each |every )?(\w+(?: \w+)?)", r.question)
    return owner is not None and any(r.stems_of(name) & stems(owner[1]) for name in shown)


def _told_as(r: Reading, column: str, head: str) -> bool:
    """Whether the evidence says that what is asked for is this column: ``names of airlines refers to Description``."""
    asked = {word.rstrip("s") for word in re.findall(r"\w+", head)}
    for clause in (r.example.evidence or "").lower().split(";"):
        before, verb, behind = clause.partition(" refer")
        words = {word.rstrip("s") for word in re.findall(r"\w+", before)}
        if verb and asked & words and re.search(rf"\b{re.escape(column)}\b", behind):
            return True
    return False
