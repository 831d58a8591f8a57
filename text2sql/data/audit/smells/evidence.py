"""Smells of evidence: values, columns, comparisons and functions of the evidence that the query ignores or changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.rephrasing import COMPARISON, EXPLAINS, are_similar
from text2sql.data.audit.smell import Smell, reads_column, same_number

_TEXT_COMPARED = re.compile(r"([A-Za-z_][\w ]*?)\s*(?:=|>|<|>=|<=|!=|LIKE)\s*'((?:[^']|'')+)'(?!\w)")


def ignored_evidence_values(r: Reading) -> Iterator[Smell]:
    """Values that the evidence compares with a column, and that the query does not use."""
    evidence = r.example.evidence or ""
    numbers = {str(node.this) for node in r.tree.find_all(exp.Literal)}
    for match in _TEXT_COMPARED.finditer(evidence):
        value = match[2].replace("''", "'").strip("%").lower()
        # "rating = 'G' means for all" only explains a value.
        if EXPLAINS.match(evidence, match.end()):
            continue
        if value and value not in r.literal_text and not any(are_similar(value, other) for other in r.values):
            yield Smell("evidence's value ignored", f"the evidence says {match[1].strip()} = '{match[2]}'")
    for match in re.finditer(r"(\b\w+)`?\s*(>=|<=|!=|>|<|=)\s*(\d+(?:\.\d+)?)\b", evidence):
        column, operator, number = match[1].lower(), match[2], match[3]
        known = number in numbers or any(same_number(n, number) for n in numbers if n[:1].isdigit())
        if not known and column in r.known_columns:
            yield Smell("evidence's number ignored", f"the evidence says {match[0]}")
        elif column in r.column_names and operator in (">", "<", ">=", "<="):
            operators = _operators(r, column)
            if operators and "between" not in operators and not any(other[0] == operator[0] for other in operators):
                yield Smell("evidence's comparison differs", f"the evidence says {match[0]}")
            elif operators and "between" not in operators and operator not in operators:
                yield Smell("evidence's boundary differs", f"the evidence says {match[0]}")


def ignored_evidence_columns(r: Reading) -> Iterator[Smell]:
    """Columns that the evidence names or compares, and that the query does not use."""
    evidence = r.example.evidence or ""
    for match in re.finditer(r"\brefers? (?:to )?([^;()]*)", evidence):
        # Quoted words are values.
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", match[1]))
        named = [word for word in words if word.lower() in r.known_columns]
        for word in named:
            name = word.lower()
            if name in r.column_names or name == "name" or r.is_key_column(name) or _is_explained(r, name):
                continue
            if word != name or "_" in word or len(named) == 1:
                yield Smell("evidence's column ignored", f"the evidence names {word}, the query does not use it")
    pairs = [match for match in COMPARISON.finditer(evidence) if match[1].lower() in r.known_columns]
    for name in sorted({match[1].lower() for match in pairs} - r.column_names):
        if not all(EXPLAINS.match(evidence, match.end()) for match in pairs if match[1].lower() == name):
            yield Smell("evidence's compared column ignored", f"the evidence compares {name}, the query does not")


def ignored_evidence_functions(r: Reading) -> Iterator[Smell]:
    """Functions of the evidence that the query does not compute, or computes of another column."""
    evidence = r.example.evidence or ""
    for match in re.finditer(r"\b(MAX|MIN|AVG|SUM|COUNT)\s*\(\s*(?:DISTINCT\s+)?`?(\w*)", evidence, re.IGNORECASE):
        function, column = match[1].upper(), match[2].lower()
        if function in ("MAX", "MIN") and column in r.column_names and _takes_other_end(r, function, column):
            yield Smell("evidence's direction turned", f"the evidence says {function}({column})")
        elif not _computes(r, function):
            yield Smell("evidence's function ignored", f"the evidence says {function}")
        elif column in r.known_columns and column not in r.column_names and function != "COUNT":
            yield Smell("evidence's function of another column", f"the evidence says {function}({column})")
    averaged = r.tree.find(exp.Avg, exp.Div) is not None
    for match in re.finditer(r"\b(AVG|SUM|COUNT)\s*\(\s*(?:DISTINCT\s+)?`?(\w+)`?\s*\)", evidence, re.IGNORECASE):
        function, column = match[1].upper(), match[2].lower()
        done = {type(node).__name__.upper() for node in r.tree.find_all(exp.AggFunc) if _is_of_column(node, column)}
        # A sum divided by a count is an average, and the sum of a key means its count.
        if (averaged and function != "COUNT") or r.is_key_column(column):
            continue
        if column in r.known_columns and done and function not in done:
            yield Smell("evidence's aggregate differs", f"the evidence says {match[0]}")


def misplaced_evidence_values(r: Reading) -> Iterator[Smell]:
    """Values that the evidence compares with one column, and the query with another."""
    columns_by_value: dict[str, set[str]] = {}
    for match in COMPARISON.finditer(r.example.evidence or ""):
        if match[1].lower() in r.known_columns:
            columns_by_value.setdefault((match[2] or match[3]).strip("%").lower(), set()).add(match[1].lower())
    for literal in r.literals:
        value, comparison = str(literal.this).strip("%").lower(), literal.parent
        kinds = (exp.EQ, exp.NEQ, exp.Like, exp.In, exp.GT, exp.GTE, exp.LT, exp.LTE)
        if (
            value not in columns_by_value
            or not isinstance(comparison, kinds)
            or isinstance(comparison.this, exp.AggFunc)
        ):
            continue
        compared = {column.name.lower() for column in comparison.find_all(exp.Column)}
        if (
            compared
            and not compared & columns_by_value[value]
            and not columns_by_value[value] & _compared_with(r, value)
        ):
            kind = "evidence's value of another column" if literal.is_string else "evidence's number of another column"
            yield Smell(kind, f"the evidence says {min(columns_by_value[value])} = {literal.sql()}")


def _takes_other_end(r: Reading, function: str, column: str) -> bool:
    """Whether the query takes only the opposite extreme of a column."""
    ends = {bool(n.args.get("desc")) for n in r.tree.find_all(exp.Ordered) if reads_column(n, column)}
    ends |= {True for n in r.tree.find_all(exp.Max) if reads_column(n, column)}
    ends |= {False for n in r.tree.find_all(exp.Min) if reads_column(n, column)}
    return bool(ends) and (function == "MAX") not in ends


def _is_explained(r: Reading, column: str) -> bool:
    """Whether the evidence defines a column by others that the query uses: a full name by first and last name."""
    match = re.search(rf"\b{re.escape(column)}`? refers? to ([^;]*)", (r.example.evidence or "").lower())
    return match is not None and any(word in r.column_names for word in re.findall(r"\w+", match[1]))


def _compared_with(r: Reading, value: str) -> set[str]:
    """The lower-case names of the columns that the query compares with a value."""
    places = [node.find_ancestor(exp.Predicate) for node in r.literals if str(node.this).lower() == value]
    return {column.name.lower() for node in places if node is not None for column in node.find_all(exp.Column)}


def _is_of_column(node: exp.Expr, column: str) -> bool:
    inner = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    return isinstance(inner, exp.Column) and inner.name.lower() == column


def _operators(r: Reading, column: str) -> set[str]:
    operators = set()
    for kind, operator in ((exp.GT, ">"), (exp.LT, "<"), (exp.GTE, ">="), (exp.LTE, "<="), (exp.Between, "between")):
        for node in r.tree.find_all(kind):
            if reads_column(node.this, column):
                operators.add(operator)
    return operators


def _computes(r: Reading, function: str) -> bool:
    """Whether the query computes a function, in whatever way."""
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
