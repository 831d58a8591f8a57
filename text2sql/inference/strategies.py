"""Answering strategies: one answer, solved examples in the prompt, a vote of several samples, a retry on errors.

No strategy looks at a gold query: votes and retries depend on how queries run on the question's database or, where it
has none, on its schema.

A new strategy is a subclass of `Strategy` in `STRATEGIES`, with its settings as a key of `evaluation`. The plan of a
run, the estimate of its tokens, its labels and its tables in reports follow from that.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar

from backends.tokenizer import Tokenizer
from text2sql.config import Config, EvaluationConfig
from text2sql.config import FewShot as FewShotSettings
from text2sql.config import Retry as RetrySettings
from text2sql.config import SelfConsistency as SelfConsistencySettings
from text2sql.data.example import Example
from text2sql.data.few_shot import choose_few_shot
from text2sql.data.prompts import PromptFormat
from text2sql.engines.answers import extract_sql_in
from text2sql.equivalence.engine_pair import compile_in_engine
from text2sql.equivalence.scoring import Pair, score_pairs
from text2sql.equivalence.sqlite_pair import compile_prediction
from text2sql.evaluation.match_options import match_options
from text2sql.inference.generate import Generation, GenerationRequest
from text2sql.runs.models import MODELS, Model
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox

Generate = Callable[[GenerationRequest], list[list[Generation]]]
# Instructions of SQLite's virtual machine for one query on a real database.
MAX_STEPS = 10**8


@dataclass(frozen=True)
class Strategy(ABC):
    """An answering strategy; the defaults of this class are those of `Greedy`.

    Attributes:
        name: Suffix of the evaluation's label, behind the model; empty for none.
        title: Suffix of the title of the progress bar; empty for none.
        about: Description in tables of results; empty for none.
        models: The models that it applies to.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    models: ClassVar[tuple[Model, ...]] = MODELS

    @classmethod
    @abstractmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """The strategy as it is configured, None where it is not configured."""

    @property
    def max_retries(self) -> int:
        """How often a question may be asked again.

        If it may, a group of questions is finished before the next one is submitted. Otherwise retries would share
        batches with other questions, depending on the timing, and the results with them.
        """
        return 0

    @classmethod
    def label(cls, model: Model) -> str:
        """Label of its evaluation of a model, in file names, in the summary and on the command line."""
        return f"{model}-{cls.name}" if cls.name else model

    @classmethod
    def applies_to(cls, model: Model, settings: EvaluationConfig) -> bool:
        """Whether this model is evaluated with it: the base model only with `evaluation.baseline`."""
        return model in cls.models and (model != "base" or settings.baseline)

    def prepare(
        self,
        questions: Sequence[Example],
        train: Sequence[Example],
        tokenizer: Tokenizer | None,
        config: Config,
        max_prompt_tokens: int | None,
    ) -> Strategy:
        """The strategy with everything that it needs for these questions.

        Args:
            questions: The questions that will be asked.
            train: The training examples.
            tokenizer: The model's tokenizer; None where it is not available.
            config: The run's configuration.
            max_prompt_tokens: Maximum length of a prompt; None where it is not known.
        """
        return self

    @property
    def note(self) -> str:
        """A sentence for the user before questions are asked; empty for most strategies."""
        return ""

    def request(self, questions: Sequence[Example]) -> GenerationRequest:
        """The request that samples the answers to some questions."""
        return GenerationRequest(questions)

    def choose(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], generate: Generate, config: Config
    ) -> list[Generation]:
        """Choose one answer for each question; its tokens are those of all answers that it was chosen from.

        Args:
            questions: The questions, as `request` was given them.
            answers: The answers to each question: ``[questions][samples]``.
            generate: Samples further answers from the same model, and waits for them.
            config: The run's configuration.
        """
        return [samples[0] for samples in answers]

    def count_correct(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], config: Config
    ) -> list[int] | None:
        """Number of correct answers to each question; None where only the chosen answer is scored."""
        return None


@dataclass(frozen=True)
class Greedy(Strategy):
    """One answer to the prompt without examples, at `evaluation.temperature`: greedy decoding where that is 0."""

    name = title = about = ""

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """Always."""
        return cls()


@dataclass(frozen=True)
class FewShot(Strategy):
    """Solved training examples in the prompt of the base model, as a baseline for training."""

    name = "few-shot"
    title = "solved examples"
    about = "solved examples in the prompt"
    models = ("base",)

    settings: FewShotSettings
    few_shot: Mapping[str, Sequence[Example]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.few_shot`."""
        return cls(settings.few_shot) if settings.few_shot else None

    @classmethod
    def label(cls, model: Model) -> str:
        """The name alone, as it applies only to the base model."""
        return cls.name

    @classmethod
    def applies_to(cls, model: Model, settings: EvaluationConfig) -> bool:
        """To the base model, with or without `evaluation.baseline`."""
        return model in cls.models

    def prepare(
        self,
        questions: Sequence[Example],
        train: Sequence[Example],
        tokenizer: Tokenizer | None,
        config: Config,
        max_prompt_tokens: int | None,
    ) -> Strategy:
        """Choose the examples for each question."""
        form = PromptFormat.of(config)
        few_shot = choose_few_shot(
            questions, train, self.settings, config.data.seed, tokenizer, form, max_prompt_tokens
        )
        return replace(self, few_shot=few_shot)

    @property
    def note(self) -> str:
        """How many prompts have room for fewer examples than configured."""
        short = sum(len(examples) < self.settings.k for examples in self.few_shot.values())
        if not short:
            return ""
        return f"{short} of {len(self.few_shot)} prompts hold fewer than {self.settings.k} solved examples."

    def request(self, questions: Sequence[Example]) -> GenerationRequest:
        """With each question's examples in front of it."""
        return GenerationRequest(questions, few_shot=[self.few_shot.get(question.id, ()) for question in questions])


@dataclass(frozen=True)
class SelfConsistency(Strategy):
    """A majority vote of several samples (X. Wang et al., ICLR 2023): the answer whose result most samples share.

    Answers that do not run have no vote. Two queries share their result if the evaluator finds no database, real or
    made for the schema, on which they differ. Ties are broken in favour of the earlier sample.
    """

    name = "vote"
    title = "vote"
    about = "vote of samples"

    settings: SelfConsistencySettings

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.self_consistency`."""
        return cls(settings.self_consistency) if settings.self_consistency else None

    def request(self, questions: Sequence[Example]) -> GenerationRequest:
        """Several answers to each question."""
        return GenerationRequest(questions, samples=self.settings.samples, temperature=self.settings.temperature)

    def choose(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], generate: Generate, config: Config
    ) -> list[Generation]:
        """Choose the answer of the majority."""
        queries = [
            [extract_sql_in(generation.text, question.dialect) for generation in samples]
            for question, samples in zip(questions, answers, strict=True)
        ]
        # The distinct queries that run, in the order of sampling.
        running = [
            [sql for sql in dict.fromkeys(sampled) if execution_error(question, sql, config.evaluation) is None]
            for question, sampled in zip(questions, queries, strict=True)
        ]
        # Question and two of its queries.
        compared = [(index, a, b) for index, distinct in enumerate(running) for a, b in combinations(distinct, 2)]
        pairs = [Pair(questions[i].context, a, b, questions[i].db, questions[i].dialect) for i, a, b in compared]
        equivalent = {
            compared[index] for index, verdict in score_pairs(pairs, **match_options(config)) if verdict.correct
        }
        chosen = []
        for i, samples in enumerate(answers):
            winner = _majority(Counter(queries[i]), running[i], {(a, b) for index, a, b in equivalent if index == i})
            answer = samples[queries[i].index(winner)] if winner is not None else samples[0]
            tokens = sum(generation.tokens for generation in samples)
            chosen.append(replace(answer, tokens=tokens, samples=len(samples)))
        return chosen


@dataclass(frozen=True)
class PassAtK(SelfConsistency):
    """A majority vote of several samples, all of which are scored as well, for pass@k."""

    name = "samples"
    title = "samples"
    about = "majority of samples, all judged"

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.samples`."""
        return cls(settings.samples) if settings.samples else None

    def count_correct(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], config: Config
    ) -> list[int] | None:
        """Score every sample."""
        indices = [index for index, samples in enumerate(answers) for _ in samples]
        texts = [generation.text for samples in answers for generation in samples]
        pairs = [_gold_pair(questions[index], text) for index, text in zip(indices, texts, strict=True)]
        correct = [0] * len(questions)
        for i, verdict in score_pairs(pairs, **match_options(config)):
            correct[indices[i]] += verdict.correct
        return correct


@dataclass(frozen=True)
class ExecutionRetry(Strategy):
    """A new sample for each query that does not run; if none ever runs, the last one is the answer."""

    name = "retry"
    title = "retry"
    about = "asked again on errors"

    settings: RetrySettings

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.retry`."""
        return cls(settings.retry) if settings.retry else None

    @property
    def max_retries(self) -> int:
        """As configured."""
        return self.settings.attempts

    def choose(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], generate: Generate, config: Config
    ) -> list[Generation]:
        """Ask again, `retry.attempts` times at most, where an answer does not run."""
        current = [samples[0] for samples in answers]
        for attempt in range(1, self.max_retries + 1):
            failed = self._failed_questions(questions, current, config)
            if not failed:
                break
            # With another seed, so that the same prompt is sampled differently.
            seed = config.seed + attempt
            request = GenerationRequest([*failed.values()], temperature=self.settings.temperature, seed=seed)
            for index, (retry,) in zip(failed, generate(request), strict=True):
                current[index] = _with_cost_of(current[index], retry)
        return current

    def _failed_questions(
        self, questions: Sequence[Example], generations: Sequence[Generation], config: Config
    ) -> dict[int, Example]:
        """The questions whose answer does not run, by index; with `retry.show_error` the text has the error message."""
        failed = {}
        for index, (question, generation) in enumerate(zip(questions, generations, strict=True)):
            sql = extract_sql_in(generation.text, question.dialect)
            error = execution_error(question, sql, config.evaluation)
            if error is None:
                continue
            if self.settings.show_error and sql:
                message = f"This query failed: {' '.join(sql.split())}\nError: {error}\nWrite one that runs."
                question = replace(question, question=f"{question.question}\n{message}")
            failed[index] = question
        return failed


# In the order in which a model is evaluated with them.
STRATEGIES: tuple[type[Strategy], ...] = (Greedy, FewShot, SelfConsistency, PassAtK, ExecutionRetry)


def configured_strategies(model: Model, settings: EvaluationConfig) -> list[Strategy]:
    """The strategies that a model is evaluated with, in order."""
    strategies = [kind.of(settings) for kind in STRATEGIES if kind.applies_to(model, settings)]
    return [strategy for strategy in strategies if strategy is not None]


def execution_error(question: Example, sql: str, settings: EvaluationConfig) -> str | None:
    """The error of a query on a question's database or, without one, on its schema; None if it runs.

    With `evaluation.transpile` no engine is asked: whether a query of another dialect runs is not known, and the result
    is None.

    Args:
        question: The question; its gold query is not used.
        sql: The query.
        settings: The settings; `timeout` limits a query on a real database, in seconds.
    """
    if not sql:
        return "there is no query in the answer"
    if question.dialect != "sqlite":
        failure = None if settings.transpile else compile_in_engine(question.context, "", sql, question.dialect)
        return str(failure) if failure else None
    if question.db is None:
        failure = compile_prediction(question.context, "", sql)
        return str(failure) if failure else None
    try:
        sandbox = SqliteSandbox.from_file(question.db)
    except sqlite3.Error as error:
        return str(error)
    try:
        sandbox.run(sql, MAX_STEPS, settings.timeout)
    except QueryFailed as error:
        return str(error)
    finally:
        sandbox.close()
    return None


def _gold_pair(question: Example, text: str) -> Pair:
    return Pair(question.context, question.answer, text, question.db, question.dialect)


def _majority(votes: Counter[str], running: Sequence[str], equivalent: set[tuple[str, str]]) -> str | None:
    """The most frequent query of the group of equivalent queries with the most votes; None if no query runs.

    Args:
        votes: Number of samples with each query.
        running: The distinct queries that run, in the order of sampling.
        equivalent: Pairs of equivalent queries, the earlier sample first.
    """
    groups: list[list[str]] = []
    for sql in running:
        group = next((group for group in groups if (group[0], sql) in equivalent), None)
        if group is None:
            groups.append([sql])
        else:
            group.append(sql)
    if not groups:
        return None
    largest = max(groups, key=lambda group: sum(votes[sql] for sql in group))
    return max(largest, key=votes.__getitem__)


def _with_cost_of(first: Generation, second: Generation) -> Generation:
    """The second answer, with the tokens and samples of both."""
    return replace(
        second,
        tokens=first.tokens + second.tokens,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        samples=first.samples + second.samples,
    )
