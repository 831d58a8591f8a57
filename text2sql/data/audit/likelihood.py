"""Gold queries beside which a language model finds another query likelier that differs in one place.

One pass over the gold query says, at each place, what the model would rather write there. Only alternatives that begin
so are then scored as a whole: a question on which the model is of the query's mind costs one pass.
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

# Queries whose passes are under way together.
CHUNK = 16
# Likeliest tokens of a place that a pass names.
TOP = 20
# By so many nats a place's other token must be likelier for the alternatives that begin so to be scored; how many of
# one place and of one query are.
LEAD, OF_PLACE, OF_QUERY = 0.7, 2, 3
# What the smells are called, and from how many nats on they tell more.
LESS_LIKELY, FAR = "less likely", 4.0


@dataclass(frozen=True)
class ScoringModel:
    """A language model that says how likely a query is.

    Attributes:
        sampler: The model.
        config: How it is asked: its prompt's template, and how a schema is shown.
        longest: Tokens that it takes; None where that is not known.
    """

    sampler: SamplingClient
    config: Config
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class Likelier:
    """An alternative that the model prefers to the gold query, by N nats."""

    alternative: Alternative
    nats: float


@dataclass(frozen=True, slots=True)
class _Pass:
    """A gold query on its way through the model: tokens of prompt and query, its alternatives, and the answer."""

    prompt: list[int]
    gold: list[int]
    alternatives: Sequence[tuple[Alternative, list[int]]]
    coming: Future[types.SampleResponse]


@dataclass(frozen=True, slots=True)
class _Asked:
    """An alternative that is being scored: its length in tokens, and the answer."""

    alternative: Alternative
    tokens: int
    coming: Future[list[float | None]]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A gold query's log-probability, and the alternatives whose own are asked for."""

    gold: float
    asked: Sequence[_Asked]


def find_likelier(readings: Sequence[Reading], model: ScoringModel) -> list[list[Likelier] | None]:
    """Of each gold query the alternatives that the model finds likelier, the likeliest first; None of one too long.

    Raises:
        UserError: The model's probabilities are not numbers.
    """
    # Those with one prompt after one another: what they begin with is read once.
    shown = [_shown(reading.example, model.config) for reading in readings]
    order = sorted(range(len(readings)), key=lambda place: (shown[place].shown or "", shown[place].question))
    found: list[list[Likelier] | None] = [None] * len(readings)
    with progress_bar("Scoring", len(readings)) as bar:
        for start in range(0, len(order), CHUNK):
            places = order[start : start + CHUNK]
            passes = [_begin(readings[place], shown[place], model) for place in places]
            for place, likelier in zip(places, _finish(passes, model), strict=True):
                found[place] = likelier
            bar.advance(len(places), sum(len(p.prompt) + len(p.gold) for p in passes if p is not None))
    return found


def _shown(example: Example, config: Config) -> Example:
    """An example with the tables of its query alone, in one line: that is cheap, and asks about nothing else."""
    options = config.prompt.schema_text.model_copy(update={"tables": "gold"})
    if example.db is None:
        options = options.model_copy(update={"sample_rows": 0, "descriptions": False})
    (cut,) = show_schemas([example], options)
    text = example.context if cut.shown is None else cut.shown
    if options.style == "ddl":
        # It ends as the whole schema does, so that the prompt looks as those of the training.
        text = _in_one_line(text).removesuffix("" if example.context.rstrip().endswith(";") else ";")
    return replace(cut, shown=text)


def _in_one_line(statements: str) -> str:
    """Statements without comments, and with a space where there was any amount of it."""
    tokens = tokenize(statements)
    parts = [tokens[0].text] if tokens else []
    for before, token in itertools.pairwise(tokens):
        apart = token.start > before.start + len(before.text) and before.text != "(" and token.text not in (")", ",")
        parts.append(f" {token.text}" if apart else token.text)
    return "".join(parts)


def _begin(reading: Reading, shown: Example, model: ScoringModel) -> _Pass | None:
    """Ask about the gold query; None where the model does not take so much."""
    choice = choice_of(reading)
    form, tokenizer = prompts.PromptFormat.of(model.config), model.sampler.get_tokenizer()
    queries = [choice.gold, *(alternative.sql for alternative in choice.alternatives)]
    # What a worked answer says of the gold query would speak against all others.
    tokens = prompts.tokenize([replace(shown, answer=sql, reasoning=None) for sql in queries], tokenizer, form)
    prompt, (gold, *others) = tokens[0].prompt.tolist(), [t.completion.tolist() for t in tokens]
    # A token is sampled behind each, which nobody reads.
    if model.longest is not None and len(prompt) + max(map(len, (gold, *others))) >= model.longest:
        return None
    coming = model.sampler.sample(
        types.ModelInput.from_ints([*prompt, *gold]),
        1,
        types.SamplingParams(max_tokens=1, temperature=0.0),
        include_prompt_logprobs=True,
        topk_prompt_logprobs=TOP,
        prompt_logprobs_last_n=len(gold),
    )
    return _Pass(prompt, gold, [*zip(choice.alternatives, others, strict=True)], coming)


def _finish(passes: Sequence[_Pass | None], model: ScoringModel) -> list[list[Likelier] | None]:
    """What the passes come to, once the alternatives that they name are scored."""
    # All are asked for before any is waited for.
    scored = [None if p is None else _scored(p, model) for p in passes]
    return [None if one is None else _likelier(one) for one in scored]


def _likelier(scored: _Scored) -> list[Likelier]:
    found = [Likelier(one.alternative, _sum(one.coming.result(), one.tokens) - scored.gold) for one in scored.asked]
    return sorted((one for one in found if one.nats > 0), key=lambda one: -one.nats)


def _scored(p: _Pass, model: ScoringModel) -> _Scored:
    """The gold query's score, and those alternatives on their way that begin likelier than it at their place."""
    response = p.coming.result()
    gold = _sum(response.prompt_logprobs or [], len(p.gold))
    leads = sorted(_leads(p, response), key=lambda lead: -lead[0])
    chosen: list[_Asked] = []
    per_place = Counter[int]()
    for lead, place, alternative, tokens in leads:
        if lead > LEAD and per_place[place] < OF_PLACE and len(chosen) < OF_QUERY:
            per_place[place] += 1
            coming = model.sampler.compute_logprobs(
                types.ModelInput.from_ints([*p.prompt, *tokens]), prompt_logprobs_last_n=len(tokens)
            )
            chosen.append(_Asked(alternative, len(tokens), coming))
    return _Scored(gold, chosen)


def _leads(p: _Pass, response: types.SampleResponse) -> Iterator[tuple[float, int, Alternative, list[int]]]:
    """By how much the first token in which an alternative differs is likelier than the gold query's, and its place."""
    values, top = response.prompt_logprobs, response.topk_prompt_logprobs
    if values is None or top is None:
        return
    for alternative, tokens in p.alternatives:
        place = next((i for i, (one, other) in enumerate(zip(p.gold, tokens, strict=False)) if one != other), None)
        if place is None:
            continue
        at = len(p.prompt) + place
        own, named = values[at], dict(top[at] or ())
        if own is not None and tokens[place] in named:
            yield named[tokens[place]] - own, place, alternative, tokens


def _sum(logprobs: Sequence[float | None], last: int) -> float:
    values = [math.nan if value is None else value for value in logprobs[-last:]]
    if len(values) < last or math.isnan(total := math.fsum(values)):
        raise UserError(
            "--model: the model's probabilities are not numbers (NaN), so that nothing can be said of any query. Where "
            "the weights are whole, its numbers overflow: take local.dtype=float32. Otherwise they are damaged."
        )
    return total


def likelihood_smells(likelier: Sequence[Likelier]) -> list[Smell]:
    """What the alternatives of a query that a model finds likelier tell of it, of each place the likeliest."""
    found: dict[str, Smell] = {}
    for one in likelier:
        place, far = one.alternative.place, "far " if one.nats >= FAR else ""
        said = f"the model finds {one.alternative.detail} likelier, by {one.nats:.1f} nats"
        found.setdefault(place, Smell(f"{place} {far}{LESS_LIKELY}", said))
    return [*found.values()]
