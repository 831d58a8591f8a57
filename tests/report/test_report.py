"""The report page, read back through an HTML parser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.present_run import STEP
from tests.support.report_pages import Page, read
from tests.support.synthetic import HOSTILE, edit_summary, make_run, predictions, write_rows
from text2sql.cli import app
from text2sql.equivalence.verdict import Table, Witness
from text2sql.errors import UserError
from text2sql.report import write_report
from text2sql.report.load import load_run
from text2sql.report.witness import witness_view


def test_headline_numbers_and_paired_result(whole: Path, page: Page) -> None:
    headline = json.loads((whole / "summary.json").read_text())["headline"]
    for side in ("base", "tuned"):
        assert f"{100 * headline[side]['accuracy']:.1f}%" in page.text
        assert f"{100 * headline[side]['low']:.1f}% to {100 * headline[side]['high']:.1f}%" in page.text
        assert f"{headline[side]['correct']} of 200 right" in page.text
    paired = headline["paired"]
    assert "The tuned model is significantly better." in page.text
    assert f"right on {paired['wins']} that the base model got wrong" in page.text
    assert f"wrong on {paired['losses']} that it got right" in page.text
    assert f"{100 * paired['difference']:+.1f} percentage points" in page.text
    assert "exact McNemar p < 0.001" in page.text


def test_every_part_is_there(page: Page) -> None:
    for wanted in (
        "meta-llama/Llama-3.2-1B", "local backend", "2026-03-04 05:06", "Execution accuracy, lenient",
        "Still wrong:", "at even distances", "Which employees work in engineering?", "not judged", "sql-create-context",
        "unparsable", "NVIDIA H100", "packages.torch", "36 min 39 s", "11.0 GiB", "4,021 tokens/s", "batch_size: 256",
        "A database that shows the difference", "The published figures of the exercise",
        "Cut off at the token limit: 12 answers of the base model",
    ):  # fmt: skip
        assert wanted in page.text, wanted


def test_every_figure_has_a_file_an_alternative_and_valid_svg(whole: Path, page: Page) -> None:
    keys = ("headline", "loss", "learning-rate", "validation-accuracy", "hardness", "statuses", "errors")
    alternatives = [attrs["aria-label"] or "" for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(alternatives) == len(keys) == page.names().count("svg")
    assert all(re.search(r"\d", text) for text in alternatives)
    for key in keys:
        ET.parse(whole / "plots" / f"{key}.svg")
        assert (whole / "plots" / f"{key}.png").read_bytes().startswith(b"\x89PNG")


def assert_own_scripts_alone(raw: str) -> None:
    """Every script that a browser would run is one that the policy names; everything else is packed values."""
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', raw)
    assert policy
    allowed = unescape(policy[1]).partition("script-src ")[2].partition(";")[0]
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", raw, re.DOTALL)
    assert len(scripts) == raw.lower().count("<script")
    run = [text for attributes, text in scripts if "octet-stream" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert allowed == " ".join([*(f"'sha256-{digest}'" for digest in digests), "blob:"])
    assert all(re.fullmatch(r"[\w+/=]*", text) for attributes, text in scripts if "octet-stream" in attributes)


def test_hostile_output_is_text_only(whole: Path, page: Page) -> None:
    raw = (whole / "report.html").read_text(encoding="utf-8")
    assert "\x00" not in raw and "\u202e" not in raw
    assert not {"img", "iframe", "object", "link", "base", "form"} & set(page.names())
    assert_own_scripts_alone(raw)
    shown = HOSTILE.replace("\x00", "\\u0000").replace("\u202e", "\\u202e")
    assert any(tag == "pre" and data == shown for tag, data in page.texts)


def test_hostile_text_everywhere_else(run_dir: Path) -> None:
    summary = json.loads((run_dir / "summary.json").read_text())
    label = '"><script>x</script> $a_b$ \x01\ud800\n'
    summary |= {"name": label, "base_model": label, "notes": [label]}
    summary["evaluations"]["tuned"]["error_labels"] = {label: 3}
    summary["data"]["dropped"] = {label: 2}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    (run_dir / "environment.json").write_text(json.dumps({label: {label: [label]}}))
    (run_dir / "config.yaml").write_text("name: </pre><script>x</script>\n")
    read(run_dir)
    assert_own_scripts_alone((run_dir / "report.html").read_text(encoding="utf-8"))
    ET.parse(run_dir / "plots" / "errors.svg")


def test_nothing_is_fetched_from_elsewhere(page: Page) -> None:
    for name, attrs in page.tags:
        for key, value in attrs.items():
            if key in {"src", "href", "xlink:href", "srcset", "action", "data"}:
                assert value is not None and value.startswith("#"), (name, key, value)
            assert not key.startswith("on")
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def test_style_sheet_loads_nothing(whole: Path) -> None:
    raw = (whole / "report.html").read_text(encoding="utf-8")
    style = raw[raw.index("<style>") : raw.index("</style>")]
    assert "@import" not in style and "url(" not in style


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for key in ("href", "xlink:href"):
            if (value := attrs.get(key)) is not None:
                # Or to questions of the list, which a filter finds.
                assert value[1:] in ids or value.startswith("#outcome="), value
        for value in attrs.values():
            for target in re.findall(r"url\(#([^)]*)\)", value or ""):
                assert target in ids


def test_headings_descend_one_level_at_a_time(page: Page) -> None:
    levels = [int(name[1]) for name in page.names() if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_same_files_same_bytes(whole: Path, run_dir: Path) -> None:
    write_report(run_dir)
    for name in ("report.html", *(f"plots/{path.name}" for path in (whole / "plots").iterdir())):
        assert (run_dir / name).read_bytes() == (whole / name).read_bytes(), name


def test_secrets_are_masked(page: Page) -> None:
    assert "hf_verysecret" not in page.text
    assert "hf_token: (not shown)" in page.text
    assert "max_tokens: 150" in page.text


def test_passwords_that_earlier_versions_took_are_masked(run_dir: Path) -> None:
    secrets = (
        'data:\n  databases: postgresql://u:verysecret@host/db\nx.token: verysecret\nextra: {"api_key": "verysecret"}\n'
    )
    with (run_dir / "config.yaml").open("a") as file:
        file.write(secrets)
    config = load_run(run_dir).config
    assert "verysecret" not in config and "\nx.token: (not shown)\n" in config


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "summary.json"])
def test_an_empty_file_of_a_run_is_said(run_dir: Path, name: str) -> None:
    (run_dir / name).write_text("\n")
    assert f"{name} is empty; it was left out." in load_run(run_dir).problems


@pytest.mark.parametrize(
    ("paired", "wanted"),
    [
        (
            {"wins": 12, "losses": 9, "difference": 0.015, "low": -0.03, "high": 0.06, "p_value": 0.6636},
            "No significant difference.",
        ),
        (
            {"wins": 3, "losses": 40, "difference": -0.185, "low": -0.25, "high": -0.12, "p_value": 1e-9},
            "The tuned model is significantly worse.",
        ),
        (
            {"wins": 0, "losses": 0, "difference": 0.0, "low": 0, "high": 0, "p_value": 1.0},
            "on exactly the same questions",
        ),
        (None, "the difference was not tested"),
    ],
)
def test_paired_result_in_words(run_dir: Path, paired: dict | None, wanted: str) -> None:
    headline = json.loads((run_dir / "summary.json").read_text())["headline"]
    edit_summary(run_dir, headline=headline | {"paired": paired and {**paired, "n": 200}})
    text = read(run_dir).text
    assert wanted in text
    assert ("significantly better" in text) is False
    if paired and paired["difference"] < 0:
        assert "−18.5 percentage points (95% interval −25.0 to −12.0" in text


def test_two_models_that_answer_nothing_are_not_said_to_be_alike(run_dir: Path) -> None:
    """They may differ in all that is measured besides, such as how many answers run."""
    headline = json.loads((run_dir / "summary.json").read_text())["headline"]
    nobody = {side: headline[side] | {"correct": 0, "accuracy": 0.0, "low": 0.0} for side in ("base", "tuned")}
    same = {"wins": 0, "losses": 0, "difference": 0.0, "low": 0, "high": 0, "p_value": 1.0, "n": 200}
    edit_summary(run_dir, headline=headline | nobody | {"paired": same})
    assert "Neither model is right on any of the" in read(run_dir).text


@pytest.mark.parametrize(
    "missing",
    [
        ["predictions-base.jsonl"],
        ["predictions-base.jsonl", "predictions-tuned.jsonl"],
        ["metrics.jsonl"],
        ["config.yaml", "environment.json"],
        ["summary.json"],
        ["summary.json", "predictions-base.jsonl", "predictions-tuned.jsonl"],
        ["summary.json", "metrics.jsonl", "predictions-tuned.jsonl"],
    ],
    ids=lambda names: "+".join(names),
)
def test_absent_files(run_dir: Path, missing: list[str]) -> None:
    for name in missing:
        (run_dir / name).unlink()
    page = read(run_dir)
    assert page.names().count("h1") == 1
    ids = page.ids()
    links = [attrs["href"] or "" for name, attrs in page.tags if name == "a"]
    assert all(link[1:] in ids or ("list" in ids and link.startswith("#outcome=")) for link in links)


@pytest.mark.parametrize("key", ["headline", "evaluations", "novel", "training", "data", "cost", "notes", "created"])
@pytest.mark.parametrize("value", [None, {}, [], "text", 3, {"base": None, "tuned": []}])
def test_a_summary_of_another_shape_is_named_and_left_out(
    run_dir: Path, key: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("text2sql.report.page.draw_all", lambda run: {})
    edit_summary(run_dir, **{key: value})
    text = read(run_dir).text
    assert "llama-3.2-1b" in text
    fits = {"training": [None], "evaluations": [{}], "novel": [[]], "notes": [[]], "created": ["text"]}
    assert (f"summary.json is not of format 1: {key}" in text) != (value in fits.get(key, []))


@pytest.mark.parametrize("key", ["headline", "data", "stages"])
def test_a_summary_that_lacks_a_key_is_named_and_left_out(run_dir: Path, key: str) -> None:
    summary = json.loads((run_dir / "summary.json").read_text())
    del summary[key]
    (run_dir / "summary.json").write_text(json.dumps(summary))
    text = read(run_dir).text
    assert f"summary.json has no {key}, which format 1 needs; it was left out." in text
    assert "Still wrong:" in text


def test_training_without_baseline(run_dir: Path) -> None:
    (run_dir / "predictions-base.jsonl").unlink()
    summary = json.loads((run_dir / "summary.json").read_text())
    edit_summary(
        run_dir,
        headline=summary["headline"] | {"base": None, "paired": None},
        evaluations={"tuned": summary["evaluations"]["tuned"]},
    )
    text = read(run_dir).text
    assert "Only the tuned model was evaluated" in text
    assert "Wrong:" in text and "Right:" in text and "Won:" not in text


def test_spoiled_lines_are_named_not_hidden(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(dict(STEP, step=307)) + '\n{"step": 308, "lo')
    with (run_dir / "predictions-tuned.jsonl").open("a") as file:
        file.write(json.dumps(predictions("tuned", [True] * 201)[-1]) + "\n")
    text = read(run_dir).text
    assert "metrics.jsonl: 1 unreadable line skipped (line 315: " in text
    assert (
        "metrics.jsonl: 1 repeated row (line 314 has the step of line 313); the last one for each step counts." in text
    )
    assert "The summary counts 200 questions for the tuned model, predictions-tuned.jsonl 201" in text


def test_values_that_are_not_finite(run_dir: Path) -> None:
    losses = [(1, 2.0), (2, float("nan")), (3, float("inf"))]
    rows = [STEP | {"step": step, "loss": loss} for step, loss in losses]
    write_rows(run_dir / "metrics.jsonl", [*rows, STEP | {"step": None}])
    text = read(run_dir).text
    assert "Loss per token" in text
    assert "1 unreadable line skipped (line 4 is not of format 1: step must be a whole number)." in text


def test_leaks_and_the_scripted_backend_are_told(run_dir: Path) -> None:
    data = json.loads((run_dir / "summary.json").read_text())["data"]
    edit_summary(run_dir, backend="fake", data=data | {"leaks": {"tables": 7, "questions": 0}})
    text = read(run_dir).text
    assert "its numbers say nothing about any model" in text
    assert "In both the training and the test set: 7 tables." in text


def test_long_and_many_examples_stay_under_two_megabytes(tmp_path: Path) -> None:
    make_run(tmp_path, n=90)
    for side in ("base", "tuned"):
        rows = predictions(side, [side == "tuned" and index % 3 == 0 for index in range(90)])
        for row in rows:
            row |= {"context": "<&\"'>" * 2_000, "sql": "<&\"'>" * 2_000, "gold": "<&\"'>" * 2_000}
            row["verdict"]["reason"] = "'" * 5000
            table = {"columns": ["'" * 99] * 14, "rows": [["'" * 99] * 14] * 10}
            row["verdict"]["witness"] = {
                "tables": {f"t{i}": table for i in range(8)},
                "gold": table,
                "predicted": table,
            }
        write_rows(tmp_path / f"predictions-{side}.jsonl", rows)
    path = write_report(tmp_path)
    assert path.stat().st_size < 2_000_000
    text = Page(path.read_text(encoding="utf-8")).text
    assert "more characters)" in text and "of 60, at even distances" in text


@pytest.mark.parametrize(
    "witness",
    [
        {"tables": {"t": [{"a": 1}]}},
        {"tables": [], "gold": {"error": "boom"}, "predicted": {}},
        ["anything"],
        "text",
        5,
    ],
)
def test_a_witness_of_another_shape_is_named(tmp_path: Path, witness: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.report.page.draw_all", lambda run: {})
    rows = predictions("tuned", [False, False])
    rows[1]["verdict"]["witness"] = witness
    write_rows(tmp_path / "predictions-tuned.jsonl", rows)
    text = read(tmp_path).text
    assert "line 2 is not of format 1: verdict has a witness that cannot be read" in text
    # It is the other answer that has one.
    assert "A database that shows the difference" in text


def test_witness_as_the_evaluator_writes_it() -> None:
    table = Table(("a", "b"), ((1, "1"), (None, ""), (b"\x00\xff", float("inf")), (2.5, "Ada")))
    view = witness_view(Witness({"t": table, "empty": Table(("c",), ())}, table, table))
    assert not view.remarks
    assert [grid.title for grid in view.tables] == ["t", "empty"]
    assert view.tables[0].rows == [["1", "'1'"], [None, "''"], ["x'00ff'", "inf"], ["2.5", "Ada"]]
    assert [grid.title for grid in view.results] == ["Gold query returns", "Model's query returns"]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No run directory"):
        write_report(tmp_path / "absent")
    with pytest.raises(UserError, match=r"Nothing to report .* no summary\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_it_again(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    done = CliRunner().invoke(app, ["report", str(run_dir)])
    assert done.exit_code == 0 and "Report: " in done.output and (run_dir / "report.html").is_file()
    refused = CliRunner().invoke(app, ["report", str(tmp_path_factory.mktemp("empty"))])
    assert isinstance(refused.exception, UserError) and "Nothing to report" in str(refused.exception)


def test_a_directory_that_cannot_be_written(run_dir: Path) -> None:
    (run_dir / "plots").write_text("in the way")
    with pytest.raises(UserError, match="could not be written"):
        write_report(run_dir)
    assert (run_dir / "plots").read_text() == "in the way"


def test_failures_benchmarks_and_the_second_opinion(page: Page) -> None:
    text = page.text
    assert "Accuracy by kind of question" in text and "Clause of the gold query" in text
    assert "Systematic or random" in text and "Fisher's exact test" in text
    assert "Spider EX, by its script's rule" in text and "BIRD R-VES" not in text
    assert "0.81 (197 answers)" in text and "<b>big-judge</b> was shown" in text
    assert "On the real database: Spider EX wrong, BIRD EX right." in text
    assert "Judge: wrong (logic error)." in text
    # Nothing was undecided.
    assert "Answers: different" in text and "Answers: undecided" not in text


def test_groups_of_which_some_are_shown_lead_to_all_of_them(page: Page) -> None:
    links = {attrs["href"] for name, attrs in page.tags if name == "a"}
    assert {"#outcome=won", "#outcome=both%20wrong"} <= links
    assert "#outcome=lost" not in links, "all 8 of them are shown"


@pytest.mark.parametrize("broken", [[], "text", 3, {"tables": {"clause": [1, {"n": 2}, {"n": "x"}]}, "statements": 1}])
@pytest.mark.parametrize("part", ["breakdown", "judge", "benchmarks", "counts"])
def test_breakdown_and_opinion_of_another_shape(
    run_dir: Path, part: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("text2sql.report.page.draw_all", lambda run: {})
    summary = json.loads((run_dir / "summary.json").read_text())
    summary["evaluations"]["base"][part] = broken
    (run_dir / "summary.json").write_text(json.dumps(summary))
    assert f"format 1: evaluations.base.{part}" in read(run_dir).text
