"""The widgets of the page and their places. What they do is in `actions`, how they look in ``style.css``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from text2sql.demo import view
from text2sql.demo.example import QUESTION
from text2sql.demo.session import Session
from text2sql.demo.uploads import CSV_SUFFIXES, MAX_CSV, MAX_DATABASE
from text2sql.engines.dialect import Dialect

TITLES = {"tuned": "Tuned model", "base": "Base model"}
BOTH = "both"
# The editor's names of the dialects; DuckDB's is nearest to PostgreSQL's.
COLOURS: dict[Dialect, Any] = {
    "sqlite": "sql-sqlite",
    "postgres": "sql-pgSQL",
    "duckdb": "sql-pgSQL",
    "mysql": "sql-mySQL",
}
# A file that is too large never leaves the browser: its name and size do, and are answered in our words.
HOLD_LARGE_FILES = f"""
document.addEventListener("change", (event) => {{
  const file = event.target.type === "file" && event.target.files[0];
  const csv = file && {json.dumps(CSV_SUFFIXES)}.some((suffix) => file.name.toLowerCase().endsWith(suffix));
  if (!file || file.size <= (csv ? {MAX_CSV} : {MAX_DATABASE})) return;
  event.stopImmediatePropagation();
  event.target.value = "";
  trigger("upload", {{name: file.name, size: file.size}});
}}, true);
"""
# After this time a visitor who has left is forgotten, with the copies of their files.
SESSION_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Panel:
    """One model's answer: the query in an editor, a button that runs it, and what came of it."""

    column: gr.Column
    sql: gr.Code
    run: gr.Button
    result: gr.HTML


@dataclass(frozen=True)
class Widgets:
    """Everything on the page, and the three states behind it.

    Attributes:
        session: The visitor's `Session`.
        loaded: The `Source` of the file that is open, or None.
        asked: The `Source` of the answers on show, or None.
    """

    session: gr.State
    loaded: gr.State
    asked: gr.State
    file: gr.UploadButton
    example: gr.Button
    about: gr.HTML
    schema: gr.Textbox
    forget: gr.Button
    question: gr.Textbox
    which: gr.Radio
    ask: gr.Button
    stop: gr.Button
    status: gr.HTML
    panels: dict[str, Panel]
    drawer: gr.Accordion
    history: gr.Radio

    @property
    def answers(self) -> list[Any]:
        """The widgets of all panels."""
        return [w for panel in self.panels.values() for w in (panel.column, panel.sql, panel.run, panel.result)]

    @property
    def runs(self) -> list[gr.Button]:
        """The buttons that run a query."""
        return [panel.run for panel in self.panels.values()]


def lay_out(models: Sequence[str], header: str, copies: Path, dialect: Dialect = "sqlite") -> Widgets:
    """Place the widgets inside the `gradio.Blocks` that is open.

    Args:
        models: Who can answer; the first one does unless another is chosen.
        header: HTML above everything.
        copies: Where copies of visitors' files are made.
        dialect: How queries are coloured.
    """
    states: dict[str, Any] = {
        "session": gr.State(Session(copies), time_to_live=SESSION_SECONDS, delete_callback=Session.close),
        "loaded": gr.State(None),
        "asked": gr.State(None),
    }
    gr.HTML(header)
    with gr.Row(elem_classes="work"):
        with gr.Column(scale=2, min_width=300):
            about_the_data = _data()
        with gr.Column(scale=3, min_width=300):
            asking = _asking(models)
            with gr.Row(elem_classes="answers"):
                panels = {model: _panel(model, dialect) for model in models}
            with gr.Accordion("History", open=False, visible=False, elem_id="history") as drawer:
                history = gr.Radio([], label="Earlier questions", show_label=False, elem_id="earlier")
    return Widgets(**states, **about_the_data, **asking, panels=panels, drawer=drawer, history=history)


def _data() -> dict[str, Any]:
    with gr.Row(elem_classes="files"):
        file = gr.UploadButton("Open a SQLite or CSV file", size="sm", elem_id="file")
        example = gr.Button("Try the example shop", size="sm", elem_id="example")
    about = gr.HTML(view.describe_source(None), elem_id="about", js_on_load=HOLD_LARGE_FILES)
    schema = gr.Textbox(
        label="Schema",
        placeholder="CREATE TABLE customers (id INTEGER, name TEXT, city TEXT)",
        lines=12,
        # A field that grows is measured with every key: that takes seconds for a schema of a few hundred lines.
        max_lines=12,
        elem_id="schema",
    )
    forget = gr.Button("Close the file", size="sm", visible=False, elem_id="forget")
    return {"file": file, "example": example, "about": about, "schema": schema, "forget": forget}


def _asking(models: Sequence[str]) -> dict[str, Any]:
    question = gr.Textbox(
        label="Question", placeholder=QUESTION, lines=1, max_lines=5, autofocus=True, elem_id="question"
    )
    choices = [(TITLES[model], model) for model in models] + [("Both", BOTH)] * (len(models) > 1)
    with gr.Row(elem_classes="choose"):
        which = gr.Radio(choices, value=models[0], label="Who answers", elem_id="which")
        ask = gr.Button("Ask", variant="primary", elem_id="ask", min_width=120)
        stop = gr.Button("Stop", interactive=False, elem_id="stop", min_width=120)
    status = gr.HTML("", elem_id="status")
    return {"question": question, "which": which, "ask": ask, "stop": stop, "status": status}


def _panel(model: str, dialect: Dialect) -> Panel:
    with gr.Column(visible=False, min_width=240, elem_id=f"{model}-answer", elem_classes="answer") as column:
        sql = gr.Code(
            "",
            language=COLOURS[dialect],
            label=TITLES[model],
            interactive=True,
            lines=2,
            max_lines=16,
            wrap_lines=True,
            show_line_numbers=False,
            buttons=["copy"],
            elem_id=f"{model}-sql",
        )
        run = gr.Button("Run this SQL", size="sm", interactive=False, elem_id=f"{model}-run")
        result = gr.HTML("", elem_id=f"{model}-result")
    return Panel(column, sql, run, result)
