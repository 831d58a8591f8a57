"""`text2sql data fetch`: known data sets from their official place into the cache."""

from __future__ import annotations

import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from text2sql.console import console
from text2sql.data.sources import NAMED
from text2sql.data.sources.layout import fetched
from text2sql.errors import UserError

PIECE = 1 << 20  # bytes read at once
SILENCE = 60.0  # seconds without a byte before a download is given up


@dataclass(frozen=True, slots=True)
class Archive:
    """An official archive: where its files are, and the page that tells of them."""

    page: str
    files: dict[str, str]


ARCHIVES = {
    "spider": Archive(
        "https://yale-lily.github.io/spider",
        {
            "spider_data.zip": "https://drive.usercontent.google.com/download?id=1403EGqzIDoHMdQF4c9Bkyl7dZLZ5Wt6J"
            "&export=download&confirm=t"
        },
    ),
    "bird": Archive(
        "https://bird-bench.github.io",
        {
            "train.zip": "https://bird-bench.oss-cn-beijing.aliyuncs.com/train.zip",
            "dev.zip": "https://bird-bench.oss-cn-beijing.aliyuncs.com/dev.zip",
        },
    ),
    "wikisql": Archive(
        "https://github.com/salesforce/WikiSQL",
        {"data.tar.bz2": "https://github.com/salesforce/WikiSQL/raw/master/data.tar.bz2"},
    ),
}


def fetch(name: str) -> Path | None:
    """Download a data set to where its name finds it; what is there already is kept.

    Returns:
        The directory of an official archive; None for a data set that the Hub's client keeps in its own cache.

    Raises:
        UserError: There is no data set of this name, or it cannot be had.
    """
    if name not in NAMED:
        raise UserError(f'There is no data set "{name}" to fetch; there are {", ".join(NAMED)}.')
    if name not in ARCHIVES:
        _from_hub(name)
        return None
    archive, directory = ARCHIVES[name], fetched(name)
    marker = directory / ".complete"
    if marker.is_file():
        console.print(f"{directory} is there already.")
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    for file, url in archive.files.items():
        _unpack(_download(url, directory / file, archive.page), archive.page)
    marker.touch()
    console.print(f"{name} is in {directory}: data.source={name} finds it there.")
    return directory


def _from_hub(name: str) -> None:
    from text2sql.data.sources.hub import load_all

    source = NAMED[name]
    for split, count in load_all(source.hub_id, source.revision).items():
        console.print(f"{source.hub_id}: {count:,} rows of split {split}, in the Hub's own cache")


def _download(url: str, file: Path, page: str) -> Path:
    """Fetch a file, going on where an earlier start stopped."""
    if file.is_file():
        return file
    aside = file.with_name(f"{file.name}.partial")
    start = aside.stat().st_size if aside.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "text2sql"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as response:
            resumed = response.status == 206
            length = int(response.headers.get("Content-Length") or 0) + (start if resumed else 0)
            console.print(f"{file.name}: {length / 1e6:,.0f} MB" if length else file.name)
            with aside.open("ab" if resumed else "wb") as out:
                while piece := response.read(PIECE):
                    out.write(piece)
                if length and out.tell() != length:
                    raise OSError(f"the connection ended after {out.tell():,} of {length:,} bytes")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # what is asked for begins at the end: all of it is there
            raise _unreachable(url, file, page, f"HTTP {error.code}") from error
    except (OSError, ValueError) as error:
        raise _unreachable(url, file, page, str(getattr(error, "reason", error))) from error
    aside.replace(file)
    return file


def _unreachable(url: str, file: Path, page: str, reason: str) -> UserError:
    return UserError(
        f"{url} cannot be fetched ({reason}). What came is kept, and the same command goes on from there. Without "
        f"network: download {file.name} from {page} on another machine and put it into {file.parent}."
    )


def _unpack(file: Path, page: str) -> None:
    """Unpack an archive into its folder, and the archives of databases inside it; each is removed when it is done."""
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as packed:
                names = [name for name in packed.namelist() if not name.startswith("__MACOSX")]
                packed.extractall(file.parent, names)
        else:
            with tarfile.open(file) as packed_tar:
                names = packed_tar.getnames()
                packed_tar.extractall(file.parent, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        file.unlink()
        raise UserError(
            f"{file.name} is not the archive that it should be ({error}); perhaps a page that asks to confirm. "
            f"Download it from {page} and put it into {file.parent}."
        ) from error
    file.unlink()
    for name in names:
        inner = file.parent / name
        if inner.suffix == ".zip" and inner.is_file():
            _unpack(inner, page)
