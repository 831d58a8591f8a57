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
class GenerationRequest:
    """Questions to sample answers to, and the sampling settings.

    Attributes:
        questions: The questions; their gold queries are not shown to the model.
        few_shot: For each question the solved examples in front of it; None for no examples at all.
        samples: Number of answers to each question.
        temperature: Sampling temperature; None for `evaluation.temperature`.
        seed: Sampling seed; None for that of the run.
    """

    questions: Sequence[Example]
    few_shot: prompts.FewShotPrefixes | None = None
    samples: int = 1
    temperature: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One sampled answer.

    Attributes:
        prompt: Text of the prompt.
        raw: Text of the answer, including the stop string that ended it.
        text: Text of the answer without the stop string.
        stop_reason: ``stop``, or ``length`` if it was cut off; empty while it is streamed.
        tokens: Length of the answer in tokens.
        prompt_tokens: Length of the prompt in tokens.
        samples: Number of answers that it was chosen from; `tokens` counts them all.
        thought: Text of the thinking block before the answer, which is no part of it.
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
    """The answers to a request: prompts are tokenised at construction, and sampling starts with `submit`.

    Args:
        request: The questions and the sampling settings.
        sampler: The model.
        config: Prompt template, length, temperature, stop strings and seed.

    Attributes:
        request: The request.
        prompt_tokens: Number of prompt tokens, each prompt counted once whatever its number of answers. With a thinking
            block the prompts of the answers behind it are added in `results`.
        cached_tokens: Number of prompt tokens that the sampler reports as cached; set in `results`.
        max_prompt_tokens: Upper bound of `prompt_tokens`.
        max_tokens: Upper bound of the tokens of all answers together.
    """

    def __init__(self, request: GenerationRequest, sampler: SamplingClient, config: Config) -> None:
        self.request = request
        self._sampler, self._config = sampler, config
        self._tokenizer = sampler.get_tokenizer()
        form = prompts.PromptFormat.of(config)
        few_shot = request.few_shot or [()] * len(request.questions)
        self._prompts = [
            prompts.render_prompt(question, form, self._tokenizer, examples)
            for question, examples in zip(request.questions, few_shot, strict=True)
        ]
        tokens = prompts.tokenize(request.questions, self._tokenizer, form, request.few_shot)
        self._ids = [t.prompt.tolist() for t in tokens]
        self._pending: list[PendingSamples] = []
        self.prompt_tokens, self.cached_tokens = sum(map(len, self._ids)), 0
        self._block = ThinkingBlock.of(form.turn_start(self._tokenizer), self._tokenizer, config)
        self.max_prompt_tokens = sum(max_prefill_tokens(len(ids), request.samples, self._block) for ids in self._ids)
        self.max_tokens = config.longest_answer * len(tokens) * request.samples

    def submit(self) -> None:
        """Send all prompts to the sampler without waiting for answers."""
        params = sampling_params(self.request, self._tokenizer, self._config)
        self._pending = [
            PendingSamples(
                self._sampler,
                ids,
                self.request.samples,
                params,
                self._block,
                check=partial(check_finite_logprobs, question),
            )
            for question, ids in zip(self.request.questions, self._ids, strict=True)
        ]

    def results(self) -> list[list[Generation]]:
        """Wait for all answers and return them by question: ``[questions][samples]``.

        Raises:
            UserError: The model's log-probabilities are NaN, so that its answers mean nothing.
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
        """Cancel the requests whose results are no longer needed."""
        for pending in self._pending:
            pending.cancel()


def check_finite_logprobs(question: Example, sequences: Sequence[types.SampledSequence]) -> None:
    """Raise UserError if a log-probability is NaN, so that the model's answers mean nothing."""
    if not any(map(math.isnan, (value for sequence in sequences for value in sequence.logprobs or ()))):
        return
    raise UserError(
        f'The model\'s probabilities are not numbers (NaN) where it answers {question.id}, "{question.question}": what '
        "it writes means nothing, and is not scored. Where the weights are whole, its numbers overflow: float16 ends "
        "at 65,504. Run the same command again with local.dtype=float32, or bfloat16 on a GPU that has it; what was "
        "finished is kept. Otherwise the weights in base_model are damaged."
    )


def generate(request: GenerationRequest, sampler: SamplingClient, config: Config) -> list[list[Generation]]:
    """Sample the answers to a request and wait for them: ``[questions][samples]``."""
    pending = PendingGenerations(request, sampler, config)
    pending.submit()
    return pending.results()


def stream(question: Example, sampler: StreamingSamplingClient, config: Config) -> Iterator[Generation]:
    """Yield an answer as it grows, and the finished answer last; an unfinished one has an empty `stop_reason`.

    Closing the iterator ends the sampling.
    """
    tokenizer = sampler.get_tokenizer()
    form = prompts.PromptFormat.of(config)
    prompt = prompts.render_prompt(question, form, tokenizer)
    ids = prompts.tokenize([question], tokenizer, form)[0].prompt.tolist()
    params, prompt_tokens = sampling_params(GenerationRequest([question]), tokenizer, config), len(ids)
    text = ""
    thinking: list[int] = []
    if (block := ThinkingBlock.of(form.turn_start(tokenizer), tokenizer, config)) is not None:
        for tokens, _ in _stream_tokens(sampler, ids, block.params(params)):
            thinking, text = block.read(tokens)
            yield Generation(prompt, "", "", "", len(thinking), prompt_tokens, thought=text)
        ids = block.answer_prompt(ids, thinking)
    for tokens, stop_reason in _stream_tokens(sampler, ids, params):
        answer = _generation(prompt, tokens, stop_reason, prompt_tokens, tokenizer, config)
        yield replace(answer, thought=text, tokens=answer.tokens + len(thinking))


def _stream_tokens(
    sampler: StreamingSamplingClient, ids: list[int], params: types.SamplingParams
) -> Iterator[tuple[Sequence[int], str]]:
    """Yield the tokens sampled so far with an empty stop reason, and finally all tokens with the stop reason."""
    tokens: list[int] = []
    with closing(sampler.stream(types.ModelInput.from_ints(ids), params)) as stream_:
        while True:
            try:
                tokens.append(next(stream_))
            except StopIteration as end:
                (sequence,) = end.value.sequences
                yield sequence.tokens, sequence.stop_reason
                return
            yield tokens, ""


def sampling_params(request: GenerationRequest, tokenizer: Tokenizer, config: Config) -> types.SamplingParams:
    """The sampling parameters of a request: maximum length, temperature, stop strings or tokens, and seed."""
    evaluation, form = config.evaluation, prompts.PromptFormat.of(config)
    # Without stop strings an answer ends at the end-of-sequence token, or in a chat at the end-of-turn token. An empty
    # list would disable even the end-of-sequence token.
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
    raw, text = decode_answer(tokens, tokenizer, config)
    return Generation(prompt, raw, text, stop_reason, len(tokens), prompt_tokens)


def decode_answer(tokens: Sequence[int], tokenizer: Tokenizer, config: Config) -> tuple[str, str]:
    """Decode the tokens of an answer: its raw text, and the text without the stop string that ended it."""
    # The clean-up of older tokenizers would rewrite " ," and " 's" inside SQL.
    raw = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return raw, cut_at_stop(raw, config.evaluation.stop)
