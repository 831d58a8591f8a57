"""What a question asks for and evidence tells: smells of the contrary, and none where it is there in another form."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.smelling import smell_kinds
from text2sql.data.audit.weights import CONTRARY, WEIGHTS

SCHEMA = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY, FirstName TEXT, LastName TEXT, State TEXT, gender TEXT, Height REAL,"
    "nationality TEXT, unit_code TEXT, born DATE);"
    "CREATE TABLE visits (id INTEGER PRIMARY KEY, person_id TEXT REFERENCES people (id), paid REAL, "
    "day DATE, ScoreGE1500 INTEGER, Rate REAL)"
)
JOINED = "visits AS v JOIN people AS p ON v.person_id = p.id"
kinds = partial(smell_kinds, SCHEMA)


@pytest.mark.parametrize(
    ("kind", "question", "smelling", "clean"),
    [
        (
            "asked column not shown",
            "What is the gender of the person of most height?",
            "SELECT unit_code FROM people ORDER BY Height DESC LIMIT 1",
            "SELECT gender FROM people ORDER BY Height DESC LIMIT 1",
        ),
        (
            "asked column not shown",
            "List the height. Also indicate the gender of Ann.",
            "SELECT Height, born FROM people WHERE FirstName = 'Ann'",
            "SELECT Height, gender FROM people WHERE FirstName = 'Ann'",
        ),
        (
            "id asked and not shown",
            "List the ids of people of Faro.",
            "SELECT gender FROM people WHERE State = 'Faro'",
            "SELECT id FROM people WHERE State = 'Faro'",
        ),
        (
            "name asked and not shown",
            "Give the names of people of Faro.",
            "SELECT born FROM people WHERE State = 'Faro'",
            "SELECT FirstName FROM people WHERE State = 'Faro'",
        ),
        (
            "half of a name ignored",
            "When was Maria Miller born?",
            "SELECT born FROM people WHERE FirstName = 'Maria'",
            "SELECT born FROM people WHERE FirstName = 'Maria' AND LastName = 'Miller'",
        ),
        (
            "code ignored",
            "Who are the people of unit M23-26?",
            "SELECT FirstName FROM people",
            "SELECT FirstName FROM people WHERE unit_code = 'M23-26'",
        ),
        (
            "another aggregate for the total",
            "What was paid in total?",
            "SELECT MAX(paid) FROM visits",
            "SELECT SUM(paid) FROM visits",
        ),
        (
            "another aggregate for how many",
            "How many visits are there?",
            "SELECT MAX(id) FROM visits",
            "SELECT COUNT(id) FROM visits",
        ),
        (
            "another aggregate for the average",
            "What is the average height?",
            "SELECT SUM(Height) FROM people",
            "SELECT SUM(Height) / COUNT(*) FROM people",
        ),
        (
            "order turned",
            "List the people in descending order of height.",
            "SELECT FirstName FROM people ORDER BY Height",
            "SELECT FirstName FROM people ORDER BY Height DESC",
        ),
        (
            "column not there",
            "What was paid?",
            "SELECT v.price FROM visits AS v",
            "SELECT v.paid FROM visits AS v",
        ),
        (
            "column not there",
            "Which people are there?",
            "SELECT FirstName FROM (SELECT LastName FROM people) AS p",
            "SELECT LastName FROM (SELECT LastName FROM people) AS p",
        ),
    ],
)
def test_the_contrary_of_what_is_asked(kind: str, question: str, smelling: str, clean: str) -> None:
    assert kind in kinds(question, smelling)
    assert kind not in kinds(question, clean)


@pytest.mark.parametrize(
    ("kind", "evidence", "smelling", "clean"),
    [
        (
            "evidence's compared column ignored",
            "local refers to State = 'TRUE'",
            "SELECT id FROM people WHERE gender = 'TRUE'",
            "SELECT id FROM people WHERE State = 'TRUE'",
        ),
        (
            "evidence's number of another column",
            "cheap refers to paid = 5",
            "SELECT id FROM visits WHERE Rate = 5",
            "SELECT id FROM visits WHERE paid = 5",
        ),
        (
            "evidence's aggregate differs",
            "worth refers to SUM(paid)",
            "SELECT COUNT(paid) FROM visits",
            "SELECT SUM(paid) FROM visits",
        ),
        (
            "direction of the evidence turned",
            "good means the highest rate",
            "SELECT id FROM visits ORDER BY Rate LIMIT 1",
            "SELECT id FROM visits ORDER BY Rate DESC LIMIT 1",
        ),
        (
            "evidence's direction turned",
            "good refers to MIN(Rate)",
            "SELECT id FROM visits ORDER BY Rate DESC, paid LIMIT 1",
            "SELECT id FROM visits ORDER BY Rate, paid DESC LIMIT 1",
        ),
    ],
)
def test_the_contrary_of_what_evidence_tells(kind: str, evidence: str, smelling: str, clean: str) -> None:
    assert kind in kinds("Which one is it?", smelling, evidence)
    assert kind not in kinds("Which one is it?", clean, evidence)


# What the question says is in the query in another form.
ANOTHER_FORM = [
    ("How many people live in California?", "California refers to State = 'CA'", "State = 'CA'"),
    ("How many people are of more than 20000?", "more than 20000 refers to Height > 20", "Height > 20"),
    ("How many people live in New York?", None, "State = 'NY'"),
    ("How many people come from the United States of America?", None, "nationality = 'USA'"),
    ("How many people are African?", None, "nationality = 'Africa'"),
    ("How many people are called Poinexter?", None, "LastName = 'POINDEXTER'"),
    ("How many people are French?", None, "nationality = 'France'"),
    ("How many people live in the United States?", None, "State = 'usa'"),
    ("How many people are of height at least 3?", None, "Height > 2"),
    ("How many people are called 'Tucker'?", None, "LastName = 'Tucker'"),
    ("How many people are of 97,40?", None, "Height BETWEEN 40 AND 97"),
    ("How many people are above $1,200?", None, "Height > 1200"),
    ("How many CZK-paying people are there?", None, "unit_code = 'CZK'"),
]


@pytest.mark.parametrize(("question", "evidence", "condition"), ANOTHER_FORM)
def test_another_form_of_what_is_said_is_not_ignored(question: str, evidence: str | None, condition: str) -> None:
    found = kinds(question, f"SELECT COUNT(*) FROM people WHERE {condition}", evidence)
    assert not [kind for kind in found if "ignored" in kind or kind in ("text unsaid", "number unsaid")]
    assert [kind for kind in kinds(question, "SELECT COUNT(*) FROM people", evidence) if "ignored" in kind]


@pytest.mark.parametrize(
    ("absent", "question", "sql", "evidence"),
    [
        # A rank is an offset, a column has digits in its name, and a position in a text is no value.
        (
            "number ignored",
            "The 4th highest height?",
            "SELECT Height FROM people ORDER BY Height DESC LIMIT 1 OFFSET 3",
            "",
        ),
        ("number ignored", "How many scored 1500 or more?", "SELECT SUM(ScoreGE1500) FROM visits", ""),
        ("number unsaid", "Visits in March?", "SELECT id FROM visits WHERE SUBSTR(day, 6, 2) = 'March'", ""),
        # Not higher than 4 is 4 at most, a last name no end, and to the least no limit.
        ("comparison", "Whose height is not higher than 4?", "SELECT id FROM people WHERE Height <= 4", ""),
        (
            "direction",
            "What is the last name of the first one born?",
            "SELECT LastName FROM people ORDER BY born LIMIT 1",
            "",
        ),
        (
            "order without its limit",
            "List the people from the oldest to the youngest.",
            "SELECT id FROM people ORDER BY born",
            "",
        ),
        (
            "order turned",
            "List the people in reverse alphabetical order.",
            "SELECT FirstName FROM people ORDER BY FirstName DESC",
            "",
        ),
        # Greater than all is greater than the most; the average number of something is no count.
        (
            "extreme unasked",
            "Who is above all of Faro?",
            "SELECT id FROM people WHERE Height > (SELECT MAX(Height) FROM people)",
            "",
        ),
        ("count missing", "What is the average number of points?", "SELECT AVG(Rate) FROM visits", ""),
        # What is compared inside an aggregate is not added up, and a declared key may join unlike types.
        (
            "parents added up through a join",
            "How many?",
            f"SELECT SUM(CASE WHEN p.State = 'x' THEN 1 ELSE 0 END) FROM {JOINED}",
            "",
        ),
        ("join of unlike types", "Which days?", f"SELECT v.day FROM {JOINED}", ""),
        # A legend asks for nothing, and the lake's name is the lake.
        (
            "evidence's value ignored",
            "Which gender has Ann?",
            "SELECT gender FROM people",
            "gender = 'F' means female; gender = 'M' means male",
        ),
        (
            "evidence's compared column ignored",
            "When?",
            "SELECT born FROM people",
            "gender = 'F' means female; gender = 'M' means male",
        ),
        (
            "name asked and not shown",
            "What is the name of the state of Ann?",
            "SELECT State FROM people WHERE FirstName = 'Ann'",
            "",
        ),
        (
            "asked column not shown",
            "Give the gender of Ann.",
            "SELECT unit_code FROM people",
            "gender refers to unit_code",
        ),
        # SQLite takes a name in double quotes for a text where no column is called so.
        ("column not there", "Who is of Faro?", 'SELECT FirstName FROM people WHERE State = "Faro"', ""),
        ("quoted value ignored", "Who is of 'Faro'?", 'SELECT FirstName FROM people WHERE State = "Faro"', ""),
    ],
)
def test_it_is_no_smell(absent: str, question: str, sql: str, evidence: str) -> None:
    assert absent not in kinds(question, sql, evidence)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH visits AS (SELECT id AS price FROM visits) SELECT v.price FROM visits AS v",
        "SELECT p.a FROM (SELECT id FROM people) AS p (a)",
        "SELECT v.id AS price FROM visits AS v ORDER BY price",
        "SELECT id FROM people AS p WHERE EXISTS (SELECT 1 FROM visits AS v WHERE v.person_id = p.id AND Height > 1)",
        "SELECT p.price FROM (SELECT *, 1 AS price FROM people) AS p",
        "SELECT j.value FROM people, json_each(people.State) AS j",
        "SELECT rowid FROM people",
        "SELECT id FROM people UNION SELECT id FROM visits ORDER BY id",
        "SELECT price FROM unknown_table",
    ],
)
def test_a_column_is_there_by_another_way(sql: str) -> None:
    assert "column not there" not in kinds("Which?", sql)


def test_what_says_the_contrary_tells_most() -> None:
    assert WEIGHTS.keys() >= CONTRARY
    assert min(WEIGHTS[kind] for kind in CONTRARY) > 1
