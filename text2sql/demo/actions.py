"""What happens on the page: each action returns the widgets that change, with their new values."""

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
from text2sql.demo.session import Asked, Session, Shown, Source, show, text_source
from text2sql.demo.storage import Storage
from text2sql.demo.uploads import CSV_SUFFIXES, check_size
from text2sql.demo.widgets import BOTH, TITLES, Panel, Widgets
from text2sql.errors import UserError
from text2sql.inference.ask import Answer, Answerer

Update = dict[Any, Any]
# Seconds between two states of an answer that is being written.
PACE = 0.1


class Actions:
    """The actions of one page.

    Args:
        answerer: The run's models.
        widgets: What is on the page.
        storage: Where visitors' files are.
        start: What is asked about until a visitor opens something else; None for nothing.
    """

    def __init__(self, answerer: Answerer, widgets: Widgets, storage: Storage, start: Source | None = None) -> None:
        self.answerer, self.widgets, self.storage, self.start = answerer, widgets, storage, start

    def begin(self) -> Update:
        """Ask about the database that the demo was started with."""
        schema = self.start.schema if self.start else ""
        return self._loaded(self.start) | {self.widgets.schema: schema}

    def open_file(self, session: Session, upload: str) -> Update:
        """Ask about an uploaded file from now on; one that cannot be used leaves everything as it is."""
        file = Path(upload)
        try:
            self.storage.check_room(file.stat().st_size)
            source = session.open_file(file)
        except UserError as error:
            return {self.widgets.session: session, self.widgets.about: view.message(str(error))}
        finally:
            # The copy is what is used from now on.
            if file.resolve().is_relative_to(self.storage.uploads.resolve()):
                file.unlink(missing_ok=True)
        return self._opened(session, source)

    def refuse_file(self, file: gr.EventData) -> str:
        """Say why a file was not sent here."""
        try:
            check_size(file.name, file.size, csv=Path(file.name).suffix.lower() in CSV_SUFFIXES)
        except UserError as error:
            return view.message(str(error))
        return ""

    def try_example(self, session: Session) -> Update:
        """Ask about the example shop, with a first question."""
        with tempfile.TemporaryDirectory() as scratch:
            source = session.open_file(write_example(Path(scratch)))
        return self._opened(session, source) | {self.widgets.question: QUESTION}

    def forget_file(self) -> Update:
        """Ask about what the demo was started with; if that is nothing, about the schema alone, whose text stays."""
        return self.begin() if self.start else self._loaded(None)

    def ask(self, session: Session, loaded: Source | None, schema: str, question: str, which: str) -> Iterator[Update]:
        """Let the chosen models answer, one after the other, and show each answer as it is written."""
        widgets, question = self.widgets, question.strip()
        wanted = [model for model in widgets.panels if which in (model, BOTH)]
        shown: dict[str, Shown] = {}
        took: list[str] = []
        try:
            source = _source(loaded, schema)
            if not question:
                raise UserError("Write a question first.")
            yield (
                self._cleared(wanted)
                | self._writing(True)
                | {
                    widgets.asked: source,
                    widgets.status: view.message("Writing SQL …", "quiet"),
                }
            )
            for model in wanted:
                for answer in _paced(self.answerer.stream(question, source.schema, model, source.database)):
                    if not answer.finished:
                        yield {widgets.panels[model].sql: answer.text.strip()}
                shown[model] = show(answer.sql, source, answer)
                took.append(f"{TITLES[model]}: {answer.seconds:.1f} s")
                status = view.message(", ".join(took), "quiet")
                yield _filled(widgets.panels[model], shown[model]) | {widgets.status: status}
        except (UserError, BackendError) as error:
            yield self._writing(False) | {widgets.status: view.message(str(error))}
            return
        session.history.insert(0, Asked(question, source, shown))
        earlier = [(f"{entry.question}  ·  {entry.source.name}", i) for i, entry in enumerate(session.history)]
        # Gradio may lose a button's change when the next state follows at once: the last one says all of them again.
        runs = {widgets.panels[model].run: gr.Button(interactive=True) for model in shown}
        yield (
            self._writing(False)
            | runs
            | {
                widgets.session: session,
                widgets.drawer: gr.Accordion(visible=True),
                widgets.history: gr.Radio(earlier, value=None),
            }
        )

    def stop(self) -> Update:
        """Leave an answer as far as it has been written; what is there can be edited and run."""
        runs = {run: gr.Button(interactive=True) for run in self.widgets.runs}
        return self._writing(False) | runs | {self.widgets.status: view.message("Stopped.", "quiet")}

    def run(self, asked: Source | None, loaded: Source | None, schema: str, sql: str) -> Iterator[tuple[str, str]]:
        """Check and run the query in an editor; gives its result, and the status."""
        yield view.message("Running the query …", "quiet"), ""
        try:
            yield view.result(show(sql, asked or _source(loaded, schema))), ""
        except UserError as error:
            yield "", view.message(str(error))

    def restore(self, session: Session, index: int) -> Update:
        """Show an earlier question again, with its schema and its answers as they were."""
        widgets, entry = self.widgets, session.history[index]
        update = self._cleared(list(entry.shown)) | self._loaded(entry.source if entry.source.database else None)
        for model, shown in entry.shown.items():
            update |= _filled(widgets.panels[model], shown)
        return update | {
            widgets.question: entry.question,
            widgets.schema: entry.source.schema,
            widgets.asked: entry.source,
            widgets.which: BOTH if len(entry.shown) > 1 else next(iter(entry.shown)),
            widgets.status: "",
        }

    def _opened(self, session: Session, source: Source) -> Update:
        widgets = self.widgets
        return self._loaded(source) | {widgets.session: session, widgets.schema: source.schema, widgets.asked: None}

    def _loaded(self, source: Source | None) -> Update:
        return {
            self.widgets.loaded: source,
            self.widgets.about: view.describe_source(source),
            self.widgets.forget: gr.Button(visible=source is not None and source != self.start),
        }

    def _writing(self, now: bool) -> Update:
        """While an answer is being written, it can be stopped."""
        return {self.widgets.stop: gr.Button(interactive=now)}

    def _cleared(self, wanted: list[str]) -> Update:
        """Empty panels: those of the wanted models to be seen, the others not."""
        update: Update = {}
        for model, panel in self.widgets.panels.items():
            update[panel.column] = gr.Column(visible=model in wanted)
            update[panel.run] = gr.Button(interactive=False)
            update[panel.sql] = update[panel.result] = ""
        return update


def _paced(answers: Iterator[Answer]) -> Iterator[Answer]:
    """The answers that are `PACE` apart, and the finished one."""
    last = 0.0
    for answer in answers:
        if answer.finished or answer.seconds - last >= PACE:
            last = answer.seconds
            yield answer


def _filled(panel: Panel, shown: Shown) -> Update:
    return {panel.sql: shown.sql, panel.run: gr.Button(interactive=True), panel.result: view.result(shown)}


def _source(loaded: Source | None, schema: str) -> Source:
    """What is asked about: the tables in the schema's field, with the rows of the open file if there is one."""
    if loaded and schema.strip() == loaded.schema.strip():
        return loaded
    source = text_source(schema)
    return replace(source, name=loaded.name, database=loaded.database) if loaded else source
