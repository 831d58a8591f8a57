"""A run: evaluate the base model, train, evaluate the tuned model on the same examples, report.

Every stage writes its results as it goes and skips what an earlier start has finished.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from backends import helps, open_backend
from backends.interface import Description, SamplingClient
from backends.tokenizer import Tokenizer
from text2sql.chat_client import ChatClient
from text2sql.config import Config
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.dataset import Dataset, check_batch_size, load_dataset, tokenize_split
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.evaluation.llm_judge import JudgeCase
from text2sql.evaluation.score import ask_judge
from text2sql.inference.plan import STAGES, Evaluation, plan_run
from text2sql.inference.predict import predict
from text2sql.pipeline.console_tables import (
    introduce_run,
    introduce_start,
    introduce_training,
    show_first_example,
    show_results,
)
from text2sql.pipeline.inputs import take_fingerprints
from text2sql.pipeline.summary import FinishedWork, summarize_run
from text2sql.pipeline.training import train_model
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import open_run
from text2sql.runs.environment import environment
from text2sql.runs.evaluation_summary import JudgeSummary
from text2sql.runs.inputs import check_inputs
from text2sql.runs.models import SIDES, Model
from text2sql.runs.records import Prediction, predictions_file
from text2sql.runs.session import RunSession, context_length, open_service
from text2sql.runs.summary import ENVIRONMENT, SUMMARY
from text2sql.training.warm_start import check_start, find_start, has_begun


def run_pipeline(config: Config, stages: Sequence[str] = STAGES) -> Path:
    """Carry out a run, or what is left of it.

    Args:
        config: The resolved configuration.
        stages: Which of `STAGES` to carry out.

    Returns:
        The run's directory.

    Raises:
        UserError: Something is wrong that a person can fix; finished stages are kept.
        BackendError: The same, of the backend.
    """
    if helps():
        open_backend(config.backend, config.backend_options)
        # This process has nothing to help with where the backend computes elsewhere, and so comes back from there.
        raise SystemExit(0)
    trains = "train" in stages
    dataset = _check(config, stages)
    run = open_run(config)
    try:
        budget = TokenBudget(run, config)
        with open_service(config, run.file("checkpoints")) as service:
            carry_out(RunSession(config, run, service, budget), dataset, stages)
        if trains and not config.capabilities.checkpoints_on_disk:
            from text2sql.pipeline.adapter_download import download_at_the_end

            download_at_the_end(run)
        if trains and config.hub.push_to:
            from text2sql.export import push_run

            push_run(run.path, config.hub)
        return run.path
    except (KeyboardInterrupt, OSError) as error:
        error.add_note("What was finished is kept; the same command goes on from there.")
        raise
    finally:
        run.unlock()


def _check(config: Config, stages: Collection[str]) -> Dataset:
    """Find out what is wrong before an earlier run is overwritten and hours are spent; the data set, once it is read.

    Raises:
        UserError: A key or a package is missing, the data are unusable, or nothing is asked for.
    """
    plan = plan_run(config, (), stages)
    if not (plan.trains or plan.before):
        raise UserError(
            "evaluation.baseline=false leaves nothing to evaluate: without training there is the base model alone. "
            "Leave it out, or ask for solved examples with evaluation.few_shot.k=3."
        )
    if config.judge:
        ChatClient(config.judge)
    dataset = load_dataset(config)
    if plan.trains:
        check_batch_size(dataset, config)
        if not has_begun(config):
            find_start(config)
        if config.hub.push_to:
            from text2sql.export import hub

            hub.check(config.hub.push_to)
    return dataset


def carry_out(session: RunSession, dataset: Dataset, stages: Collection[str]) -> None:
    """Evaluate, train, evaluate, and report, in a run's directory.

    Args:
        session: The run.
        dataset: Its examples.
        stages: Which of `STAGES` to carry out. Those that an earlier start has finished cost nothing, and are summed
            up too.
    """
    config, service = session.config, session.service
    stages = {*stages, *session.run.stages()}
    base = service.create_sampling_client(base_model=config.trained_model).result()
    context = context_length(service, config.trained_model)
    dataset, train, validation = tokenize_split(dataset, base.get_tokenizer(), config, context)
    check_inputs(session.run, take_fingerprints(config, dataset, base.get_tokenizer()))
    plan = plan_run(config, dataset.split.test, stages)
    _introduce(session, dataset, train[0], base.get_tokenizer(), trains=plan.trains)
    models: dict[Model, SamplingClient] = {"base": base}
    answers: dict[str, list[Prediction]] = {}
    for evaluation in plan.before:
        answers[evaluation.label] = _evaluate(session, dataset, evaluation, models[evaluation.model], context)
    training = None
    if plan.trains:
        # Over-long examples, which `_check` still counted, are gone now.
        check_batch_size(dataset, config)
        training = train_model(session, dataset, train, validation)
        if "tuned" in {evaluation.model for evaluation in plan.after}:
            models["tuned"] = service.create_sampling_client(model_path=training.checkpoint_path).result()
    for evaluation in plan.after:
        answers[evaluation.label] = _evaluate(session, dataset, evaluation, models[evaluation.model], context)
    opinions, problems = _ask_judge(session, answers)
    work = FinishedWork(config, session.run, dataset, session.budget, service.describe(), sorted(stages))
    summary = summarize_run(work, answers, training, opinions, problems)
    session.run.write_json(SUMMARY, summary)
    from text2sql.report import write_report

    page = write_report(session.run.path)
    show_results(summary)
    console.print(f"Report: {page}")


def _introduce(session: RunSession, dataset: Dataset, first: Tokens, tokenizer: Tokenizer, *, trains: bool) -> None:
    """Say what the run is about, and record where it takes place.

    Raises:
        UserError: The saved weights that the training is to begin with are not there, or do not fit.
    """
    config, run = session.config, session.run
    introduce_run(session, dataset)
    start = find_start(config) if trains and not run.checkpoints() else None
    if start:
        check_start(start, session.service, config)
        introduce_start(start.record, config)
    # Weights to begin with bring their own modules.
    trained = _describe_training(session) if trains and not config.training.start_from else Description()
    introduce_training(trained)
    show_first_example(dataset.split.train[0], first, tokenizer)
    # A run that goes on keeps the record of its start.
    if run.environment() is None:
        run.write_json(ENVIRONMENT, environment(prompts.VERSION, session.service.describe() | trained))


def _describe_training(session: RunSession) -> Description:
    """What the training will change in the model (BackendError if the configuration asks for what cannot be done)."""
    config, flags = session.config, session.config.lora
    return session.service.describe_training(
        config.trained_model,
        flags.rank,
        train_attn=flags.train_attn,
        train_mlp=flags.train_mlp,
        train_unembed=flags.train_unembed,
    )


def _evaluate(
    session: RunSession, dataset: Dataset, evaluation: Evaluation, sampler: SamplingClient, context: int | None
) -> list[Prediction]:
    """Answer and judge the questions of one evaluation; `context` is the longest sequence that the model takes."""
    config, train = session.config, dataset.split.train
    limit = context - config.evaluation.max_new_tokens if context else None
    strategy = evaluation.strategy.prepared(evaluation.questions, train, sampler.get_tokenizer(), config, limit)
    if strategy.note:
        console.print(strategy.note)
    return predict(session, replace(evaluation, strategy=strategy), sampler)


def _ask_judge(session: RunSession, answers: dict[str, list[Prediction]]) -> tuple[dict[str, JudgeSummary], list[str]]:
    """A language model's opinions by label, and why there are none where it failed: they hold nothing up."""
    summaries: dict[str, JudgeSummary] = {}
    for label in SIDES:
        if session.config.judge is None or label not in answers:
            continue
        asked = answers[label]
        cases = [JudgeCase(row.question, row.context, row.gold, row.sql, row.evidence) for row in asked]
        verdicts = [row.verdict for row in asked]
        try:
            opinions, summaries[label] = ask_judge(cases, verdicts, f"Judge on {label}", session.config.judge)
        except UserError as error:
            console.print(f"The judge did not answer: {error}", markup=False)
            return summaries, [f"The language model asked for a second opinion did not answer: {error}"]
        answers[label] = [
            row.model_copy(update={"judge": opinion}) for row, opinion in zip(asked, opinions, strict=True)
        ]
        session.run.replace_rows(predictions_file(label), answers[label])
    return summaries, []
