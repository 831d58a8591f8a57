"""`text2sql data audit`: ranks gold queries by what may be wrong with them, and writes a file of decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from text2sql.config import DataConfig
from text2sql.console import console, progress_bar
from text2sql.data.audit.database_run import run_on_database
from text2sql.data.audit.reading import read_example
from text2sql.data.audit.samples import find_disputed, read_samples
from text2sql.data.audit.smell import Smell
from text2sql.data.audit.smells import find_smells
from text2sql.data.audit.weights import WEIGHTS, score
from text2sql.data.decisions import Decision, holds_decisions, read_decisions
from text2sql.data.example import Example, in_dialect
from text2sql.data.sources import load_examples, with_databases
from text2sql.equivalence.scoring import MatchOptions
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.outputs import Output, check_outputs

if TYPE_CHECKING:
    from text2sql.data.audit.likelihood import ScoringModel

UNREADABLE = Smell("unreadable", "the query does not parse in its dialect")


@dataclass(frozen=True)
class AuditedExample:
    """An example with the smells of its query.

    Attributes:
        example: The example.
        score: The sum of the smells' weights.
        smells: The smells, the heaviest first.
        witness: Rows that show them.
    """

    example: Example
    score: float
    smells: tuple[Smell, ...]
    witness: tuple[str, ...]


def audit(
    data: DataConfig,
    output: Path,
    *,
    samples: Path | None = None,
    model: ScoringModel | None = None,
    top: int = 10,
    options: MatchOptions | None = None,
) -> list[AuditedExample]:
    """Ranks the gold queries of a source, prints the first ones, and writes those with a smell into a decisions file.

    Decisions that the file has already are kept.

    Args:
        data: The configuration of the source.
        output: The decisions file, for `data.decisions` of a configuration.
        samples: A run's directory or a file with several predictions for each question.
        model: A model whose likelihoods are used too.
        top: The number of examples to print.
        options: How samples are compared; None for the defaults.

    Raises:
        UserError: The data, the samples or the file cannot be read.
    """
    own = Output("--output", output, holds_decisions, ".jsonl")
    check_outputs([own], [*data.files, *([samples] if samples else [])])
    answers = read_samples(samples) if samples is not None else {}
    decisions = read_decisions(output, "--output") if output.exists() else {}
    examples = in_dialect(with_databases(load_examples(data), data), data.dialect)
    if others := sum(e.stated_dialect not in (None, data.dialect) for e in examples):
        console.print(
            f"{others:,} of {len(examples):,} rows are left out, as they are not in data.dialect={data.dialect} by "
            "their own field dialect."
        )
        examples = [e for e in examples if e.stated_dialect in (None, data.dialect)]
    disputed = find_disputed(examples, answers, options or MatchOptions()) if answers else {}
    unlikely = _likelihood_smells(examples, model) if model is not None else {}
    audited = []
    with progress_bar("Auditing", len(examples)) as bar:
        for index, example in enumerate(examples):
            audited.append(_audit_example(example, disputed.get(example.id), unlikely.get(index, [])))
            bar.advance(1, 0)
    ranked = sorted((a for a in audited if a.smells), key=lambda a: -a.score)
    _write(output, ranked, decisions)
    _print(ranked, len(examples), output, top)
    return ranked


def _likelihood_smells(examples: Sequence[Example], model: ScoringModel) -> dict[int, list[Smell]]:
    """The smells by a model's likelihoods, by the index of the example."""
    # Not at the top: the SDK takes seconds to load, and most audits do without.
    from text2sql.data.audit.likelihood import find_likelier, likelihood_smells

    readings = {
        index: reading for index, example in enumerate(examples) if (reading := read_example(example)) is not None
    }
    results = find_likelier([*readings.values()], model)
    if too_long_count := sum(likelier is None for likelier in results):
        console.print(
            f"{too_long_count:,} of {len(examples):,} rows are longer than the {model.max_tokens:,} tokens that the "
            "model takes, and are ranked without it."
        )
    return {index: likelihood_smells(likelier or []) for index, likelier in zip(readings, results, strict=True)}


def _audit_example(
    example: Example, disputed: tuple[Smell, list[str]] | None, unlikely: Sequence[Smell]
) -> AuditedExample:
    reading = read_example(example)
    if reading is None:
        found, witness = [UNREADABLE], list[str]()
    else:
        database_smells, witness = run_on_database(reading)
        found = [*find_smells(reading), *database_smells, *unlikely]
    if disputed is not None:
        found, witness = [*found, disputed[0]], [*disputed[1], *witness]
    # Smells without a weight would hide those that matter.
    found = sorted((smell for smell in found if smell.kind in WEIGHTS), key=lambda smell: -WEIGHTS[smell.kind])
    return AuditedExample(example, score(found), tuple(found), tuple(witness))


def _write(output: Path, ranked: list[AuditedExample], decisions: dict[tuple[str, str], Decision]) -> None:
    rows = []
    for a in ranked:
        example = a.example
        earlier = decisions.get((example.question, example.answer))
        rows.append(
            Decision(
                id=example.id,
                question=example.question,
                answer=example.answer,
                decision=earlier.decision if earlier else None,
                fixed=earlier.fixed if earlier else None,
                score=round(a.score, 2),
                smells=[f"{smell.kind}: {smell.detail}" for smell in a.smells],
                witness=list(a.witness) or None,
            )
        )
    # Decisions on rows that have no smell any more, or that belong to another source.
    written = {(row.question, row.answer) for row in rows}
    rows += [row for key, row in decisions.items() if row.decision and key not in written]
    output.parent.mkdir(parents=True, exist_ok=True)
    RunDirectory(output.parent).replace_rows(output.name, rows)


def _print(ranked: list[AuditedExample], total: int, output: Path, top: int) -> None:
    if not total:
        raise UserError("data: the source has no rows.")
    for number, a in enumerate(ranked[:top], start=1):
        console.print(f"\n{number}. {a.example.id}  {a.example.question}")
        console.print(f"   {a.example.answer}")
        for smell in a.smells[:4]:
            console.print(f"   - {smell.kind}: {smell.detail}")
        for line in a.witness[:4]:
            console.print(f"     {line}")
    kinds = Counter(smell.kind for a in ranked for smell in a.smells)
    about = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8))
    console.print(f"\n{len(ranked)} of {total} rows have a smell{f' ({about})' if about else ''}.")
    console.print(
        f'{output}: decide there, the worst first: "decision" is keep, drop or fix, "fixed" the query in its place. '
        f"Then train with data.decisions={output}.",
        soft_wrap=True,
    )
