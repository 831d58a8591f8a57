"""Reads BIRD (J. Li et al., NeurIPS 2023) in the layout of its official archives."""

from __future__ import annotations

from pathlib import Path

from text2sql.data.example import Example
from text2sql.data.sources.layout import archive_split, check_row, database_file, find_file, wrong_layout
from text2sql.data.sources.records import make_example, name_first_rows, with_database
from text2sql.rows import read_rows
from text2sql.sql.files import databases_directory

FILES = {
    "train": ("train.json",),
    "dev": ("dev.json", "dev_20240627.json", "dev_20251106.json", "mini_dev_sqlite.json"),
}


def read_directory(directory: Path, split: str) -> list[Example]:
    """Reads a split with its external knowledge; schemas come from the databases, which must be present.

    Args:
        directory: The unpacked archives: train.json next to train_databases/, dev.json next to dev_databases/, both
            in it or each in a folder.
        split: train or dev.

    Raises:
        UserError: A file is missing or of another shape.
    """
    key = archive_split(split, FILES, "BIRD")
    file = find_file(directory, FILES[key], f"BIRD's {key} questions")
    databases = databases_directory(file.parent / f"{key}_databases")
    if not databases.is_dir():
        advice = " (unpack the .zip of the same name)" if databases.with_suffix(".zip").is_file() else ""
        wrong_layout(file.parent, f"{databases.name}/ next to {file.name}{advice}")
    examples = []
    for index, row in enumerate(read_rows(file)):
        # Copies for Spider's tools call the column "query".
        answer = "query" if "query" in row and "SQL" not in row else "SQL"
        check_row(row, ("question", answer, "db_id"), index, file)
        values = {field: row.get(field) for field in ("question", "db_id", "evidence")} | {"answer": row[answer]}
        example = make_example(
            f"bird/{key}/{row.get('question_id', index)}", values, stripped=("question", "answer", "evidence")
        )
        examples.append(with_database(example, database_file(databases, example.db_id)) if example.db_id else example)
    return name_first_rows(examples)
