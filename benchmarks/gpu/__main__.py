"""Ten minutes on a large GPU: speed, three methods, the best longer, labels, weights.

    python -m benchmarks.gpu --minutes 8 --data folder:imagenette96 --output runs/gpu

See benchmarks/README.md for what it writes.
"""

from __future__ import annotations

import datetime
import pathlib
import shlex
import shutil
import signal
import sys
import tempfile

import tyro

from benchmarks.gpu import plan, supervisor, worker

MEMORY = pathlib.Path("/dev/shm")  # files there cost no disk, where it is large enough
ROOM = 8 * 2**30  # bytes


def main(asked: plan.Settings) -> None:
    """Run the stages; whatever happens, it ends in time and keeps what there is."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = asked.work or pathlib.Path(tempfile.mkdtemp(dir=_fast()))
    work.mkdir(parents=True, exist_ok=True)
    asked.output.mkdir(parents=True, exist_ok=True)
    about = {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]]),
        "minutes": asked.minutes,
        "data": asked.data,
        "labels": asked.labels,
        "changes": asked.changes,
        "rehearse": asked.rehearse,
        "commit": asked.commit,
    }
    board = supervisor.Board(asked.output, about, _render)
    shares = {name: plan.SHARES[name] for name in asked.stages}
    try:
        arguments = (asked, work)
        log = work / "log.txt"
        supervisor.supervise(shares, board, worker.work, arguments, log)
    finally:
        if asked.work is None:
            shutil.rmtree(work, ignore_errors=True)
    print(f"Everything is in {asked.output}: begin with summary.md.")


def _render(found: dict) -> str:
    from benchmarks.gpu import summary  # takes seconds, while the worker starts

    return summary.render(found)


def _fast() -> pathlib.Path | None:
    """Memory that looks like a folder, if there is enough of it."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if has_room else None


if __name__ == "__main__":
    main(tyro.cli(plan.Settings, description=__doc__))
