"""The bundled teaching data set: made-up domains, generated questions, real SQL, in one file of the package.

It exists to teach, to smoke-test and to run the quickstart without a network; results on it say nothing about
sql-create-context or any other benchmark. Each domain belongs to one split, so the schemas of the test split are never
seen in training. The file is made by ``scripts/make_bundled`` of the repository.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path

from text2sql.data.example import Example
from text2sql.errors import UserError

# Changes whenever the rows do; results are comparable within one version only.
VERSION = "1"
# The hash of the uncompressed file.
SHA256 = "f01ce884b6d5c4108c50b8dbcf1a15a9aa4fc2ccb3a2a1895322b057e5ffe8bc"
FILE = Path(__file__).with_name("bundled.jsonl.gz")
SPLITS = ("train", "test")


def load_bundled(split: str = "train") -> list[Example]:
    """The examples of one split, with kinds of query and domains interleaved, so that any prefix is a fair sample.

    Args:
        split: ``"train"`` or ``"test"``; they share no domain, hence no schema.

    Raises:
        UserError: There is no such split, or the file of the installed package is damaged.
    """
    if split not in SPLITS:
        raise UserError(f'The bundled data set has the splits {", ".join(SPLITS)}, not "{split}".')
    return list(_load()[split])


def load_both() -> list[Example]:
    """The training examples, then the test examples."""
    return [*load_bundled("train"), *load_bundled("test")]


def domains(split: str) -> set[str]:
    """The names of the domains of one split (UserError if there is no such split)."""
    return {str(example.db_id) for example in load_bundled(split)}


@cache
def _load() -> dict[str, tuple[Example, ...]]:
    try:
        content = gzip.decompress(FILE.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{FILE} cannot be read ({error}); install text2sql again.") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UserError(f"{FILE} is not the bundled data set of version {VERSION}; install text2sql again.")
    sides: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for line in content.splitlines():
        row = json.loads(line)
        sides[row.pop("split")].append(Example(**row))
    return {split: tuple(examples) for split, examples in sides.items()}
