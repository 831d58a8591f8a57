"""Samples of one prompt, each answer behind its own thinking where the model thinks.

A thinking model is asked twice: what it thinks is sampled first, within its own limit; the block is closed, whoever
closes it; and the answer is sampled behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinker import types

from backends.interface import Future, SamplingClient
from text2sql.inference.thinking_block import ThinkingBlock


@dataclass(frozen=True)
class Thought:
    """What was thought before one answer.

    Attributes:
        tokens: Token ids of the thought, without what ended it.
        logprobs: Log-probabilities of these tokens; empty where the sampler gives none.
        text: The thought as text.
        answer_prompt: Token ids that the answer is sampled behind: prompt, thought, and what closes the block.
    """

    tokens: list[int]
    logprobs: list[float]
    text: str
    answer_prompt: list[int]


@dataclass(frozen=True)
class Sample:
    """One answer, and the thought before it: None for a model that does not think."""

    answer: types.SampledSequence
    thought: Thought | None


@dataclass(frozen=True)
class PromptSamples:
    """All samples of a prompt.

    Attributes:
        samples: The samples, in the order of sampling.
        prefill_tokens: Tokens of the prompts that were read for them: the prompt once, however many samples it has, and
            the prompt of each answer behind a thought.
        cached_tokens: Number of these tokens that the sampler had read before, and says so.
    """

    samples: list[Sample]
    prefill_tokens: int
    cached_tokens: int


def max_prefill_tokens(prompt_tokens: int, samples: int, block: ThinkingBlock | None) -> int:
    """The most prompt tokens that the samples of a prompt can be charged for; an answer behind a thought has its own.

    Args:
        prompt_tokens: Length of the prompt.
        samples: Number of samples.
        block: The thinking block; None for a model that does not think.
    """
    per_sample = prompt_tokens
    if block is not None:
        per_sample += prompt_tokens + block.max_tokens + len(block.closing)
    return per_sample * samples


class PendingSamples:
    """The samples of one prompt, under way from the moment that this is made.

    Args:
        sampler: Sampling client of the model.
        prompt: Token ids of the prompt ``[P]``.
        samples: Number of samples.
        params: How an answer is sampled.
        block: The thinking block; None for a model that does not think.
        check: Called with all sequences of each response, before anything is made of them; raises where they cannot be
            used.
        distinct_seeds: Whether the answer behind the i-th thought is sampled with the seed plus i, so that one thought
            that was sampled twice can have two answers.
    """

    def __init__(
        self,
        sampler: SamplingClient,
        prompt: list[int],
        samples: int,
        params: types.SamplingParams,
        block: ThinkingBlock | None,
        check: Callable[[Sequence[types.SampledSequence]], None],
        *,
        distinct_seeds: bool = False,
    ) -> None:
        self._sampler, self._prompt, self._params, self._block = sampler, prompt, params, block
        self._check, self._distinct_seeds = check, distinct_seeds
        first_params = params if block is None else block.params(params)
        # Of the answers; of a model that thinks, of the thoughts.
        self._first = sampler.sample(types.ModelInput.from_ints(prompt), samples, first_params)
        self._thoughts: list[Thought] = []
        self._answers: list[Future[types.SampleResponse]] = []

    def wait_for_first(self) -> Sequence[types.SampledSequence]:
        """Wait for what is sampled first: the answers, or what is thought before them."""
        sequences = self._first.result().sequences
        self._check(sequences)
        return sequences

    def submit_answers(self) -> None:
        """Of a model that thinks: wait for the thoughts, and ask for the answers; a second call does nothing."""
        if self._block is None or self._thoughts:
            return
        for index, sequence in enumerate(self.wait_for_first()):
            thought = _read_thought(sequence, self._prompt, self._block)
            params = self._params
            if self._distinct_seeds:
                assert params.seed is not None
                params = params.model_copy(update={"seed": (params.seed + index) % 2**31})
            prompt = types.ModelInput.from_ints(thought.answer_prompt)
            self._answers.append(self._sampler.sample(prompt, 1, params))
            self._thoughts.append(thought)

    def results(self) -> PromptSamples:
        """Wait for the answers."""
        first = self._first.result()
        prefill, cached = len(self._prompt), min(first.prompt_cache_hit_tokens, len(self._prompt))
        if self._block is None:
            return PromptSamples([Sample(sequence, None) for sequence in self.wait_for_first()], prefill, cached)
        self.submit_answers()
        samples = []
        for thought, future in zip(self._thoughts, self._answers, strict=True):
            response = future.result()
            self._check(response.sequences)
            (sequence,) = response.sequences
            samples.append(Sample(sequence, thought))
            prefill += len(thought.answer_prompt)
            cached += min(response.prompt_cache_hit_tokens, len(thought.answer_prompt))
        return PromptSamples(samples, prefill, cached)

    def cancel(self) -> None:
        """Call off what nobody will collect."""
        for future in (self._first, *self._answers):
            future.future().cancel()


def _read_thought(sequence: types.SampledSequence, prompt: Sequence[int], block: ThinkingBlock) -> Thought:
    tokens, text = block.read(sequence.tokens)
    logprobs = list(map(float, sequence.logprobs or ()))[: len(tokens)]
    return Thought(list(map(int, tokens)), logprobs, text, block.answer_prompt(prompt, tokens))
