"""Pairs made from a database: each true of it, no two the same, to the same file however often it is begun."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.chat_server import ChatServer, chat_server
from tests.support.servers import PASSWORD, TABLES, duckdb_shop, mysql_admin, postgres_admin, server_shop, sqlite_shop
from tests.support.tiny_runs import read_jsonl
from text2sql.chat_client import endpoint
from text2sql.config import EndpointConfig, SourceConfig, load_config
from text2sql.data.audit.reading import read_example
from text2sql.data.audit.smells import find_smells
from text2sql.data.audit.weights import WEIGHTS
from text2sql.data.make import pairs as pairs_module
from text2sql.data.make.options import MakeOptions
from text2sql.data.make.pairs import make_pairs
from text2sql.data.make.verify import are_equivalent, mentions_values
from text2sql.data.sources import load_examples
from text2sql.engines.url import locate
from text2sql.engines.user_databases.connection import Limits
from text2sql.engines.user_databases.opening import open_database
from text2sql.errors import UserError

CITIES, GOODS = ("Lisbon", "Porto", "Faro"), ("lamp", "chair", "desk", "shelf")
MORE = (
    "INSERT INTO customers VALUES "
    + ", ".join(f"({10 + i}, 'Client {i}', '{CITIES[i % 3]}', {2005 + i % 15})" for i in range(40)),
    "INSERT INTO orders VALUES "
    + ", ".join(
        f"({10 + i}, {10 + i * 7 % 40}, '{GOODS[i % 4]}', {i * 37 % 200 + 1}.5, '202{i % 5}-0{1 + i % 9}-1{i % 9}')"
        for i in range(120)
    ),
)
assert len(TABLES) == 5


@pytest.fixture(scope="module", params=["sqlite", "duckdb", "postgres", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A shop with enough rows to ask about, in each engine."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield str(sqlite_shop(folder / "shop.db", *MORE))
    elif request.param == "duckdb":
        yield str(duckdb_shop(folder / "shop.duckdb", *MORE))
    else:
        with server_shop(postgres_admin() if request.param == "postgres" else mysql_admin(), *MORE) as (reader, _):
            yield reader


@pytest.fixture
def lite(tmp_path: Path) -> str:
    return str(sqlite_shop(tmp_path / "shop.db", *MORE))


def made(place: str, output: Path, count: int, **options: Any) -> list[dict[str, Any]]:
    make_pairs(MakeOptions(locate(place), output, count, **options))
    return read_jsonl(output) if output.exists() else []


def test_every_pair_is_true_of_its_database(place: str, tmp_path: Path) -> None:
    rows = made(place, tmp_path / "mine.jsonl", 60)
    assert len(rows) == 60
    assert len({row["question"] for row in rows}) == len({row["answer"] for row in rows}) == 60
    location = locate(place)
    with open_database(location) as database:
        for row in rows:
            result = database.run(row["answer"], Limits(rows=1000))
            assert any(value is not None for values in result.rows for value in values), row
            assert (row["dialect"], row["made_by"]) == (location.dialect, "shapes")
            assert mentions_values(row["question"], row["answer"], location.dialect)
            for table in re.findall(r"(?:FROM|JOIN) (\w+)", row["answer"]):
                assert re.search(rf'CREATE (?:TABLE|VIEW) ["`]?{table}\b', row["context"]), row
    kinds = " ".join(row["answer"] for row in rows)
    for clause in ("WHERE", "JOIN", "GROUP BY", "ORDER BY", "(SELECT"):
        assert clause in kinds
    content = (tmp_path / "mine.jsonl").read_text()
    assert PASSWORD not in content and quote(PASSWORD, safe="") not in content


def test_no_two_mean_the_same(lite: str, tmp_path: Path) -> None:
    rows = made(lite, tmp_path / "mine.jsonl", 60)
    by_result: dict[str, list[str]] = {}
    for row in rows:
        for other in by_result.setdefault(row["digest"], []):
            assert not are_equivalent(row["context"], other, row["answer"], "sqlite")
        by_result[row["digest"]].append(row["answer"])


def test_questions_say_names_as_people_do(tmp_path: Path) -> None:
    place = tmp_path / "team.db"
    with closing(sqlite3.connect(place)) as db:
        db.execute("CREATE TABLE Player (pID INTEGER PRIMARY KEY, pName TEXT UNIQUE, ply_pos TEXT, num_goals INTEGER)")
        rows = [(i, f"Ada {i}", ("wing", "goal", "mid")[i % 3], i * i % 17) for i in range(40)]
        db.executemany("INSERT INTO Player VALUES (?, ?, ?, ?)", rows)
        db.commit()
    questions = " ".join(row["question"] for row in made(str(place), tmp_path / "mine.jsonl", 40))
    assert "names of players" in questions and "number of goals" in questions and "ply position" in questions
    assert not re.search(r"\bp names?\b|\bnum\b|\bpos\b", questions)


def test_keys_that_people_say_are_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "team.db"
    with closing(sqlite3.connect(place)) as db:
        db.execute("CREATE TABLE college (cName TEXT PRIMARY KEY, seats INTEGER)")
        db.execute("CREATE TABLE pupil (id INTEGER PRIMARY KEY, college TEXT REFERENCES college, age INTEGER)")
        db.executemany("INSERT INTO college VALUES (?, ?)", [(f"Saint {i}", 100 + i * i) for i in range(8)])
        db.executemany("INSERT INTO pupil VALUES (?, ?, ?)", [(i, f"Saint {i % 8}", i % 9 + 15) for i in range(60)])
        db.commit()
    rows = made(str(place), tmp_path / "mine.jsonl", 60)
    assert any("names of" in row["question"] and "SELECT cName FROM college" in row["answer"] for row in rows)
    assert any("pupil" in row["question"] and re.search(r"GROUP BY college|college = '", row["answer"]) for row in rows)
    assert not any("c name" in row["question"] for row in rows)


def test_a_second_start_goes_on_to_the_same_file(lite: str, tmp_path: Path) -> None:
    straight = made(lite, tmp_path / "straight.jsonl", 50)
    for count in (7, 21):
        made(lite, tmp_path / "again.jsonl", count)
    with (tmp_path / "again.jsonl").open("a") as file:
        # What a killed start leaves of a line.
        file.write('{"id": "made/9')
    assert made(lite, tmp_path / "again.jsonl", 50) == straight
    assert made(lite, tmp_path / "again.jsonl", 50) == straight
    assert made(lite, tmp_path / "other.jsonl", 50, seed=1) != straight


@pytest.mark.parametrize("length", [0, 1, 9, 60])
def test_a_file_whose_first_write_was_broken_off_is_gone_on_with(lite: str, tmp_path: Path, length: int) -> None:
    whole, broken = made(lite, tmp_path / "whole.jsonl", 20), tmp_path / "broken.jsonl"
    broken.write_bytes((tmp_path / "whole.jsonl").read_bytes()[:length])
    assert made(lite, broken, 20) == whole


def test_the_file_is_a_source_of_training(lite: str, tmp_path: Path) -> None:
    rows = made(lite, tmp_path / "mine.jsonl", 20)
    examples = load_examples(SourceConfig(source=str(tmp_path / "mine.jsonl")))
    assert [(e.question, e.answer, e.db) for e in examples] == [(r["question"], r["answer"], r["db"]) for r in rows]
    assert not any(example.problem for example in examples)


def test_a_file_of_another_database_is_kept(lite: str, tmp_path: Path) -> None:
    made(lite, tmp_path / "mine.jsonl", 3)
    other = str(sqlite_shop(tmp_path / "other.db", *MORE))
    before = (tmp_path / "mine.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"--output: .*mine.jsonl holds pairs of shop in sqlite"):
        made(other, tmp_path / "mine.jsonl", 3)
    assert (tmp_path / "mine.jsonl").read_bytes() == before


def test_a_schema_that_gives_no_more_ends_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pairs_module, "_MAX_REJECTED_IN_A_ROW", 40)
    rows = made(str(sqlite_shop(tmp_path / "small.db")), tmp_path / "mine.jsonl", 10_000)
    assert 5 < len(rows) < 10_000
    assert "given what they have" in capsys.readouterr().out


def test_a_database_without_rows(tmp_path: Path) -> None:
    empty = sqlite_shop(tmp_path / "empty.db", "DELETE FROM orders", "DELETE FROM customers")
    with pytest.raises(UserError, match=r"has no table with rows that could be asked about"):
        made(str(empty), tmp_path / "mine.jsonl", 3)


@pytest.mark.parametrize(
    ("question", "sql", "says"),
    [
        ("How many customers live in Lisbon?", "SELECT COUNT(*) FROM c WHERE city = 'Lisbon'", True),
        ("How many customers are there?", "SELECT COUNT(*) FROM c WHERE city = 'Lisbon'", False),
        ("Show the three dearest.", "SELECT a FROM t ORDER BY b DESC LIMIT 3", True),
        ("Show the dearest.", "SELECT a FROM t ORDER BY b DESC LIMIT 3", False),
        ("Orders in March 2021?", "SELECT a FROM t WHERE d LIKE '2021-03-%'", True),
        ("Orders in 2021?", "SELECT a FROM t WHERE d BETWEEN '2021-01-01' AND '2021-12-31'", True),
        ("Orders in May?", "SELECT a FROM t WHERE d BETWEEN '2021-01-01' AND '2021-12-31'", False),
        ("Not SQL", "SELECT FROM WHERE", False),
    ],
)
def test_a_question_says_the_values_of_its_query(question: str, sql: str, says: bool) -> None:
    assert mentions_values(question, sql, "sqlite") is says


# A teacher

FARO, ORDERED = "SELECT name FROM customers WHERE city = 'Faro'", "SELECT customer_id FROM orders"
# A question, the query that the teacher writes with it, and the one that it writes from the question alone.
WRITTEN = {
    "Who lives in Faro?": (FARO, "SELECT name FROM customers WHERE 'Faro' = city"),
    "Which goods are there?": ("SELECT DISTINCT product FROM orders", "SELECT DISTINCT product FROM orders"),
    "Who has ordered?": ("SELECT name FROM customers", f"SELECT name FROM customers WHERE id IN ({ORDERED})"),
    "What is broken?": ("SELECT nothing FROM customers", "SELECT nothing FROM customers"),
    "Who lives in Rome?": (FARO.replace("Faro", "Rome"), FARO.replace("Faro", "Rome")),
    "Drop it!": ("DELETE FROM orders", "DELETE FROM orders"),
}


def reply(prompt: str) -> str:
    """Writes the pairs, and writes each query again from its question."""
    if question := re.search(r"Question: (.*)\Z", prompt):
        return f"```sql\n{WRITTEN[question[1]][1]};\n```"
    lines = [json.dumps({"question": question, "sql": sql}) for question, (sql, _) in WRITTEN.items()]
    return "\n".join(["Here they are:", *lines, "{broken"])


@pytest.fixture
def teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ChatServer, Callable[..., EndpointConfig]]]:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(endpoint, "BACKOFF_SECONDS", 0.01)
    with chat_server() as state:
        state.reply = reply

        def config(**settings: Any) -> EndpointConfig:
            values = {"model": "teacher", "base_url": state.url, "api_key_env": None, **settings}
            return EndpointConfig.model_validate(values)

        yield state, config


def test_a_teachers_pairs_are_kept_where_the_round_trip_agrees(
    teacher: tuple[ChatServer, Callable[..., EndpointConfig]], lite: str, tmp_path: Path
) -> None:
    server, config = teacher
    rows = made(lite, tmp_path / "mine.jsonl", 20, teacher=config())
    taught = {row["question"]: row["answer"] for row in rows if row["made_by"] == "teacher"}
    assert {*taught} == {"Who lives in Faro?", "Which goods are there?"}
    assert sum(row["made_by"] == "shapes" for row in rows) == 10
    prompts = [request["body"]["messages"][0]["content"] for request in server.seen]
    assert "SQLite database" in prompts[0] and "CREATE TABLE" in prompts[0] and "Client" in " ".join(prompts)
    asked = len(server.seen)
    assert made(lite, tmp_path / "mine.jsonl", 20, teacher=config()) == rows
    assert len(server.seen) == asked, "a second start asks for nothing twice"


def test_the_limit_of_a_teachers_cost_ends_it_with_what_is_there(
    teacher: tuple[ChatServer, Callable[..., EndpointConfig]], lite: str, tmp_path: Path
) -> None:
    _, config = teacher
    dear = config(max_cost=0.001, input_price=1000, output_price=1000, concurrency=1)
    with pytest.raises(UserError, match=r"max_cost"):
        made(lite, tmp_path / "mine.jsonl", 20, teacher=dear)
    assert len(read_jsonl(tmp_path / "mine.jsonl")) == 10


def test_a_connection_that_dies_loses_no_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.servers import execute
    from text2sql.data.make.verify import Verifier

    with server_shop(postgres_admin(), *MORE) as (reader, owner):
        straight = made(reader, tmp_path / "straight.jsonl", 25)
        prove, count = Verifier.verify, 0

        def dying(self: Verifier, draft: Any) -> str:
            nonlocal count
            count += 1
            if count == 20:
                role = reader.split("://")[1].split(":")[0]
                execute(owner, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
            return prove(self, draft)

        monkeypatch.setattr(Verifier, "verify", dying)
        with pytest.raises(UserError, match=r"is lost .*Run the same command again"):
            made(reader, tmp_path / "mine.jsonl", 25)
        assert len(read_jsonl(tmp_path / "mine.jsonl")) > 5
        assert made(reader, tmp_path / "mine.jsonl", 25) == straight


def test_the_command_to_train_with_leaves_enough_to_train_on(
    lite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pairs(MakeOptions(locate(lite), tmp_path / "few.jsonl", 20))
    said = " ".join(capsys.readouterr().out.split())
    command = re.search(r"text2sql run quickstart (.+)$", said)
    assert command is not None and "an hour" not in said
    config = load_config("quickstart", command[1].split())
    assert 0 < config.data.test_size < 20


def test_the_audit_finds_nothing_in_what_was_made(place: str, tmp_path: Path) -> None:
    """Two readings of one grammar: what the maker says, the audit must understand."""
    made(place, tmp_path / "mine.jsonl", 120)
    smelling = {}
    for example in load_examples(SourceConfig(source=str(tmp_path / "mine.jsonl"))):
        reading = read_example(replace(example, dialect=locate(place).dialect))
        assert reading is not None, example.answer
        found = [smell for smell in find_smells(reading) if smell.kind in WEIGHTS]
        if found:
            smelling[example.question, example.answer] = found
    assert not smelling


def test_what_cannot_be_asked_about_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd_names = (" ", "/", 'a"b', "{z}", "x" * 300, "100%", "new\nline", "select", "été")
    with closing(sqlite3.connect(tmp_path / "odd.db")) as database, database:
        for number, odd in enumerate(odd_names):
            name = '"' + odd.replace('"', '""') + '"'
            database.execute(f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, {name} TEXT, v INTEGER)")
            database.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT, v REAL)")
            for row in range(40):
                database.execute(f"INSERT INTO t{number} VALUES (?, ?, ?)", (row, "abc"[row % 3], row * 7))
                value = float("inf") if row % 5 == 0 else row * 1.5
                database.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", (row, f"n{row}", value))
        database.execute("CREATE TABLE no_rows (id INTEGER, v INTEGER)")
        database.execute("CREATE TABLE pictures (picture BLOB)")
        database.execute("INSERT INTO pictures VALUES (x'00ff')")
        database.execute("CREATE TABLE extremes (id INTEGER PRIMARY KEY, v REAL, w REAL)")
        database.executemany("INSERT INTO extremes VALUES (?, ?, 9e999)", [(n, (-1) ** n * 1e308) for n in range(9)])
        database.execute("CREATE VIEW broken AS SELECT x FROM nowhere")
    rows = made(str(tmp_path / "odd.db"), tmp_path / "mine.jsonl", 200)
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if line.startswith("Not asked about: ")]
    for name in (
        '" "',
        't1."/"',
        '"a""b"',
        '"{z}"',
        "no_rows (it has no rows)",
        "pictures (",
        "extremes.v",
        "extremes.w",
    ):
        assert name in line
    assert len(rows) == 200
    for name in ('"100%"', '"select"', '"été"'):
        assert any(name in row["answer"] for row in rows)
