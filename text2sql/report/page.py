"""The report of a run: ``report.html``, one self-contained file, and its figures in ``plots/``.

The results can be read and printed without scripts. The list of all questions, and curves with the values under the
pointer, need the scripts of `text2sql.report.questions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.capabilities import capabilities_of
from backends.paths import written_aside
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.evaluation import metrics
from text2sql.formats import (
    MISSING,
    clip,
    count,
    dollars,
    duration,
    interval,
    percent,
    pluralize,
    points,
    size,
    timestamp,
)
from text2sql.report import failures
from text2sql.report.comparison import Limits, both_right, by_hardness, groups, novel_cases
from text2sql.report.figures import Plot
from text2sql.report.headline import result_sentence
from text2sql.report.load import RunData, load_run, with_rollouts
from text2sql.report.plots import NAMES, draw_all
from text2sql.report.questions.packed import Packed, pack
from text2sql.report.rollouts import example_groups
from text2sql.report.templates import fill
from text2sql.runs.models import MODELS, Model
from text2sql.runs.records import describe_initial_weights
from text2sql.runs.summary import Summary, TrainingSummary, VerdictSummary, describe_weights

# Bytes of the page without the packed questions, above which fewer or shorter examples are shown.
_MAX_BYTES = 1_800_000
METHOD_NAMES = {
    "policy_gradient": "Policy gradient",
    "rft": "Rejection sampling",
    "dpo": "Preference pairs (DPO)",
    "distill": "On-policy distillation",
}


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``plots/`` from the files of a run directory.

    Parts that the run does not have are left out of the page. The same files give the same bytes.

    Args:
        run_dir: The run directory.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: There is nothing to report, or the directory cannot be written.
    """
    run_dir = Path(run_dir)
    run = with_rollouts(load_run(run_dir), run_dir)
    for problem in run.problems:
        console.print(f"Note: {problem}", style="bright_black", markup=False)
    plots = draw_all(run)
    html = render(run, plots, pack(run_dir, run.name, run.metrics))
    target = run_dir / "report.html"
    try:
        for plot in plots.values():
            for suffix, image in (("svg", plot.svg), ("png", plot.png)):
                with written_aside(run_dir / "plots" / f"{plot.key}.{suffix}") as aside:
                    aside.write_bytes(image)
        with written_aside(target) as aside:
            aside.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"The report of {run_dir} could not be written: {error.strerror or error}. "
            "Free some space or give write permission, then write the report again."
        ) from error
    return target


def render(run: RunData, plots: dict[str, Plot], questions: Packed) -> str:
    """The page as text, at most about 2 MB without the packed questions: if needed, fewer examples are shown."""
    limits = Limits()
    unpacked = replace(questions, parts={}, scripts=[], list_style="")
    while len(_fill(run, plots, unpacked, limits).encode("utf-8")) > _MAX_BYTES and limits != limits.halved():
        limits = limits.halved()
    return _fill(run, plots, questions, limits)


def _fill(run: RunData, plots: dict[str, Plot], questions: Packed, limits: Limits) -> str:
    notes = run.summary.notes if run.summary else ()
    return fill(
        "report.html.j2",
        plots,
        run=run,
        questions=questions,
        names=NAMES,
        lead=_lead(run),
        headline=_headline(run),
        rates=_rates(run),
        evidence=_equivalence_basis(run),
        levels=by_hardness(run),
        groups=groups(run, limits),
        both_right=both_right(run),
        breakdown=failures.breakdown(run),
        judge=failures.judge(run),
        novel=novel_cases(run, limits),
        notes=[*_cautions(run), *(clip(note, 600) for note in notes), *run.problems][:60],
        training=_training(run),
        rollouts=example_groups(run, limits),
        data=_data(run),
        cost=_cost(run),
        stages=_stages(run),
        config=clip(run.config, 40_000),
        versions=_versions(run),
        environment=[(clip(key, 80), clip(str(value), 400)) for key, value in run.environment.items()][:200],
    )


def _versions(run: RunData) -> str:
    """Version and commit of the program that made the run: ``text2sql 0.1.0, commit abc``; empty if unknown."""
    version, commit = run.environment.get("packages.text2sql"), run.environment.get("git")
    parts = [f"text2sql {version}"] if version else []
    return clip(", ".join([*parts, *([f"commit {commit}"] if commit else [])]), 200)


def _lead(run: RunData) -> list[str]:
    if run.summary is None:
        return []
    known = capabilities_of(run.summary.backend)
    backend = known.title if known else run.summary.backend
    parts = [run.summary.base_model, backend, timestamp(run.summary.created)]
    return [clip(part, 200) for part in parts if part]


@dataclass(frozen=True)
class ScoreView:
    """One model in the headline."""

    side: str
    name: str
    accuracy: str
    interval: str
    correct: int
    n: int


@dataclass(frozen=True)
class HeadlineView:
    """The result in a sentence, and the score of each model that was evaluated."""

    sentence: str
    scores: list[ScoreView]


def _headline(run: RunData) -> HeadlineView:
    scores = {side: score for side in MODELS if (score := run.score(side)) and score.accuracy is not None}
    head = run.summary.headline if run.summary else None
    before: Model = "start" if "start" in scores else "base"
    paired = None if head is None else head.paired_start if before == "start" else head.paired
    return HeadlineView(
        sentence=result_sentence(scores.get(before), scores.get("tuned"), paired, before),
        scores=[
            ScoreView(
                side,
                NAMES[side],
                percent(score.accuracy),
                interval(score.low, score.high),
                score.correct,
                score.n,
            )
            for side, score in scores.items()
        ],
    )


@dataclass(frozen=True)
class RatesView:
    """The table of all rates: the sides, and for each rate its name, the value of each side, and the change."""

    sides: list[str]
    rows: list[tuple[str, list[str], str]]


def _rates(run: RunData) -> RatesView:
    summaries = failures.evaluations(run)
    rows = []
    for metric in metrics.RATES:
        values: list[float | None] = [getattr(summary, metric.name) for summary in summaries.values()]
        known = [value for value in values if value is not None]
        if known:
            change = points(known[1] - known[0]) if len(known) == 2 else MISSING
            rows.append((metric.label, [metric.show(value) for value in values], change))
    rows += [(name, shown, "") for name, shown in failures.benchmark_rows(run)]
    rows += [(name, shown, "") for name, shown in failures.status_rows(run)]
    if summaries:
        truncated = metrics.TRUNCATED
        rows.append((truncated.label, [truncated.show(summary.truncated) for summary in summaries.values()], ""))
    return RatesView(list(summaries), rows)


@dataclass(frozen=True)
class EquivalenceBasisView:
    """What the verdicts ``equivalent`` rest on: the columns, and a row for each side where it is known."""

    columns: tuple[str, ...]
    rows: list[tuple[str, list[str]]]


def _equivalence_basis(run: RunData) -> EquivalenceBasisView:
    rows = [
        (side, metrics.basis_cells(summary.evidence))
        for side, summary in failures.evaluations(run).items()
        if summary.evidence
    ]
    return EquivalenceBasisView(metrics.BASIS_COLUMNS, rows)


def _cautions(run: RunData) -> list[str]:
    if run.summary is None:
        return []
    cautions = []
    backend = capabilities_of(run.summary.backend)
    if backend and not backend.has_weights:
        cautions.append("This run used the scripted backend: its numbers say nothing about any model.")
    leaks = run.summary.data.leaks
    for what, amount in (("question", leaks.questions), ("table", leaks.tables)):
        if amount:
            cautions.append(f"In both the training and the test set: {pluralize(amount, what)}.")
    for side, summary in failures.evaluations(run).items():
        if undecided := summary.counts.get("undecided"):
            cautions.append(f"{pluralize(undecided, 'answer')} of the {side} model could not be decided.")
        if summary.unused_databases:
            cautions.append(
                f"The real databases took no part for {pluralize(summary.unused_databases, 'answer')} of the {side} "
                "model: the gold query fails on them, or they cannot be read."
            )
        if summary.truncated:
            cautions.append(
                f"Cut off at the token limit: {pluralize(summary.truncated, 'answer')} of the {side} model."
            )
    if run.summary.training and run.summary.training.stopped_early:
        cautions.append(f"Training stopped early: {clip(run.summary.training.stopped_early, 300)}")
    return cautions


def _training(run: RunData) -> list[tuple[str, str]]:
    training = run.summary.training if run.summary else None
    if training is None:
        return []
    start, expires = training.start_from, training.checkpoint_expires
    facts = [
        ("Trained", describe_weights(training.weights) if training.weights else None),
        ("Begun with the weights of", describe_initial_weights(start) if start else None),
        ("Optimiser steps", count(training.steps)),
        ("Epochs", count(training.epochs)),
        ("Examples seen", count(training.examples)),
        ("Batch size", count(training.batch_size)),
        ("Learning rate", count(training.learning_rate)),
        # The loss of RL does not measure how good the policy is.
        ("First loss", None if training.verdicts or training.first_loss is None else count(training.first_loss)),
        ("Final loss", None if training.verdicts or training.final_loss is None else count(training.final_loss)),
        ("Stopped early", training.stopped_early),
        *_verdict_facts(training.verdicts),
        ("Checkpoints expire", timestamp(expires) if expires else None),
    ]
    return [(name, clip(text, 300)) for name, text in facts if text is not None]


def _verdict_facts(verdicts: VerdictSummary | None) -> list[tuple[str, str]]:
    if verdicts is None:
        return []
    seen = "not known" if verdicts.seen_in_training is None else count(verdicts.seen_in_training)
    first, final = percent(verdicts.first_right), percent(verdicts.final_right)
    return [
        ("Method", METHOD_NAMES.get(verdicts.method, verdicts.method)),
        ("Answers sampled", count(verdicts.answers)),
        ("In a step", f"{verdicts.group} answers to each of {verdicts.questions} questions"),
        ("Reward", f"{verdicts.first_reward:.3f} at the beginning, {verdicts.final_reward:.3f} at the end"),
        ("Right answers", f"{first} at the beginning, {final} at the end"),
        ("Groups that taught nothing", percent(verdicts.dropped)),
        ("Wrong, and let pass by one database", count(verdicts.caught)),
        ("Undecided", count(verdicts.undecided)),
        ("Questions that the start model knew", seen),
    ]


@dataclass(frozen=True)
class DataView:
    """The data of a run: sources and sizes, dropped examples, and leaks between training and test set."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    dropped_known: bool = False
    leaks: list[tuple[str, str]] = field(default_factory=list)


def _data(run: RunData) -> DataView:
    if run.summary is None:
        return DataView()
    data = run.summary.data
    return DataView(
        facts=[
            ("Source", clip(data.source, 300)),
            ("Training examples", count(data.train)),
            ("Validation examples", count(data.validation)),
            ("Test examples", count(data.test)),
            ("Split by", clip(data.split_by, 80)),
            *([("Training examples kept aside", count(data.held_back))] if data.held_back else []),
        ],
        dropped=[(clip(reason, 80), count(amount)) for reason, amount in data.dropped.items() if amount][:30],
        dropped_known=True,
        leaks=[("tables", count(data.leaks.tables)), ("questions", count(data.leaks.questions))],
    )


def _stages(run: RunData) -> list[tuple[str, str, float]]:
    """For each stage its name, its time in words, and its share of the longest stage in percent."""
    times = run.summary.cost.wall_seconds if run.summary else {}
    longest = max(times.values(), default=0.0) or 1.0
    return [
        (clip(stage.replace("_", " ").capitalize(), 60), duration(seconds), round(100 * seconds / longest, 1))
        for stage, seconds in times.items()
    ]


def _cost(run: RunData) -> list[tuple[str, str]]:
    if run.summary is None:
        return []
    cost, training = run.summary.cost, run.summary.training
    facts = [
        ("All stages", duration(sum(cost.wall_seconds.values())) if cost.wall_seconds else None),
        (_memory_label(run.summary), size(cost.peak_memory_bytes)),
        ("Tokens trained on", count(cost.trained_tokens)),
        ("Tokens sampled", count(cost.sampled_tokens)),
        ("Training speed", _speed(training) if training else None),
        ("Cost", None if cost.dollars is None else dollars(cost.dollars)),
    ]
    return [(name, text) for name, text in facts if text is not None]


def _memory_label(summary: Summary) -> str:
    backend = capabilities_of(summary.backend)
    # With a remote backend the run's own process holds no weights.
    is_remote = backend is not None and backend.has_weights and not backend.runs_locally
    return "Peak memory of the client" if is_remote else "Peak memory"


def _speed(training: TrainingSummary) -> str:
    return f"{count(training.tokens_per_second)} tokens/s, {count(training.examples_per_second)} examples/s"
