"""The demo's page: connects widgets and actions, and serves the page."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from backends.extras import missing_package
from backends.web_origin import Hosts
from text2sql.console import console
from text2sql.data.schema_cut import DEFAULT_MAX_TABLES
from text2sql.demo import view
from text2sql.demo.session import database_source
from text2sql.demo.storage import Storage, open_storage
from text2sql.demo.uploads import MAX_DATABASE
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.errors import UserError
from text2sql.inference.ask import Answerer, open_answerer
from text2sql.runs.directory import RunDirectory
from text2sql.runs.summary import Summary

STYLE = Path(__file__).with_name("style.css")
# In the SQL editor, Tab moves the focus, and Ctrl-Enter runs the query.
KEYS = """() => document.addEventListener("keydown", (event) => {
  const panel = event.target.closest(".answer");
  if (!panel || !event.target.closest(".cm-editor")) return;
  if (event.key === "Tab") event.stopPropagation();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.stopPropagation();
    panel.querySelector("button[id$='-run']").click();
  }
}, true)"""
FONTS = ("ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif")
MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def serve_demo(
    directory: Path,
    host: str,
    port: int,
    *,
    share: bool,
    allowed_hosts: Sequence[str] = (),
    database: UserDatabase | None = None,
    max_tables: int = DEFAULT_MAX_TABLES,
) -> None:
    """Serves the page of a run until interrupted or terminated; visitors' files are then deleted.

    Args:
        directory: The run's directory.
        host: The address to listen on.
        port: The port to listen on.
        share: Whether to open gradio's public tunnel.
        allowed_hosts: Further names under which the page may be addressed.
        database: What is asked about until a visitor opens something else.
        max_tables: The number of tables above which a schema is cut to what the question needs; 0 for never.

    Raises:
        UserError: There is no run, gradio is not installed, or the port is taken.
        BackendError: The run's backend cannot be opened.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    _check_port(host, port)
    hosts = Hosts(host, allowed_hosts, "--allowed-host NAME")
    with _exit_on_signals(), open_storage() as storage, open_answerer(directory, max_tables) as answerer:
        os.environ["GRADIO_TEMP_DIR"] = str(storage.uploads)
        try:
            page = build_page(answerer, RunDirectory(directory).summary(), storage, database)
        except ImportError as error:
            raise UserError(
                missing_package(
                    "text2sql demo", error.name or "gradio", "demo", "ask in the terminal with `text2sql ask`"
                )
            ) from error
        console.print(f"Loading {answerer.config.trained_model}")
        answerer.load()
        try:
            _, address, shared = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                quiet=True,
                prevent_thread_lock=True,
                **launch_options(hosts, storage),
            )
            if shared:
                hosts.add(urlsplit(shared).hostname or "")
            console.print(f"The demo is at {shared or address} (stop it with Ctrl-C)", soft_wrap=True)
            page.block_thread()
        finally:
            page.close(verbose=False)


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Raises SystemExit on SIGTERM and SIGHUP, so that resources are released."""

    def leave(number: int, frame: FrameType | None) -> None:
        # A second signal ends the process at once.
        signal.signal(number, signal.SIG_DFL)
        sys.exit(128 + number)

    previous_handlers = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def launch_options(hosts: Hosts, storage: Storage) -> dict[str, Any]:
    """Gradio's launch options: nothing is loaded from other hosts, and no calls are recorded.

    Args:
        hosts: The names under which the page may be addressed.
        storage: The storage of uploads.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    from text2sql.demo.admission import Admission

    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=FONTS,
        font_mono=MONOSPACE,
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )
    return {
        "app_kwargs": {"middleware": [Middleware(Admission, hosts=hosts, storage=storage)]},
        "theme": theme,
        "css_paths": STYLE,
        "js": KEYS,
        "footer_links": [],
        "run_history": False,
        "max_file_size": MAX_DATABASE,
        "ssr_mode": False,
        "show_error": True,
        "enable_monitoring": False,
    }


def build_page(
    answerer: Answerer, summary: Summary | None, storage: Storage, database: UserDatabase | None = None
) -> Any:
    """Builds the page as a `gradio.Blocks`.

    Args:
        answerer: The models of the run.
        summary: The summary of the run; None if it has none yet.
        storage: The storage of visitors' files.
        database: What is asked about until a visitor opens something else.
    """
    import gradio as gr

    from text2sql.demo.actions import Actions
    from text2sql.demo.widgets import SESSION_SECONDS, create_widgets

    with gr.Blocks(title="Ask a database", analytics_enabled=False, delete_cache=(3600, SESSION_SECONDS)) as page:
        start = database_source(database) if database else None
        dialect = start.dialect if start else "sqlite"
        widgets = create_widgets(answerer.models, view.header(answerer.config, summary), storage.copies, dialect)
        actions = Actions(answerer, widgets, storage, start)
        no_progress: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        source_outputs = [widgets.loaded, widgets.about, widgets.forget]
        opened_outputs = [widgets.session, widgets.schema, widgets.asked, *source_outputs]
        widgets.file.upload(actions.open_file, [widgets.session, widgets.file], opened_outputs, **no_progress)
        example_loaded = widgets.example.click(
            actions.try_example, widgets.session, [*opened_outputs, widgets.question], **no_progress
        )
        widgets.forget.click(
            actions.forget_file, None, [widgets.schema, *source_outputs] if start else source_outputs, **no_progress
        )
        if start:
            # Not as a widget's initial value, which is sent to the browser: a location may contain a password.
            page.load(actions.begin, None, [widgets.schema, *source_outputs], **no_progress)
        widgets.about.upload(actions.refuse_file, None, widgets.about, **no_progress)
        ask_options: dict[str, Any] = {
            "fn": actions.ask,
            "inputs": [widgets.session, widgets.loaded, widgets.schema, widgets.question, widgets.which],
            "outputs": [
                widgets.session,
                widgets.asked,
                widgets.status,
                widgets.stop,
                widgets.drawer,
                widgets.history,
                *widgets.answers,
            ],
            # One answer at a time, whichever event asked for it.
            "concurrency_limit": 1,
            "concurrency_id": "ask",
            "trigger_mode": "once",
            **no_progress,
        }
        answer_events = [
            gr.on([widgets.ask.click, widgets.question.submit], **ask_options),
            example_loaded.then(**ask_options),
        ]
        widgets.stop.click(
            actions.stop, None, [widgets.status, widgets.stop, *widgets.runs], cancels=answer_events, **no_progress
        )
        for panel in widgets.panels.values():
            panel.run.click(
                actions.run,
                [widgets.asked, widgets.loaded, widgets.schema, panel.sql],
                [panel.result, widgets.status],
                **no_progress,
            )
        restored_outputs = [
            widgets.question,
            widgets.schema,
            widgets.asked,
            widgets.which,
            widgets.status,
            *source_outputs,
            *widgets.answers,
        ]
        widgets.history.input(actions.restore, [widgets.session, widgets.history], restored_outputs, **no_progress)
    return page


def _check_port(host: str, port: int) -> None:
    try:
        socket.getaddrinfo(host, port)
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UserError(
                f"--host: {host} is no address of this machine. Leave it out to listen on this machine alone, or say "
                "0.0.0.0 for all its addresses."
            ) from error
        raise UserError(
            f"--port: {host}:{port} cannot be used: {error.strerror}. Choose another with --port."
        ) from error
