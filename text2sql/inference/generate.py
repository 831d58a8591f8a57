"""Questions to SQL text, through a sampling client."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from tinker import types

from backends.interface import Future, SamplingClient, StreamingSamplingClient
from backends.stop_strings import cut_at_stop
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.errors import UserError


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
    """

    prompt: str
    raw: str
    text: str
    stop_reason: str
    tokens: int
    prompt_tokens: int
    samples: int = 1


class PendingGenerations:
    """Answers to a request, prepared when this is made, under way after `submit`.

    Args:
        request: What to ask, and how.
        sampler: Which model.
        config: Prompt template, length, temperature, stop strings and seed.

    Attributes:
        request: The same.
        prompt_tokens: Tokens of all prompts together, each counted once however many answers it gets.
        most_tokens: The most that all answers together may have.
    """

    def __init__(self, request: Request, sampler: SamplingClient, config: Config) -> None:
        self.request = request
        self._sampler, self._config = sampler, config
        self._tokenizer = sampler.get_tokenizer()
        template = config.prompt.template
        few_shot = request.few_shot or [()] * len(request.questions)
        self._prompts = [
            prompts.render_prompt(question, template, self._tokenizer, own)
            for question, own in zip(request.questions, few_shot, strict=True)
        ]
        tokens = prompts.tokenize(request.questions, self._tokenizer, template, request.few_shot)
        self._ids = [t.prompt.tolist() for t in tokens]
        self._futures: list[Future[types.SampleResponse]] = []
        self.prompt_tokens = sum(map(len, self._ids))
        self.most_tokens = config.evaluation.max_new_tokens * len(tokens) * request.samples

    def submit(self) -> None:
        """Send all questions to the sampler; nothing is waited for."""
        params = _sampling(self.request, self._tokenizer, self._config)
        self._futures = [
            self._sampler.sample(types.ModelInput.from_ints(ids), self.request.samples, params) for ids in self._ids
        ]

    def results(self) -> list[list[Generation]]:
        """Wait for all answers: those to each question, in the order of the questions.

        Raises:
            UserError: The model's probabilities are not numbers, so that its answers mean nothing.
        """
        answers = []
        for question, prompt, ids, future in zip(
            self.request.questions, self._prompts, self._ids, self._futures, strict=True
        ):
            sequences = future.result().sequences
            if any(map(math.isnan, (value for sequence in sequences for value in sequence.logprobs or ()))):
                raise UserError(_not_numbers(question))
            answers.append(
                [
                    _generation(prompt, sequence.tokens, sequence.stop_reason, len(ids), self._tokenizer, self._config)
                    for sequence in sequences
                ]
            )
        return answers

    def cancel(self) -> None:
        """Call off the answers that nobody will collect."""
        for future in self._futures:
            future.future().cancel()


def _not_numbers(question: Example) -> str:
    return (
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
    template = config.prompt.template
    prompt = prompts.render_prompt(question, template, tokenizer)
    ids = prompts.tokenize([question], tokenizer, template)[0].prompt.tolist()
    coming = sampler.stream(types.ModelInput.from_ints(ids), _sampling(Request([question]), tokenizer, config))
    tokens: list[int] = []
    with closing(coming):
        while True:
            try:
                tokens.append(next(coming))
            except StopIteration as end:
                (sequence,) = end.value.sequences
                yield _generation(prompt, sequence.tokens, sequence.stop_reason, len(ids), tokenizer, config)
                return
            yield _generation(prompt, tokens, "", len(ids), tokenizer, config)


def _sampling(request: Request, tokenizer: Tokenizer, config: Config) -> types.SamplingParams:
    evaluation, template = config.evaluation, config.prompt.template
    # Without stop strings an answer ends with the sequence, or in a chat with the turn, whose mark is its own token. An
    # empty list would not even stop at the end of the sequence.
    stop = evaluation.stop or prompts.end_of_turn(template, tokenizer)[-1:] or None
    return types.SamplingParams(
        max_tokens=evaluation.max_new_tokens,
        temperature=evaluation.temperature if request.temperature is None else request.temperature,
        stop=stop,
        seed=config.seed if request.seed is None else request.seed,
    )


def _generation(
    prompt: str, tokens: Sequence[int], stop_reason: str, prompt_tokens: int, tokenizer: Tokenizer, config: Config
) -> Generation:
    # The clean-up of older tokenizers would rewrite " ," and " 's" inside SQL.
    raw = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    text = cut_at_stop(raw, config.evaluation.stop)
    return Generation(prompt, raw, text, stop_reason, len(tokens), prompt_tokens)
