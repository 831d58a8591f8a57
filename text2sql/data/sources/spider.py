"""Reads Spider (T. Yu et al., EMNLP 2018) in the layout of its official archive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from text2sql.data.example import Example
from text2sql.data.sources.layout import archive_split, check_row, database_file, find_file, wrong_layout
from text2sql.data.sources.records import make_example, name_first_rows, with_database
from text2sql.rows import read_rows
from text2sql.sql.files import databases_directory, read_tables_json

# The files of each split, by their names in copies of the archive.
FILES = {
    "train": ("train_spider.json", "train.json"),
    "others": ("train_others.json",),
    "dev": ("dev.json", "validation.json"),
    "test": ("test.json",),
}


def read_directory(directory: Path, split: str) -> list[Example]:
    """Reads a split, with schemas from the databases, or from tables.json if they are missing.

    Args:
        directory: The unpacked archive: train_spider.json, dev.json, tables.json and database/.
        split: train, others (train_others.json), dev or test.

    Raises:
        UserError: A file is missing or of another shape.
    """
    key = archive_split(split, FILES, "Spider")
    file = find_file(directory, FILES[key], f"Spider's {key} questions")
    tables = _tables(file.parent, key)
    databases = _databases(file.parent, key)
    examples = []
    for index, row in enumerate(read_rows(file)):
        check_row(row, ("question", "query", "db_id"), index, file)
        values = {"question": row["question"], "answer": row["query"], "db_id": row["db_id"]}
        example = make_example(f"spider/{key}/{index}", values)
        if databases and example.db_id:
            example = with_database(example, database_file(databases, example.db_id))
        if not example.context:
            example = replace(example, context=tables.get(example.db_id or "", ""))
        examples.append(example)
    return name_first_rows(examples)


def _databases(folder: Path, key: str) -> Path | None:
    names = ("test_database",) if key == "test" else ("database", "databases", "spider_databases")
    return next((databases_directory(folder / name) for name in names if (folder / name).is_dir()), None)


def _tables(folder: Path, key: str) -> dict[str, str]:
    """The schemas of tables.json, by db_id."""
    file = folder / ("test_tables.json" if key == "test" else "tables.json")
    if file.is_file():
        return read_tables_json(file, "data.path")
    if _databases(folder, key) is None:
        wrong_layout(folder, f"{file.name} or database/ next to Spider's {key} questions")
    return {}
