"""The demo on a database that it is started with: shown at once, asked in its engine, its password nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.request import urlopen

import pytest

from backends.web_origin import Hosts
from tests.support.servers import PASSWORD, mysql_admin, postgres_admin, server_shop, shop_in
from text2sql.demo import view
from text2sql.demo.actions import Actions
from text2sql.demo.page import build_page, launch_options
from text2sql.demo.session import Source, check_and_run, database_source
from text2sql.demo.storage import Storage
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.inference.ask import open_answerer


@pytest.fixture(scope="module", params=["duckdb", "postgres", "mysql"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with shop_in(request.param, tmp_path_factory.mktemp(request.param)) as place:
        yield database_source(UserDatabase.read(place))


def test_queries_run_in_the_engine(source: Source) -> None:
    shown = check_and_run("SELECT CONCAT(name, '!') AS n FROM lisbon ORDER BY 1", source)
    assert (shown.problems, shown.columns, shown.rows) == ((), ("n",), (("Ines!",), ("Marta!",)))
    described = view.describe_source(source)
    assert "its rows can be queried" in described and PASSWORD not in described
    assert source.database is not None and source.database.engine in described


def test_what_does_not_fit_is_said_with_what_is_near(source: Source) -> None:
    assert check_and_run("SELECT nme FROM customers", source).problems == (
        "There is no column nme in the schema. Did you mean name?",
    )
    assert check_and_run("SELECT 1 FROM custmers", source).problems == (
        "There is no table custmers in the schema. Did you mean customers?",
    )
    (refused,) = check_and_run("DELETE FROM orders", source).problems
    assert refused.startswith("Refused: ")
    (said,) = check_and_run("SELECT SUM(name, 1) FROM customers", source).problems
    assert said.split(" says: ")[0] in ("DuckDB", "PostgreSQL", "MySQL")


def test_what_is_open_can_be_left_and_comes_back(source: Source) -> None:
    widgets = cast(Any, SimpleNamespace(loaded="loaded", about="about", forget="forget", schema="schema"))
    actions = Actions(cast(Any, None), widgets, cast(Any, None), source)
    begun = actions.begin()
    assert begun["loaded"] is source and begun["schema"] == source.schema and not begun["forget"].visible
    assert actions.forget_file() == actions.begin() or actions.forget_file()["loaded"] is source


def test_a_database_that_is_gone_is_said(tmp_path: Path) -> None:
    with server_shop(postgres_admin()) as (reader, _):
        gone = database_source(UserDatabase.read(reader))
    (said,) = check_and_run("SELECT 1 FROM customers", gone).problems
    assert said.startswith("The database: PostgreSQL at ") and PASSWORD not in said


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_the_page_never_says_the_password(
    kind: str, run: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(storage.uploads))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    admin = postgres_admin() if kind == "postgres" else mysql_admin()
    with server_shop(admin) as (reader, _), open_answerer(run) as answerer:
        page = build_page(answerer, None, storage, UserDatabase.read(reader))
        options = launch_options(Hosts("127.0.0.1", [], "--allowed-host NAME"), storage)
        _, where, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **options)
        try:
            for path in ("", "config"):
                with urlopen(where + path) as answer:
                    text = answer.read().decode()
                assert len(text) > 1000 and PASSWORD not in text and "a%20b%3A" not in text
        finally:
            page.close(verbose=False)
