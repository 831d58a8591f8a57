"""Chooses solved training examples for few-shot prompts, which training is compared with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from backends.extras import missing_package
from backends.tokenizer import Tokenizer
from text2sql.config import FewShot
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.errors import UserError

# Candidates beyond k, to replace those that ask the same question.
SPARE_CANDIDATES = 8


def choose_few_shot(
    questions: Sequence[Example],
    train: Sequence[Example],
    options: FewShot,
    seed: int,
    tokenizer: Tokenizer | None,
    form: prompts.PromptFormat,
    max_prompt_tokens: int | None,
) -> dict[str, list[Example]]:
    """Chooses the solved examples in front of each question, the most similar last.

    A training example with the same question, apart from case and spaces, is never chosen, and none is chosen twice.

    Args:
        questions: The questions.
        train: The candidates.
        options: The number of examples, and how they are chosen.
        seed: The seed of the random choice.
        tokenizer: The model's tokenizer; None if it is not available, and every prompt counts as short enough.
        form: The prompt format.
        max_prompt_tokens: The limit of a prompt, for which the least similar examples are dropped.

    Returns:
        The examples by the question's id.

    Raises:
        UserError: bm25s is not installed.
    """
    ranked = (
        _bm25_candidates(questions, train, options.k)
        if options.select == "bm25"
        else _random_candidates(questions, train, options.k, seed)
    )
    chosen = {}
    for example, candidates in zip(questions, ranked, strict=True):
        best_first: list[Example] = []
        seen = {_normalized_question(example)}
        for candidate in candidates:
            if _normalized_question(candidate) not in seen and len(best_first) < options.k:
                seen.add(_normalized_question(candidate))
                best_first.append(candidate)
        chosen[example.id] = best_first[::-1]
    if max_prompt_tokens is None or tokenizer is None:
        return chosen
    return _shorten(questions, chosen, tokenizer, form, max_prompt_tokens)


def _normalized_question(example: Example) -> str:
    return " ".join(example.question.lower().split())


def _random_candidates(
    questions: Sequence[Example], train: Sequence[Example], k: int, seed: int
) -> list[list[Example]]:
    count = min(len(train), k + SPARE_CANDIDATES)
    return [random.Random(f"shots-{seed}-{example.id}").sample(list(train), count) for example in questions]


def _bm25_candidates(questions: Sequence[Example], train: Sequence[Example], k: int) -> list[list[Example]]:
    """The training examples whose questions are most similar, by BM25 over words."""
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
    words = bm25s.tokenize([e.question for e in questions], show_progress=False)
    rows, _ = index.retrieve(words, k=min(len(train), k + SPARE_CANDIDATES), show_progress=False)
    return [[train[index] for index in indexes] for indexes in rows]


def _shorten(
    questions: Sequence[Example],
    chosen: Mapping[str, list[Example]],
    tokenizer: Tokenizer,
    form: prompts.PromptFormat,
    max_prompt_tokens: int,
) -> dict[str, list[Example]]:
    """Drops the first examples of prompts that are too long."""
    fitted = dict(chosen)
    too_long = list(questions)
    while too_long:
        tokens = prompts.tokenize(too_long, tokenizer, form, [fitted[e.id] for e in too_long])
        too_long = [
            e for e, t in zip(too_long, tokens, strict=True) if len(t.prompt) > max_prompt_tokens and fitted[e.id]
        ]
        fitted |= {e.id: fitted[e.id][1:] for e in too_long}
    return fitted
