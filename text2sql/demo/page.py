"""The demo's page: its widgets connected with its actions, and the server that serves it."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from backends.extras import missing_package
from text2sql.console import console
from text2sql.demo import view
from text2sql.demo.uploads import MAX_DATABASE
from text2sql.errors import UserError
from text2sql.inference.ask import Answerer, answering
from text2sql.runs.directory import RunDirectory
from text2sql.runs.summary import Summary

STYLE = Path(__file__).with_name("style.css")
# In the SQL editor the tabulator moves on, as everywhere, and Ctrl-Enter runs the query.
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


def serve_demo(directory: Path, host: str, port: int, *, share: bool) -> None:
    """Serve the page of a run until interrupted.

    Raises:
        UserError: There is no run, gradio is not installed, or the port is taken.
        BackendError: The run's backend cannot be opened.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    _check_port(host, port)
    with tempfile.TemporaryDirectory(prefix="text2sql-demo-") as uploads, answering(directory) as answerer:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        try:
            page = build_page(answerer, RunDirectory(directory).summary())
        except ImportError as error:
            raise UserError(
                missing_package(
                    "text2sql demo", error.name or "gradio", "demo", "ask in the terminal with `text2sql ask`"
                )
            ) from error
        console.print(f"Loading {answerer.config.trained_model}")
        answerer.load()
        _, address, shared = page.launch(
            server_name=host,
            server_port=port,
            share=share,
            quiet=True,
            prevent_thread_lock=True,
            **launch_options(),
        )
        console.print(f"The demo is at {shared or address} (stop it with Ctrl-C)", soft_wrap=True)
        page.block_thread()


def launch_options() -> dict[str, Any]:
    """How the page is served, wherever it is: nothing of it comes from another host, no calls are recorded."""
    import gradio as gr

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


def build_page(answerer: Answerer, summary: Summary | None) -> Any:
    """The page as a `gradio.Blocks`.

    Args:
        answerer: The run's models.
        summary: Of the run, None where it has none yet.
    """
    import gradio as gr

    from text2sql.demo.actions import Actions
    from text2sql.demo.widgets import SESSION_SECONDS, lay_out

    with gr.Blocks(title="Ask a database", analytics_enabled=False, delete_cache=(3600, SESSION_SECONDS)) as page:
        w = lay_out(answerer.models, view.header(answerer.config, summary))
        actions = Actions(answerer, w)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        file = [w.loaded, w.about, w.forget]
        w.file.upload(actions.open_file, [w.session, w.file], [w.session, w.schema, w.asked, *file], **quiet)
        w.example.click(actions.try_example, w.session, [w.session, w.schema, w.asked, w.question, *file], **quiet)
        w.forget.click(actions.forget_file, None, file, **quiet)
        w.about.upload(actions.refuse_file, None, w.about, **quiet)
        asking = gr.on(
            [w.ask.click, w.question.submit],
            actions.ask,
            [w.session, w.loaded, w.schema, w.question, w.which],
            [w.session, w.asked, w.status, w.stop, w.drawer, w.history, *w.answers],
            concurrency_limit=1,
            trigger_mode="once",
            **quiet,
        )
        w.stop.click(actions.stop, None, [w.status, w.stop, *w.runs], cancels=asking, **quiet)
        for panel in w.panels.values():
            panel.run.click(actions.run, [w.asked, w.loaded, w.schema, panel.sql], [panel.result, w.status], **quiet)
        restored = [w.question, w.schema, w.asked, w.which, w.status, *file, *w.answers]
        w.history.input(actions.restore, [w.session, w.history], restored, **quiet)
    return page


def _check_port(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise UserError(
            f"--port: {host}:{port} cannot be used: {error.strerror}. Choose another with --port."
        ) from error
