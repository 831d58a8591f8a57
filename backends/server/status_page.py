"""The pages for people: what the server is doing, and the models, checkpoints and errors of the user who looks."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backends.checkpoint_paths import CheckpointPath
from backends.server.metrics import HISTORY_SECONDS, KEPT_HISTORY, RATE_SECONDS, TokenKind
from backends.server.queues import ModelQueue
from backends.server.state import ServerState
from backends.server.tables import Checkpoint

RATES: dict[TokenKind, str] = {"trained": "trained", "sampled": "sampled", "prompt": "read as prompts"}
SHOWN_RATES: tuple[TokenKind, ...] = ("trained", "sampled")
SHOWN_CHECKPOINTS = 20
SHOWN_BATCHES = 50
CHART_WIDTH, CHART_HEIGHT = 600, 120
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("pages")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A line of values, the oldest first.

    Attributes:
        title: What is drawn, for those who do not see it as well.
        points: Of an SVG polyline, within `CHART_WIDTH` and `CHART_HEIGHT`.
        low: The smallest value.
        high: The largest.
        width: Of the picture.
        height: Of the picture.
    """

    title: str
    points: str
    low: float
    high: float
    width: int = CHART_WIDTH
    height: int = CHART_HEIGHT


@dataclass(frozen=True, slots=True)
class Model:
    """A model in training, as the page shows it; `loss` is the sum of its newest batch."""

    id: str
    name: str
    base_model: str
    rank: int | None
    batches: int
    loss: float | None
    waiting: int
    used: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint, as the page shows it."""

    path: str
    kind: str
    created: str
    size: str
    note: str


def status_page(state: ServerState, owner: str, base_models: Sequence[str]) -> str:
    """The page as HTML; models, checkpoints and errors are shown to their owner alone.

    Args:
        state: The server.
        owner: Who looks.
        base_models: The names under which people know the base models.
    """
    counts = state.residency.counts()
    queues = [queue for queue in state.scheduler.queues() if queue.owner == owner]
    checkpoints = state.checkpoints.of_owner(owner)
    minutes = int(HISTORY_SECONDS * KEPT_HISTORY / 60)
    return _TEMPLATES.get_template("status.html").render(
        facts=[
            ("Base models", ", ".join(base_models)),
            ("Up since", _moment(state.metrics.started)),
            ("Models in training", f"{counts.resident} on the device, {counts.parked} parked"),
            ("Requests waiting", str(state.scheduler.waiting())),
            ("Memory", _memory()),
            ("Disk", f"{shutil.disk_usage(state.settings.data).free / 2**20:,.0f} MiB free"),
        ],
        owner=owner,
        rates=", ".join(f"{state.metrics.rate(kind):,.0f} {name}" for kind, name in RATES.items()),
        rate_seconds=f"{RATE_SECONDS:.0f}",
        charts=[
            _chart(f"Tokens {RATES[kind]} a second, over {minutes} minutes", state.metrics.history(kind))
            for kind in SHOWN_RATES
        ],
        models=[_model(state, queue) for queue in queues if isinstance(queue, ModelQueue)],
        samplers=[(queue.name, len(queue.waiting())) for queue in queues if not isinstance(queue, ModelQueue)],
        checkpoints=[_saved(state, checkpoint) for checkpoint in checkpoints[:SHOWN_CHECKPOINTS]],
        checkpoint_count=len(checkpoints),
        errors=[(_moment(error.at), error.message) for error in state.metrics.errors_of(owner)],
    )


def model_page(state: ServerState, owner: str, model_id: str) -> str:
    """The page of one model in training (ApiError with 404 or 410 if the viewer has none of that id)."""
    queue = state.model_queue(owner, model_id)
    batches = state.metrics.batches_of(model_id)
    losses = [batch.loss / batch.tokens for batch in batches if batch.loss is not None and batch.tokens]
    return _TEMPLATES.get_template("model.html").render(
        model=_model(state, queue),
        chart_of_losses=_chart("Loss per input token of each batch", losses) if losses else None,
        batches=[
            (batch.number, _moment(batch.at), f"{batch.tokens:,}", _number(batch.loss))
            for batch in reversed(batches[-SHOWN_BATCHES:])
        ],
        checkpoints=[_saved(state, checkpoint) for checkpoint in state.checkpoints.of_run(model_id)],
    )


def _model(state: ServerState, queue: ModelQueue) -> Model:
    run = state.run(queue.owner, queue.name)
    batches = state.metrics.batches_of(queue.name)
    name = (run.metadata or {}).get("name") or f"model {queue.name.rpartition(':')[2]}"
    return Model(
        id=queue.name,
        name=f"{name} of session {queue.name[:8]}",
        base_model=run.base_model or "unknown",
        rank=run.rank,
        batches=batches[-1].number if batches else 0,
        loss=batches[-1].loss if batches else None,
        waiting=len(queue.waiting()),
        used=_moment(batches[-1].at) if batches else _moment(run.created),
    )


def _saved(state: ServerState, checkpoint: Checkpoint) -> Saved:
    missing = "missing" if state.checkpoints.are_missing(checkpoint) else ""
    notes = (missing, "published" if checkpoint.public else "", f"expires {_moment(checkpoint.expires)}"
             if checkpoint.expires else "")  # fmt: skip
    return Saved(
        path=checkpoint.path,
        kind=f"{CheckpointPath.parse(checkpoint.path).name} ({checkpoint.kind})",
        created=_moment(checkpoint.created),
        size=f"{checkpoint.size / 2**20:,.1f} MiB",
        note=", ".join(filter(None, notes)),
    )


def _chart(title: str, values: Sequence[float]) -> Chart:
    low, high = min(0.0, *values), max(values)
    wide, tall = CHART_WIDTH / max(1, len(values) - 1), CHART_HEIGHT / ((high - low) or 1.0)
    points = " ".join(f"{i * wide:.1f},{CHART_HEIGHT - (value - low) * tall:.1f}" for i, value in enumerate(values))
    return Chart(title, points, low, high)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _memory() -> str:
    """Memory of this process, and of its GPU."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = f"{peak:,.0f} MiB at most"
    if torch.cuda.is_available():
        text += f"; GPU {torch.cuda.memory_allocated() / 2**20:,.0f} MiB"
    return text
