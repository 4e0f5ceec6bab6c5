"""The sandbox: faults of a child process, and what the worker sees of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config.limits import Limits
from pipeline.photos.errors import PhotoError
from pipeline.sandbox import parent as sandbox
from tests.corpus import crashes

LIMITS = Limits(seconds=20)


@pytest.fixture(autouse=True)
def _own_child() -> Iterator[None]:
    """A child for this test alone."""
    sandbox.stop()
    yield
    sandbox.stop()


def outcome(function: Callable[..., Any], *args: Any, limits: Limits = LIMITS) -> str:
    """The error_type of a call that fails."""
    with pytest.raises(PhotoError) as caught:
        sandbox.run(function, *args, limits=limits)
    assert caught.value.message == str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.error_type


def test_arguments_and_results_arrive_as_they_are() -> None:
    values = (None, "text", b"", b"\0" * 200_000, bytearray(b"x" * 200_000), {"a": [1, 2.5]}, np.float32(3))
    assert sandbox.run(crashes.same, *values, limits=LIMITS) == values
    shared = b"y" * 100_000
    first, second = sandbox.run(crashes.same, shared, shared, limits=LIMITS)
    assert first == second == shared


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_arrive_whole_and_writable_on_both_sides(dtype: type) -> None:
    array: npt.NDArray[Any] = (np.arange(120_000) % 251).astype(dtype).reshape(100, 400, 3)
    (same,) = sandbox.run(crashes.same, array, limits=LIMITS)
    assert (same.dtype, same.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(same, array)
    same[:] = 0
    assert sandbox.run(crashes.fill, array, 7, limits=LIMITS).min() == 7
    assert array.max() == 250  # the worker's own directory is different
    (part,) = sandbox.run(crashes.same, array[::2, ::3], limits=LIMITS)  # not contiguous
    np.testing.assert_array_equal(part, array[::2, ::3])


def test_hundreds_of_megabytes_pass() -> None:
    data, array = bytes(300 << 20), np.full(200 << 20, 5, np.uint8)
    back, same = sandbox.run(crashes.same, data, array, limits=LIMITS)
    assert (len(back), same.size, same[-1]) == (300 << 20, 200 << 20, 5)


def test_one_child_serves_many_calls() -> None:
    children = {sandbox.run(crashes.process_id, limits=LIMITS) for _ in range(200)}
    assert len(children) == 1
    assert children != {os.getpid()}


def test_threads_that_call_at_once_get_their_own_answers() -> None:
    found: list[Any] = []

    def work(n: int) -> None:
        found.extend(sandbox.run(crashes.same, n, limits=LIMITS)[0] == n for _ in range(50))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


def test_exceptions_come_back_with_type_and_words() -> None:
    with pytest.raises(ValueError, match="^a bad value$"):
        sandbox.run(crashes.fail, "value", limits=LIMITS)
    child = sandbox.run(crashes.process_id, limits=LIMITS)
    with pytest.raises(Exception, match="incorrect header") as caught:
        sandbox.run(crashes.fail, "zlib", limits=LIMITS)
    assert type(caught.value).__module__ == "zlib"
    with pytest.raises(PhotoError, match="^OddError: 1 of 2$") as odd:
        sandbox.run(crashes.fail, "odd", limits=LIMITS)
    assert odd.value.error_type == "OddError"
    assert sandbox.run(crashes.process_id, limits=LIMITS) == child


def test_what_cannot_travel_is_an_error_and_costs_no_later_call() -> None:
    with pytest.raises(Exception, match="pickle|lambda"):
        sandbox.run(crashes.same, lambda: None, limits=LIMITS)
    with pytest.raises(Exception, match="pickle|lambda"):
        sandbox.run(crashes.unpicklable, limits=LIMITS)
    assert sandbox.run(crashes.same, 1, limits=LIMITS) == (1,)


@pytest.mark.parametrize(
    ("function", "args", "error_type"),
    [
        (crashes.segfault, (), "decoder_crashed"),
        (crashes.leave, (), "decoder_crashed"),
        (crashes.abort, ("assertion failed",), "decoder_crashed"),
        (crashes.abort, ("terminate called after throwing an instance of 'std::bad_alloc'",), "out_of_memory"),
        (crashes.abort, ("GLib-ERROR: failed to allocate 8000000000 bytes",), "out_of_memory"),
        (crashes.killed, (), "out_of_memory"),
    ],
)
def test_a_death_is_an_error_and_the_next_call_finds_another_child(
    function: Callable[..., Any], args: tuple[Any, ...], error_type: str
) -> None:
    before = sandbox.run(crashes.process_id, limits=LIMITS)
    assert outcome(function, *args) == error_type
    assert sandbox.run(crashes.process_id, limits=LIMITS) != before


def test_the_signal_is_named() -> None:
    with pytest.raises(PhotoError, match="SIGSEGV"):
        sandbox.run(crashes.segfault, limits=LIMITS)
    with pytest.raises(PhotoError, match="exit status 3"):
        sandbox.run(crashes.leave, limits=LIMITS)


@pytest.mark.parametrize("function", [crashes.spin, crashes.spin_in_c])
def test_a_call_that_never_ends_is_stopped(function: Callable[[], None]) -> None:
    assert outcome(function, limits=Limits(seconds=1)) == "too_slow"
    assert sandbox.run(crashes.same, 1, limits=LIMITS) == (1,)


def test_time_counts_for_each_call_alone() -> None:
    for _ in range(4):
        sandbox.run(crashes.sleep, 0.4, limits=Limits(seconds=1))
    time.sleep(1.2)  # the time between two calls does not count either
    assert sandbox.run(crashes.same, 1, limits=Limits(seconds=1)) == (1,)


def test_memory_is_limited_for_each_call_alone() -> None:
    small = Limits(memory_bytes=1 << 30)
    child = sandbox.run(crashes.process_id, limits=small)
    assert outcome(crashes.allocate, 2 << 30, limits=small) == "out_of_memory"
    assert sandbox.run(crashes.allocate, 1 << 20, limits=small) == 1 << 20
    assert sandbox.run(crashes.allocate, 1100 << 20, limits=Limits(memory_bytes=4 << 30)) == 1100 << 20
    assert sandbox.run(crashes.process_id, limits=small) == child


def test_nothing_of_a_photo_stays_in_the_child() -> None:
    child = sandbox.run(crashes.process_id, limits=LIMITS)
    sandbox.run(crashes.same, np.ones(400 << 20, np.uint8), limits=LIMITS)
    assert sandbox.run(crashes.process_id, limits=LIMITS) == child  # it waits for the next call again
    status = Path(f"/proc/{child}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 150_000  # kB


def test_what_libraries_print_is_kept_out_of_the_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert sandbox.run(crashes.chatter, limits=LIMITS) == "answer"
    assert capfd.readouterr() == ("", "")


def test_no_secret_reaches_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_KEY", "FSSPEC_S3_SECRET")
    for name in (*keys, "HF_TOKEN", "RAY_AUTH_TOKEN", "INTERLCM_SEALED_SETTINGS", "A_VARIABLE_OF_TOMORROW"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("TZ", "UTC")
    found = sandbox.run(crashes.environment, limits=LIMITS)
    assert found["TZ"] == "UTC"
    assert "secret" not in found.values()


def test_the_child_loads_neither_model_nor_cluster() -> None:
    assert {"torch", "ray", "facexlib", "diffusers"} & set(sandbox.run(crashes.loaded_modules, limits=LIMITS)) == set()


def test_modules_are_found_where_the_worker_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Ray worker, whose working_dir is a separate folder; modules in a hostile one are not imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "brought_along.py").write_text("def one(): return 1\n")
    (tmp_path / "pickle.py").write_text("raise SystemExit('taken over')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    import brought_along  # type: ignore[import-not-found]

    assert sandbox.run(brought_along.one, limits=LIMITS) == 1


WORKER = """
import os, sys
from pipeline.sandbox import parent as sandbox
from pipeline.config.limits import Limits
from tests.corpus import crashes
print(sandbox.run(crashes.process_id, limits=Limits()), flush=True)
if sys.argv[1] == "busy":
    sandbox.run(crashes.sleep, 2, limits=Limits(seconds=5))
sys.stdin.read()
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_child_goes_when_its_worker_is_killed(state: str) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    child = int(worker.stdout.readline())
    assert not gone(child)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    deadline = time.monotonic() + 300
    while not gone(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(child)
    worker.communicate()


def test_a_call_that_is_given_up_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray cancels a task by an exception at any point."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            sandbox.run(crashes.sleep, 1, limits=LIMITS)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert sandbox.run(crashes.same, "next", limits=LIMITS) == ("next",)
