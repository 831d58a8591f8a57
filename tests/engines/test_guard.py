import pytest

from text2sql.engines.declared.spelling import restore_table_case, strip_qualifiers
from text2sql.engines.guard import MAX_QUERY_CHARACTERS, ReadScope, guard_query
from text2sql.sql.sandbox import QueryFailed

READ = {
    "postgres": [
        "SELECT a FROM t",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x UNION ALL SELECT 2",
        "VALUES (1), (2)",
        "(SELECT 1)",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC;",
        "SELECT DATE_TRUNC('month', d)::date, COUNT(*) FILTER (WHERE a ILIKE 'x%') FROM t GROUP BY 1",
        "SELECT pg_typeof(a) FROM t",
        "SELECT 'pg_sleep(1); DROP TABLE t' FROM t",
        "SELECT * FROM generate_series(1, 3) AS g(n)",
        "SELECT * FROM public.t",
        "SELECT query, position, lock FROM t",
    ],
    "duckdb": [
        "FROM t SELECT a",
        "SELECT * EXCLUDE (b) FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY a) = 1",
        "SELECT a, SUM(b) FROM t GROUP BY ALL ORDER BY ALL",
        "PIVOT t ON a USING SUM(b)",
        "SELECT list_transform([1, 2], x -> x + 1), a GLOB 'x*' FROM t",
        "SELECT * FROM range(10)",
    ],
    "mysql": [
        "SELECT `a` FROM `t` LIMIT 1, 2",
        "SELECT IFNULL(a, 0), GROUP_CONCAT(b ORDER BY b SEPARATOR ';') FROM t",
        "SELECT 'a\\'; DROP TABLE t; --' FROM t",
        "SELECT YEAR(d), DATE_FORMAT(d, '%Y') FROM t # why",
    ],
    "sqlite": ["SELECT a FROM t"],
}
WRITTEN = {
    "postgres": [
        "DROP TABLE t",
        "SELECT 1; DROP TABLE t",
        "SELECT * INTO x FROM t",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
        "SELECT * FROM t FOR UPDATE",
        "COPY t TO PROGRAM 'x'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "EXPLAIN ANALYZE SELECT 1",
        "SET statement_timeout = 0",
        "DO $$ BEGIN END $$",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT current_setting('data_directory')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_catalog.pg_sleep(10)",
        'SELECT "pg_sleep"(10)',
        "SELECT * FROM pg_ls_dir('.')",
        "SELECT * FROM ROWS FROM (pg_ls_dir('.'))",
        "SELECT lo_import('/etc/passwd')",
        "SELECT * FROM dblink('host=x', 'SELECT 1') AS t(a int)",
        "SELECT query_to_xml('DELETE FROM t', true, true, '')",
        "SELECT ts_stat('SELECT 1')",
        "SELECT nextval('s')",
        "SELECT * FROM pg_shadow",
        "SELECT * FROM pg_catalog.pg_user",
        "SELECT * FROM information_schema.tables",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM (SELECT pg_terminate_backend(1)) AS x)",
        "BEGIN",
        "LISTEN x",
    ],
    "duckdb": [
        "SELECT * FROM 'x.csv'",
        "SELECT * FROM '/etc/passwd'",
        'SELECT * FROM "s3://bucket/x"',
        "SELECT * FROM read_csv('x')",
        "SELECT * FROM read_csv_auto('x')",
        "SELECT * FROM read_parquet(['a', 'b'])",
        "SELECT * FROM parquet_scan('x')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('*')",
        "SELECT getenv('HOME')",
        "SELECT * FROM query('DROP TABLE t')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM sqlite_scan('x', 't')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH 'x.duckdb'",
        "COPY t TO 'x'",
        "EXPORT DATABASE 'x'",
        "PRAGMA database_list",
        "SET memory_limit = '1TB'",
        "CALL pragma_version()",
        "SUMMARIZE t",
    ],
    "mysql": [
        "SELECT * INTO OUTFILE '/tmp/x' FROM t",
        "SELECT a FROM t INTO OUTFILE '/tmp/x'",
        "SELECT a FROM t INTO DUMPFILE '/tmp/x'",
        "SELECT a FROM t INTO @x",
        "SELECT LOAD_FILE('/etc/passwd')",
        "SELECT SLEEP(10)",
        "SELECT BENCHMARK(1000000, MD5('x'))",
        "SELECT GET_LOCK('x', 10)",
        "SELECT @a := 1",
        "SELECT @@datadir",
        "SELECT /*+ SET_VAR(max_execution_time = 0) */ 1",
        "SELECT * FROM t LOCK IN SHARE MODE",
        "SELECT * FROM mysql.user",
        "SELECT * FROM information_schema.processlist",
        "LOAD DATA INFILE 'x' INTO TABLE t",
        "SHOW DATABASES",
        "CALL p()",
        "KILL 1",
        "REPLACE INTO t VALUES (1)",
    ],
    "sqlite": ["DELETE FROM t", "SELECT readfile('x')", "SELECT 1; SELECT 2"],
}


@pytest.mark.parametrize(("dialect", "sql"), [(dialect, sql) for dialect, found in READ.items() for sql in found])
def test_reading_the_schema_passes(dialect, sql):
    assert guard_query(sql, dialect).split() == sql.removesuffix("# why").rstrip("; ").split()


@pytest.mark.parametrize(("dialect", "sql"), [(dialect, sql) for dialect, found in WRITTEN.items() for sql in found])
def test_everything_else_is_refused(dialect, sql):
    with pytest.raises(QueryFailed) as failure:
        guard_query(sql, dialect)
    assert failure.value.kind == "refused", str(failure.value)


def test_comments_do_not_reach_the_engine_which_would_execute_some():
    assert "SLEEP" not in guard_query("SELECT 1 /*! + SLEEP(9) */ /*M! + SLEEP(9) */ -- x\n", "mysql")
    assert guard_query("SELECT a/* x /* y */ z */FROM t", "postgres") == "SELECT a FROM t"


def test_what_does_not_parse_is_an_error_with_the_place():
    with pytest.raises(QueryFailed, match="does not parse as PostgreSQL") as failure:
        guard_query("SELECT FROM WHERE (", "postgres")
    assert failure.value.kind == "error"
    for empty in ("", " ; ", "-- nothing"):
        with pytest.raises(QueryFailed, match="no query"):
            guard_query(empty, "duckdb")


def test_hostile_text_neither_hangs_nor_raises_anything_else():
    for sql in (
        "(" * 5000,
        "SELECT " + "(" * 3000 + "1" + ")" * 3000,
        "SELECT '" + "x" * MAX_QUERY_CHARACTERS,
        "\x00",
        "SELECT 1" * 99,
    ):
        with pytest.raises(QueryFailed):
            guard_query(sql, "postgres")


def test_a_table_of_the_schema_may_be_named_like_a_systems():
    reach = ReadScope(frozenset(("pg_games", "sys.users")), frozenset(("shop", "sys")))
    assert guard_query("SELECT * FROM pg_games JOIN sys.users USING (id)", "postgres", reach)
    assert guard_query("SELECT * FROM shop.orders", "postgres", reach)
    for sql in ("SELECT * FROM sys.config", "SELECT * FROM private.orders", "SELECT * FROM pg_roles"):
        with pytest.raises(QueryFailed) as failure:
            guard_query(sql, "postgres", reach)
        assert failure.value.kind == "refused"


def test_names_are_respelt_and_texts_are_not():
    names = {"pets": "Pets"}
    assert restore_table_case("SELECT PETS.a, 'pets' FROM pets, `PETS` AS x", names) == (
        "SELECT Pets.a, 'pets' FROM Pets, `Pets` AS x"
    )
    sql = "SELECT public.t.a, 'public.t', x.public FROM public.t, other.public.t"
    assert strip_qualifiers(sql, "postgres", ("public",)) == "SELECT t.a, 'public.t', x.public FROM t, other.public.t"
