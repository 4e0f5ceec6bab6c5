"""Files that browsers load, from a bucket too: each says what it is, and many are written at a time."""

import mimetypes
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pipeline.storage.client import filesystem, retried
from pipeline.storage.places import join
from pipeline.storage.writing import write_bytes

AT_ONCE = 10  # files: a client of S3 has as many connections
_SAYS_KIND = {"s3": "ContentType", "gs": "content_type"}  # protocol -> the argument of its client's pipe_file


def publish(uri: str, data: bytes) -> None:
    """Write a file with the content type for its name: browsers refuse a style sheet without one.

    S3 and Google's storage keep what they are told, else they know of no type. Web servers derive it from the name.
    """
    fs, path = filesystem(uri)
    named = [argument for protocol, argument in _SAYS_KIND.items() if protocol in fs.protocol]
    if not named:
        write_bytes(uri, data)
        return
    kind = {named[0]: mimetypes.guess_type(uri)[0] or "application/octet-stream"}
    retried(uri, lambda: fs.pipe_file(path, data, **kind), writing=True)


def publish_all(folder: str, files: Mapping[str, bytes]) -> None:
    """Write files below a folder, AT_ONCE at a time; the last one of them when all others are there.

    Each is retried and named in errors by itself, which fsspec's own `pipe` of many files does not do.
    """
    names = list(files)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="publish") as threads:
        for _ in threads.map(lambda name: publish(join(folder, name), files[name]), names[:-1]):
            pass  # an error is raised here, and what has not begun is not begun any more
    for name in names[-1:]:
        publish(join(folder, name), files[name])
