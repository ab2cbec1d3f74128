"""onnxruntime in a process of its own, with a limit on memory: started as a script, it serves one model over its pipes.

Messages are frames: eight bytes of length, then the content. The first holds the model, each later one an input as
.npy; an answer is a byte that says how it went, then scores as .npy or what went wrong as text. Nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any

DONE, FAILED, TOO_LARGE = b"\0", b"\1", b"\2"
_LENGTH = 8
_SILENT = 4
_WATCH = 0.02  # seconds between looks at the memory where the system itself has no limit


def send(stream: IO[bytes], *parts: bytes) -> None:
    """Write one frame."""
    stream.write(sum(map(len, parts)).to_bytes(_LENGTH, "little"))
    for part in parts:
        stream.write(part)
    stream.flush()


def received(stream: IO[bytes]) -> bytes:
    """Read one frame; raise EOFError if the other side has ended."""
    length = int.from_bytes(_exactly(stream, _LENGTH), "little")
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return found


def main() -> None:
    """Serve one model until the pipe is closed; the argument is JSON: path, bytes, threads, input, output."""
    given = json.loads(sys.argv[1])
    sys.path.extend(given["path"])  # after its own: nothing there takes the place of the standard library
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    import numpy as np  # found by the path above
    import onnxruntime

    _limit(given["bytes"])
    asked: queue.Queue[bytes] = queue.Queue(1)
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()

    def attempt(work: Any) -> Any:
        try:
            done = work()
        except Exception as error:  # onnxruntime's exceptions have no common root
            text = " ".join(str(error).split())[:300]
            large = isinstance(error, MemoryError) or "alloc" in text.lower()
            send(answers, TOO_LARGE if large else FAILED, text.encode(errors="replace"))
            return None
        send(answers, DONE, done if isinstance(done, bytes) else b"")
        return done

    def session() -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = given["threads"]
        # Its rewriting folds constants, and what it computes then is not what the file says.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = ["CPUExecutionProvider"]
        # Without its fallback, which tries the same again.
        return onnxruntime.InferenceSession(asked.get(), options, providers=providers, enable_fallback=0)

    model = attempt(session)

    def scores() -> bytes:
        fed = np.load(io.BytesIO(asked.get()), allow_pickle=False)
        (made,) = model.run([given["output"]], {given["input"]: fed})
        written = io.BytesIO()
        np.save(written, np.asarray(made, dtype=np.float32), allow_pickle=False)
        return written.getvalue()

    while model is not None:
        attempt(scores)


def _listen(asked: queue.Queue[bytes]) -> None:
    """Pass on what comes; end the process with its owner, whatever it is at."""
    try:
        while True:
            asked.put(received(sys.stdin.buffer))
    except BaseException:  # memory may run out here too
        os._exit(1)


def _limit(allowed: int) -> None:
    """Let this process have some bytes more than it has now, and no more.

    Raises:
        ImportError: the system knows no limits (Windows), so that nothing is run.
    """
    import resource  # not everywhere

    if sys.platform == "linux":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + allowed, held + allowed))
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def watch() -> None:
        unit = 1 if sys.platform == "darwin" else 1024
        while (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < allowed:
            threading.Event().wait(_WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
