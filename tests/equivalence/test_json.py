"""JSON functions are for reading: they run, whichever way they are written."""

from __future__ import annotations

import pytest

from tests.support.engines import require_engine
from text2sql.engines.dialect import Dialect
from text2sql.evaluation import execution_match

SCHEMA = "CREATE TABLE event (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)"


@pytest.mark.parametrize(
    ("gold", "predicted", "statuses"),
    [
        (
            "SELECT id FROM event, json_each(event.payload, '$.a') WHERE value = 1",
            "SELECT e.id FROM event e JOIN json_each(e.payload, '$.a') j ON j.value = 1",
            ("equivalent",),
        ),
        ("SELECT payload ->> '$.a' FROM event", "SELECT json_extract(payload, '$.a') FROM event", ("equivalent",)),
        ("SELECT payload ->> 'a' FROM event", "SELECT payload ->> '$.a' FROM event", ("equivalent",)),
        ("SELECT payload -> '$.a' FROM event", "SELECT payload ->> '$.a' FROM event", ("different",)),
        ("SELECT payload ->> '$.a' FROM event", "SELECT payload ->> '$.b' FROM event", ("different",)),
        (
            "SELECT id, json_array_length(payload, '$.t') FROM event",
            "SELECT id, (SELECT COUNT(*) FROM json_each(payload, '$.t')) FROM event",
            ("equivalent", "different", "undecided"),
        ),
        (
            "SELECT DISTINCT key FROM event, json_each(payload)",
            "SELECT key FROM event, json_each(payload)",
            ("different", "undecided"),
        ),
        (
            "SELECT fullkey FROM event, json_tree(payload)",
            "SELECT t.fullkey FROM event, json_tree(payload) t",
            ("equivalent", "undecided"),
        ),
        ("SELECT json_type(payload, '$.a') FROM event", "SELECT json_valid(payload) FROM event", ("different",)),
    ],
)
def test_json_functions_run(gold: str, predicted: str, statuses: tuple[str, ...]) -> None:
    verdict = execution_match(SCHEMA, gold, predicted)
    assert verdict.status in statuses, verdict
    assert "read-only" not in verdict.reason


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_an_element_is_counted_from_either_end(dialect: Dialect) -> None:
    require_engine(dialect)
    schema = f"CREATE TABLE event (id INT PRIMARY KEY, payload {'JSON' if dialect == 'duckdb' else 'JSONB'} NOT NULL)"
    last, first = (f"SELECT id FROM event WHERE payload ->> {at} = 'a'" for at in (-1, 0))
    assert execution_match(schema, last, first, dialect=dialect).status == "different"
    assert (
        execution_match(schema, last, last.replace("WHERE", "WHERE TRUE AND"), dialect=dialect).status == "equivalent"
    )
