"""Medium shapes: one table with several conditions, grouping, or an order."""

from __future__ import annotations

from random import Random

from text2sql.data.make import conditions as test
from text2sql.data.make.domain import Column, Table, plural
from text2sql.data.make.phrasing import (
    COUNTS,
    LISTS,
    aggregate,
    columns,
    either,
    nouns,
    number_word,
    one_phrase,
    say,
    sorting,
    spoken_order,
    top,
)
from text2sql.data.make.query import Draft, Query, View, draft
from text2sql.data.make.shapes.single import aggregating, counting, listing, pick_columns

GROUP_COUNTS = (
    "How many {many} are there for each {group}? Show the {group} and the number.",
    "Show each {group} and the number of {many}.",
    "Count the {many} per {group}. Show the {group} and the count.",
    "For each {group}, give the {group} and the number of {many}.",
    "List the number of {many} for every {group}, together with the {group}.",
    "What is the number of {many} for each {group}? Show the {group} too.",
)

GROUP_AGGREGATES = (
    "What is the {agg} of {many} for each {group}? Show the {group} too.",
    "Show each {group} and the {agg} of its {many}.",
    "For each {group}, give the {group} and the {agg} of {many}.",
    "Find the {agg} of {many} per {group}. Show the {group} and the result.",
    "List every {group} with the {agg} of its {many}.",
)


TWO_AGGREGATES = (
    "What are the {a} and the {b} of {many}?",
    "Find the {a} and the {b} of {many}.",
    "Show both the {a} and the {b} of {many}.",
    "Give me the {a} and the {b} of all {many}.",
)

COUNT_AND_AGGREGATE = (
    "How many {many} are there, and what is their {b}?",
    "Show the number of {many} and their {b}.",
    "Give me the number of {many} as well as their {b}.",
)

TOP_ONE = (
    "What [is] the {col} of the {before} {one} {after}?",
    "Find the {col} of the {before} {one} {after}.",
    "Show the {col} of the {before} {one} {after}.",
    "Tell me the {col} of the {before} {one} {after}.",
)

TOP_SOME = (
    "List the {cols} of the {n} {before} {many} {after}.",
    "What are the {cols} of the {n} {before} {many} {after}?",
    "Show the {cols} of the {n} {before} {many} {after}.",
)

#: For a condition as well as words after the noun: "among books by ..., the one with the highest price".
AMONG_ONE = ("Among {many}, show the {col} of the one {after}.", "Of all {many}, find the {col} of the one {after}.")
AMONG_SOME = ("Among {many}, list the {cols} of the {n} {after}.", "Of all {many}, show the {cols} of the {n} {after}.")


def _pair(rng: Random, view: View, table: Table) -> tuple[test.Condition, test.Condition] | None:
    first = test.condition(rng, view, table, ("category", "category", "number", "year", "date", "flag"))
    second = (
        test.condition(rng, view, table, ("number", "year", "date", "category"), (first.column,)) if first else None
    )
    if not first or not second or (first.before and second.before):
        return None
    return first, second


def both(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre = 'Fantasy' AND pages > 300."""
    table = rng.choice(view.domain.tables)
    pair = _pair(rng, view, table)
    if pair is None:
        return None
    if rng.random() < 0.35:
        return counting(rng, table, *pair)
    shown = pick_columns(rng, table, (pair[0].column, pair[1].column))
    return listing(rng, table, shown, *pair) if shown else None


def one_or_other(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre = 'Fantasy' OR pages > 600."""
    table = rng.choice(view.domain.tables)
    pair = _pair(rng, view, table)
    if pair is None or pair[0].before or pair[1].before:
        return None
    one, many = either(rng, table, *pair)
    where = " OR ".join(condition.sql() for condition in spoken_order(pair))
    shown = pick_columns(rng, table, (pair[0].column, pair[1].column))
    if not shown or rng.random() < 0.35:
        return draft(say(rng, COUNTS, many=many), Query("COUNT(*)", table.name, where=where), table)
    question = say(rng, LISTS, one=one, many=many, **columns(rng, *shown))
    return draft(question, Query(", ".join(c.name for c in shown), table.name, where=where), table)


def aggregate_where(rng: Random, view: View) -> Draft | None:
    """SELECT AVG(price) FROM books WHERE genre = 'Fantasy'."""
    table = rng.choice(view.domain.tables)
    numbers = table.of_kind("number")
    if not numbers:
        return None
    column = rng.choice(numbers)
    where = test.condition(rng, view, table, avoid=(column,))
    return aggregating(rng, table, column, where) if where else None


def two_aggregates(rng: Random, view: View) -> Draft | None:
    """SELECT MIN(price), MAX(price) FROM books."""
    table = rng.choice(view.domain.tables)
    numbers = table.of_kind("number")
    if not numbers:
        return None
    column = rng.choice(numbers)
    spoken = one_phrase(rng, column)
    functions = rng.choice((("MIN", "MAX"), ("AVG", "MAX"), ("MIN", "AVG"), ("COUNT", "AVG")))
    where = test.condition(rng, view, table, avoid=(column,)) if rng.random() < 0.4 else None
    many = nouns(rng, table, [where] if where else [])[1]
    first, second = ("" if f == "COUNT" else aggregate(rng, f, spoken) for f in functions)
    patterns = COUNT_AND_AGGREGATE if functions[0] == "COUNT" else TWO_AGGREGATES
    select = ", ".join("COUNT(*)" if f == "COUNT" else f"{f}({column.name})" for f in functions)
    query = Query(select, table.name, where=where.sql() if where else "")
    return draft(say(rng, patterns, a=first, b=second, many=many), query, table)


def _group_column(rng: Random, table: Table) -> Column | None:
    categories = table.of_kind("category")
    return rng.choice(categories) if categories else None


def group_count(rng: Random, view: View) -> Draft | None:
    """SELECT genre, COUNT(*) FROM books GROUP BY genre."""
    table = rng.choice(view.domain.tables)
    group = _group_column(rng, table)
    if group is None:
        return None
    where = test.condition(rng, view, table, avoid=(group,)) if rng.random() < 0.35 else None
    many = nouns(rng, table, [where] if where else [])[1]
    query = Query(f"{group.name}, COUNT(*)", table.name, where=where.sql() if where else "", group=group.name)
    return draft(say(rng, GROUP_COUNTS, group=rng.choice(group.phrases), many=many), query, table)


def group_by_year(rng: Random, view: View) -> Draft | None:
    """SELECT strftime('%Y', aired), COUNT(*) FROM episodes GROUP BY strftime('%Y', aired)."""
    table = rng.choice(view.domain.tables)
    dates = [column for column in table.of_kind("date") if column.high > column.low]
    if not dates:
        return None
    column = rng.choice(dates)
    part = f"strftime('%Y', {column.name})" if column.stored == "text" else f"EXTRACT(YEAR FROM {column.name})"
    verb = column.verb[0] if column.verb else ""
    patterns: tuple[str, ...] = (
        "How many {many} are there for each year of the {phrase}? Show the year and the number.",
    )
    patterns += ("For each year of the {phrase}, show the year and the number of {many}.",)
    if verb and not verb.startswith(("that", "who")):
        patterns += ("How many {many} were {verb} in each year? Show the year and the number.",) * 2
        patterns += ("Show each year and the number of {many} {verb} in it.",)
    parts = {"many": nouns(rng, table)[1], "phrase": rng.choice(column.phrases), "verb": verb}
    return draft(say(rng, patterns, **parts), Query(f"{part}, COUNT(*)", table.name, group=part), table)


def group_aggregate(rng: Random, view: View) -> Draft | None:
    """SELECT genre, AVG(price) FROM books GROUP BY genre."""
    table = rng.choice(view.domain.tables)
    group = _group_column(rng, table)
    numbers = table.of_kind("number")
    if group is None or not numbers:
        return None
    column = rng.choice(numbers)
    function = rng.choice(("AVG", "MAX", "MIN", "SUM") if column.total else ("AVG", "AVG", "MAX", "MIN"))
    parts = {"group": rng.choice(group.phrases), "agg": aggregate(rng, function, column)}
    query = Query(f"{group.name}, {function}({column.name})", table.name, group=group.name)
    return draft(say(rng, GROUP_AGGREGATES, many=nouns(rng, table)[1], **parts), query, table)


def having_count(rng: Random, view: View) -> Draft | None:
    """SELECT genre FROM books GROUP BY genre HAVING COUNT(*) > 5."""
    table = rng.choice(view.domain.tables)
    group = _group_column(rng, table)
    if group is None:
        return None
    usual = table.size // len(group.values)
    # Groups of more rows are rare in made-up databases.
    number = max(2, min(usual + rng.randint(-2, 2), 7))
    sign, amount = rng.choice(((">", "more than"), (">", "over"), (">=", "at least"), ("<", "fewer than")))
    patterns: tuple[str, ...] = (
        "Which {groups} have {amount} {n} {many}?",
        "List the {groups} with {amount} {n} {many}.",
    )
    patterns += ("Find every {group} that has {amount} {n} {many}.", "What are the {groups} with {amount} {n} {many}?")
    phrase = rng.choice(group.phrases)
    many = nouns(rng, table)[1]
    question = say(rng, patterns, groups=plural(phrase), group=phrase, amount=amount, n=str(number), many=many)
    return draft(question, Query(group.name, table.name, group=group.name, having=f"COUNT(*) {sign} {number}"), table)


def having_average(rng: Random, view: View) -> Draft | None:
    """SELECT genre FROM books GROUP BY genre HAVING AVG(price) > 20."""
    table = rng.choice(view.domain.tables)
    group = _group_column(rng, table)
    numbers = table.of_kind("number")
    if group is None or not numbers:
        return None
    column = rng.choice(numbers)
    threshold = round(column.low + (column.high - column.low) * rng.uniform(0.42, 0.58))
    threshold = int(float(f"{threshold:.2g}"))
    sign, word = rng.choice(((">", "above"), (">", "greater than"), (">", "over"), ("<", "below"), ("<", "less than")))
    patterns: tuple[str, ...] = ("For which {groups} is the average {phrase} of {many} {word} {n}?",)
    patterns += ("Which {groups} have an average {phrase} {word} {n} among their {many}?",)
    patterns += ("List the {groups} whose {many} have an average {phrase} {word} {n}.",)
    parts = {"groups": plural(rng.choice(group.phrases)), "phrase": rng.choice(column.phrases), "word": word}
    question = say(rng, patterns, n=str(threshold), many=nouns(rng, table)[1], **parts)
    query = Query(group.name, table.name, group=group.name, having=f"AVG({column.name}) {sign} {threshold}")
    return draft(question, query, table)


def most_common(rng: Random, view: View) -> Draft | None:
    """SELECT genre FROM books GROUP BY genre ORDER BY COUNT(*) DESC LIMIT 1."""
    table = rng.choice(view.domain.tables)
    group = _group_column(rng, table)
    if group is None:
        return None
    descending = rng.random() < 0.75
    numbers = table.of_kind("number")
    many = nouns(rng, table)[1]
    patterns: tuple[str, ...]
    parts = {"group": rng.choice(group.phrases), "many": many}
    if numbers and rng.random() < 0.4:
        column = rng.choice(numbers)
        order = f"AVG({column.name})"
        patterns = ("Which {group} has the {extreme} average {phrase} of {many}?",)
        patterns += ("Find the {group} whose {many} have the {extreme} average {phrase}.",)
        parts |= {"extreme": "highest" if descending else "lowest", "phrase": rng.choice(column.phrases)}
    else:
        order = "COUNT(*)"
        patterns = ("Which {group} has the {extreme} {many}?", "Find the {group} with the {extreme} {many}.")
        patterns += ("What is the {common} common {group} among {many}?",)
        parts |= {"extreme": "most" if descending else "fewest", "common": "most" if descending else "least"}
    query = Query(group.name, table.name, group=group.name, order=f"{order} {'DESC' if descending else 'ASC'}", limit=1)
    return draft(say(rng, patterns, **parts), query, table)


def _order_column(rng: Random, table: Table) -> Column | None:
    found = table.of_kind("number", "number", "year", "date")
    return rng.choice(found) if found else None


def superlative(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books ORDER BY price DESC LIMIT 1, or LIMIT 3."""
    table = rng.choice([t for t in view.domain.tables if t.handle] or view.domain.tables)
    column = _order_column(rng, table)
    if column is None or table.handle is None:
        return None
    where = test.condition(rng, view, table, avoid=(column,)) if rng.random() < 0.4 else None
    told = (where.column,) if where else ()
    descending = rng.random() < 0.65
    before, after = top(rng, column, descending)
    others = [c for c in pick_columns(rng, table, (column, *told)) if c is not table.handle]
    shown = [table.handle, *(others or [column])] if rng.random() < 0.3 else [table.handle]
    limit = 1 if rng.random() < 0.55 else rng.choice((2, 3, 3, 5, 5, 10))
    noun = nouns(rng, table, [where] if where else [])
    query = Query(
        ", ".join(c.name for c in shown),
        table.name,
        where=where.sql() if where else "",
        order=f"{column.name} {'DESC' if descending else 'ASC'}",
        limit=limit,
    )
    is_are = "is" if len(shown) == 1 else "are"
    patterns = tuple(pattern.replace("[is]", is_are) for pattern in (TOP_ONE if limit == 1 else TOP_SOME))
    if where and after:
        patterns += (AMONG_ONE if limit == 1 else AMONG_SOME) * 3
    parts = {"one": noun[0], "many": noun[1], "n": number_word(rng, limit), "before": before, "after": after}
    return draft(say(rng, patterns, **parts, **columns(rng, *shown)), query, table)


def ordered(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre = 'Fantasy' ORDER BY price DESC."""
    table = rng.choice(view.domain.tables)
    column = table.label if table.label and rng.random() < 0.25 else _order_column(rng, table)
    if column is None or table.handle is None:
        return None
    column = one_phrase(rng, column)
    where = test.condition(rng, view, table, avoid=(column,)) if rng.random() < 0.6 else None
    shown = [table.handle]
    if column.kind != "label" and rng.random() < 0.5:
        shown.append(column)
    descending = column.kind != "label" and rng.random() < 0.6
    one, many = nouns(rng, table, [where] if where else [])
    patterns: tuple[str, ...] = ("List the {cols} of {many}, {sorting}.", "Show the {cols} of all {many}, {sorting}.")
    patterns += ("Give the {cols} of the {many}, {sorting}.", "What are the {cols} of {many}, {sorting}?")
    query = Query(
        ", ".join(c.name for c in shown),
        table.name,
        where=where.sql() if where else "",
        order=f"{column.name} {'DESC' if descending else 'ASC'}",
    )
    words = sorting(rng, column, descending)
    return draft(say(rng, patterns, one=one, many=many, sorting=words, **columns(rng, *shown)), query, table)
