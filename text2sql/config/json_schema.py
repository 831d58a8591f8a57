"""The JSON schema of configuration files, for editors that check and complete while one types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from text2sql.config.files import EXTENDS, SHIPPED
from text2sql.config.schema import Config

# `text2sql config schema`, next to the shipped configurations; a test holds it to the program.
SCHEMA_FILE = SHIPPED / "schema.json"


def config_schema() -> dict[str, Any]:
    """The schema of a file: what `Config` takes, and the file that it extends."""
    schema = Config.model_json_schema()
    extends = {"type": "string", "description": "A configuration, by path or shipped name, that this one adds to."}
    schema["properties"] = {EXTENDS: extends, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def modeline(schema: Path) -> str:
    """The line by which editors with a YAML language server find the schema of a file."""
    return f"# yaml-language-server: $schema={schema.as_posix()}"
