"""Smells of orders: the lowest for the highest, ascending for descending, a superlative without its limit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import DOWN, UP, Smell

# Superlatives, without other words that end in "est".
_SUPERLATIVE = (
    r"\b(?<!to )(?<!to the )(?:(?!interest|latest|forest|west|guest|request|test|best|invest|rest|nest|honest|protest|"
    r"contest|suggest|budapest|arrest|\w*west|harvest|everest|conquest|priest|bucharest)[a-z]{3,}est(?! first| to )|"
    r"the most|the least|the top|the best)\b"
)
_DESCENDING = re.compile(
    r"\bdescending\b|\bdesc\b|\breverse alphabetical|"
    r"\bfrom (?:the )?(?:highest|most|largest|latest|newest|biggest|oldest) to\b"
)
_ASCENDING = re.compile(
    r"\bascending\b|\basc\b|(?<!reverse )\balphabetical|"
    r"\bfrom (?:the )?(?:lowest|least|smallest|earliest|youngest|fewest) to\b"
)


def reversed_orders(r: Reading) -> Iterator[Smell]:
    """Orders in the direction opposite to the question's or the evidence's."""
    ordered = [*r.tree.find_all(exp.Ordered)]
    descending = {bool(node.args.get("desc")) for node in ordered}
    asks_descending, asks_ascending = _DESCENDING.search(r.text), _ASCENDING.search(r.text)
    if asks_descending and not asks_ascending and descending == {False}:
        yield Smell("order turned", "a descending order is asked for, the query sorts upwards")
    if asks_ascending and not asks_descending and descending == {True}:
        yield Smell("order turned", "an ascending order is asked for, the query sorts downwards")
    evidence = (r.example.evidence or "").lower()
    up, down = bool(UP.search(evidence)), bool(DOWN.search(evidence))
    if UP.search(r.question) or DOWN.search(r.question) or up == down or not r.limits:
        return
    if descending == {down}:
        yield Smell("direction of the evidence turned", "the evidence says the other end")


def reversed_extremes(r: Reading) -> Iterator[Smell]:
    """The lowest for the highest or the other way round, superlatives without limits, limits without superlatives."""
    up, down = bool(UP.search(r.question)), bool(DOWN.search(r.question))
    ordered = [node for node in r.tree.find_all(exp.Ordered) if not node.find_ancestor(exp.Window)]
    descending = any(node.args.get("desc") for node in ordered) or r.tree.find(exp.Max) is not None
    ascending = any(not node.args.get("desc") for node in ordered) or r.tree.find(exp.Min) is not None
    evidence = (r.example.evidence or "").lower()
    may_be_rank = re.search(r"\b(?:rank|position|youngest|oldest|born|birth|dob|order|year|date)\b", r.text)
    is_limited = bool(r.limits) or r.tree.find(exp.Max, exp.Min) is not None
    if is_limited and up and not down and ascending and not descending and "min(" not in evidence:
        yield Smell(
            "direction against a rank" if may_be_rank else "direction",
            "the question asks for the most, the query for the least",
        )
    if is_limited and down and not up and descending and not ascending and "max(" not in evidence:
        yield Smell(
            "direction against a rank" if may_be_rank else "direction",
            "the question asks for the least, the query for the most",
        )
    if ("max(" in evidence and ascending and not descending and "min(" not in evidence) or (
        "min(" in evidence and descending and not ascending and "max(" not in evidence
    ):
        yield Smell("direction against the evidence", "the evidence says the other end")
    for word, is_reversed in (("oldest", descending and not ascending), ("youngest", ascending and not descending)):
        ordered_columns = {c.name.lower() for node in ordered for c in node.find_all(exp.Column)}
        if (
            word in r.words
            and is_limited
            and is_reversed
            and any(re.search(r"birth|dob|born", name) for name in ordered_columns)
        ):
            yield Smell("direction", f"the question asks for the {word}, the query orders the other way")
        if (
            word in r.words
            and is_limited
            and not is_reversed
            and any(name == "age" for name in ordered_columns)
            and (ascending != descending)
        ):
            yield Smell("direction", f"the question asks for the {word}, the query orders the other way")
    superlative = re.search(_SUPERLATIVE, r.question)
    if (
        superlative
        and not is_limited
        and not r.tree.find(exp.Window)
        and not re.search(r"\bat (?:most|least)\b", r.question)
    ):
        if ordered:
            yield Smell(
                "order without its limit", f"the question asks for the {superlative[0]}, the query sorts and takes all"
            )
        elif not r.tree.find(exp.GT, exp.GTE, exp.LT, exp.LTE):
            yield Smell("superlative without one", f"the question asks for the {superlative[0]}, the query takes all")
    asks_for_extreme = (
        up
        or down
        or re.search(r"\b(?:oldest|youngest|first|top|rank\w*|order\w*|sort\w*|\w+est)\b|max\(|min\(", r.text)
    )
    if r.limits and not asks_for_extreme and not r.numbers:
        yield Smell("limit unasked", "the query is limited, the question asks for no most or first")
