"""Noun phrases and the sentence patterns that the shapes share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from text2sql.data.make.conditions import Condition, article
from text2sql.data.make.domain import Column, Table, plural

_NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}
_RELATIVE = re.compile(r"\b(that|who) (are|have|were|do|give|need|play)\b")
_THIRD_PERSON = {
    "are": "is",
    "have": "has",
    "were": "was",
    "do": "does",
    "give": "gives",
    "need": "needs",
    "play": "plays",
}

#: Patterns that ask for columns of some rows: ``many`` is plural, ``one`` singular, ``cols``/``col`` likewise.
LISTS = (
    "List the {cols} of {many}.",
    "List the {cols} of all {many}.",
    "What are the {cols} of {many}?",
    "What are the {cols} of the {many}?",
    "Show the {cols} of all {many}.",
    "Show me the {col} of each {one}.",
    "Give the {col} of every {one}.",
    "Find the {cols} of {many}.",
    "Return the {col} of each {one}.",
    "Get the {cols} of all {many}.",
    "Can you list the {cols} of {many}?",
    "I need the {cols} of all {many}.",
    "For every {one}, show the {col}.",
    "Tell me the {cols} of the {many}.",
    "Give me a list of the {cols} of {many}.",
    "Please show the {cols} of {many}.",
)

#: Patterns that ask how many rows there are.
COUNTS = (
    "How many {many} are there?",
    "How many {many} do we have?",
    "Count the {many}.",
    "Count all {many}.",
    "What is the number of {many}?",
    "Give the number of {many}.",
    "Find the total number of {many}.",
    "How many {many} are in the database?",
)

#: Patterns that ask for one aggregate; ``agg`` is "average price".
AGGREGATES = (
    "What is the {agg} of {many}?",
    "What is the {agg} of all {many}?",
    "Find the {agg} of {many}.",
    "Show the {agg} of {many}.",
    "Compute the {agg} of all {many}.",
    "Tell me the {agg} of {many}.",
    "Give the {agg} of the {many}.",
)

#: An "a" that a value in a template turned out to need as "an".
_BARE_A = re.compile(r"\ba (?=[aeiouAEIO])(?!uni|use|one|euro)")

_AGGREGATE_WORDS = {
    "AVG": ("average", "average", "mean"),
    "SUM": ("total", "total", "sum of the"),
    "MAX": ("highest", "maximum", "greatest"),
    "MIN": ("lowest", "minimum", "smallest"),
}


def say(rng: Random, templates: tuple[str, ...], **parts: str) -> str:
    """Fill one of the templates and return it as a sentence."""
    text = re.sub(r"\s+", " ", rng.choice(templates).format(**parts))
    text = re.sub(r" ([,.?])", r"\1", text).strip()
    text = _BARE_A.sub("an ", text)
    return text[0].upper() + text[1:]


def nouns(
    rng: Random, table: Table, conditions: list[Condition] | None = None, *, before: str = "", extra: str = ""
) -> tuple[str, str]:
    """Return "book in the Fantasy genre" and "books in the Fantasy genre".

    Args:
        rng: Chooses among synonyms.
        table: The table whose rows are meant.
        conditions: Conditions to put into words.
        before: More words before the noun ("most expensive").
        extra: More words right after the noun ("written by ...").
    """
    one, many = rng.choice(table.nouns)
    front = " ".join([before, *(c.words for c in conditions or () if c.before)]).strip()
    back = [c.words for c in spoken_order(conditions or ()) if not c.before]
    tail = extra
    for words in back:
        tail += _link(tail, words) + words
    both = (f"{front} {one} {singular(tail)}", f"{front} {many} {tail}")
    return " ".join(both[0].split()), " ".join(both[1].split())


def spoken_order(conditions: Iterable[Condition]) -> list[Condition]:
    """Return the conditions in the order in which they are said, which is also their order in the SQL."""
    return sorted(conditions, key=lambda c: -1 if c.before else _rank(c.words))


def _rank(words: str) -> int:
    """Put clauses behind plain modifiers: a relative clause swallows whatever follows it."""
    return 2 if words.startswith(("that ", "who ")) else int(words.startswith("whose "))


def _link(tail: str, words: str) -> str:
    """Return what stands between two modifiers: "and" unless the second can follow directly."""
    if not tail:
        return " "
    follows = words.startswith(("with", "in ", "on ", "whose "))
    return (
        " "
        if follows and not re.search(r"\b(with|without|whose)\b", tail) and words.split()[0] not in tail
        else " and "
    )


def either(rng: Random, table: Table, first: Condition, second: Condition) -> tuple[str, str]:
    """Return the noun with two conditions of which one must hold; neither may stand before the noun."""
    one, many = rng.choice(table.nouns)
    tail = " or ".join(condition.words for condition in spoken_order((first, second)))
    return f"{one} {singular(tail)}", f"{many} {tail}"


def singular(words: str) -> str:
    """Return modifiers of a plural noun so that they fit a singular one."""
    return _RELATIVE.sub(lambda match: f"{match[1]} {_THIRD_PERSON[match[2]]}", words)


def one_noun(rng: Random, table: Table) -> Table:
    """Return the table with only one of its nouns, so that a sentence calls its rows the same throughout."""
    return replace(table, nouns=(rng.choice(table.nouns),))


def one_phrase(rng: Random, column: Column) -> Column:
    """Return the column with only one of its phrases."""
    return replace(column, phrases=(rng.choice(column.phrases),))


def named(rng: Random, table: Table, value: object) -> str:
    """Return words for the row with this handle: "the book Silent River", or a person's name."""
    if table.is_person:
        return str(value)
    quoted = f'"{value}"' if table.label and rng.random() < 0.5 else str(value)
    return f"the {rng.choice(table.nouns)[0]} {quoted}"


def columns(rng: Random, *chosen: Column) -> dict[str, str]:
    """Return the ``col`` and ``cols`` of the sentence patterns."""
    phrases = [rng.choice(column.phrases) for column in chosen]
    return {"col": _series(phrases), "cols": _series([plural(phrase) for phrase in phrases])}


def _series(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def aggregate(rng: Random, function: str, column: Column) -> str:
    """Return "average price" for AVG(price)."""
    phrase = rng.choice(column.phrases)
    word = rng.choice([word for word in _AGGREGATE_WORDS[function] if not phrase.startswith(word)])
    return f"{word} {plural(phrase)}" if word.startswith("sum") else f"{word} {phrase}"


def top(rng: Random, column: Column, descending: bool) -> tuple[str, str]:
    """Return the words before and after the noun for the row with the greatest or least value."""
    ready = column.most if descending else column.least
    if ready and rng.random() < 0.6:
        return rng.choice(ready), ""
    if column.unit and column.total and rng.random() < 0.5:
        return "", f"with the {'most' if descending else 'fewest'} {column.unit}"
    if column.kind in ("date", "year"):
        word = "latest" if descending else "earliest"
    else:
        word = "highest" if descending else "lowest"
    return "", f"with the {word} {rng.choice(column.phrases)}"


def sorting(rng: Random, column: Column, descending: bool) -> str:
    """Return words for an order: "sorted by price from highest to lowest"."""
    phrase = rng.choice(column.phrases)
    if column.kind == "label":
        return rng.choice((f"in alphabetical order of {phrase}", f"sorted alphabetically by {phrase}"))
    if column.kind in ("date", "year"):
        direction = "newest first" if descending else "oldest first"
        if rng.random() < 0.5:
            direction = "from latest to earliest" if descending else "from earliest to latest"
        return f"sorted by {phrase}, {direction}" if direction[0] != "f" else f"sorted by {phrase} {direction}"
    if descending:
        return rng.choice(
            (
                f"sorted by {phrase} from highest to lowest",
                f"in descending order of {phrase}",
                f"ordered by {phrase}, highest first",
            )
        )
    return rng.choice(
        (
            f"sorted by {phrase} from lowest to highest",
            f"in ascending order of {phrase}",
            f"ordered by {phrase}, lowest first",
        )
    )


def number_word(rng: Random, number: int) -> str:
    """Return a small number as a digit or as a word."""
    return rng.choice((str(number), _NUMBER_WORDS.get(number, str(number))))


def any_of(rng: Random, table: Table, conditions: list[Condition]) -> str:
    """Return "a book costing more than 30"."""
    return article(nouns(rng, table, conditions)[0])
