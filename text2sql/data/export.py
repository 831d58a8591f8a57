"""`text2sql data export`: examples as the JSON Lines that TRL, axolotl and LLaMA-Factory read."""

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

Format = Literal["prompt-completion", "messages"]


def export(config: Config, output: Path, form: Format) -> None:
    """Write the sides of a configuration's data, one file each.

    Args:
        config: Which data, and with which template.
        output: Directory of train.jsonl, validation.jsonl and test.jsonl.
        form: ``messages`` has turns with roles, whose marks the trainer's own chat template makes;
            ``prompt-completion`` has the two texts of a plain template.

    Raises:
        UserError: A file is there already, the directory cannot be written, or a chat is to be one text.
    """
    chosen = prompts.PromptFormat.of(config)
    if form == "prompt-completion" and prompts.is_chat(chosen):
        raise UserError(
            "--format prompt-completion writes the texts of a plain template, and prompt.template="
            f"{chosen.template} is a chat; say --format messages."
        )
    dataset = load_dataset(config)
    sides = {output / f"{name}.jsonl": side for name, side in dataset.split._asdict().items() if side}
    texts = {path: dump_jsonl(_row(e, chosen, form) for e in side) for path, side in sides.items()}
    for path, text in texts.items():
        # What an interrupted start of this very command has written stays.
        if path.exists() and path.read_bytes() != text.encode():
            raise UserError(f"{path} exists already, with other contents; name another directory.")
    for path, text in texts.items():
        with written_aside(path) as aside:
            aside.write_bytes(text.encode())
        console.print(f"{path}: {len(sides[path])} examples")


def _row(example: Example, chosen: prompts.PromptFormat, form: Format) -> dict[str, Any]:
    row: dict[str, Any] = {key: getattr(example, key) for key in ("id", "question", "context", "answer")}
    if form == "messages":
        return row | {"messages": prompts.messages(example, chosen)}
    return row | {
        "prompt": prompts.render_prompt(example, chosen),
        "completion": prompts.render_completion(example, chosen),
    }
