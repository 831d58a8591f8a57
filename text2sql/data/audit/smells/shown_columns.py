"""Smells of shown columns that the question does not mention, and of few words in common with the question."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell, inside_join, is_key, reads_column
from text2sql.data.schema_text import stems


def shown_columns(r: Reading) -> Iterator[Smell]:
    """Columns that are shown or used without a mention, and columns that are mentioned without use."""
    select = r.select
    if not isinstance(select, exp.Select):
        return
    known = {
        name: table for key in {*r.tables.values()} if (table := r.schema.tables.get(key)) for name in table.columns
    }
    shown = [c.name.lower() for part in select.expressions for c in part.find_all(exp.Column)]
    counted = isinstance(select.expressions[0], exp.Count) if select.expressions else False
    text = re.sub(r"[\W_]+", "", r.text)
    unmentioned = [name for name in dict.fromkeys(shown) if name in known and not _is_mentioned(name, text)]
    unmentioned = [name for name in unmentioned if not re.search(r"id$|name|title|label|description", name)]
    unmentioned_keys = [
        name
        for name in dict.fromkeys(shown)
        if name in known
        and re.search(r"id$", name)
        and not _is_mentioned(name, text)
        and not re.search(r"\bids?\b|\bwhich|\bwho", r.text)
    ]
    mentioned_unused = [
        name
        for name, table in known.items()
        if (column_stems := r.stems_of(name))
        and column_stems <= r.stems
        and name not in r.column_names
        and not _repeats_table(name, table.name)
    ]
    mentioned_columns = [name for name in mentioned_unused if len(name) > 2]
    evidence_columns = [
        name
        for name in known
        if name in (r.example.evidence or "").lower() and name not in r.column_names and len(name) > 3
    ]
    if unmentioned and counted and (evidence_columns or mentioned_columns):
        yield Smell(
            "other column counted",
            f"{unmentioned[0]} is counted, the question speaks of {(evidence_columns or mentioned_columns)[0]}",
        )
    elif unmentioned and (evidence_columns or mentioned_columns):
        yield Smell(
            "other column shown",
            f"{unmentioned[0]} is shown, the question speaks of {(evidence_columns or mentioned_columns)[0]}",
        )
    elif unmentioned and not counted:
        yield Smell("column unsaid", f"{unmentioned[0]} is shown, of which the question says nothing")
    elif unmentioned_keys and not counted:
        yield Smell("key shown unasked", f"{unmentioned_keys[0]} is shown, of which the question says nothing")
    if mentioned_columns and not unmentioned:
        yield Smell(
            "column of the question unused", f"the question speaks of {mentioned_columns[0]}, the query does not use it"
        )
    if shown and not counted and not select.find(exp.AggFunc):
        for words, names in _KINDS_OF_ANSWER:
            if re.match(words, r.question) and not any(re.search(names, name) for name in shown):
                yield Smell("answer of another kind", f"the question asks {words}, the query shows {shown[0]}")
    for name in dict.fromkeys(c.name.lower() for c in r.columns if not inside_join(c)):
        if (
            name in known
            and name not in shown
            and not _is_mentioned(name, text)
            and not re.search(r"id$|name|title", name)
        ):
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


def columns_closer_to_question(r: Reading) -> Iterator[Smell]:
    """A shown column, while another one of its table is named more clearly by the question and not used."""
    select = r.select
    if not isinstance(select, exp.Select):
        return
    text, evidence = (re.sub(r"[\W_]+", "", text.lower()) for text in (r.text, r.example.evidence or ""))
    for column in (column for part in select.expressions for column in part.find_all(exp.Column)):
        table = r.schema.tables.get(r.tables.get(column.table.lower(), "") or next(iter(r.tables.values()), ""))
        if table is None or column.name.lower() not in table.columns:
            continue
        if isinstance(column.parent, exp.Count) and is_key(r, column):
            continue
        shown = _mention_clarity(r, column.name, text)
        rest = [
            name
            for name in table.columns
            if name not in r.column_names and len(name) > 3 and not _repeats_table(name, table.name)
        ]
        best = max(rest, key=lambda name: _mention_clarity(r, name, text), default=None)
        if best is None or _mention_clarity(r, best, text) < 2 or shown >= 2:
            continue
        is_in_evidence = re.sub(r"[\W_]+", "", best) in evidence
        detail = f"the question says {best}, the query shows {column.name}"
        if is_in_evidence:
            yield Smell("evidence's column not shown", detail)
        else:
            yield Smell("column said and not shown" if shown == 0 else "column said better", detail)


def _repeats_table(name: str, table: str) -> bool:
    """Whether a column's name only repeats its table: ``singer_id`` of singers."""
    return bool(re.search(r"(?:^|_)(?:id|no|code|key)$|id$|^id_", name)) or stems(name) <= stems(table)


def _mention_clarity(r: Reading, name: str, text: str) -> int:
    """How clearly a column is mentioned: 2 by its whole name, 1 by a part of it, 0 not at all."""
    whole, words = re.sub(r"[\W_]+", "", name.lower()), r.stems_of(name)
    if (len(whole) > 4 and whole in text) or (words and words <= r.stems):
        return 2
    return int(bool(words & r.stems) or _is_mentioned(name, text))


def _is_mentioned(name: str, text: str) -> bool:
    """Whether a part of a column's name is in a text without spaces."""
    parts = [part for part in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name.lower()) if len(part) > 1]
    parts = [re.sub(r"(?<=..)\d+$", "", part) for part in parts]
    whole = "".join(parts)
    content_parts = [part for part in parts if len(part) > 2 and part not in ("the", "type", "of")]
    # "Nation" mentions nationality.
    near = [part[: max(4, min(len(part) - 2, 6))] for part in content_parts]
    # "Cities" mentions a city.
    near += [f"{part[:-1]}ies" for part in parts if part.endswith("y")]
    return (
        whole in text
        or any(part in text for part in near)
        or any(_is_composed_of(part, text) for part in parts if len(part) > 3)
    )


def _is_composed_of(part: str, text: str) -> bool:
    """Whether a name is composed of two words that are both mentioned."""
    return any(part[:split] in text and part[split:] in text for split in range(3, len(part) - 2))


def shared_words(r: Reading) -> Iterator[Smell]:
    """Few words in common between question and query."""
    names = [r.stems_of(name) for name in r.column_names]
    names = [words for words in names if words]
    literals = {word for literal in r.literals for word in stems(str(literal.this))}
    if not names:
        return
    name_share = sum(any(_is_similar(word, r.stems) for word in words) for words in names) / len(names)
    literal_share = len(literals & r.stems) / len(literals) if literals else 1.0
    if name_share < 0.2 and literal_share < 0.5:
        yield Smell("about something else", "hardly a name or value of the query is in the question")
    elif name_share < 0.34:
        yield Smell("few names shared", "few names of the query are in the question")
    content = {word for word in stems(r.example.question) if len(word) > 3 and word not in _COMMON_STEMS}
    query_words = literals | {w for words in names for w in words} | {w for t in r.tables.values() for w in stems(t)}
    joined = " ".join(query_words)
    question_share = (
        sum(word in query_words or word[:5] in joined for word in content) / len(content) if content else 1.0
    )
    if question_share < 0.2:
        yield Smell("question hardly met", "hardly a word of the question is in the query")
    elif question_share < 0.4:
        yield Smell("question little met", "few words of the question are in the query")


def _is_similar(word: str, mentioned: frozenset[str]) -> bool:
    return word in mentioned or (
        len(word) > 3 and any(other.startswith(word[:5]) for other in mentioned if len(other) > 3)
    )


_COMMON_STEMS = stems(
    "what which whose where when many much list show give find please tell name number total average highest lowest "
    "most least among have has with that their there more less than does from please state provide calculate percentage"
)
