"""BIRD (J. Li et al., NeurIPS 2023) as its official archives lay it out."""

from __future__ import annotations

from pathlib import Path

from text2sql.data.example import Example
from text2sql.data.sources.layout import database, find, wrong_layout
from text2sql.data.sources.records import schema_of, text
from text2sql.errors import UserError
from text2sql.rows import read_rows

FILES = {
    "train": ("train.json",),
    "dev": ("dev.json", "dev_20240627.json", "dev_20251106.json", "mini_dev_sqlite.json"),
}


def read_directory(directory: Path, split: str) -> list[Example]:
    """A split with its external knowledge; the schema comes out of each database, which must be there.

    Args:
        directory: The unpacked archives: train.json beside train_databases/, dev.json beside dev_databases/, both in
            it or each in a folder of its own.
        split: train or dev.

    Raises:
        UserError: A file is missing or of another shape.
    """
    key = {"validation": "dev"}.get(split, split)
    if key not in FILES:
        raise UserError(f'data.hub_split: BIRD has the splits {", ".join(FILES)}, not "{split}".')
    file = find(directory, FILES[key], f"BIRD's {key} questions")
    databases = file.parent / f"{key}_databases"
    if not databases.is_dir():
        packed = " (unpack the .zip of the same name)" if databases.with_suffix(".zip").is_file() else ""
        wrong_layout(file.parent, f"{databases.name}/ beside {file.name}{packed}")
    examples = []
    for index, row in enumerate(read_rows(file)):
        answer = row.get("SQL", row.get("query"))
        if answer is None or "question" not in row or "db_id" not in row:
            raise UserError(
                f"data.path: row {index + 1} of {file} should have question, SQL and db_id; it has {', '.join(row)}."
            )
        path = database(databases, row["db_id"])
        examples.append(
            Example(
                id=f"bird/{key}/{row.get('question_id', index)}",
                question=text(row["question"]),
                context=schema_of(str(path)) if path.is_file() else "",
                answer=text(answer),
                db=str(path),
                db_id=row["db_id"],
                evidence=text(row.get("evidence")) or None,
            )
        )
    return examples
