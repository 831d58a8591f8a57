"""The metrics of an evaluation: one table from which terminal, report, model card and comparison take their labels.

A new metric is a field of `text2sql.runs.evaluation_summary.EvaluationSummary`, its value in
`text2sql.evaluation.aggregate.summarize`, and an entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from text2sql.formats import MISSING, count, dollars, percent
from text2sql.runs.evaluation_summary import EquivalenceBasis, JudgeSummary

# Label of a confidence interval in every table.
INTERVAL = "95% interval"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Key in ``summary.json``.
        label: Label in tables.
        unit: ``share`` of the questions, shown in percent; ``questions``, a number of them; or ``score``.
        decimals: Number of decimals shown.
        explanation: What it measures, in one sentence.
    """

    name: str
    label: str
    unit: Literal["share", "questions", "score"]
    decimals: int
    explanation: str

    def show(self, value: float | None) -> str:
        """Format a value for tables and sentences."""
        if value is None:
            return MISSING
        if self.unit == "share":
            return percent(value, self.decimals)
        return count(value) if self.unit == "questions" else f"{value:.{self.decimals}f}"


ACCURACY = Metric(
    "accuracy",
    "Execution accuracy",
    "share",
    1,
    "The query gives the result of the gold query on every database tried.",
)
TRUNCATED = Metric(
    "truncated", "Cut off at the token limit", "questions", 0, "The answer ended at evaluation.max_new_tokens."
)
# Fields of `text2sql.runs.evaluation_summary.EvaluationSummary`, in the order of tables.
RATES = (
    ACCURACY,
    Metric(
        "lenient_accuracy",
        "Execution accuracy, lenient",
        "share",
        1,
        "The results are equal as sets of rows, with the columns in some order.",
    ),
    Metric("exact_match", "Exact match of the text", "share", 1, "The words are those of the gold query."),
    Metric("canonical_match", "Match after normalising", "share", 1, "The canonical forms are the same."),
    Metric("parses", "Valid syntax, sqlglot", "share", 1, "sqlglot parses the query in its dialect."),
    Metric(
        "valid_syntax",
        "Valid syntax, engine",
        "share",
        1,
        "The parser of the engine that judges (SQLite, or that of data.dialect) accepts the query.",
    ),
    Metric("valid_schema", "All names in the schema", "share", 1, "No table or column is made up."),
    Metric("executable", "Executable", "share", 1, "The query runs."),
)
# Fields of `text2sql.runs.evaluation_summary.BenchmarkSummary`.
BENCHMARKS = (
    Metric("spider_ex", "Spider EX", "share", 1, "Spider's comparison accepts it on the question's database."),
    Metric("spider_test_suite", "Spider test suite", "share", 1, "Spider's comparison accepts it on all databases."),
    Metric("bird_ex", "BIRD EX", "share", 1, "BIRD's comparison accepts it on the question's database."),
    Metric("bird_soft_f1", "BIRD soft F1", "share", 1, "BIRD Mini-Dev's F1 of cells."),
    Metric("bird_rves", "BIRD R-VES", "score", 1, "BIRD Mini-Dev's reward for speed."),
)

# The columns of the table of an `EquivalenceBasis`, see `basis_cells`.
BASIS_COLUMNS = ("Equivalent", "Same query", "Proven in a bound", "Tested", "Telling databases, median", "Fewest")

# Note on the interval where all questions are about one database.
SINGLE_DATABASE_NOTE = (
    "All questions are about one database, and one says nothing of others: the interval is that of the accuracy on "
    "databases at large, and would be narrower for this one."
)


def basis_cells(basis: EquivalenceBasis) -> list[str]:
    """What the verdicts ``equivalent`` of a model rest on, as a row under `BASIS_COLUMNS`."""
    return [
        count(basis.canonical + basis.bounded + basis.tested),
        count(basis.canonical),
        count(basis.bounded),
        count(basis.tested),
        count(basis.median_telling),
        count(basis.fewest_telling),
    ]


def judge_facts(judge: JudgeSummary) -> list[tuple[str, str]]:
    """The rows of the table of an LLM judge's opinions: name and value."""
    agreement = judge.agreement
    kappa = "undefined" if agreement.kappa is None else f"{agreement.kappa:.2f}"
    tokens = f"{count(judge.prompt_tokens + judge.completion_tokens)} tokens"
    return [
        ("Called right", f"{percent(judge.accuracy)} ({count(judge.correct)} of {count(judge.judged)})"),
        ("Cohen's kappa with execution", f"{kappa} ({count(agreement.n)} answers)"),
        ("Right by the judge alone", count(agreement.judge_only)),
        ("Right by execution alone", count(agreement.execution_only)),
        *((f"Error type: {name.replace('_', ' ')}", count(amount)) for name, amount in judge.error_types.items()),
        ("Malformed answers", count(judge.malformed)),
        ("Not answered", count(judge.unanswered)),
        ("Cost", tokens if judge.cost is None else f"{tokens}, {dollars(judge.cost)}"),
    ]


def status_name(status: str) -> str:
    """A verdict's status in tables; ``refused`` is explained, as it includes answers without a query."""
    return "refused: it is no query, or does more than read" if status == "refused" else status
