"""What the evidence next to a question spells, and the query does otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell, reads_column, same_number


def evidence_ignored(r: Reading) -> Iterator[Smell]:
    """A value, a column, a comparison or a function that the evidence spells and the query does not use."""
    evidence = r.example.evidence or ""
    columns = {c for t in r.schema.tables.values() for c in t.columns}
    numbers = {str(node.this) for node in r.tree.find_all(exp.Literal)}
    for match in re.finditer(r"([A-Za-z_][\w ]*?)\s*(?:=|>|<|>=|<=|!=|LIKE)\s*'([^']+)'", evidence):
        value = match[2].strip("%").lower()
        column = match[1].split()[-1].lower()
        if value and value not in r.texts:
            yield Smell("evidence's value ignored", f"the evidence says {match[1].strip()} = '{match[2]}'")
        elif column in columns and (other := _compared_with(r, value)) and column not in other:
            yield Smell("evidence's value of another column", f"the evidence says {column} = '{match[2]}'")
    for match in re.finditer(r"(\b\w+)`?\s*(>=|<=|!=|>|<|=)\s*(\d+(?:\.\d+)?)\b", evidence):
        column = match[1].lower()
        if (
            match[3] not in numbers
            and column in columns
            and not any(same_number(n, match[3]) for n in numbers if n[:1].isdigit())
        ):
            yield Smell("evidence's number ignored", f"the evidence says {match[0]}")
        elif column in r.column_names and match[2] in (">", "<", ">=", "<="):
            signs = _signs(r, column)
            if signs and "between" not in signs and not any(sign[0] == match[2][0] for sign in signs):
                yield Smell("evidence's comparison differs", f"the evidence says {match[0]}")
            elif signs and "between" not in signs and match[2] not in signs:
                yield Smell("evidence's boundary differs", f"the evidence says {match[0]}")
    for match in re.finditer(r"\brefers? (?:to )?([^;()]*)", evidence):
        named = [word for word in re.findall(r"[A-Za-z_]\w*", match[1]) if word.lower() in columns]
        for word in named:
            if word.lower() not in r.column_names and (word != word.lower() or "_" in word or len(named) == 1):
                yield Smell("evidence's column ignored", f"the evidence names {word}, the query does not use it")
    for match in re.finditer(r"\b(MAX|MIN|AVG|SUM|COUNT)\s*\(\s*(?:DISTINCT\s+)?`?(\w*)", evidence, re.IGNORECASE):
        function, column = match[1].upper(), match[2].lower()
        if not _does(r, function):
            yield Smell("evidence's function ignored", f"the evidence says {function}")
        elif column in columns and column not in r.column_names and function != "COUNT":
            yield Smell("evidence's function of another column", f"the evidence says {function}({column})")
        elif function in ("MAX", "MIN") and column in r.column_names:
            ends = {bool(n.args.get("desc")) for n in r.tree.find_all(exp.Ordered) if reads_column(n, column)}
            ends |= {True for n in r.tree.find_all(exp.Max) if reads_column(n, column)}
            ends |= {False for n in r.tree.find_all(exp.Min) if reads_column(n, column)}
            if ends and (function == "MAX") not in ends:
                yield Smell("evidence's direction turned", f"the evidence says {function}({column})")


def _compared_with(r: Reading, value: str) -> set[str]:
    """The columns that a query compares with a text, in lower case."""
    found = set[str]()
    for literal in r.literals:
        if literal.is_string and str(literal.this).strip("%").lower() == value:
            near = literal.find_ancestor(exp.EQ, exp.NEQ, exp.Like, exp.In)
            found |= {column.name.lower() for column in near.find_all(exp.Column)} if near is not None else set()
    return found


def _signs(r: Reading, column: str) -> set[str]:
    found = set()
    for kind, sign in ((exp.GT, ">"), (exp.LT, "<"), (exp.GTE, ">="), (exp.LTE, "<="), (exp.Between, "between")):
        for node in r.tree.find_all(kind):
            if reads_column(node.this, column):
                found.add(sign)
    return found


def _does(r: Reading, function: str) -> bool:
    """Whether a query does what a function does, in whatever words."""
    ordered = any(True for _ in r.tree.find_all(exp.Order)) and bool(r.limits)
    kinds: dict[str, tuple[type[exp.Expr], ...]] = {
        "MAX": (exp.Max,),
        "MIN": (exp.Min,),
        "AVG": (exp.Avg,),
        "SUM": (exp.Sum, exp.Count),
        "COUNT": (exp.Count, exp.Sum),
    }
    if any(r.tree.find(kind) for kind in kinds[function]):
        return True
    if function in ("MAX", "MIN"):
        directions = {bool(node.args.get("desc")) for node in r.tree.find_all(exp.Ordered)}
        return ordered and (function == "MAX") in directions
    if function == "AVG":
        return r.tree.find(exp.Sum) is not None and r.tree.find(exp.Div) is not None
    return False
