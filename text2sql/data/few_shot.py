"""Solved training examples for the prompt of a question: what training is compared with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from backends.extras import missing_package
from backends.tokenizer import Tokenizer
from text2sql.config import FewShot
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.errors import UserError

# Candidates beyond k, for those that are the question itself or show the same question twice.
SPARE = 8


def choose_few_shot(
    asked: Sequence[Example],
    train: Sequence[Example],
    options: FewShot,
    seed: int,
    tokenizer: Tokenizer | None,
    form: prompts.PromptFormat,
    longest: int | None,
) -> dict[str, list[Example]]:
    """Examples to stand before each question, the most similar last.

    A training example that asks the same question, case and spaces aside, is never shown, nor is one twice.

    Args:
        asked: The questions.
        train: What to choose from.
        options: How many, and how.
        seed: Of the random choice.
        tokenizer: The model's; None where it cannot be had, and every prompt counts as short enough.
        form: How a question becomes text.
        longest: Tokens that a prompt may have; the least similar examples give way.

    Returns:
        The examples by the question's id.

    Raises:
        UserError: bm25s is not installed.
    """
    ranked = (
        _by_words(asked, train, options.k) if options.select == "bm25" else _by_chance(asked, train, options.k, seed)
    )
    chosen = {}
    for example, candidates in zip(asked, ranked, strict=True):
        best_first: list[Example] = []
        seen = {_words(example)}
        for candidate in candidates:
            if _words(candidate) not in seen and len(best_first) < options.k:
                seen.add(_words(candidate))
                best_first.append(candidate)
        chosen[example.id] = best_first[::-1]
    if longest is None or tokenizer is None:
        return chosen
    return _fitting(asked, chosen, tokenizer, form, longest)


def _words(example: Example) -> str:
    return " ".join(example.question.lower().split())


def _by_chance(asked: Sequence[Example], train: Sequence[Example], k: int, seed: int) -> list[list[Example]]:
    count = min(len(train), k + SPARE)
    return [random.Random(f"shots-{seed}-{example.id}").sample(list(train), count) for example in asked]


def _by_words(asked: Sequence[Example], train: Sequence[Example], k: int) -> list[list[Example]]:
    """The training examples whose questions are most like each one asked, by BM25 over words."""
    try:
        import bm25s
    except ImportError as error:
        raise UserError(
            missing_package(
                "evaluation.few_shot.select: bm25", "bm25s", "retrieval", "set evaluation.few_shot.select=random"
            )
        ) from error
    index = bm25s.BM25()
    index.index(bm25s.tokenize([e.question for e in train], show_progress=False), show_progress=False)
    words = bm25s.tokenize([e.question for e in asked], show_progress=False)
    places, _ = index.retrieve(words, k=min(len(train), k + SPARE), show_progress=False)
    return [[train[place] for place in row] for row in places]


def _fitting(
    asked: Sequence[Example],
    chosen: Mapping[str, list[Example]],
    tokenizer: Tokenizer,
    form: prompts.PromptFormat,
    longest: int,
) -> dict[str, list[Example]]:
    """Without the first examples of prompts that are too long."""
    fitted = dict(chosen)
    left = list(asked)
    while left:
        tokens = prompts.tokenize(left, tokenizer, form, [fitted[e.id] for e in left])
        left = [e for e, t in zip(left, tokens, strict=True) if len(t.prompt) > longest and fitted[e.id]]
        fitted |= {e.id: fitted[e.id][1:] for e in left}
    return fitted
