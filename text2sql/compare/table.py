"""The rows of a comparison's tables, for the terminal and the page."""

from __future__ import annotations

from pydantic import JsonValue

from backends.capabilities import capabilities_of
from text2sql.compare.entries import Entry, QuestionKey
from text2sql.compare.paired import Comparison, EntryPair
from text2sql.evaluation.metrics import ACCURACY, INTERVAL, RATES
from text2sql.formats import MISSING, bare_p_value, count, dollars, duration, interval, percent, points, size
from text2sql.runs.records import Checks


def measures(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """For each measure its name and the text of each entry; rows without any value are left out."""
    entries = comparison.entries
    trainings, costs = [entry.training for entry in entries], [entry.cost for entry in entries]
    rows = [
        ("Base model", [entry.base_model for entry in entries]),
        ("Backend", [entry.backend for entry in entries]),
        ("Right answers", [f"{entry.correct} of {len(entry.rows)}" for entry in entries]),
        (ACCURACY.label, [ACCURACY.show(entry.accuracy) for entry in entries]),
        (INTERVAL, [interval(*entry.interval) for entry in entries]),
    ]
    if any(len(entry.rows) != len(comparison.common) for entry in entries):
        on_common = [percent(comparison.common_accuracy(entry)) for entry in entries]
        rows.append((f"On the {len(comparison.common)} common questions", on_common))
    checks = [metric for metric in RATES if metric.name in Checks.model_fields]
    rows += [(metric.label, [metric.show(entry.share(metric.name)) for entry in entries]) for metric in checks]
    rows += [
        ("Final training loss", [count(t.final_loss) if t else MISSING for t in trainings]),
        ("Training time", [duration(t.seconds) if t else MISSING for t in trainings]),
        ("Training tokens/s", [count(t.tokens_per_second) if t else MISSING for t in trainings]),
        ("Tokens trained on", [count(t.tokens) if t else MISSING for t in trainings]),
        ("Evaluation time", [duration(entry.evaluation_seconds) for entry in entries]),
        ("Tokens sampled", [count(entry.sampled_tokens) for entry in entries]),
        ("Peak memory of the run", [_memory(entry) for entry in entries]),
        ("Cost of the run", [dollars(cost.dollars) if cost else MISSING for cost in costs]),
    ]
    return [(name, texts) for name, texts in rows if any(text not in (MISSING, "0") for text in texts)]


def tests(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row under `TEST_COLUMNS` for each pair of entries."""
    return [(f"{pair.second.label} against {pair.first.label}", *_numbers(pair)) for pair in comparison.pairs]


TEST_COLUMNS = ("Paired test", "n", "won", "lost", "points", INTERVAL, "p", "p (Holm)")


def setting(value: JsonValue) -> str:
    """A configuration value as in a file; a dash where the run does not record the key."""
    return MISSING if value is None else str(value)


def answer(entry: Entry, question: QuestionKey) -> tuple[str, str]:
    """The answer of an entry to a question, and the reason of the verdict."""
    row = entry.rows[question]
    return row.sql or row.raw, row.verdict.reason


def _memory(entry: Entry) -> str:
    if entry.cost is None:
        return MISSING
    backend = capabilities_of(entry.backend)
    # With a remote backend the run's own process holds no weights: the numbers do not compare.
    is_remote = backend is not None and backend.has_weights and not backend.runs_locally
    return size(entry.cost.peak_memory_bytes) + (" (the client; the server's is not known)" if is_remote else "")


def _numbers(pair: EntryPair) -> tuple[str, ...]:
    paired = pair.paired
    if not paired.n:
        return ("0", *[MISSING] * 6)
    return (
        count(paired.n),
        count(paired.wins),
        count(paired.losses),
        points(paired.difference),
        f"{points(paired.low)} to {points(paired.high)}",
        bare_p_value(paired.p_value),
        bare_p_value(pair.adjusted),
    )
