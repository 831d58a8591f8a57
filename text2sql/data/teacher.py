"""`text2sql data reason`: asks a teacher model for step-by-step reasoning to the gold queries, and verifies it.

The teacher sees the gold query and is asked to derive it. A worked answer is kept only if its last fenced query returns
what the gold query returns: on the real database if there is one, else on every database that the evaluator makes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text2sql.chat_client import Answer, ChatClient, ChatFailure
from text2sql.config import Config, EndpointConfig
from text2sql.console import console, progress_bar
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.equivalence.scoring import Pair, score_pairs
from text2sql.errors import UserError
from text2sql.evaluation.match_options import match_options
from text2sql.formats import dollars
from text2sql.runs.directory import RunDirectory
from text2sql.runs.outputs import Output, check_outputs
from text2sql.runs.record_files import begins_with, read_records
from text2sql.runs.records import Record, optional

# Questions that are asked, checked and saved together.
CHUNK = 64
PROMPT = """You are a text to SQL query translator. Based on the DB Schema and External Knowledge, given the Text \
Question Input and its Gold SQL Output below, generate the step-by-step reasoning to infer the Gold SQL Output from \
the Text Question Input.

-- DB Schema: {context}
-- External Knowledge: {evidence}
-- Text Question Input: {question}
-- Gold SQL Output: {answer}

Your response should be as follows:

Let me think through this step by step:

1. First, I need to consider...
2. Then...
3. Next...
...

Finally, the SQL statement for the text question is:
```sql ...```
"""
FENCED = re.compile(r"```[ \t]*(?:sql|sqlite)?\s*\S.*?```", re.DOTALL | re.IGNORECASE)


class WorkedAnswer(Record):
    """A worked answer: a line of the output file or, with the reason for its rejection, of the rejects file."""

    id: str
    question: str
    context: str
    answer: str
    db: str | None = optional()
    db_id: str | None = optional()
    evidence: str | None = optional()
    reasoning: str
    teacher: str
    reason: str | None = optional()


def make_reasoning(config: Config, teacher: EndpointConfig, output: Path, limit: int | None = None) -> None:
    """Asks for reasoning for the training and validation examples, and writes the verified answers as JSON Lines.

    A second start asks only for missing answers; the client caches answers, so that none is paid for twice.
    Rejected answers go into ``OUTPUT.rejected.jsonl`` with the reason.

    Args:
        config: The configuration of the data.
        teacher: The teacher model and its endpoint.
        output: The output file, for data.source of a configuration with prompt.template=chat-reasoning.
        limit: The maximal number of examples, in the order of the split.

    Raises:
        UserError: The data or the endpoint cannot be used, the file was made from other data, or the cost limit is
            reached; finished answers are kept.
    """
    names = output.name, f"{output.stem}.rejected.jsonl"
    outputs = [
        Output("--output", output.with_name(name), lambda path: begins_with(path, WorkedAnswer), ".jsonl")
        for name in names
    ]
    check_outputs(outputs, config.data.files)
    config = config.model_copy(update={"prompt": config.prompt.model_copy(update={"template": "chat-bird"})})
    split = load_dataset(config).split
    examples = [*split.train, *split.validation][:limit]
    files = RunDirectory(output.parent)
    kept, rejected = (read_records(files.file(name), WorkedAnswer) for name in names)
    _check_same_data(output, [*kept, *rejected], examples, teacher)
    done_ids = {row.id for row in (*kept, *rejected)}
    waiting = [example for example in examples if example.id not in done_ids]
    client = ChatClient(teacher)
    output.parent.mkdir(parents=True, exist_ok=True)
    unanswered: Counter[str] = Counter()
    with progress_bar("Reasoning", len(examples), len(examples) - len(waiting)) as bar:
        kept_count = len(kept)
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            answers = client.complete_all([_conversation(example) for example in chunk])
            verified, rejected_rows = _check_answers(chunk, answers, config, teacher)
            for name, rows in zip(names, (verified, rejected_rows), strict=True):
                if rows:
                    files.append(name, rows)
            kept_count += len(verified)
            failed = [answer for answer in answers if isinstance(answer, ChatFailure)]
            unanswered.update(answer.kind for answer in failed)
            bar.advance(len(chunk) - len(failed), 0, kept=str(kept_count), spent=dollars(client.spent))
            if any(answer.kind == "cost" for answer in failed):
                raise UserError(
                    f"max_cost: {dollars(client.spent)} of ${teacher.max_cost:g} are spent and {kept_count} answers "
                    f"kept in {output}; the same command with a larger max_cost goes on from there."
                )
    _report(output, files, names, client, unanswered)


def _conversation(example: Example) -> list[dict[str, str]]:
    text = PROMPT.format(
        context=example.context if example.shown is None else example.shown,
        evidence=example.evidence or "none",
        question=example.question,
        answer=example.answer,
    )
    return [{"role": "user", "content": text}]


def _check_same_data(
    output: Path, rows: Sequence[WorkedAnswer], examples: Sequence[Example], teacher: EndpointConfig
) -> None:
    """Raises UserError if an existing file was made from other examples or by another teacher."""
    questions = {example.id: example.question for example in examples}
    for row in rows:
        if row.teacher != teacher.model:
            raise UserError(f"{output} is {row.teacher}'s; for {teacher.model} name another --output.")
        if questions.get(row.id, row.question) != row.question:
            raise UserError(f'{output} was made of other data ("{row.id}" differs); name another --output.')


def _check_answers(
    examples: Sequence[Example], answers: Sequence[Answer], config: Config, teacher: EndpointConfig
) -> tuple[list[WorkedAnswer], list[WorkedAnswer]]:
    """Rows of the answers with a right query, and of the rejected ones with the reason; failed requests have no row."""
    answered = [(e, a) for e, a in zip(examples, answers, strict=True) if not isinstance(a, ChatFailure)]
    reasons: dict[int, str] = {}
    pairs, answer_indexes = [], []
    for index, (example, answer) in enumerate(answered):
        if answer.finish_reason == "length":
            reasons[index] = "cut off at max_tokens"
        elif not FENCED.search(answer.text):
            reasons[index] = "no fenced query"
        else:
            pairs.append(Pair(example.context, example.answer, answer.text, example.db, example.dialect))
            answer_indexes.append(index)
    for pair_index, verdict in score_pairs(pairs, **match_options(config)):
        if not verdict.correct:
            reasons[answer_indexes[pair_index]] = f"{verdict.status}: {verdict.reason}"
    kept: list[WorkedAnswer] = []
    rejected: list[WorkedAnswer] = []
    for index, (example, answer) in enumerate(answered):
        row = _worked_answer(example, answer.text.strip(), teacher, reasons.get(index))
        (rejected if index in reasons else kept).append(row)
    return kept, rejected


def _worked_answer(example: Example, reasoning: str, teacher: EndpointConfig, reason: str | None) -> WorkedAnswer:
    return WorkedAnswer(
        id=example.id,
        question=example.question,
        context=example.context if example.shown is None else example.shown,
        answer=example.answer,
        db=example.db,
        db_id=example.db_id,
        evidence=example.evidence,
        reasoning=reasoning,
        teacher=teacher.model,
        reason=reason,
    )


def _report(
    output: Path, files: RunDirectory, names: tuple[str, str], client: ChatClient, unanswered: Counter[str]
) -> None:
    kept, rejected = (read_records(files.file(name), WorkedAnswer) for name in names)
    reasons = Counter(str(row.reason).partition(":")[0] for row in rejected)
    about = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
    console.print(f"{output}: {len(kept)} answers kept. Rejected: {about} ({names[1]}).")
    console.print(
        f"{client.requests} requests now, {client.cached} answers from earlier ones; {client.prompt_tokens:,} tokens "
        f"read, {client.completion_tokens:,} written, {dollars(client.spent)} spent."
    )
    if unanswered:
        failures = ", ".join(f"{count} {kind}" for kind, count in unanswered.items())
        console.print(f"Without an answer: {failures}; the same command asks them again.")
