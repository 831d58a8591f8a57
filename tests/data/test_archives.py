"""Spider, BIRD, WikiSQL and gretel in each of their forms: what becomes of a row, what is said of a wrong layout."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives
from tests.support.tiny_runs import write_jsonl
from text2sql.config import Config, SchemaText, SourceConfig
from text2sql.data.clean import clean
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.data.mixture import mix
from text2sql.data.schema_text import gold_tables, linked_tables, read_tables, show_schemas
from text2sql.data.sources import load_examples
from text2sql.data.sources.wikisql import Unusable, read_pseudo
from text2sql.errors import UserError
from text2sql.evaluation import execution_match
from text2sql.sql.files import tables_json_schema


@pytest.fixture(autouse=True)
def _cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))


def _load(source: str, path: Path | None, split: str = "train", **values: Any) -> list[Example]:
    return load_examples(SourceConfig(source=source, path=str(path) if path else None, hub_split=split, **values))


def _error(source: str, path: Path | None, split: str = "train", **values: Any) -> str:
    with pytest.raises(UserError) as raised:
        _load(source, path, split, **values)
    return str(raised.value)


def _usable(examples: list[Example]) -> list[Example]:
    return clean(examples, 1.0).examples


# Spider


def test_spiders_archive(tmp_path: Path) -> None:
    directory = archives.spider(tmp_path)
    train, dev = _load("spider", directory), _load("spider", directory, "dev")
    assert [len(train), len(dev)] == [6, 2] and dev[0].id == "spider/dev/0"
    assert train[0].db_id == "harbour" and train[0].db and Path(train[0].db).is_file()
    assert "FOREIGN KEY (berth_id) REFERENCES berth" in train[0].context  # the database's own words
    assert len(_usable(train)) == 6


def test_spider_without_databases_takes_its_schemas_from_tables_json(tmp_path: Path) -> None:
    (example, *_) = _load("spider", archives.spider(tmp_path, databases=False))
    assert example.db is None and example.context == tables_json_schema(archives.TABLES_JSON)
    db = sqlite3.connect(":memory:")
    db.executescript(example.context)
    assert db.execute("PRAGMA foreign_key_list(vessel)").fetchone()[2:5] == ("berth", "berth_id", "berth_id")
    assert [row[2] for row in db.execute("PRAGMA table_info(berth)")] == ["NUMERIC", "TEXT", "NUMERIC"]


def test_spiders_questions_as_a_file_find_their_databases(tmp_path: Path) -> None:
    databases = archives.spider(tmp_path) / "database"
    rows = [{"db_id": "harbour", "question": q, "query": a} for q, a in archives.QUESTIONS]
    path = write_jsonl(tmp_path / "hub.jsonl", rows)
    assert "data.databases=DIRECTORY" in _error("spider", path)  # the Hub's copy has no schemas
    examples = _load("spider", path, databases=str(databases))
    assert len(_usable(examples)) == 8 and "CREATE TABLE vessel" in examples[0].context
    assert "there is no directory" in _error("spider", path, databases=str(tmp_path / "nowhere"))


# BIRD


def test_birds_archive_with_its_evidence(tmp_path: Path) -> None:
    directory = archives.bird(tmp_path)
    (train, *_), (dev, *_) = _load("bird", directory), _load("bird", directory, "dev")
    assert train.evidence == "deep means a depth over 10" and train.answer == archives.QUESTIONS[0][1]
    assert "train_databases" in str(train.db) and "dev_databases" in str(dev.db)
    assert _load("bird", directory / "train")[0] == train  # the folder of one split does as well


def test_bird_that_is_still_packed(tmp_path: Path) -> None:
    (archives.bird(tmp_path) / "dev_20240627" / "dev_databases").rename(tmp_path / "aside")
    (tmp_path / "dev_20240627" / "dev_databases.zip").touch()
    assert "dev_databases/ next to dev.json (unpack the .zip of the same name)" in _error("bird", tmp_path, "dev")


# WikiSQL


def test_wikisqls_structured_queries_become_sql(tmp_path: Path) -> None:
    directory = archives.wikisql(tmp_path)
    examples = _load("wikisql", directory) + _load("wikisql", directory, "dev")
    assert [e.answer for e in examples] == [
        'SELECT SUM("Week") FROM "table_1_10_2" WHERE "Attendance" > 56000',
        'SELECT "Date" FROM "table_1_10_2" WHERE "Week" = 1',
        'SELECT "Attendance" FROM "table_1_10_2" WHERE "Date" = \'september 7, 1986\'',
        'SELECT COUNT("Week") FROM "table_1_10_2"',
    ]
    columns = '"Week" REAL, "Date" TEXT, "Attendance" REAL, "date 2" TEXT'  # two columns may not share a name
    assert examples[0].context == f'CREATE TABLE "table_1_10_2" ({columns})'


def test_wikisqls_tables_become_databases_to_run_on(tmp_path: Path) -> None:
    directory = archives.wikisql(tmp_path / "data")
    source = {"source": "wikisql", "path": str(directory)}
    config = Config.model_validate({"data": {**source, "test": {**source, "hub_split": "dev"}, "test_size": 2}})
    test = {e.question: e for e in load_dataset(config).split.test}
    example = test["What was the attendance on the seventh?"]
    assert example.db is not None
    rows = sqlite3.connect(example.db).execute(example.answer).fetchall()
    assert rows == [(55767.0,)]  # the table says "September", the query "september": WikiSQL compares case aside
    wrong = example.answer.replace('"Attendance"', '"Week"', 1)
    assert execution_match(example.context, example.answer, example.answer, example.db).correct
    assert not execution_match(example.context, example.answer, wrong, example.db).correct


@pytest.mark.parametrize("sql", [{"sel": 9, "agg": 0, "conds": []}, {"sel": 0, "agg": 0, "conds": [[0, 3, 1]]}, {}])
def test_a_structured_query_that_names_nothing_is_counted(tmp_path: Path, sql: dict[str, Any]) -> None:
    directory = archives.wikisql(tmp_path)
    row = {"question": "?", "table_id": "1-10-2", "sql": sql}
    write_jsonl(directory / "train.jsonl", [row, {**row, "table_id": "gone"}])
    reasons = clean([*_load("wikisql", directory), *_load("wikisql", directory, "dev")], 1.0).dropped
    assert sum(reasons.values()) == 2 and reasons["WikiSQL table not found"] == 1


def test_the_hubs_rows_with_structure(tmp_path: Path) -> None:
    table = {k: archives.WIKISQL_TABLE[k] for k in ("id", "header", "types", "rows")}
    sql = {"sel": 0, "agg": 4, "conds": {"column_index": [2], "operator_index": [1], "condition": ["56,000"]}}
    path = write_jsonl(tmp_path / "hub.jsonl", [{"question": "Q", "table": table, "sql": sql}])
    assert _load("wikisql", path)[0].answer == 'SELECT SUM("Week") FROM "table_1_10_2" WHERE "Attendance" > 56000'


def test_the_instruction_form_is_repaired(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "hub.jsonl", archives.instruct_rows())
    first, second, third = _load("wikisql-instruct", path)
    assert first.question == archives.PSEUDO[0][0]
    assert first.answer == (
        'SELECT SUM("Week") FROM "table_name_0" WHERE "Attendance" > 55767 AND "Date" = \'september 28, 1986\''
    )
    assert first.context == 'CREATE TABLE "table_name_0" ("Week" REAL, "Attendance" REAL, "Date" TEXT)'
    assert second.answer == 'SELECT "Date" FROM "table_name_1" WHERE "Week" = \'3\''
    assert third.answer == 'SELECT COUNT("Name of club") FROM "table_name_2"'
    for example in (first, second, third):
        db = sqlite3.connect(":memory:")
        db.execute(example.context)
        db.execute(example.answer)  # every one of them runs


@pytest.mark.parametrize(
    "query",
    [
        "SELECT Name FROM table WHERE Name = rock AND roll",  # "roll" is no condition
        "SELECT Name FROM table WHERE Sign > = 3",  # two operators
        "SELECT Name FROM table WHERE Name = ",
        "DELETE everything",
        "SELECT Place FROM table FROM table",
    ],
)
def test_what_reads_in_two_ways_or_none_is_refused(tmp_path: Path, query: str) -> None:
    with pytest.raises(Unusable, match="WikiSQL query"):
        read_pseudo(query)
    rows = [*archives.instruct_rows(), {"instruction": "", "input": "Q", "output": query}]
    examples = _load("wikisql-instruct", write_jsonl(tmp_path / "hub.jsonl", rows))
    cleaned = clean(examples, 0.5)
    assert len(cleaned.examples) == 3 and "WikiSQL query" in next(iter(cleaned.dropped))


# Others, layouts, mixtures


def test_gretels_columns_are_known(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "gretel.jsonl", archives.gretel_rows())
    examples = _load("gretel", path)
    assert (examples[0].question, examples[0].answer) == archives.QUESTIONS[0]
    assert examples[0].context == archives.HARBOUR


@pytest.mark.parametrize(
    ("source", "split", "expected"),
    [
        ("spider", "train", "Spider's train questions: train_spider.json or train.json"),
        ("bird", "dev", "BIRD's dev questions: dev.json"),
        ("wikisql", "test", "WikiSQL's test questions: test.jsonl"),
        ("gretel", "train", "gretel is read from one file"),
    ],
)
def test_a_wrong_layout_says_what_was_expected_and_found(
    tmp_path: Path, source: str, split: str, expected: str
) -> None:
    assert expected in _error(source, tmp_path, split) and "it is empty" in _error(source, tmp_path, split)
    (tmp_path / "readme.txt").touch()
    (tmp_path / "images").mkdir()
    assert "found images/, readme.txt" in _error(source, tmp_path, split)


@pytest.mark.parametrize("source", ["spider", "bird", "wikisql"])
def test_a_split_that_is_not_there_lists_those_that_are(tmp_path: Path, source: str) -> None:
    assert 'not "tets"' in _error(source, tmp_path, "tets")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train_spider.json", [{"text": "?"}], "has no question, query, db_id; it has text"),
        ("tables.json", [{"db_id": "harbour"}], "is not laid out like the tables.json of Spider or BIRD"),
        ("train_spider.json", {"data": []}, "one JSON array of objects"),
    ],
)
def test_a_file_of_another_shape_is_named(tmp_path: Path, file: str, content: Any, said: str) -> None:
    directory = archives.spider(tmp_path, databases=False)
    (directory / file).write_text(json.dumps(content))
    message = _error("spider", directory)
    assert said in message and file in message


def test_a_database_that_is_none(tmp_path: Path) -> None:
    file = archives.spider(tmp_path) / "database" / "harbour" / "harbour.sqlite"
    file.write_bytes(b"not a database, but long enough to look for a header in it" * 20)
    assert "harbour.sqlite is not a SQLite database" in _error("spider", tmp_path)


def test_what_was_fetched_is_read_without_a_path(tmp_path: Path) -> None:
    archives.spider(tmp_path / "cache" / "data" / "spider")
    assert len(_load("spider", None)) == 6


def _numbered(name: str, count: int) -> list[Example]:
    return [Example(f"{name}{i}", f"{name}{i}?", "CREATE TABLE t (a INT)", f"SELECT {i}") for i in range(count)]


def test_a_mixture_keeps_its_proportions_and_repeats_nothing() -> None:
    parts = [("a", 1.0, _numbered("a", 100)), ("b", 3.0, _numbered("b", 60))]
    mixed = mix(parts, seed=0)
    assert [sum(e.id.startswith(f"{i}-{name}/") for e in mixed) for i, name in enumerate("ab")] == [20, 60]
    assert len({e.question for e in mixed}) == 80
    assert mix(parts, seed=0) == mixed != mix(parts, seed=1)


def test_a_mixture_of_sources_is_split_as_one(tmp_path: Path) -> None:
    gretel = write_jsonl(tmp_path / "gretel.jsonl", archives.gretel_rows())
    spider = archives.spider(tmp_path / "spider")
    parts = [{"source": "gretel", "path": str(gretel)}, {"source": "spider", "path": str(spider), "weight": 0.5}]
    dataset = load_dataset(Config.model_validate({"data": {"mix": parts, "test_size": 2, "max_dropped": 1}}))
    assert dataset.rows == 12 and sum(map(len, dataset.split)) + sum(dataset.dropped.values()) == 12


# How a schema is shown


def _shown(tmp_path: Path, index: int = 0, **options: Any) -> str:
    example = _load("bird", archives.bird(tmp_path))[index]
    (shown,) = show_schemas([example], SchemaText(**options))
    assert shown.context == example.context  # what an answer is judged on stays whole
    return str(shown.shown)


def test_sample_rows_and_descriptions_stand_below_their_table(tmp_path: Path) -> None:
    text = _shown(tmp_path, sample_rows=2, descriptions=True)
    berth, vessel = text.split("CREATE TABLE vessel")
    assert "-- berth.depth: depth of the water; in mètres" in berth
    assert "/* 2 rows of berth:\nberth_id | quay | depth\n1 | North | 9.5\n2 | South | 12.0 */" in berth
    assert "Gannet" in vessel and "Auk" not in vessel  # two rows of three


@pytest.mark.parametrize(
    ("described", "lines"),
    [
        # A mark, and one byte of a Windows code page: as some of BIRD's files are.
        (
            b"\xef\xbb\xbforiginal_column_name,column_name,column_description,data_format,value_description\r\n"
            b"quay,,S\xc3\xa3o Paulo,text,\r\ndepth,,depth \x92 metres,real,\r\n",
            ["-- berth.quay: São Paulo", "-- berth.depth: depth \ufffd metres"],
        ),
        (
            b"original_column_name,column_description,value_description\r\n"
            b'quay,its name,"first line\r\nsecond line\r\n0: no"\r\n',
            ["-- berth.quay: its name; first line second line 0: no"],
        ),
        # A comma too many, and a quote that does not end its cell.
        (
            b'original_column_name,column_description\r\nquay,"its"  name,,\r\n',
            ["-- berth.quay: its name"],
        ),
    ],
)
def test_descriptions_are_read_as_they_come(tmp_path: Path, described: bytes, lines: list[str]) -> None:
    example = _load("bird", archives.bird(tmp_path))[0]
    (tmp_path / "train/train_databases/harbour/database_description/berth.csv").write_bytes(described)
    (shown,) = show_schemas([example], SchemaText(descriptions=True))
    assert [line for line in str(shown.shown).splitlines() if line.startswith("-- ")] == lines


def test_rows_of_no_database_are_not_to_be_had(tmp_path: Path) -> None:
    examples = _load("spider", archives.spider(tmp_path, databases=False))
    with pytest.raises(UserError, match=r"data\.databases"):
        show_schemas(examples, SchemaText(sample_rows=1))


def test_only_the_gold_querys_tables_or_those_that_the_question_names(tmp_path: Path) -> None:
    tables = read_tables(archives.HARBOUR)
    assert [*tables] == ["berth", "vessel"]
    assert gold_tables(tables, "SELECT title FROM Vessel") == ["vessel"]
    assert gold_tables(tables, "SELECT 1") == ["berth", "vessel"]
    assert linked_tables(tables, "List the titles of all vessels") == ["vessel"]
    assert linked_tables(tables, "What is the deepest quay?") == ["berth"]
    assert linked_tables(tables, "What is going on?") == ["berth", "vessel"]
    assert "vessel" not in _shown(tmp_path, index=4, tables="linked").lower()


def test_a_table_between_two_that_are_named_is_shown() -> None:
    schema = (
        "CREATE TABLE student (student_id INT); CREATE TABLE course (course_id INT);"
        "CREATE TABLE enrolled (s INT REFERENCES student (student_id), c INT REFERENCES course (course_id));"
        "CREATE TABLE room (number INT)"
    )
    assert linked_tables(read_tables(schema), "Which students take which courses?") == ["student", "course", "enrolled"]


ODD = (
    "CREATE TABLE person (person_id INTEGER PRIMARY KEY, \"full name\" DECIMAL(10, 2) DEFAULT 'a, (b', -- who, (she)\n"
    "  key TEXT, rating, unique_id INT UNIQUE);\n"
    'CREATE TABLE [is on] ("crew, (id)" INT REFERENCES person, ship INT, hand INT, UNIQUE (ship),\n'
    "  FOREIGN KEY (ship, hand) REFERENCES `ship` (id, `hand no`), CHECK (ship IN (1, 2)));\n"
    'CREATE TABLE "ship"(id INT, "hand no" INT)'
)


def test_a_table_that_stands_twice_is_shown_with_the_columns_of_both() -> None:
    twice = (
        "CREATE TABLE staff (name TEXT, rank TEXT); CREATE TABLE staff (Rank TEXT, id INT); CREATE INDEX i ON staff (x)"
    )
    (shown,) = show_schemas([Example("x", "?", twice, "SELECT 1")], SchemaText(style="compact"))
    assert shown.shown == "staff(name, rank, id)"


def test_a_compact_schema_is_its_names(tmp_path: Path) -> None:
    (shown,) = show_schemas([Example("x", "?", ODD, "SELECT 1")], SchemaText(style="compact"))
    assert str(shown.shown).splitlines() == [
        'person(person_id, "full name", key, rating, unique_id)',
        '[is on]("crew, (id)", ship, hand)',
        'ship(id, "hand no")',
        '[is on]."crew, (id)" = person.person_id',
        "[is on].ship = ship.id",
        "[is on].hand = ship.`hand no`",
    ]
    assert shown.context == ODD
    linked = _shown(tmp_path, index=4, tables="linked", style="compact", sample_rows=1)
    assert linked.startswith("berth(berth_id, quay, depth)\n/* 1 rows of berth:") and "vessel" not in linked
