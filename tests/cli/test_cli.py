"""The command line: what each command prints, and one clear message with status 2 for what a person can fix."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from backends.fake import FakeSamplingClient
from tests.conftest import REPOSITORY
from tests.support.tiny_runs import judge_by_words, rows, tiny_config, tiny_values, write_jsonl
from text2sql import cli, console
from text2sql.config import Config, dump_config
from text2sql.config.yaml import dump_yaml, read_yaml
from text2sql.console import show_warnings
from text2sql.pipeline.run import run_pipeline

COMMANDS = ["run", "train", "evaluate", "match", "ask", "compare", "config", "data"]
SUBCOMMANDS = [
    "config show",
    "config validate",
    "config schema",
    "data list",
    "data inspect",
    "data stats",
    "data fetch",
    "data export",
    "data reason",
]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The error, asserted to be one message and no traceback."""
        assert self.code == 2, (self.out, self.err)
        assert self.err.startswith("Error ") and "Traceback" not in self.err
        assert self.err.count("\n") == 1
        return self.err.removeprefix("Error ").rstrip("\n")


@pytest.fixture
def text2sql(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    # No terminal to ask on.
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["text2sql", *map(str, arguments)])
        capfd.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """A configuration file of a run that takes no time."""
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_yaml(tiny_values(tmp_path)))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by text and write no report."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run that can answer two questions on a shop, and one that would empty it."""
    patch = pytest.MonkeyPatch()
    judge_by_words(patch)
    patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    directory = tmp_path_factory.mktemp("finished")
    answers = {
        _prompt("How many goods?"): " SELECT COUNT(*) AS n FROM goods\n\n",
        _prompt("Which?"): " SELECT name, price FROM goods ORDER BY name\n\n",
        _prompt("Empty it!"): " DELETE FROM goods\n\n",
        _prompt("Nonsense?"): " SELECT price FROM nowhere\n\n",
        _prompt("Silence?"): "\n\n",
    }
    yield run_pipeline(tiny_config(directory, fake={"answers": answers}))
    patch.undo()


SHOP = "CREATE TABLE goods (name TEXT, price REAL)"


def _prompt(question: str) -> str:
    return f"Table schema:\n{SHOP}\nQuestion: {question}\nSQL: "


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A SQLite database with one table, of values that look like markup."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute(SHOP)
        connection.executemany("INSERT INTO goods VALUES (?, ?)", [("[/red]pen", 1.5), (":smile:", None)])
    connection.close()
    return path


# Help


@pytest.mark.parametrize("command", ["", *COMMANDS, *SUBCOMMANDS])
def test_every_command_has_help(text2sql: Callable[..., Outcome], command: str) -> None:
    outcome = text2sql(*command.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage: text2sql" in outcome.out
    names = COMMANDS if not command else [s.split()[1] for s in SUBCOMMANDS if s.startswith(f"{command} ")]
    assert all(name in outcome.out for name in names)


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, text2sql.cli; heavy = {'torch', 'transformers', 'tinker', 'matplotlib', 'sqlglot', 'datasets', "
        "'pandas', 'numpy', 'pydantic', 'yaml'}; print(sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "text2sql.cli", "config", "show", "quickstrat"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 2
    assert result.stderr.startswith("Error There is no configuration file quickstrat.")


# config


def test_config_show_prints_what_loads_to_the_same(text2sql: Callable[..., Outcome], tiny_file: Path) -> None:
    shown = text2sql("config", "show", tiny_file, "seed=4", "training.learning_rate=5e-4").out
    config = Config.model_validate(read_yaml(shown))
    assert (config.seed, config.training.learning_rate, config.backend) == (4, 5e-4, "fake")


def test_overrides_alone_change_the_quickstart(text2sql: Callable[..., Outcome]) -> None:
    config = Config.model_validate(read_yaml(text2sql("config", "show", "seed=4").out))
    assert (config.name, config.seed) == ("quickstart", 4)


def test_a_file_may_have_an_equals_sign_in_its_name(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path
) -> None:
    tiny_file.rename(tmp_path / "lr=1.yaml")
    assert "name: tiny" in text2sql("config", "show", "lr=1.yaml").out


def test_config_validate(text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("sed: 1\n")
    assert text2sql("config", "validate", tiny_file).out == f"{tiny_file}: valid\n"
    assert text2sql("config", "validate", tiny_file, wrong).line == f'{wrong}: unknown key "sed". Did you mean "seed"?'


def test_config_schema_is_json_with_every_key(text2sql: Callable[..., Outcome]) -> None:
    schema = json.loads(text2sql("config", "schema").out)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["$defs"]["LoraConfig"]["properties"]["rank"]["default"] == 32


# data


def test_data_list_names_the_sources(text2sql: Callable[..., Outcome]) -> None:
    out = text2sql("data", "list").out
    assert all(name in out for name in ("bundled", "sql-create-context", ".parquet"))


def test_data_inspect_counts_what_is_dropped(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, tiny_model: str
) -> None:
    broken = {"question": "?", "context": "CREATE TABLE t (a INT)", "answer": ""}
    data = write_jsonl(tmp_path / "data.jsonl", [*rows(30), broken])
    outcome = text2sql("data", "inspect", tiny_file, f"data.source={data}", f"base_model={tiny_model}")
    assert outcome.code == 0
    out = " ".join(outcome.out.split())
    assert "31 rows. Dropped: 1 empty answer." in out
    options = (f"data.source={data}", f"base_model={tiny_model}", "data.max_tokens=5", "data.max_dropped=1")
    assert "no training example is short enough" in text2sql("data", "inspect", tiny_file, *options).line
    assert "share a table with training: 0; a question: 0." in out
    assert "p100" in out and "completion" in out


def test_data_inspect_does_without_a_tokenizer(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path
) -> None:
    outcome = text2sql("data", "inspect", tiny_file, f"base_model={tmp_path}")
    assert outcome.code == 0 and "No lengths: the tokenizer of" in outcome.out


def test_data_stats_names_features_and_data_fetch_what_there_is(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path
) -> None:
    outcome = text2sql("data", "stats", tiny_file, f"base_model={tmp_path}")
    assert outcome.code == 0 and "aggregate" in outcome.out and "level easy" in outcome.out
    assert 'no data set "spyder" to fetch' in text2sql("data", "fetch", "spyder").line


def test_data_reason_says_what_is_wrong_with_its_settings(text2sql: Callable[..., Outcome], tiny_file: Path) -> None:
    asked = ("data", "reason", tiny_file, "--model", "m", "--endpoint", "http://127.0.0.1:9/v1")
    assert "max_cost needs input_price" in text2sql(*asked, "--set", "max_cost=1").line
    assert "Is base_url right, and the endpoint up?" in text2sql(*asked, "--set", "api_key_env=null").line


def test_data_export_writes_the_sides_and_overwrites_none(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path
) -> None:
    assert text2sql("data", "export", tiny_file, "--output", "out").code == 0
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "out").iterdir()}
    assert {name: len(lines) for name, lines in files.items()} == {"train.jsonl": 26, "test.jsonl": 4}
    row = json.loads(files["test.jsonl"][0])
    assert row["prompt"].endswith("\nSQL: ") and row["completion"] == f" {row['answer']}\n\n"
    # As an interrupted start would leave it: one side is there.
    (tmp_path / "out" / "test.jsonl").unlink()
    assert text2sql("data", "export", tiny_file, "--output", "out").code == 0
    assert (tmp_path / "out" / "test.jsonl").read_text().splitlines() == files["test.jsonl"]
    (tmp_path / "out" / "train.jsonl").write_text("mine\n")
    assert "exists already" in text2sql("data", "export", tiny_file, "--output", "out").line
    assert (tmp_path / "out" / "train.jsonl").read_text() == "mine\n"


@pytest.mark.parametrize("cached", [False, True])
def test_an_interrupt_says_what_is_kept(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    scored = {"schema": "CREATE TABLE t (a INT)", "gold": "SELECT a FROM t", "predicted": "SELECT a FROM t"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(scored) + "\n")
    handler = signal.getsignal(signal.SIGINT)
    for target in ("text2sql.evaluation.files.judge_answers", "text2sql.pipeline.run.carry_out"):
        monkeypatch.setattr(target, interrupted)
    file = text2sql("evaluate", "rows.jsonl", f"evaluation.cache={str(cached).lower()}")
    run, export = text2sql("run", tiny_file), "text2sql.data.export.load_dataset"
    monkeypatch.setattr(export, interrupted)
    data = text2sql("data", "export", tiny_file, "--output", "out")
    signal.signal(signal.SIGINT, handler)
    assert (file.code, run.code, data.code) == (130, 130, 130)
    said = "The verdicts so far are kept" if cached else "Nothing is kept of it"
    assert f"Interrupted. {said}" in file.err
    assert "Interrupted. What was finished is kept; the same command goes on from there." in run.err
    assert "kept" not in data.err


def test_the_cache_is_listed_and_pruned(
    text2sql: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache"
    monkeypatch.setenv("TEXT2SQL_CACHE", str(root))
    assert "0.0 MB" in text2sql("cache", "size").out
    for name in (
        "verdicts/a.sqlite",
        "data/spider/dev.json",
        "model-v1/config.json",
        ".model-v1-abc/model.safetensors",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(1_000_000))
    listed = text2sql("cache", "list").out
    assert "verdicts" in listed and "left by a killed process" in listed and "4.0 MB" in listed
    # Another process may be writing there now.
    assert "0.0 MB removed; 4.0 MB left" in text2sql("cache", "prune").out
    for path in (root / ".model-v1-abc").rglob("*"):
        os.utime(path, (0, 0))
    os.utime(root / ".model-v1-abc", (0, 0))
    assert "1.0 MB removed; 3.0 MB left" in text2sql("cache", "prune").out
    os.utime(root / "data/spider/dev.json", (0, 0))
    assert "1.0 MB removed; 2.0 MB left" in text2sql("cache", "prune", "--older-than", "30").out
    assert not (root / "data" / "spider").exists()
    assert "1.0 MB removed" in text2sql("cache", "prune", "model-v1").out
    assert "There is no model-v1" in text2sql("cache", "prune", "model-v1").line
    assert (root / "verdicts" / "a.sqlite").is_file()


# run, train, evaluate


def test_run_and_again(text2sql: Callable[..., Outcome], tiny_file: Path, quick: None) -> None:
    outcome = text2sql("run", tiny_file)
    assert outcome.code == 0 and "100.0%" in outcome.out and "4 questions won, 0 lost" in outcome.out
    assert "on_existing=resume, overwrite or new" in text2sql("run", tiny_file).line
    assert text2sql("run", tiny_file, "on_existing=resume").code == 0


def test_train_alone(text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, quick: None) -> None:
    assert text2sql("train", tiny_file).code == 0
    assert not list((tmp_path / "run").glob("predictions-*"))


def test_the_first_example_is_shown_with_its_text_unharmed(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, quick: None
) -> None:
    values = rows(30)
    for row in values:
        row["question"] += " [bold]in [/] brackets[/bold] :smile:"
    data = write_jsonl(tmp_path / "markup.jsonl", values)
    outcome = text2sql("run", tiny_file, f"data.source={data}")
    assert outcome.code == 0 and "[bold]in [/] brackets[/bold] :smile:" in outcome.out


PREDICTIONS = [
    {"context": SHOP, "gold": "SELECT name FROM goods", "sql": "SELECT goods.name FROM goods"},
    {"context": SHOP, "gold": "SELECT name FROM goods", "sql": "SELECT price FROM goods"},
]


def test_evaluate_reads_predictions_of_several_kinds(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", PREDICTIONS)
    (tmp_path / "p.json").write_text(json.dumps(PREDICTIONS))
    header = "schema,gold_sql,predicted_sql\n"
    lines = (f'"{row["context"]}",{row["gold"]},{row["sql"]}\n' for row in PREDICTIONS)
    (tmp_path / "p.csv").write_text(header + "".join(lines))
    for name in ("p.jsonl", "p.json", "p.csv"):
        outcome = text2sql("evaluate", name, "evaluation.databases=3", "evaluation.workers=1")
        assert outcome.code == 0 and "50.0%  (1/2)" in outcome.out, outcome


def test_evaluate_scores_a_finished_run(text2sql: Callable[..., Outcome], finished: Path, quick: None) -> None:
    out = text2sql("evaluate", finished).out
    assert "0.0%  (0/4)" in out and "100.0%  (4/4)" in out


def test_evaluate_takes_the_baseline_of_a_configuration(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, quick: None
) -> None:
    # Nothing is trained.
    assert text2sql("evaluate", tiny_file, "training.batch_size=999").code == 0
    assert (tmp_path / "run" / "predictions-base.jsonl").is_file()
    assert not (tmp_path / "run" / "checkpoints.jsonl").exists()


def test_evaluate_says_what_is_wrong_with_its_target(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    assert "there is no file none.jsonl" in text2sql("evaluate", "none.jsonl").line
    assert "no configuration file none" in text2sql("evaluate", "none").line
    write_jsonl(tmp_path / "p.jsonl", [{"context": SHOP, "gold": "SELECT 1"}])
    assert "p.jsonl: row 1 has no column sql or" in text2sql("evaluate", "p.jsonl").line
    write_jsonl(tmp_path / "p.jsonl", [[1, 2]])
    assert "p.jsonl is malformed: line 1 is a list" in text2sql("evaluate", "p.jsonl").line
    write_jsonl(tmp_path / "p.jsonl", [])
    assert "p.jsonl has no rows" in text2sql("evaluate", "p.jsonl").line
    (tmp_path / "empty").mkdir()
    assert "There is no run in empty" in text2sql("evaluate", "empty").line
    (tmp_path / "empty" / "config.yaml").write_text(dump_config(Config()))
    assert "has no predictions yet" in text2sql("evaluate", "empty").line


# match


def test_match_prints_a_witness(text2sql: Callable[..., Outcome]) -> None:
    arguments = ("match", "--schema", SHOP, "--gold", "SELECT name FROM goods", "--predicted")
    outcome = text2sql(*arguments, "SELECT price FROM goods")
    assert outcome.code == 1 and outcome.out.startswith("different: ")
    assert all(title in outcome.out for title in ("table goods", "gold returns", "predicted returns"))
    outcome = text2sql(*arguments, "SELECT goods.name FROM goods")
    assert outcome.code == 0 and outcome.out.startswith("equivalent: ")
    outcome = text2sql(*arguments, "SELECT price FROM goods", "--json")
    verdict = json.loads(outcome.out)
    assert (outcome.code, verdict["status"], verdict["correct"]) == (1, "different", False) and verdict["witness"]


def test_match_takes_a_schema_file_and_a_real_database(
    text2sql: Callable[..., Outcome], tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "create_tables.sql").write_text(SHOP)
    arguments = ("match", "--gold", "SELECT name FROM goods", "--predicted", "SELECT price FROM goods", "--schema")
    outcome = text2sql(*arguments, "create_tables.sql", "--database", shop)
    assert outcome.code == 1 and outcome.out.startswith("different: ")
    assert "[/red]pen" in outcome.out or "table goods" in outcome.out
    assert "--schema: none.sql is neither" in text2sql(*arguments, "none.sql").line
    (tmp_path / "text.db").write_text("no database")
    for database in ("none.db", "text.db"):
        assert f"--database: {database} is not" in text2sql(*arguments, SHOP, "--database", database).line
    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE people (name TEXT)")
    other.close()
    assert "has no table goods" in text2sql(*arguments, SHOP, "--database", "other.db").line
    # The database's own schema.
    assert text2sql(*arguments[:-1], "--database", shop).out.startswith("different: ")
    assert "Give --schema, --database" in text2sql(*arguments[:-1]).line


# ask


def test_ask_answers_from_a_schema_file_and_from_a_database(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "shop.sql").write_text(SHOP + "\n")
    for source in (("--schema", "shop.sql"), ("--database", shop)):
        outcome = text2sql("ask", "How many goods?", *source, "--run", finished)
        assert (outcome.code, outcome.out) == (0, "SELECT COUNT(*) AS n FROM goods\n")
        assert text2sql("ask", "How many goods?", *source, "--run", finished, "--base").out == outcome.out


def test_ask_uses_what_was_trained_and_base_does_not(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path
) -> None:
    row = rows(1)[0]
    (tmp_path / "t0.sql").write_text(row["context"])
    arguments = ("ask", row["question"], "--schema", "t0.sql", "--run", finished)
    assert "t0" in text2sql(*arguments).out.lower()
    assert text2sql(*arguments, "--base").out == "SELECT 1\n"


def test_a_warning_does_not_get_into_the_answer(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that is busy for a while."""
    (tmp_path / "shop.sql").write_text(SHOP)
    sample = FakeSamplingClient.sample

    def busy(self: Any, *args: Any, **options: Any) -> Any:
        logging.getLogger("tinker.server").warning("The server asks for patience.")
        return sample(self, *args, **options)

    monkeypatch.setattr(FakeSamplingClient, "sample", busy)
    show_warnings("tinker")
    outcome = text2sql("ask", "How many goods?", "--schema", "shop.sql", "--run", finished)
    assert outcome.out == "SELECT COUNT(*) AS n FROM goods\n"
    assert outcome.err == "Warning: The server asks for patience.\n"


def test_a_warning_does_not_tear_a_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, legacy_windows=False)
    monkeypatch.setattr(console, "console", terminal)
    show_warnings("tinker")
    with console.stage("Training", 10) as bar:
        bar.advance(5, 50)
        logging.getLogger("tinker.server").warning("No connection.")
    written = terminal.file.getvalue()
    assert written.count("Warning: No connection.\n") == 1
    line = written.split("Warning: No connection.")[0].rsplit("\n")[-1]
    assert "Training" not in re.sub(r".*\x1b\[2K", "", line), "it stands on its own line"


def test_a_path_in_a_log_stays_in_one_piece(text2sql: Callable[..., Outcome], tiny_file: Path, quick: None) -> None:
    long = tiny_file.parent / "a-directory-with-a-long-name" / "and-another-one-inside-of-it" / "and-the-run-in-it"
    assert f"Report: {long / 'report.html'}\n" in text2sql("run", tiny_file, f"output_dir={long}").out


def test_ask_executes_and_changes_nothing(text2sql: Callable[..., Outcome], finished: Path, shop: Path) -> None:
    checksum = hashlib.sha256(shop.read_bytes()).hexdigest()
    before = sorted(shop.parent.iterdir())
    outcome = text2sql("ask", "Which?", "--database", shop, "--run", finished, "--execute")
    assert outcome.code == 0
    assert "[/red]pen" in outcome.out and ":smile:" in outcome.out and "NULL" in outcome.out and "price" in outcome.out
    for question, reason in (
        ("Empty it!", "not a read-only query"),
        ("Nonsense?", "no such table"),
        ("Silence?", "no query"),
    ):
        line = text2sql("ask", question, "--database", shop, "--run", finished, "--execute").line
        assert reason in line, line
    assert hashlib.sha256(shop.read_bytes()).hexdigest() == checksum
    assert sorted(shop.parent.iterdir()) == before


def test_ask_says_what_is_missing(text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path, shop: Path) -> None:
    ask = ("ask", "How many?", "--run", finished)
    assert "--schema FILE or --database FILE" in text2sql(*ask).line
    assert "--execute needs --database" in text2sql(*ask, "--schema", "x.sql", "--execute").line
    assert "--schema: none.sql cannot be read" in text2sql(*ask, "--schema", "none.sql").line
    for name, text in (("empty.sql", " \n"), ("text.db", "no database"), ("zero.db", "")):
        (tmp_path / name).write_text(text)
    assert "--schema: empty.sql is empty" in text2sql(*ask, "--schema", "empty.sql").line
    assert "--database: text.db is not a SQLite database" in text2sql(*ask, "--database", "text.db").line
    assert "--database: there is no file none.db" in text2sql(*ask, "--database", "none.db").line
    assert "--database: zero.db has no tables" in text2sql(*ask, "--database", "zero.db").line
    assert not (tmp_path / "none.db").exists()
    assert "There is no run in none" in text2sql("ask", "How many?", "--database", shop, "--run", "none").line
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text(dump_config(tiny_config(tmp_path)))
    assert "has no checkpoint yet" in text2sql("ask", "How many?", "--database", shop, "--run", "begun").line
    (tmp_path / "begun" / "config.yaml").write_text("sed: 1\n")
    assert "config.yaml is not a configuration" in text2sql("ask", "?", "--database", shop, "--run", "begun").line


def test_ask_answers_with_the_checkpoint_that_was_evaluated(
    text2sql: Callable[..., Outcome], tmp_path: Path, quick: None
) -> None:
    stopping = {"epochs": 9, "validate_every": 1, "early_stopping": {"patience": 2}}
    run = run_pipeline(tiny_config(tmp_path, data={"validation_size": 5}, training=stopping))
    best, last = [json.loads(line) for line in (run / "checkpoints.jsonl").read_text().splitlines()]
    checkpoint = json.loads((run / "summary.json").read_text())["training"]["checkpoint_step"]
    assert best["step"] == checkpoint < last["step"]
    for file in (run / "checkpoints").rglob(f"sampler_weights/{last['name']}.json"):
        file.unlink()
    row = rows(1)[0]
    (tmp_path / "t0.sql").write_text(row["context"])
    assert "t0" in text2sql("ask", row["question"], "--schema", "t0.sql", "--run", run).out.lower()


# What a person can fix: one message, status 2, nothing touched


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["sed=1"], 'unknown key "sed". Did you mean "seed"?'),
        (["lora.rank=0"], "lora.rank: "),
        (["data.source=none.jsonl"], "there is no file none.jsonl"),
        (["data.source=nowhere"], '"nowhere" is not a named source'),
        (["data.columns.answer=sql"], 'no column "sql" for answer'),
        (["data.source=empty.jsonl"], "empty.jsonl has no rows"),
        (["data.source=malformed.jsonl"], "malformed.jsonl is malformed: line 1"),
        (["data.source=unanswered.jsonl"], "20 empty answer"),
        (["data.test_size=99"], "test_size=99"),
        (["training.batch_size=27"], "training.batch_size=27 is larger than the 26 training examples"),
        (["output_dir=tiny.yaml"], "output_dir: tiny.yaml is a file"),
        (["output_dir=tiny.yaml/run"], "output_dir: tiny.yaml/run cannot be made"),
        (["output_dir=others"], "has files in it, but no run"),
    ],
)
def test_bad_input_is_one_message(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, overrides: list[str], what: str
) -> None:
    write_jsonl(tmp_path / "empty.jsonl", [])
    (tmp_path / "malformed.jsonl").write_text("{\n")
    write_jsonl(tmp_path / "unanswered.jsonl", [{**row, "answer": ""} for row in rows(20)])
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert what in text2sql("run", tiny_file, *overrides).line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_missing_or_malformed_file_is_one_message(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    assert "There is no configuration file none.yaml" in text2sql("run", "none.yaml").line
    (tmp_path / "bad.yaml").write_text("training: [\n")
    assert "bad.yaml is not valid YAML" in text2sql("run", "bad.yaml").line


def test_a_directory_without_permission(text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("root may write anywhere")
    assert "output_dir: locked may not be written" in text2sql("run", tiny_file, "output_dir=locked").line
    assert "locked/run cannot be made" in text2sql("run", tiny_file, "output_dir=locked/run").line


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a Tinker key in the environment nor one in the home directory."""
    for name in ("TINKER_API_KEY", "TINKER_CREDENTIAL_CMD", "TINKER_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (None, "needs an API key"),
        ("", "does not look like a Tinker key"),
        ("sk-123", "does not look like a Tinker key"),
        ("tml-12 3", "copy it again"),
        ("tml-123\n", "copy it again"),
        ("tml-ключ", "copy it again"),
    ],
)
def test_tinker_without_a_usable_key(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
    key: str | None,
    what: str,
) -> None:
    if key is not None:
        monkeypatch.setenv("TINKER_API_KEY", key)
    assert what in text2sql("run", tiny_file, "backend=tinker").line


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "http://[bad", "ftp://127.0.0.1"])
def test_a_tinker_server_that_does_not_answer(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
    url: str,
) -> None:
    # Bound but not listening: connections are refused.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = url.format(port=closed.getsockname()[1])
        monkeypatch.setenv("TINKER_API_KEY", "tml-none")
        line = text2sql("run", tiny_file, "backend=tinker", f"tinker.base_url={address}").line
    assert address in line and "cannot be reached" in line and "tinker.base_url" in line


@pytest.mark.parametrize(("status", "what"), [(401, "refuses this TINKER_API_KEY (401)"), (503, "answers 503")])
def test_a_tinker_server_that_refuses(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
    status: int,
    what: str,
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("TINKER_API_KEY", "tml-none")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert what in text2sql("run", tiny_file, "backend=tinker", f"tinker.base_url={url}").line
        thread.join()


def test_a_gpu_that_is_not_there(text2sql: Callable[..., Outcome], tiny_file: Path, tiny_model: str) -> None:
    import torch

    device = f"cuda:{torch.cuda.device_count() + 7}"
    local = ("backend=local", f"base_model={tiny_model}")
    assert f'local.device: "{device}"' in text2sql("run", tiny_file, *local, f"local.device={device}").line
    assert 'local.device: "gpu" is not a device' in text2sql("run", tiny_file, *local, "local.device=gpu").line


def test_a_directory_that_is_no_model(text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    line = text2sql("run", tiny_file, "backend=local", "local.device=cpu", "base_model=model").line
    assert 'base_model: "model" is a directory, but not of a model' in line


def test_a_damaged_list_of_checkpoints(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, quick: None
) -> None:
    text2sql("run", tiny_file)
    (tmp_path / "run" / "checkpoints.jsonl").write_text('{"step"\n')
    line = text2sql("run", tiny_file, "on_existing=resume").line
    assert "run/checkpoints.jsonl is damaged (line 1" in line and "delete it" in line and "overwrite" not in line


@pytest.mark.parametrize("sync", range(1, 12, 3))
def test_a_full_disk(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    tmp_path: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    sync: int,
) -> None:
    count = 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count >= sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        line = text2sql("run", tiny_file).line
    assert str(tmp_path / "run") in line and "No space left on device" in line and "Free some space" in line
    # There is space on the disk again.
    assert "100.0%" in text2sql("run", tiny_file).out


def test_a_full_disk_where_no_file_of_the_run_is_written(
    text2sql: Callable[..., Outcome], tiny_file: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def full(self: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    # The fake backend's checkpoints.
    monkeypatch.setattr(Path, "write_text", full)
    line = text2sql("run", tiny_file).line
    assert "No space left on device" in line and "step-000002.json" in line


def test_ctrl_c(
    text2sql: Callable[..., Outcome], tiny_file: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    before = signal.getsignal(signal.SIGINT)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("text2sql.training.trainer.Trainer._collect", interrupt)
            outcome = text2sql("run", tiny_file)
        assert outcome.code == 130 and "the same command goes on from there" in outcome.err
        assert "Traceback" not in outcome.err
        # Again, while the interpreter waits for the device.
        signal.raise_signal(signal.SIGINT)
        assert left == [130]
    finally:
        signal.signal(signal.SIGINT, before)
    assert text2sql("run", tiny_file).code == 0


CYRILLIC = ("CREATE TABLE \u0442 (a TEXT, \u044f TEXT)", "SELECT a FROM \u0442", "SELECT \u044f FROM \u0442")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize(("same", "status"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_terminal_in_another_encoding_changes_no_exit_status(
    encoding: str, same: bool, status: int, as_json: bool
) -> None:
    schema, gold, other = CYRILLIC
    arguments = ["--schema", schema, "--gold", gold, "--predicted", gold if same else other]
    result = subprocess.run(
        [sys.executable, "-m", "text2sql.cli", "match", *arguments, *(["--json"] if as_json else [])],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (result.returncode, result.stderr) == (status, b"")
    text = result.stdout.decode(encoding)
    if as_json:
        assert json.loads(text)["correct"] is same
    else:
        assert text.startswith("equivalent" if same else "different")
        assert same or ("\u044f" if encoding == "utf-8" else "\\u044f") in text


def test_an_argument_in_another_encoding_is_refused_in_words() -> None:
    arguments = [b"--schema", b"CREATE TABLE t (a)", b"--gold", b"SELECT '\xe9' FROM t", b"--predicted", b"SELECT 1"]
    result = subprocess.run([sys.executable, "-m", "text2sql.cli", "match", *arguments], capture_output=True, text=True)
    assert result.returncode == 2 and "An argument is not text in UTF-8" in result.stderr


def test_a_fault_of_the_program_is_not_a_verdict() -> None:
    code = (
        "import sys; from text2sql import cli; from text2sql.evaluation import one_pair\n"
        "def fail(*a, **k): raise RuntimeError('unforeseen')\n"
        "one_pair.match_pair = fail; sys.argv[1:] = ['match', '--schema', 'S', '--gold', 'G', '--predicted', 'P']\n"
        "cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 70 and "unforeseen" in result.stderr
