"""Places of databases: what is accepted, what is refused in one sentence, and what is never said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.servers import duckdb_shop, sqlite_shop
from text2sql.engines.failures import explain_connection_failure
from text2sql.engines.sandbox.engine import EngineMissing
from text2sql.engines.sandbox.postgres_engine import PostgreSQLEngine
from text2sql.engines.url import locate
from text2sql.errors import UserError

SECRET = "s3cr et/@:"


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    duck = duckdb_shop(tmp_path / "shop.db")
    lite = sqlite_shop(tmp_path / "shop.duckdb")
    assert locate(str(duck)).dialect == "duckdb"
    assert locate(str(lite)).dialect == "sqlite"
    assert locate(f"duckdb:///{duck}").path == duck
    with pytest.raises(UserError, match=r"is a DuckDB database; give duckdb:///"):
        locate(f"sqlite:///{duck}")


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sqlite_shop(tmp_path / "shop.db")
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:///shop.db").path == Path("shop.db")
    assert locate(f"sqlite:///{file}").path == file


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere.db", "there is no file nowhere.db"),
        ("sqlite:///nowhere.db", "there is no file nowhere.db"),
        ("sqlite://", "needs the file of a database after three slashes"),
        ("sqlite:///:memory:", "needs the file"),
        ("oracle://scott@host/x", r'"oracle://" names no database that is known here; give a file'),
        ("mysql://root@localhost", "names no database; write it behind the host"),
        ("postgresql://u:${MISSING_PASSWORD}@host/x", "no variable MISSING_PASSWORD"),
        ("${MISSING_URL}", "no variable MISSING_URL"),
    ],
)
def test_what_is_wrong_is_said(place: str, said: str) -> None:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")
    with pytest.raises(UserError, match=rf"^--database: .*{said}"):
        locate(place)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "mysql", "mariadb"])
def test_a_password_is_in_nothing_that_is_shown(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)
    location = locate(f"{scheme}://reader:${{SHOP_PASSWORD}}@host:77/shop?connect_timeout=7777")
    assert location.url is not None and location.url.password == SECRET
    assert location.display_name.endswith("//reader@host:77/shop")
    for text in (location.display_name, str(location), repr(location)):
        assert SECRET not in text and "7777" not in text
    assert location.redact(f"no {SECRET} here, nor 7777") == "no *** here, nor ***"
    monkeypatch.setenv("SHOP", "postgresql://reader:pass%2Fword@host/shop")
    assert "pass" not in locate("${SHOP}").display_name


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UserError) as told:
        locate(f"postgresql://reader:{SECRET}@@host:port:x/shop")
    assert "USER@HOST:PORT/NAME" in str(told.value) and SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("place", "module", "extra"),
    [
        ("postgresql://u@h/x", "psycopg", "postgres"),
        ("postgresql://u@h/x", "sqlalchemy", "postgres"),
        ("mysql://u@h/x", "pymysql", "mysql"),
    ],
)
def test_a_missing_driver(place: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf'the extra "{extra}".*--schema'):
        locate(place)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("password", ["rd#p@ss/1", "p@ss:word", "@@", "a@b?c=d"])
def test_a_password_with_an_unwritten_sign_is_not_repeated(scheme: str, password: str) -> None:
    """What stands behind its first @ would be taken for the host, and be said."""
    with pytest.raises(UserError, match="are written as %XX") as refused:
        locate(f"{scheme}://reader:{password}@127.0.0.1:5432/shop")
    said = str(refused.value)
    assert "reader" not in said and not any(part in said for part in password.split("@") if len(part) > 1)


def test_an_at_sign_among_the_options_is_no_part_of_a_password() -> None:
    assert locate("postgresql://reader@127.0.0.1/shop?application_name=a@b").display_name.endswith("127.0.0.1/shop")


@pytest.mark.parametrize("password", ["rd#p@ss/1", "p@ss:word"])
def test_nor_is_that_of_the_server_that_judges(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT2SQL_POSTGRES", f"postgresql://reader:{password}@127.0.0.1:5432/shop")
    with pytest.raises(EngineMissing, match="written as %XX") as refused:
        PostgreSQLEngine()
    assert not any(part in str(refused.value) for part in password.split("@") if len(part) > 1)


@pytest.mark.parametrize("password", ["wrong", "server", "password", "reader", "PostgreSQL", "is"])
def test_a_password_that_is_a_word_of_a_message_leaves_the_message_whole(password: str) -> None:
    pytest.importorskip("psycopg")
    location = locate(f"postgresql://reader:{password}@host/shop")
    for driver, ours in (
        (
            f'password authentication failed for "x", given {password}',
            "the password is wrong, or the user is unknown (",
        ),
        (f"nobody there, {password}", "the server cannot be reached ("),
    ):
        said = explain_connection_failure(location, Exception(driver))
        assert said.startswith(f"PostgreSQL at {location.display_name}: {ours}")
        assert f" {password})" not in said and "***)" in said
