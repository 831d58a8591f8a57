"""The schema as a prompt shows it: which tables, sample rows, descriptions of columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from text2sql.config import SchemaText
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.sql.files import first_rows

TABLE = re.compile(
    r"\bcreate\s+(?:temp\w*\s+)?table\s+(?:if\s+not\s+exists\s+)?(\"[^\"]+\"|`[^`]+`|\[[^]]+\]|[^\s(]+)", re.IGNORECASE
)
REFERENCES = re.compile(r"\breferences\s+(\"[^\"]+\"|`[^`]+`|\[[^]]+\]|[^\s(,)]+)", re.IGNORECASE)
PIECE = re.compile(r"--[^\n]*|\"[^\"]*\"|`[^`]*`|'[^']*'|\[[^]]*\]|[(),]|[^\"`'\[(),-]+|.", re.DOTALL)
QUOTES = ('"', "`", "[")
PRIMARY = re.compile(r"\bprimary\s+key\b", re.IGNORECASE)
NAME = re.compile(r"\"[^\"]+\"|`[^`]+`|\[[^]]+\]|\w+")
CONSTRAINT = re.compile(r"\s*(?:(?:primary|foreign)\s+key\b|constraint\s+\S|(?:unique|check)\s*\()", re.IGNORECASE)
LONGEST_VALUE = 40  # characters of a sample value


def show_schemas(examples: Sequence[Example], options: SchemaText) -> list[Example]:
    """The examples with `shown` as the options ask.

    Raises:
        UserError: Rows or descriptions are asked for and no example has a database.
    """
    if options == SchemaText():
        return list(examples)
    if (options.sample_rows or options.descriptions) and examples and not any(e.db for e in examples):
        raise UserError(
            "prompt.schema_text: sample_rows and descriptions come out of databases, and no example has one; give "
            "them with data.databases, or set sample_rows=0 and descriptions=false."
        )
    return [replace(e, shown=_show(e, options)) for e in examples]


def statements(context: str) -> dict[str, str]:
    """The CREATE TABLE statements of a schema by table name, lower case, each with what follows it up to the next."""
    starts = [*TABLE.finditer(context)]
    ends = [match.start() for match in starts[1:]] + [len(context)]
    found: dict[str, str] = {}
    for match, end in zip(starts, ends, strict=True):
        name = _bare(match[1])
        found[name] = (found[name] + "\n" if name in found else "") + context[match.start() : end].strip()
    return found


def _unquoted(name: str) -> str:
    return name[1:-1] if name[:1] in QUOTES else name


def _bare(name: str) -> str:
    return _unquoted(name).lower()


def shown_tables(example: Example, options: SchemaText) -> dict[str, str]:
    """The statements, by table name, of the tables that the options show."""
    tables = statements(example.context)
    if options.tables == "linked":
        return {name: tables[name] for name in linked_tables(tables, f"{example.question} {example.evidence or ''}")}
    if options.tables == "gold":
        return {name: tables[name] for name in gold_tables(tables, example.answer)}
    return tables


def _show(example: Example, options: SchemaText) -> str:
    tables = shown_tables(example, options)
    from_database = bool(example.db and (options.sample_rows or options.descriptions))
    if not from_database and (options.tables, options.style) == ("all", "ddl"):
        return example.context
    parts = []
    for name, ddl in tables.items():
        parts.append(ddl.rstrip("; \n") + ";" if options.style == "ddl" else _line(ddl))
        if options.descriptions and example.db:
            parts += _descriptions(example.db, name)
        if options.sample_rows and example.db:
            parts += _sample(example.db, name, options.sample_rows)
    if options.style == "compact":
        parts += [line for ddl in tables.values() for line in _joins(ddl, tables)]
    return "\n".join(parts)


def _line(ddl: str) -> str:
    """A table as ``name(column, column)``, its names bare where SQL takes them so."""
    return f"{_plain(_table(ddl))}({', '.join(map(_plain, _columns(ddl)))})"


def _joins(ddl: str, shown: Mapping[str, str]) -> list[str]:
    """A table's foreign keys into tables that are shown, as ``table.column = other.column``; a line for each column."""
    lines = []
    for part in _parts(ddl):
        target = REFERENCES.search(part)
        if not target or _bare(target[1]) not in shown:
            continue
        before, after = part[: target.start()], part[target.end() :]
        here = NAME.findall(before.partition("(")[2]) if CONSTRAINT.match(part) else NAME.findall(before)[:1]
        there = NAME.findall(after.partition("(")[2].partition(")")[0]) or _key(shown[_bare(target[1])])
        table, other = _plain(_table(ddl)), _plain(target[1])
        lines += [f"{table}.{_plain(a)} = {other}.{_plain(b)}" for a, b in zip(here, there, strict=False)]
    return lines


def _key(ddl: str) -> list[str]:
    """The columns of a table's primary key."""
    for part in _parts(ddl):
        if found := PRIMARY.search(part):
            return NAME.findall(part[found.end() :]) if CONSTRAINT.match(part) else NAME.findall(part)[:1]
    return []


def gold_tables(tables: dict[str, str], answer: str) -> list[str]:
    """Those of the tables that a query names, in their order; all of them if it names none."""
    words = set(re.findall(r"\w+", answer.lower()))
    return [name for name in tables if name in words or (not name.isidentifier() and name in answer.lower())] or [
        *tables
    ]


def linked_tables(tables: dict[str, str], question: str) -> list[str]:
    """Those of the tables whose name or columns the question speaks of, and those that reference two of them.

    Words are compared without their endings. If the question names none, all are shown: a table that is not
    there cannot be asked for.
    """
    asked = _stems(question)
    kept = {name for name in tables if _stems(name) & asked}
    for name, ddl in tables.items():
        columns = [_stems(column) for column in _columns(ddl)]
        kept |= {name} if any(len(stems) and stems <= asked for stems in columns) else set()
    for name, ddl in tables.items():
        if len({_bare(target) for target in REFERENCES.findall(ddl)} & kept) >= 2:
            kept.add(name)
    return [name for name in tables if name in kept] or [*tables]


def _table(ddl: str) -> str:
    """A table's name as its CREATE TABLE spells it."""
    found = TABLE.search(ddl)
    return found[1] if found else ""


def _columns(ddl: str) -> list[str]:
    """The names of a table's columns as they are spelt, with or without a type behind them; each once."""
    names: dict[str, str] = {}
    for part in _parts(ddl):
        if not CONSTRAINT.match(part) and (name := NAME.match(part.lstrip())):
            names.setdefault(_bare(name[0]), name[0])
    return [*names.values()]


def _parts(ddl: str) -> list[str]:
    """What stands between the commas of a CREATE TABLE's parentheses, or of several of one table."""
    starts = [match.start() for match in TABLE.finditer(ddl)] or [0]
    return [part for start, end in pairwise([*starts, len(ddl)]) for part in _body(ddl[start:end])]


def _body(statement: str) -> list[str]:
    """The columns and constraints of one CREATE TABLE."""
    parts, depth = [""], 0
    for piece in PIECE.findall(statement):
        if piece.startswith("--"):  # a comment
            continue
        depth -= piece == ")"
        if depth == 1 and piece == ",":
            parts.append("")
        elif depth > 0:
            parts[-1] += piece
        elif piece == ")":
            break
        depth += piece == "("
    return parts


def _plain(name: str) -> str:
    """A name without its quotes, unless it has other signs than letters, digits and underscores."""
    bare = _unquoted(name)
    return bare if re.fullmatch(r"[^\W\d]\w*", bare) else name


def _stems(text: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    return {
        re.sub(r"(?<=..)(ies|es|s|e|y)$", "", word) for word in words if word not in ("id", "the", "a", "of", "name")
    }


@lru_cache(maxsize=4096)
def _sample(db: str, table: str, count: int) -> tuple[str, ...]:
    columns, rows = first_rows(db, table, count)
    if not rows:
        return ()
    lines = [" | ".join(columns), *(" | ".join(_shortened(value) for value in row) for row in rows)]
    return (f"/* {len(rows)} rows of {table}:", *lines[:-1], f"{lines[-1]} */")


def _shortened(value: Any) -> str:
    text = "NULL" if value is None else " ".join(str(value).replace("*/", "").split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


@lru_cache(maxsize=4096)
def _descriptions(db: str, table: str) -> tuple[str, ...]:
    """A comment for each column that BIRD's ``database_description/TABLE.csv`` describes."""
    folder = Path(db).parent / "database_description"
    if not folder.is_dir():
        return ()
    file = next((f for f in sorted(folder.glob("*.csv")) if f.stem.lower() == table), None)
    if file is None:
        return ()
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # some of BIRD's files are in a Windows code page
        text = raw.decode("cp1252", "replace")
    lines = []
    for row in csv.DictReader(text.splitlines()):
        name = " ".join((row.get("original_column_name") or "").split())
        parts = [" ".join((row.get(key) or "").split()) for key in ("column_description", "value_description")]
        about = "; ".join(part for part in parts if part)
        if name and about and about.lower() != name.lower():
            lines.append(f"-- {table}.{name}: {about}")
    return tuple(lines)
