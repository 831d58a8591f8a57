"""The messages and tables that a run prints besides its progress: introduction, first example, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from backends.capabilities import capabilities_of
from backends.facts import BackendFacts
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import Dataset
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.evaluation.golds import describe_faults
from text2sql.evaluation.metrics import INTERVAL
from text2sql.evaluation.tables import show_measures
from text2sql.formats import MISSING, count, dollars, interval, p_value, percent, pluralize, points
from text2sql.inference.plan import Evaluation, known_evaluations, other_strategies
from text2sql.runs.directory import RunDirectory
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.records import InitialWeightsRecord, describe_initial_weights
from text2sql.runs.session import RunSession
from text2sql.runs.summary import NovelAnswers, Summary, TrainedWeights, describe_weights


def introduce_run(session: RunSession, dataset: Dataset) -> None:
    """Print the model, the data, and how many test examples leak into training."""
    config, split, leaks = session.config, dataset.split, dataset.leaks
    console.print(
        f"Run {session.run.path}: {config.trained_model} on {config.data.source} with the {config.backend} backend; "
        f"{len(split.train)} training, {len(split.validation)} validation and {len(split.test)} test examples. "
        f"{dataset.counts()}"
    )
    for sentence in describe_faults(dataset.faults, len(split.test)):
        console.print(sentence, markup=False)
    if any(leaks.values()):
        console.print(
            f"Of the test examples, {leaks['tables']} share a table and {leaks['questions']} a question with the "
            "training examples; data.split_by=schema keeps tables apart."
        )


def introduce_devices(backend: BackendFacts, config: Config) -> None:
    """Print a note if a run uses fewer GPUs than there are."""
    used, available = backend.processes or 1, backend.gpus or 1
    if available > used and config.local.device in ("auto", "cuda"):
        console.print(
            f"This machine has {available} GPUs, and this run uses {used}; "
            f"`text2sql run CONFIG --processes {available}` shares its work among all of them.",
            markup=False,
        )


def introduce_resumption(run: RunDirectory, evaluations: Sequence[Evaluation]) -> None:
    """Print what earlier starts have finished, if the run is resumed."""
    checkpoints = run.checkpoints()
    done = [f"training at step {count(checkpoints[-1].step)}"] if checkpoints else []
    for evaluation in evaluations:
        answered, total = run.count_answered(evaluation.label), len(evaluation.questions)
        if answered:
            name = evaluation.title[0].lower() + evaluation.title[1:]
            done.append(f"{name} {'done' if answered == total else f'{count(answered)} of {count(total)} answered'}")
    if done:
        console.print(f"Going on where an earlier start came to: {', '.join(done)}.", markup=False)


def introduce_start(start: InitialWeightsRecord, config: Config) -> None:
    """Print the initial weights of the training."""
    console.print(
        f"Training begins with the weights of {describe_initial_weights(start)}. The base model that it is compared "
        f"with is {config.trained_model}, untuned.",
        markup=False,
    )


def introduce_questions(dataset: Dataset, taught: int | None) -> None:
    """Print how many of the questions of a training from verdicts the start model was already trained on."""
    total = len(dataset.split.train)
    if taught is None:
        console.print("Whether the start model was trained on these questions is not known.")
    elif taught:
        console.print(
            f"The start model was trained on {count(taught)} of the {count(total)} questions that it will be asked: "
            "verdicts teach less there. rl.holdout, in both runs, keeps questions aside."
        )


def introduce_training(weights: TrainedWeights) -> None:
    """Print what the training changes in the model."""
    console.print(f"Trained: {describe_weights(weights)}.", markup=False)


def show_first_example(example: Example, tokens: Tokens, tokenizer: Tokenizer) -> None:
    """Print the first training example: the prompt, without loss, in grey, and the completion, with loss, in green."""
    text = Text(f"First example ({example.id}; {len(tokens.prompt)} prompt tokens grey, ", style="bold")
    text.append(f"{len(tokens.completion)} learnt tokens green):\n")
    text.append(tokenizer.decode(tokens.prompt.tolist()), style="not bold bright_black")
    text.append(tokenizer.decode(tokens.completion.tolist()).replace("\n", "\\n"), style="not bold green")
    console.print(text, markup=False, soft_wrap=True)


def show_results(summary: Summary) -> None:
    """Print the results of a run: the measures of its last model, before and after, strategies, cost, new schemas."""
    for label in [label for label in ("tuned", "base") if label in summary.evaluations][:1]:
        show_measures(f"The {label} model", summary.evaluations[label])
    show_headline(summary)
    show_strategies(summary.evaluations)
    show_spending(summary)
    show_novel(summary.novel)


def show_headline(summary: Summary) -> None:
    """Print execution accuracy before and after training, with intervals and the paired test."""
    head = summary.headline
    table = Table(title=f"Execution accuracy: {summary.name}", title_justify="left")
    for column in ("model", "correct", "accuracy", INTERVAL):
        table.add_column(column, justify="left" if column == "model" else "right")
    for label, score in (("base", head.base), ("start", head.start), ("tuned", head.tuned)):
        if score:
            table.add_row(label, f"{score.correct}/{score.n}", percent(score.accuracy), interval(score.low, score.high))
    if table.row_count:
        console.print(table)
    for note in summary.notes:
        console.print(f"Note: {note}", style="bright_black", markup=False)
    for name, paired in (("", head.paired), (" from the start", head.paired_start)):
        if paired is None:
            continue
        console.print(
            f"Difference{name} {points(paired.difference)} percentage points ({INTERVAL} {points(paired.low)} to "
            f"{points(paired.high)}): {pluralize(paired.wins, 'question')} won, {paired.losses} lost; exact McNemar "
            f"{p_value(paired.p_value)}."
        )


def show_spending(summary: Summary) -> None:
    """Print the tokens and cost of a remote run, and when its checkpoint expires."""
    backend = capabilities_of(summary.backend)
    if backend is None or not backend.charges:
        return
    usage, prices = summary.cost.usage, summary.cost.prices
    price = f"{dollars(summary.cost.dollars)}, after {prices.source}" if prices else "no price known"
    console.print(
        f"Tokens trained: {count(usage.train)}, of prompts: {count(usage.prefill)}, sampled: {count(usage.sample)}; "
        f"{price}. In some hours `text2sql bill` shows what the service has billed."
    )
    if summary.training and summary.training.checkpoint_expires:
        console.print(
            f"Checkpoint {summary.training.checkpoint_path} expires on {summary.training.checkpoint_expires}."
        )


def show_strategies(evaluations: Mapping[str, EvaluationSummary]) -> None:
    """Print every evaluation with its cost, if there are other strategies than greedy decoding."""
    if not set(evaluations) & set(other_strategies()):
        return
    known = known_evaluations()
    table = Table(title="Answering strategies, and their cost", title_justify="left")
    for column in ("model", "accuracy", INTERVAL, "answers", "tokens read", "tokens written", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for label, row in evaluations.items():
        cost = row.cost
        table.add_row(
            known[label].name,
            percent(row.accuracy),
            interval(*row.interval),
            *([count(cost.samples), count(cost.prompt_tokens), count(cost.sampled_tokens)] if cost else [MISSING] * 3),
            f"{cost.seconds:.0f}" if cost else MISSING,
        )
    console.print(table)
    show_passes(evaluations)


def show_passes(evaluations: Mapping[str, EvaluationSummary]) -> None:
    """Print pass@k of the models of which several samples were scored."""
    passes = {label: row.pass_at for label, row in evaluations.items() if row.pass_at}
    if not passes:
        return
    known = known_evaluations()
    table = Table(title="Share of questions with a right answer among k samples", title_justify="left")
    table.add_column("model")
    for rate in next(iter(passes.values())):
        table.add_column(f"pass@{rate.k}", justify="right")
    for label, rates in passes.items():
        table.add_row(
            known[label].name, *[f"{percent(rate.value)} ({interval(rate.low, rate.high)})" for rate in rates]
        )
    console.print(table)


def show_novel(rows: Sequence[NovelAnswers]) -> None:
    """Print the answers on new schemas, those of the base model first."""
    for row in rows:
        text = Text(row.question + "\n", style="bold")
        for label, sql, correct in (
            ("base", row.base_sql, row.base_correct),
            ("tuned", row.tuned_sql, row.tuned_correct),
        ):
            if sql is not None:
                text.append(
                    f"  {label:5} {'right' if correct else 'wrong'}  ",
                    style="not bold green" if correct else "not bold red",
                )
                text.append(sql.replace("\n", " ") + "\n", style="not bold")
        console.print(text, markup=False)
