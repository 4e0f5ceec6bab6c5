"""The sources that a user names: archives, folders, patterns, single photos; and what is left out."""

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline import storage
from pipeline.config.limits import Limits
from pipeline.index.build import build_index
from pipeline.index.sources import Source, expand
from tests.support.archives import PHOTOS, index_rows, index_sources, loose, put, tar_bytes, zip_bytes


class AskedFileSystem(MemoryFileSystem):
    """Counts the requests about single files to an object store."""

    protocol = "asked"
    asked = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("asked://")))

    def info(self, path: str, **kwargs: Any) -> Any:
        AskedFileSystem.asked += 1
        return super().info(path, **kwargs)


fsspec.register_implementation("asked", AskedFileSystem, clobber=True)


def test_a_pattern_asks_nothing_about_each_match() -> None:
    for n in range(20):
        put("asked://many", f"{n:02}.jpg", bytes(n))
    AskedFileSystem.asked = 0
    (source,) = expand(["asked://many/*.jpg"], "asked://out")
    assert source.only is not None
    assert [file[:2] for file in source.only] == [(f"{n:02}.jpg", n) for n in range(20)]
    assert AskedFileSystem.asked < 5


def test_a_pipe_as_a_source_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    for source in ("a.tar", "*.tar"):
        with pytest.raises(storage.StorageError, match=r"a\.tar: a device or a pipe; name a file"):
            index_sources([str(tmp_path / source)], str(tmp_path / "out"))


def test_output_inside_a_source_is_not_its_own_source(tmp_path: Path) -> None:
    source = loose(tmp_path / "in")
    output = f"{source}/out"
    put(output, "restored/a.tar/x.jpg", b"restored")
    put(output, "b.tar", tar_bytes(PHOTOS))
    assert index_sources([source], output).photos == len(PHOTOS)


@pytest.fixture
def earlier(tmp_path: Path) -> str:
    """A folder of photos with the OUTPUT of an earlier run in it."""
    source = loose(tmp_path / "in")
    for name in ("run.json", "index/a.parquet", "restored/in/album/x.jpg", "report/thumbnail.jpg", "b.tar"):
        put(f"{source}/2024/out", name, b"x")
    put(source, "2024/run.json", b"a file of that name alone makes no run")
    return source


@pytest.mark.parametrize("pattern", ["", "/*", "/**/*.jpg", "/2024/*", "/20*/o*"])
def test_no_run_is_restored_again(earlier: str, pattern: str, tmp_path: Path) -> None:
    said: list[str] = []
    try:
        found = expand([earlier + pattern], str(tmp_path / "elsewhere"), said.append)
    except storage.StorageError as error:  # there is nothing else
        assert pattern == "/20*/o*" and "matches nothing" in str(error)
        found = []
    assert said == [f"left out: {earlier}/2024/out, the OUTPUT of a run"]
    output = str(tmp_path / "elsewhere")
    build_index(found, output, Limits())
    assert not [row for row in index_rows(tmp_path / "elsewhere") if "out/" in f"{row['source']}/{row['member']}"]


def test_a_folder_of_a_run_that_is_named_is_meant(earlier: str, tmp_path: Path) -> None:
    run = f"{earlier}/2024/out"
    (source,) = expand([f"{run}/restored"], str(tmp_path / "elsewhere"), pytest.fail)
    assert source.uri == f"{run}/restored"
    (source,) = expand([f"{run}/restored/*/*/*.jpg"], str(tmp_path / "elsewhere"), pytest.fail)
    assert source.only is not None
    assert [file[:2] for file in source.only] == [("x.jpg", 1)]
    with pytest.raises(storage.StorageError, match="the OUTPUT of a run; name the folder in it that holds photos"):
        expand([run], str(tmp_path / "elsewhere"))


def test_a_run_in_its_own_source_continues(tmp_path: Path) -> None:
    """A pattern also matches OUTPUT, which exists at the second start."""
    source = loose(tmp_path / "in")
    output = f"{source}/out"
    first = index_sources([f"{source}/*"], output)
    put(output, "restored/album/00.jpg.jpg", b"restored")
    assert index_sources([f"{source}/*"], output) == first
    assert index_sources([f"{source}/**/*.jpg"], output).photos == len(PHOTOS)


def test_expand_names_each_archive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = loose(tmp_path / "in"), str(tmp_path / "out")
    inner = put(source, "sub/a.tar", tar_bytes(PHOTOS))
    odd = put(str(tmp_path), "scans[1].bin", zip_bytes(PHOTOS))
    monkeypatch.chdir(tmp_path)
    whole = [Source(source, "folder"), Source(inner, "archive")]
    assert expand(["in"], out) == whole
    assert expand([source, f"{source}/album", f"{source}/album/00.jpg", inner, f"file://{source}/"], out) == whole
    assert expand([f"{source}/sub/*.tar"], out) == [Source(inner, "archive")]
    assert expand([odd], out) == [Source(odd, "archive")]
    named = tuple(
        (name, size, storage.version(f"{source}/album/{name}"))
        for name, size in (("01.jpg", 40_001), ("02.jpg", 40_002))
    )
    assert expand([f"{source}/album/0[12].jpg"], out) == [Source(f"{source}/album", "folder", named)]


@pytest.mark.parametrize("source", ["missing.tar", "empty", "none/*.jpg"])
def test_a_source_that_is_not_there_stops_before_anything_is_written(source: str, tmp_path: Path) -> None:
    good = put(str(tmp_path), "a.tar", tar_bytes(PHOTOS))
    (tmp_path / "empty").mkdir()
    with pytest.raises(storage.StorageError) as caught:
        index_sources([good, str(tmp_path / source)], str(tmp_path / "out"))
    assert source in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
