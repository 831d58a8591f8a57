"""Smells of aggregates: missing, unasked, wrong, or without sense for their column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import AVERAGE, COUNTED, DOWN, PERCENT, TOTAL, UP, Smell, is_key, names_contain

# "The highest number of votes" is an order, and an id number is not a count.
_HOW_MANY = re.compile(
    r"\bhow many\b|(?<!highest )(?<!lowest )(?<!most )(?<!least )(?<!maximum )(?<!minimum )(?<!largest )"
    r"(?<!greatest )(?<!fewest )(?<!average )(?<!total )(?<!id )(?<!phone )(?<!serial )\bnumber of\b"
)


def missing_aggregates(r: Reading) -> Iterator[Smell]:
    """Aggregates that the question asks for and the query lacks, and the other way round."""
    text, tree = r.text, r.tree
    average, total, counted = tree.find(exp.Avg), tree.find(exp.Sum), tree.find(exp.Count)
    divides = tree.find(exp.Div)
    if AVERAGE.search(r.question) and not average and not divides and not names_contain(r, "avg", "average", "mean"):
        yield Smell("average missing", "the question asks for an average, the query has none")
    if average and not AVERAGE.search(text) and not PERCENT.search(text) and "avg" not in text:
        yield Smell("average unasked", "the query averages, the question does not say so")
    if (
        total
        and not TOTAL.search(text)
        and not COUNTED.search(text)
        and not PERCENT.search(text)
        and not divides
        and "sum" not in text
    ):
        yield Smell("sum unasked", "the query adds up, the question does not say so")
    asks_for_count = _HOW_MANY.search(r.question) and not tree.find(exp.Sub, exp.Div)
    has_count_column = names_contain(r, "number", "num", "count", "total", "quantity", "amount", "population")
    if asks_for_count and not (counted or total or has_count_column):
        yield Smell("count missing", "the question asks how many, the query does not count")
    if (
        counted
        and isinstance(r.select, exp.Select)
        and any(p.find(exp.Count) for p in r.select.expressions)
        and (
            not COUNTED.search(text)
            and not PERCENT.search(text)
            and not TOTAL.search(text)
            and "count" not in text
            and "many" not in text
        )
    ):
        yield Smell("count unasked", "the query counts, the question does not say so")
    if re.search(r"\bhow many\b", r.question) and total and not counted and not re.search(r"\bCASE\b|IIF", tree.sql()):
        yield Smell("sum for how many", "the question asks how many, the query adds up")


def wrong_aggregates(r: Reading) -> Iterator[Smell]:
    """Aggregates other than the one that the question names."""
    computed = {type(node) for node in r.tree.find_all(exp.Avg, exp.Sum, exp.Count, exp.Max, exp.Min)}
    if not computed or r.tree.find(exp.Div, exp.Sub) is not None:
        return
    is_sum_or_count = bool(computed & {exp.Sum, exp.Count})
    average = AVERAGE.search(r.question) is not None
    if average and exp.Avg not in computed and not names_contain(r, "avg", "average", "mean"):
        yield Smell("another aggregate for the average", "the question asks for an average, the query computes another")
    if (
        TOTAL.search(r.question)
        and not average
        and not is_sum_or_count
        and not names_contain(r, "total", "sum", "number", "overall")
    ):
        yield Smell("another aggregate for the total", "the question asks for a total, the query computes another")
    has_count_column = names_contain(r, "number", "num", "count", "total", "quantity", "amount", "population")
    if re.search(r"\bhow many\b", r.question) and not is_sum_or_count and not has_count_column:
        yield Smell("another aggregate for how many", "the question asks how many, the query computes another")


def _is_measure(r: Reading, node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Column) and not is_key(r, node) and r.type_of(node) in ("INTEGER", "REAL")


def mismatched_aggregates(r: Reading) -> Iterator[Smell]:
    """Counts of measures, and columns that are compared or sorted by an aggregate of another kind."""
    for node in r.tree.find_all(exp.Count):
        if isinstance(node.this, exp.Column) and not is_key(r, node.this):
            if TOTAL.search(r.question) and not COUNTED.search(r.text) and _is_measure(r, node.this):
                yield Smell("count for a total", node.sql())
            elif not COUNTED.search(r.text) and not PERCENT.search(r.text) and not node.find_ancestor(exp.Order):
                yield Smell("measure counted", node.sql())
    for pair in r.tree.find_all(exp.EQ):
        for one, other in ((pair.this, pair.expression), (pair.expression, pair.this)):
            inner = other.this if isinstance(other, exp.Subquery) else None
            shown = inner.expressions[0].unalias() if isinstance(inner, exp.Select) and inner.expressions else None
            if isinstance(one, exp.Column) and isinstance(shown, (exp.Count, exp.Sum, exp.Avg)):
                yield Smell("compared with another kind", pair.sql())
    for ordered in r.tree.find_all(exp.Ordered):
        node = ordered.this
        if isinstance(node, (exp.Max, exp.Min, exp.Avg, exp.Sum)) and isinstance(node.this, exp.Column):
            if is_key(r, node.this) or r.type_of(node.this) == "TEXT":
                yield Smell("sorted by an aggregate of a key", node.sql())
            elif isinstance(node, exp.Avg) and not AVERAGE.search(r.text):
                yield Smell("sorted by an average unasked", node.sql())
        elif isinstance(node, exp.Count) and _is_measure(r, node.this) and not COUNTED.search(r.text):
            yield Smell("sorted by a count of a measure", node.sql())
    is_limited = bool(r.limits) or r.tree.find(exp.Max, exp.Min, exp.Window) is not None
    evidence = (r.example.evidence or "").lower()
    if not is_limited and re.search(r"\b(?:max|min)\s*\(", evidence) and r.tree.find(exp.Order):
        yield Smell("evidence's end without limit", "the evidence says MAX or MIN, the query sorts and takes all")


def senseless_aggregates(r: Reading) -> Iterator[Smell]:
    """Sums and extremes of keys, and extremes that nobody asks for."""
    for node in r.tree.find_all(exp.Sum, exp.Avg):
        if isinstance(node.this, exp.Column) and is_key(r, node.this):
            yield Smell("key added up", node.sql())
    for node in r.tree.find_all(exp.Max, exp.Min):
        if isinstance(node.this, exp.Column) and node.find_ancestor(exp.Case, exp.If) is None:
            is_mentioned = re.search(
                r"\b(?:\w+est|most|least|max\w*|min\w*|top|first|last|recent|peak|record|up to|range)\b|max\(|min\(",
                r.text,
            )
            # "Before any" and "above all" mean below the least and above the most.
            compared = node.find_ancestor(exp.Predicate, exp.Having) is not None
            if compared and re.search(r"\b(?:all|any|every|each|never|ever|always)\b", r.question):
                continue
            if not is_mentioned and not UP.search(r.text) and not DOWN.search(r.text):
                yield Smell("extreme unasked", node.sql())
            elif is_key(r, node.this):
                yield Smell("extreme of a key", node.sql())
    # For each SELECT separately: an intersection may have two bounds of one column.
    bounds_by_column: Counter[tuple[int, str, str]] = Counter()
    bounds: tuple[tuple[type[exp.Binary], str], ...] = ((exp.GT, ">"), (exp.GTE, ">"), (exp.LT, "<"), (exp.LTE, "<"))
    for kind, operator in bounds:
        for bound in r.tree.find_all(kind):
            if (
                isinstance(bound.this, exp.Column)
                and isinstance(bound.expression, exp.Literal)
                and not bound.find_ancestor(exp.Or, exp.If, exp.Case)
            ):
                bounds_by_column[id(bound.find_ancestor(exp.Select)), bound.this.sql().lower(), operator] += 1
    if any(count > 1 for count in bounds_by_column.values()):
        yield Smell("compared twice in one direction", "one of two bounds says nothing")
