"""Examples of a domain: draw drafts from the shapes, keep the sound ones, and put them in a fair order."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from random import Random

from scripts.make_bundled.rows import fill, make_rows
from text2sql.data.make.domain import Domain
from text2sql.data.make.query import Draft, View
from text2sql.data.make.shapes import SHAPES, Shape, Tier

#: Examples per domain and tier: about 40 % easy, 35 % medium, 25 % hard.
QUOTAS: dict[Tier, int] = {"easy": 36, "medium": 32, "hard": 23}

_DISTRACTOR_SHARE = 0.25
_MAX_ROWS = 60
_MAX_QUESTION = 200
#: Draws for one place before other shapes may take it, and draws of those.
_TRIES = 40
_TRIES_OF_OTHERS = 60


@dataclass(frozen=True, slots=True)
class Item:
    """A finished example of a domain, with the name of its shape."""

    domain: str
    shape: str
    question: str
    context: str
    sql: str


def draw_items(domain: Domain, seed: int = 0) -> list[Item]:
    """Return the examples of one domain, in the order in which they were drawn."""
    view = View(domain, make_rows(domain, seed))
    with closing(sqlite3.connect(":memory:")) as connection:
        fill(connection, domain, view.rows)
        items: list[Item] = []
        seen: set[str] = set()
        for tier, quota in QUOTAS.items():
            rng = Random(f"shapes/{seed}/{domain.name}/{tier}")
            items += _draw_tier(rng, view, connection, tier, quota, seen)
    return items


def _draw_tier(
    rng: Random, view: View, connection: sqlite3.Connection, tier: Tier, quota: int, seen: set[str]
) -> list[Item]:
    """Draw the quota; a shape that this domain cannot serve leaves its places to the others.

    ``seen`` holds the questions and queries of the domain so far and is added to.
    """
    shapes = [shape for shape in SHAPES if shape.tier == tier]
    items: list[Item] = []
    for planned in _plan(rng, shapes, quota):
        for attempt in range(_TRIES + _TRIES_OF_OTHERS):
            shape = planned if attempt < _TRIES else rng.choice(shapes)
            draft = shape.make(rng, view)
            if draft is None or draft.sql in seen or draft.question in seen or not is_sound(connection, draft):
                continue
            seen |= {draft.sql, draft.question}
            context = _context(rng, view.domain, draft)
            items.append(Item(view.domain.name, shape.name, draft.question, context, draft.sql))
            break
    return items


def _plan(rng: Random, shapes: list[Shape], quota: int) -> list[Shape]:
    """Return ``quota`` shapes in proportion to their weights: a random start, then even steps through the weights."""
    line = [shape for shape in shapes for _ in range(shape.weight)]
    start, step = rng.random(), len(line) / quota
    return [line[int((start + place) * step)] for place in range(quota)]


def is_sound(connection: sqlite3.Connection, draft: Draft) -> bool:
    """Whether the query has an answer worth asking for: some rows, not all NULL, and one order where one is asked."""
    if len(draft.question) > _MAX_QUESTION:
        return False
    rows = connection.execute(draft.sql).fetchmany(_MAX_ROWS)
    if not any(value is not None for row in rows for value in row):
        return False
    if draft.sql.startswith("SELECT COUNT(") and rows[0][0] == 0:
        return False
    if draft.cut is None:
        return True
    keys = connection.execute(draft.cut).fetchall()
    if "LIMIT" in draft.sql:
        # One key more than the limit, or the limit cuts nothing off and the question is odd.
        return len(keys) > len(rows) and len(set(keys)) == len(keys)
    return len(set(keys)) == len(keys)


def _context(rng: Random, domain: Domain, draft: Draft) -> str:
    """Return the schema that is shown: the tables of the query, now and then one more, in a random order."""
    names = list(draft.tables)
    others = [table.name for table in domain.tables if table.name not in names]
    if others and len(names) < 3 and rng.random() < _DISTRACTOR_SHARE:
        names.append(rng.choice(others))
    rng.shuffle(names)
    return "; ".join(domain.table(name).ddl(names) for name in names)


def interleave(items: list[Item], seed: int = 0) -> list[int]:
    """Return an order in which every prefix is a fair sample of the shapes, and nearly so of the domains.

    The examples of each shape are shuffled and spread evenly over the whole length, each at a random point of its
    own stretch.
    """
    rng = Random(f"order/{seed}")
    by_shape: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_shape[item.shape].append(index)
    places: list[tuple[float, int]] = []
    for shape in sorted(by_shape):
        indices = by_shape[shape]
        rng.shuffle(indices)
        places += [((rank + rng.random()) / len(indices), index) for rank, index in enumerate(indices)]
    return [index for _, index in sorted(places)]
