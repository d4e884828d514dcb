"""Peak memory of a process and all that it starts: the driver, Spark's JVM, its Python workers."""

from __future__ import annotations

import threading
import time
from pathlib import Path


class Watch:
    """The largest resident memory of a process tree, in bytes, looked at every half second."""

    def __init__(self, pid: int) -> None:
        self.peak, self._pid, self._running = 0, pid, True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._running = False
        self._thread.join()

    def _look(self) -> None:
        while self._running:
            self.peak = max(self.peak, sum(_resident(pid) for pid in _tree(self._pid)))
            time.sleep(0.5)


def _tree(pid: int) -> list[int]:
    members = [pid]
    for parent in members:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                members += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return members


def _resident(pid: int) -> int:
    """Proportional share of memory: pages that forked workers share count once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
