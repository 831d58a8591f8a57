"""Spider (T. Yu et al., EMNLP 2018) as its official archive lays it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2sql.data.example import Example
from text2sql.data.sources.layout import database, find, wrong_layout
from text2sql.data.sources.records import schema_of, text
from text2sql.errors import UserError
from text2sql.rows import read_rows

FILES = {  # of a split, by the names that copies of the archive give them
    "train": ("train_spider.json", "train.json"),
    "others": ("train_others.json",),
    "dev": ("dev.json", "validation.json"),
    "test": ("test.json",),
}
TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "TIMESTAMP", "boolean": "BOOLEAN", "others": "TEXT"}


def read_directory(directory: Path, split: str) -> list[Example]:
    """A split, with the schema out of each database, or out of tables.json where the databases are not there.

    Args:
        directory: The unpacked archive: train_spider.json, dev.json, tables.json and database/.
        split: train, others (train_others.json), dev or test.

    Raises:
        UserError: A file is missing or of another shape.
    """
    key = {"validation": "dev", "train_others": "others"}.get(split, split)
    if key not in FILES:
        raise UserError(f'data.hub_split: Spider has the splits {", ".join(FILES)}, not "{split}".')
    file = find(directory, FILES[key], f"Spider's {key} questions")
    tables = _tables(file.parent, key)
    databases = _databases(file.parent, key)
    examples = []
    for index, row in enumerate(read_rows(file)):
        missing = [name for name in ("question", "query", "db_id") if name not in row]
        if missing:
            raise UserError(
                f"data.path: row {index + 1} of {file} has no {', '.join(missing)}; it has {', '.join(row)}."
            )
        path = database(databases, row["db_id"]) if databases else None
        in_place = path is not None and path.is_file()
        examples.append(
            Example(
                id=f"spider/{key}/{index}",
                question=text(row["question"]),
                context=schema_of(str(path)) if in_place else tables.get(row["db_id"], ""),
                answer=text(row["query"]),
                db=str(path) if path else None,
                db_id=row["db_id"],
            )
        )
    return examples


def _databases(folder: Path, key: str) -> Path | None:
    names = ("test_database",) if key == "test" else ("database", "databases", "spider_databases")
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _tables(folder: Path, key: str) -> dict[str, str]:
    """The schemas of tables.json, by db_id."""
    file = folder / ("test_tables.json" if key == "test" else "tables.json")
    if not file.is_file():
        if _databases(folder, key) is None:
            wrong_layout(folder, f"{file.name} or database/ beside Spider's {key} questions")
        return {}
    try:
        return {entry["db_id"]: schema_from_tables(entry) for entry in json.loads(file.read_text(encoding="utf-8"))}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"data.path: {file} is not Spider's tables.json ({type(error).__name__}: {error}); an entry has db_id, "
            "table_names_original, column_names_original, column_types, primary_keys and foreign_keys."
        ) from error


def schema_from_tables(entry: Mapping[str, Any]) -> str:
    """CREATE TABLE statements of one entry of tables.json."""
    names, columns = entry["table_names_original"], entry["column_names_original"]
    primary = {c for key in entry["primary_keys"] for c in (key if isinstance(key, list) else [key])}
    statements = []
    for number, name in enumerate(names):
        own = [i for i, (table, _) in enumerate(columns) if table == number]
        lines = [f"  {_quoted(columns[i][1])} {TYPES.get(entry['column_types'][i], 'TEXT')}" for i in own]
        keys = [_quoted(columns[i][1]) for i in own if i in primary]
        if keys:
            lines.append(f"  PRIMARY KEY ({', '.join(keys)})")
        for here, there in entry["foreign_keys"]:
            if here in own:
                target, column = columns[there]
                reference = f"{_quoted(names[target])} ({_quoted(column)})"
                lines.append(f"  FOREIGN KEY ({_quoted(columns[here][1])}) REFERENCES {reference}")
        statements.append(f"CREATE TABLE {_quoted(name)} (\n" + ",\n".join(lines) + "\n)")
    return ";\n".join(statements)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
