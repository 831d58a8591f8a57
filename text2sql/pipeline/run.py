"""A run: evaluate the base model, train, evaluate the tuned model on the same examples, report.

Every stage writes its results as it goes and skips what an earlier start has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinker import TinkerError
from tinker.lib.retryable_exception import RetryableException

from backends import helps, open_backend
from backends.interface import SamplingClient, ServiceClient
from text2sql.chat_client import ChatClient
from text2sql.config import Config, FewShot
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.dataset import Dataset, check_batch_size, load_dataset, tokenize_split
from text2sql.data.example import Example
from text2sql.data.exercise_questions import NOVEL_QUESTIONS
from text2sql.data.few_shot import choose_shots
from text2sql.errors import UserError
from text2sql.evaluation.llm_judge import JudgeCase
from text2sql.evaluation.score import ask_judge
from text2sql.evaluation.tables import show_measures
from text2sql.inference.predict import answer, judge, predict
from text2sql.inference.strategies import Way
from text2sql.pipeline.console_tables import show_first_example, show_headline, show_novel, show_spending, show_ways
from text2sql.pipeline.summary import Work, summarize_run
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory, open_run
from text2sql.runs.environment import environment
from text2sql.runs.evaluation_summary import JudgeSummary
from text2sql.runs.records import (
    SAMPLES,
    CheckpointRecord,
    Prediction,
    ValidationSample,
    describe_start,
    predictions_file,
)
from text2sql.runs.session import context_length, lost_model, open_service
from text2sql.runs.summary import ENVIRONMENT, SUMMARY
from text2sql.training.lr_schedule import auto_learning_rate
from text2sql.training.trackers import open_trackers
from text2sql.training.trainer import Trainer, TrainingData
from text2sql.training.warm_start import check_start, find_start, has_begun

STAGES = ("baseline", "train", "evaluate")


def run_pipeline(config: Config, stages: Sequence[str] = STAGES) -> Path:
    """Carry out a run, or what is left of it.

    Args:
        config: The resolved configuration.
        stages: Which of `STAGES` to carry out.

    Returns:
        The run's directory.

    Raises:
        UserError: Something is wrong that a person can mend; finished stages are kept.
        BackendError: The same, of the backend.
    """
    if helps():
        open_backend(config.backend, config.backend_options)
        raise SystemExit(0)  # nothing to help with: that backend computes elsewhere
    if "train" not in stages and not (config.evaluation.baseline or config.evaluation.few_shot):
        raise UserError(
            "evaluation.baseline=false leaves nothing to evaluate: without training there is the base model alone. "
            "Leave it out, or ask for solved examples with evaluation.few_shot.k=3."
        )
    if config.judge:
        ChatClient(config.judge)  # a missing key is said now, not after hours of training
    dataset = load_dataset(config)
    if "train" in stages:
        check_batch_size(dataset, config)
        if not has_begun(config):
            find_start(config)  # what is wrong with it is said before another run is overwritten
    pushes = config.hub.push_to is not None and "train" in stages
    if pushes:
        from text2sql.export import hub

        hub.check(str(config.hub.push_to))  # before hours of work, not after
    run = open_run(config)
    try:
        budget = TokenBudget(run, config)
        with open_service(config, run.file("checkpoints")) as service:
            path = _Run(config, run, service, dataset, budget).carry_out(stages)
        if "train" in stages and not config.capabilities.checkpoints_on_disk:
            from text2sql.pipeline.adapter_download import download_at_the_end

            download_at_the_end(run)
        if pushes:
            from text2sql.export import push_run

            push_run(path, config.hub)
        return path
    finally:
        run.unlock()


@dataclass
class _Run:
    config: Config
    run: RunDirectory
    service: ServiceClient
    dataset: Dataset
    budget: TokenBudget

    def carry_out(self, stages: Collection[str]) -> Path:
        config, run = self.config, self.run
        stages = {*stages, *run.stages()}  # what an earlier start has finished costs nothing, and is summed up too
        base: SamplingClient = self.service.create_sampling_client(base_model=config.trained_model).result()
        self.dataset, train, validation = tokenize_split(
            self.dataset, base.get_tokenizer(), config, context_length(self.service, config.trained_model)
        )
        split = self.dataset.split
        self._introduce()
        if "train" in stages and not run.checkpoints():
            self._introduce_start()
        show_first_example(split.train[0], train[0], base.get_tokenizer())
        if run.environment() is None:  # a run that goes on keeps the record of its start
            run.write_json(ENVIRONMENT, environment(prompts.VERSION, self.service.describe()))
        answers: dict[str, list[Prediction]] = {}
        if "baseline" in stages and config.evaluation.baseline:
            answers["base"] = self._evaluate("base", "Base model", split.test, base)
        if "baseline" in stages:
            answers |= self._ways("base", base)
        trainer = None
        if "train" in stages:
            check_batch_size(self.dataset, config)  # again: over-long examples are gone now
            trainer, checkpoint = self._train(train, [e.id for e in split.train], validation)
            if "evaluate" in stages:
                tuned = self.service.create_sampling_client(model_path=checkpoint.sampler_path).result()
                answers["tuned"] = self._evaluate("tuned", "Tuned model", split.test, tuned)
                answers |= self._ways("tuned", tuned)
                if config.evaluation.novel_questions:
                    answers["novel-tuned"] = self._evaluate("novel-tuned", "New schemas, tuned", NOVEL_QUESTIONS, tuned)
        if "base" in answers and config.evaluation.novel_questions:
            answers["novel-base"] = self._evaluate("novel-base", "New schemas, base", NOVEL_QUESTIONS, base)
        opinions, problems = self._ask_judge(answers)
        training = trainer.summary() if trainer else None
        work = Work(config, run, self.dataset, self.budget, self.service.describe(), sorted(stages))
        summary = summarize_run(work, answers, training, opinions, problems)
        run.write_json(SUMMARY, summary)
        from text2sql.report import write_report

        page = write_report(run.path)
        for label in [label for label in ("tuned", "base") if label in summary.evaluations][:1]:
            show_measures(f"The {label} model", summary.evaluations[label])
        show_headline(summary)
        show_ways(summary.evaluations)
        show_spending(summary)
        show_novel(summary.novel)
        console.print(f"Report: {page}")
        return run.path

    def _introduce(self) -> None:
        split = self.dataset.split
        console.print(
            f"Run {self.run.path}: {self.config.trained_model} on {self.config.data.source} with the "
            f"{self.config.backend} backend; {len(split.train)} training, {len(split.validation)} validation and "
            f"{len(split.test)} test examples. {self.dataset.counts()}"
        )
        if any(self.dataset.leaks.values()):
            console.print(
                f"Of the test examples, {self.dataset.leaks['tables']} share a table and "
                f"{self.dataset.leaks['questions']} a question with the training examples; "
                "data.split_by=schema keeps tables apart."
            )

    def _introduce_start(self) -> None:
        """Say which saved weights the training begins with, once they have been seen to be there and to fit."""
        start = find_start(self.config)
        if start:
            check_start(start, self.service, self.config)
            console.print(
                f"Training begins with the weights of {describe_start(start.record)}. The base model that it is "
                f"compared with is {self.config.trained_model}, untuned.",
                markup=False,
            )

    def _evaluate(
        self, label: str, title: str, examples: Sequence[Example], sampler: SamplingClient, way: Way | None = None
    ) -> list[Prediction]:
        return predict(self.run, label, title, examples, sampler, self.config, self.budget, way)

    def _ways(self, label: str, sampler: SamplingClient) -> dict[str, list[Prediction]]:
        """The evaluations beside the plain one that are asked for.

        Solved examples are for the base model alone, and need no plain evaluation beside them: they are what
        training is compared with. Votes and second tries are for the models that are also evaluated plainly.
        """
        settings, test = self.config.evaluation, self.dataset.split.test
        rows: dict[str, list[Prediction]] = {}
        if settings.few_shot and label == "base":
            way = Way(shots=self._shots(settings.few_shot, sampler))
            rows["few-shot"] = self._evaluate("few-shot", "Base model, solved examples", test, sampler, way)
        if label == "base" and not settings.baseline:
            return rows
        if settings.self_consistency:
            way = Way(vote=settings.self_consistency)
            rows[f"{label}-vote"] = self._evaluate(f"{label}-vote", f"{label.title()} model, vote", test, sampler, way)
        if settings.retry:
            way = Way(retry=settings.retry)
            rows[f"{label}-retry"] = self._evaluate(
                f"{label}-retry", f"{label.title()} model, retry", test, sampler, way
            )
        return rows

    def _shots(self, few_shot: FewShot, sampler: SamplingClient) -> dict[str, list[Example]]:
        config, split = self.config, self.dataset.split
        context = context_length(self.service, config.trained_model)
        longest = context - config.evaluation.max_new_tokens if context else None
        tokenizer = sampler.get_tokenizer()
        template = config.prompt.template
        shots = choose_shots(split.test, split.train, few_shot, config.seed, tokenizer, template, longest)
        if fewer := sum(len(own) < few_shot.k for own in shots.values()):
            console.print(f"{fewer} of {len(shots)} prompts hold fewer than {few_shot.k} solved examples.")
        return shots

    def _ask_judge(self, answers: dict[str, list[Prediction]]) -> tuple[dict[str, JudgeSummary], list[str]]:
        """A language model's opinions by label, and why there are none where it failed: they hold nothing up."""
        summaries: dict[str, JudgeSummary] = {}
        for label in ("base", "tuned"):
            if self.config.judge is None or label not in answers:
                continue
            asked = answers[label]
            cases = [JudgeCase(row.question, row.context, row.gold, row.sql, row.evidence) for row in asked]
            try:
                opinions, summaries[label] = ask_judge(
                    cases, [row.verdict for row in asked], f"Judge on {label}", self.config.judge
                )
            except UserError as error:
                console.print(f"The judge did not answer: {error}", markup=False)
                return summaries, [f"The language model asked for a second opinion did not answer: {error}"]
            answers[label] = [
                row.model_copy(update={"judge": opinion}) for row, opinion in zip(asked, opinions, strict=True)
            ]
            self.run.replace_rows(predictions_file(label), answers[label])
        return summaries, []

    def _train(self, train: Any, ids: list[str], validation: Any) -> tuple[Trainer, CheckpointRecord]:
        """Train to the end; where a server loses the model, as one that is restarted does, from the last checkpoint."""
        make = self._trainer(train, ids, validation)
        taken_up: list[CheckpointRecord] = []
        while True:
            trainer = make()
            try:
                return trainer, trainer.train()
            except (TinkerError, RetryableException) as error:
                saved = self.run.checkpoints()
                if not self.service.capabilities.may_lose_model or not lost_model(error) or saved == taken_up:
                    raise  # also where nothing is saved, or nothing more than the last time
                taken_up = saved
                console.print(f"The server broke off the training: {error}", markup=False)

    def _trainer(self, train: Any, ids: list[str], validation: Any) -> Callable[[], Trainer]:
        """Makes trainers, each of which goes on where the run's files say that the one before it got."""
        config = self.config
        questions = self.dataset.split.validation[: config.training.validation_questions]
        track = open_trackers(config, self.run.path)
        data = TrainingData(train, ids, validation, self._levels())
        validate = self._validator(questions) if questions else None
        rate = self._peak_rate()
        return lambda: Trainer(self.run, self.service, config, data, rate, validate, track, self.budget)

    def _levels(self) -> list[int] | None:
        """How hard the training examples are, where they are taught in that order."""
        if self.config.training.order == "shuffled":
            return None
        from text2sql.sql.hardness import LEVELS, hardness

        return [LEVELS.index(hardness(e.answer)) for e in self.dataset.split.train]

    def _peak_rate(self) -> float:
        config = self.config
        if config.training.learning_rate != "auto":
            return config.training.learning_rate
        from backends.planning.shape import model_shape

        shape = model_shape(config.trained_model)
        rate, reason = auto_learning_rate(
            shape.width, shape.family, config.training.batch_size, adapter=config.trains_adapter
        )
        console.print(f"Learning rate: {reason}.")
        return rate

    def _validator(self, questions: Sequence[Example]) -> Any:
        config = self.config

        def validate(sampler: SamplingClient, step: int) -> float:
            generations = answer("validation", questions, sampler, config, self.budget)
            rows = judge(questions, generations, config)
            for row in rows[: config.training.log_samples]:
                console.print(
                    f"  step {step}  {row.question}\n    wrote  {row.sql}\n    gold   {row.gold}", markup=False
                )
            shown = rows[: config.training.log_samples]
            self.run.append(SAMPLES, [ValidationSample(**dict(row), step=step) for row in shown])
            return sum(row.correct for row in rows) / len(rows)

        return validate
