"""Runs side by side: who is compared with whom on which questions, what the headline says, what the page shows."""

from __future__ import annotations

import csv
import json
import os
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthetic import HOSTILE, edit_summary, make_run, predictions, write_rows
from text2sql.compare import compare_runs
from text2sql.compare.entries import load_entries
from text2sql.compare.paired import compare
from text2sql.compare.terminal import print_comparison
from text2sql.errors import UserError
from text2sql.evaluation.metrics import SINGLE_DATABASE_NOTE
from text2sql.report import write_report


def run_of(directory: Path, correct: list[bool], **changes: Any) -> Path:
    """A made-up run whose tuned model answers as given; `changes` edit its summary."""
    make_run(directory, n=len(correct), steps=12)
    write_rows(directory / "predictions-tuned.jsonl", predictions("tuned", correct))
    edit_summary(directory, name=directory.name, **changes)
    return directory


def answers(seed: int, share: float, n: int = 40) -> list[bool]:
    rng = random.Random(seed)
    return [rng.random() < share for _ in range(n)]


def test_the_paired_test_counts_questions(tmp_path: Path) -> None:
    a, b = answers(1, 0.4), answers(2, 0.8)
    comparison = compare(load_entries([str(run_of(tmp_path / "a", a)), str(run_of(tmp_path / "b", b))]))
    (pair,) = comparison.pairs
    assert pair.paired.wins == sum(y and not x for x, y in zip(a, b, strict=True))
    assert pair.paired.losses == sum(x and not y for x, y in zip(a, b, strict=True))
    assert pair.adjusted == pair.paired.p_value
    assert comparison.agreed == (
        sum(x and y for x, y in zip(a, b, strict=True)),
        sum(not x and not y for x, y in zip(a, b, strict=True)),
    )
    assert sum(len(group.questions) for group in comparison.disagreements) == pair.paired.wins + pair.paired.losses
    assert not comparison.cautions and "b is significantly better than a" in comparison.headline[0]


def test_questions_are_matched_by_what_was_asked(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", [True] * 30), run_of(tmp_path / "b", [False] * 20)
    rows = [json.loads(line) for line in (b / "predictions-tuned.jsonl").read_text().splitlines()]
    for place, row in enumerate(rows):
        row["id"] = f"other/{place}"
    write_rows(b / "predictions-tuned.jsonl", rows[::-1])
    comparison = compare(load_entries([str(a), str(b)]))
    assert len(comparison.common) == 20 and comparison.pairs[0].paired.losses == 20
    assert any("Different test questions (a 30, b 20)" in caution for caution in comparison.cautions)
    assert comparison.common_accuracy(comparison.entries[0]) == 1.0


def test_no_common_question(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", [True] * 8), run_of(tmp_path / "b", [True] * 8)
    rows = [json.loads(line) for line in (b / "predictions-tuned.jsonl").read_text().splitlines()]
    write_rows(b / "predictions-tuned.jsonl", [row | {"question": f"Else: {row['question']}"} for row in rows])
    comparison = compare(load_entries([str(a), str(b)]))
    assert "none in common" in comparison.cautions[0]
    assert comparison.headline == ["a and b have no test question in common."]
    assert compare_runs([str(a), str(b)], tmp_path / "c.html", 3).is_file()


def test_other_bases_are_said_in_the_headline(tmp_path: Path) -> None:
    a = run_of(tmp_path / "a", answers(1, 0.4))
    b = run_of(tmp_path / "b", answers(2, 0.8), base_model="Qwen/Qwen3-8B")
    cautions = compare(load_entries([str(a), str(b)])).cautions
    assert "Different base models: a on meta-llama/Llama-3.2-1B, b on Qwen/Qwen3-8B" in cautions[0]
    # `tinker.base_model` alone differs.
    assert "Unless these are the same weights under several names" in cautions[0]
    config = b / "config.yaml"
    config.write_text(config.read_text().replace("meta-llama/Llama-3.2-1B", "Qwen/Qwen3-8B"))
    cautions = compare(load_entries([str(a), str(b)])).cautions
    assert cautions[0].endswith("b on Qwen/Qwen3-8B. A difference is not one of training or backend alone.")


def test_the_base_of_a_run_and_runs_of_one_name(tmp_path: Path) -> None:
    one, two = run_of(tmp_path / "x" / "run", answers(1, 0.4)), run_of(tmp_path / "y" / "run", answers(2, 0.8))
    entries = load_entries([f"{one}:base", str(one), str(two)])
    assert [entry.label for entry in entries] == ["x/run:base", "x/run", "y/run"]
    assert [entry.side for entry in entries] == ["base", "tuned", "tuned"]
    assert entries[0].losses == [] and entries[1].losses
    assert len(compare(entries).pairs) == 3


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a"], "at least two"),
        (["a", "a"], "named twice"),
        (["a", "a:tuned"], "named twice"),
        (["a", "nowhere"], "No run directory at"),
        (["a", "only-base:tuned"], "has no answers of its tuned model"),
        (["a", "metrics-only"], "metrics-only has no answers of its tuned model yet"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, names: list[str], what: str) -> None:
    run_of(tmp_path / "a", [True] * 4)
    (run_of(tmp_path / "only-base", [True] * 4) / "predictions-tuned.jsonl").unlink()
    metrics_only = run_of(tmp_path / "metrics-only", [True] * 4)
    for side in ("base", "tuned"):
        (metrics_only / f"predictions-{side}.jsonl").unlink()
    with pytest.raises(UserError, match=what):
        load_entries([str(tmp_path / name) for name in names])


def test_an_unfinished_tuned_model_is_not_replaced_by_its_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "begun", "empty"):
        (run_of(tmp_path / "runs" / name, [True, False] * 3) / "config.yaml").write_text("name: any\n")
    (tmp_path / "runs" / "begun" / "predictions-tuned.jsonl").unlink()
    (tmp_path / "runs" / "empty" / "predictions-tuned.jsonl").write_text("")
    names = {name: str(tmp_path / "runs" / name) for name in ("a", "b", "begun", "empty")}
    with pytest.raises(UserError) as raised:
        load_entries(list(names.values()))
    assert str(raised.value).count("has no answers of its tuned model yet") == 2
    assert f"{names['empty']}:base is its base model" in str(raised.value)
    write_report(tmp_path / "runs" / "empty")
    assert "predictions-tuned.jsonl has no answers." in capsys.readouterr().out
    first, _ = load_entries([f"{names['empty']}:base", names["a"]])
    assert first.label == "empty:base"
    compare_runs([str(tmp_path / "runs")], tmp_path / "c.html", 0)
    assert f"Left out, as they are not finished: {names['begun']}, {names['empty']}." in capsys.readouterr().out


def test_damaged_and_repeated_answers_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run_of(tmp_path / name, [True, False] * 3) for name in "ab"]
    file = runs[1] / "predictions-tuned.jsonl"
    whole = file.read_text()
    first, second, *_ = whole.splitlines()
    file.write_text(whole + first + "\n")
    compare_runs(list(map(str, runs)), tmp_path / "c.html", 0)
    said = " ".join(capsys.readouterr().out.split())
    assert "b: predictions-tuned.jsonl: 1 repeated row (line 7 has the id of line 1)" in said and "3 of 6" in said
    other = json.dumps(json.loads(first) | {"raw": "SELECT 7"})
    for damage, what in ((other, "line 7 has the id of line 1 and differs from it"), ("{half", "line 7: ")):
        file.write_text(whole + damage + "\n" + second + "\n")
        with pytest.raises(UserError, match=rf"predictions-tuned\.jsonl is damaged \({what}"):
            compare_runs(list(map(str, runs)), tmp_path / "c.html", 0)


def test_configurations_are_diffed_without_secrets(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", [True] * 4), run_of(tmp_path / "b", [True] * 4)
    text = (b / "config.yaml").read_text()
    (b / "config.yaml").write_text(text.replace("batch_size: 256", "batch_size: 8").replace("verysecret", "other"))
    differences = compare(load_entries([str(a), str(b)])).differences
    assert differences == {"training.batch_size": [256, 8]}


class Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_self_contained_and_escapes_what_models_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        run_of(tmp_path / name, answers(seed, share)) for seed, (name, share) in enumerate([("a", 0.2), ("b", 0.7)])
    ]
    html = compare_runs([*map(str, runs), f"{runs[0]}:base"], tmp_path / "page.html", 2).read_text(encoding="utf-8")
    page = Page(html)
    assert "script" not in page.tags and "img" not in page.tags and page.tags.count("svg") == 2
    assert HOSTILE.split("--")[0] in page.text and "http://evil.example" not in "".join(page.tags)
    assert "Execution accuracy" in page.text and "a:base" in page.text and "corrected for 3 comparisons" in page.text
    out = capsys.readouterr().out
    assert "significantly better" in out and "Right: b; wrong: a" in out and "more (--show, or the page)" in out


def test_the_terminal_shows_brackets_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run_of(tmp_path / f"run{n}", answers(n, 0.5), base_model=f"[small] model {n}") for n in range(2)]
    print_comparison(compare(load_entries([*map(str, runs)])), 1)
    out = capsys.readouterr().out
    assert "[small] model 1" in out and "\\" not in out


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    runs = [str(run_of(tmp_path / name, [True, False] * 3)) for name in "ab"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--html: .* cannot be written"):
        compare_runs(runs, tmp_path / "file" / "page.html", 1)


@pytest.mark.parametrize(
    ("html", "as_json", "as_csv", "what"),
    [
        ("a/config.yaml", None, None, "--html: a/config.yaml is a file of the run in "),
        ("c.html", "./b/../a/Summary.JSON", None, "is a file of the run in "),
        ("c.html", "a/plots/new.json", None, "is a file of the run in "),
        ("c.html", "link.json", None, "--json: link.json is a file of the run in "),
        ("c.html", "hard.json", None, "--json: hard.json exists already and holds something else"),
        ("c.html", "new", "./new", "--json and --csv: new would be written twice"),
        ("c.html", "new.json", "NEW.json", "would be written twice"),
        ("notes.txt", None, None, "--html: notes.txt exists already and holds something else"),
        ("c.html", "notes.txt", None, "--json: notes.txt exists already"),
        ("c.html", None, "notes.txt", "--csv: notes.txt exists already"),
        ("c.html", "pipe", None, "--json: pipe is a pipe; name a file"),
        ("a", None, None, "--html: a is a directory; name a file"),
        ("/dev/null", None, None, "--html: /dev/null is a device"),
    ],
)
def test_no_output_replaces_what_it_did_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, html: str, as_json: str | None, as_csv: str | None, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (run_of(tmp_path / name, [True, False] * 3) / "config.yaml").write_text("name: any\n")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link.json").symlink_to("a/summary.json")
    (tmp_path / "hard.json").hardlink_to("a/summary.json")
    os.mkfifo("pipe")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    numbers, table = (Path(name) if name else None for name in (as_json, as_csv))
    with pytest.raises(UserError) as raised:
        compare_runs(["a", "b"], Path(html), 0, as_json=numbers, as_csv=table)
    assert what in str(raised.value)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_its_own_outputs_are_written_again(tmp_path: Path) -> None:
    runs = [str(run_of(tmp_path / name, [True, False] * 3)) for name in "ab"]
    (tmp_path / "c.json").touch()
    for _ in range(2):
        compare_runs(runs, tmp_path / "c.html", 0, as_json=tmp_path / "c.json", as_csv=tmp_path / "c.csv")
    run_of(tmp_path / "b", [True] * 6)
    compare_runs(runs, tmp_path / "c.html", 0, as_json=tmp_path / "c.json", as_csv=tmp_path / "c.csv")
    assert json.loads((tmp_path / "c.json").read_text())["models"][1]["correct"] == 6


def test_a_directory_of_runs_stands_for_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, correct in (("seed-0", [True] * 3 + [False] * 5), ("seed-1", [True] * 6 + [False] * 2)):
        (run_of(tmp_path / "sweep" / name, correct) / "config.yaml").write_text("name: any\n")
    (tmp_path / "sweep" / "sweep.json").write_text("[]")
    compare_runs([str(tmp_path / "sweep")], tmp_path / "page.html", 0)
    said = capsys.readouterr().out
    assert "3 of 8" in said and "6 of 8" in said
    with pytest.raises(UserError, match="Name at least two runs"):
        compare_runs([str(tmp_path / "sweep" / "seed-0")], tmp_path / "page.html", 0)


def test_other_programs_get_the_same_numbers(tmp_path: Path) -> None:
    a, b = answers(1, 0.4), answers(2, 0.8)
    names = [str(run_of(tmp_path / "a", a)), str(run_of(tmp_path / "b", b))]
    numbers, table = tmp_path / "c.json", tmp_path / "deep" / "c.csv"
    compare_runs(names, tmp_path / "c.html", 0, as_json=numbers, as_csv=table)
    read = json.loads(numbers.read_text())
    assert [model["correct"] for model in read["models"]] == [sum(a), sum(b)]
    assert read["tests"][0]["wins"] - read["tests"][0]["losses"] == sum(b) - sum(a)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["a right"]) for row in rows] == a and [int(row["b right"]) for row in rows] == b
    assert any(HOSTILE in row["a sql"] for row in rows)


def test_how_close_two_runs_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run_of(tmp_path / "a", [True] * 6), run_of(tmp_path / "b", [True] * 4 + [False] * 2)
    rows = [json.loads(line) for line in (a / "metrics.jsonl").read_text().splitlines()]
    write_rows(b / "metrics.jsonl", [row | {"loss": row["loss"] + 0.25 * (row["step"] == 3)} for row in rows[:5]])
    comparison = compare(load_entries([str(a), str(b)]))
    (pair,) = comparison.pairs
    assert pair.equal_answers == 4
    assert pair.loss_difference == (pytest.approx(0.25), 5)
    said = (
        "a and b: 4 of 6 answers are equal to the letter, and the training losses differ by 0.25 at most, over 5 steps."
    )
    assert comparison.closeness == [said]
    page = compare_runs([str(a), str(b)], tmp_path / "c.html", 0, as_json=tmp_path / "c.json")
    assert said in page.read_text() and said in " ".join(capsys.readouterr().out.split())
    (test,) = json.loads((tmp_path / "c.json").read_text())["tests"]
    assert (test["equal_answers"], test["largest_loss_difference"]) == (4, pytest.approx(0.25))


def test_base_models_have_no_losses_to_differ(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", [True] * 6), run_of(tmp_path / "b", [True] * 6)
    (said,) = compare(load_entries([f"{a}:base", f"{b}:base"])).closeness
    assert said.endswith("equal to the letter.")


@pytest.mark.parametrize(("backend", "whose"), [("local", False), ("tinker", True), ("fake", False)])
def test_whose_memory_it_is(tmp_path: Path, backend: str, whose: bool) -> None:
    runs = [run_of(tmp_path / name, [True] * 6, backend=backend) for name in "ab"]
    page = compare_runs(list(map(str, runs)), tmp_path / "c.html", 0).read_text()
    assert ("the client; the server" in page) is whose


def test_one_database_says_nothing_of_others(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", [True] * 6), run_of(tmp_path / "b", [True] * 6)
    entries = load_entries([str(a), str(b)])
    assert SINGLE_DATABASE_NOTE not in compare(entries).cautions
    for run in (a, b):
        rows = [json.loads(line) for line in (run / "predictions-tuned.jsonl").read_text().splitlines()]
        write_rows(run / "predictions-tuned.jsonl", [row | {"cluster": "shop"} for row in rows])
    comparison = compare(load_entries([str(a), str(b)]))
    assert comparison.entries[0].interval == (0, 1) and SINGLE_DATABASE_NOTE in comparison.cautions
