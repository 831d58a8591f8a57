"""How answers are come by: one answer, solved examples in the prompt, a vote of several samples, another try.

No gold query has a part in any of it: what votes and what tries again is how queries run on the question's database,
or, where it has none, on its schema.

A new strategy is a subclass of `Strategy` in `STRATEGIES`, and its settings as a key of `evaluation`. The plan of a
run, the estimate of its tokens, its labels and its tables in reports follow from that.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar

from backends.tokenizer import Tokenizer
from text2sql import evaluation
from text2sql.config import Config, EvaluationConfig, FewShot, Retry, SelfConsistency
from text2sql.data.example import Example
from text2sql.data.few_shot import choose_few_shot
from text2sql.data.prompts import PromptFormat
from text2sql.engines.answers import extract_sql_in
from text2sql.equivalence.engine_pair import compile_in_engine
from text2sql.equivalence.sqlite_pair import compile_prediction
from text2sql.evaluation.match_options import match_options
from text2sql.inference.generate import Generation, Request
from text2sql.runs.models import MODELS, Model
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox

Ask = Callable[[Request], list[list[Generation]]]
# Instructions of SQLite's virtual machine for one query on a real database.
MAX_STEPS = 10**8


@dataclass(frozen=True)
class Strategy:
    """A strategy; each replaces what it does in another way than `Greedy`.

    Attributes:
        name: What it adds to the label of the model that it is used with.
        title: What it adds to the model's title while it is under way.
        about: The same in a table of results.
        models: Which models it is for.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    models: ClassVar[tuple[Model, ...]] = MODELS

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """The strategy as it is configured, None where it is not asked for."""
        raise NotImplementedError

    @property
    def attempts(self) -> int:
        """How often it may ask a question again.

        Where it does at all, a group of questions is finished before the next one is asked. Second tries among other
        questions would come sooner or later, and so in other company and with other numbers each time.
        """
        return 0

    @classmethod
    def label(cls, model: Model) -> str:
        """Label of its evaluation of a model: of the predictions' file, in the summary, on the command line."""
        return f"{model}-{cls.name}" if cls.name else model

    @classmethod
    def applies_to(cls, model: Model, settings: EvaluationConfig) -> bool:
        """Whether this model is evaluated with it: the base model only where its baseline is wanted."""
        return model in cls.models and (model != "base" or settings.baseline)

    def prepared(
        self,
        questions: Sequence[Example],
        train: Sequence[Example],
        tokenizer: Tokenizer | None,
        config: Config,
        limit: int | None,
    ) -> Strategy:
        """The strategy with what it needs for these questions.

        Args:
            questions: What will be asked.
            train: The training examples.
            tokenizer: The model's; None where it cannot be had.
            config: The run's.
            limit: Tokens that a prompt may have; None where nobody knows.
        """
        return self

    @property
    def note(self) -> str:
        """What a person should know of it before it is asked; mostly nothing."""
        return ""

    def request(self, questions: Sequence[Example]) -> Request:
        """How questions are asked."""
        return Request(questions)

    def choose(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], ask: Ask, config: Config
    ) -> list[Generation]:
        """One answer for each question, with the tokens of all that it took.

        Args:
            questions: What was asked, as `request` was given it.
            answers: The answers to each.
            ask: Asks the same model further questions, and waits.
            config: The run's.
        """
        return [own[0] for own in answers]

    def count_right(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], config: Config
    ) -> list[int] | None:
        """How many of the answers to each question are right; None where only the chosen one is judged."""
        return None


@dataclass(frozen=True)
class Greedy(Strategy):
    """One answer to the bare prompt, at `evaluation.temperature`: greedy, unless somebody has raised that from 0."""

    name = title = about = ""

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """Always."""
        return cls()


@dataclass(frozen=True)
class FewShotPrompt(Strategy):
    """Solved training examples in the prompt of the base model: what training is compared with."""

    name = "few-shot"
    title = "solved examples"
    about = "solved examples in the prompt"
    models = ("base",)

    settings: FewShot
    few_shot: Mapping[str, Sequence[Example]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.few_shot`."""
        return cls(settings.few_shot) if settings.few_shot else None

    @classmethod
    def label(cls, model: Model) -> str:
        """There is one of it alone, of the base model."""
        return cls.name

    @classmethod
    def applies_to(cls, model: Model, settings: EvaluationConfig) -> bool:
        """To the base model, whether or not that is also asked without examples."""
        return model in cls.models

    def prepared(
        self,
        questions: Sequence[Example],
        train: Sequence[Example],
        tokenizer: Tokenizer | None,
        config: Config,
        limit: int | None,
    ) -> Strategy:
        """Choose the examples for each question."""
        form = PromptFormat.of(config)
        return replace(
            self,
            few_shot=choose_few_shot(questions, train, self.settings, config.data.seed, tokenizer, form, limit),
        )

    @property
    def note(self) -> str:
        """How many prompts are too long for all the examples that were asked for."""
        fewer = sum(len(own) < self.settings.k for own in self.few_shot.values())
        wanted = f"hold fewer than {self.settings.k} solved examples"
        return f"{fewer} of {len(self.few_shot)} prompts {wanted}." if fewer else ""

    def request(self, questions: Sequence[Example]) -> Request:
        """With each question's examples in front of it."""
        return Request(questions, few_shot=[self.few_shot.get(question.id, ()) for question in questions])


@dataclass(frozen=True)
class Vote(Strategy):
    """Self-consistency: several samples, and the one whose result most of them share.

    Answers that do not run have no vote. Two queries share their result if the evaluator finds no database, real or
    made for the schema, on which they differ. Between equals the earlier sample wins.
    """

    name = "vote"
    title = "vote"
    about = "vote of samples"

    settings: SelfConsistency

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.self_consistency`."""
        return cls(settings.self_consistency) if settings.self_consistency else None

    def request(self, questions: Sequence[Example]) -> Request:
        """Several answers to each question."""
        return Request(questions, samples=self.settings.samples, temperature=self.settings.temperature)

    def choose(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], ask: Ask, config: Config
    ) -> list[Generation]:
        """Let the answers to each question vote."""
        queries = [
            [extract_sql_in(g.text, question.dialect) for g in own]
            for question, own in zip(questions, answers, strict=True)
        ]
        running = [
            [sql for sql in dict.fromkeys(own) if execution_error(question, sql, config.evaluation) is None]
            for question, own in zip(questions, queries, strict=True)
        ]
        places = [(i, a, b) for i, own in enumerate(running) for a, b in combinations(own, 2)]
        pairs = [
            evaluation.Pair(questions[i].context, a, b, questions[i].db, questions[i].dialect) for i, a, b in places
        ]
        same = {
            places[index]
            for index, verdict in evaluation.score_pairs(pairs, **match_options(config))
            if verdict.correct
        }
        chosen = []
        for i, own in enumerate(answers):
            winner = _elected(Counter(queries[i]), running[i], {(a, b) for place, a, b in same if place == i})
            answer = own[queries[i].index(winner)] if winner is not None else own[0]
            chosen.append(replace(answer, tokens=sum(g.tokens for g in own), samples=len(own)))
        return chosen


@dataclass(frozen=True)
class JudgeAll(Vote):
    """The vote of several samples, of which each is judged as well: how often any of them is right."""

    name = "samples"
    title = "samples"
    about = "majority of samples, all judged"

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.samples`."""
        return cls(settings.samples) if settings.samples else None

    def count_right(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], config: Config
    ) -> list[int] | None:
        """Judge every sample."""
        places = [place for place, own in enumerate(answers) for _ in own]
        texts = [generation.text for own in answers for generation in own]
        pairs = [_pair(questions[place], text) for place, text in zip(places, texts, strict=True)]
        right = [0] * len(questions)
        for index, verdict in evaluation.score_pairs(pairs, **match_options(config)):
            right[places[index]] += verdict.correct
        return right


@dataclass(frozen=True)
class AskAgain(Strategy):
    """Execution feedback: another answer where a query does not run; one that never does stays the last."""

    name = "retry"
    title = "retry"
    about = "asked again on errors"

    settings: Retry

    @classmethod
    def of(cls, settings: EvaluationConfig) -> Strategy | None:
        """With `evaluation.retry`."""
        return cls(settings.retry) if settings.retry else None

    @property
    def attempts(self) -> int:
        """As configured."""
        return self.settings.attempts

    def choose(
        self, questions: Sequence[Example], answers: Sequence[Sequence[Generation]], ask: Ask, config: Config
    ) -> list[Generation]:
        """Ask again, `retry.attempts` times at most, where an answer does not run."""
        current = [own[0] for own in answers]
        for attempt in range(1, self.attempts + 1):
            again = self._to_ask_again(questions, current, config)
            if not again:
                break
            # Of another seed: the same prompt is to be sampled in another way.
            seed = config.seed + attempt
            asked = ask(Request([*again.values()], temperature=self.settings.temperature, seed=seed))
            for place, (new,) in zip(again, asked, strict=True):
                current[place] = _at_the_cost_of_both(current[place], new)
        return current

    def _to_ask_again(
        self, questions: Sequence[Example], generations: Sequence[Generation], config: Config
    ) -> dict[int, Example]:
        """The questions whose answer does not run, by place; with the error in the text where it is to be shown."""
        again = {}
        for place, (question, generation) in enumerate(zip(questions, generations, strict=True)):
            sql = extract_sql_in(generation.text, question.dialect)
            error = execution_error(question, sql, config.evaluation)
            if error is None:
                continue
            failed = f"This query failed: {' '.join(sql.split())}\nError: {error}\nWrite one that runs."
            shown = self.settings.show_error and sql
            again[place] = replace(question, question=f"{question.question}\n{failed}") if shown else question
        return again


# In the order in which a model is asked with them.
STRATEGIES: tuple[type[Strategy], ...] = (Greedy, FewShotPrompt, Vote, JudgeAll, AskAgain)


def wanted_strategies(model: Model, settings: EvaluationConfig) -> list[Strategy]:
    """The strategies that a model is to be evaluated with, in order."""
    wanted = [kind.of(settings) for kind in STRATEGIES if kind.applies_to(model, settings)]
    return [strategy for strategy in wanted if strategy is not None]


def execution_error(question: Example, sql: str, settings: EvaluationConfig) -> str | None:
    """Why a query does not run on a question's database or, without one, on its schema; None if it does.

    With `evaluation.transpile` no engine is asked, and whether a query of another dialect runs is not known: None.

    Args:
        question: Its database or schema is used, not its gold query.
        sql: The query.
        settings: `timeout` limits a query on a real database, in seconds.
    """
    if not sql:
        return "there is no query in the answer"
    if question.dialect != "sqlite":
        failed = None if settings.transpile else compile_in_engine(question.context, "", sql, question.dialect)
        return str(failed) if failed else None
    if question.db is None:
        failed = compile_prediction(question.context, "", sql)
        return str(failed) if failed else None
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


def _pair(question: Example, text: str) -> evaluation.Pair:
    return evaluation.Pair(question.context, question.answer, text, question.db, question.dialect)


def _elected(votes: Counter[str], running: Sequence[str], same: set[tuple[str, str]]) -> str | None:
    """The most frequent query of the group of equal ones with the most votes; `running` is in the order of sampling."""
    groups: list[list[str]] = []
    for sql in running:
        home = next((group for group in groups if (group[0], sql) in same), None)
        groups.append([sql]) if home is None else home.append(sql)
    if not groups:
        return None
    best = max(groups, key=lambda group: sum(votes[sql] for sql in group))
    return max(best, key=votes.__getitem__)


def _at_the_cost_of_both(first: Generation, second: Generation) -> Generation:
    return replace(
        second,
        tokens=first.tokens + second.tokens,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        samples=first.samples + second.samples,
    )
