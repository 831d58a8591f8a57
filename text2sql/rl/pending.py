"""A group of answers under way: sampled at once, or behind what was thought before each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tinker import types

from backends.interface import Future, SamplingClient
from backends.tokenizer import Tokenizer
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.inference.generate import check_finite_logprobs
from text2sql.inference.thinking_block import ThinkingBlock
from text2sql.runs.budget import TokenCount
from text2sql.runs.rollouts import SampledAnswer


@dataclass(frozen=True)
class Question:
    """A question of a step.

    Attributes:
        example: With its gold query, which the model is not shown.
        tokens: Its prompt and gold answer.
    """

    example: Example
    tokens: Tokens

    @property
    def prompt(self) -> list[int]:
        """Token ids."""
        return self.tokens.prompt.tolist()


@dataclass(frozen=True)
class Snapshot:
    """Weights to sample from.

    Attributes:
        sampler: They.
        tokenizer: Of their model.
        version: The steps that they had learnt from.
    """

    sampler: SamplingClient
    tokenizer: Tokenizer
    version: int


@dataclass(frozen=True)
class _Thought:
    """What was thought before one answer, and the answer behind it."""

    tokens: list[int]
    logprobs: list[float]
    prefix: list[int]
    answer: Future[types.SampleResponse]


@dataclass
class PendingGroup:
    """A group under way.

    Attributes:
        step: That it is sampled for.
        place: Of its question within the step.
        question: It.
        seed: Of its sampling.
        snapshot: The weights that it is sampled from.
        most: What was set aside for it.
        first: What was asked for first: the answers, or what is thought before them.
        params: How an answer is sampled.
        block: Of a model that thinks; None of one that does not.
    """

    step: int
    place: int
    question: Question
    seed: int
    snapshot: Snapshot
    most: TokenCount
    first: Future[types.SampleResponse]
    params: types.SamplingParams
    block: ThinkingBlock | None
    _thoughts: list[_Thought] = field(default_factory=list)

    def answer(self) -> None:
        """Of a model that thinks: wait for what was thought, and ask for the answers; a second time does nothing."""
        if self.block is None or self._thoughts:
            return
        prompt = self.question.prompt
        for number, sequence in enumerate(self._checked(self.first.result().sequences)):
            tokens, _ = self.block.read(sequence.tokens)
            prefix = [*prompt, *tokens, *self.block.closing]
            # The same thought twice is to have two answers.
            params = self.params.model_copy(update={"seed": (self.seed + number) % 2**31})
            answer = self.snapshot.sampler.sample(types.ModelInput.from_ints(prefix), 1, params)
            logprobs = list(map(float, sequence.logprobs or ()))[: len(tokens)]
            self._thoughts.append(_Thought(list(map(int, tokens)), logprobs, prefix, answer))

    def results(self) -> tuple[list[SampledAnswer], int, int]:
        """Wait for the answers.

        Returns:
            They; the tokens of the prompts that were read for them, each once however many answers it got; and those
            of these that the sampler had read before.

        Raises:
            UserError: The sampler gives no log-probabilities.
        """
        first, prompt = self.first.result(), self.question.prompt
        read, cached = len(prompt), min(first.prompt_cache_hit_tokens, len(prompt))
        if self.block is None:
            return [_sampled(sequence) for sequence in self._checked(first.sequences)], read, cached
        self.answer()
        answers = []
        for thought in self._thoughts:
            response = thought.answer.result()
            (sequence,) = self._checked(response.sequences)
            answers.append(_behind(thought, sequence, len(self.block.closing)))
            read += len(thought.prefix)
            cached += min(response.prompt_cache_hit_tokens, len(thought.prefix))
        return answers, read, cached

    def cancel(self) -> None:
        """Call off what nobody will collect."""
        for future in (self.first, *(thought.answer for thought in self._thoughts)):
            future.future().cancel()

    def _checked(self, sequences: Sequence[types.SampledSequence]) -> Sequence[types.SampledSequence]:
        example = self.question.example
        check_finite_logprobs(example, sequences)
        for sequence in sequences:
            if sequence.logprobs is None or len(sequence.logprobs) != len(sequence.tokens):
                raise UserError(
                    f"The sampler gave no log-probability of each token where it answers {example.id}: an answer is "
                    "weighed by how likely it was. Sample with another server; the run's files are whole."
                )
        return sequences


def _sampled(sequence: types.SampledSequence) -> SampledAnswer:
    return SampledAnswer(
        tokens=tuple(map(int, sequence.tokens)),
        logprobs=tuple(map(float, sequence.logprobs or ())),
        stop_reason=sequence.stop_reason,
    )


def _behind(thought: _Thought, sequence: types.SampledSequence, closing: int) -> SampledAnswer:
    answer, given = _sampled(sequence), thought.prefix[len(thought.prefix) - closing :]
    return answer.model_copy(
        update={
            "tokens": (*thought.tokens, *given, *answer.tokens),
            "logprobs": (*thought.logprobs, *(0.0 for _ in given), *answer.logprobs),
            "thought": len(thought.tokens),
            "closing": closing,
        }
    )
