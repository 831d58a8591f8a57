import pytest

from text2sql.engines.dialect import DIALECTS, SHOWN, dialect_named


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
    assert set(SHOWN) == set(DIALECTS) and len(set(SHOWN.values())) == len(DIALECTS)
