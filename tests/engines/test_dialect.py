import pytest

from text2sql.engines.dialect import DIALECTS, DISPLAY_NAMES, dialect_named


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("sqlite", "sqlite"),
        ("PostgreSQL", "postgres"),
        ("postgresql+psycopg", "postgres"),
        ("duckdb", "duckdb"),
        ("mysql+pymysql", "mysql"),
        ("MariaDB", "mysql"),
        ("snowflake", None),
        ("", None),
    ],
)
def test_names_of_people_and_of_urls(name, dialect):
    assert dialect_named(name) == dialect


def test_each_is_shown_by_its_own_name():
    assert set(DISPLAY_NAMES) == set(DIALECTS) and len(set(DISPLAY_NAMES.values())) == len(DIALECTS)
