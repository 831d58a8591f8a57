"""Smells of comparisons, limits, negations and groups: missing, unasked, or different from the question's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import NUMBERS, Reading
from text2sql.data.audit.smell import AVERAGE, LESS, LOOSE, MORE, NEGATED, PERCENT, STRICT, Smell, names_contain

# "Not higher than 4" means "at most 4".
_AT_MOST = re.compile(r"\b(?:not?|n't) (?:be |been )?(?:more|greater|higher|larger|bigger|later|older|longer) than\b")
_AT_LEAST = re.compile(r"\b(?:not?|n't) (?:be |been )?(?:less|fewer|lower|smaller|earlier|younger|shorter) than\b")
EACH = re.compile(r"\b(?:each|every|per|by)\b")


def comparisons(r: Reading) -> Iterator[Smell]:
    """Comparisons in the other direction, or with the wrong boundary."""
    text = _AT_MOST.sub("at most", _AT_LEAST.sub("at least", _without_column_names(r)))
    more, less = bool(MORE.search(text)) or ">" in text, bool(LESS.search(text)) or "<" in text
    above = r.tree.find(exp.GT, exp.GTE) is not None
    below = r.tree.find(exp.LT, exp.LTE) is not None
    between = r.tree.find(exp.Between) is not None
    if more and not less and below and not above and not between:
        yield Smell("comparison", "the question says more, the query takes less")
    if less and not more and above and not below and not between:
        yield Smell("comparison", "the question says less, the query takes more")
    strict, loose = bool(STRICT.search(text)), bool(LOOSE.search(text)) or "between" in r.words
    if (
        strict
        and not loose
        and not between
        and (r.tree.find(exp.GTE) or r.tree.find(exp.LTE))
        and not r.tree.find(exp.GT, exp.LT)
    ):
        yield Smell("boundary", "the question says more than or less than, the query takes the boundary too")
    if loose and not strict and r.tree.find(exp.GT, exp.LT) and not r.tree.find(exp.GTE, exp.LTE) and not between:
        yield Smell("boundary", "the question takes the boundary too, the query does not")
    if (
        (above or below)
        and not (more or less)
        and not re.search(
            r"[<>]|between|range|normal|average|during|from|\bage|\bold|\w+er than|past|future|recent|beyond|decade|"
            r"century|until|exceed",
            r.text,
        )
    ):
        yield Smell("comparison unasked", "the query compares, the question does not say so")
    # "At least one" is a join, not a comparison.
    compares_number = (
        MORE.search(re.sub(r"\bat least (?:one|an?)\b", "", text)) or LESS.search(text) or re.search("[<>]", text)
    )
    if (
        compares_number
        and any(not n.isdigit() or int(n) not in r.limits for n in r.numbers)
        and not (above or below or between)
    ):
        yield Smell("comparison missing", "the question compares with a number, the query does not")


def _without_column_names(r: Reading) -> str:
    """Question and evidence without the names of columns that are words of comparisons, such as ``since``."""
    names = [name for name in r.column_names if MORE.fullmatch(name) or LESS.fullmatch(name)]
    return re.sub(rf"\b(?:{'|'.join(names)})\b", "", r.text) if names else r.text


# "List three of them", "any 10 models".
_ASKS_FOR_ROWS = re.compile(
    r"\b(?:list|pick|give|name|state|show|provide|any|mention|write|indicate|find|choose|identify|which|what|the|top)\b"
    r"(?: (?:down|out|any|me|are|the|is))* (\d{1,3}|two|three|four|five|six|seven|eight|nine|ten|twenty) "
    r"(?!years?\b|days?\b|months?\b|or\b|and\b|to\b|percent|%|hours?\b|minutes?\b)[a-z]"
)


def wrong_limits(r: Reading) -> Iterator[Smell]:
    """Limits other than the number of rows that the question asks for."""
    spelled_out = [NUMBERS[word] for word in re.findall(r"[a-z]+", r.question) if word in NUMBERS]
    asked_numbers = {*r.numbers, *spelled_out}
    match = re.search(
        r"\b(?:top|first|last|bottom|best|highest|lowest|worst)\s+(\d+|two|three|four|five|six|seven|eight|nine|ten|twenty)\b",
        r.question,
    )
    if match and r.limits and int(NUMBERS.get(match[1], match[1])) not in r.limits:
        yield Smell("limit", f"the question asks for {match[1]}, the query takes {r.limits[0]}")
    for number in r.limits:
        if number > 1 and str(number) not in asked_numbers and not r.tree.find(exp.Offset):
            yield Smell("limit", f"the query takes {number}, which the question does not say")
    row_count = _ASKS_FOR_ROWS.search(r.question)
    if row_count and not r.limits and NUMBERS.get(row_count[1], row_count[1]) not in re.findall(r"\d+", r.literal_text):
        yield Smell("number of rows ignored", f"the question asks for {row_count[1]}, the query takes all")
    for limit in r.tree.find_all(exp.Limit):
        if limit.parent is not None and not limit.parent.args.get("order"):
            yield Smell("limit without order", "which rows come first is left to chance")


def negations(r: Reading) -> Iterator[Smell]:
    """A "not" in the question only, or in the query only."""
    is_mentioned = bool(NEGATED.search(r.text)) or "!=" in r.text or "<>" in r.text or "null" in r.text
    # For a flag, `= FALSE` is a negation.
    has_false = any(not node.this for node in r.tree.find_all(exp.Boolean))
    is_negated = has_false or r.tree.find(exp.Not, exp.NEQ, exp.Except, exp.Is) is not None
    filters = [
        node
        for node in r.tree.find_all(exp.Not, exp.NEQ)
        if not (isinstance(node, exp.Not) and isinstance(node.this, exp.Is))
    ]
    if (
        re.search(r"\b(?:not|never|without|except|don't|doesn't|didn't|isn't|aren't)\b(?! (?:repe|dupl))", r.question)
        and not is_negated
        and not r.tree.find(exp.Left, exp.LT, exp.GT, exp.LTE, exp.GTE)
    ):
        has_negative_value = any(str(node.this).lower() in ("0", "no", "f", "n", "false", "-") for node in r.literals)
        yield Smell(
            "negation weakly missing" if has_negative_value else "negation missing",
            "the question says not, the query does not",
        )
    if filters and not is_mentioned:
        yield Smell("negation unasked", "the query says not, the question does not")


def groups(r: Reading) -> Iterator[Smell]:
    """Groups that are missing for "each", ungrouped columns next to an aggregate, shares without a division."""
    group = r.tree.find(exp.Group)
    if (
        (
            re.search(r"\b(?:each|every|per)\b", r.question)
            and not group
            and not r.tree.find(exp.Window)
            and r.tree.find(exp.AggFunc)
        )
        and not re.search(r"\bper\b", " ".join(r.column_names))
        and not PERCENT.search(r.question)
    ):
        yield Smell("group missing", "the question asks for each, the query does not group")
    select = r.select
    if isinstance(select, exp.Select) and not select.args.get("group") and select.expressions:
        aggregated = [part.find(exp.AggFunc) is not None for part in select.expressions]
        plain = [p for p, a in zip(select.expressions, aggregated, strict=True) if not a and p.find(exp.Column)]
        if any(aggregated) and plain and not select.find(exp.Window) and not r.tree.find(exp.Subquery):
            yield Smell("columns beside an aggregate", f"{plain[0].sql()} is of any row")
    if (
        PERCENT.search(r.question)
        and re.search(r"percent|ratio|proportion", r.question)
        and not r.tree.find(exp.Div, exp.Avg)
    ) and not names_contain(r, "percent", "ratio", "rate", "pct"):
        yield Smell("percentage missing", "the question asks for a share, the query does not divide")
    if (
        r.tree.find(exp.Div)
        and not PERCENT.search(r.text)
        and not AVERAGE.search(r.text)
        and "/" not in r.text
        and "divi" not in r.text
    ):
        yield Smell("division unasked", "the query divides, the question does not say so")
