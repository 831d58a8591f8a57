"""What each command prints."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.support.command_line import SHOP, Outcome
from tests.support.tiny_runs import rows, write_jsonl
from text2sql import __version__
from text2sql.config import Config, dump_config
from text2sql.config.yaml import read_yaml

COMMANDS = ["run", "train", "evaluate", "match", "ask", "compare", "runs", "config", "data", "env"]
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
    command = [sys.executable, "-m", "text2sql", "config", "show", "quickstrat"]
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
    assert text2sql("config", "validate", tiny_file, "seed=3").out == f"{tiny_file}: valid\n"
    assert "training.epoch" in text2sql("config", "validate", tiny_file, "training.epoch=2").line
    assert "none is named" in text2sql("config", "validate", "seed=3").line


def test_config_schema_is_json_with_every_key(text2sql: Callable[..., Outcome]) -> None:
    schema = json.loads(text2sql("config", "schema").out)
    assert set(schema["properties"]) == {"extends", *Config.model_fields}
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


def test_data_inspect_says_whose_tokenizer_it_has(
    text2sql: Callable[..., Outcome], tiny_file: Path, tiny_model: str
) -> None:
    options = ("backend=tinker", f"base_model={tiny_model}", "tinker.base_model=nobody/nothing:peft:9")
    outcome = text2sql("data", "inspect", tiny_file, *options)
    out = " ".join(outcome.out.split())
    assert outcome.code == 0 and f"by the tokenizer of {tiny_model}: the one that a run reads" in out


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
    for target in ("text2sql.commands.score_files.score_answers", "text2sql.pipeline.stages.run_stages"):
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
    assert "There is no run in runs/none" in text2sql("evaluate", "runs/none").line
    for name in ("sheet.xlsx", "answers.txt", "pred.sql"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert text2sql("evaluate", "sheet.xlsx").line.endswith("Save the sheet as CSV.")
    assert '"answers.txt" must end in' in text2sql("evaluate", "answers.txt").line
    assert "pred.sql" in text2sql("evaluate", "pred.sql").line and "--gold" in text2sql("evaluate", "pred.sql").line
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


# What a report of a fault needs


def test_the_version_is_printed_by_either_name(text2sql: Callable[..., Outcome]) -> None:
    assert text2sql("--version").out == text2sql("-V").out == f"text2sql {__version__}\n"


def test_short_help_is_the_help_and_ends_with_examples(text2sql: Callable[..., Outcome]) -> None:
    short = text2sql("run", "-h").out
    assert short == text2sql("run", "--help").out and "text2sql run quickstart" in short


def test_env_names_versions_and_no_secret(text2sql: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-very-secret")
    out = text2sql("env").out
    assert "TINKER_API_KEY" in out and "very-secret" not in out
    assert all(name in out for name in ("text2sql", "torch", "platform", "cache"))


def test_a_configuration_is_begun_from_a_shipped_one(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    assert "quickstart" in text2sql("config", "list").out
    assert text2sql("config", "new", "mine.yaml", "training.epochs=3").code == 0
    assert "epochs: 3" in text2sql("config", "show", "mine.yaml").out
    assert "is there already" in text2sql("config", "new", "mine.yaml").line
