"""What is asked for, an average or the highest, and what the query computes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import AVERAGE, COUNTED, DOWN, PERCENT, TOTAL, UP, Smell, is_key, named_so

# Words that ask for one end of an order; others that end so are none.
_ONE_END = (
    r"\b(?<!to )(?<!to the )(?:(?!interest|latest|forest|west|guest|request|test|best|invest|rest|nest|honest|protest|"
    r"contest|suggest|budapest|arrest|\w*west|harvest|everest|conquest|priest|bucharest)[a-z]{3,}est(?! first| to )|"
    r"the most|the least|the top|the best)\b"
)
# The most number of votes is an order, and an id number no count.
_HOW_MANY = re.compile(
    r"\bhow many\b|(?<!highest )(?<!lowest )(?<!most )(?<!least )(?<!maximum )(?<!minimum )(?<!largest )"
    r"(?<!greatest )(?<!fewest )(?<!average )(?<!total )(?<!id )(?<!phone )(?<!serial )\bnumber of\b"
)


def aggregates(r: Reading) -> Iterator[Smell]:
    """An aggregate that the question asks for and the query has not, and the other way round."""
    said, tree = r.said, r.tree
    average, total, counted = tree.find(exp.Avg), tree.find(exp.Sum), tree.find(exp.Count)
    divides = tree.find(exp.Div)
    if AVERAGE.search(r.question) and not average and not divides and not named_so(r, "avg", "average", "mean"):
        yield Smell("average missing", "the question asks for an average, the query has none")
    if average and not AVERAGE.search(said) and not PERCENT.search(said) and "avg" not in said:
        yield Smell("average unasked", "the query averages, the question does not say so")
    if (
        total
        and not TOTAL.search(said)
        and not COUNTED.search(said)
        and not PERCENT.search(said)
        and not divides
        and "sum" not in said
    ):
        yield Smell("sum unasked", "the query adds up, the question does not say so")
    asked = _HOW_MANY.search(r.question) and not tree.find(exp.Sub, exp.Div)
    kept = named_so(r, "number", "num", "count", "total", "quantity", "amount", "population")
    if asked and not (counted or total or kept):
        yield Smell("count missing", "the question asks how many, the query does not count")
    if (
        counted
        and isinstance(r.select, exp.Select)
        and any(p.find(exp.Count) for p in r.select.expressions)
        and (
            not COUNTED.search(said)
            and not PERCENT.search(said)
            and not TOTAL.search(said)
            and "count" not in said
            and "many" not in said
        )
    ):
        yield Smell("count unasked", "the query counts, the question does not say so")
    if re.search(r"\bhow many\b", r.question) and total and not counted and not re.search(r"\bCASE\b|IIF", tree.sql()):
        yield Smell("sum for how many", "the question asks how many, the query adds up")


def other_aggregates(r: Reading) -> Iterator[Smell]:
    """One aggregate where the question names another."""
    done = {type(node) for node in r.tree.find_all(exp.Avg, exp.Sum, exp.Count, exp.Max, exp.Min)}
    if not done or r.tree.find(exp.Div, exp.Sub) is not None:
        return
    added = bool(done & {exp.Sum, exp.Count})
    average = AVERAGE.search(r.question) is not None
    if average and exp.Avg not in done and not named_so(r, "avg", "average", "mean"):
        yield Smell("another aggregate for the average", "the question asks for an average, the query computes another")
    if TOTAL.search(r.question) and not average and not added and not named_so(r, "total", "sum", "number", "overall"):
        yield Smell("another aggregate for the total", "the question asks for a total, the query computes another")
    kept = named_so(r, "number", "num", "count", "total", "quantity", "amount", "population")
    if re.search(r"\bhow many\b", r.question) and not added and not kept:
        yield Smell("another aggregate for how many", "the question asks how many, the query computes another")


def _is_measure(r: Reading, node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Column) and not is_key(r, node) and r.type_of(node) in ("INTEGER", "REAL")


def unlike_aggregates(r: Reading) -> Iterator[Smell]:
    """Counts where a total is asked for, and columns that are compared or sorted by what is not of their kind."""
    for node in r.tree.find_all(exp.Count):
        if isinstance(node.this, exp.Column) and not is_key(r, node.this):
            if TOTAL.search(r.question) and not COUNTED.search(r.said) and _is_measure(r, node.this):
                yield Smell("count for a total", node.sql())
            elif not COUNTED.search(r.said) and not PERCENT.search(r.said) and not node.find_ancestor(exp.Order):
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
            elif isinstance(node, exp.Avg) and not AVERAGE.search(r.said):
                yield Smell("sorted by an average unasked", node.sql())
        elif isinstance(node, exp.Count) and _is_measure(r, node.this) and not COUNTED.search(r.said):
            yield Smell("sorted by a count of a measure", node.sql())
    limited = bool(r.limits) or r.tree.find(exp.Max, exp.Min, exp.Window) is not None
    evidence = (r.example.evidence or "").lower()
    if not limited and re.search(r"\b(?:max|min)\s*\(", evidence) and r.tree.find(exp.Order):
        yield Smell("evidence's end without limit", "the evidence says MAX or MIN, the query sorts and takes all")


def odd_aggregates(r: Reading) -> Iterator[Smell]:
    """Keys that are added up, and extremes that nobody asks for."""
    for node in r.tree.find_all(exp.Sum, exp.Avg):
        if isinstance(node.this, exp.Column) and is_key(r, node.this):
            yield Smell("key added up", node.sql())
    for node in r.tree.find_all(exp.Max, exp.Min):
        if isinstance(node.this, exp.Column) and node.find_ancestor(exp.Case, exp.If) is None:
            spoken = re.search(
                r"\b(?:\w+est|most|least|max\w*|min\w*|top|first|last|recent|peak|record|up to|range)\b|max\(|min\(",
                r.said,
            )
            # Before any and above all of them is below the least and above the most.
            compared = node.find_ancestor(exp.Predicate, exp.Having) is not None
            if compared and re.search(r"\b(?:all|any|every|each|never|ever|always)\b", r.question):
                continue
            if not spoken and not UP.search(r.said) and not DOWN.search(r.said):
                yield Smell("extreme unasked", node.sql())
            elif is_key(r, node.this):
                yield Smell("extreme of a key", node.sql())
    # In each SELECT by itself: an intersection may have two bounds of one column.
    same: Counter[tuple[int, str, str]] = Counter()
    bounds: tuple[tuple[type[exp.Binary], str], ...] = ((exp.GT, ">"), (exp.GTE, ">"), (exp.LT, "<"), (exp.LTE, "<"))
    for kind, sign in bounds:
        for bound in r.tree.find_all(kind):
            if (
                isinstance(bound.this, exp.Column)
                and isinstance(bound.expression, exp.Literal)
                and not bound.find_ancestor(exp.Or, exp.If, exp.Case)
            ):
                same[id(bound.find_ancestor(exp.Select)), bound.this.sql().lower(), sign] += 1
    if any(count > 1 for count in same.values()):
        yield Smell("compared twice in one direction", "one of two bounds says nothing")


def orders(r: Reading) -> Iterator[Smell]:
    """A descending order for an ascending one, and the end of an order that the evidence alone speaks of."""
    ordered = [*r.tree.find_all(exp.Ordered)]
    downwards = {bool(node.args.get("desc")) for node in ordered}
    falls, rises = _DESCENDING.search(r.said), _ASCENDING.search(r.said)
    if falls and not rises and downwards == {False}:
        yield Smell("order turned", "a descending order is asked for, the query sorts upwards")
    if rises and not falls and downwards == {True}:
        yield Smell("order turned", "an ascending order is asked for, the query sorts downwards")
    evidence = (r.example.evidence or "").lower()
    up, down = bool(UP.search(evidence)), bool(DOWN.search(evidence))
    if UP.search(r.question) or DOWN.search(r.question) or up == down or not r.limits:
        return
    if downwards == {down}:
        yield Smell("direction of the evidence turned", "the evidence says the other end")


_DESCENDING = re.compile(
    r"\bdescending\b|\bdesc\b|\breverse alphabetical|"
    r"\bfrom (?:the )?(?:highest|most|largest|latest|newest|biggest|oldest) to\b"
)
_ASCENDING = re.compile(
    r"\bascending\b|\basc\b|(?<!reverse )\balphabetical|"
    r"\bfrom (?:the )?(?:lowest|least|smallest|earliest|youngest|fewest) to\b"
)


def directions(r: Reading) -> Iterator[Smell]:
    """The highest where the lowest is asked for, and the other way round."""
    up, down = bool(UP.search(r.question)), bool(DOWN.search(r.question))
    ordered = [node for node in r.tree.find_all(exp.Ordered) if not node.find_ancestor(exp.Window)]
    descending = any(node.args.get("desc") for node in ordered) or r.tree.find(exp.Max) is not None
    ascending = any(not node.args.get("desc") for node in ordered) or r.tree.find(exp.Min) is not None
    evidence = (r.example.evidence or "").lower()
    backwards = re.search(r"\b(?:rank|position|youngest|oldest|born|birth|dob|order|year|date)\b", r.said)
    limited = bool(r.limits) or r.tree.find(exp.Max, exp.Min) is not None
    if limited and up and not down and ascending and not descending and "min(" not in evidence:
        yield Smell(
            "direction against a rank" if backwards else "direction",
            "the question asks for the most, the query for the least",
        )
    if limited and down and not up and descending and not ascending and "max(" not in evidence:
        yield Smell(
            "direction against a rank" if backwards else "direction",
            "the question asks for the least, the query for the most",
        )
    if ("max(" in evidence and ascending and not descending and "min(" not in evidence) or (
        "min(" in evidence and descending and not ascending and "max(" not in evidence
    ):
        yield Smell("direction against the evidence", "the evidence says the other end")
    for word, wrong in (("oldest", descending and not ascending), ("youngest", ascending and not descending)):
        named = {c.name.lower() for node in ordered for c in node.find_all(exp.Column)}
        if word in r.words and limited and wrong and any(re.search(r"birth|dob|born", name) for name in named):
            yield Smell("direction", f"the question asks for the {word}, the query orders the other way")
        if (
            word in r.words
            and limited
            and not wrong
            and any(name == "age" for name in named)
            and (ascending != descending)
        ):
            yield Smell("direction", f"the question asks for the {word}, the query orders the other way")
    ranked = re.search(_ONE_END, r.question)
    if ranked and not limited and not r.tree.find(exp.Window) and not re.search(r"\bat (?:most|least)\b", r.question):
        if ordered:
            yield Smell(
                "order without its limit", f"the question asks for the {ranked[0]}, the query sorts and takes all"
            )
        elif not r.tree.find(exp.GT, exp.GTE, exp.LT, exp.LTE):
            yield Smell("superlative without one", f"the question asks for the {ranked[0]}, the query takes all")
    asks = (
        up
        or down
        or re.search(r"\b(?:oldest|youngest|first|top|rank\w*|order\w*|sort\w*|\w+est)\b|max\(|min\(", r.said)
    )
    if r.limits and not asks and not r.numbers:
        yield Smell("limit unasked", "the query is limited, the question asks for no most or first")
