"""Hard shapes with a query inside a query, or with set operations."""

from __future__ import annotations

from random import Random

from text2sql.data.make import conditions as test
from text2sql.data.make.domain import Column, Kind, Table, plural
from text2sql.data.make.phrasing import COUNTS, LISTS, columns, named, nouns, one_noun, say
from text2sql.data.make.query import Draft, Query, View, draft, literal
from text2sql.data.make.shapes.joined import Link, pick_link


def versus_average(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE price > (SELECT AVG(price) FROM books)."""
    table = rng.choice(view.domain.tables)
    table = one_noun(rng, table)
    numbers = table.of_kind("number")
    if not numbers:
        return None
    column = rng.choice(numbers)
    phrase = rng.choice(column.phrases)
    sign, word = rng.choice(((">", "higher"), (">", "greater"), ("<", "lower")))
    within = test.condition(rng, view, table, ("category",)) if rng.random() < 0.3 else None
    if within:
        words = f"whose {phrase} is {word} than the average {phrase} of {nouns(rng, table, [within])[1]}"
    else:
        side = "above" if sign == ">" else "below"
        words = rng.choice(
            (f"whose {phrase} is {word} than the average", f"with {test.article(phrase)} {side} the average")
        )
    inner = Query(f"AVG({column.name})", table.name, where=within.sql() if within else "")
    return _rows(rng, table, words, f"{column.name} {sign} ({inner})")


def versus_row(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE pages > (SELECT pages FROM books WHERE title = 'Silent River')."""
    table = rng.choice(view.domain.tables)
    found = table.of_kind("number", "year", "date")
    if table.handle is None or not found:
        return None
    column = rng.choice(found)
    value = view.some_row(rng, table)[table.handle.name]
    sign, words = rng.choice(((">", ("higher", "later")), ("<", ("lower", "earlier"))))
    word = words[column.kind in ("year", "date")]
    inner = Query(column.name, table.name, where=f"{table.handle.name} = {literal(value)}")
    text = f"with {test.article(word)} {rng.choice(column.phrases)} than {named(rng, table, value)}"
    return _rows(rng, table, text, f"{column.name} {sign} ({inner})")


def same_as(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre = (SELECT genre FROM books WHERE title = 'X') AND title != 'X'."""
    table = rng.choice(view.domain.tables)
    categories = table.of_kind("category")
    if table.handle is None or not categories:
        return None
    column = rng.choice(categories)
    value = literal(view.some_row(rng, table)[table.handle.name])
    inner = Query(column.name, table.name, where=f"{table.handle.name} = {value}")
    patterns: tuple[str, ...] = ("List the {cols} of the other {many} that have the same {phrase} as {row}.",)
    patterns += ("Apart from {row}, which {many} have the same {phrase} as it? Give the {cols}.",)
    patterns += ("Find the {cols} of all other {many} with the same {phrase} as {row}.",)
    row = named(rng, table, value.strip("'"))
    if table.is_person:
        patterns = (patterns[0], patterns[2])
    parts = {"many": nouns(rng, table)[1], "phrase": rng.choice(column.phrases), "row": row}
    where = f"{column.name} = ({inner}) AND {table.handle.name} != {value}"
    question = say(rng, patterns, **parts, **columns(rng, table.handle))
    return draft(question, Query(table.handle.name, table.name, where=where), table)


def _rows(rng: Random, table: Table, words: str, where: str) -> Draft | None:
    """Ask for the names of the rows that meet a nested condition, or for their number."""
    one, many = nouns(rng, table, extra=words)
    if table.handle is None or rng.random() < 0.3:
        return draft(say(rng, COUNTS, many=many), Query("COUNT(*)", table.name, where=where), table)
    question = say(rng, LISTS, one=one, many=many, **columns(rng, table.handle))
    return draft(question, Query(table.handle.name, table.name, where=where), table)


def _inner(rng: Random, view: View, link: Link, share: float) -> tuple[str, str, str]:
    """Return a child in the singular, the plural, and the subquery for its keys, with a condition now and then."""
    where = test.condition(rng, view, link.child) if rng.random() < share else None
    one, many = nouns(rng, link.child, [where] if where else [])
    return one, many, str(Query(link.key.name, link.child.name, where=where.sql() if where else ""))


def never(rng: Random, view: View) -> Draft | None:
    """SELECT name FROM authors WHERE id NOT IN (SELECT author_id FROM books)."""
    link = pick_link(rng, view)
    if link is None:
        return None
    one, many, inner = _inner(rng, view, link, 0.45)
    who = "who" if link.parent.is_person else "that"
    words = rng.choice((f"{who} have not {{did}} any {many}", f"{who} have never {{did}} {test.article(one)}"))
    return _parents(rng, link, words, f"{link.parent.key} NOT IN ({inner})")


def some(rng: Random, view: View) -> Draft | None:
    """SELECT name FROM authors WHERE id IN (SELECT author_id FROM books WHERE pages > 500)."""
    link = pick_link(rng, view)
    if link is None:
        return None
    one, many, inner = _inner(rng, view, link, 1.0)
    who = "who" if link.parent.is_person else "that"
    return (
        _parents(rng, link, f"{who} have {{did}} at least one {one}", f"{link.parent.key} IN ({inner})")
        if many
        else None
    )


def _parents(rng: Random, link: Link, words: str, where: str) -> Draft | None:
    handle = link.parent.handle
    assert handle is not None
    many = nouns(rng, link.parent, extra=words.format(did=rng.choice(link.key.did)))[1]
    if rng.random() < 0.25:
        return draft(
            say(rng, COUNTS, many=many), Query("COUNT(*)", link.parent.name, where=where), link.parent, link.child
        )
    # Only the plural patterns: the words end in a clause with "have".
    patterns = tuple(pattern for pattern in LISTS if "{many}" in pattern)
    question = say(rng, patterns, many=many, **columns(rng, handle))
    return draft(question, Query(handle.name, link.parent.name, where=where), link.parent, link.child)


def in_both(rng: Random, view: View) -> Draft | None:
    """SELECT genre FROM books WHERE pages > 500 INTERSECT SELECT genre FROM books WHERE published < 1990."""
    return _two_sets(rng, view, "INTERSECT")


def in_one_only(rng: Random, view: View) -> Draft | None:
    """SELECT genre FROM books WHERE pages > 500 EXCEPT SELECT genre FROM books WHERE published < 1990."""
    return _two_sets(rng, view, "EXCEPT")


def _two_sets(rng: Random, view: View, operator: str) -> Draft | None:
    table = rng.choice(view.domain.tables)
    table = one_noun(rng, table)
    categories = table.of_kind("category")
    if not categories:
        return None
    column = rng.choice(categories)
    kinds: tuple[Kind, ...] = ("number", "year", "date", "category", "flag")
    first = test.condition(rng, view, table, kinds, (column,))
    second = test.condition(rng, view, table, kinds, (column,))
    if first is None or second is None or first.test == second.test:
        return None
    return _set_operation(rng, operator, column, (table, first), (table, second))


def shared_values(rng: Random, view: View) -> Draft | None:
    """SELECT city FROM doctors EXCEPT SELECT city FROM patients."""
    pairs = [
        (one, other, column)
        for one in view.domain.tables
        for other in view.domain.tables
        for column in one.of_kind("category")
        if one is not other and any(column.name == twin.name for twin in other.of_kind("category"))
    ]
    if not pairs:
        return None
    one, other, column = rng.choice(pairs)
    operator = rng.choice(("INTERSECT", "EXCEPT", "UNION"))
    if operator != "EXCEPT" and one.name > other.name:
        # The two orders mean the same.
        one, other = other, one
    return _set_operation(rng, operator, column, (one, None), (other, None))


def _set_operation(
    rng: Random,
    operator: str,
    column: Column,
    left: tuple[Table, test.Condition | None],
    right: tuple[Table, test.Condition | None],
) -> Draft:
    sides = [Query(column.name, table.name, where=where.sql() if where else "") for table, where in (left, right)]
    a, b = (nouns(rng, table, [where] if where else [])[1] for table, where in (left, right))
    patterns: tuple[str, ...]
    if operator == "INTERSECT":
        patterns = ("Which {cols} have both {a} and {b}?", "List the {cols} that have {a} and also have {b}.")
        patterns += ("Show the {cols} that occur among {a} as well as among {b}.",)
    elif operator == "EXCEPT":
        patterns = ("Which {cols} have {a} but no {b}?", "List the {cols} that have {a} but do not have any {b}.")
        patterns += ("Show the {cols} that occur among {a} but not among {b}.",)
    else:
        patterns = ("List the {cols} of {a} and of {b} in one list without duplicates.",)
        patterns += ("Which {cols} have {a} or {b} or both?",)
    question = say(rng, patterns, cols=plural(rng.choice(column.phrases)), a=a, b=b)
    tables = tuple(dict.fromkeys((left[0].name, right[0].name)))
    return Draft(question, f"{sides[0]} {operator} {sides[1]}", tables)


def one_list_of_names(rng: Random, view: View) -> Draft | None:
    """SELECT name FROM doctors UNION SELECT name FROM patients."""
    found = [table for table in view.domain.tables if table.label]
    if len(found) < 2:
        return None
    sides, words = [], []
    for table in rng.sample(found, 2):
        where = test.condition(rng, view, table) if rng.random() < 0.7 else None
        assert table.label is not None
        sides.append((table.name, Query(table.label.name, table.name, where=where.sql() if where else "")))
        words.append(f"{plural(table.label.phrases[0])} of {nouns(rng, table, [where] if where else [])[1]}")
    patterns: tuple[str, ...] = ("Make one list of the {a} and the {b}, without duplicates.",)
    patterns += ("In a single list without repetition, show the {a} and the {b}.",)
    sql = " UNION ".join(str(query) for _, query in sides)
    return Draft(say(rng, patterns, a=words[0], b=words[1]), sql, tuple(name for name, _ in sides))
