"""What is shown and what is asked for, and how much the two share at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell, inside_join, is_key, reads_column
from text2sql.data.schema_text import stems


def selected(r: Reading) -> Iterator[Smell]:
    """What is shown, and what is asked for."""
    select = r.select
    if not isinstance(select, exp.Select):
        return
    known = {
        name: table for key in {*r.tables.values()} if (table := r.schema.tables.get(key)) for name in table.columns
    }
    shown = [c.name.lower() for part in select.expressions for c in part.find_all(exp.Column)]
    counted = isinstance(select.expressions[0], exp.Count) if select.expressions else False
    joined = re.sub(r"[\W_]+", "", r.said)
    unnamed = [name for name in dict.fromkeys(shown) if name in known and not _spoken(name, joined)]
    unnamed = [name for name in unnamed if not re.search(r"id$|name|title|label|description", name)]
    unkeyed = [
        name
        for name in dict.fromkeys(shown)
        if name in known
        and re.search(r"id$", name)
        and not _spoken(name, joined)
        and not re.search(r"\bids?\b|\bwhich|\bwho", r.said)
    ]
    asked = [
        name
        for name, table in known.items()
        if (spelt := r.stems_of(name))
        and spelt <= r.stems
        and name not in r.column_names
        and not _entity(name, table.name)
    ]
    nearest = [name for name in asked if len(name) > 2]
    told = [
        name
        for name in known
        if name in (r.example.evidence or "").lower() and name not in r.column_names and len(name) > 3
    ]
    if unnamed and counted and (told or nearest):
        yield Smell("other column counted", f"{unnamed[0]} is counted, the question speaks of {(told or nearest)[0]}")
    elif unnamed and (told or nearest):
        yield Smell("other column shown", f"{unnamed[0]} is shown, the question speaks of {(told or nearest)[0]}")
    elif unnamed and not counted:
        yield Smell("column unsaid", f"{unnamed[0]} is shown, of which the question says nothing")
    elif unkeyed and not counted:
        yield Smell("key shown unasked", f"{unkeyed[0]} is shown, of which the question says nothing")
    if nearest and not unnamed:
        yield Smell("column of the question unused", f"the question speaks of {nearest[0]}, the query does not use it")
    if shown and not counted and not select.find(exp.AggFunc):
        for words, names in _KINDS_OF_ANSWER:
            if re.match(words, r.question) and not any(re.search(names, name) for name in shown):
                yield Smell("answer of another kind", f"the question asks {words}, the query shows {shown[0]}")
    for name in dict.fromkeys(c.name.lower() for c in r.columns if not inside_join(c)):
        if name in known and name not in shown and not _spoken(name, joined) and not re.search(r"id$|name|title", name):
            literal = any(reads_column(node, name) for node in r.tree.find_all(exp.EQ, exp.Like))
            yield Smell("filter column unsaid" if literal else "used column unsaid", f"nothing is said of {name}")
            break


_KINDS_OF_ANSWER = (
    (r"(?:who|whose)\b", "name|id|player|driver|person|user|author|director|employee|actor|member|last|first|customer"),
    (
        r"when\b|on (?:what|which) (?:date|day)|in (?:what|which) year",
        "date|year|time|day|month|born|birth|since|season",
    ),
    (
        r"where\b|in (?:what|which) (?:city|country|state)",
        "city|country|address|location|place|state|street|county|venue|l(?:at|on)|region|circuit|name|district|zip",
    ),
)


def better_said(r: Reading) -> Iterator[Smell]:
    """A column that is shown, and one of the same table, not used, that is said more plainly."""
    select = r.select
    if not isinstance(select, exp.Select):
        return
    joined, evidence = (re.sub(r"[\W_]+", "", text.lower()) for text in (r.said, r.example.evidence or ""))
    for column in (found for part in select.expressions for found in part.find_all(exp.Column)):
        table = r.schema.tables.get(r.tables.get(column.table.lower(), "") or next(iter(r.tables.values()), ""))
        if table is None or column.name.lower() not in table.columns:
            continue
        if isinstance(column.parent, exp.Count) and is_key(r, column):
            continue
        shown = _plainness(r, column.name, joined)
        rest = [
            name
            for name in table.columns
            if name not in r.column_names and len(name) > 3 and not _entity(name, table.name)
        ]
        best = max(rest, key=lambda name: _plainness(r, name, joined), default=None)
        if best is None or _plainness(r, best, joined) < 2 or shown >= 2:
            continue
        told = re.sub(r"[\W_]+", "", best) in evidence
        about = f"the question says {best}, the query shows {column.name}"
        if told:
            yield Smell("evidence's column not shown", about)
        else:
            yield Smell("column said and not shown" if shown == 0 else "column said better", about)


def _entity(name: str, table: str) -> bool:
    """Whether a column's name says no more than what its rows are: ``singer_id`` of singers."""
    return bool(re.search(r"(?:^|_)(?:id|no|code|key)$|id$|^id_", name)) or stems(name) <= stems(table)


def _plainness(r: Reading, name: str, joined: str) -> int:
    """How plainly a column is said: 2 by its whole name, 1 by a part of it."""
    whole, words = re.sub(r"[\W_]+", "", name.lower()), r.stems_of(name)
    if (len(whole) > 4 and whole in joined) or (words and words <= r.stems):
        return 2
    return int(bool(words & r.stems) or _spoken(name, joined))


def _spoken(name: str, said: str) -> bool:
    """Whether a part of a column's name is in what is said, written together."""
    parts = [part for part in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name.lower()) if len(part) > 1]
    parts = [re.sub(r"(?<=..)\d+$", "", part) for part in parts]
    whole = "".join(parts)
    spoken = [part for part in parts if len(part) > 2 and part not in ("the", "type", "of")]
    # Of nationality one speaks as of nations.
    near = [part[: max(4, min(len(part) - 2, 6))] for part in spoken]
    # Of a city one speaks as of cities.
    near += [f"{part[:-1]}ies" for part in parts if part.endswith("y")]
    return (
        whole in said
        or any(part in said for part in near)
        or any(_abbreviates(part, said) for part in parts if len(part) > 3)
    )


def _abbreviates(part: str, said: str) -> bool:
    """A name written together of two words, each of which is said."""
    return any(part[:at] in said and part[at:] in said for at in range(3, len(part) - 2))


def overlap(r: Reading) -> Iterator[Smell]:
    """How much of what the query names the question speaks of."""
    names = [r.stems_of(name) for name in r.column_names]
    names = [words for words in names if words]
    literals = {word for literal in r.literals for word in stems(str(literal.this))}
    if not names:
        return
    near = sum(any(_near(word, r.stems) for word in words) for words in names) / len(names)
    told = len(literals & r.stems) / len(literals) if literals else 1.0
    if near < 0.2 and told < 0.5:
        yield Smell("about something else", "hardly a name or value of the query is in the question")
    elif near < 0.34:
        yield Smell("few names shared", "few names of the query are in the question")
    content = {word for word in stems(r.example.question) if len(word) > 3 and word not in _COMMON_STEMS}
    spelt = literals | {w for words in names for w in words} | {w for t in r.tables.values() for w in stems(t)}
    joined = " ".join(spelt)
    met = sum(word in spelt or word[:5] in joined for word in content) / len(content) if content else 1.0
    if met < 0.2:
        yield Smell("question hardly met", "hardly a word of the question is in the query")
    elif met < 0.4:
        yield Smell("question little met", "few words of the question are in the query")


def _near(word: str, said: frozenset[str]) -> bool:
    return word in said or (len(word) > 3 and any(other.startswith(word[:5]) for other in said if len(other) > 3))


_COMMON_STEMS = stems(
    "what which whose where when many much list show give find please tell name number total average highest lowest "
    "most least among have has with that their there more less than does from please state provide calculate percentage"
)
