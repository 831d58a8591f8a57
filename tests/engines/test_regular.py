"""Texts for regular expressions: such as match, such as do not, and such as tell two expressions apart."""

from __future__ import annotations

import re
import sqlite3

import pytest

from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import parse_query
from text2sql.engines.values.pattern_checks import ARGUMENT_COUNT, FUNCTION, matches, replace_regular_expressions
from text2sql.engines.values.regular_expressions import boundary_texts, has_ambiguous_repetition, matching_texts

PATTERNS = [
    *("^[a-c]+$", "ab+c", r"^\d{3}-\d{4}$", "^(red|gr[ae]y)s?$", r"@example\.com$", "^[^@]+@[^@]+$", r"^\+?[0-9]+$"),
    *(r"^[A-Z]{2}[0-9]{2,}$", "(?:x|y){2}z", "(?i)^rome$", r"^a.c$", "^x[-_]?y$", r"\bend$", "[]x]+", r"^[\w.]+$"),
]
# Expressions that differ in one of their parts.
UNLIKE = [
    *(("^[a-c]+$", "^[a-d]+$"), ("^[b-d]+$", "^[a-d]+$"), ("ab+c", "ab*c"), ("ab?c", "ab*c"), ("^abc", "abc")),
    *(("abc$", "abc"), (r"^\d+$", r"^\w+$"), ("^[0-9]{3}$", "^[0-9]{3,}$"), ("^[0-9]{2,5}$", "^[0-9]{2,6}$")),
    *((r"a\.b", "a.b"), ("^(ab|cd)e$", "^ab|cde$"), ("^(a|b|c)$", "^(a|b)$"), ("^x y$", r"^x\s+y$"), ("^A", "(?i)^A")),
    *(("^[^0-9]+$", "^[^1-9]+$"), ("^a(b(c|d)?)?$", "^a(b(c|d))?$"), ("^(ab){2}$", "^(ab)+$"), ("^a-b$", "^a-?b$")),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_some_texts_match_and_some_do_not(pattern: str) -> None:
    found = [re.search(pattern, text) is not None for text in boundary_texts(pattern)]
    assert sum(found) >= 2 and found.count(False) >= 2


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_a_text_tells_two_expressions_apart(one: str, other: str) -> None:
    both = [*boundary_texts(one), *boundary_texts(other)]
    assert any((re.search(one, text) is None) != (re.search(other, text) is None) for text in both)


def test_similar_to_is_of_the_whole_text_with_its_own_signs() -> None:
    found = boundary_texts("(a|b)%_.", similar=True)
    assert any(re.fullmatch(r"[ab].*.\.", text) for text in found)


@pytest.mark.parametrize(
    "pattern", ["", "(", "[", "a{", "((((((((x))))))))", "*", "a{999}", "(?<", "\\", "[[:alpha:]]", "a" * 900]
)
def test_what_is_no_expression_or_a_long_one_gives_few_short_texts(pattern: str) -> None:
    found = boundary_texts(pattern)
    assert len(found) <= 60 and all(len(text) <= 60 for text in found)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_are_drawn_that_match(pattern: str) -> None:
    found = matching_texts(pattern)
    assert len(found) > 1 or pattern in ("(?i)^rome$", r"\bend$", r"@example\.com$")
    assert found and all(re.search(pattern, text) for text in found if text.isascii())


@pytest.mark.parametrize(
    ("condition", "dialect", "right", "wrong"),
    [
        ("code ~ '^[[:alpha:]]{2}-[0-9]+$'", "postgres", "ab-12", "a1-12"),
        ("code ~* '^ab$'", "postgres", "AB", "ABC"),
        ("code !~ 'x'", "postgres", "ab", "axb"),
        ("code SIMILAR TO '(a|b)%'", "postgres", "bcd", "cbd"),
        ("regexp_full_match(code, '[A-Z]')", "duckdb", "A", "AB"),
        ("code REGEXP '^[0-9]{5}$'", "mysql", "01234", "01234\n"),
        # Whether case counts is up to the collation, so what a CHECK excludes is excluded in either case.
        ("code NOT REGEXP 'x'", "mysql", "ab", "aXb"),
    ],
)
def test_a_check_holds_by_the_function_as_in_the_engine(
    condition: str, dialect: Dialect, right: str, wrong: str
) -> None:
    tree = replace_regular_expressions(parse_query(f"SELECT {condition}", dialect), dialect)
    connection = sqlite3.connect(":memory:")
    connection.create_function(FUNCTION, ARGUMENT_COUNT, matches)
    for text, holds in ((right, 1), (wrong, 0), (None, None)):
        query = f"{tree.sql('sqlite')} FROM (SELECT ? AS code)"
        assert connection.execute(query, [text]).fetchone() == (holds,)
    connection.close()


def test_an_expression_that_python_does_not_read_is_left_as_it_is() -> None:
    for pattern in ("(?<=a+)b", "[", r"\ma"):
        tree = parse_query(f"SELECT code ~ '{pattern}'", "postgres")
        assert tree is not None and replace_regular_expressions(tree, "postgres") == tree


@pytest.mark.parametrize("pattern", ["^(a+)+$", r"^(\w+\s?)+$", "^(a|aa)+$", "^((a|b)c?)*$", "^(a{1,3}){2,9}$"])
def test_a_text_that_can_be_divided_in_many_ways_is_tried_where_it_is_short(pattern: str) -> None:
    assert has_ambiguous_repetition(pattern) and matches("!", pattern, "") == 0
    assert [matches("a" * count + "!", pattern, "") for count in (19, 20, 60)] == [0, None, None]
    assert not any(
        map(has_ambiguous_repetition, ("^[a-z]+/[a-z]+$", "^(ab){2,9}$", "^(red|gr[ae]y)s?$", r"^\d{3}-\d{4}$"))
    )
