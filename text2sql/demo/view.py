"""Renders results, problems and the head of the page as HTML, with untrusted text escaped."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from html import escape

from text2sql.config import Config
from text2sql.demo.session import CheckedQuery, Source
from text2sql.demo.uploads import MAX_CSV, MAX_DATABASE
from text2sql.formats import interval, percent
from text2sql.runs.summary import Summary
from text2sql.sql.values import Value

# Characters of a value in a table.
MAX_CELL_CHARACTERS = 200


def header(config: Config, summary: Summary | None) -> str:
    """The title, the run, and the accuracy of its models."""
    facts = [f"Run <b>{escape(config.name)}</b>", escape(config.trained_model)]
    scores = {"base": summary.headline.base, "tuned": summary.headline.tuned} if summary else {}
    for label, score in scores.items():
        if score:
            facts.append(
                f"{label} right on {percent(score.accuracy)} of {score.n} held-out questions "
                f"<span class='quiet'>({interval(score.low, score.high)})</span>"
            )
    facts.append("read the SQL before you trust it")
    items = "".join(f"<li>{fact}</li>" for fact in facts)
    return f"<header><h1>Ask a database</h1><ul class='facts'>{items}</ul></header>"


def message(text: str, kind: str = "error") -> str:
    """A line for the user: an error, or a status."""
    role = "alert" if kind == "error" else "status"
    return f"<p class='message {kind}' role='{role}'>{escape(text)}</p>" if text else ""


def describe_source(source: Source | None) -> str:
    """The loaded source, or what can be loaded."""
    if source is None:
        return message(
            f"A database of up to {_megabytes(MAX_DATABASE)}, or a CSV of up to {_megabytes(MAX_CSV)}.", "quiet"
        )
    rows = "its rows can be queried" if source.database else "there are no rows to query"
    note = f" Of the file: {source.note}." if source.note else ""
    engine = f" ({source.database.engine})" if source.database and source.dialect != "sqlite" else ""
    return message(f"{source.name}{engine}: {rows}.{note}", "quiet")


def _megabytes(size: int) -> str:
    return f"{size // 10**6} MB"


def result(checked: CheckedQuery) -> str:
    """A query's problems or rows."""
    parts = [message(checked.note, "note")] if checked.note else []
    if checked.problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in checked.problems)
        parts.append(f"<ul class='problems' role='alert'>{items}</ul>")
    elif checked.columns is None:
        parts.append(message("It fits the schema. Give a SQLite or CSV file to see rows.", "good"))
    else:
        count = len(checked.rows)
        row_count = f"the first {count:,} rows" if checked.overflow else f"{count:,} row{'' if count == 1 else 's'}"
        parts.append(message(f"It fits the schema; {row_count}, in {checked.seconds:.2f} s.", "good"))
        parts.append(table(checked.columns, checked.rows))
        parts.append(_download(checked.columns, checked.rows, "these rows" if checked.overflow else "the rows"))
    return "".join(parts)


def table(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """Rows as a scrollable table, also by keyboard."""
    head = "".join(f"<th scope='col'>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return (
        f"<div class='rows' tabindex='0' role='region' aria-label='Rows'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _download(columns: Sequence[str], rows: Sequence[Sequence[Value]], what: str) -> str:
    """A link that saves rows as a CSV file; the data are in the link itself, so the server stores nothing."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([columns, *([_csv_value(value) for value in row] for row in rows)])
    # With the byte-order mark by which spreadsheets recognise UTF-8.
    content = base64.b64encode(buffer.getvalue().encode("utf-8-sig", "replace")).decode()
    url = f"data:text/csv;base64,{content}"
    return f"<p><a class='save' download='rows.csv' href='{url}'>Download {what} as CSV</a></p>"


def _csv_value(value: Value) -> object:
    if isinstance(value, bytes):
        return value.hex()
    # A spreadsheet would read a text that starts like this as a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _cell(value: Value) -> str:
    if value is None:
        return "<td class='quiet'>NULL</td>"
    if isinstance(value, bytes):
        return f"<td class='quiet'>{len(value):,} bytes</td>"
    if isinstance(value, (int, float)):
        return f"<td class='number'>{value}</td>"
    shortened = value if len(value) <= MAX_CELL_CHARACTERS else value[:MAX_CELL_CHARACTERS] + "…"
    return f"<td>{escape(shortened)}</td>"
