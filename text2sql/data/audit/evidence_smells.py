"""What the evidence next to a question spells, and the query leaves out or does otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell, reads_column, same_number
from text2sql.data.audit.told import COMPARISON, EXPLAINS, near

_TEXT_COMPARED = re.compile(r"([A-Za-z_][\w ]*?)\s*(?:=|>|<|>=|<=|!=|LIKE)\s*'((?:[^']|'')+)'(?!\w)")


def values_ignored(r: Reading) -> Iterator[Smell]:
    """A text or a number that the evidence compares a column with, and the query nothing."""
    evidence = r.example.evidence or ""
    numbers = {str(node.this) for node in r.tree.find_all(exp.Literal)}
    for match in _TEXT_COMPARED.finditer(evidence):
        value = match[2].replace("''", "'").strip("%").lower()
        # "rating = 'G' means for all" explains what there is, and asks for nothing.
        if EXPLAINS.match(evidence, match.end()):
            continue
        if value and value not in r.texts and not any(near(value, other) for other in r.values):
            yield Smell("evidence's value ignored", f"the evidence says {match[1].strip()} = '{match[2]}'")
    for match in re.finditer(r"(\b\w+)`?\s*(>=|<=|!=|>|<|=)\s*(\d+(?:\.\d+)?)\b", evidence):
        column, sign, number = match[1].lower(), match[2], match[3]
        known = number in numbers or any(same_number(n, number) for n in numbers if n[:1].isdigit())
        if not known and column in r.known_columns:
            yield Smell("evidence's number ignored", f"the evidence says {match[0]}")
        elif column in r.column_names and sign in (">", "<", ">=", "<="):
            signs = _signs(r, column)
            if signs and "between" not in signs and not any(other[0] == sign[0] for other in signs):
                yield Smell("evidence's comparison differs", f"the evidence says {match[0]}")
            elif signs and "between" not in signs and sign not in signs:
                yield Smell("evidence's boundary differs", f"the evidence says {match[0]}")


def columns_ignored(r: Reading) -> Iterator[Smell]:
    """A column that the evidence names or compares, and the query does not use."""
    evidence = r.example.evidence or ""
    for match in re.finditer(r"\brefers? (?:to )?([^;()]*)", evidence):
        # What is quoted is a value.
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", match[1]))
        named = [word for word in words if word.lower() in r.known_columns]
        for word in named:
            name = word.lower()
            if name in r.column_names or name == "name" or r.keyed(name) or _explained(r, name):
                continue
            if word != name or "_" in word or len(named) == 1:
                yield Smell("evidence's column ignored", f"the evidence names {word}, the query does not use it")
    pairs = [match for match in COMPARISON.finditer(evidence) if match[1].lower() in r.known_columns]
    for name in sorted({match[1].lower() for match in pairs} - r.column_names):
        if not all(EXPLAINS.match(evidence, match.end()) for match in pairs if match[1].lower() == name):
            yield Smell("evidence's compared column ignored", f"the evidence compares {name}, the query does not")


def functions_ignored(r: Reading) -> Iterator[Smell]:
    """A function that the evidence spells, and the query does otherwise or to another column."""
    evidence = r.example.evidence or ""
    for match in re.finditer(r"\b(MAX|MIN|AVG|SUM|COUNT)\s*\(\s*(?:DISTINCT\s+)?`?(\w*)", evidence, re.IGNORECASE):
        function, column = match[1].upper(), match[2].lower()
        if function in ("MAX", "MIN") and column in r.column_names and _turned(r, function, column):
            yield Smell("evidence's direction turned", f"the evidence says {function}({column})")
        elif not _does(r, function):
            yield Smell("evidence's function ignored", f"the evidence says {function}")
        elif column in r.known_columns and column not in r.column_names and function != "COUNT":
            yield Smell("evidence's function of another column", f"the evidence says {function}({column})")
    averaged = r.tree.find(exp.Avg, exp.Div) is not None
    for match in re.finditer(r"\b(AVG|SUM|COUNT)\s*\(\s*(?:DISTINCT\s+)?`?(\w+)`?\s*\)", evidence, re.IGNORECASE):
        function, column = match[1].upper(), match[2].lower()
        done = {type(node).__name__.upper() for node in r.tree.find_all(exp.AggFunc) if _of_column(node, column)}
        # A sum divided by a count is an average, and who writes the sum of a key means how many there are.
        if (averaged and function != "COUNT") or r.keyed(column):
            continue
        if column in r.known_columns and done and function not in done:
            yield Smell("evidence's aggregate differs", f"the evidence says {match[0]}")


def values_misplaced(r: Reading) -> Iterator[Smell]:
    """A value that the evidence compares with one column, and the query with another."""
    told: dict[str, set[str]] = {}
    for match in COMPARISON.finditer(r.example.evidence or ""):
        if match[1].lower() in r.known_columns:
            told.setdefault((match[2] or match[3]).strip("%").lower(), set()).add(match[1].lower())
    for literal in r.literals:
        value, place = str(literal.this).strip("%").lower(), literal.parent
        kinds = (exp.EQ, exp.NEQ, exp.Like, exp.In, exp.GT, exp.GTE, exp.LT, exp.LTE)
        if value not in told or not isinstance(place, kinds) or isinstance(place.this, exp.AggFunc):
            continue
        own = {column.name.lower() for column in place.find_all(exp.Column)}
        if own and not own & told[value] and not told[value] & _compared_with(r, value):
            kind = "evidence's value of another column" if literal.is_string else "evidence's number of another column"
            yield Smell(kind, f"the evidence says {min(told[value])} = {literal.sql()}")


def _turned(r: Reading, function: str, column: str) -> bool:
    """Whether the query takes the other end of a column alone."""
    ends = {bool(n.args.get("desc")) for n in r.tree.find_all(exp.Ordered) if reads_column(n, column)}
    ends |= {True for n in r.tree.find_all(exp.Max) if reads_column(n, column)}
    ends |= {False for n in r.tree.find_all(exp.Min) if reads_column(n, column)}
    return bool(ends) and (function == "MAX") not in ends


def _explained(r: Reading, column: str) -> bool:
    """Whether the evidence says what a column is made of, and the query has that: a full name of first and last."""
    match = re.search(rf"\b{re.escape(column)}`? refers? to ([^;]*)", (r.example.evidence or "").lower())
    return match is not None and any(word in r.column_names for word in re.findall(r"\w+", match[1]))


def _compared_with(r: Reading, value: str) -> set[str]:
    """The columns that a query compares with a value, in lower case."""
    places = [node.find_ancestor(exp.Predicate) for node in r.literals if str(node.this).lower() == value]
    return {column.name.lower() for node in places if node is not None for column in node.find_all(exp.Column)}


def _of_column(node: exp.Expr, column: str) -> bool:
    inner = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    return isinstance(inner, exp.Column) and inner.name.lower() == column


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
        "SUM": (exp.Sum, exp.Count, exp.Avg),
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
