"""What an apply said, and when: to be laid beside what writers noticed at that moment."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_AROUND = 4.0
_EVERY = 0.02


@dataclass
class Trace:
    """Lines with their times (monotonic seconds)."""

    lines: list[tuple[float, str]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Note something now."""
        self.lines.append((time.monotonic(), text))

    def around(self, when: float) -> Iterator[str]:
        """Yield what was said in the seconds around a moment, with the distance to it."""
        for at, text in sorted(self.lines):
            if abs(at - when) < _AROUND:
                yield f"{at - when:+6.2f} s  {text}"

    def read(self, process: subprocess.Popen[str], *, patience: float) -> tuple[str, str]:
        """Return both outputs of a process at its end, and note each line of the second when it comes.

        Raises `subprocess.TimeoutExpired`; the process is killed then.
        """
        assert process.stdout is not None and process.stderr is not None
        err: list[str] = []
        out: list[str] = []

        def follow(stream: Iterator[str]) -> None:
            for line in stream:
                self.say(line.rstrip())
                err.append(line)

        threads = [
            threading.Thread(target=follow, args=(process.stderr,), daemon=True),
            threading.Thread(target=out.extend, args=(process.stdout,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        for thread in threads:
            thread.join(10)
        return "".join(out), "".join(err)

    @contextmanager
    def watching(self, gap: Callable[[], float], over: float) -> Iterator[None]:
        """Note all the while each gap that is longer than those before it, if it is longer than `over` seconds."""
        done = threading.Event()

        def watch() -> None:
            longest = over
            while not done.wait(_EVERY):
                if (now := gap()) > longest + _EVERY:
                    longest = now
                    self.say(f"--- no acknowledgement for {now:.2f} s")

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(10)
