"""A new configuration file on top of one that is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from text2sql.config.files import EXTENDS
from text2sql.config.json_schema import SCHEMA_FILE, modeline
from text2sql.config.load import load_config, set_override
from text2sql.config.yaml import dump_yaml
from text2sql.errors import UserError


def write_config(file: Path, extends: str, overrides: Sequence[str]) -> None:
    """Write a configuration that is named after its file, extends another one and sets some keys.

    Raises:
        UserError: The file is there already, cannot be written or named after, or the configuration is not valid.
    """
    if file.exists():
        raise UserError(f"{file} is there already and is left as it is; choose another name.")
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"{file}: a configuration is a .yaml file.")
    values: dict[str, JsonValue] = {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._") or "run"}
    for override in overrides:
        # A variable stays one: the file is read where and when it is run.
        set_override(values, override, filled=False)
    load_config(extends, [f"name={values['name']}", *overrides])
    # A path is meant from the file that it stands in.
    known = Path(extends).is_file()
    base = str(Path(extends).resolve()) if known else extends
    text = f"{modeline(SCHEMA_FILE)}\n{dump_yaml({EXTENDS: base, **values})}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from error
