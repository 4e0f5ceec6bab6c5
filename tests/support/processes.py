"""The processes of this project, the first work of each, and the heavy packages that it may import for that."""

from __future__ import annotations

# The import of each takes from ten milliseconds of CPU (yaml) to seconds (torch, diffusers).
HEAVY = {
    *("ray", "ray.data", "ray.train.torch"),
    *("torch", "torch.utils.tensorboard", "torchvision", "diffusers", "transformers", "facexlib", "spandrel", "pyiqa"),
    *("cv2", "pyvips", "imagecodecs", "pi_heif", "pylibjxl", "PIL", "scipy", "scipy.stats", "skimage", "matplotlib"),
    *("pyarrow", "duckdb", "pyiceberg", "fsspec", "aiobotocore"),
    *("c2pa", "cryptography", "rich", "yaml", "psutil"),
}
STORAGE = {"pyarrow", "fsspec"}
QUERY = STORAGE | {"duckdb"}
RUN = QUERY | {"cv2", "psutil", "rich"}  # a command that starts a run, before it knows that there is one to do
PUBLISH = STORAGE | {"cv2", "pyvips", "scipy", "skimage"}

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

# What a process of each kind does first -> those of HEAVY that it has imported then: no other one, and each of these.
PROCESSES = {
    "the child of the sandbox": ("import pipeline.sandbox.child", set()),
    "decoding in it": ("import pipeline.photos.view", {"cv2", "pyvips"}),
    "a worker that fetches": ("import pipeline.stages.fetch", STORAGE),
    "a worker that detects": ("import pipeline.stages.detect", STORAGE | {"cv2", "pyvips"}),
    "a worker that restores": ("import pipeline.stages.restore", STORAGE | {"cv2", "torch"}),
    "a worker that publishes": ("import pipeline.stages.publish", PUBLISH),
    "any worker, to find its stage": ("import pipeline.run.chain", STORAGE | {"psutil"}),
    "a driver, with its chain": (DRIVER, STORAGE | {"cv2", "psutil", "ray", "ray.data", "yaml"}),
    "a dry run": ("import pipeline.run.estimate", QUERY | PUBLISH | {"psutil"}),
    "a command that has checked its weights and settings": (PREPARED, STORAGE | {"cv2", "psutil"}),
    "an actor of DetectFaces": (
        "from jobs.api import DetectFaces; DetectFaces()",
        STORAGE | {"cv2", "psutil", "pyvips"},
    ),
    "an actor of PasteFaces": ("from jobs.api import PasteFaces; PasteFaces()", PUBLISH | {"psutil"}),
    "a notebook that imports the call": ("import jobs.api", set()),
    "a notebook that opens a run": ("from jobs.api import open_run", QUERY),
    "a driver that names the call": ("from jobs.api import DetectFaces, RestorePhotos", STORAGE | {"psutil"}),
    "a notebook, before it loads a model": (
        "from jobs.api import Restorer",
        STORAGE | {"cv2", "PIL", "psutil", "pyvips"},
    ),
    "interlcm --help": ("HELP", set()),
    "interlcm demo --help": ("HELP demo", RUN | {"PIL"}),
    "interlcm doctor --help": ("HELP doctor", STORAGE | {"psutil"}),
    "interlcm restore --help": ("HELP restore", set()),
    "interlcm decide --help": ("HELP decide", QUERY | {"cv2"}),
    "interlcm weights pull --help": ("HELP weights pull", STORAGE),
    "interlcm evaluate --help": ("HELP evaluate", STORAGE | {"cv2", "PIL", "rich", "yaml"}),
    "interlcm train --help": ("HELP train", STORAGE | {"PIL", "rich", "yaml"}),
    "interlcm submit --help": ("HELP submit", STORAGE),
    "interlcm export iceberg --help": ("HELP export iceberg", QUERY),
    "interlcm benchmark detect --help": ("HELP benchmark detect", STORAGE | {"cv2", "PIL"}),
    "interlcm benchmark growth --help": ("HELP benchmark growth", STORAGE | {"cv2", "pyvips"}),
    "interlcm benchmark memory --help": ("HELP benchmark memory", STORAGE | {"cv2", "pyvips"}),
    "interlcm benchmark model --help": ("HELP benchmark model", STORAGE),
    "interlcm benchmark pipeline --help": ("HELP benchmark pipeline", STORAGE | {"cv2", "pyvips"}),
    "interlcm restore, a source that is not there": ("FAILS restore /nowhere.tar --output /nowhere-either", RUN),
    "interlcm status": ("FAILS status /nowhere", QUERY),
    "interlcm query": ("FAILS query /nowhere FROM-photos", QUERY),
    "interlcm verify, no run there": ("FAILS verify /nowhere", QUERY),
    "interlcm forget, no run there": ("FAILS forget /nowhere --where true", QUERY),
    "interlcm export, no run there": ("FAILS export bag /nowhere --to /nowhere-either", QUERY),
    "interlcm decide, no run there": ("FAILS decide /nowhere", QUERY | {"cv2"}),
    "interlcm report, no run there": ("FAILS report /nowhere", QUERY),
}
NETWORKS = {"cv2", "diffusers", "facexlib", "torch", "torchvision", "transformers"}
# Workers that need many seconds for their imports, so that no test starts one: module -> those of HEAVY that come with
# it by the code of the project.
WORKERS = {
    "pipeline.evaluation.crops": STORAGE | {"cv2", "pyvips"},
    "pipeline.evaluation.networks": NETWORKS - {"cv2"},
    "pipeline.evaluation.evaluate": NETWORKS | PUBLISH | {"PIL", "psutil"},
    "pipeline.training.data": STORAGE | {"cv2", "pyvips", "ray", "ray.data", "torch"},
    "pipeline.training.worker": NETWORKS - {"facexlib"} | PUBLISH | {"PIL", "ray", "ray.data"},
}
CODES = {"HELP": 0, "FAILS": 1}

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
