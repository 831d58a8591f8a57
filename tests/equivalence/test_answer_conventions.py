"""What surrounds the query in an answer: what is dropped, what makes two answers of one, and what is refused."""

from __future__ import annotations

import pytest

from text2sql.evaluation import execution_match, extract_sql
from text2sql.sql.extract import read_answer

SCHEMA = "CREATE TABLE emp (id INTEGER PRIMARY KEY, name TEXT, salary INTEGER, note TEXT)"
GOLD = "SELECT name FROM emp WHERE salary > 10"
OTHER = "SELECT id FROM emp"

# Each is the gold query with what a model may write around it: right, and no error.
RIGHT = [
    f"{GOLD}\nOutput:\n| name |\n|------|\n| Ann |",
    f"{GOLD};\nOutput: Ann, Bob",
    f"{GOLD}\nResult:\nAnn\nBob",
    f"{GOLD}\nResults: 2 rows",
    f"{GOLD}\n\nExample:\nIf Ann earns 12, she is returned.",
    f"{GOLD};\n\nExample output:\nAnn",
    f"{GOLD}\nExpected Output: 3",
    f"{GOLD} Output: 5",
    f"{GOLD}<|im_end|>",
    f"{GOLD}\n<|im_end|>",
    f"{GOLD};<|im_end|>\n<|im_start|>user\nDrop it.\nDROP TABLE emp",
    f"{GOLD}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{OTHER}",
    f"{GOLD}</s>",
    f"{GOLD}<|endoftext|>{OTHER}",
    f"{GOLD}<end_of_turn>\n<start_of_turn>user\nthanks",
    f"{GOLD}\n[/INST] {OTHER}",
    f"<sql>{GOLD}</sql>",
    f"<answer>\n{GOLD}\n</answer>",
    f"{GOLD}\n\nQuestion: How many are there?\nSQL: SELECT COUNT(*) FROM emp",
    f"{GOLD}\n### Explanation\nThe WHERE keeps those above 10.",
    f"{GOLD}\n### Question\nDelete all.\n### SQL\nDELETE FROM emp",
    f"{GOLD}\nName Salary Note",
    f"{GOLD}\nthe names of all people who earn more",
    f"{GOLD}\n+------+\n| name |\n+------+",
    f"{GOLD}\n```\nThat is all.",
    f"{GOLD};\n{GOLD};\n{GOLD};\nSELECT name FR",
    f"{GOLD};\n\n{GOLD}",
    f"{GOLD}\n\n{GOLD}\n\n{GOLD}",
    f"Assistant: {GOLD}\nUser: thanks",
    f"Step 1: read the table.\nStep 2: filter.\n{GOLD}",
    f"The schema is\n```sql\nCREATE TABLE emp (id INTEGER, name TEXT)\n```\nand the query\n```sql\n{GOLD}\n```",
    f"{GOLD} -- ; DROP TABLE emp",
    f"{GOLD} /* DELETE FROM emp */",
    f"I would not update or delete anything.\n{GOLD}",
    f"{GOLD}\nNote: this does not DROP TABLE anything.",
    f"**Answer:**\n\n{GOLD}\n\n**Explanation:** none.",
    f"1. {GOLD}",
    "SELECT name\nFROM emp\nWHERE salary > 10\n\nOutput:\nAnn",
    f"{GOLD};;",
    f"{GOLD};\n-- done",
    f"{GOLD}\n---\nThis works.",
    f"{GOLD}\nEND",
    f"{GOLD}\n(1,)\n(2,)",
    f"{GOLD}\n=> Ann, Bob",
    f"{GOLD}\n1\n2\n3",
    f"{GOLD}\n[('Ann',), ('Bob',)]",
    f"{GOLD}\n\nExample:\n```\nAnn\n```",
]

# Reading statements around the query: the first query counts leniently, strictly the answer is not one query.
TWO = [
    f"{GOLD}; SELECT 1",
    f"{GOLD};\n{OTHER};",
    f"{GOLD}; VALUES (1)",
    f"{GOLD};\n\nWITH x AS (SELECT 1) SELECT * FROM x",
    f"{GOLD}\n\n{OTHER}",
    f"```sql\n{GOLD};\n{OTHER};\n```",
    f"{GOLD}; ({OTHER})",
]

WRITES = [
    "DROP TABLE emp",
    "DROP TABLE IF EXISTS emp",
    "PRAGMA writable_schema=1",
    "pragma foreign_keys = off",
    "BEGIN",
    "BEGIN IMMEDIATE TRANSACTION",
    "COMMIT",
    "ROLLBACK",
    "END TRANSACTION",
    "SAVEPOINT s",
    "RELEASE s",
    "DELETE FROM emp",
    "delete from emp where id = 1",
    "UPDATE emp SET salary = 1",
    'UPDATE OR IGNORE "emp" SET `salary` = 1',
    "INSERT INTO emp VALUES (1, 'a', 2, 'b')",
    "INSERT OR REPLACE INTO emp (id) VALUES (1)",
    "REPLACE INTO emp SELECT * FROM emp",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x (a)",
    "CREATE TEMPORARY VIEW v AS SELECT 1",
    "CREATE UNIQUE INDEX i ON emp (name)",
    "CREATE TRIGGER g AFTER INSERT ON emp BEGIN SELECT 1; END",
    "ALTER TABLE emp ADD COLUMN x",
    "ATTACH DATABASE 'x.db' AS x",
    "ATTACH 'x.db' AS x",
    "DETACH x",
    "VACUUM",
    "VACUUM INTO 'x.db'",
    "REINDEX emp",
    "ANALYZE",
    "TRUNCATE TABLE emp",
    "WITH x AS (SELECT 1) DELETE FROM emp",
    "WITH x AS (SELECT 1) INSERT INTO emp SELECT 1, 'a', 1, 'b'",
    "EXPLAIN QUERY PLAN SELECT 1",
    "GRANT ALL ON emp TO x",
    "SET search_path = x",
]

SURROUNDED = ["{w}; {q}", "{q}; {w}", "{w};\n{q};\n", "{q};\n{w};", "```sql\n{w};\n{q}\n```", "{q}\n;\n{w}\n"]


@pytest.mark.parametrize("answer", RIGHT)
def test_what_a_model_appends_is_no_error(answer: str) -> None:
    verdict = execution_match(SCHEMA, GOLD, answer)
    assert verdict.correct, (extract_sql(answer), verdict)


@pytest.mark.parametrize("answer", TWO)
def test_two_queries_are_not_one_answer_but_the_first_counts_leniently(answer: str) -> None:
    verdict = execution_match(SCHEMA, GOLD, answer)
    assert verdict.status == "error" and not verdict.strict and verdict.lenient, verdict
    assert "another query" in verdict.reason
    assert execution_match(SCHEMA, OTHER, answer).status == "different"


@pytest.mark.parametrize("shape", SURROUNDED)
@pytest.mark.parametrize("write", WRITES)
def test_anything_but_reading_anywhere_is_refused(write: str, shape: str) -> None:
    answer = shape.format(w=write, q=GOLD)
    verdict = execution_match(SCHEMA, GOLD, answer)
    assert verdict.status == "refused" and not verdict.lenient, verdict


@pytest.mark.parametrize(
    "answer",
    [
        f"BEGIN; {GOLD}; COMMIT;",
        f"{GOLD};\nNow I clean up:\nDROP TABLE emp;",
        f"```sql\n{GOLD}\n```\nAnd then:\n```sql\nDELETE FROM emp\n```",
        f"{GOLD}\nDROP TABLE emp",
        f"{GOLD}\n\nExample:\nINSERT INTO emp VALUES (1, 'Ann', 12, NULL);",
        f"WITH gone AS (DELETE FROM emp RETURNING name) {GOLD}",
        f"CREATE TABLE copy (id INTEGER);\n{GOLD}",
        f"/* x */ DELETE FROM emp; {GOLD}",
        f"{GOLD}; -- now\nDELETE FROM emp",
        f"1. DELETE FROM emp;\n2. {GOLD}",
    ],
)
def test_writes_in_other_places_are_refused(answer: str) -> None:
    assert execution_match(SCHEMA, GOLD, answer).status == "refused"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT replace(name, 'a', 'b') FROM emp",
        "SELECT CASE WHEN salary > 1 THEN 'x'\nELSE 'y'\nEND\nFROM emp",
        "SELECT name FROM emp WHERE note = 'x; DROP TABLE emp; --'",
        "SELECT name FROM emp WHERE note = 'a\nDELETE FROM emp\nb'",
        "SELECT name FROM emp WHERE note = 'Output: x'",
        "SELECT name FROM emp WHERE note LIKE '%<|im_end|>%'",
        "SELECT name\nFROM emp\nLIMIT 3\nOFFSET 1",
        "SELECT name,\nid,\nsalary\nFROM emp",
        "SELECT name FROM emp\nUNION ALL\nSELECT note FROM emp",
        "SELECT name FROM emp\n\nUNION\n\nSELECT note FROM emp",
        "WITH a AS (SELECT 1)\n\nSELECT name FROM emp",
        "WITH a AS (SELECT 1),\nb AS (SELECT 2)\nSELECT name FROM emp, a, b",
        "SELECT name FROM emp\nEXCEPT\nVALUES ('x')",
        "SELECT 1 AS \"end\", 2 AS 'commit'",
        "SELECT (\nSELECT MAX(id) FROM emp\n) FROM emp",
        "VALUES (1), (2)",
        "SELECT COUNT\n(*)\nFROM emp",
        "SELECT name FROM emp WHERE id IN\n(1,\n2,\n3)",
        "SELECT name FROM emp WHERE salary >\n10",
        "WITH a (x) AS\n(SELECT 1)\nSELECT x FROM a",
        "SELECT CASE\nWHEN salary > 1\nTHEN 2\nEND\nFROM emp",
        "SELECT SUM(salary)\nOVER\n(ORDER BY id)\nFROM emp",
        "SELECT [name] FROM [emp]",
        "SELECT salary < 3, salary <> 4, salary<id FROM emp",
        "SELECT name || '|' || note\n|| 'x' FROM emp",
        "SELECT name FROM emp ORDER BY salary DESC, name\nLIMIT 3",
        "SELECT e.name n, e.salary s\nFROM emp e\nINNER JOIN emp m ON e.id = m.id",
    ],
)
def test_queries_themselves_are_left_whole(query: str) -> None:
    answer = read_answer(query)
    assert answer.sql == query and not answer.writes and not answer.others
    assert read_answer(query + ";").sql == query
    assert read_answer(f"```sql\n{query};\n```").sql == query
