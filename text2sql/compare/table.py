"""The numbers of a comparison in words, the same on the terminal and on the page."""

from __future__ import annotations

from pydantic import JsonValue

from backends.capabilities import capabilities_of
from text2sql.compare.entries import Entry, QuestionKey
from text2sql.compare.paired import Comparison, Pair
from text2sql.evaluation.metrics import ACCURACY, INTERVAL, RATES
from text2sql.formats import MISSING, bare_p_value, count, dollars, duration, interval, percent, points, size
from text2sql.runs.records import Checks


def measures(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Name and one text per entry; a row in which nobody has anything is left out."""
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
    """One row for each pair: who, questions, wins, losses, difference, interval, p, p corrected."""
    return [(f"{pair.second.label} against {pair.first.label}", *_numbers(pair)) for pair in comparison.pairs]


TEST_COLUMNS = ("Paired test", "n", "won", "lost", "points", INTERVAL, "p", "p (Holm)")


def setting(value: JsonValue) -> str:
    """A configuration value as it stands in a file; a dash where the run does not record the key."""
    return MISSING if value is None else str(value)


def answer(entry: Entry, question: QuestionKey) -> tuple[str, str]:
    """What an entry wrote for a question, and the evaluator's reason."""
    row = entry.rows[question]
    return row.sql or row.raw, row.verdict.reason


def _memory(entry: Entry) -> str:
    if entry.cost is None:
        return MISSING
    backend = capabilities_of(entry.backend)
    # The run's own process holds no weights there, so that the numbers are of different things.
    elsewhere = backend is not None and backend.has_weights and not backend.computes_here
    return size(entry.cost.peak_memory_bytes) + (" (the client; the server's is not known)" if elsewhere else "")


def _numbers(pair: Pair) -> tuple[str, ...]:
    found = pair.paired
    if not found.n:
        return ("0", *[MISSING] * 6)
    return (
        count(found.n),
        count(found.wins),
        count(found.losses),
        points(found.difference),
        f"{points(found.low)} to {points(found.high)}",
        bare_p_value(found.p_value),
        bare_p_value(pair.adjusted),
    )
