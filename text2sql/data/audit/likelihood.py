"""Finds alternatives to a gold query, different in one place, that a language model considers likelier.

One forward pass over the gold query gives the model's likeliest tokens at each position. Only alternatives that start
with such a token are then scored as a whole, so a query that the model agrees with costs a single pass.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tinker import types

from backends.interface import Future, SamplingClient
from text2sql.config import Config
from text2sql.console import progress_bar
from text2sql.data import prompts
from text2sql.data.audit.alternatives import Alternative, choice_of
from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell
from text2sql.data.example import Example
from text2sql.data.schema_text import show_schemas
from text2sql.errors import UserError
from text2sql.sql.tokens import tokenize

# Queries whose passes are in flight together.
CHUNK = 16
# Likeliest tokens that a pass returns for each position.
TOP_TOKENS = 20
# Nats by which an alternative's token must be likelier than the gold query's for the alternative to be scored.
MIN_LEAD_NATS = 0.7
# Alternatives that are scored for one position, and for one query.
MAX_PER_POSITION = 2
MAX_PER_QUERY = 3
# The end of the smells' names.
LESS_LIKELY = "less likely"
# Nats from which on the smells' names say "far".
FAR_NATS = 4.0


@dataclass(frozen=True)
class ScoringModel:
    """A language model that scores queries.

    Attributes:
        sampler: The sampling client of the model.
        config: The configuration of its prompts.
        max_tokens: The model's maximal sequence length; None if unknown.
    """

    sampler: SamplingClient
    config: Config
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Likelier:
    """An alternative that the model prefers to the gold query, and by how many nats."""

    alternative: Alternative
    nats: float


@dataclass(frozen=True, slots=True)
class _Pass:
    """A forward pass over a gold query.

    Attributes:
        prompt: The tokens of the prompt.
        gold: The tokens of the gold query.
        alternatives: The alternatives with their tokens.
        future: The model's response.
    """

    prompt: list[int]
    gold: list[int]
    alternatives: Sequence[tuple[Alternative, list[int]]]
    future: Future[types.SampleResponse]


@dataclass(frozen=True, slots=True)
class _PendingScore:
    """An alternative that is being scored.

    Attributes:
        alternative: The alternative.
        tokens: Its number of tokens.
        future: The log-probabilities of its tokens.
    """

    alternative: Alternative
    tokens: int
    future: Future[list[float | None]]


@dataclass(frozen=True, slots=True)
class _ScoredGold:
    """A gold query's log-probability, and the alternatives that are being scored."""

    gold: float
    pending: Sequence[_PendingScore]


def find_likelier(readings: Sequence[Reading], model: ScoringModel) -> list[list[Likelier] | None]:
    """For each gold query, the alternatives that the model finds likelier, the likeliest first; None if it is too long.

    Raises:
        UserError: The model's probabilities are not numbers.
    """
    # Queries with equal prompts follow each other, so that the model computes a shared prefix once.
    shortened = [_with_short_schema(reading.example, model.config) for reading in readings]
    order = sorted(range(len(readings)), key=lambda index: (shortened[index].shown or "", shortened[index].question))
    results: list[list[Likelier] | None] = [None] * len(readings)
    with progress_bar("Scoring", len(readings)) as bar:
        for start in range(0, len(order), CHUNK):
            indexes = order[start : start + CHUNK]
            passes = [_start_pass(readings[index], shortened[index], model) for index in indexes]
            for index, likelier in zip(indexes, _finish_passes(passes, model), strict=True):
                results[index] = likelier
            bar.advance(len(indexes), sum(len(p.prompt) + len(p.gold) for p in passes if p is not None))
    return results


def _with_short_schema(example: Example, config: Config) -> Example:
    """An example whose schema has only the tables of its query, in one line, to save tokens."""
    options = config.prompt.schema_text.model_copy(update={"tables": "gold"})
    if example.db is None:
        options = options.model_copy(update={"sample_rows": 0, "descriptions": False})
    (shortened,) = show_schemas([example], options)
    text = example.context if shortened.shown is None else shortened.shown
    if options.style == "ddl":
        # Ends like the whole schema, so that the prompt looks like those in training.
        text = _in_one_line(text).removesuffix("" if example.context.rstrip().endswith(";") else ";")
    return replace(shortened, shown=text)


def _in_one_line(statements: str) -> str:
    """Statements without comments, with white space collapsed."""
    tokens = tokenize(statements)
    parts = [tokens[0].text] if tokens else []
    for previous, token in itertools.pairwise(tokens):
        needs_space = (
            token.start > previous.start + len(previous.text) and previous.text != "(" and token.text not in (")", ",")
        )
        parts.append(f" {token.text}" if needs_space else token.text)
    return "".join(parts)


def _start_pass(reading: Reading, example: Example, model: ScoringModel) -> _Pass | None:
    """Starts the pass over a gold query; None if it is too long for the model."""
    choice = choice_of(reading)
    form, tokenizer = prompts.PromptFormat.of(model.config), model.sampler.get_tokenizer()
    queries = [choice.gold, *(alternative.sql for alternative in choice.alternatives)]
    # Without the reasoning, which leads to the gold query only.
    tokens = prompts.tokenize([replace(example, answer=sql, reasoning=None) for sql in queries], tokenizer, form)
    prompt, (gold, *others) = tokens[0].prompt.tolist(), [t.completion.tolist() for t in tokens]
    # The API samples one token after each sequence, which is ignored.
    if model.max_tokens is not None and len(prompt) + max(map(len, (gold, *others))) >= model.max_tokens:
        return None
    future = model.sampler.sample(
        types.ModelInput.from_ints([*prompt, *gold]),
        1,
        types.SamplingParams(max_tokens=1, temperature=0.0),
        include_prompt_logprobs=True,
        topk_prompt_logprobs=TOP_TOKENS,
        prompt_logprobs_last_n=len(gold),
    )
    return _Pass(prompt, gold, [*zip(choice.alternatives, others, strict=True)], future)


def _finish_passes(passes: Sequence[_Pass | None], model: ScoringModel) -> list[list[Likelier] | None]:
    """The likelier alternatives of each pass."""
    # All requests are sent before the first is waited for.
    scored = [None if p is None else _score_gold(p, model) for p in passes]
    return [None if one is None else _likelier_alternatives(one) for one in scored]


def _likelier_alternatives(scored: _ScoredGold) -> list[Likelier]:
    likelier = [
        Likelier(one.alternative, _sum_logprobs(one.future.result(), one.tokens) - scored.gold)
        for one in scored.pending
    ]
    return sorted((one for one in likelier if one.nats > 0), key=lambda one: -one.nats)


def _score_gold(p: _Pass, model: ScoringModel) -> _ScoredGold:
    """The gold query's score, and the requests for alternatives that start with a likelier token."""
    response = p.future.result()
    gold = _sum_logprobs(response.prompt_logprobs or [], len(p.gold))
    leads = sorted(_token_leads(p, response), key=lambda lead: -lead[0])
    chosen: list[_PendingScore] = []
    per_position = Counter[int]()
    for lead, position, alternative, tokens in leads:
        if lead > MIN_LEAD_NATS and per_position[position] < MAX_PER_POSITION and len(chosen) < MAX_PER_QUERY:
            per_position[position] += 1
            future = model.sampler.compute_logprobs(
                types.ModelInput.from_ints([*p.prompt, *tokens]), prompt_logprobs_last_n=len(tokens)
            )
            chosen.append(_PendingScore(alternative, len(tokens), future))
    return _ScoredGold(gold, chosen)


def _token_leads(p: _Pass, response: types.SampleResponse) -> Iterator[tuple[float, int, Alternative, list[int]]]:
    """For each alternative: by how many nats its first different token is likelier, its position, and its tokens."""
    values, top = response.prompt_logprobs, response.topk_prompt_logprobs
    if values is None or top is None:
        return
    for alternative, tokens in p.alternatives:
        position = next((i for i, (one, other) in enumerate(zip(p.gold, tokens, strict=False)) if one != other), None)
        if position is None:
            continue
        index = len(p.prompt) + position
        gold_logprob, top_logprobs = values[index], dict(top[index] or ())
        if gold_logprob is not None and tokens[position] in top_logprobs:
            yield top_logprobs[tokens[position]] - gold_logprob, position, alternative, tokens


def _sum_logprobs(logprobs: Sequence[float | None], last: int) -> float:
    values = [math.nan if value is None else value for value in logprobs[-last:]]
    if len(values) < last or math.isnan(total := math.fsum(values)):
        raise UserError(
            "--model: the model's probabilities are not numbers (NaN), so that nothing can be said of any query. Where "
            "the weights are whole, its numbers overflow: take local.dtype=float32. Otherwise they are damaged."
        )
    return total


def likelihood_smells(likelier: Sequence[Likelier]) -> list[Smell]:
    """The smells of likelier alternatives: the likeliest one for each kind of place."""
    smells: dict[str, Smell] = {}
    for alternative in likelier:
        place, far = alternative.alternative.place, "far " if alternative.nats >= FAR_NATS else ""
        detail = f"the model finds {alternative.alternative.detail} likelier, by {alternative.nats:.1f} nats"
        smells.setdefault(place, Smell(f"{place} {far}{LESS_LIKELY}", detail))
    return [*smells.values()]
