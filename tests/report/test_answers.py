"""Reading a file of predictions in brief while it is being written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthetic import predictions
from text2sql.errors import UserError
from text2sql.report.questions.answers import AnswerFile, Page


def lines(count: int) -> list[str]:
    return [json.dumps(row) + "\n" for row in predictions("tuned", [i % 3 > 0 for i in range(count)])]


def read(file: AnswerFile, generation: int = 0, start: int = 0, most: int = 1000) -> Page:
    return file.page(generation, start, most, 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "predictions-tuned.jsonl"


def test_rows_say_what_the_predictions_say(path: Path) -> None:
    path.write_text("".join(lines(9)))
    page = read(AnswerFile(path))
    assert page.done and not page.problems
    for row, line in zip(page.rows, lines(9), strict=True):
        value: dict[str, Any] = json.loads(line)
        assert (row.id, row.question, row.gold, row.sql) == (
            value["id"],
            value["question"],
            value["gold"],
            value["sql"],
        )
        assert (row.status, row.correct) == (value["verdict"]["status"], value["verdict"]["correct"])
        assert (row.hardness, list(row.labels), row.cluster) == (value["hardness"], value["labels"], value["cluster"])


def test_each_offset_leads_to_its_prediction(path: Path) -> None:
    path.write_text("\ufeff" + "".join(lines(7)), encoding="utf-8")
    file = AnswerFile(path)
    page = read(file)
    assert [file.full(page.generation, row.offset).id for row in page.rows] == [row.id for row in page.rows]


def test_a_half_written_line_waits_for_its_other_half(path: Path) -> None:
    first, second, third = lines(3)
    path.write_text(first + second[:100])
    file = AnswerFile(path)
    page = read(file)
    assert (len(page.rows), page.done, page.problems) == (1, True, [])
    with path.open("a") as appending:
        appending.write(second[100:] + third)
    page = read(file, page.generation, 1)
    assert (page.start, [row.id for row in page.rows]) == (1, [json.loads(line)["id"] for line in (second, third)])


def test_only_what_is_new_is_read(path: Path) -> None:
    path.write_text("".join(lines(5)))
    file = AnswerFile(path)
    generation = read(file).generation
    # What has been read is not looked at again, or this would be found.
    text = path.read_bytes()
    with path.open("r+b") as damaging:
        damaging.write(b"x" * 50)
    os.truncate(path, len(text))
    with path.open("a") as appending:
        appending.write(lines(6)[5])
    page = read(file, generation, 5)
    assert (page.generation, len(page.rows), page.problems) == (generation, 1, [])


@pytest.mark.parametrize("change", ["renamed into place", "shorter", "as long"])
def test_a_file_that_was_written_anew_is_read_anew(path: Path, change: str) -> None:
    path.write_text("".join(lines(5)))
    file = AnswerFile(path)
    before = read(file)
    text = path.read_text()
    if change == "renamed into place":
        aside = path.with_name("aside")
        aside.write_text("".join(lines(8)))
        aside.replace(path)
    elif change == "shorter":
        path.write_text("".join(lines(2)))
    else:
        path.write_text(text.replace("synthetic/", "different/"))
        os.utime(path, ns=(1, 1))
    after = read(file, before.generation, 5)
    assert after.generation > before.generation and after.start == 0
    assert [row.id for row in after.rows] == [json.loads(line)["id"] for line in path.read_text().splitlines()]
    with pytest.raises(UserError, match="written again"):
        file.full(before.generation, before.rows[1].offset)


def test_what_cannot_be_read_is_left_out_and_named(path: Path) -> None:
    newer = json.dumps({**json.loads(lines(1)[0]), "format": 99})
    path.write_bytes(b'nonsense\n[]\n{"id": 3}\n\xff\n\n' + newer.encode() + b"\n" + lines(1)[0].encode() * 2)
    page = read(AnswerFile(path))
    assert len(page.rows) == 2
    unreadable, repeated = page.problems
    assert "5 unreadable lines left out (the first: line 1 is not JSON" in unreadable
    assert "1 repeated row; the last one for each id is shown" in repeated


def test_half_characters_are_read(path: Path) -> None:
    row = json.loads(lines(1)[0])
    path.write_text(json.dumps({**row, "sql": "SELECT '\ud800'"}) + "\n")
    assert read(AnswerFile(path)).rows[0].sql == "SELECT '\ud800'"


def test_pages_make_the_whole(path: Path) -> None:
    path.write_text("".join(lines(25)))
    file, found, page = AnswerFile(path), [], None
    while page is None or not page.done:
        page = read(file, page.generation if page else 0, len(found), most=10)
        found += page.rows
    assert [row.id for row in found] == [json.loads(line)["id"] for line in lines(25)]


def test_time_that_is_over_ends_a_page(path: Path) -> None:
    path.write_text("".join(lines(5)))
    page = AnswerFile(path).page(0, 0, 1000, 0)
    assert (page.rows, page.done) == ([], False)
