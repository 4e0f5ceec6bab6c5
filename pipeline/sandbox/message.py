"""Send Python objects over a pipe, as pickles with large bytes and arrays beside them, so that nothing copies these.

A message consists of the number of its parts (8 bytes), their kinds and sizes (9 bytes each), and the parts. The last
part is the pickle. Before it come the bytes objects and buffers of pickle protocol 5 (PEP 574), in the order of use.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import IO, Any

_COUNT = struct.Struct("<Q")
_PART = struct.Struct("<?Q")  # whether it is a bytes object (else a buffer), size in bytes
_LARGE = 1 << 16  # smaller bytes objects are cheaper inside the pickle


class _Pickler(pickle.Pickler):
    def __init__(self, file: IO[bytes]) -> None:
        self.objects: list[bytes] = []
        self.buffers: list[pickle.PickleBuffer] = []
        super().__init__(file, protocol=5, buffer_callback=self.buffers.append)

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is not bytes or len(obj) < _LARGE:
            return None
        self.objects.append(obj)
        return len(self.objects) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], objects: list[bytes], buffers: list[bytearray]) -> None:
        super().__init__(file, buffers=buffers)
        self.objects = objects

    def persistent_load(self, pid: Any) -> bytes:
        return self.objects[pid]


def send(pipe: IO[bytes], obj: Any) -> None:
    """Write an object. If it cannot be pickled, nothing is written."""
    sink = io.BytesIO()
    pickler = _Pickler(sink)
    pickler.dump(obj)
    parts = [(True, memoryview(data)) for data in pickler.objects]
    parts += [(False, buffer.raw()) for buffer in pickler.buffers]
    parts += [(True, sink.getbuffer())]
    pipe.write(_COUNT.pack(len(parts)) + b"".join(_PART.pack(kind, len(data)) for kind, data in parts))
    for _, data in parts:
        pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read an object; arrays in it are writable. Raises EOFError if the pipe ends."""
    (count,) = _COUNT.unpack(_exactly(pipe, _COUNT.size))
    kinds = list(_PART.iter_unpack(_exactly(pipe, count * _PART.size)))
    objects: list[bytes] = []
    buffers: list[bytearray] = []
    for is_bytes, size in kinds:
        if is_bytes:
            objects.append(_exactly(pipe, size))
        else:
            buffers.append(bytearray(size))
            if pipe.readinto(buffers[-1]) < size:  # type: ignore[attr-defined]
                raise EOFError
    return _Unpickler(io.BytesIO(objects.pop()), objects, buffers).load()


def copied(obj: Any) -> Any:
    """The object as the other end of a pipe would receive it."""
    sink = io.BytesIO()
    send(sink, obj)
    sink.seek(0)
    return receive(sink)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
