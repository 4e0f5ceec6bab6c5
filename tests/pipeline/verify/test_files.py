"""Compare restored files with the manifest, on disk and on S3: missing, changed and unlisted files."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.write import write_part
from pipeline.storage import client as storage_client
from pipeline.storage.errors import StorageError
from pipeline.storage.output import Output
from pipeline.verify import files as verify_files
from pipeline.verify.files import Listed, Verified, VerifyError, digest, restored
from tests.support.archives import put
from tests.support.ceph import free_port
from tests.support.rows import index_row, result_row, write_index

MEMBERS = [f"box/{n:02}.jpg" for n in range(2 * verify_files.CHUNK + 5)]


def path_of(member: str) -> str:
    return f"restored/a.tar/{member}.jpg"


def content(member: str) -> bytes:
    return member.encode() * 100


def made_run(output: str, members: list[str]) -> None:
    """A run in which every photo was restored."""
    write_index(output, [index_row(member) for member in members])
    rows = []
    for member in members:
        uri = put(output, path_of(member), content(member))
        rows.append(result_row(member, restored_uri=uri, restored_sha256=hashlib.sha256(content(member)).hexdigest()))
    write_part(rows, output, "1")


def verified(output: str) -> Verified:
    (*_, found) = verify_files.verify(output)
    return found


def kinds(found: Verified, output: str) -> list[tuple[str, str]]:
    return [(problem.kind, problem.listed.uri.removeprefix(f"{output}/")) for problem in found.problems]


@pytest.fixture
def output(tmp_path: Path) -> str:
    uri = str(tmp_path / "out")
    made_run(uri, MEMBERS)
    return uri


def test_a_run_that_nobody_touched(output: str) -> None:
    steps = [(found.done, len(found.problems)) for found in verify_files.verify(output)]
    assert steps == [(0, 0), (32, 0), (64, 0), (69, 0), (69, 0)]
    found = verified(output)
    assert (found.total, found.unlisted) == (69, [])
    found.check(output)


def test_every_kind_of_change_is_found_in_the_order_of_the_files(output: str) -> None:
    Path(output, path_of("box/40.jpg")).unlink()
    flipped = Path(output, path_of("box/03.jpg"))
    data = bytearray(flipped.read_bytes())
    data[50] ^= 1
    flipped.write_bytes(data)
    longer = Path(output, path_of("box/68.jpg"))
    longer.write_bytes(longer.read_bytes() + b"\0")
    folder = Path(output, path_of("box/39.jpg"))
    folder.unlink()
    folder.mkdir()
    found = verified(output)
    assert kinds(found, output) == [
        ("differs", path_of("box/03.jpg")),
        ("unreadable", path_of("box/39.jpg")),
        ("missing", path_of("box/40.jpg")),
        ("differs", path_of("box/68.jpg")),
    ]
    assert found.problems[1].words.startswith(str(folder))
    assert [found.count(kind) for kind in ("differs", "unreadable", "missing")] == [2, 1, 1]
    with pytest.raises(VerifyError, match="4 of 69 restored files do not match the manifest") as stopped:
        found.check(output)
    ids = "'id-box/03.jpg', 'id-box/39.jpg', 'id-box/40.jpg', 'id-box/68.jpg'"
    assert str(stopped.value).endswith(f'--where "restored_uri IS NOT NULL AND photo_id IN ({ids})"')


def test_the_remedy_stays_short_when_much_is_lost(output: str) -> None:
    shutil.rmtree(Path(output, "restored"))
    found = verified(output)
    assert found.count("missing") == 69
    with pytest.raises(VerifyError, match="69 of 69") as stopped:
        found.check(output)
    assert str(stopped.value).endswith('--where "restored_uri IS NOT NULL"')


def test_files_that_no_row_names_are_a_note(output: str) -> None:
    put(output, "restored/a.tar/box/killed.jpg.jpg", b"of a worker that was killed")
    put(output, "restored/b.tar/1.jpg", b"a stranger")
    found = verified(output)
    assert found.unlisted == [f"{output}/restored/a.tar/box/killed.jpg.jpg", f"{output}/restored/b.tar/1.jpg"]
    assert found.problems == []
    found.check(output)


def test_the_newest_row_of_a_photo_counts(output: str) -> None:
    uri = put(output, "restored/a.tar/box/00.jpg.png", b"again, as png")
    sha256 = hashlib.sha256(b"again, as png").hexdigest()
    write_part([result_row(MEMBERS[0], minute=9, restored_uri=uri, restored_sha256=sha256)], output, "2")
    write_part([result_row(MEMBERS[1], "failed", minute=9, error_type="truncated")], output, "2")
    found = verified(output)
    assert (found.total, found.problems) == (68, [])
    assert found.unlisted == [f"{output}/{path_of(member)}" for member in MEMBERS[:2]]


def test_a_run_that_was_copied_is_checked_where_it_is(output: str, tmp_path: Path) -> None:
    copy = tmp_path / "restored" / "a.tar" / "copy"
    shutil.copytree(output, copy)
    shutil.rmtree(output)
    found = verified(str(copy))
    assert (found.total, found.problems, found.unlisted) == (69, [], [])
    (copy / path_of("box/07.jpg")).unlink()
    assert kinds(verified(str(copy)), str(copy)) == [("missing", path_of("box/07.jpg"))]


@pytest.mark.parametrize(
    ("uri", "archive", "now"),
    [
        ("/new/restored/a.tar/1.jpg", "a.tar", "/new/restored/a.tar/1.jpg"),
        ("s3://b/old/restored/a.tar/x/restored/a.tar/1.jpg", "a.tar", "/new/restored/a.tar/x/restored/a.tar/1.jpg"),
        ("/old/restored/b.tar/1.jpg", "a.tar", "/old/restored/b.tar/1.jpg"),
        ("/old/restored/a.tar/1.jpg", None, "/old/restored/a.tar/1.jpg"),
    ],
)
def test_where_a_file_lies_now(uri: str, archive: str | None, now: str) -> None:
    assert Output("/new").now(uri, archive) == now


def test_a_further_page_belongs_to_the_index_row_of_its_member(tmp_path: Path) -> None:
    name = "0123456789abcdef0123"
    write_index(str(tmp_path), [index_row("scan.tif", photo_id=name)])
    old: dict[str, Any] = {"restored_sha256": "00", "pages": 2}
    rows = [
        result_row("scan.tif", photo_id=name, page=1, restored_uri="/old/restored/a.tar/scan.tif.tif", **old),
        result_row(
            "scan.tif", photo_id=f"{name}-p2", page=2, restored_uri=f"/old/restored/a.tar/scan.tif.{name}-p2.tif", **old
        ),
    ]
    write_part(rows, str(tmp_path), "1")
    folder = f"{tmp_path}/restored/a.tar"
    assert [(one.photo_id, one.uri) for one in restored(str(tmp_path))[0]] == [
        (f"{name}-p2", f"{folder}/scan.tif.{name}-p2.tif"),
        (name, f"{folder}/scan.tif.tif"),
    ]
    found = Verified(2, problems=[verify_files.Problem("missing", one) for one in restored(str(tmp_path))[0]])
    with pytest.raises(VerifyError, match=rf"photo_id IN \('{name}'\)"):
        found.check("out")


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(20 * verify_files.READ)
    tracemalloc.start()
    found = digest(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == hashlib.sha256(bytes(20 * verify_files.READ)).hexdigest()
    assert peak < 5 * verify_files.READ


def test_nothing_restored_yet(tmp_path: Path) -> None:
    write_index(str(tmp_path), [index_row("a.jpg")])
    found = verified(str(tmp_path))
    assert (found.total, found.problems, found.unlisted) == (0, [], [])
    with pytest.raises(StorageError, match="no run there"):
        verified(str(tmp_path / "nowhere"))


def test_on_s3(bucket: str, fresh_clients: None) -> None:
    output = f"{bucket}/out"
    made_run(output, ["a b.jpg", "ü.jpg", "c?versionId=1.jpg"])
    assert verified(output).problems == []
    put(output, path_of("ü.jpg"), b"something else")
    put(output, "restored/a.tar/new.jpg", b"unlisted")
    storage_client.filesystem(bucket)[0].rm_file(f"{output}/{path_of('a b.jpg')}".removeprefix("s3://"))
    found = verified(output)
    assert kinds(found, output) == [("missing", path_of("a b.jpg")), ("differs", path_of("ü.jpg"))]
    assert found.unlisted == [f"{output}/restored/a.tar/new.jpg"]


def test_storage_that_is_gone_is_not_taken_for_missing_files(
    fresh_clients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, text in (settings | {"MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(f"AWS_{name}", text)
    with pytest.raises(StorageError) as stopped:
        verify_files.problem_of(Listed("id", "s3://bucket/out/restored/a.tar/a.jpg", "00"))
    assert stopped.value.reason == "unreachable"
