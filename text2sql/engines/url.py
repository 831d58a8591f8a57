"""Where a database of the user's is: a file's path, or a URL. Its password is kept apart from whatever is shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from backends.extras import missing_package
from text2sql.engines.dialect import SHOWN, Dialect, dialect_named
from text2sql.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

FORMS = "a file, sqlite:///FILE, duckdb:///FILE, postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME"
# A variable of the environment in a URL.
_VARIABLE = re.compile(r"\$\{(\w+)\}")
# What the first bytes of a database file are, and where they stand.
_MAGIC: tuple[tuple[int, bytes, Dialect], ...] = ((0, b"SQLite format 3\x00", "sqlite"), (8, b"DUCK", "duckdb"))
_DUCKDB_SUFFIXES = (".duckdb", ".ddb")
# What SQLAlchemy speaks to a server through.
DRIVERS: dict[Dialect, str] = {"postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}


@dataclass(frozen=True)
class Location:
    """A database by its place.

    Attributes:
        dialect: Of the engine that holds it.
        shown: The place as messages and files may say it: without a password, and without the options of a URL.
        path: The file; None for a server.
        url: For SQLAlchemy, with the password; None for a file.
    """

    dialect: Dialect
    shown: str
    path: Path | None = None
    url: URL | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may hold: the password, and the values of the URL's options."""
        if self.url is None:
            return ()
        options = [
            value for values in self.url.query.values() for value in ([values] if isinstance(values, str) else values)
        ]
        # A short one, such as the number of a port, is part of other words.
        return tuple(
            text for text in (str(self.url.password or ""), *options) if len(text) >= 4 or text == self.url.password
        )

    def redacted(self, text: str) -> str:
        """A text of a driver's without what no message may hold."""
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "***")
        return text


def locate(text: str, what: str = "--database") -> Location:
    """The place that a path or URL names; nothing is opened.

    ``${NAME}`` in a URL stands for a variable of the environment, so that a password is in no history of a shell.

    Args:
        text: The path or URL.
        what: What it is for, for messages: an option or a key.

    Raises:
        UserError: There is no such file, no such kind of database, no such variable, or no library to reach it.
    """
    if whole := _VARIABLE.fullmatch(text.strip()):
        text = _variable(whole[1], what)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _file(Path(text).expanduser(), what, None)
    dialect = dialect_named(scheme)
    if dialect is None:
        raise UserError(f'{what}: "{scheme}://" names no database that is known here; give {FORMS}.')
    if dialect in ("sqlite", "duckdb"):
        return _file(_path_of(rest, dialect, what), what, dialect)
    return _server(dialect, rest, what)


def _variable(name: str, what: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise UserError(f"{what}: the environment has no variable {name}; set it, or write ${{OTHER}} for another.")
    return value


def _path_of(rest: str, dialect: Dialect, what: str) -> Path:
    """The file behind ``sqlite://``: after a third slash relative, after a fourth absolute."""
    rest = _VARIABLE.sub(lambda match: _variable(match[1], what), rest.partition("?")[0])
    if not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise UserError(f"{what}: {dialect}:// needs the file of a database after three slashes: {dialect}:///FILE.")
    return Path(rest[1:]).expanduser()


def _file(path: Path, what: str, dialect: Dialect | None) -> Location:
    if not path.is_file():
        raise UserError(f"{what}: there is no file {path}.")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read: {error.strerror}.") from error
    held = next((kind for at, magic, kind in _MAGIC if start[at : at + len(magic)] == magic), None)
    if held and dialect and held != dialect:
        raise UserError(f"{what}: {path} is a {SHOWN[held]} database; give {held}:///{path}, or the path alone.")
    by_name: Dialect = "duckdb" if path.suffix.lower() in _DUCKDB_SUFFIXES else "sqlite"
    return Location(held or dialect or by_name, str(path), path)


def splits_password(rest: str) -> bool:
    """Whether what stands behind ``://`` has an @ that is no border of the host.

    Drivers take what follows the first one for the host and say it, and it may be the end of a password.
    """
    place, _, options = rest.partition("@")[2].partition("?")
    return "@" in place or ("@" in options and "/" not in place)


def _server(dialect: Dialect, rest: str, what: str) -> Location:
    _require_driver(dialect, what)
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    drivername = DRIVERS[dialect]
    # The text itself may hold a password, so that no message repeats it.
    unreadable = UserError(
        f"{what}: what stands after {dialect}:// cannot be read as USER@HOST:PORT/NAME. Signs other than letters "
        "and digits in a password are written as %XX, or the password stands in a variable: USER:${NAME}@HOST."
    )
    if splits_password(rest):
        raise unreadable
    try:
        given = make_url(f"{drivername}://{rest}")
    except (ArgumentError, ValueError) as error:
        raise unreadable from error

    def filled(part: str | None) -> str | None:
        return part and _VARIABLE.sub(lambda match: _variable(match[1], what), part)

    query = {key: filled(value) if isinstance(value, str) else value for key, value in given.query.items()}
    url = URL.create(
        drivername,
        filled(given.username),
        filled(given.password),
        filled(given.host),
        given.port,
        filled(given.database),
        query,  # type: ignore[arg-type]
    )
    if not url.database:
        raise UserError(f"{what}: the URL names no database; write it behind the host, {dialect}://USER@HOST/NAME.")
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    scheme = "postgresql" if dialect == "postgres" else dialect
    return Location(dialect, f"{scheme}://{user}{url.host or ''}{port}/{url.database}", None, url)


def _require_driver(dialect: Dialect, what: str) -> None:
    """Raise UserError where a library is missing that reaches a server of this dialect."""
    alternative = "take a SQLite file, or give `ask` the schema with --schema"
    if dialect == "mysql":
        try:
            import_module("sqlalchemy")
            import_module("pymysql")
        except ImportError as error:
            raise UserError(missing_package(f"{what}: MySQL", error.name or "pymysql", "mysql", alternative)) from error
        return
    try:
        import_module("sqlalchemy")
        import_module("psycopg")
    except ImportError as error:
        needed = f"{what}: PostgreSQL"
        raise UserError(missing_package(needed, error.name or "psycopg", "postgres", alternative)) from error
