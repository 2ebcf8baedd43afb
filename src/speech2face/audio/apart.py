"""Recordings of strangers, decoded in processes that can die alone: `DecoderPool`, for whoever serves several people.

Some kilobytes can claim gigabytes, and a decoder written in C may end its process. So each recording is handed to a
worker whose memory the system bounds, and which is ended where it takes too long; the next recording gets another one.
A worker may write no file, and knows of nothing but the bytes it is given.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np

from speech2face import errors
from speech2face.audio.recording import Recording, read_recording
from speech2face.errors import CorruptRecording, RecordingTooLong, Speech2FaceError

MIB: Final = 2**20
# Of real memory, a quarter of an hour in eight channels takes 565 MiB from the file to the mixture.
MEMORY_BYTES: Final = 1024 * MIB
SECONDS: Final = 60.0  # for one recording; a quarter of an hour in eight channels takes some ten
WATCHED_SECONDS: Final = 0.05  # between looks at a worker's memory where the system sets no bound
LENGTH_BYTES: Final = 8
WORN_SHARE: Final = 4  # a worker that keeps a fourth of its memory after a recording is replaced
ENDED: Final = 9  # a worker's exit status where it took too much
# One thread a library: the workers are as many as the cores, and each thread reserves addresses.
ALONE: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class DecoderLimits:
    """What one recording may take: bytes of memory beyond the program's own, and seconds."""

    memory_bytes: int = MEMORY_BYTES
    seconds: float = SECONDS


class DecoderPool:
    """A few workers that decode one recording each at a time; safe for several threads."""

    def __init__(self, size: int, limits: DecoderLimits | None = None) -> None:
        """Workers are started by `start`, or when they are first needed."""
        self._limits = limits or DecoderLimits()
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()  # None: a place without a worker yet
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._size, self._closed = size, False
        for _ in range(size):
            self._idle.put(None)
        self.deaths = 0
        """How many workers died or were ended, by us or by themselves."""

    def start(self) -> None:
        """Start the workers; they get ready beside whatever is done next."""
        for _ in range(self._size):
            self._idle.put(self._idle.get() or self._started())

    def read(self, content: bytes, *, max_seconds: float) -> Recording:
        """Decode the bytes of a recording as `read_recording` does, by the first worker that is free.

        Raises:
            Speech2FaceError: what `read_recording` raises.
            RecordingTooLong: it takes more memory or time than one may.
            CorruptRecording: it ended the process that decoded it.
        """
        worker = self._idle.get()
        try:
            worker = worker or self._started()
            return worker.read(content, max_seconds, self._limits)
        finally:
            if worker is not None and worker.process.poll() is not None:
                self.deaths += 1
                with self._lock:
                    self._workers.discard(worker)
                worker.end()
                worker = None if self._closed else self._started()
            self._idle.put(worker)

    def close(self) -> None:
        """End all workers, whatever they are doing; harmless when done twice."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.end()
            self._workers.clear()

    def _started(self) -> "_Worker":
        worker = _Worker(self._limits)
        with self._lock:
            if self._closed:
                worker.end()
            else:
                self._workers.add(worker)
        return worker


class _Worker:
    """A process that answers recordings with waveforms, from this side."""

    def __init__(self, limits: DecoderLimits) -> None:
        # Its own session: an interrupt at the terminal is the service's to answer. Without `-m` of the package's own
        # program: whatever embeds the service need not be importable again.
        environment = {**os.environ, **ALONE, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(limits.memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # FFmpeg may write there; what is wrong is in the answer
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._to: IO[bytes] = self.process.stdin
        self._back: IO[bytes] = self.process.stdout
        self._ready = self._late = False

    def read(self, content: bytes, max_seconds: float, limits: DecoderLimits) -> Recording:
        """As the pool's."""
        timer = threading.Timer(limits.seconds, self._end_late)
        timer.daemon = True
        try:
            if not self._ready:
                _read(self._back)
                self._ready = True
            timer.start()
            _write(self._to, json.dumps({"max_seconds": max_seconds}).encode(), content)
            answer, samples = json.loads(_read(self._back)), _read(self._back)
        except (OSError, ValueError, EOFError):
            raise self._why_it_died(limits) from None
        finally:
            timer.cancel()
        if answer.pop("last"):
            self.process.wait()
        if "error" in answer:
            raise _error(answer)
        waveform = np.frombuffer(samples, np.float32)
        return Recording(waveform=waveform, **answer)

    def _end_late(self) -> None:
        self._late = True
        self.process.kill()

    def _why_it_died(self, limits: DecoderLimits) -> Speech2FaceError:
        status = self.process.wait()
        if self._late:
            return RecordingTooLong(f"the recording takes over {limits.seconds:g} s to decode; cut or convert it")
        if status == ENDED:
            return too_much_memory(limits.memory_bytes)
        return CorruptRecording("the recording ended the process that decoded it; convert it to WAV or FLAC")

    def end(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.wait()
        for pipe in (self._to, self._back):
            with contextlib.suppress(OSError):
                pipe.close()


def too_much_memory(most: int) -> RecordingTooLong:
    """What a recording is told that claims more than its worker may have."""
    return RecordingTooLong(f"the recording takes over {most // MIB} MiB to decode; cut or convert it")


def _error(answer: Mapping[str, Any]) -> Speech2FaceError:
    kind = getattr(errors, str(answer["error"]), CorruptRecording)
    error: Speech2FaceError = kind(str(answer["text"]))
    return error


def _write(file: IO[bytes] | BinaryIO, *parts: bytes | memoryview) -> None:
    for part in parts:
        file.write(len(part).to_bytes(LENGTH_BYTES))
        file.write(part)
    file.flush()


def _read(file: IO[bytes] | BinaryIO) -> bytes:
    """The next part.

    Raises:
        EOFError: there is none, or it is not whole.
    """
    length = int.from_bytes(_whole(file, LENGTH_BYTES))
    return _whole(file, length)


def _whole(file: IO[bytes] | BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise EOFError
    return content


# --- The worker's own side.


def bound(memory_bytes: int) -> None:
    """Let this process have so much memory beyond what it has now, and write no files.

    By the system where it can (Linux); where it only says how much is used, a thread looks; elsewhere by time alone.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    with contextlib.suppress(OSError):  # Linux: where all memory is gone this process goes first, not whom it serves
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(ValueError, OSError):
        most = address_bytes() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return
    watch(memory_bytes)


def watch(memory_bytes: int) -> None:
    """End this process once it has used so much more than now; for systems that count memory but do not bound it."""
    import resource
    import time

    def used() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    most = used() + memory_bytes

    def look() -> None:
        while used() < most:
            time.sleep(WATCHED_SECONDS)
        os._exit(ENDED)

    threading.Thread(target=look, daemon=True).start()


def address_bytes() -> int:
    """How many addresses this process has reserved.

    Raises:
        OSError: the system does not say.
    """
    import resource

    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def answer(request: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    """What is said of one recording, and its samples.

    Raises:
        MemoryError: it takes more than there is.
    """
    try:
        recording = read_recording(content, max_seconds=float(request["max_seconds"]))
    except Speech2FaceError as error:
        if _is_of_memory(error):
            raise MemoryError from None
        return {"error": type(error).__name__, "text": str(error)}, b""
    facts = {each.name: getattr(recording, each.name) for each in fields(recording) if each.name != "waveform"}
    return facts, recording.waveform.tobytes()


def _is_of_memory(error: BaseException) -> bool:
    """Whether it came of too little memory: Python's error, or FFmpeg's ENOMEM, which PyAV makes a MemoryError too."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, MemoryError) or (cause is not None and _is_of_memory(cause))


def main() -> None:
    """Answer recordings until nobody sends any more."""
    import av.audio.fifo
    import av.audio.resampler  # all that is needed is loaded before memory is bounded  # noqa: F401

    from speech2face.audio import speech  # noqa: F401

    # What a library prints must not get between the answers.
    back = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    memory_bytes = int(sys.argv[1])
    bound(memory_bytes)
    _write(back, b"ready")
    worn = _worn(memory_bytes // WORN_SHARE)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, content = json.loads(_read(sys.stdin.buffer)), _read(sys.stdin.buffer)
            try:
                facts, samples = answer(request, content)
            except MemoryError:  # what is left is in pieces: the next recording gets another process
                os._exit(ENDED)
            del content
            last = worn()
            _write(back, json.dumps(facts | {"last": last}).encode(), samples)
            if last:
                return


def _worn(most_bytes: int) -> Callable[[], bool]:
    """Tells whether recordings that are over have left this process larger by so much than it is now."""
    try:
        first = address_bytes()
    except (OSError, ModuleNotFoundError):
        return lambda: False
    return lambda: address_bytes() - first > most_bytes


if __name__ == "__main__":
    main()
