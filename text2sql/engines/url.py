"""The location of a user's database: a file's path or a URL. Passwords are kept out of everything that is displayed."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from backends.extras import missing_package
from backends.redaction import MASK
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect, dialect_named
from text2sql.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

FORMS = "a file, sqlite:///FILE, duckdb:///FILE, postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME"
# From so many characters on an option's value is masked within words too.
_SECRET_CHARACTERS = 4
# An environment variable within a URL.
_VARIABLE = re.compile(r"\$\{(\w+)\}")
# The signatures of database files: offset, bytes, dialect.
_FILE_SIGNATURES: tuple[tuple[int, bytes, Dialect], ...] = (
    (0, b"SQLite format 3\x00", "sqlite"),
    (8, b"DUCK", "duckdb"),
)
_DUCKDB_SUFFIXES = (".duckdb", ".ddb")
# SQLAlchemy's driver names for servers.
DRIVERS: dict[Dialect, str] = {"postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}


@dataclass(frozen=True)
class Location:
    """The location of a database.

    Attributes:
        dialect: The dialect of the engine that holds it.
        display_name: The location for messages and files: without the password and the options of a URL.
        path: The file; None for a server.
        url: For SQLAlchemy, with the password; None for a file.
    """

    dialect: Dialect
    display_name: str
    path: Path | None = None
    url: URL | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may contain: the password, and the values of the URL's options."""
        if self.url is None:
            return ()
        options = [
            value for values in self.url.query.values() for value in ([values] if isinstance(values, str) else values)
        ]
        return (str(self.url.password or ""), *options)

    def redact(self, text: str) -> str:
        """A driver's message with the secrets masked."""
        password = self.url and self.url.password
        for secret in filter(None, self.secrets):
            # A short option, such as a port number, may be part of other words.
            is_part_of_words = len(secret) < _SECRET_CHARACTERS and secret != password
            pattern = rf"(?<!\w){re.escape(secret)}(?!\w)" if is_part_of_words else re.escape(secret)
            text = re.sub(pattern, MASK, text)
        return text


def locate(text: str, what: str = "--database") -> Location:
    """The location that a path or URL names; nothing is opened.

    ``${NAME}`` in a URL stands for an environment variable, so that no password is left in a shell's history.

    Args:
        text: The path or URL.
        what: The option or key that the text is from, for messages.

    Raises:
        UserError: There is no such file, no such kind of database, no such variable, or no library to reach it.
    """
    if not text.strip():
        raise UserError(f"{what} is empty; give {FORMS}.")
    if whole := _VARIABLE.fullmatch(text.strip()):
        text = _environment_variable(whole[1], what)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _file(Path(text), what, None)
    dialect = dialect_named(scheme)
    if dialect is None:
        raise UserError(f'{what}: "{scheme}://" names no database that is known here; give {FORMS}.')
    if dialect in ("sqlite", "duckdb"):
        return _file(_path_of(rest, dialect, what), what, dialect)
    return _server(dialect, rest, what)


def _environment_variable(name: str, what: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise UserError(f"{what}: the environment has no variable {name}; set it, or write ${{OTHER}} for another.")
    return value


def _path_of(rest: str, dialect: Dialect, what: str) -> Path:
    """The path in ``sqlite:///relative`` or ``sqlite:////absolute``."""
    rest = _VARIABLE.sub(lambda match: _environment_variable(match[1], what), rest.partition("?")[0])
    if not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise UserError(f"{what}: {dialect}:// needs the file of a database after three slashes: {dialect}:///FILE.")
    return Path(rest[1:])


def _file(path: Path, what: str, dialect: Dialect | None) -> Location:
    # Where there is no such user, there is no such file either.
    with suppress(RuntimeError):
        path = path.expanduser()
    if not path.is_file():
        raise UserError(f"{what}: there is no file {path}.")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise UserError(f"{what}: {path} cannot be read: {error.strerror}.") from error
    dialect_by_content = next(
        (kind for at, magic, kind in _FILE_SIGNATURES if start[at : at + len(magic)] == magic), None
    )
    if dialect_by_content and dialect and dialect_by_content != dialect:
        raise UserError(
            f"{what}: {path} is a {DISPLAY_NAMES[dialect_by_content]} database; "
            f"give {dialect_by_content}:///{path}, or the path alone."
        )
    dialect_by_suffix: Dialect = "duckdb" if path.suffix.lower() in _DUCKDB_SUFFIXES else "sqlite"
    return Location(dialect_by_content or dialect or dialect_by_suffix, str(path), path)


def has_unescaped_at(rest: str) -> bool:
    """Whether what follows ``://`` has an unescaped @ besides the one in front of the host.

    Drivers take what follows the first @ for the host and repeat it in messages; it may be the end of a password.
    """
    host, _, options = rest.partition("@")[2].partition("?")
    return "@" in host or ("@" in options and "/" not in host)


def _server(dialect: Dialect, rest: str, what: str) -> Location:
    _require_driver(dialect, what)
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    drivername = DRIVERS[dialect]
    # The text itself may contain a password, so no message repeats it.
    unreadable = UserError(
        f"{what}: what stands after {dialect}:// cannot be read as USER@HOST:PORT/NAME. Signs other than letters "
        "and digits in a password are written as %XX, or the password stands in a variable: USER:${NAME}@HOST."
    )
    if has_unescaped_at(rest):
        raise unreadable
    try:
        parsed = make_url(f"{drivername}://{rest}")
    except (ArgumentError, ValueError) as error:
        raise unreadable from error

    def fill_in(part: str | None) -> str | None:
        return part and _VARIABLE.sub(lambda match: _environment_variable(match[1], what), part)

    query = {key: fill_in(value) if isinstance(value, str) else value for key, value in parsed.query.items()}
    url = URL.create(
        drivername,
        fill_in(parsed.username),
        fill_in(parsed.password),
        fill_in(parsed.host),
        parsed.port,
        fill_in(parsed.database),
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
