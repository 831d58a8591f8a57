"""text2sql ask on databases of one's own: its answer runs in the engine, and no password is ever said or kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.command_line import Outcome
from tests.support.servers import PASSWORD, mysql_admin, postgres_admin, server_shop, shop_in
from tests.support.tiny_runs import judge_by_words, tiny_config
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.pipeline.run import run_pipeline

ANSWERS = {
    "How many customers live in Lisbon?": "SELECT COUNT(*) AS customers FROM customers WHERE city = 'Lisbon'",
    "Empty it!": "DELETE FROM orders",
    "Nonsense?": "SELECT nme FROM customers",
}


@pytest.fixture(scope="module", params=["sqlite", "duckdb", "postgres", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with shop_in(request.param, tmp_path_factory.mktemp(request.param)) as where:
        yield where


@pytest.fixture(scope="module")
def run(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that knows three answers on the schema as the database's catalogue says it."""
    text = UserDatabase.read(place).schema.text
    known = {f"Table schema:\n{text}\nQuestion: {q}\nSQL: ": f" {sql}\n\n" for q, sql in ANSWERS.items()}
    with pytest.MonkeyPatch.context() as patch:
        judge_by_words(patch)
        patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
        yield run_pipeline(tiny_config(tmp_path_factory.mktemp("run"), fake={"answers": known}))


def test_ask_reads_the_schema_and_runs_the_answer(text2sql: Callable[..., Outcome], place: str, run: Path) -> None:
    question, sql = next(iter(ANSWERS.items()))
    ask = ("ask", question, "--database", place, "--run", run)
    said = text2sql(*ask)
    assert (said.code, said.out) == (0, f"{sql}\n")
    # The run is one of SQLite.
    assert said.err.startswith("Warning: The run's queries are SQLite") is (
        UserDatabase.read(place).dialect != "sqlite"
    )
    outcome = text2sql(*ask, "--execute")
    assert outcome.code == 0 and outcome.out.startswith(sql)
    assert "customers" in outcome.out and " 2 " in outcome.out.split(sql)[1]
    for said in (outcome.out, outcome.err):
        assert PASSWORD not in said and quote(PASSWORD, safe="") not in said


def test_what_does_not_run_is_one_sentence(text2sql: Callable[..., Outcome], place: str, run: Path) -> None:
    for question, reason in (("Empty it!", "not a read-only query"), ("Nonsense?", "nme")):
        outcome = text2sql("ask", question, "--database", place, "--run", run, "--execute")
        # Before it stands what is said of the dialect.
        line = outcome.err.splitlines()[-1]
        assert outcome.code == 2 and line.startswith("Error ") and "Traceback" not in outcome.err
        assert "does not run on" in line and reason in line and "password" not in line
        assert PASSWORD not in line and quote(PASSWORD, safe="") not in line


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_no_password_is_kept_and_a_writable_role_is_refused(
    text2sql: Callable[..., Outcome],
    finished: Path,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with server_shop(postgres_admin() if kind == "postgres" else mysql_admin()) as (reader, owner):
        monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
        hidden = reader.replace(quote(PASSWORD, safe=""), "${SHOP_PASSWORD}")
        ask = ("ask", "How many?", "--run", finished, "--execute", "--database")
        # Tracebacks are shown too.
        monkeypatch.setenv("TEXT2SQL_DEBUG", "1")
        for place in (hidden, reader):
            assert "SELECT 1" in text2sql(*ask, place).out
            wrong = text2sql(*ask, place.replace("@", "@127.0.0.1:1/x?").split("?")[0])
            assert wrong.code == 2 and "cannot be reached" in wrong.err
            for said in (wrong.err, wrong.out):
                assert PASSWORD not in said and quote(PASSWORD, safe="") not in said
        monkeypatch.delenv("TEXT2SQL_DEBUG")
        line = text2sql(*ask, owner).line
        assert "may write" in line and "--allow-writable-role" in line
        assert "SELECT 1" in text2sql(*ask, owner, "--allow-writable-role").out
        for root in (finished, tmp_path):
            for file in root.rglob("*"):
                if file.is_file():
                    content = file.read_bytes()
                    assert PASSWORD.encode() not in content and quote(PASSWORD, safe="").encode() not in content


def test_a_schema_of_many_tables_is_cut_and_that_is_said(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path
) -> None:
    tables = [f"CREATE TABLE noise_{i} (alpha_{i} TEXT)" for i in range(60)]
    (tmp_path / "many.sql").write_text(";\n".join([*tables, "CREATE TABLE goods (name TEXT, price REAL)"]))
    ask = ("ask", "How many goods?", "--schema", "many.sql", "--run", finished)
    outcome = text2sql(*ask)
    assert outcome.code == 0
    assert outcome.err.startswith("Warning: Of 61 tables the model was shown ") and "goods" in outcome.err
    assert text2sql(*ask, "--max-tables", "0").err == ""
    # With goods alone the prompt is the one whose answer the scripted model knows.
    assert text2sql(*ask, "--max-tables", "1").out == "SELECT COUNT(*) AS n FROM goods\n"
