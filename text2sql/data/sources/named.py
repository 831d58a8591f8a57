"""The data sets that are known by name: the values of `data.source` besides files and Hub ids.

A new data set is an entry in `NAMED`. If the columns of its rows differ from those of an `Example`, the entry names
them in `aliases`; if its form is entirely different, a module next to this one reads it.
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
        about: A description.
        licence: Its SPDX identifier.
        hub_id: Its id on the Hugging Face Hub, if it is there.
        revision: The branch on the Hub.
        aliases: Its names of columns by field of `Example`, tried in order.
        archive: The archive that `text2sql data fetch` downloads; a source without one is fetched from the Hub.
        load: Loads its examples from the installed package.
        read_directory: Reads a split of its unpacked archive, from (directory, split).
        from_rows: Converts rows that `aliases` cannot describe, from (rows, prefix of the ids, location for messages).
        make_databases: Writes SQLite files for tables in another form, from (directory, split, names of tables, target
            directory); returns the file of each table.
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
    """The named source for a value of `data.source`, by its name or its id on the Hub; None if there is none."""
    return NAMED.get(source) or next((named for named in NAMED.values() if named.hub_id == source), None)
