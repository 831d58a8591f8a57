"""`text2sql data audit`: gold queries ranked by what may be wrong with them, and a file to decide in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from text2sql.config import DataConfig
from text2sql.console import console, progress_bar
from text2sql.data.audit.on_data import on_data
from text2sql.data.audit.reading import read
from text2sql.data.audit.samples import majorities, read_samples
from text2sql.data.audit.smell import Smell
from text2sql.data.audit.smells import smells
from text2sql.data.audit.weights import WEIGHTS, score
from text2sql.data.decisions import Decision, read_decisions
from text2sql.data.example import Example
from text2sql.data.sources import load_examples, with_databases
from text2sql.equivalence.processes.process_pool import Workers
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory

if TYPE_CHECKING:
    from text2sql.data.audit.likelihood import ScoringModel

UNREADABLE = Smell("unreadable", "the query does not parse in its dialect")


@dataclass(frozen=True)
class Audited:
    """One example with what may be wrong with its query.

    Attributes:
        example: The example.
        score: How much the smells tell together.
        smells: Those, the most telling first.
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
    workers: Workers = 1,
) -> list[Audited]:
    """Rank the gold queries of a source, print the first, and write all with a smell into a file of decisions.

    Decisions that are in the file already stay.

    Args:
        data: The source.
        output: The file; `data.decisions` of a configuration.
        samples: A run's directory or a file of predictions, several for each question.
        model: A model whose likelihoods count too.
        top: How many to print.
        workers: Processes that judge samples.

    Raises:
        UserError: The data, the samples or the file cannot be read.
    """
    answers = read_samples(samples) if samples is not None else {}
    decided = read_decisions(output, "--output") if output.exists() else {}
    examples = with_databases(load_examples(data), data)
    if data.dialect != "sqlite":
        examples = [replace(example, dialect=data.dialect) for example in examples]
    disputed = majorities(examples, answers, workers) if answers else {}
    unlikely = _unlikely(examples, model) if model is not None else {}
    audited = []
    with progress_bar("Auditing", len(examples)) as bar:
        for place, example in enumerate(examples):
            audited.append(_audited(example, disputed.get(example.id), unlikely.get(place, [])))
            bar.advance(1, 0)
    ranked = sorted((a for a in audited if a.smells), key=lambda a: -a.score)
    _write(output, ranked, decided)
    _print(ranked, len(examples), output, top)
    return ranked


def _unlikely(examples: Sequence[Example], model: ScoringModel) -> dict[int, list[Smell]]:
    """What a model finds likelier, by the places of the examples whose query can be read."""
    # Not at the top: the SDK takes seconds to load, and most audits do without.
    from text2sql.data.audit.likelihood import find_likelier, likelihood_smells

    readings = {place: reading for place, example in enumerate(examples) if (reading := read(example)) is not None}
    found = find_likelier([*readings.values()], model)
    if left_out := sum(likelier is None for likelier in found):
        console.print(
            f"{left_out:,} of {len(examples):,} rows are longer than the {model.longest:,} tokens that the model "
            "takes, and are ranked without it."
        )
    return {place: likelihood_smells(likelier or []) for place, likelier in zip(readings, found, strict=True)}


def _audited(example: Example, disputed: tuple[Smell, list[str]] | None, unlikely: Sequence[Smell]) -> Audited:
    reading = read(example)
    if reading is None:
        found, witness = [UNREADABLE], list[str]()
    else:
        real, witness = on_data(reading)
        found = [*smells(reading), *real, *unlikely]
    if disputed is not None:
        found, witness = [*found, disputed[0]], [*disputed[1], *witness]
    # What hardly tells anything would hide what does.
    found = sorted((smell for smell in found if smell.kind in WEIGHTS), key=lambda smell: -WEIGHTS[smell.kind])
    return Audited(example, score(found), tuple(found), tuple(witness))


def _write(output: Path, ranked: list[Audited], decided: dict[tuple[str, str], Decision]) -> None:
    rows = []
    for a in ranked:
        example = a.example
        earlier = decided.pop((example.question, example.answer), None)
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
    # Decisions on rows that smell of nothing any more, or that another source has.
    rows += [row for row in decided.values() if row.decision]
    output.parent.mkdir(parents=True, exist_ok=True)
    RunDirectory(output.parent).replace_rows(output.name, rows)


def _print(ranked: list[Audited], total: int, output: Path, top: int) -> None:
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
