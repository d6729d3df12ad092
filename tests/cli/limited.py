"""Command lines in processes of their own, with little time and memory.

Memory that runs out in a thread of a library, or an alarm within it, can end a process
at once: that must not be the one which runs the tests. Importing takes seconds, so one
process imports everything, and a copy of it runs each command.
"""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import warnings

SECONDS = 4.0  # that a command may take; what takes longer is honest work
MEMORY = 4 << 30  # bytes that it may take beside what the imports have
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # the copy of a process has none of the others


class Commands:
    """Runs command lines; close it in the end."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        paths = [str(path) for path in pathlib.Path(__file__).resolve().parents[:3]]
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, words: list[str]) -> tuple[int, str, str]:
        """Exit status (negative: the signal that ended it), output and errors."""
        order = {"words": words, "folder": str(self.folder)}
        order["settings"] = {k: v for k, v in os.environ.items() if k[:4] == "STL_"}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        printed = ((self.folder / name).read_text() for name in ("output", "errors"))
        return status, *printed

    def close(self) -> None:
        """End the process that waits for command lines."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve() -> None:
    """Run every command line that comes in a copy of this process."""
    import small

    from helpers import __main__
    from helpers.cli import command_line
    from helpers.models import backbones

    warnings.simplefilter("ignore")
    backbones.build = small.backbone
    usual = command_line.parse

    def parse(arguments):  # what it takes depends on the method, not on a number
        parsed = usual(arguments)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        return parsed

    command_line.parse = parse
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            run(__main__.main, **order)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def run(main, words: list[str], folder: str, settings: dict[str, str]) -> None:
    """In the copy: do what the words say, and end."""
    for number, name in ((1, "output"), (2, "errors")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(os.path.join(folder, name), flags), number)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    os.environ |= settings
    sys.argv = ["helpers", *words]
    try:
        status = main()
    except SystemExit as stopped:
        status = stopped.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 99
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
