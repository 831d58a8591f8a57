"""The status page: what the server is doing, and what concerns the user who asks."""

from __future__ import annotations

import resource
import shutil
from datetime import UTC, datetime
from pathlib import Path

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backends.server.metrics import RATE_SECONDS
from backends.server.state import ServerState

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def status_page(state: ServerState, owner: str) -> str:
    """The page as HTML; queues and errors are shown to their owner alone."""
    counts = state.residency.counts()
    trained, sampled = state.metrics.rate("trained"), state.metrics.rate("sampled")
    return _TEMPLATES.get_template("status_page.html").render(
        facts=[
            ("Base models", ", ".join(state.settings.base_models)),
            ("Up since", f"{_moment(state.metrics.started):%Y-%m-%d %H:%M:%S UTC}"),
            ("Models in training", f"{counts.resident} on the device, {counts.parked} parked"),
            ("Requests waiting", state.scheduler.waiting()),
            (f"Tokens a second (last {RATE_SECONDS:.0f} s)", f"{trained:.0f} trained, {sampled:.0f} sampled"),
            ("Memory", _memory()),
            ("Disk", f"{shutil.disk_usage(state.settings.data).free / 2**20:,.0f} MiB free"),
        ],
        queues=[(queue.name, len(queue.waiting())) for queue in state.scheduler.queues() if queue.owner == owner],
        errors=[(f"{_moment(error.at):%H:%M:%S}", error.message) for error in state.metrics.errors_of(owner)],
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _memory() -> str:
    """Memory of this process, and of its GPU."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = f"{peak:,.0f} MiB at most"
    if torch.cuda.is_available():
        text += f"; GPU {torch.cuda.memory_allocated() / 2**20:,.0f} MiB"
    return text
