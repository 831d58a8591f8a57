"""Questions to SQL text, through a sampling client."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from tinker import types

from backends.interface import SamplingClient, StreamingSamplingClient
from backends.stop_strings import cut_at_stop
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.inference.thinking_block import ThinkingBlock
from text2sql.inference.thinking_sampler import PendingSamples, Sample, max_prefill_tokens


@dataclass(frozen=True)
class Request:
    """Questions that are asked together, and how.

    Attributes:
        questions: What to ask; their gold queries are not shown.
        few_shot: For each question, the solved examples to put in front; None for none at all.
        samples: Answers to each question.
        temperature: In place of `evaluation.temperature`, where it is not None.
        seed: Of the sampling, in place of the run's, where it is not None.
    """

    questions: Sequence[Example]
    few_shot: prompts.FewShotPrefixes | None = None
    samples: int = 1
    temperature: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote.

    Attributes:
        prompt: The text that it was given.
        raw: Its answer, as it came, up to and including what stopped it.
        text: Its answer without the stop string that ended it.
        stop_reason: ``stop``, or ``length`` if it was cut off; empty while it grows.
        tokens: Length of the answer in tokens.
        prompt_tokens: Length of the prompt in tokens.
        samples: Answers that it was chosen from; `tokens` counts them all.
        thought: What it thought before, where it thinks; no part of the answer.
    """

    prompt: str
    raw: str
    text: str
    stop_reason: str
    tokens: int
    prompt_tokens: int
    samples: int = 1
    thought: str = ""


class PendingGenerations:
    """Answers to a request, prepared when this is made, under way after `submit`.

    Args:
        request: What to ask, and how.
        sampler: Which model.
        config: Prompt template, length, temperature, stop strings and seed.

    Attributes:
        request: The same.
        prompt_tokens: Tokens of all prompts together, each counted once however many answers it gets; of a model that
            thinks also those of each answer's, once there are `results`.
        cached_tokens: Those of them that the sampler had read before and says so, once there are `results`.
        most_prompt_tokens: The most that these may be.
        most_tokens: The most that all answers together may have.
    """

    def __init__(self, request: Request, sampler: SamplingClient, config: Config) -> None:
        self.request = request
        self._sampler, self._config = sampler, config
        self._tokenizer = sampler.get_tokenizer()
        form = prompts.PromptFormat.of(config)
        few_shot = request.few_shot or [()] * len(request.questions)
        self._prompts = [
            prompts.render_prompt(question, form, self._tokenizer, own)
            for question, own in zip(request.questions, few_shot, strict=True)
        ]
        tokens = prompts.tokenize(request.questions, self._tokenizer, form, request.few_shot)
        self._ids = [t.prompt.tolist() for t in tokens]
        self._pending: list[PendingSamples] = []
        self.prompt_tokens, self.cached_tokens = sum(map(len, self._ids)), 0
        self._block = ThinkingBlock.of(form.turn_start(self._tokenizer), self._tokenizer, config)
        self.most_prompt_tokens = sum(max_prefill_tokens(len(ids), request.samples, self._block) for ids in self._ids)
        self.most_tokens = config.longest_answer * len(tokens) * request.samples

    def submit(self) -> None:
        """Send all questions to the sampler; nothing is waited for."""
        params = sampling_params(self.request, self._tokenizer, self._config)
        self._pending = [
            PendingSamples(
                self._sampler, ids, self.request.samples, params, self._block, check=partial(check_numbers, question)
            )
            for question, ids in zip(self.request.questions, self._ids, strict=True)
        ]

    def results(self) -> list[list[Generation]]:
        """Wait for all answers: those to each question, in the order of the questions.

        Raises:
            UserError: The model's probabilities are not numbers, so that its answers mean nothing.
        """
        # All thoughts are there before the first answer is asked for: the sampler may decode the answers together.
        for pending in self._pending:
            pending.wait_for_first()
        for pending in self._pending:
            pending.submit_answers()
        results = [pending.results() for pending in self._pending]
        self.prompt_tokens = sum(result.prefill_tokens for result in results)
        self.cached_tokens = sum(result.cached_tokens for result in results)
        return [
            [self._generation(sample, prompt, len(ids)) for sample in result.samples]
            for result, prompt, ids in zip(results, self._prompts, self._ids, strict=True)
        ]

    def _generation(self, sample: Sample, prompt: str, prompt_tokens: int) -> Generation:
        answer = sample.answer
        generation = _generation(
            prompt, answer.tokens, answer.stop_reason, prompt_tokens, self._tokenizer, self._config
        )
        if sample.thought is None:
            return generation
        return replace(generation, thought=sample.thought.text, tokens=generation.tokens + len(sample.thought.tokens))

    def cancel(self) -> None:
        """Call off the answers that nobody will collect."""
        for pending in self._pending:
            pending.cancel()


def check_numbers(question: Example, sequences: Sequence[types.SampledSequence]) -> None:
    """Raise UserError where a model's probabilities are not numbers, so that its answers mean nothing."""
    if not any(map(math.isnan, (value for sequence in sequences for value in sequence.logprobs or ()))):
        return
    raise UserError(
        f'The model\'s probabilities are not numbers (NaN) where it answers {question.id}, "{question.question}": what '
        "it writes means nothing, and is not scored. Where the weights are whole, its numbers overflow: float16 ends "
        "at 65,504. Run the same command again with local.dtype=float32, or bfloat16 on a GPU that has it; what was "
        "finished is kept. Otherwise the weights in base_model are damaged."
    )


def generate(request: Request, sampler: SamplingClient, config: Config) -> list[list[Generation]]:
    """Ask, and wait for the answers: those to each question, in the order of the questions."""
    pending = PendingGenerations(request, sampler, config)
    pending.submit()
    return pending.results()


def stream(question: Example, sampler: StreamingSamplingClient, config: Config) -> Iterator[Generation]:
    """One answer as it grows, the whole of it last; what is unfinished has no `stop_reason`.

    Whoever stops listening ends the sampling.
    """
    tokenizer = sampler.get_tokenizer()
    form = prompts.PromptFormat.of(config)
    prompt = prompts.render_prompt(question, form, tokenizer)
    ids = prompts.tokenize([question], tokenizer, form)[0].prompt.tolist()
    params, asked = sampling_params(Request([question]), tokenizer, config), len(ids)
    text = ""
    thinking: list[int] = []
    if (block := ThinkingBlock.of(form.turn_start(tokenizer), tokenizer, config)) is not None:
        for tokens, _ in _growing(sampler, ids, block.params(params)):
            thinking, text = block.read(tokens)
            yield Generation(prompt, "", "", "", len(thinking), asked, thought=text)
        ids = block.answer_prompt(ids, thinking)
    for tokens, stop_reason in _growing(sampler, ids, params):
        answer = _generation(prompt, tokens, stop_reason, asked, tokenizer, config)
        yield replace(answer, thought=text, tokens=answer.tokens + len(thinking))


def _growing(
    sampler: StreamingSamplingClient, ids: list[int], params: types.SamplingParams
) -> Iterator[tuple[Sequence[int], str]]:
    """The tokens of a sample so far, and with all of them what stopped it."""
    tokens: list[int] = []
    with closing(sampler.stream(types.ModelInput.from_ints(ids), params)) as coming:
        while True:
            try:
                tokens.append(next(coming))
            except StopIteration as end:
                (sequence,) = end.value.sequences
                yield sequence.tokens, sequence.stop_reason
                return
            yield tokens, ""


def sampling_params(request: Request, tokenizer: Tokenizer, config: Config) -> types.SamplingParams:
    """How a request is sampled: length, temperature, what ends an answer, and the seed."""
    evaluation, form = config.evaluation, prompts.PromptFormat.of(config)
    # Without stop strings an answer ends with the sequence, or in a chat with the turn, whose mark is its own token. An
    # empty list would not even stop at the end of the sequence.
    stop = evaluation.stop or prompts.end_of_turn(form, tokenizer)[-1:] or None
    return types.SamplingParams(
        max_tokens=evaluation.max_new_tokens,
        temperature=evaluation.temperature if request.temperature is None else request.temperature,
        stop=stop,
        seed=config.seed if request.seed is None else request.seed,
    )


def _generation(
    prompt: str, tokens: Sequence[int], stop_reason: str, prompt_tokens: int, tokenizer: Tokenizer, config: Config
) -> Generation:
    raw, text = read_tokens(tokens, tokenizer, config)
    return Generation(prompt, raw, text, stop_reason, len(tokens), prompt_tokens)


def read_tokens(tokens: Sequence[int], tokenizer: Tokenizer, config: Config) -> tuple[str, str]:
    """Sampled tokens as text, as it came and without the stop string that ended it."""
    # The clean-up of older tokenizers would rewrite " ," and " 's" inside SQL.
    raw = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return raw, cut_at_stop(raw, config.evaluation.stop)
