"""What a schema says beyond columns, types and keys holds in every engine: computed columns, collations, own types."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support.engines import ENGINES, require_engine
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.scoring import Pair, score_pairs

COMPUTED: dict[Dialect, str] = {
    "postgres": "total NUMERIC(9, 2) GENERATED ALWAYS AS (price * n) STORED",
    "duckdb": "total DOUBLE AS (price * n)",
    "mysql": "`total` double GENERATED ALWAYS AS ((`price` * `n`)) VIRTUAL",
}
BLIND: dict[Dialect, str] = {
    "postgres": "name citext",
    "duckdb": "name VARCHAR COLLATE NOCASE",
    "mysql": "name VARCHAR(20) COLLATE utf8mb4_general_ci",
}
EXACT: dict[Dialect, str] = {
    "postgres": 'name TEXT COLLATE "C"',
    "duckdb": "name VARCHAR",
    "mysql": "name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
}


class Case(NamedTuple):
    """A pair with its schema, and whether its queries are the same."""

    schema: str
    gold: str
    predicted: str
    same: bool


def _line(dialect: Dialect) -> str:
    price = "DECIMAL(8, 2)" if dialect == "postgres" else "DOUBLE"
    return f"CREATE TABLE line (id INT PRIMARY KEY, price {price} NOT NULL, n INT NOT NULL, {COMPUTED[dialect]})"


def _computed(dialect: Dialect) -> list[Case]:
    schema = _line(dialect)
    return [
        Case(schema, "SELECT id, total FROM line", "SELECT id, price * n FROM line", True),
        Case(schema, "SELECT id FROM line WHERE total > 100", "SELECT id FROM line WHERE price * n > 100", True),
        Case(schema, "SELECT id FROM line WHERE total > 100", "SELECT id FROM line WHERE total > 101", False),
        Case(schema, "SELECT SUM(total) FROM line", "SELECT SUM(price) FROM line", False),
        Case(schema, "SELECT id FROM line WHERE total IS NOT NULL", "SELECT id FROM line", True),
        Case(schema, "SELECT * FROM line", "SELECT id, price, n, total FROM line", True),
    ]


def _collated(dialect: Dialect) -> list[Case]:
    blind = f"CREATE TABLE person (id INT PRIMARY KEY, {BLIND[dialect]} NOT NULL)"
    exact = f"CREATE TABLE person (id INT PRIMARY KEY, {EXACT[dialect]} NOT NULL)"
    michael = "SELECT id FROM person WHERE name = 'Michael'", "SELECT id FROM person WHERE name = 'michael'"
    distinct = "SELECT COUNT(DISTINCT name) FROM person", "SELECT COUNT(DISTINCT LOWER(name)) FROM person"
    found = [Case(blind, *michael, True), Case(exact, *michael, False), Case(exact, *distinct, False)]
    grouped = "SELECT COUNT(*) FROM person GROUP BY name", "SELECT COUNT(*) FROM person GROUP BY LOWER(name)"
    found += [Case(blind, *grouped, True), Case(exact, *grouped, False)]
    if dialect == "mysql":
        table = (
            "CREATE TABLE person (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL) DEFAULT CHARSET=utf8 COLLATE=utf8_bin"
        )
        binary = "CREATE TABLE person (id INT PRIMARY KEY, name VARCHAR(20) BINARY NOT NULL)"
        own = table.replace("NOT NULL)", "COLLATE utf8_general_ci NOT NULL)")
        found += [Case(table, *michael, False), Case(binary, *michael, False), Case(own, *michael, True)]
    return found


def _spread(dialect: Dialect) -> list[Case]:
    """Schemas in more than one statement, and statements in more words."""
    taken_over = "CREATE TABLE a (id INT PRIMARY KEY, n INT NOT NULL); "
    like = {"postgres": "CREATE TABLE b (LIKE a INCLUDING ALL, m INT)", "mysql": "CREATE TABLE b LIKE a"}
    added = taken_over + "ALTER TABLE a ADD COLUMN m DECIMAL(6, 2) NOT NULL DEFAULT 0, ADD COLUMN k INT"
    found = [
        Case(added, "SELECT id FROM a WHERE m > 1.5", "SELECT id FROM a WHERE m >= 1.51", True),
        Case(added, "SELECT id FROM a WHERE k > 1", "SELECT id FROM a WHERE k >= 2", True),
        Case(added, "SELECT COUNT(m) FROM a", "SELECT COUNT(*) FROM a", True),
        Case(added, "SELECT COUNT(k) FROM a", "SELECT COUNT(*) FROM a", False),
    ]
    view = taken_over + "CREATE OR REPLACE VIEW w AS SELECT id, n + 1 AS next FROM a"
    found.append(Case(view, "SELECT next FROM w", "SELECT n + 1 FROM a", True))
    found.append(Case(view, "SELECT next FROM w", "SELECT n FROM a", False))
    if dialect != "duckdb":
        both = taken_over + like[dialect]
        found.append(Case(both, "SELECT COUNT(n) FROM b", "SELECT COUNT(DISTINCT id) FROM b", True))
        found.append(Case(both, "SELECT n FROM b", "SELECT DISTINCT n FROM b", False))
    else:
        again = "CREATE OR REPLACE TABLE a (id INTEGER, n INTEGER NOT NULL)"
        found.append(Case(again, "SELECT COUNT(n) FROM a", "SELECT COUNT(*) FROM a", True))
    return found


# A column of texts that a regular expression describes, wholly, in any case, or that one does not describe.
PATTERNS: dict[Dialect, tuple[str, str, str, str]] = {
    "postgres": (
        "code ~ '^[[:digit:]]{3}$'",
        "path SIMILAR TO '[a-z]+/[a-z]+'",
        "mail ~* '^[a-z]+@x$'",
        r"note !~ '\s'",
    ),
    "duckdb": (
        "regexp_matches(code, '^[0-9]{3}$')",
        "regexp_full_match(path, '[a-z]+/[a-z]+')",
        "regexp_matches(mail, '^[a-z]+@x$', 'i')",
        r"NOT regexp_matches(note, '\s')",
    ),
    "mysql": (
        "code REGEXP '^[0-9]{3}$'",
        "path RLIKE '^[a-z]+/[a-z]+$'",
        "mail REGEXP '^[a-z]+@x$'",
        "note NOT REGEXP '[[:space:]]'",
    ),
}


def _described(dialect: Dialect) -> list[Case]:
    """Texts of which a CHECK says what they look like."""
    names = ("code", "path", "mail", "note")
    columns = [f"{name} VARCHAR(40) CHECK ({check})" for name, check in zip(names, PATTERNS[dialect], strict=True)]
    schema = f"CREATE TABLE parts (id INT PRIMARY KEY, n INT CHECK (n BETWEEN 0 AND 999), {', '.join(columns)})"
    loose = "CREATE TABLE parts (id INT PRIMARY KEY, n INT, code VARCHAR(40), path VARCHAR(40), note VARCHAR(40))"
    number = "CAST(code AS SIGNED)" if dialect == "mysql" else "CAST(code AS INTEGER)"
    last = "split_part(path, '/', 2)", "reverse(split_part(reverse(path), '/', 1))"
    if dialect == "mysql":
        last = "SUBSTRING_INDEX(SUBSTRING_INDEX(path, '/', 2), '/', -1)", "SUBSTRING_INDEX(path, '/', -1)"
    second = f"SELECT id FROM parts WHERE {last[0]} = 'img'", f"SELECT id FROM parts WHERE {last[1]} = 'img'"
    padded = "SELECT id FROM parts WHERE code = LPAD(CAST(n AS CHAR(3)), 3, '0')"
    compared = f"SELECT id FROM parts WHERE {number} = n"
    spaces = "SELECT id FROM parts WHERE note = 'x'", "SELECT id FROM parts WHERE TRIM(note) = 'x'"
    found = [
        Case(schema, *second, True),
        Case(loose, *second, False),
        Case(schema, *spaces, True),
        Case(schema, f"SELECT MAX({number}) FROM parts", "SELECT MAX(code) FROM parts WHERE code < '500'", False),
        Case(schema, "SELECT id FROM parts WHERE code > '499'", f"SELECT id FROM parts WHERE {number} > 499", True),
        Case(schema, "SELECT id FROM parts WHERE code > '499'", f"SELECT id FROM parts WHERE {number} > 500", False),
        Case(
            schema, "SELECT COUNT(mail) FROM parts WHERE LOWER(mail) LIKE '%@x'", "SELECT COUNT(mail) FROM parts", True
        ),
        Case(schema, "SELECT COUNT(mail) FROM parts WHERE mail LIKE 'a%'", "SELECT COUNT(mail) FROM parts", False),
    ]
    return found + ([Case(schema, padded, compared, True)] if dialect != "postgres" else [])


DUMP = """
\\restrict abcdef
CREATE DOMAIN public.zip AS character varying(9) NOT NULL CHECK (length(VALUE) = 5 AND VALUE <> 'it''s');
CREATE TYPE public.level AS ENUM ('low', 'high');
CREATE TABLE public.customers (
    id integer GENERATED ALWAYS AS IDENTITY,
    name character varying(40) NOT NULL,
    zip public.zip,
    level public.level NOT NULL
);
COPY public.customers (id, name, zip) FROM stdin;
1\tO'Brien\t12345
2\tBen; CREATE TABLE nothing (x int)\t12345
\\.
CREATE MATERIALIZED VIEW public.names AS SELECT name FROM public.customers WITH NO DATA;
CREATE VIEW public.low AS SELECT id FROM public.customers WHERE (customers.level = 'low'::public.level);
ALTER TABLE ONLY public.customers ADD CONSTRAINT customers_pkey PRIMARY KEY (id);
"""
MYSQL_DUMP = """
/*!40101 SET character_set_client = utf8 */;
CREATE TABLE `customers` (`id` int NOT NULL AUTO_INCREMENT, `name` varchar(40) NOT NULL,
  PRIMARY KEY (`id`)) ENGINE=InnoDB;
/*!50001 CREATE VIEW `names` AS SELECT 1 AS `name`*/;
/*!50001 DROP VIEW IF EXISTS `names`*/;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
/*!50001 VIEW `names` AS select `customers`.`name` AS `name` from `customers` */;
"""


def _dumped(dialect: Dialect) -> list[Case]:
    if dialect == "duckdb":
        return []
    dump = DUMP if dialect == "postgres" else MYSQL_DUMP
    found = [
        Case(dump, "SELECT name FROM names", "SELECT name FROM customers", True),
        Case(dump, "SELECT name FROM names", "SELECT DISTINCT name FROM customers", False),
        Case(dump, "SELECT COUNT(id) FROM customers", "SELECT COUNT(DISTINCT id) FROM customers", True),
    ]
    if dialect == "postgres":
        found += [
            Case(dump, "SELECT COUNT(zip) FROM customers", "SELECT COUNT(*) FROM customers", True),
            Case(dump, "SELECT id FROM customers WHERE length(zip) < 6", "SELECT id FROM customers", True),
            Case(dump, "SELECT id FROM customers WHERE zip > '2'", "SELECT id FROM customers WHERE zip > '3'", False),
            Case(dump, "SELECT id FROM low", "SELECT id FROM customers WHERE level = 'low'::public.level", True),
            Case(dump, "SELECT id FROM customers WHERE level = 'low'",
                 "SELECT id FROM customers WHERE level <> 'high'", True),
        ]  # fmt: skip
    return found


@pytest.mark.parametrize(
    "cases", [_computed, _collated, _described, _spread, _dumped], ids=lambda cases: cases.__name__
)
@pytest.mark.parametrize("dialect", ENGINES)
def test_a_schema_means_what_it_says(dialect: Dialect, cases) -> None:
    require_engine(dialect)
    found = cases(dialect)
    tasks = [Pair(case.schema, case.gold, case.predicted, None, dialect) for case in found]
    verdicts = dict(score_pairs(tasks, workers=2, timeout=10.0))
    wrong = [
        f"{case.gold} | {case.predicted}: {verdicts[place].status}, {verdicts[place].reason}"
        for place, case in enumerate(found)
        if verdicts[place].status != ("equivalent" if case.same else "different")
    ]
    assert not wrong, "\n".join(wrong)


FOREIGN: dict[Dialect, str] = {"postgres": "inet", "duckdb": "UNION(x INTEGER, y VARCHAR)", "mysql": "POINT"}


@pytest.mark.parametrize("dialect", ENGINES)
def test_a_type_whose_values_are_not_known_is_shown_and_not_compared(dialect: Dialect) -> None:
    require_engine(dialect)
    schema = f"CREATE TABLE host (id INT PRIMARY KEY, place {FOREIGN[dialect]}, name VARCHAR(20))"
    shown = "SELECT id, place FROM host WHERE name = 'a'", "SELECT h.id, h.place FROM host h WHERE 'a' = h.name"
    compared = "SELECT id FROM host ORDER BY place", "SELECT id FROM host ORDER BY place, id"
    pairs = [Pair(schema, gold, predicted, None, dialect) for gold, predicted in (shown, compared)]
    verdicts = dict(score_pairs(pairs, workers=2, timeout=10.0))
    assert verdicts[0].status == "equivalent", verdicts[0]
    assert verdicts[1].status == "undecided" and "place has the type" in verdicts[1].reason


@pytest.mark.parametrize("dialect", ENGINES)
def test_a_witness_shows_what_the_engine_computes(dialect: Dialect) -> None:
    require_engine(dialect)
    pair = Pair(_line(dialect), "SELECT id FROM line WHERE total > 100", "SELECT id FROM line", None, dialect)
    ((_, verdict),) = score_pairs([pair], workers=1)
    assert verdict.witness is not None
    table = verdict.witness.tables["line"]
    assert table.columns == ("id", "price", "n", "total") and table.rows
    assert all(abs(float(price) * n - float(total)) < 0.01 for _, price, n, total in table.rows)
