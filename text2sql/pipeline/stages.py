"""What a run does, stage by stage, once its directory and its backend are open.

Every stage writes its results as it goes and skips what an earlier start has finished.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace

from backends.facts import TrainingFacts
from backends.interface import SamplingClient
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.dataset import Dataset, check_batch_size, load_dataset, tokenize_split
from text2sql.data.golds import check_gold_faults, describe_training_golds, with_gold_faults, with_long_golds
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.evaluation.llm_judge import JudgeCase
from text2sql.evaluation.score import ask_judge
from text2sql.inference.plan import Evaluation, plan_run
from text2sql.inference.predict import predict
from text2sql.pipeline.console_tables import (
    introduce_devices,
    introduce_questions,
    introduce_resumption,
    introduce_run,
    introduce_start,
    introduce_training,
    show_first_example,
    show_results,
)
from text2sql.pipeline.given_adapter import adapter_sampler
from text2sql.pipeline.inputs import take_fingerprints
from text2sql.pipeline.summarize import FinishedWork, summarize_run
from text2sql.pipeline.training import train_model
from text2sql.rl.reference import count_seen_in_training, reference_sampler
from text2sql.rl.teacher import Teacher
from text2sql.runs.environment import describe_environment
from text2sql.runs.evaluation_summary import JudgeSummary
from text2sql.runs.inputs import check_inputs
from text2sql.runs.models import SIDES, Model
from text2sql.runs.records import Prediction, predictions_file
from text2sql.runs.session import RunSession, context_length
from text2sql.runs.summary import ENVIRONMENT, SUMMARY, TrainedWeights
from text2sql.trackers.trackers import Trackers
from text2sql.training.initial_weights import check_initial_weights, find_initial_weights


def read_data(config: Config, stages: Collection[str]) -> Dataset:
    """The examples of a run, once it is certain that they do for it: before an earlier run is overwritten.

    Raises:
        UserError: The data are unusable, or nothing is asked for.
    """
    plan = plan_run(config, (), stages)
    if not (plan.trains or plan.before or plan.after):
        raise UserError(
            "evaluation.baseline=false leaves nothing to evaluate: without training there is the base model alone. "
            "Leave it out, or ask for solved examples with evaluation.few_shot.k=3."
        )
    dataset = load_dataset(config)
    if plan.trains:
        check_batch_size(dataset, config)
    dataset = with_gold_faults(dataset, config)
    check_gold_faults(dataset, config)
    if plan.trains:
        for sentence in describe_training_golds(dataset, config):
            console.print(sentence, markup=False)
    return dataset


def carry_out(session: RunSession, dataset: Dataset, stages: Collection[str], trackers: Trackers) -> None:
    """Evaluate, train, evaluate, and report, in a run's directory.

    Args:
        session: The run.
        dataset: Its examples.
        stages: Which of `STAGES` to carry out. Those that an earlier start has finished cost nothing, and are summed
            up too.
        trackers: Are sent what is measured, and what it comes to.
    """
    with Teacher(session) as teacher:
        _carry_out(session, dataset, {*stages, *session.run.stages()}, teacher, trackers)


def _carry_out(session: RunSession, dataset: Dataset, stages: set[str], teacher: Teacher, trackers: Trackers) -> None:
    config, service = session.config, session.service
    base = service.create_sampling_client(base_model=config.trained_model).result()
    context = context_length(service, config.trained_model)
    dataset, train, validation = tokenize_split(dataset, base.get_tokenizer(), config, context)
    dataset = with_long_golds(dataset, base.get_tokenizer(), config)
    check_gold_faults(dataset, config)
    check_inputs(session.run, take_fingerprints(config, dataset, base.get_tokenizer()))
    plan = plan_run(config, dataset.split.test, stages)
    introduce_resumption(session.run, [*plan.before, *plan.after])
    weights = _introduce(session, dataset, train[0], base.get_tokenizer(), trains=plan.trains)
    if plan.trains and config.rl.method == "distill" and not session.run.checkpoints():
        # Before the hours of an evaluation, and not only when it is first asked.
        teacher.sampler()
    models: dict[Model, SamplingClient] = {"base": base}
    answers: dict[str, list[Prediction]] = {}
    for evaluation in plan.before:
        answers[evaluation.label] = _evaluate(session, dataset, evaluation, models[evaluation.model], context)
    training = None
    if plan.trains:
        # Over-long examples, which `_check` still counted, are gone now.
        check_batch_size(dataset, config)
        asked = {evaluation.model for evaluation in plan.after}
        trained = train_model(
            session, dataset, train, validation, teacher, to_sample="tuned" in asked, track=trackers.log
        )
        training = trained.summary.model_copy(update={"weights": weights})
        if trained.sampler:
            models["tuned"] = trained.sampler
        if "start" in asked:
            models["start"] = reference_sampler(session)
    notes: list[str] = []
    if plan.after and config.evaluation.adapter is not None:
        models["tuned"] = adapter_sampler(session)
        notes.append(f"The tuned model is the adapter {config.evaluation.adapter}, which this run has not trained.")
    for evaluation in plan.after:
        answers[evaluation.label] = _evaluate(session, dataset, evaluation, models[evaluation.model], context)
    opinions, problems = _ask_judge(session, answers)
    work = FinishedWork(config, session.run, dataset, session.budget, service.describe(), sorted(stages))
    summary = summarize_run(work, answers, training, opinions, [*notes, *problems])
    session.run.write_json(SUMMARY, summary)
    from text2sql.report import write_report

    page = write_report(session.run.path)
    trackers.send_results(summary, answers, page)
    show_results(summary)
    console.print(f"Report: {page}")


def _introduce(
    session: RunSession, dataset: Dataset, first: Tokens, tokenizer: Tokenizer, *, trains: bool
) -> TrainedWeights | None:
    """Say what the run is about, and record where it takes place.

    Returns:
        What the training will change in the model, where there is one and the backend says so.

    Raises:
        UserError: The saved weights that the training is to begin with are not there, or do not fit.
    """
    config, run = session.config, session.run
    introduce_run(session, dataset)
    introduce_devices(session.service.describe(), config)
    start = find_initial_weights(config) if trains and not run.checkpoints() else None
    if start:
        check_initial_weights(start, session.service, config)
        introduce_start(start.record, config)
        if config.rl.method is not None:
            introduce_questions(dataset, count_seen_in_training(start.record, dataset.split.train))
    # Weights to begin with have the modules of this configuration: others are refused.
    trained = _describe_training(session) if trains else None
    weights = TrainedWeights.model_validate(asdict(trained)) if trained else None
    if weights:
        introduce_training(weights)
    show_first_example(dataset.split.train[0], first, tokenizer)
    # A run that goes on keeps the record of its start.
    if run.environment() is None:
        facts = session.service.describe()
        facts = replace(facts, training=trained or facts.training)
        run.write_json(ENVIRONMENT, describe_environment(prompts.VERSION, facts))
    return weights


def _describe_training(session: RunSession) -> TrainingFacts | None:
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
    limit = context - config.longest_answer if context else None
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
        asked, dialect = answers[label], session.config.data.dialect
        cases = [JudgeCase(row.question, row.context, row.gold, row.sql, row.evidence, dialect) for row in asked]
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
