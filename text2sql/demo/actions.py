"""The actions of the page: each returns the widgets that change, with their new values."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from backends.interface import BackendError
from text2sql.demo import view
from text2sql.demo.example import QUESTION, write_example
from text2sql.demo.session import CheckedQuery, HistoryEntry, Session, Source, check_and_run, text_source
from text2sql.demo.storage import Storage
from text2sql.demo.uploads import CSV_SUFFIXES, check_size
from text2sql.demo.widgets import BOTH, TITLES, Panel, Widgets
from text2sql.errors import UserError
from text2sql.inference.ask import Answer, Answerer

Update = dict[Any, Any]
# Seconds between two updates of an answer that is being written.
UPDATE_SECONDS = 0.1


class Actions:
    """The actions of one page.

    Args:
        answerer: The models of the run.
        widgets: The widgets of the page.
        storage: The storage of visitors' files.
        start: The source until a visitor opens another one; None for none.
    """

    def __init__(self, answerer: Answerer, widgets: Widgets, storage: Storage, start: Source | None = None) -> None:
        self.answerer, self.widgets, self.storage, self.start = answerer, widgets, storage, start

    def begin(self) -> Update:
        """Loads the source that the demo was started with."""
        schema = self.start.schema if self.start else ""
        return self._source_update(self.start) | {self.widgets.schema: schema}

    def open_file(self, session: Session, upload: str) -> Update:
        """Loads an uploaded file as the source; an unusable one changes nothing."""
        file = Path(upload)
        try:
            self.storage.check_room(file.stat().st_size)
            source = session.open_file(file)
        except UserError as error:
            return {self.widgets.session: session, self.widgets.about: view.message(str(error))}
        finally:
            # Only the copy is used from now on.
            if file.resolve().is_relative_to(self.storage.uploads.resolve()):
                file.unlink(missing_ok=True)
        return self._opened_update(session, source)

    def refuse_file(self, file: gr.EventData) -> str:
        """Says why the browser did not send a file."""
        try:
            check_size(file.name, file.size, csv=Path(file.name).suffix.lower() in CSV_SUFFIXES)
        except UserError as error:
            return view.message(str(error))
        return ""

    def try_example(self, session: Session) -> Update:
        """Loads the example shop with a first question."""
        with tempfile.TemporaryDirectory() as scratch:
            source = session.open_file(write_example(Path(scratch)))
        return self._opened_update(session, source) | {self.widgets.question: QUESTION}

    def forget_file(self) -> Update:
        """Returns to the source that the demo was started with; if there is none, to the text of the schema."""
        return self.begin() if self.start else self._source_update(None)

    def ask(self, session: Session, loaded: Source | None, schema: str, question: str, which: str) -> Iterator[Update]:
        """Lets the chosen models answer, one after the other, and shows each answer as it is written."""
        widgets, question = self.widgets, question.strip()
        models = [model for model in widgets.panels if which in (model, BOTH)]
        checked: dict[str, CheckedQuery] = {}
        durations: list[str] = []
        try:
            source = _source(loaded, schema)
            if not question:
                raise UserError("Write a question first.")
            yield (
                self._clear_panels(models)
                | self._stop_button(True)
                | {
                    widgets.asked: source,
                    widgets.status: view.message("Writing SQL …", "quiet"),
                }
            )
            for model in models:
                for answer in _throttle(self.answerer.stream(question, source.schema, model, source.database)):
                    if not answer.finished:
                        yield {widgets.panels[model].sql: answer.text.strip()}
                checked[model] = check_and_run(answer.sql, source, answer)
                durations.append(f"{TITLES[model]}: {answer.seconds:.1f} s")
                status = view.message(", ".join(durations), "quiet")
                yield _panel_update(widgets.panels[model], checked[model]) | {widgets.status: status}
        except (UserError, BackendError) as error:
            yield self._stop_button(False) | {widgets.status: view.message(str(error))}
            return
        session.history.insert(0, HistoryEntry(question, source, checked))
        choices = [(f"{entry.question}  ·  {entry.source.name}", i) for i, entry in enumerate(session.history)]
        # Gradio may lose a button's change if the next update follows at once, so the last one repeats all of them.
        run_buttons = {widgets.panels[model].run: gr.Button(interactive=True) for model in checked}
        yield (
            self._stop_button(False)
            | run_buttons
            | {
                widgets.session: session,
                widgets.drawer: gr.Accordion(visible=True),
                widgets.history: gr.Radio(choices, value=None),
            }
        )

    def stop(self) -> Update:
        """Stops an answer; the written part can be edited and run."""
        runs = {run: gr.Button(interactive=True) for run in self.widgets.runs}
        return self._stop_button(False) | runs | {self.widgets.status: view.message("Stopped.", "quiet")}

    def run(self, asked: Source | None, loaded: Source | None, schema: str, sql: str) -> Iterator[tuple[str, str]]:
        """Checks and runs the query in an editor; yields its result and the status."""
        yield view.message("Running the query …", "quiet"), ""
        try:
            yield view.result(check_and_run(sql, asked or _source(loaded, schema))), ""
        except UserError as error:
            yield "", view.message(str(error))

    def restore(self, session: Session, index: int) -> Update:
        """Restores an earlier question with its schema and its answers."""
        widgets, entry = self.widgets, session.history[index]
        update = self._clear_panels(list(entry.checked)) | self._source_update(
            entry.source if entry.source.database else None
        )
        for model, checked in entry.checked.items():
            update |= _panel_update(widgets.panels[model], checked)
        return update | {
            widgets.question: entry.question,
            widgets.schema: entry.source.schema,
            widgets.asked: entry.source,
            widgets.which: BOTH if len(entry.checked) > 1 else next(iter(entry.checked)),
            widgets.status: "",
        }

    def _opened_update(self, session: Session, source: Source) -> Update:
        widgets = self.widgets
        return self._source_update(source) | {
            widgets.session: session,
            widgets.schema: source.schema,
            widgets.asked: None,
        }

    def _source_update(self, source: Source | None) -> Update:
        return {
            self.widgets.loaded: source,
            self.widgets.about: view.describe_source(source),
            self.widgets.forget: gr.Button(visible=source is not None and source != self.start),
        }

    def _stop_button(self, is_writing: bool) -> Update:
        """Enables the stop button while an answer is being written."""
        return {self.widgets.stop: gr.Button(interactive=is_writing)}

    def _clear_panels(self, models: list[str]) -> Update:
        """Clears all panels and shows those of the given models."""
        update: Update = {}
        for model, panel in self.widgets.panels.items():
            update[panel.column] = gr.Column(visible=model in models)
            update[panel.run] = gr.Button(interactive=False)
            update[panel.sql] = update[panel.result] = ""
        return update


def _throttle(answers: Iterator[Answer]) -> Iterator[Answer]:
    """The answers that are at least `UPDATE_SECONDS` apart, and the finished one."""
    last = 0.0
    for answer in answers:
        if answer.finished or answer.seconds - last >= UPDATE_SECONDS:
            last = answer.seconds
            yield answer


def _panel_update(panel: Panel, checked: CheckedQuery) -> Update:
    return {panel.sql: checked.sql, panel.run: gr.Button(interactive=True), panel.result: view.result(checked)}


def _source(loaded: Source | None, schema: str) -> Source:
    """The source of a question: the tables in the schema's field, with the database of the open file, if any."""
    if loaded and schema.strip() == loaded.schema.strip():
        return loaded
    source = text_source(schema)
    return replace(source, name=loaded.name, database=loaded.database) if loaded else source
