"""The data sets that are known by name: the values of `data.source` besides files and Hub ids.

A new one is an entry in `NAMED`. If the columns of its rows are not those of an `Example`, it names them in `aliases`;
if its form is another altogether, it has a module next to this one that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from text2sql.data.example import Example
from text2sql.data.sources import bird, bundled, spider, wikisql
from text2sql.rows import SourceRow


@dataclass(frozen=True, slots=True)
class Archive:
    """An official archive: the page that describes it, and the URL of each of its files by file name."""

    page: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A data set known by name.

    Attributes:
        about: What it is.
        licence: Its SPDX identifier.
        hub_id: The data set on the Hugging Face Hub, if it is there.
        revision: Branch of it.
        aliases: Columns that it names otherwise, by field of `Example`, tried in order.
        archive: What `text2sql data fetch` downloads; a source without one is fetched from the Hub.
        load: Makes its examples out of nothing but the installed package.
        read_directory: Reads a split of its unpacked archive: directory and split.
        from_rows: Makes examples of rows whose form no `aliases` can describe: rows, prefix of the ids, and where they
            come from.
        make_databases: Writes SQLite files for tables that its archive holds in another form: directory, split, names
            of the tables, and where to; returns the file of each table.
    """

    about: str
    licence: str
    hub_id: str | None = None
    revision: str | None = None
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    archive: Archive | None = None
    load: Callable[[], list[Example]] | None = None
    read_directory: Callable[[Path, str], list[Example]] | None = None
    from_rows: Callable[[Iterable[SourceRow], str, str], list[Example]] | None = None
    make_databases: Callable[[Path, str, set[str], Path], dict[str, Path]] | None = None


NAMED = {
    "bundled": NamedSource(
        about=f"questions on made-up domains, version {bundled.VERSION}",
        licence="Apache-2.0",
        load=bundled.load_both,
    ),
    "sql-create-context": NamedSource(
        about="78,577 questions on CREATE TABLE statements, from WikiSQL and Spider",
        licence="CC-BY-4.0",
        hub_id="b-mc2/sql-create-context",
    ),
    "spider": NamedSource(
        about="7,000 training and 1,034 dev questions on 166 databases",
        licence="CC-BY-SA-4.0",
        hub_id="xlangai/spider",
        aliases={"answer": ("query",)},
        archive=Archive(
            "https://yale-lily.github.io/spider",
            {
                "spider_data.zip": "https://drive.usercontent.google.com/download?id=1403EGqzIDoHMdQF4c9Bkyl7dZLZ5Wt6J"
                "&export=download&confirm=t"
            },
        ),
        read_directory=spider.read_directory,
    ),
    "bird": NamedSource(
        about="9,428 training and 1,534 dev questions on large databases, with external knowledge",
        licence="CC-BY-SA-4.0",
        hub_id="birdsql/bird23-train-filtered",
        aliases={"answer": ("SQL", "query")},
        archive=Archive(
            "https://bird-bench.github.io",
            {
                "train.zip": "https://bird-bench.oss-cn-beijing.aliyuncs.com/train.zip",
                "dev.zip": "https://bird-bench.oss-cn-beijing.aliyuncs.com/dev.zip",
            },
        ),
        read_directory=bird.read_directory,
    ),
    "wikisql": NamedSource(
        about="80,654 questions on single tables, structured queries made SQL",
        licence="BSD-3-Clause",
        hub_id="Salesforce/wikisql",
        revision="refs/convert/parquet",
        archive=Archive(
            "https://github.com/salesforce/WikiSQL",
            {"data.tar.bz2": "https://github.com/salesforce/WikiSQL/raw/master/data.tar.bz2"},
        ),
        read_directory=wikisql.read_directory,
        from_rows=wikisql.from_rows,
        make_databases=wikisql.make_databases,
    ),
    "wikisql-instruct": NamedSource(
        about="WikiSQL as instruction, input and output: queries that do not run, repaired or refused",
        licence="BSD-3-Clause",
        hub_id="htriedman/wikisql",
        from_rows=wikisql.from_rows,
    ),
    "gretel": NamedSource(
        about="100,000 training and 5,851 test questions, synthetic",
        licence="Apache-2.0",
        hub_id="gretelai/synthetic_text_to_sql",
        aliases={"question": ("sql_prompt",), "context": ("sql_context",), "answer": ("sql",)},
    ),
}


def find_named(source: str) -> NamedSource | None:
    """The named source that `data.source` means, by its name or by its id on the Hub; None if it means another."""
    return NAMED.get(source) or next((named for named in NAMED.values() if named.hub_id == source), None)
