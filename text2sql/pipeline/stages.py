"""The stages of a run, once its directory and its backend are open: evaluate, train, evaluate, report.

Every stage writes its results as it goes and skips what an earlier start has finished.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

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
from text2sql.inference.plan import Evaluation, Plan, plan_run
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
from text2sql.pipeline.external_adapter import adapter_sampler
from text2sql.pipeline.inputs import take_fingerprints
from text2sql.pipeline.summarize import FinishedRun, summarize_run
from text2sql.pipeline.training import train_model
from text2sql.rl.reference import count_seen_in_training, reference_sampler
from text2sql.rl.teacher import Teacher
from text2sql.runs.environment import describe_environment
from text2sql.runs.evaluation_summary import JudgeSummary
from text2sql.runs.inputs import check_inputs
from text2sql.runs.models import SIDES, Model
from text2sql.runs.records import Prediction, predictions_file
from text2sql.runs.session import RunSession, context_length
from text2sql.runs.summary import ENVIRONMENT, SUMMARY, TrainedWeights, TrainingSummary
from text2sql.trackers.trackers import Trackers
from text2sql.training.initial_weights import check_initial_weights, find_initial_weights


def read_data(config: Config, stages: Collection[str]) -> Dataset:
    """Load and check the examples of a run, before an earlier run in its directory is overwritten.

    Raises:
        UserError: The data are unusable, or the stages have nothing to do.
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


def run_stages(session: RunSession, dataset: Dataset, stages: Collection[str], trackers: Trackers) -> None:
    """Evaluate, train, evaluate, and report, in a run's directory.

    Args:
        session: The run.
        dataset: Its examples.
        stages: Those of `STAGES` to carry out. Stages that an earlier start has finished cost nothing, and are part of
            the summary too.
        trackers: Receive the metrics and the results.
    """
    with Teacher(session) as teacher:
        state = _prepare(session, dataset, {*stages, *session.run.stages()})
        if state.plan.trains and session.config.rl.method == "distill" and not session.run.checkpoints():
            # The teacher is loaded before hours of evaluation, not when it is first asked.
            teacher.sampler()
        _evaluate_all(state, state.plan.before)
        if state.plan.trains:
            _train(state, teacher, trackers)
        if state.plan.after and session.config.evaluation.adapter is not None:
            _load_adapter(state)
        _evaluate_all(state, state.plan.after)
        _summarize_and_report(state, trackers)


@dataclass
class _RunState:
    """What the stages of a run hand on to one another.

    Attributes:
        session: The run.
        stages: The stages that are carried out or were before.
        plan: The evaluations and the training of the run.
        dataset: The examples, without those that are too long.
        train: The training examples as tokens.
        validation: The validation examples as tokens.
        context: Context length of the model in tokens; None where it is not known.
        weights: What the training changes in the model; None without training, or where the backend does not say.
        samplers: The models that are ready to answer.
        predictions: The predictions by label of the evaluation.
        training: Summary of the training, once it is finished.
        notes: Sentences for the summary.
    """

    session: RunSession
    stages: Collection[str]
    plan: Plan
    dataset: Dataset
    train: list[Tokens]
    validation: list[Tokens]
    context: int | None
    weights: TrainedWeights | None
    samplers: dict[Model, SamplingClient]
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)
    training: TrainingSummary | None = None
    notes: list[str] = field(default_factory=list)


def _prepare(session: RunSession, dataset: Dataset, stages: Collection[str]) -> _RunState:
    """Load the base model, tokenise the examples, check the inputs against those of an earlier start, and plan."""
    config, service = session.config, session.service
    base = service.create_sampling_client(base_model=config.trained_model).result()
    tokenizer = base.get_tokenizer()
    context = context_length(service, config.trained_model)
    dataset, train, validation = tokenize_split(dataset, tokenizer, config, context)
    dataset = with_long_golds(dataset, tokenizer, config)
    check_gold_faults(dataset, config)
    check_inputs(session.run, take_fingerprints(config, dataset, tokenizer))
    plan = plan_run(config, dataset.split.test, stages)
    introduce_resumption(session.run, [*plan.before, *plan.after])
    weights = _introduce(session, dataset, train[0], tokenizer, trains=plan.trains)
    return _RunState(session, stages, plan, dataset, train, validation, context, weights, samplers={"base": base})


def _evaluate_all(state: _RunState, evaluations: Sequence[Evaluation]) -> None:
    """Answer and score the questions of some evaluations."""
    config, train = state.session.config, state.dataset.split.train
    max_prompt_tokens = state.context - config.longest_answer if state.context else None
    for evaluation in evaluations:
        sampler = state.samplers[evaluation.model]
        strategy = evaluation.strategy.prepare(
            evaluation.questions, train, sampler.get_tokenizer(), config, max_prompt_tokens
        )
        if strategy.note:
            console.print(strategy.note)
        state.predictions[evaluation.label] = predict(state.session, replace(evaluation, strategy=strategy), sampler)


def _train(state: _RunState, teacher: Teacher, trackers: Trackers) -> None:
    """Train, and open the samplers that the evaluations after training need."""
    # Examples that are too long, which `read_data` still counted, have been dropped.
    check_batch_size(state.dataset, state.session.config)
    evaluated = {evaluation.model for evaluation in state.plan.after}
    result = train_model(
        state.session,
        state.dataset,
        state.train,
        state.validation,
        teacher,
        to_sample="tuned" in evaluated,
        track=trackers.log,
    )
    state.training = result.summary.model_copy(update={"weights": state.weights})
    if result.sampler:
        state.samplers["tuned"] = result.sampler
    if "start" in evaluated:
        state.samplers["start"] = reference_sampler(state.session)


def _load_adapter(state: _RunState) -> None:
    """Open the adapter of `evaluation.adapter` as the tuned model."""
    state.samplers["tuned"] = adapter_sampler(state.session)
    adapter = state.session.config.evaluation.adapter
    state.notes.append(f"The tuned model is the adapter {adapter}, which this run has not trained.")


def _summarize_and_report(state: _RunState, trackers: Trackers) -> None:
    """Ask the LLM judge, write the summary and the report, and print the results."""
    session = state.session
    opinions, problems = _ask_judge(session, state.predictions)
    finished = FinishedRun(
        session.config, session.run, state.dataset, session.budget, session.service.describe(), sorted(state.stages)
    )
    summary = summarize_run(finished, state.predictions, state.training, opinions, [*state.notes, *problems])
    session.run.write_json(SUMMARY, summary)
    from text2sql.report import write_report

    page = write_report(session.run.path)
    trackers.send_results(summary, state.predictions, page)
    show_results(summary)
    console.print(f"Report: {page}")


def _introduce(
    session: RunSession, dataset: Dataset, first: Tokens, tokenizer: Tokenizer, *, trains: bool
) -> TrainedWeights | None:
    """Print what the run does, and record its environment.

    Returns:
        What the training will change in the model; None without training, or where the backend does not say.

    Raises:
        UserError: The initial weights of the training are missing, or do not fit.
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
    # Initial weights have the modules of this configuration: others are refused above.
    trained = _describe_training(session) if trains else None
    weights = TrainedWeights.model_validate(asdict(trained)) if trained else None
    if weights:
        introduce_training(weights)
    show_first_example(dataset.split.train[0], first, tokenizer)
    # A run that is resumed keeps the record of its first start.
    if run.environment() is None:
        facts = session.service.describe()
        facts = replace(facts, training=trained or facts.training)
        run.write_json(ENVIRONMENT, describe_environment(prompts.VERSION, facts))
    return weights


def _describe_training(session: RunSession) -> TrainingFacts | None:
    """What the training will change in the model (BackendError if the backend cannot train it as configured)."""
    config, lora = session.config, session.config.lora
    return session.service.describe_training(
        config.trained_model,
        lora.rank,
        train_attn=lora.train_attn,
        train_mlp=lora.train_mlp,
        train_unembed=lora.train_unembed,
    )


def _ask_judge(
    session: RunSession, predictions: dict[str, list[Prediction]]
) -> tuple[dict[str, JudgeSummary], list[str]]:
    """Ask the LLM judge, and add its opinions to the predictions; a judge that fails does not stop the run.

    Returns:
        The summaries of its opinions by label, and a note if it failed.
    """
    summaries: dict[str, JudgeSummary] = {}
    for label in SIDES:
        if session.config.judge is None or label not in predictions:
            continue
        rows, dialect = predictions[label], session.config.data.dialect
        cases = [JudgeCase(row.question, row.context, row.gold, row.sql, row.evidence, dialect) for row in rows]
        verdicts = [row.verdict for row in rows]
        try:
            opinions, summaries[label] = ask_judge(cases, verdicts, f"Judge on {label}", session.config.judge)
        except UserError as error:
            console.print(f"The judge did not answer: {error}", markup=False)
            return summaries, [f"The language model asked for a second opinion did not answer: {error}"]
        predictions[label] = [
            row.model_copy(update={"judge": opinion}) for row, opinion in zip(rows, opinions, strict=True)
        ]
        session.run.replace_rows(predictions_file(label), predictions[label])
    return summaries, []
