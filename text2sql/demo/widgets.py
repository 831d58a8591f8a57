"""The widgets of the page and their layout. `actions` has their behaviour, ``style.css`` their style."""

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
# The editor's languages by dialect; DuckDB has none of its own, and PostgreSQL's is the most similar.
EDITOR_LANGUAGES: dict[Dialect, Any] = {
    "sqlite": "sql-sqlite",
    "postgres": "sql-pgSQL",
    "duckdb": "sql-pgSQL",
    "mysql": "sql-mySQL",
}
# A too large file is not uploaded: the browser sends only its name and size, and gets our message.
REFUSE_LARGE_FILES = f"""
document.addEventListener("change", (event) => {{
  const file = event.target.type === "file" && event.target.files[0];
  const csv = file && {json.dumps(CSV_SUFFIXES)}.some((suffix) => file.name.toLowerCase().endsWith(suffix));
  if (!file || file.size <= (csv ? {MAX_CSV} : {MAX_DATABASE})) return;
  event.stopImmediatePropagation();
  event.target.value = "";
  trigger("upload", {{name: file.name, size: file.size}});
}}, true);
"""
# Seconds after which the session of a visitor who has left is deleted, with the copies of their files.
SESSION_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Panel:
    """One model's answer: the query in an editor, a button that runs it, and its result."""

    column: gr.Column
    sql: gr.Code
    run: gr.Button
    result: gr.HTML


@dataclass(frozen=True)
class Widgets:
    """The widgets of the page, and its three states.

    Attributes:
        session: The visitor's `Session`.
        loaded: The `Source` of the open file, or None.
        asked: The `Source` of the displayed answers, or None.
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


def create_widgets(models: Sequence[str], header: str, copies: Path, dialect: Dialect = "sqlite") -> Widgets:
    """Creates the widgets within the open `gradio.Blocks`.

    Args:
        models: The models that can answer; the first one is preselected.
        header: The HTML above everything.
        copies: The directory for copies of visitors' files.
        dialect: The dialect for highlighting queries.
    """
    states: dict[str, Any] = {
        "session": gr.State(Session(copies), time_to_live=SESSION_SECONDS, delete_callback=Session.close),
        "loaded": gr.State(None),
        "asked": gr.State(None),
    }
    gr.HTML(header)
    with gr.Row(elem_classes="work"):
        with gr.Column(scale=2, min_width=300):
            source_widgets = _source_widgets()
        with gr.Column(scale=3, min_width=300):
            question_widgets = _question_widgets(models)
            with gr.Row(elem_classes="answers"):
                panels = {model: _answer_panel(model, dialect) for model in models}
            with gr.Accordion("History", open=False, visible=False, elem_id="history") as drawer:
                history = gr.Radio([], label="Earlier questions", show_label=False, elem_id="earlier")
    return Widgets(**states, **source_widgets, **question_widgets, panels=panels, drawer=drawer, history=history)


def _source_widgets() -> dict[str, Any]:
    with gr.Row(elem_classes="files"):
        file = gr.UploadButton("Open a SQLite or CSV file", size="sm", elem_id="file")
        example = gr.Button("Try the example shop", size="sm", elem_id="example")
    about = gr.HTML(view.describe_source(None), elem_id="about", js_on_load=REFUSE_LARGE_FILES)
    schema = gr.Textbox(
        label="Schema",
        placeholder="CREATE TABLE customers (id INTEGER, name TEXT, city TEXT)",
        lines=12,
        # A growing field is measured with every key, which takes seconds for a schema of a few hundred lines.
        max_lines=12,
        elem_id="schema",
    )
    forget = gr.Button("Close the file", size="sm", visible=False, elem_id="forget")
    return {"file": file, "example": example, "about": about, "schema": schema, "forget": forget}


def _question_widgets(models: Sequence[str]) -> dict[str, Any]:
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


def _answer_panel(model: str, dialect: Dialect) -> Panel:
    with gr.Column(visible=False, min_width=240, elem_id=f"{model}-answer", elem_classes="answer") as column:
        sql = gr.Code(
            "",
            language=EDITOR_LANGUAGES[dialect],
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
