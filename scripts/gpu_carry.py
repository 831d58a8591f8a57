"""Collects what `gpu_check.sh` needs on a machine with a GPU and PyTorch but no network.

Usage: python scripts/gpu_carry.py DIR [--has FILE] [--python 3.12] [--list]

DIR gets the wheels that the machine lacks, in this environment's versions, a tokenizer, and rows to train on; copied
next to a checkout there, `bash scripts/gpu_check.sh --from DIR` installs the wheels beside the machine's own packages
and checks. FILE is what `pip list --format=freeze` says on that machine; without it the machine is taken to have
PyTorch and what that needs, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
# Beyond what the project always needs: NF4, the tests, and TRL to compare with.
EXTRAS, TOOLS = ("quantization",), ("hypothesis", "psutil", "pytest", "trl")
ROWS = 6000
# What a wheel may be built for.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 26, 27, 28, 31, 34, 35)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--has", type=Path, metavar="FILE", help="`pip list --format=freeze` of the machine")
    parser.add_argument("--python", default="3.12", help="Python's version there")
    parser.add_argument("--list", action="store_true", help="only print what would be collected")
    args = parser.parse_args()
    if args.has is not None and not args.has.is_file():
        raise SystemExit(f"--has: {args.has} is not there; leave it out for a machine that has PyTorch alone.")
    wheels = missing(roots(), present(args.has.read_text().splitlines() if args.has else []))
    for name, version in wheels.items():
        print(f"{name}=={version}")
    if args.list:
        return
    download(wheels, args.directory / "wheels", args.python)
    write_tokenizer(args.directory / "tokenizer")
    write_rows(args.directory / "data")
    size = sum(file.stat().st_size for file in args.directory.rglob("*") if file.is_file())
    print(f"{len(wheels)} wheels; {args.directory} holds {size / 2**20:.0f} MiB.")


def roots() -> list[Requirement]:
    """What this project asks for, as `pyproject.toml` says, and what the check uses besides."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    tests = {Requirement(line).name: line for line in project["optional-dependencies"]["test"]}
    return [Requirement(line) for line in [*lines, *(tests[name] for name in TOOLS)]]


def present(lines: Iterable[str]) -> dict[str, str]:
    """Versions by name on the other machine; PyTorch and its own needs are always there.

    Args:
        lines: ``name==version``, or a name alone, whose version is then unknown.
    """
    found = dict.fromkeys(_closure([Requirement("torch")], {}), "")
    for line in lines:
        name, _, version = line.strip().partition("==")
        if name and not name.startswith(("#", "-")):
            found[canonicalize_name(name)] = version.partition("+")[0]
    return found


def missing(wanted: Collection[Requirement], there: Mapping[str, str]) -> dict[str, str]:
    """Names and versions, of this environment, that the other machine lacks or has in a version that will not do."""
    return {name: distribution(name).version for name in sorted(_closure(wanted, there))}


def _closure(wanted: Iterable[Requirement], there: Mapping[str, str]) -> set[str]:
    """The distributions that requirements come to, less what is there; those with extras need theirs too."""
    found: set[str] = set()
    waiting = list(wanted)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        version = there.get(name)
        # A version that nobody knows is taken for one that will do.
        if version is not None and (not version or requirement.specifier.contains(version, prereleases=True)):
            continue
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            raise SystemExit(
                f"{name} is not installed here, so its version is not known; install the test extra first: "
                "bash scripts/setup_environment.sh test quantization"
            ) from None
        found.add(name)
        for line in needs:
            need = Requirement(line)
            if any(
                need.marker is None or need.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                waiting.append(need)
    return found


def download(wheels: Mapping[str, str], directory: Path, python: str) -> None:
    """Fetch the wheels from the package index, for that machine's Python on Linux."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(directory)]
    command += ["--python-version", python, "--implementation", "cp"]
    command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    done = subprocess.run([*command, *(f"{name}=={version}" for name, version in wheels.items())])
    if done.returncode:
        raise SystemExit("pip could not fetch every wheel (its message is above); nothing else was collected.")


def write_tokenizer(directory: Path) -> None:
    """SmolLM2's tokenizer, out of the packaged model."""
    from transformers import AutoTokenizer

    from backends.base_models import locate

    AutoTokenizer.from_pretrained(locate("smollm2-135m-instruct")).save_pretrained(directory)


def write_rows(directory: Path) -> None:
    """Some rows of sql-create-context, in the file's own form."""
    source = Path(os.environ.get("TEXT2SQL_DATA") or "../shared/data") / "sql_create_context.json"
    if not source.is_file():
        raise SystemExit(f"{source} is not there: set TEXT2SQL_DATA to the directory of sql_create_context.json.")
    rows = json.loads(source.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / source.name).write_text(json.dumps(random.Random(0).sample(rows, min(ROWS, len(rows)))))


if __name__ == "__main__":
    main()
