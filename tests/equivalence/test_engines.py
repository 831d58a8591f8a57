"""Pairs judged in DuckDB, PostgreSQL and MySQL: what each engine decides, its limits, and what is said without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.engines import ENGINES, require_engine
from text2sql.engines.sandbox import engine as engines
from text2sql.engines.sandbox.engine import EngineMissing, close_engine, open_engine
from text2sql.equivalence.engine_match import TRANSPILED
from text2sql.equivalence.execution_match import execution_match
from text2sql.equivalence.overlap import row_overlap
from text2sql.equivalence.processes.process_pool import Lost
from text2sql.equivalence.scoring import Pair, PairResult, score_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.rewards.batch import reward_answers

SCHEMA = """CREATE TABLE customers (
  id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL, city VARCHAR(30), age INTEGER, active BOOLEAN
);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), amount NUMERIC(10, 2), placed DATE
);"""


def judged(dialect: str, gold: str, predicted: str, schema: str = SCHEMA) -> Verdict:
    require_engine(dialect)
    return execution_match(schema, gold, predicted, dialect=dialect)


@pytest.mark.parametrize("dialect", ENGINES)
def test_the_witness_is_the_engines_own_and_names_it(dialect: str) -> None:
    verdict = judged(dialect, "SELECT name FROM customers WHERE age > 30", "SELECT name FROM customers WHERE age >= 30")
    assert verdict.status == "different" and verdict.judged_on == open_engine(dialect).version
    assert verdict.witness is not None
    rows = dict(
        zip(verdict.witness.tables["customers"].columns, verdict.witness.tables["customers"].rows[0], strict=True)
    )
    assert rows["age"] == 30 and len(verdict.witness.tables["customers"].rows) == 1
    assert Verdict.from_dict(verdict.to_dict()) == verdict


@pytest.mark.parametrize("dialect", ENGINES)
def test_agreement_counts_databases_in_the_engine(dialect: str) -> None:
    verdict = judged(
        dialect, "SELECT name FROM customers WHERE age > 30", "SELECT name FROM customers WHERE NOT (age <= 30)"
    )
    assert verdict.correct and verdict.databases >= (7 if dialect == "duckdb" else 12) and verdict.informative >= 6


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize(
    "share",
    [
        "SUM(CASE WHEN city = '{}' THEN 1 ELSE 0 END) * 100.0 / (SELECT COUNT(*) FROM customers)",
        "COUNT(CASE WHEN city = '{}' THEN 1 END) * 100.0 / COUNT(*)",
        "1.0 / COUNT(CASE WHEN city = '{}' THEN 1 END)",
        "LN(COUNT(CASE WHEN city = '{}' THEN 1 END))",
    ],
)
def test_a_query_that_has_no_result_without_rows_is_judged_on_others(dialect: str, share: str) -> None:
    gold = f"SELECT {share.format('Rome')} FROM customers"
    assert judged(dialect, gold, f"SELECT {share.format('Rome')} FROM customers WHERE 1 = 1").correct
    assert judged(dialect, gold, f"SELECT {share.format('Oslo')} FROM customers").status in ("different", "error")


# The same two queries, and what each engine makes of them.
DECIDED = [
    (
        "SELECT age / 2 FROM customers",
        "SELECT age / 2.0 FROM customers",
        {"postgres": False, "duckdb": True, "mysql": True},
    ),
    (
        "SELECT id FROM customers WHERE city = 'Lisbon'",
        "SELECT id FROM customers WHERE city = 'LISBON'",
        {"postgres": False, "duckdb": False, "mysql": True},
    ),
    (
        "SELECT name FROM customers ORDER BY age, id",
        "SELECT name FROM customers ORDER BY age IS NOT NULL, age, id",
        {"postgres": False, "duckdb": False, "mysql": True},
    ),
    (
        "SELECT id FROM customers WHERE active",
        "SELECT id FROM customers WHERE active = 1",
        {"postgres": None, "duckdb": True, "mysql": True},
    ),
    (
        "SELECT CONCAT(name, city) FROM customers",
        "SELECT CONCAT(name, COALESCE(city, '')) FROM customers",
        {"postgres": True, "duckdb": True, "mysql": False},
    ),
]


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize(("gold", "predicted", "same"), DECIDED)
def test_the_engine_decides(dialect: str, gold: str, predicted: str, same: dict[str, bool | None]) -> None:
    verdict = judged(dialect, gold, predicted)
    expected = {True: "equivalent", False: "different", None: "error"}[same[dialect]]
    assert verdict.status == expected, verdict.reason


HOSTILE = {
    "duckdb": ["SELECT name FROM customers, read_csv('/etc/passwd')", "SELECT getenv('HOME') FROM customers"],
    "postgres": ["SELECT pg_read_file('/etc/passwd')", "SELECT name FROM customers; DROP TABLE customers"],
    "mysql": ["SELECT LOAD_FILE('/etc/passwd')", "SELECT name FROM customers INTO OUTFILE '/tmp/x'"],
}


@pytest.mark.parametrize(
    ("dialect", "predicted"), [(dialect, sql) for dialect, found in HOSTILE.items() for sql in found]
)
def test_what_does_more_than_read_is_refused(dialect: str, predicted: str) -> None:
    verdict = judged(dialect, "SELECT name FROM customers", predicted)
    assert verdict.status == "refused", verdict.reason


LONG = {
    "duckdb": "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 3",
    "postgres": "SELECT COUNT(*) FROM generate_series(1, 999999) a, generate_series(1, 999999) b WHERE (a + b) % 7 = 3",
    "mysql": "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
    "SELECT COUNT(*) FROM n a, n b, n c, n d WHERE (a.i + b.i * c.i - d.i) % 7 = 3",
}


@pytest.mark.parametrize("dialect", ENGINES)
def test_a_query_that_takes_too_long_is_stopped_and_the_next_pair_is_judged(dialect: str) -> None:
    assert judged(dialect, "SELECT COUNT(*) FROM customers", LONG[dialect]).status == "timeout"
    assert judged(dialect, "SELECT COUNT(*) FROM customers", "SELECT COUNT(id) FROM customers").correct


@pytest.mark.parametrize("dialect", ENGINES)
def test_a_result_without_end_is_cut(dialect: str) -> None:
    many = {
        "duckdb": "SELECT range FROM range(1000000)",
        "postgres": "SELECT generate_series(1, 1000000)",
        "mysql": "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
        "SELECT a.i FROM n a, n b",
    }
    assert judged(dialect, "SELECT age FROM customers", many[dialect]).status == "different"


@pytest.mark.parametrize("dialect", ENGINES)
def test_workers_give_the_verdicts_of_one_process(dialect: str) -> None:
    require_engine(dialect)
    golds = ["SELECT name FROM customers", "SELECT COUNT(*) FROM orders WHERE amount > 10", "SELECT 1 FROM nowhere"]
    pairs = [Pair(SCHEMA, gold, predicted, None, dialect) for gold in golds for predicted in golds]
    alone = [execution_match(*pair[:3], dialect=dialect) for pair in pairs]
    found = dict(score_pairs(pairs, workers=2))
    assert [found[place] for place in range(len(pairs))] == alone


def test_a_killed_session_leaves_nothing_behind_in_postgres() -> None:
    require_engine("postgres")
    code = (
        "from text2sql.equivalence.execution_match import execution_match as m\n"
        "from text2sql.engines.sandbox.engine import open_engine\n"
        "open_engine('postgres')._db.execute(\"SET application_name = 't2s_killed'\")\n"
        "print('ready', flush=True)\n"
        f"m({SCHEMA!r}, 'SELECT COUNT(*) FROM customers', {LONG['postgres']!r}, dialect='postgres')"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ))
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    database = open_engine("postgres")._db  # type: ignore[attr-defined]
    left = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 't2s_killed'"
    for _ in range(60):
        if database.execute(left).fetchone()[0] == 0:
            break
        time.sleep(0.1)
    assert database.execute(left).fetchone()[0] == 0


def test_a_connection_that_dies_in_the_middle_is_said_and_opened_again() -> None:
    require_engine("postgres")
    engine = open_engine("postgres")
    number = engine._db.execute("SELECT pg_backend_pid()").fetchone()[0]  # type: ignore[attr-defined]
    close_engine("postgres")
    engine = open_engine("postgres")
    victim = engine._db.execute("SELECT pg_backend_pid()").fetchone()[0]  # type: ignore[attr-defined]
    assert victim != number
    killer = type(engine)()
    killer._db.execute(f"SELECT pg_terminate_backend({victim})")  # type: ignore[attr-defined]
    killer.close()
    time.sleep(0.2)
    verdict = execution_match(SCHEMA, "SELECT name FROM customers", "SELECT name FROM customers", dialect="postgres")
    assert verdict.status == "undecided" and "connection" in verdict.reason
    assert execution_match(
        SCHEMA, "SELECT name FROM customers", "SELECT name FROM customers", dialect="postgres"
    ).correct


def test_without_a_server_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_OPEN_ENGINES", {})
    monkeypatch.delenv("TEXT2SQL_MYSQL", raising=False)
    with pytest.raises(EngineMissing, match="TEXT2SQL_MYSQL"):
        execution_match(SCHEMA, "SELECT 1", "SELECT 1", dialect="mysql")
    monkeypatch.setenv("TEXT2SQL_POSTGRES", "postgresql://somebody:secret@127.0.0.1:1/none")
    with pytest.raises(EngineMissing, match="No PostgreSQL answers") as told:
        next(iter(score_pairs([Pair(SCHEMA, "SELECT 1", "SELECT 1", None, "postgres")])))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("package", ["duckdb", "psycopg", "pymysql"])
def test_without_the_driver_one_sentence_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = {"duckdb": "duckdb", "psycopg": "postgres", "pymysql": "mysql"}[package]
    monkeypatch.setattr(engines, "_OPEN_ENGINES", {})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineMissing, match=rf'extra "{dialect}"'):
        execution_match(SCHEMA, "SELECT 1", "SELECT 1", dialect=dialect)


def test_translation_is_a_fallback_that_says_so() -> None:
    gold = "SELECT DATE_TRUNC('month', placed)::date, COUNT(*) FROM orders GROUP BY 1"
    near = "SELECT DATE_TRUNC('year', placed)::date, COUNT(*) FROM orders GROUP BY 1"
    for predicted, status in ((gold, "equivalent"), (near, "different")):
        verdict = execution_match(SCHEMA, gold, predicted, dialect="postgres", transpile=True)
        assert (verdict.status, verdict.judged_on) == (status, TRANSPILED), verdict.reason


def test_translated_dates_are_subtracted_in_days() -> None:
    gold, same = "SELECT id FROM t WHERE b - a > 7", "SELECT id FROM t WHERE a + 7 < b"
    near = "SELECT id FROM t WHERE b - a >= 7"
    for predicted, status in ((same, "equivalent"), (near, "different")):
        schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a DATE, b DATE)"
        verdict = execution_match(schema, gold, predicted, dialect="postgres", transpile=True)
        assert (verdict.status, verdict.judged_on) == (status, TRANSPILED), verdict.reason


def test_a_sqlite_file_takes_no_part_in_another_dialect(tmp_path) -> None:
    pair = Pair(
        SCHEMA, "SELECT name FROM customers", "SELECT name FROM customers", str(tmp_path / "x.sqlite"), "duckdb"
    )
    ((_, verdict),) = score_pairs([pair])
    assert verdict.correct and "SQLite" in str(verdict.unused_database)


def test_names_of_a_schema_in_quotes_do_not_stop_a_gold_query_without() -> None:
    schema = 'CREATE TABLE "Pets" ("PetId" INTEGER PRIMARY KEY, "Weight" INTEGER)'
    verdict = judged("postgres", "SELECT PetId FROM Pets", "SELECT petid FROM pets", schema)
    assert verdict.correct and "quotes" in verdict.reason
    assert judged("postgres", 'SELECT "PetId" FROM "Pets"', "SELECT PetId FROM Pets", schema).status == "error"


def test_tables_of_mysql_have_no_case_whatever_the_file_system() -> None:
    schema = "CREATE TABLE Pets (PetId INTEGER PRIMARY KEY, Weight INTEGER)"
    assert judged("mysql", "SELECT petid FROM pets", "SELECT PETS.PETID FROM PETS", schema).correct


POSTGRES_DUMP = """CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE public.people (
    id bigserial PRIMARY KEY, code uuid NOT NULL DEFAULT gen_random_uuid(), name character varying(12) NOT NULL,
    feeling mood DEFAULT 'ok'::mood, tags text[] DEFAULT '{}'::text[], data jsonb,
    score numeric(5,2) CHECK (score >= 0::numeric AND score <= 100), seen timestamp with time zone DEFAULT now(),
    wait interval, small smallint, raw bytea, flag char(1), CONSTRAINT people_code_key UNIQUE (code)
);
CREATE TABLE "Order Lines" (
    "Line No" integer, "personId" bigint REFERENCES public.people(id), qty integer DEFAULT 1 NOT NULL,
    PRIMARY KEY ("Line No", "personId")
);
CREATE VIEW happy AS SELECT id, name FROM people WHERE feeling = 'happy';"""
MYSQL_DUMP = """CREATE TABLE `people` (
  `id` int(11) unsigned NOT NULL AUTO_INCREMENT, `name` varchar(20) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
  `kind` enum('a','B','c') DEFAULT NULL, `opts` set('x','y') DEFAULT NULL, `ok` tinyint(1) DEFAULT '0',
  `n` tinyint(3) unsigned DEFAULT NULL, `price` decimal(8,2) DEFAULT NULL, `y` year(4) DEFAULT NULL,
  `dt` datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, `note` text, `j` json DEFAULT NULL,
  PRIMARY KEY (`id`), UNIQUE KEY `name` (`name`), KEY `kind` (`kind`), CONSTRAINT `c1` CHECK (`price` >= 0)
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COMMENT='people';"""
DUCKDB_DUMP = """CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE people (id UBIGINT PRIMARY KEY, name TEXT, m mood, tags VARCHAR[], h HUGEINT, u UUID, d DECIMAL(6,3));"""
TYPED = [
    ("postgres", "SELECT name FROM people WHERE feeling = 'happy'", "SELECT name FROM happy", True),
    (
        "postgres",
        "SELECT name FROM people WHERE feeling > 'sad'",
        "SELECT name FROM people WHERE feeling IN ('ok', 'happy')",
        True,
    ),
    (
        "postgres",
        "SELECT name FROM people WHERE feeling > 'sad'",
        "SELECT name FROM people WHERE feeling >= 'sad'",
        False,
    ),
    (
        "postgres",
        "SELECT name FROM people WHERE 'a' = ANY(tags)",
        "SELECT name FROM people WHERE tags @> ARRAY['a']",
        True,
    ),
    ("postgres", "SELECT CARDINALITY(tags) FROM people", "SELECT ARRAY_LENGTH(tags, 1) FROM people", False),
    ("postgres", "SELECT data->>'city' FROM people", "SELECT data->'city' FROM people", False),
    ("postgres", "SELECT COUNT(DISTINCT code) FROM people", "SELECT COUNT(*) FROM people", True),
    ("postgres", 'SELECT SUM(l.qty) FROM "Order Lines" l', 'SELECT SUM(qty) FROM "Order Lines" WHERE qty > 0', False),
    ("mysql", "SELECT name FROM people WHERE kind > 1", "SELECT name FROM people WHERE kind IN ('B', 'c')", True),
    ("mysql", "SELECT name FROM people WHERE kind > 1", "SELECT name FROM people WHERE kind > 2", False),
    ("mysql", "SELECT y FROM people WHERE y > 2000", "SELECT y FROM people WHERE y >= 2001", True),
    ("mysql", "SELECT note FROM people WHERE n = 255", "SELECT note FROM people WHERE n > 254", True),
    ("mysql", "SELECT note FROM people WHERE n = 255", "SELECT note FROM people WHERE n > 253", False),
    ("duckdb", "SELECT name FROM people WHERE m = 'ok'", "SELECT name FROM people WHERE m <> 'sad'", True),
    (
        "duckdb",
        "SELECT name FROM people WHERE list_contains(tags, 'x')",
        "SELECT name FROM people WHERE 'x' IN tags",
        True,
    ),
    (
        "duckdb",
        "SELECT name FROM people WHERE list_contains(tags, 'x')",
        "SELECT name FROM people WHERE tags = ['x']",
        False,
    ),
    ("duckdb", "SELECT d * 2 FROM people", "SELECT d + d FROM people", True),
]


@pytest.mark.parametrize(("dialect", "gold", "predicted", "same"), TYPED)
def test_schemas_as_the_engines_dump_them(dialect: str, gold: str, predicted: str, same: bool) -> None:
    schema = {"postgres": POSTGRES_DUMP, "mysql": MYSQL_DUMP, "duckdb": DUCKDB_DUMP}[dialect]
    verdict = judged(dialect, gold, predicted, schema)
    assert verdict.status == ("equivalent" if same else "different"), verdict.reason


@pytest.mark.parametrize("dialect", ENGINES)
def test_rewards_and_overlaps_are_of_the_engine(dialect: str) -> None:
    require_engine(dialect)
    gold = "SELECT name FROM customers WHERE age > 30"
    near, wrong = "SELECT name FROM customers WHERE age >= 30", "SELECT city FROM customers WHERE 1 = 0"
    paid = reward_answers([gold, near], [gold] * 2, [SCHEMA] * 2, dialect=dialect)
    assert [reward.outcome for reward in paid] == ["equivalent", "runs"]
    overlaps = [row_overlap(SCHEMA, gold, sql, seed=0, timeout=2.0, dialect=dialect) for sql in (gold, near, wrong)]
    assert overlaps[0] == 1.0 > overlaps[1] > overlaps[2] == 0.0


def test_a_pattern_is_escaped_by_the_sign_of_its_dialect() -> None:
    gold = "SELECT id FROM customers WHERE name LIKE 'a\\_b'"
    verdict = judged("mysql", gold, "SELECT id FROM customers WHERE name LIKE 'a|_b' ESCAPE '|'")
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(
    "reply",
    [
        Lost("died", "the worker died on it (exit status 1)"),
        PairResult(Verdict.undecided("The connection to PostgreSQL broke.").to_dict(), cause="engine_lost"),
    ],
)
def test_a_server_that_has_gone_ends_the_run_with_a_sentence(
    reply: Lost | PairResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(work, tasks, **options):
        monkeypatch.setenv("TEXT2SQL_POSTGRES", "postgresql://nobody@127.0.0.1:1/none")
        yield 0, reply
        yield 1, reply

    require_engine("postgres")
    monkeypatch.setattr("text2sql.equivalence.scoring.run_tasks", gone)
    monkeypatch.setattr(engines, "_OPEN_ENGINES", {"postgres": type(open_engine("postgres"))()})
    pairs = [Pair(SCHEMA, f"SELECT {number}", "SELECT 1", None, "postgres") for number in range(2)]
    with pytest.raises(EngineMissing, match="No PostgreSQL answers"):
        list(score_pairs(pairs))


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("TEXT2SQL_POSTGRES", "postgresql://u:sec ret@127.0.0.1:1/x"),
        ("TEXT2SQL_POSTGRES", "postgresql://u:secret@[bad/x"),
        ("TEXT2SQL_POSTGRES", "u:secret nonsense"),
        ("TEXT2SQL_POSTGRES", "postgresql://u:secret@127.0.0.1:1/x"),
        ("TEXT2SQL_MYSQL", "mysql://u:secret@127.0.0.1:port/x"),
        ("TEXT2SQL_MYSQL", "u:secret"),
        ("TEXT2SQL_MYSQL", "mysql://u:secret@127.0.0.1:1/"),
    ],
)
def test_no_message_holds_a_password(variable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_OPEN_ENGINES", {})
    monkeypatch.setenv(variable, url)
    with pytest.raises(EngineMissing, match=variable) as told:
        execution_match(SCHEMA, "SELECT 1", "SELECT 1", dialect=variable.removeprefix("TEXT2SQL_").lower())
    assert "sec" not in str(told.value)
