"""GGUF by llama.cpp's own converter, and a Modelfile with which Ollama prompts the model as the run did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from backends.tokenizer import PretrainedTokenizer
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.export.record import GgufFile

# The converter as a script of llama.cpp, and as an installed command.
SCRIPT = "convert_hf_to_gguf.py"
COMMAND = "convert-hf-to-gguf"
OutType = Literal["auto", "bf16", "f16", "f32", "q8_0"]


def find_converter(path: Path | None) -> list[str]:
    """Find the command of llama.cpp's converter: at `path`, in $LLAMA_CPP, or on the PATH.

    Raises:
        UserError: There is none.
    """
    path = path or (Path(os.environ["LLAMA_CPP"]) if os.environ.get("LLAMA_CPP") else None)
    if path is not None:
        # Absolute, as the converter runs in another directory.
        script = (path / SCRIPT if path.is_dir() else path).resolve()
        if not script.is_file():
            raise UserError(f"--converter: there is no {script}; give llama.cpp's directory, or its {SCRIPT}.")
        return [sys.executable, str(script)] if script.suffix == ".py" else [str(script)]
    for name in (COMMAND, SCRIPT):
        command = shutil.which(name)
        if command:
            return [command]
    raise UserError(
        f"--format gguf needs llama.cpp's converter, which is not here. Clone llama.cpp and give its directory with "
        f"--converter or $LLAMA_CPP, or install it as a separate tool: pipx install {COMMAND}."
    )


def convert(merged: Path, converter: list[str], outtype: OutType, modelfile: str) -> GgufFile:
    """Replace a merged model's directory by one GGUF file and a Modelfile.

    Args:
        merged: Directory of the merged model; its other files are removed.
        converter: The command, see `find_converter`.
        outtype: Type of the weights, the converter's ``--outtype``.
        modelfile: Text of the Modelfile, see `modelfile`.

    Raises:
        UserError: The converter fails.
    """
    merged = merged.resolve()
    file = merged / "model.gguf"
    command = [*converter, "--outfile", str(file), "--outtype", outtype, str(merged)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=merged)
    if result.returncode or not file.is_file():
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise UserError(
            f"The converter {' '.join(converter)} failed ({result.returncode}): {lines[-1] if lines else 'no output'}. "
            "Export with --format merged and convert by hand to see all of its output."
        )
    for other in merged.iterdir():
        if other != file:
            other.unlink()
    (merged / "Modelfile").write_text(modelfile, encoding="utf-8")
    return GgufFile(file=file.name, type=outtype, bytes=file.stat().st_size)


def modelfile(config: Config, tokenizer: PretrainedTokenizer) -> str:
    """Ollama's Modelfile: the schema is the system message, the question the prompt; Ollama adds the BOS token."""
    blank = Example(id="template", question="{{ .Prompt }}", context="{{ .System }}", answer="")
    form = prompts.PromptFormat.of(config)
    text = prompts.render_prompt(blank, form, tokenizer)
    if prompts.is_chat(form) and tokenizer.bos_token:
        text = text.removeprefix(tokenizer.bos_token)
    lines = [
        "FROM ./model.gguf",
        f'TEMPLATE """{text}"""',
        f"PARAMETER temperature {config.evaluation.temperature:g}",
        f"PARAMETER num_predict {config.evaluation.max_new_tokens}",
        *(f"PARAMETER stop {_quoted(stop)}" for stop in config.evaluation.stop),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
