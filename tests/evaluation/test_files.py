"""`text2sql evaluate FILE`: layouts of files, real databases, the output, and the judge."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_server import ChatServer, chat_server
from tests.support.tiny_runs import judge_by_words, read_jsonl, tiny_config, write_jsonl
from text2sql.commands.score_files import score_file
from text2sql.config import Config
from text2sql.console import ProgressBar
from text2sql.errors import UserError
from text2sql.evaluation.predicted_question import Schemas
from text2sql.evaluation.prediction_files import read_predictions
from text2sql.pipeline.run import run_pipeline
from text2sql.sql.ddl import parse_schema

GOLD = "SELECT name FROM goods\tshop\nSELECT COUNT(*) FROM goods\tshop\nSELECT x FROM t\tlost\n"
ANSWERS = ["SELECT name FROM goods", "SELECT COUNT(*) FROM goods WHERE price > 2", "SELECT x FROM t"]
TABLES = [
    {
        "db_id": "lost",
        "table_names_original": ["t", "u"],
        "column_names_original": [[-1, "*"], [0, "x"], [0, "y y"], [1, "x"], [1, 'q"t']],
        "column_types": ["text", "number", "time", "number", "others"],
        "primary_keys": [1, [3, 4]],
        "foreign_keys": [[3, 1]],
    }
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Spider's and BIRD's files for three questions, of which one has no database."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db" / "shop").mkdir(parents=True)
    with sqlite3.connect(tmp_path / "db" / "shop" / "shop.sqlite") as db:
        db.execute("CREATE TABLE goods (name TEXT, price REAL)")
        db.executemany("INSERT INTO goods VALUES (?, ?)", [("pen", 1.5), ("ink", 3.0)])
    db.close()
    (tmp_path / "gold.sql").write_text(GOLD)
    (tmp_path / "pred.sql").write_text("\n".join(ANSWERS) + "\n")
    bird = {str(i): f"{sql}\t----- bird -----\t{'lost' if i == 2 else 'shop'}" for i, sql in enumerate(ANSWERS)}
    (tmp_path / "pred.json").write_text(json.dumps(bird))
    (tmp_path / "tables.json").write_text(json.dumps(TABLES))
    return tmp_path


def _config(**sections: Any) -> Config:
    return Config.model_validate({"evaluation": {"workers": 1, "databases": 5}, **sections})


def _error(path: str, gold: str | None, schemas: Schemas | None = None) -> str:
    with pytest.raises(UserError) as raised:
        read_predictions(Path(path), Path(gold) if gold else None, schemas or Schemas(Path("db")))
    return str(raised.value)


@pytest.mark.parametrize("name", ["pred.sql", "pred.json"])
def test_spiders_and_birds_files(here: Path, name: str) -> None:
    schemas = Schemas.open(Path("db"), Path("tables.json"))
    found = score_file(Path(name), _config(), gold=Path("gold.sql"), schemas=schemas, output=Path("out/rows.jsonl"))
    summary = found.to_json()
    assert (summary["n"], summary["correct"]) == (3, 2)
    assert summary["benchmarks"]["no_database"] == 1
    assert summary["benchmarks"]["spider_ex"] == {"value": 0.5, "n": 2}
    rows = read_jsonl(here / "out" / "rows.jsonl")
    assert [row["verdict"]["status"] for row in rows] == ["equivalent", "different", "equivalent"]
    assert [row["sql"] for row in rows] == ANSWERS and rows[1]["verdict"]["witness"]
    assert rows[1]["labels"] == ["extra condition"]
    assert rows[1]["checks"] == {
        "exact_match": False, "canonical_match": False, "parses": True, "valid_syntax": True, "valid_schema": True,
        "executable": True,
    }  # fmt: skip
    assert rows[1]["benchmark"]["bird_ex"] is False and "benchmark" not in rows[2]
    assert (rows[0]["cluster"], rows[2]["cluster"]) == ("shop", "lost")
    written = json.loads((here / "out" / "rows.summary.json").read_text())
    assert written["notes"] == ["1 question without a database in db (lost)."]
    assert written["accuracy"] == summary["accuracy"] and written["breakdown"]["tables"]["clause"]


def test_rows_with_a_db_id_take_schema_and_database_from_the_directory(here: Path) -> None:
    write_jsonl(here / "rows.jsonl", [{"db_id": "shop", "query": sql, "predicted": sql} for sql in ANSWERS[:2]])
    found = read_predictions(here / "rows.jsonl", None, Schemas(Path("db")))
    assert [len(asked.databases) for asked in found.questions] == [1, 1]
    assert "CREATE TABLE goods" in found.questions[0].context
    message = _error("rows.jsonl", None, Schemas(None))
    assert "no column context or schema" in message and "--databases or --tables" in message


ROW = {"schema": "CREATE TABLE t (a INTEGER, c TEXT)", "gold": "SELECT a FROM t"}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        # `sql` is the data set's own gold query here.
        (
            {"sql": "SELECT a FROM t", "predicted": "SELECT c FROM t"},
            "its prediction and differ: sql, predicted",
        ),
        ({"answer": "SELECT c FROM t", "sql": "SELECT a FROM t"}, "may be its gold query and differ: gold, answer"),
        ({"context": "CREATE TABLE u (x)", "sql": "SELECT 1"}, "may be its schema and differ: context, schema"),
        ({"sql": {"query": "SELECT 1"}}, "row 2: sql is an object, not a text"),
        ({"gold": None, "sql": "SELECT 1"}, "row 2 has no gold query"),
        ({"gold": 7, "sql": "SELECT 1"}, "row 2: gold is a number, not a text"),
        ({"gold": "SELECT '\ud800'", "sql": "SELECT 1"}, "row 2: gold holds half of a character"),
        ({"schema": ["x", 1], "sql": "SELECT 1"}, "row 2: schema is a list, not a text"),
    ],
)
def test_what_can_be_read_in_two_ways_or_in_none_is_refused_by_row(here: Path, row: dict[str, Any], what: str) -> None:
    rows = [ROW | {"sql": ROW["gold"]}, ROW | row]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert what in _error("rows.jsonl", None)


def test_columns_that_agree_and_our_own_are_no_ambiguity(here: Path) -> None:
    rows = [
        ROW | {"query": ROW["gold"], "sql": "SELECT c FROM t", "predicted": "SELECT c FROM t"},
        ROW | {"raw": "The query is: SELECT a FROM t", "sql": "SELECT a FROM t"},
        {**ROW, "context": ROW["schema"], "schema": "shop", "sql": "SELECT 1"},
    ]
    write_jsonl(here / "rows.jsonl", rows)
    questions = read_predictions(here / "rows.jsonl", None, Schemas()).questions
    assert [question.predicted for question in questions] == ["SELECT c FROM t", "SELECT a FROM t", "SELECT 1"]
    assert questions[2].context == ROW["schema"]


@pytest.mark.parametrize("nothing", [{"predicted": None}, {"predicted": " "}, {"predicted": float("nan")}, {}])
def test_no_prediction_is_a_wrong_one_and_is_counted(
    here: Path, capsys: pytest.CaptureFixture[str], nothing: dict[str, Any]
) -> None:
    write_jsonl(here / "rows.jsonl", [ROW | nothing, ROW | {"predicted": ROW["gold"]}])
    summary = score_file(Path("rows.jsonl"), _config()).to_json()
    assert (summary["n"], summary["correct"]) == (2, 1)
    assert "Predictions that are null or empty, and count as wrong: 1 (ids 0)." in capsys.readouterr().out


def test_a_null_among_birds_predictions_is_counted_and_an_object_refused(here: Path) -> None:
    (here / "pred.json").write_text(json.dumps({"0": None, "1": ANSWERS[1], "2": "\ud800"}))
    found = read_predictions(here / "pred.json", here / "gold.sql", Schemas(Path("db")))
    assert [question.predicted for question in found.questions] == ["", ANSWERS[1], "\ufffd"]
    assert "Predictions that are null or empty, and count as wrong: 1 (ids 0)." in found.notes
    (here / "pred.json").write_text(json.dumps({"0": {}, "1": ANSWERS[1], "2": ""}))
    assert '"0" is an object' in _error("pred.json", "gold.sql")


def test_a_repeated_row_is_counted_once_and_said(here: Path) -> None:
    row = ROW | {"id": "a", "predicted": "SELECT a FROM t"}
    write_jsonl(here / "rows.jsonl", [row, row | {"id": "b"}, row])
    found = read_predictions(here / "rows.jsonl", None, Schemas())
    assert [question.id for question in found.questions] == ["a", "b"]
    assert "1 row repeated and counted once (row 3 is row 1)" in found.notes[0]
    write_jsonl(here / "rows.jsonl", [row, row | {"predicted": "SELECT c FROM t"}])
    assert 'row 2 answers the question of row 1 (id "a") again, and otherwise' in _error("rows.jsonl", None)


@pytest.mark.parametrize(
    ("ids", "kept"), [([1, 0], ["1", "0"]), ([0, None], ["0", "1"]), ([1, None, float("nan")], ["1#0", "1#1", "2#2"])]
)
def test_ids_stay_what_they_are_and_distinct(here: Path, ids: list[Any], kept: list[str]) -> None:
    write_jsonl(here / "rows.jsonl", [ROW | {"id": name, "sql": "SELECT 1"} for name in ids])
    assert [q.id for q in read_predictions(here / "rows.jsonl", None, Schemas()).questions] == kept


@pytest.mark.parametrize(
    ("columns", "understood"),
    [
        (["SCHEMA", "Gold", " predicted "], True),
        (["Context", "QUERY", "Pred_SQL"], True),
        # Of BIRD's "SQL" (a gold query) and our "sql" (a prediction) letter case alone tells which is meant.
        (["schema", "SQL", "sql"], True),
        (["schema", "gold", "Sql"], False),
        # The name as it is accepted wins over one that is nearly it.
        (["schema", "gold", "predicted", "Gold"], True),
    ],
)
def test_columns_are_known_in_any_letter_case_that_names_one(here: Path, columns: list[str], understood: bool) -> None:
    values = ["CREATE TABLE t (a INT)", "SELECT a FROM t", "SELECT 1", "no query"]
    write_jsonl(here / "rows.jsonl", [dict(zip(columns, values, strict=False))])
    if not understood:
        assert f"it has {', '.join(columns)}" in _error("rows.jsonl", None)
        return
    (question,) = read_predictions(here / "rows.jsonl", None, Schemas()).questions
    assert [question.context, question.gold, question.predicted] == values[:3]


def test_what_a_model_wrote_may_hold_half_of_a_character(here: Path) -> None:
    (here / "rows.jsonl").write_text(json.dumps(ROW | {"predicted": "SELECT '\ud83d'"}) + "\n")
    score_file(Path("rows.jsonl"), _config(), output=here / "out.jsonl")
    assert read_jsonl(here / "out.jsonl")[0]["sql"] == "SELECT '\ufffd'"


@pytest.mark.parametrize(
    "output", ["dev.jsonl", "./DEV.jsonl", "link.jsonl", "hard.jsonl", "notes.jsonl", "dev2.jsonl"]
)
def test_an_output_costs_no_file_that_it_did_not_write(here: Path, output: str) -> None:
    gold = [{"db_id": "shop", "query": sql} for sql in ANSWERS[:2]]
    write_jsonl(here / "dev.jsonl", gold)
    write_jsonl(here / "notes.jsonl", [{"mine": 1}])
    (here / "dev2.summary.json").write_text('{"file": "mine"}')
    (here / "link.jsonl").symlink_to("dev.jsonl")
    (here / "hard.jsonl").hardlink_to("dev.jsonl")
    (here / "two.sql").write_text("\n".join(ANSWERS[:2]))
    if output == "./DEV.jsonl":
        (here / "DEV.jsonl").hardlink_to("dev.jsonl")
    before = {file: file.read_bytes() for file in here.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=r"--output: .* (is a file that the command reads|exists already)"):
        score_file(Path("two.sql"), _config(), gold=Path("dev.jsonl"), schemas=Schemas(Path("db")), output=Path(output))
    assert before == {file: file.read_bytes() for file in here.rglob("*") if file.is_file()}


def test_an_output_is_written_again_and_never_in_place_of_its_input(here: Path) -> None:
    write_jsonl(here / "rows.jsonl", [ROW | {"predicted": "SELECT a FROM t"}])
    for _ in range(2):
        score_file(Path("rows.jsonl"), _config(), output=Path("out.jsonl"))
    with pytest.raises(UserError, match="is a file that the command reads"):
        score_file(Path("out.jsonl"), _config(), output=Path("out.jsonl"))
    rows = read_jsonl(here / "out.jsonl")
    write_jsonl(here / "out.jsonl", [rows[0] | {"remark": "mine"}])
    with pytest.raises(UserError, match="exists already"):
        score_file(Path("rows.jsonl"), _config(), output=Path("out.jsonl"))


def test_predictions_come_out_of_a_spreadsheet(here: Path) -> None:
    text = 'id;schema;gold;predicted\r\n0;CREATE TABLE t (a, b);SELECT a, b FROM t;"SELECT a,\r\n\r\nb FROM t"\r\n'
    (here / "rows.csv").write_bytes(text.encode("utf-16"))
    (question,) = read_predictions(here / "rows.csv", None, Schemas()).questions
    assert (question.id, question.predicted) == ("0", "SELECT a,\r\n\r\nb FROM t")


def test_databases_unpacked_into_a_folder_of_their_name(here: Path) -> None:
    (here / "db").rename(here / "old")
    (here / "db").mkdir()
    (here / "old").rename(here / "db" / "db")
    found = read_predictions(here / "pred.sql", here / "gold.sql", Schemas.open(Path("db"), None))
    assert found.questions[0].databases == (str(Path("db/db/shop/shop.sqlite")),)


@pytest.mark.parametrize("databases", [False, True])
def test_the_bar_is_full_when_the_work_is_done(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], databases: bool
) -> None:
    """Nothing of an answer is left to be read in this process once the last one is judged."""
    bars: list[tuple[int, int]] = []

    class Bar(ProgressBar):
        def advance(self, examples: int, tokens: int, **values: Any) -> None:
            super().advance(examples, tokens, **values)
            if self._name.startswith("Judging"):
                bars.append((self._done, self._total))

    monkeypatch.setattr("text2sql.console.ProgressBar", Bar)
    monkeypatch.setattr(
        "text2sql.evaluation.breakdown.parse_query", lambda sql, dialect: pytest.fail(f"read once more: {sql}")
    )
    rows = [{"gold": f"SELECT {i}", "sql": f"SELECT {i % 2}", "db_id": "shop"} for i in range(6)]
    path = write_jsonl(here / "rows.jsonl", rows)
    tables = Schemas(tables={"shop": "CREATE TABLE t (a INT)"})
    # Of a query that returns 0, agreement proves nothing.
    config = _config(evaluation={"workers": 1, "databases": 5, "max_unusable_golds": 1})
    summary = score_file(path, config, schemas=Schemas.open(here / "db", None) if databases else tables)
    assert summary.breakdown.tables["clause"]
    steps = len(rows) * (1 + databases)
    assert bars == [(done, steps) for done in range(1, steps + 1)]


def test_a_dev_json_is_a_gold_file_and_gives_the_questions(here: Path) -> None:
    dev = [{"db_id": "shop", "question": "Which?", "evidence": "none", "SQL": sql} for sql in ANSWERS[:2]]
    (here / "dev.json").write_text(json.dumps(dev))
    (here / "pred.sql").write_text("\n".join(ANSWERS[:2]))
    first, second = read_predictions(here / "pred.sql", here / "dev.json", Schemas(Path("db"))).questions
    assert (first.question, first.evidence, second.gold) == ("Which?", "none", ANSWERS[1])


def test_empty_lines_are_empty_answers_or_separators_as_the_count_has_it(here: Path) -> None:
    for text, expected in (
        ("A\n\nC\n", ["A", "", "C"]),
        ("A\n\nB\nC\n\n", ["A", "B", "C"]),
        ("A\t1\nB\nC", list("ABC")),
    ):
        (here / "pred.sql").write_text(text)
        found = read_predictions(here / "pred.sql", here / "gold.sql", Schemas(Path("db")))
        assert [asked.predicted for asked in found.questions] == expected


def test_wrong_layouts_say_what_was_expected_and_what_was_found(here: Path) -> None:
    (here / "short.sql").write_text("SELECT 1\n")
    assert "short.sql has 1 predictions, gold.sql 3 gold queries" in _error("short.sql", "gold.sql")
    (here / "bad.sql").write_text("SELECT name FROM goods\tshop\nSELECT 1\n")
    assert "bad.sql: line 2 must be SQL<tab>db_id; it is 'SELECT 1'" in _error("pred.sql", "bad.sql")
    (here / "list.json").write_text("[1]")
    assert 'list.json is a list; with --gold it must be {"0": "SQL<tab>----- bird' in _error("list.json", "gold.sql")
    (here / "text.json").write_text("SELECT 1")
    assert "text.json is malformed" in _error("text.json", "gold.sql")
    (here / "keys.json").write_text('{"1": "SELECT 1", "2": "SELECT 1"}')
    assert 'the keys must be "0" to "1"' in _error("keys.json", "gold.sql")
    swapped = json.loads((here / "pred.json").read_text())
    swapped["0"] = swapped["2"]
    (here / "swapped.json").write_text(json.dumps(swapped))
    assert '"0" is for lost, its gold query for shop' in _error("swapped.json", "gold.sql")
    (here / "dev.json").write_text('[{"db_id": "shop"}]')
    assert "row 1 must have db_id and one of gold" in _error("pred.sql", "dev.json")
    assert "there is no file none.sql" in _error("none.sql", "gold.sql")
    assert "no schema is known" in _error("pred.sql", "gold.sql", Schemas())
    with pytest.raises(UserError, match="no directory none"):
        Schemas.open(Path("none"), None)
    (here / "tables.json").write_text('[{"db_id": "x"}]')
    with pytest.raises(UserError, match=r"not laid out like the tables\.json of Spider or BIRD \(KeyError"):
        Schemas.open(None, Path("tables.json"))
    with pytest.raises(UserError, match=r"must end in \.jsonl"):
        score_file(here / "pred.sql", _config(), gold=here / "gold.sql", output=here / "pred.sql")
    (here / "db" / "shop" / "shop.sqlite").write_text("no database")
    assert "is not a SQLite database that can be read" in _error("pred.sql", "gold.sql")


def test_a_tables_json_becomes_create_table_statements(here: Path) -> None:
    schema = Schemas.open(None, Path("tables.json")).schema("lost")
    db = sqlite3.connect(":memory:")
    db.executescript(schema or "")
    assert [row[1:3] for row in db.execute("PRAGMA table_info(t)")] == [("x", "NUMERIC"), ("y y", "DATETIME")]
    # A key of two columns.
    assert [row[5] for row in db.execute("PRAGMA table_info(u)")] == [1, 2]
    assert [row[2:5] for row in db.execute("PRAGMA foreign_key_list(u)")] == [("t", "x", "x")]
    db.close()
    assert set(parse_schema(schema or "").tables) == {"t", "u"}


# The judge


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ChatServer]:
    """A judge that calls every query right that has no WHERE, and answers in prose the first time it is asked."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-tests-only")
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    with chat_server() as state:

        def reply(question: str) -> str:
            if "WHERE" in question:
                return '{"correct": false, "error_type": "logic_error", "reason": "It filters."}'
            return '{"correct": true, "error_type": "none", "reason": "Fine."}'

        state.reply = reply
        yield state


def _judge(server: ChatServer, **settings: Any) -> dict[str, Any]:
    return {"base_url": server.url, "model": "m", "concurrency": 1, "max_retries": 0, **settings}


def _file(here: Path) -> Path:
    rows = [{"question": "?", "db_id": "shop", "gold": sql, "sql": sql} for sql in ANSWERS[:2]]
    return write_jsonl(here / "rows.jsonl", [*rows, {**rows[0], "sql": ANSWERS[1]}])


def _chat(text: str) -> dict[str, Any]:
    return {"choices": [{"finish_reason": "stop", "message": {"content": text}}]}


def test_the_judge_stands_next_to_the_verdicts(here: Path, judge: ChatServer) -> None:
    config = _config(judge=_judge(judge, input_price=10, output_price=10))
    judge.faults = [_chat("It seems right to me.")]
    summary = score_file(_file(here), config, schemas=Schemas(Path("db")), output=here / "rows-judged.jsonl").to_json()
    opinion = summary["judge"]
    assert summary["correct"] == 2 and (opinion["judged"], opinion["correct"], opinion["malformed"]) == (3, 1, 0)
    assert opinion["agreement"] == {
        "n": 3, "kappa": pytest.approx(0.4), "both_right": 1, "both_wrong": 1, "judge_only": 0, "execution_only": 1,
    }  # fmt: skip
    assert opinion["requests"] == 4
    assert opinion["cost"] == pytest.approx((opinion["prompt_tokens"] + opinion["completion_tokens"]) * 1e-5)
    assert "That is not the answer asked for" in judge.seen[-1]["body"]["messages"][-1]["content"]
    rows = read_jsonl(here / "rows-judged.jsonl")
    assert rows[1]["judge"] == {
        "status": "judged", "correct": False, "error_type": "logic_error", "reason": "It filters.",
    }  # fmt: skip
    again = score_file(_file(here), config, schemas=Schemas(Path("db"))).to_json()["judge"]
    assert (again["requests"], again["cached"], again["cost"]) == (0, 4, 0)


def test_malformed_and_missing_answers_are_counted(here: Path, judge: ChatServer) -> None:
    judge.faults = [_chat("yes"), (500, {}, "broken"), None, _chat("well"), _chat("yes")]
    opinion = score_file(_file(here), _config(judge=_judge(judge)), schemas=Schemas(Path("db"))).to_json()["judge"]
    assert (opinion["malformed"], opinion["unanswered"], opinion["judged"]) == (1, 1, 1)
    assert opinion["agreement"]["n"] == 1 and opinion["cost"] is None


def test_a_file_without_questions_is_not_given_to_the_judge(here: Path, judge: ChatServer) -> None:
    file = write_jsonl(here / "bare.jsonl", [{"db_id": "shop", "gold": ANSWERS[0], "sql": ANSWERS[0]}])
    with pytest.raises(UserError, match=r"bare\.jsonl: row 1 has no question, which the judge has to see"):
        score_file(file, _config(judge=_judge(judge)), schemas=Schemas(Path("db")))
    assert not judge.seen


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)


def test_a_run_asks_the_judge_about_both_models(tmp_path: Path, judge: ChatServer, quick: None) -> None:
    path = run_pipeline(tiny_config(tmp_path, judge=_judge(judge)))
    summary = json.loads((path / "summary.json").read_text())
    for side in ("base", "tuned"):
        assert summary["evaluations"][side]["judge"]["judged"] == 4
        assert all(row["judge"]["status"] == "judged" for row in read_jsonl(path / f"predictions-{side}.jsonl"))
    assert "judge" not in summary["headline"]
    assert all("sk-of-the-tests" not in file.read_text(errors="ignore") for file in path.rglob("*") if file.is_file())


def test_a_judge_that_fails_does_not_cost_the_run(tmp_path: Path, judge: ChatServer, quick: None) -> None:
    judge.faults = [(401, {}, {"error": {"message": "no", "code": "invalid_api_key"}})] * 9
    path = run_pipeline(tiny_config(tmp_path, judge=_judge(judge)))
    summary = json.loads((path / "summary.json").read_text())
    assert summary["evaluations"]["tuned"]["judge"] is None and summary["headline"]["tuned"]["correct"] == 4
    assert any("did not answer" in note and "refused the key" in note for note in summary["notes"])


def test_a_missing_key_is_said_before_any_work(
    tmp_path: Path, judge: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        run_pipeline(tiny_config(tmp_path, judge=_judge(judge)))
    assert not (tmp_path / "run").exists()
