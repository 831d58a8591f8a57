"""Conditions on one table that several rows may satisfy, against the same conditions on one row."""

from __future__ import annotations

import pytest

from text2sql.equivalence.execution_match import execution_match

KEYED = (
    "CREATE TABLE student (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);"
    "CREATE TABLE course (id INTEGER PRIMARY KEY, title TEXT, dept TEXT, credits INTEGER);"
    "CREATE TABLE takes (student_id INTEGER REFERENCES student(id), course_id INTEGER REFERENCES course(id),"
    " grade INTEGER, term TEXT, PRIMARY KEY (student_id, course_id))"
)
BARE = (
    "CREATE TABLE student (id INTEGER, name VARCHAR, age INTEGER);"
    "CREATE TABLE course (id INTEGER, title VARCHAR, dept VARCHAR, credits INTEGER);"
    "CREATE TABLE takes (student_id INTEGER, course_id INTEGER, grade INTEGER, term VARCHAR)"
)
TAKES = "SELECT student_id FROM takes"
SEEN = "SELECT 1 FROM takes AS t WHERE t.student_id = s.id"
ON_COURSES = "SELECT student_id FROM takes JOIN course ON course_id = course.id"
PAIRS = {
    "exists": (
        f"SELECT name FROM student AS s WHERE EXISTS ({SEEN} AND term <> 'x') AND EXISTS ({SEEN} AND grade >= 0)",
        f"SELECT name FROM student AS s WHERE EXISTS ({SEEN} AND term <> 'x' AND grade >= 0)",
    ),
    "in": (
        f"SELECT name FROM student WHERE id IN ({TAKES} WHERE term IS NOT NULL) AND id IN ({TAKES} WHERE grade <> 3)",
        f"SELECT name FROM student WHERE id IN ({TAKES} WHERE term IS NOT NULL AND grade <> 3)",
    ),
    "in, over a join": (
        f"SELECT name FROM student WHERE id IN ({ON_COURSES} WHERE dept <> 'cs')"
        f" AND id IN ({ON_COURSES} WHERE credits >= 3)",
        f"SELECT name FROM student WHERE id IN ({ON_COURSES} WHERE dept <> 'cs' AND credits >= 3)",
    ),
    "one column": (
        f"SELECT name FROM student AS s WHERE EXISTS ({SEEN} AND grade > 10) AND EXISTS ({SEEN} AND grade < 90)",
        f"SELECT name FROM student AS s WHERE EXISTS ({SEEN} AND grade > 10 AND grade < 90)",
    ),
    "three": (
        f"{TAKES} WHERE term <> 'x' INTERSECT {TAKES} WHERE grade > 3 INTERSECT {TAKES} WHERE course_id > 1",
        f"{TAKES} WHERE term <> 'x' AND grade > 3 INTERSECT {TAKES} WHERE course_id > 1",
    ),
    "none": (
        f"SELECT name FROM student AS s WHERE NOT EXISTS ({SEEN} AND grade < 50) OR NOT EXISTS ({SEEN} AND term > 'b')",
        f"SELECT name FROM student AS s WHERE NOT EXISTS ({SEEN} AND grade < 50 AND term > 'b')",
    ),
    "joined twice": (
        "SELECT DISTINCT s.name FROM student AS s JOIN takes AS a ON a.student_id = s.id"
        " JOIN takes AS b ON b.student_id = s.id WHERE a.grade > 5 AND b.term <> 'x'",
        "SELECT DISTINCT s.name FROM student AS s JOIN takes AS a ON a.student_id = s.id"
        " WHERE a.grade > 5 AND a.term <> 'x'",
    ),
    "counted": (
        "SELECT name FROM student AS s WHERE (SELECT COUNT(*) FROM takes WHERE student_id = s.id AND grade > 3) > 0"
        " AND (SELECT COUNT(*) FROM takes WHERE student_id = s.id AND term <> 'x') > 0",
        "SELECT name FROM student AS s"
        " WHERE (SELECT COUNT(*) FROM takes WHERE student_id = s.id AND grade > 3 AND term <> 'x') > 0",
    ),
}


@pytest.mark.parametrize("schema", [KEYED, BARE], ids=["keys", "no keys"])
@pytest.mark.parametrize("kind", PAIRS)
def test_rows_that_satisfy_one_condition_each_show_the_difference(kind: str, schema: str) -> None:
    apart, together = PAIRS[kind]
    for seed in range(6):
        assert execution_match(schema, apart, together, seed=seed).status == "different", seed
        assert execution_match(schema, together, apart, seed=seed).status == "different", seed


@pytest.mark.parametrize("schema", [KEYED, BARE], ids=["keys", "no keys"])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_query_with_several_such_conditions_equals_itself(kind: str, schema: str) -> None:
    apart, _ = PAIRS[kind]
    again = f"SELECT * FROM ({apart}) AS answer"
    assert execution_match(schema, apart, again).status == "equivalent"


def test_one_condition_is_enough_for_either_row() -> None:
    apart = f"SELECT name FROM student WHERE id IN ({TAKES} WHERE term <> 'x') OR id IN ({TAKES} WHERE grade > 3)"
    together = f"SELECT name FROM student WHERE id IN ({TAKES} WHERE term <> 'x' OR grade > 3)"
    for seed in range(4):
        assert execution_match(KEYED, apart, together, seed=seed).status == "equivalent", seed
