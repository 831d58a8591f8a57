"""What a run was made from, as fingerprints in ``inputs.json``: a run goes on with the same inputs or not at all.

Fingerprints are taken of what is used (examples as they are after cleaning and splitting, the tokenizer as it is
loaded) and not of files: a data file that is saved again with the same rows is no change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from text2sql.console import console
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.record_files import read_record
from text2sql.runs.records import predictions_file
from text2sql.runs.summary import INPUTS, Fingerprint, Inputs


@dataclass(frozen=True)
class InputKind:
    """An input that runs have.

    Attributes:
        title: Name of the input in messages.
        learnt: Whether training depends on it.
        measured: Whether predictions and verdicts depend on it.
        evaluations: Labels of the evaluations that depend on it, as patterns.
    """

    title: str
    learnt: bool = False
    measured: bool = False
    evaluations: tuple[str, ...] = ("*",)


InputName = Literal[
    "training_examples",
    "validation_examples",
    "test_examples",
    "databases",
    "prompt",
    "tokenizer",
    "base_weights",
    "adapter",
]
KINDS: dict[InputName, InputKind] = {
    # The solved examples of few-shot evaluations are chosen from them too.
    "training_examples": InputKind("the training examples", learnt=True, measured=True),
    "validation_examples": InputKind("the validation examples", learnt=True),
    "test_examples": InputKind("the test examples", measured=True),
    "databases": InputKind("the databases of the test examples", measured=True),
    "prompt": InputKind("the prompt template or its version", learnt=True, measured=True),
    "tokenizer": InputKind("the tokenizer", learnt=True, measured=True),
    "base_weights": InputKind("the weights of the base model", learnt=True, measured=True),
    "adapter": InputKind("the adapter that is evaluated", measured=True, evaluations=("tuned*", "novel-tuned")),
}


def fingerprint(parts: Iterable[str], count: int | None = None) -> Fingerprint:
    """The fingerprint of texts in their order; where one ends and the next begins is part of it."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return Fingerprint(digest=digest.hexdigest()[:32], count=count)


def check_inputs(run: RunDirectory, current: Mapping[InputName, Fingerprint]) -> None:
    """Record the inputs of a run, or check that they are those that it was made from.

    Inputs may change as long as no result depends on them: those of training before its first step, those of
    evaluations before the first answer.

    Args:
        run: The run's directory, locked.
        current: The inputs of this start.

    Raises:
        UserError: The results so far come from other inputs; the message says which.
    """
    recorded = read_record(run.file(INPUTS), Inputs)
    learnt = run.has_trained()
    if recorded is None and (learnt or _answered(run, ("*",))):
        console.print(
            "There is no record of what this run was made from, so it is not known whether data, prompts and base "
            "model are still the same. They are recorded now."
        )
    changes = []
    for name, kind in KINDS.items():
        old, new = (recorded.inputs.get(name) if recorded else None), current.get(name)
        # An input that was not recorded cannot be compared; one that is gone has changed.
        if (
            old is None
            or old == new
            or not ((kind.learnt and learnt) or (kind.measured and _answered(run, kind.evaluations)))
        ):
            continue
        changes.append(kind.title + _describe_counts(old, new))
    if changes:
        raise UserError(
            f"{run.path} cannot go on, because it was made from other inputs than there are now: {'; '.join(changes)}. "
            "Its results would be of both. Restore what has changed and run the same command again; or say "
            "on_existing=new, which begins another run with what there is now and keeps this one."
        )
    inputs = Inputs(inputs={str(name): value for name, value in current.items()})
    if inputs != recorded:
        run.write_json(INPUTS, inputs)


def _answered(run: RunDirectory, labels: Sequence[str]) -> bool:
    """Whether there are answers of an evaluation with one of these labels."""
    files = (file for label in labels for file in run.path.glob(predictions_file(label)))
    return any(file.stat().st_size for file in files)


def _describe_counts(old: Fingerprint, new: Fingerprint | None) -> str:
    if new is None or old.count is None or new.count is None:
        return ""
    return f" ({old.count:,}, now {new.count:,})" if old.count != new.count else f" ({old.count:,}, other contents)"
