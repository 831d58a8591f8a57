"""The comparison of entries: paired tests, disagreements, and differences between the configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from pydantic import JsonValue

from backends.capabilities import capabilities_of
from text2sql.compare.entries import Entry, QuestionKey
from text2sql.evaluation.metrics import SINGLE_DATABASE_NOTE
from text2sql.evaluation.statistics import SIGNIFICANCE, holm, paired_comparison
from text2sql.formats import count, p_value, pluralize, unbroken
from text2sql.report.figures import series
from text2sql.report.headline import evidence_of
from text2sql.runs.summary import PairedComparison

# Configuration keys in which any two runs differ.
IGNORED = ("name", "output_dir", "on_existing")
# Configuration keys that change how questions are asked.
SAMPLING = (
    "evaluation.max_new_tokens",
    "evaluation.temperature",
    "evaluation.stop",
    "prompt.template",
    "prompt.thinking",
)


class LossDifference(NamedTuple):
    """The largest difference of two training losses at the same step, and the number of common steps."""

    largest: float
    steps: int


@dataclass(frozen=True)
class EntryPair:
    """Two entries on the questions that both answered.

    Attributes:
        first: The entry that is compared against.
        second: The entry whose wins and losses are counted.
        paired: Wins, losses, difference with its interval, p-value.
        adjusted: The p-value after Holm's correction for all pairs of the comparison.
    """

    first: Entry
    second: Entry
    paired: PairedComparison
    adjusted: float

    @property
    def equal_answers(self) -> int:
        """Number of common questions to which both gave the same answer, to the letter."""
        return sum(row.raw == self.second.rows[q].raw for q, row in self.first.rows.items() if q in self.second.rows)

    @property
    def loss_difference(self) -> LossDifference | None:
        """How far their training losses differ; None if they have no step in common."""
        first, second = (dict(zip(*series(entry.losses, "loss"), strict=True)) for entry in (self.first, self.second))
        differences = [abs(loss - second[step]) for step, loss in first.items() if step in second]
        return LossDifference(max(differences), len(differences)) if differences else None


@dataclass(frozen=True)
class Disagreement:
    """Common questions on which the same entries are right, and others wrong."""

    right: list[str]
    wrong: list[str]
    questions: list[QuestionKey]


@dataclass(frozen=True)
class Comparison:
    """The comparison of several entries.

    Attributes:
        entries: The entries in the order given.
        common: Questions that all entries answered.
        pairs: Every pair of entries.
        cautions: Sentences on why the entries may not be comparable, shown above the headline.
        differences: Configuration keys that differ, with the value of each entry (None where not recorded).
        disagreements: Common questions on which the entries disagree, by who is right, the most frequent first.
        agreed: Number of common questions that all got right, and that all got wrong.
    """

    entries: list[Entry]
    common: list[QuestionKey]
    pairs: list[EntryPair]
    cautions: list[str]
    differences: dict[str, list[JsonValue]]
    disagreements: list[Disagreement]
    agreed: tuple[int, int]

    @property
    def headline(self) -> list[str]:
        """A sentence with the result of each other entry against the first."""
        return [_result(pair, len(self.pairs)) for pair in self.pairs if pair.first is self.entries[0]]

    @property
    def problems(self) -> list[str]:
        """Sentences on what could not be read of a run, or is there twice."""
        return [f"{entry.label}: {problem}" for entry in self.entries for problem in entry.run.problems]

    @property
    def closeness(self) -> list[str]:
        """A sentence for each pair on how many answers are equal and how far the training losses differ."""
        return [_closeness(pair) for pair in self.pairs if pair.paired.n]

    def common_accuracy(self, entry: Entry) -> float | None:
        """Accuracy on the common questions; None where there are none."""
        if not self.common:
            return None
        return sum(entry.rows[question].correct for question in self.common) / len(self.common)


def compare(entries: Sequence[Entry]) -> Comparison:
    """Compare entries question by question."""
    entries = list(entries)
    common = [q for q in entries[0].rows if all(q in entry.rows for entry in entries[1:])]
    tests = [(a, b, _paired(a, b)) for a, b in combinations(entries, 2)]
    adjusted = holm({index: paired.p_value for index, (_, _, paired) in enumerate(tests)})
    disagreements, agreed = _disagreements(entries, common)
    return Comparison(
        entries=entries,
        common=common,
        pairs=[EntryPair(a, b, paired, adjusted[index]) for index, (a, b, paired) in enumerate(tests)],
        cautions=_cautions(entries, common),
        differences=_differences(entries),
        disagreements=disagreements,
        agreed=agreed,
    )


def _paired(a: Entry, b: Entry) -> PairedComparison:
    both = [question for question in a.rows if question in b.rows]
    return paired_comparison([a.rows[q].correct for q in both], [b.rows[q].correct for q in both])


def _cautions(entries: Sequence[Entry], common: Sequence[QuestionKey]) -> list[str]:
    cautions = []
    if len({entry.base_model for entry in entries}) > 1:
        listed = ", ".join(f"{entry.label} on {entry.base_model}" for entry in entries)
        configured = {entry.settings.get("base_model") for entry in entries}
        # With the same base_model only tinker.base_model differs, which may be another name of the same weights.
        may_be_same = len(configured) == 1 and None not in configured
        doubt = "Unless these are the same weights under several names, a" if may_be_same else "A"
        cautions.append(f"Different base models: {listed}. {doubt} difference is not one of training or backend alone.")
    sizes = {len(entry.rows) for entry in entries}
    if sizes != {len(common)}:
        listed = ", ".join(f"{entry.label} {len(entry.rows)}" for entry in entries)
        tested = f"each test is on the {len(common)} that all of them answered" if len(entries) == 2 else (
            f"{len(common)} are common to all, and each test is on those that its two runs share"
        )  # fmt: skip
        cautions.append(
            f"Different test questions ({listed}): {tested}."
            if common
            else f"Different test questions ({listed}), none in common: the accuracies cannot be compared."
        )
    cautions += [
        f"{entry.label} has answered {pluralize(len(entry.rows), 'question')} so far: its evaluation is not finished."
        for entry in entries
        if entry.run.evaluation(entry.side) is None
    ]
    changed = [key for key in SAMPLING if len({str(entry.settings.get(key)) for entry in entries}) > 1]
    if changed:
        cautions.append(f"The questions were asked in different ways: {', '.join(changed)} differ.")
    if any(entry.on_one_database for entry in entries):
        cautions.append(SINGLE_DATABASE_NOTE)
    backends = [capabilities_of(entry.backend) for entry in entries]
    if any(backend and not backend.has_weights for backend in backends):
        cautions.append("A run used the scripted backend: its numbers say nothing about any model.")
    return cautions


def _differences(entries: Sequence[Entry]) -> dict[str, list[JsonValue]]:
    keys = dict.fromkeys(key for entry in entries for key in entry.settings if key not in IGNORED)
    values = {key: [entry.settings.get(key) for entry in entries] for key in keys}
    return {
        key: of_entries for key, of_entries in values.items() if any(value != of_entries[0] for value in of_entries)
    }


def _disagreements(
    entries: Sequence[Entry], common: Sequence[QuestionKey]
) -> tuple[list[Disagreement], tuple[int, int]]:
    patterns: dict[tuple[bool, ...], list[QuestionKey]] = {}
    for question in common:
        pattern = tuple(entry.rows[question].correct for entry in entries)
        patterns.setdefault(pattern, []).append(question)
    agreed = tuple(len(patterns.pop((right,) * len(entries), [])) for right in (True, False))
    listed = [
        Disagreement(
            [entry.label for entry, right in zip(entries, pattern, strict=True) if right],
            [entry.label for entry, right in zip(entries, pattern, strict=True) if not right],
            questions,
        )
        for pattern, questions in patterns.items()
    ]
    return sorted(listed, key=lambda group: -len(group.questions)), (agreed[0], agreed[1])


def _result(pair: EntryPair, tests: int) -> str:
    first, second, paired = pair.first.label, pair.second.label, pair.paired
    if not paired.n:
        return f"{first} and {second} have no test question in common."
    if not paired.wins and not paired.losses:
        return f"{first} and {second} are right on exactly the same of their {paired.n} common questions."
    correction = f", {unbroken(p_value(pair.adjusted))} corrected for {tests} comparisons" if tests > 1 else ""
    evidence = (
        f"of {pluralize(paired.n, 'common question')} {second} wins {paired.wins} and loses {paired.losses}: "
        f"{evidence_of(paired)}{correction})."
    )
    if pair.adjusted >= SIGNIFICANCE:
        return f"No significant difference between {first} and {second}: {evidence} Such a difference can be chance."
    better = "better" if paired.difference > 0 else "worse"
    return f"{second} is significantly {better} than {first}: {evidence}"


def _closeness(pair: EntryPair) -> str:
    equal = f"{count(pair.equal_answers)} of {pluralize(pair.paired.n, 'answer')} are equal to the letter"
    answers = f"{pair.first.label} and {pair.second.label}: {equal}"
    if (loss := pair.loss_difference) is None:
        return f"{answers}."
    losses = f"differ by {loss.largest:.3g} at most" if loss.largest else "are the same"
    return f"{answers}, and the training losses {losses}, over {pluralize(loss.steps, 'step')}."
