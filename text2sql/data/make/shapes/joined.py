"""Hard shapes that join tables."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from text2sql.data.make import conditions as test
from text2sql.data.make.domain import Column, Domain, Table, plural
from text2sql.data.make.phrasing import (
    AGGREGATES,
    COUNTS,
    LISTS,
    aggregate,
    any_of,
    columns,
    named,
    nouns,
    number_word,
    one_phrase,
    say,
    sorting,
    top,
)
from text2sql.data.make.query import Draft, Query, View, draft, literal


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key with the tables on its two sides."""

    child: Table
    key: Column
    parent: Table

    @property
    def source(self) -> str:
        """The FROM clause that joins the two tables."""
        child, parent = self.child.name, self.parent.name
        return f"{child} JOIN {parent} ON {child}.{self.key.name} = {parent}.{self.parent.key}"

    @property
    def group(self) -> str:
        """The GROUP BY clause for the rows of one parent, of which the handle is shown."""
        handle = f", {self.parent.name}.{_handle(self.parent).name}" if self.parent.strict else ""
        return f"{self.parent.name}.{self.parent.key}{handle}"


def links(domain: Domain) -> list[Link]:
    """Return every foreign key whose target has a name to speak of."""
    found = [(child, key, domain.table(key.target)) for child in domain.tables for key in child.of_kind("ref")]
    return [Link(child, key, parent) for child, key, parent in found if parent.handle]


def pick_link(rng: Random, view: View, *, named_child: bool = False) -> Link | None:
    """Choose a foreign key, on request one whose rows have their own name."""
    found = [link for link in links(view.domain) if link.child.handle or not named_child]
    return rng.choice(found) if found else None


def which_parent(rng: Random, view: View, link: Link) -> tuple[str, str]:
    """Draw a restriction of the parent: ("books written by authors from France" less the noun, its SQL)."""
    by = rng.choice(link.key.by)
    handle = link.parent.handle
    where = test.condition(rng, view, link.parent)
    if handle is not None and (where is None or rng.random() < 0.4):
        value = view.some_row(rng, link.parent)[handle.name]
        return f"{by} {named(rng, link.parent, value)}", f"{link.parent.name}.{handle.name} = {literal(value)}"
    assert where is not None
    return f"{by} {nouns(rng, link.parent, [where])[1]}", where.sql(link.parent.name)


def _qualified(table: Table, *chosen: Column) -> str:
    return ", ".join(f"{table.name}.{column.name}" for column in chosen)


def _handle(table: Table) -> Column:
    assert table.handle is not None
    return table.handle


def children_of(rng: Random, view: View) -> Draft | None:
    """SELECT books.title FROM books JOIN authors ON ... WHERE authors.country = 'France'."""
    link = pick_link(rng, view)
    if link is None:
        return None
    words, where = which_parent(rng, view, link)
    plain = link.child.of_kind("number", "date", "year", "category")
    shown = [link.child.handle] if link.child.handle else []
    if (not shown or rng.random() < 0.35) and plain:
        shown.append(rng.choice(plain))
    if not shown:
        return None
    one, many = nouns(rng, link.child, extra=words)
    query = Query(_qualified(link.child, *shown), link.source, where=where)
    return draft(say(rng, LISTS, one=one, many=many, **columns(rng, *shown)), query, link.child, link.parent)


def count_children(rng: Random, view: View) -> Draft | None:
    """SELECT COUNT(*) FROM books JOIN authors ON ... WHERE authors.country = 'France', or an aggregate."""
    link = pick_link(rng, view)
    if link is None:
        return None
    words, where = which_parent(rng, view, link)
    numbers = link.child.of_kind("number")
    many = nouns(rng, link.child, extra=words)[1]
    if not numbers or rng.random() < 0.5:
        return draft(say(rng, COUNTS, many=many), Query("COUNT(*)", link.source, where=where), link.child, link.parent)
    column = rng.choice(numbers)
    function = rng.choice(("AVG", "MAX", "SUM", "SUM") if column.total else ("AVG", "MAX", "MIN"))
    query = Query(f"{function}({_qualified(link.child, column)})", link.source, where=where)
    question = say(rng, AGGREGATES, agg=aggregate(rng, function, column), many=many)
    return draft(question, query, link.child, link.parent)


def with_parent(rng: Random, view: View) -> Draft | None:
    """SELECT books.title, authors.name FROM books JOIN authors ON ... WHERE books.genre = 'Fantasy'."""
    link = pick_link(rng, view)
    if link is None:
        return None
    own = link.child.handle or next(iter(link.child.of_kind("date", "number")), None)
    if own is None:
        return None
    own = one_phrase(rng, own)
    where = test.condition(rng, view, link.child, avoid=(own,)) if rng.random() < 0.55 else None
    order = rng.choice(link.child.of_kind("number", "date", "year") or [own]) if rng.random() < 0.25 else None
    if order and order.name == own.name:
        # The same words for what is shown and what it is sorted by.
        order = own
    one, many = nouns(rng, link.child, [where] if where else [])
    patterns: tuple[str, ...] = ("Show the {own} of each {one} and the {other} of its {role}{sorting}.",)
    patterns += ("List the {owns} of {many} together with the {other} of the {role}{sorting}.",)
    patterns += ("For each {one}, give the {own} and the {other} of the {role}{sorting}.",)
    patterns += ("What are the {owns} of {many} and the {others} of their {roles}{sorting}?",)
    descending = rng.random() < 0.6
    other = rng.choice(_handle(link.parent).phrases)
    parts = {
        "own": (phrase := rng.choice(own.phrases)),
        "owns": plural(phrase),
        "other": other,
        "others": plural(other),
    }
    parts |= {"role": link.key.role, "roles": plural(link.key.role)}
    parts["sorting"] = ", " + sorting(rng, order, descending) if order else ""
    query = Query(
        f"{_qualified(link.child, own)}, {_qualified(link.parent, _handle(link.parent))}",
        link.source,
        where=where.sql(link.child.name) if where else "",
        order=f"{_qualified(link.child, order)} {'DESC' if descending else 'ASC'}" if order else "",
    )
    return draft(say(rng, patterns, one=one, many=many, **parts), query, link.child, link.parent)


def parent_of_row(rng: Random, view: View) -> Draft | None:
    """SELECT authors.name FROM books JOIN authors ON ... WHERE books.title = 'Silent River'."""
    link = pick_link(rng, view, named_child=True)
    if link is None:
        return None
    handle = _handle(link.child)
    value = view.some_row(rng, link.child)[handle.name]
    shown = rng.choice([_handle(link.parent), *link.parent.of_kind("category", "number", "year", "date", "code")])
    patterns: tuple[str, ...] = ("What is the {col} of the {role} of {row}?", "Find the {col} of the {role} of {row}.")
    patterns += ("Give the {col} of the {role} of {row}.", "Show the {col} of the {role} of {row}.")
    question = say(rng, patterns, role=link.key.role, row=named(rng, link.child, value), **columns(rng, shown))
    query = Query(
        _qualified(link.parent, shown), link.source, where=f"{_qualified(link.child, handle)} = {literal(value)}"
    )
    return draft(question, query, link.child, link.parent)


def parent_of_top(rng: Random, view: View) -> Draft | None:
    """SELECT authors.name FROM books JOIN authors ON ... ORDER BY books.pages DESC LIMIT 1."""
    link = pick_link(rng, view)
    if link is None:
        return None
    found = link.child.of_kind("number", "year", "date")
    if not found:
        return None
    column, descending = rng.choice(found), rng.random() < 0.65
    before, after = top(rng, column, descending)
    one = nouns(rng, link.child, before=before, extra=after)[0]
    shown = [_handle(link.parent)]
    patterns: tuple[str, ...] = (
        "What is the {col} of the {role} of the {one}?",
        "Find the {col} of the {role} of the {one}.",
    )
    patterns += ("Show the {col} of the {role} of the {one}.",)
    query = Query(
        _qualified(link.parent, *shown),
        link.source,
        order=f"{_qualified(link.child, column)} {'DESC' if descending else 'ASC'}",
        limit=1,
    )
    return draft(
        say(rng, patterns, one=one, role=link.key.role, **columns(rng, *shown)), query, link.child, link.parent
    )


def per_parent(rng: Random, view: View) -> Draft | None:
    """SELECT authors.name, COUNT(*) FROM books JOIN authors ON ... GROUP BY authors.id."""
    link = pick_link(rng, view)
    if link is None:
        return None
    handle, numbers = _handle(link.parent), link.child.of_kind("number")
    parent, (child, many) = nouns(rng, link.parent)[0], nouns(rng, link.child)
    parts = {"parent": parent, "many": many, "col": rng.choice(handle.phrases), "did": rng.choice(link.key.did)}
    parts["any"] = f"{'who' if link.parent.is_person else 'that'} has {parts['did']} at least one {child}"
    patterns: tuple[str, ...]
    if numbers and rng.random() < 0.45:
        column = rng.choice(numbers)
        function = rng.choice(("AVG", "MAX", "SUM") if column.total else ("AVG", "MAX", "MIN"))
        value = f"{function}({_qualified(link.child, column)})"
        parts["agg"] = aggregate(rng, function, column)
        patterns = ("For each {parent} {any}, show the {col} and the {agg} of the {many}.",)
        patterns += ("Group the {many} by {parent} and show the {col} of the {parent} and the {agg}.",)
        patterns += ("Show the {col} of each {parent} {any}, with the {agg} of those {many}.",)
    else:
        value = "COUNT(*)"
        patterns = ("For each {parent} {any}, show the {col} and the number of {many}.",)
        patterns += ("Group the {many} by {parent} and show the {col} of the {parent} and the number of {many}.",)
        patterns += ("Give the {col} of each {parent} {any}, and the number of those {many}.",)
    query = Query(f"{_qualified(link.parent, handle)}, {value}", link.source, group=link.group)
    return draft(say(rng, patterns, **parts), query, link.child, link.parent)


def per_parent_category(rng: Random, view: View) -> Draft | None:
    """SELECT authors.country, COUNT(*) FROM books JOIN authors ON ... GROUP BY authors.country."""
    link = pick_link(rng, view)
    groups = link.parent.of_kind("category") if link else []
    if link is None or not groups:
        return None
    group, numbers = rng.choice(groups), link.child.of_kind("number")
    parts = {"group": rng.choice(group.phrases), "role": link.key.role, "many": nouns(rng, link.child)[1]}
    value = "COUNT(*)"
    patterns: tuple[str, ...] = ("How many {many} are there for each {group} of the {role}? Show the {group} too.",)
    patterns += ("Count the {many} per {group} of the {role}. Show the {group} and the count.",)
    if numbers and rng.random() < 0.5:
        column = rng.choice(numbers)
        function = rng.choice(("AVG", "SUM") if column.total else ("AVG", "MAX"))
        value = f"{function}({_qualified(link.child, column)})"
        parts["agg"] = aggregate(rng, function, column)
        patterns = ("What is the {agg} of {many} for each {group} of the {role}? Show the {group} too.",)
        patterns += ("Show each {group} of the {role} and the {agg} of the {many}.",)
    column_sql = _qualified(link.parent, group)
    return draft(
        say(rng, patterns, **parts),
        Query(f"{column_sql}, {value}", link.source, group=column_sql),
        link.child,
        link.parent,
    )


def parent_with_most(rng: Random, view: View) -> Draft | None:
    """SELECT authors.name FROM books JOIN authors ON ... GROUP BY authors.id ORDER BY COUNT(*) DESC LIMIT 1."""
    link = pick_link(rng, view)
    if link is None:
        return None
    limit = rng.choice((1, 1, 1, 2, 3))
    numbers = [column for column in link.child.of_kind("number") if column.total]
    one, many = nouns(rng, link.parent)
    who = "who" if link.parent.is_person else "that"
    parts = {
        "one": one,
        "many": many,
        "who": who,
        "did": rng.choice(link.key.did),
        "children": nouns(rng, link.child)[1],
    }
    parts |= columns(rng, _handle(link.parent)) | {"n": number_word(rng, limit)}
    value = "COUNT(*)"
    patterns: tuple[str, ...] = ("What is the {col} of the {one} {who} has {did} the most {children}?",)
    patterns += ("Which {one} has {did} the most {children}? Give the {col}.",)
    if limit > 1:
        patterns = ("What are the {cols} of the {n} {many} {who} have {did} the most {children}?",)
        patterns += ("List the {cols} of the {n} {many} {who} have {did} the most {children}.",)
    elif numbers and rng.random() < 0.4:
        column = rng.choice(numbers)
        value = f"SUM({_qualified(link.child, column)})"
        parts["phrase"] = rng.choice(
            [phrase for phrase in column.phrases if not phrase.startswith("total")] or ["amount"]
        )
        patterns = ("What is the {col} of the {one} whose {children} have the highest total {phrase}?",)
        patterns += ("Find the {col} of the {one} whose {children} together have the highest total {phrase}.",)
    query = Query(
        _qualified(link.parent, _handle(link.parent)),
        link.source,
        group=link.group,
        order=f"{value} DESC",
        limit=limit,
    )
    return draft(say(rng, patterns, **parts), query, link.child, link.parent)


def parents_having(rng: Random, view: View) -> Draft | None:
    """SELECT authors.name FROM books JOIN authors ON ... GROUP BY authors.id HAVING COUNT(*) >= 3."""
    link = pick_link(rng, view)
    if link is None:
        return None
    number = rng.choice((2, 2, 3, 3, 4))
    sign, amount = rng.choice(((">", "more than"), (">", "over"), (">=", "at least")))
    parts = {"many": nouns(rng, link.parent)[1], "who": "who" if link.parent.is_person else "that", "amount": amount}
    parts |= {"did": rng.choice(link.key.did), "n": number_word(rng, number), "children": nouns(rng, link.child)[1]}
    patterns: tuple[str, ...] = ("List the {cols} of {many} {who} have {did} {amount} {n} {children}.",)
    patterns += ("What are the {cols} of the {many} {who} have {did} {amount} {n} {children}?",)
    patterns += ("Which {many} have {did} {amount} {n} {children}? Give the {cols}.",)
    query = Query(
        _qualified(link.parent, _handle(link.parent)),
        link.source,
        group=link.group,
        having=f"COUNT(*) {sign} {number}",
    )
    return draft(say(rng, patterns, **parts, **columns(rng, _handle(link.parent))), query, link.child, link.parent)


def bridged(rng: Random, view: View) -> Draft | None:
    """SELECT DISTINCT members.name FROM members JOIN loans ON ... JOIN books ON ... WHERE books.genre = 'Fantasy'."""
    if not view.domain.bridges:
        return None
    bridge = rng.choice(view.domain.bridges)
    left, via, right = (view.domain.table(name) for name in (bridge.left, bridge.via, bridge.right))
    where = test.condition(rng, view, right)
    if where is None or (right.handle and rng.random() < 0.4):
        handle = right.handle or right.columns[1]
        value = view.some_row(rng, right)[handle.name]
        words, sql = named(rng, right, value), f"{right.name}.{handle.name} = {literal(value)}"
    else:
        words, sql = any_of(rng, right, [where]), where.sql(right.name)
    many = nouns(rng, left, extra=rng.choice(bridge.words).format(words))[1]
    patterns: tuple[str, ...] = ("List the different {cols} of {many}.", "What are the distinct {cols} of {many}?")
    patterns += ("Show the distinct {cols} of {many}.", "Find the {cols} of {many}, without repetition.")
    query = Query(
        f"DISTINCT {_qualified(left, _handle(left))}",
        f"{left.name} JOIN {via.name} ON {_on(left, via)} JOIN {right.name} ON {_on(via, right)}",
        where=sql,
    )
    return draft(say(rng, patterns, many=many, **columns(rng, _handle(left))), query, left, via, right)


def _on(one: Table, other: Table) -> str:
    """Return the join condition of two tables, whichever of them holds the key."""
    for child, parent in ((one, other), (other, one)):
        for key in child.of_kind("ref"):
            if key.target == parent.name:
                return f"{child.name}.{key.name} = {parent.name}.{parent.key}"
    raise ValueError(f"no foreign key between {one.name} and {other.name}")
