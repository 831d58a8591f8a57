"""What the page asks for, without a browser: runs, answers, curves, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.synthetic import HOSTILE, edit_summary, write_rows
from text2sql.errors import UserError

fastapi = pytest.importorskip("fastapi", reason="the extra server is not installed")
from fastapi.testclient import TestClient  # noqa: E402

from backends.web_origin import Hosts  # noqa: E402
from text2sql.explorer import app as app_module  # noqa: E402
from text2sql.explorer.app import ASSETS, create_app  # noqa: E402
from text2sql.explorer.serve import HOST, listen, serve_explorer  # noqa: E402
from text2sql.report.questions.packed import ASSETS as QUESTIONS  # noqa: E402


def client_of(directory: Path) -> TestClient:
    return TestClient(create_app(directory, Hosts(HOST, (), "no option")), base_url=f"http://{HOST}:7870")


@pytest.fixture(scope="module")
def client(runs: Path) -> TestClient:
    return client_of(runs)


def ask(client: TestClient, path: str, **values: Any) -> Any:
    answer = client.get(f"/api/{path}", params=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_list_has_runs_damage_and_what_is_none_each_in_a_sentence(client: TestClient) -> None:
    listed = {entry["id"]: entry for entry in ask(client, "runs")["runs"]}
    assert set(listed) == {"llama", "sweep/seed-0", "broken", "photos"}
    assert (listed["llama"]["state"], listed["llama"]["name"]) == ("finished", "llama-3.2-1b")
    assert (listed["llama"]["tuned"]["n"], listed["sweep/seed-0"]["base"]["n"]) == (200, 40)
    assert listed["broken"]["state"] == "damaged"
    assert listed["broken"]["problem"].startswith("summary.json is damaged (")
    assert listed["photos"]["problem"].startswith("No run: it has none of config.yaml")
    assert "Traceback" not in json.dumps(listed)


def test_one_run_alone(runs: Path) -> None:
    alone = client_of(runs / "llama")
    assert ask(client_of(runs), "overview", run="sweep/seed-0")["name"] == "llama-3.2-1b"
    (entry,) = ask(alone, "runs")["runs"]
    assert entry["id"] == "."
    assert ask(alone, "overview", run=".")["name"] == "llama-3.2-1b"


def test_the_head_of_a_run(client: TestClient) -> None:
    head = ask(client, "overview", run="llama")
    assert head["sentence"].startswith("The tuned model is significantly better.")
    assert head["scores"]["tuned"]["correct"] == 171
    assert [each["label"] for each in head["answers"]] == ["base", "tuned"]
    loss, accuracy = head["charts"]
    assert [curve["name"] for curve in loss["curves"]] == ["training", "validation"]
    assert len(loss["steps"]) == 307 and loss["curves"][1]["values"][49] == pytest.approx(0.4699, abs=1e-3)
    assert accuracy["steps"] == [50, 100, 150, 200, 250, 300]
    assert "hf_token: (not shown)" in head["config"] and "hf_verysecret" not in json.dumps(head)


def test_rewards_have_a_curve(own_runs: Path) -> None:
    metrics = own_runs / "llama" / "metrics.jsonl"
    steps = [json.loads(line) for line in metrics.read_text().splitlines() if '"loss"' in line]
    from text2sql.runs.rollouts import RlStepMetrics

    fields = RlStepMetrics.model_fields.items()
    needed = [field.alias or name for name, field in fields if field.is_required()]
    rows = [{**dict.fromkeys(needed, 0), **step, "reward": step["step"] / 307, "equivalent": 0.25} for step in steps]
    write_rows(metrics, rows)
    charts = {chart["title"]: chart for chart in ask(client_of(own_runs), "overview", run="llama")["charts"]}
    assert charts["Reward"]["curves"][0]["values"][-1] == 1
    assert charts["Accuracy"]["curves"][0]["values"][0] == 0.25


def test_a_curve_without_numbers_is_json_all_the_same(own_runs: Path) -> None:
    metrics = own_runs / "llama" / "metrics.jsonl"
    first, *rest = metrics.read_text().splitlines(keepends=True)
    metrics.write_text(
        json.dumps({**json.loads(first), "loss": float("nan")}) + "\n" + "".join(rest) + '{"step": 308, "lo'
    )
    head = ask(client_of(own_runs), "overview", run="llama")
    # The half line is being written; it is no damage.
    assert (head["charts"][0]["steps"][0], head["problems"]) == (2, [])


def all_rows(client: TestClient, run: str, label: str) -> tuple[int, list[list[Any]]]:
    page = ask(client, "answers", run=run, label=label)
    assert page["done"]
    return page["generation"], page["rows"]


def test_answers_in_brief_and_in_full(client: TestClient) -> None:
    generation, rows = all_rows(client, "llama", "base")
    assert len(rows) == 200
    wrong = next(row for row in rows if row[6] == "different")
    full = ask(client, "answer", run="llama", label="base", generation=generation, offset=wrong[0])
    assert (full["id"], full["sql"], full["status"]) == (wrong[1], wrong[4], "different")
    assert full["context"].startswith("CREATE TABLE") and full["prompt"] and full["raw"]
    assert [grid["title"] for grid in full["witness"]["results"]] == ["Gold query returns", "Model's query returns"]
    tree = ask(client, "diff", run="llama", label="base", generation=generation, offset=wrong[0])
    assert {piece["change"] for piece in tree["gold"]} > {""} or tree["remark"]


def test_clauses_come_in_pieces(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    generation, rows = all_rows(client, "llama", "tuned")
    monkeypatch.setattr(app_module, "_MAX_SECONDS", 0)
    asked = {"run": "llama", "label": "tuned", "generation": generation}
    pieces = [ask(client, "clauses", start=start, **asked)["clauses"] for start in (0, 1, len(rows))]
    assert [len(piece) for piece in pieces] == [1, 1, 0]
    names = ask(client, "overview", run="llama")["vocabulary"]["clauses"]
    assert {names[place] for place in pieces[0][0]} == {"WHERE", "ORDER BY", "LIMIT"}


def test_a_damaged_file_is_read_as_far_as_it_can_be(client: TestClient) -> None:
    page = ask(client, "answers", run="broken", label="tuned")
    assert page["rows"] == [] and "3 unreadable lines left out" in page["problems"][0]
    head = ask(client, "overview", run="broken")
    assert head["charts"] == [] and [each["label"] for each in head["answers"]] == ["tuned"]


@pytest.mark.parametrize("damage", [b"", b"\x00\xff" * 50, b"[]", b"{}", b'"text"', b'{"format": 99}', b"{" * 5000])
def test_no_damage_gives_a_traceback(own_runs: Path, damage: bytes) -> None:
    run = own_runs / "llama"
    for file in [file for file in run.iterdir() if file.is_file()]:
        kept = file.read_bytes()
        file.write_bytes(damage)
        client = client_of(own_runs)
        for path in ("runs", "stamps?run=llama", "overview?run=llama", "answers?run=llama&label=tuned"):
            answer = client.get(f"/api/{path}")
            assert answer.status_code == 200, (file.name, path, answer.text)
        file.write_bytes(kept)


def test_a_run_that_goes_away(own_runs: Path) -> None:
    client = client_of(own_runs)
    assert len(ask(client, "runs")["runs"]) == 4
    shutil.rmtree(own_runs / "llama")
    assert len(ask(client, "runs")["runs"]) == 3
    answer = client.get("/api/overview", params={"run": "llama"})
    assert answer.status_code == 404 and 'There is no run "llama"' in answer.json()["error"]


@pytest.mark.parametrize(
    "run",
    ["..", "../llama", "/etc", "llama/..", "photos", "", "sweep", ".", "llama/.", "sweep//seed-0", "\x00", "llama\x00"],
)
def test_nothing_outside_the_runs_is_shown(client: TestClient, run: str) -> None:
    for path in ("/api/overview", "/api/stamps", "/report"):
        assert client.get(path, params={"run": run}).status_code == 404
    assert client.get("/compare", params={"run": [run, "llama"]}).status_code == 404


@pytest.mark.parametrize("label", ["../../llama/predictions-tuned", "tuned.jsonl", "*", ""])
def test_nothing_but_answers_is_read(client: TestClient, label: str) -> None:
    assert client.get("/api/answers", params={"run": "llama", "label": label}).status_code == 404


def test_links_are_not_followed(own_runs: Path, tmp_path: Path) -> None:
    (own_runs / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    (own_runs / "llama" / "report.html").symlink_to("/etc/passwd")
    (own_runs / "llama" / "predictions-start.jsonl").symlink_to("/etc/passwd")
    # Whoever opens it waits for ever.
    os.mkfifo(own_runs / "llama" / "predictions-piped.jsonl")
    client = client_of(own_runs)
    assert [each["label"] for each in ask(client, "overview", run="llama")["answers"]] == ["base", "tuned"]
    for label in ("start", "piped"):
        assert client.get("/api/answers", params={"run": "llama", "label": label}).status_code == 404
    assert "elsewhere" not in {entry["id"] for entry in ask(client, "runs")["runs"]}
    assert client.get("/report", params={"run": "llama"}).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "page.example"}, 421),
        ({"origin": "http://page.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost:7870", "origin": "http://localhost:7870"}, 200),
    ],
)
def test_pages_of_others_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/api/runs", headers=headers).status_code == status


def test_what_a_page_may_load(client: TestClient, own_runs: Path) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy and policy.startswith("default-src 'none'")
    (own_runs / "llama" / "report.html").write_text("<script>alert(1)</script>")
    report = client_of(own_runs).get("/report", params={"run": "llama"})
    policy = report.headers["content-security-policy"]
    # Whatever runs there has an origin that is nobody's.
    assert report.status_code == 200 and "sandbox allow-scripts" in policy and "allow-same-origin" not in policy
    assert "connect-src" not in policy and policy.startswith("default-src 'none'")
    assert client.post("/api/runs").status_code == 405


def test_every_file_that_the_page_names_is_there(client: TestClient) -> None:
    page = client.get("/").text
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    shared = [file.read_text() for file in QUESTIONS.glob("*.js")]
    scripts = [file.read_text() for file in ASSETS.glob("*.js")]
    imported = re.compile(r'from "\./([^"]+)"')
    named += [f"/assets/{name}" for script in scripts for name in imported.findall(script)]
    named += [f"/assets/questions/{name}" for script in shared for name in imported.findall(script)]
    assert len(named) > 12
    for path in named:
        assert client.get(path).status_code == 200, path
    assert not re.search(r"https?://", page + "".join([*scripts, *shared]))


def test_comparing_runs(client: TestClient) -> None:
    page = client.get("/compare", params={"run": ["llama", "sweep/seed-0:base"]})
    assert page.status_code == 200 and ":base" in page.text and "<svg" in page.text
    alone = client.get("/compare", params={"run": ["llama"]})
    assert (alone.status_code, alone.text[:22]) == (404, "Name at least two runs")


def test_hostile_text_comes_as_data(client: TestClient) -> None:
    _, rows = all_rows(client, "llama", "base")
    assert any(row[4] == HOSTILE for row in rows)
    assert (
        client.get("/api/answers", params={"run": "llama", "label": "base"}).headers["content-type"]
        == "application/json"
    )


def test_an_edited_summary_shows_at_the_next_look(own_runs: Path) -> None:
    client = client_of(own_runs)
    before = ask(client, "stamps", run="llama")
    edit_summary(own_runs / "llama", name="renamed")
    after = ask(client, "stamps", run="llama")
    assert {name for name in after if after[name] != before.get(name)} == {"summary.json"}
    assert "renamed" in {entry["name"] for entry in ask(client, "runs")["runs"]}


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda path: path / "none", "There is no directory"),
        (lambda path: path, "cannot be used"),
    ],
)
def test_a_start_that_fails_says_so(tmp_path: Path, prepare: Callable[[Path], Path], sentence: str) -> None:
    with listen(0) as taken, pytest.raises(UserError, match=sentence):
        serve_explorer(prepare(tmp_path), taken.getsockname()[1])


def test_without_the_web_server_one_sentence(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r'text2sql view needs the package uvicorn of the extra "server"'):
        serve_explorer(runs, 7870)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_is_quiet(runs: Path, number: signal.Signals) -> None:
    with listen(0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "text2sql", "view", str(runs), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert f"http://{HOST}:{port}" in started.stdout.readline()
        # The address is said when connections are taken; who answers them comes a moment later.
        with httpx.Client() as client:
            assert client.get(f"http://{HOST}:{port}/api/runs", timeout=60).status_code == 200
        started.send_signal(number)
        _, errors = started.communicate(timeout=60)
    assert "Traceback" not in errors and errors.strip() in ("", "Interrupted.")
