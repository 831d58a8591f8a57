"""Examples to SQL text, through a sampling client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tinker import types

from backends.interface import SamplingClient, StreamingSamplingClient
from text2sql.config import EvaluationConfig
from text2sql.data import prompts
from text2sql.data.example import Example


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote.

    Attributes:
        prompt: The text that it was given.
        text: Its answer, as it came, up to and including what stopped it.
        stop_reason: ``stop``, or ``length`` if it was cut off; empty while it grows.
        tokens: Length of the answer in tokens.
        prompt_tokens: Length of the prompt in tokens.
        samples: Answers that it was chosen from; `tokens` counts them all.
    """

    prompt: str
    text: str
    stop_reason: str
    tokens: int
    prompt_tokens: int
    samples: int = 1


class PendingGenerations:
    """Answers under way: submitted at once, collected by `results`.

    Args:
        examples: What to ask.
        sampler: Which model.
        template: A key of `text2sql.config.templates.TEMPLATES`.
        evaluation: Length, temperature and stops.
        seed: Of the sampling.
        reserve: Called first with the number of prompt tokens and the largest number of sampled ones.
        shots: For each example, solved ones to put in front.
        samples: Answers to each.
        temperature: In place of the configured one.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        sampler: SamplingClient,
        template: str,
        evaluation: EvaluationConfig,
        seed: int,
        reserve: Callable[[int, int], Any] = lambda prompt, sampled: None,
        *,
        shots: prompts.Shots | None = None,
        samples: int = 1,
        temperature: float | None = None,
    ) -> None:
        self._tokenizer: Any = sampler.get_tokenizer()
        params = _sampling(template, self._tokenizer, evaluation, seed, temperature)
        fronts = shots or [()] * len(examples)
        asked = zip(examples, fronts, strict=True)
        self._prompts = [prompts.render_prompt(e, template, self._tokenizer, front) for e, front in asked]
        tokens = prompts.tokenize(examples, self._tokenizer, template, shots)
        self._lengths = [len(t.prompt) for t in tokens]
        reserve(sum(self._lengths) * samples, evaluation.max_new_tokens * len(tokens) * samples)
        self._futures = [sampler.sample(types.ModelInput.from_ints(t.prompt.tolist()), samples, params) for t in tokens]

    def results(self) -> list[Generation]:
        """Wait for all answers, in the order of the examples; the first of each."""
        return [answers[0] for answers in self.all_results()]

    def all_results(self) -> list[list[Generation]]:
        """Wait for all answers, all of each example's."""
        return [
            [_generation(prompt, sequence, length, self._tokenizer) for sequence in future.result().sequences]
            for prompt, future, length in zip(self._prompts, self._futures, self._lengths, strict=True)
        ]

    def cancel(self) -> None:
        """Call off the answers that nobody will collect."""
        for future in self._futures:
            future.future().cancel()


def stream(
    example: Example, sampler: StreamingSamplingClient, template: str, evaluation: EvaluationConfig, seed: int
) -> Iterator[Generation]:
    """One answer as it grows, the whole of it last; what is unfinished has no `stop_reason`.

    Whoever stops listening ends the sampling.
    """
    tokenizer: Any = sampler.get_tokenizer()
    prompt = prompts.render_prompt(example, template, tokenizer)
    ids = prompts.tokenize([example], tokenizer, template)[0].prompt.tolist()
    coming = sampler.stream(types.ModelInput.from_ints(ids), _sampling(template, tokenizer, evaluation, seed))
    tokens: list[int] = []
    with closing(coming):
        while True:
            try:
                tokens.append(next(coming))
            except StopIteration as end:
                yield _generation(prompt, end.value.sequences[0], len(ids), tokenizer)
                return
            yield Generation(prompt, _text(tokens, tokenizer), "", len(tokens), len(ids))


def _sampling(
    template: str, tokenizer: Any, evaluation: EvaluationConfig, seed: int, temperature: float | None = None
) -> types.SamplingParams:
    # None given: the end of the sequence; an empty list would not even stop there. A chat's turn has its own end.
    stop: Any = evaluation.stop or prompts.end_of_turn(template, tokenizer)[-1:] or None
    return types.SamplingParams(
        max_tokens=evaluation.max_new_tokens,
        temperature=evaluation.temperature if temperature is None else temperature,
        stop=stop,
        seed=seed,
    )


def _generation(prompt: str, sequence: Any, length: int, tokenizer: Any) -> Generation:
    return Generation(
        prompt, _text(sequence.tokens, tokenizer), sequence.stop_reason, len(sequence.tokens), prompt_tokens=length
    )


def _text(tokens: Sequence[int], tokenizer: Any) -> str:
    return tokenizer.decode(
        tokens,
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,  # it would rewrite " ," and " 's" inside SQL
    )
