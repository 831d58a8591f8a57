"""`text2sql data export`: writes examples as JSON Lines that TRL, axolotl and LLaMA-Factory read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from backends.paths import written_aside
from text2sql.config import Config
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.rows import dump_jsonl
from text2sql.runs.outputs import Output, check_outputs

Format = Literal["prompt-completion", "messages"]


def export(config: Config, output: Path, form: Format) -> None:
    """Writes the sides of a configuration's data into one file each.

    Args:
        config: The configuration of data and prompt template.
        output: The directory for train.jsonl, validation.jsonl and test.jsonl.
        form: ``messages`` writes turns with roles, which the trainer's own chat template renders;
            ``prompt-completion`` writes the two texts of a plain template.

    Raises:
        UserError: A file exists already with other contents or cannot be written, or a chat template is asked for as
            one text.
    """
    prompt_format = prompts.PromptFormat.of(config)
    if form == "prompt-completion" and prompts.is_chat(prompt_format):
        raise UserError(
            "--format prompt-completion writes the texts of a plain template, and prompt.template="
            f"{prompt_format.template} is a chat; say --format messages."
        )
    dataset = load_dataset(config)
    sides = {output / f"{name}.jsonl": side for name, side in dataset.split._asdict().items() if side}
    texts = {path: dump_jsonl(_row(e, prompt_format, form) for e in side) for path, side in sides.items()}
    # A file of an earlier, interrupted run of this very command may stay.
    outputs = [Output("--output", path, lambda path: path.read_bytes() == texts[path].encode()) for path in texts]
    check_outputs(outputs, config.data.files)
    for path, text in texts.items():
        with written_aside(path) as aside:
            aside.write_bytes(text.encode())
        console.print(f"{path}: {len(sides[path])} examples")


def _row(example: Example, prompt_format: prompts.PromptFormat, form: Format) -> dict[str, Any]:
    row: dict[str, Any] = {key: getattr(example, key) for key in ("id", "question", "context", "answer")}
    if form == "messages":
        return row | {"messages": prompts.messages(example, prompt_format)}
    return row | {
        "prompt": prompts.render_prompt(example, prompt_format),
        "completion": prompts.render_completion(example, prompt_format),
    }
