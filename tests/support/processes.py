"""The processes of this project, the first work of each, and the heavy packages that it may import for that."""

from __future__ import annotations

# Each of these takes ten milliseconds to ten seconds of CPU (torch 5, diffusers 10, ray.data 2, scipy 1, yaml 0.01).
HEAVY = {
    *("ray", "ray.data", "torch", "torchvision", "diffusers", "transformers", "facexlib", "spandrel"),
    *(
        "cv2",
        "pyvips",
        "scipy",
        "scipy.stats",
        "skimage",
        "c2pa",
        "cryptography",
        "duckdb",
        "pyarrow",
        "fsspec",
        "rich",
    ),
    *("imagecodecs", "pi_heif", "pylibjxl", "PIL", "yaml"),
}
STORAGE = {"pyarrow", "fsspec"}
QUERY = STORAGE | {"duckdb", "rich"}
RUN = QUERY | {"cv2"}  # a command that starts a run, before it knows that there is one to do
STAGE = {
    "ray",
    "yaml",
    *STORAGE,
}  # a stage runs in a worker of Ray, which has imported it; ray.data comes with the task

# One of several drivers of a run, which gets its chain of stages pickled.
DRIVER = """
import pickle
from pipeline.config.job import Job
from pipeline.config.resources import Resources
from pipeline.config.secrets import Environment
from pipeline.config.settings import Settings
from pipeline.run import drivers
from pipeline.run.batching import BatchSizes
from pipeline.run.chain import chain
job = Job(Settings(), "out", "attempt", "", "", Environment({}), {})
pickle.loads(pickle.dumps(chain(job, Resources(), BatchSizes(1, 1, 1))))
"""

PREPARED = """
from pipeline.config.settings import Settings
from pipeline.run.prepare import prepare
prepare("out", Settings(weights="demo"))
"""

# What a process of each kind does first -> those of HEAVY that it may have.
PROCESSES = {
    "the child of the sandbox": ("import pipeline.sandbox.child", set()),
    "decoding in it": ("import pipeline.photos.view", {"cv2", "pyvips"}),
    "a worker that fetches": ("import pipeline.stages.fetch", STAGE),
    "a worker that detects": ("import pipeline.stages.detect", STAGE | {"cv2", "pyvips"}),
    "a worker that restores": (
        "import pipeline.stages.restore",
        STAGE | {"cv2", "pyvips", "torch"},
    ),
    "a worker that publishes": ("import pipeline.stages.publish", STAGE | {"cv2", "pyvips", "scipy", "skimage"}),
    "a worker that reads crops for training": (
        "import pipeline.training.data",
        STAGE | {"ray.data", "cv2", "pyvips", "torch"},
    ),
    "any worker, to find its stage": ("import pipeline.run.chain", STAGE | {"ray.data"}),
    "a driver, with its chain": (DRIVER, STAGE | {"ray.data", "duckdb", "cv2"}),
    "a command that has checked its weights and settings": (PREPARED, STORAGE | {"cv2"}),
    "an actor of DetectFaces": ("from jobs.api import DetectFaces; DetectFaces()", STORAGE | {"cv2", "pyvips"}),
    "an actor of PasteFaces": (
        "from jobs.api import PasteFaces; PasteFaces()",
        STORAGE | {"cv2", "pyvips", "scipy", "skimage"},
    ),
    "a notebook that imports the call": ("import jobs.api", set()),
    "a notebook that opens a run": ("from jobs.api import open_run", QUERY),
    "a driver that names the call": ("from jobs.api import DetectFaces, RestorePhotos", STORAGE),
    "a notebook, before it loads a model": ("from jobs.api import Restorer", STORAGE | {"cv2", "pyvips", "PIL"}),
    "interlcm --help": ("HELP", {"rich"}),
    "interlcm restore --help": ("HELP restore", {"rich"}),
    "interlcm restore, a source that is not there": ("FAILS restore /nowhere.tar --output /nowhere-either", RUN),
    "interlcm evaluate --help": ("HELP evaluate", RUN | {"PIL", "yaml"}),
    "interlcm train --help": ("HELP train", RUN | {"PIL", "yaml"}),
    "interlcm submit --help": ("HELP submit", STORAGE | {"cryptography", "rich"}),
    "interlcm status": ("FAILS status /nowhere", QUERY),
    "interlcm query": ("FAILS query /nowhere FROM-photos", QUERY),
    "interlcm verify, no run there": ("FAILS verify /nowhere", QUERY),
    "interlcm forget, no run there": ("FAILS forget /nowhere --where true", QUERY),
    "interlcm export, no run there": ("FAILS export bag /nowhere --to /nowhere-either", QUERY),
    "interlcm decide, no run there": ("FAILS decide /nowhere", RUN),
    "interlcm report, no run there": ("FAILS report /nowhere", QUERY | {"cv2", "pyvips"}),
}
CODES = {"HELP": 0, "FAILS": 1, "USAGE": 2}

CALL = """
import contextlib, io, sys
from jobs.__main__ import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    try:
        main({words!r})
    except SystemExit as ended:
        code = ended.code
assert code == {code}, code
"""


def program(first: str) -> str:
    kind, *words = first.split()
    if kind not in CODES:
        return first
    return CALL.format(words=[*words, "--help"] if kind == "HELP" else words, code=CODES[kind])
