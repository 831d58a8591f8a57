"""The page: a run as ``report.html``, one file that needs nothing else, and its figures in ``plots/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.capabilities import capabilities_of
from backends.paths import written_aside
from text2sql.errors import UserError
from text2sql.report import failures, wording
from text2sql.report.comparison import Limits, both_right, by_hardness, groups, novel_cases
from text2sql.report.figures import Plot
from text2sql.report.load import SIDES, RunData, load_run, number, section
from text2sql.report.plots import NAMES, draw_all
from text2sql.report.templates import fill

_MAX_BYTES = 1_800_000
_RATES = (
    ("accuracy", "Execution accuracy"),
    ("lenient_accuracy", "Execution accuracy, lenient"),
    ("exact_match", "Exact match of the text"),
    ("canonical_match", "Match after normalising"),
    ("valid_syntax", "Valid syntax"),
    ("valid_schema", "All names in the schema"),
    ("executable", "Executable"),
)
_TRAINING = (
    ("start_from", "Begun with the weights of", wording.beginning),
    ("steps", "Optimiser steps", wording.count),
    ("epochs", "Epochs", wording.count),
    ("examples", "Examples seen", wording.count),
    ("batch_size", "Batch size", wording.count),
    ("learning_rate", "Learning rate", wording.count),
    ("trainable_parameters", "Trainable parameters", wording.count),
    ("first_loss", "First loss", wording.count),
    ("final_loss", "Final loss", wording.count),
    ("stopped_early", "Stopped early", str),
    ("checkpoint_expires", "Checkpoints expire", wording.moment),
)


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``plots/`` from the files of a run directory.

    Parts of the run that are absent are left out of the page. The same files give the same bytes.

    Args:
        run_dir: The run directory.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: There is nothing to report, or the directory cannot be written.
    """
    run_dir = Path(run_dir)
    run = load_run(run_dir)
    plots = draw_all(run)
    html = render(run, plots)
    target = run_dir / "report.html"
    try:
        for plot in plots.values():
            for ending, image in (("svg", plot.svg), ("png", plot.png)):
                with written_aside(run_dir / "plots" / f"{plot.key}.{ending}") as aside:
                    aside.write_bytes(image)
        with written_aside(target) as aside:
            aside.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"The report of {run_dir} could not be written: {error.strerror or error}. "
            "Make room or give write permission, then write the report again."
        ) from error
    return target


def render(run: RunData, plots: dict[str, Plot]) -> str:
    """The page as text, at most about 2 MB: with many or long examples fewer and shorter ones are shown."""
    limits = Limits()
    while True:
        html = _fill(run, plots, limits)
        if len(html.encode("utf-8")) <= _MAX_BYTES or limits == limits.halved():
            return html
        limits = limits.halved()


def _fill(run: RunData, plots: dict[str, Plot], limits: Limits) -> str:
    return fill(
        "report.html.j2",
        plots,
        run=run,
        names=NAMES,
        lead=_lead(run),
        headline=_headline(run),
        rates=_rate_rows(run),
        levels=by_hardness(run),
        groups=groups(run, limits),
        both_right=both_right(run),
        breakdown=failures.breakdown(run),
        judge=failures.judge(run),
        novel=novel_cases(run, limits),
        notes=[*_cautions(run), *_strings(run.summary.get("notes")), *run.problems][:60],
        training=_training(run),
        data=_data(run),
        cost=_cost(run),
        stages=_stages(run),
        config=wording.clip(run.config, 40_000),
        environment=[(wording.clip(key, 80), wording.clip(value, 400)) for key, value in run.environment.items()][:200],
    )


def _lead(run: RunData) -> list[str]:
    summary = run.summary
    known = capabilities_of(summary.get("backend"))
    backend = known.title if known else summary.get("backend")
    parts = [summary.get("base_model"), backend, wording.moment(summary.get("created"))]
    return [wording.clip(part, 200) for part in parts if part]


def _headline(run: RunData) -> dict[str, Any]:
    sides = {side: run.evaluation(side) for side in SIDES}
    paired = run.section("headline", "paired")
    scored = {side: score for side, score in sides.items() if number(score.get("accuracy")) is not None}
    return {
        "sentence": wording.verdict_sentence(scored.get("base", {}), scored.get("tuned", {}), paired),
        "paired": paired if len(scored) == 2 and number(paired.get("difference")) is not None else {},
        "scores": [
            {
                "side": side,
                "name": NAMES[side],
                "accuracy": wording.percent(score["accuracy"]),
                "interval": wording.interval(score),
                "correct": score.get("correct"),
                "n": score.get("n"),
            }
            for side, score in scored.items()
        ],
    }


def _rate_rows(run: RunData) -> dict[str, Any]:
    """The table of all rates: which sides there are, and a row for each rate that one of them has."""
    sides = [side for side in SIDES if run.evaluation(side)]
    scores = {side: run.evaluation(side) for side in sides}
    rows = []
    for key, name in _RATES:
        values = [number(scores[side].get(key)) for side in sides]
        if any(value is not None for value in values):
            known = [value for value in values if value is not None]
            change = wording.points(known[1] - known[0]) if len(known) == 2 else wording.MISSING
            rows.append((name, [wording.percent(value) for value in values], change))
    rows += [(name, values, "") for name, values in failures.benchmark_rows(run, sides)]
    rows += [(name, values, "") for name, values in failures.status_rows(run, sides)]
    cut = [scores[side].get("truncated") for side in sides]
    if any(number(value) is not None for value in cut):
        rows.append(("Cut off at the token limit", [wording.count(value) for value in cut], ""))
    return {"sides": sides, "rows": rows}


def _cautions(run: RunData) -> list[str]:
    found = []
    backend = capabilities_of(run.summary.get("backend"))
    if backend and not backend.has_weights:
        found.append("This run used the scripted backend: its numbers say nothing about any model.")
    leaks = run.section("data", "leaks")
    for key, what in (("questions", "questions"), ("tables", "tables")):
        if number(leaks.get(key)):
            found.append(f"{wording.count(leaks[key])} {what} of the test set also appear in the training set.")
    for side in SIDES:
        evaluation = run.evaluation(side)
        undecided = number(section(evaluation, "counts").get("undecided"))
        if undecided:
            found.append(f"{wording.count(undecided)} answers of the {side} model could not be decided.")
        if number(evaluation.get("truncated")):
            found.append(
                f"{wording.count(evaluation['truncated'])} answers of the {side} model were cut off at the token limit."
            )
    stopped = run.section("training").get("stopped_early")
    if stopped:
        found.append(f"Training stopped early: {wording.clip(stopped, 300)}")
    return found


def _strings(value: Any) -> list[str]:
    return [wording.clip(item, 600) for item in value] if isinstance(value, list) else []


def _training(run: RunData) -> list[tuple[str, str]]:
    training = run.section("training")
    return [
        (name, wording.clip(show(training[key]), 300)) for key, name, show in _TRAINING if training.get(key) is not None
    ]


def _data(run: RunData) -> dict[str, Any]:
    data = run.section("data")
    dropped = run.section("data", "dropped")
    facts = [
        ("Source", wording.clip(data.get("source"), 300)),
        *((f"{name} examples", wording.count(data.get(key))) for key, name in
          (("train", "Training"), ("validation", "Validation"), ("test", "Test")) if data.get(key) is not None),
        ("Split by", wording.clip(data.get("split_by"), 80)),
    ]  # fmt: skip
    leaks = run.section("data", "leaks")
    return {
        "facts": [(name, value) for name, value in facts if value],
        "dropped": [(wording.clip(reason, 80), wording.count(amount)) for reason, amount in dropped.items() if amount][
            :30
        ],
        "dropped_known": isinstance(data.get("dropped"), dict),
        "leaks": [
            (str(key), wording.count(leaks[key])) for key in ("tables", "questions") if leaks.get(key) is not None
        ],
    }


def _stages(run: RunData) -> list[tuple[str, str, float]]:
    """Stage, time in words, share of the longest stage in percent."""
    found = {str(key): number(value) for key, value in run.section("cost", "wall_seconds").items()}
    times = {key: value for key, value in found.items() if value is not None}
    longest = max(times.values(), default=0.0) or 1.0
    return [
        (wording.clip(key.replace("_", " ").capitalize(), 60), wording.duration(value), round(100 * value / longest, 1))
        for key, value in times.items()
    ]


def _cost(run: RunData) -> list[tuple[str, str]]:
    cost, training = run.section("cost"), run.section("training")
    times = [number(value) for value in run.section("cost", "wall_seconds").values()]
    facts = [
        ("All stages", wording.duration(sum(value for value in times if value is not None)) if times else None),
        ("Peak memory", wording.size(cost["peak_memory_bytes"]) if cost.get("peak_memory_bytes") is not None else None),
        ("Tokens trained on", cost.get("trained_tokens", training.get("tokens"))),
        ("Tokens sampled", cost.get("sampled_tokens")),
        ("Training speed", _speed(training)),
        ("Cost", wording.dollars(cost.get("dollars"))),
    ]
    return [(name, wording.count(value)) for name, value in facts if value is not None]


def _speed(training: dict[str, Any]) -> str | None:
    parts = [
        f"{wording.count(training[key])} {unit}"
        for key, unit in (("tokens_per_second", "tokens/s"), ("examples_per_second", "examples/s"))
        if number(training.get(key)) is not None
    ]
    return ", ".join(parts) or None
