"""Trains in one, two and four processes and in changing numbers of them.

    python -m tests.many_processes

prints how far their losses are from those of one process. All processes are forks of
one, so that torch is imported once: POSIX systems only.
"""

import os
import pathlib
import signal
import socket
import sys
import tempfile
import time
import traceback

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (0, 1)]

import small  # noqa: E402
import torch  # noqa: E402
import two_processes  # noqa: E402

from helpers import __main__, hardware, methods  # noqa: E402
from helpers.models import backbones  # noqa: E402

METHODS = ("byol", "pirl", "simclr", "swav", "moco", "dino")
# How many processes train one after the other, each number for a share of the epochs.
PLANS = {"1": (1,), "2": (2,), "4": (4,)}
PLANS |= {"1-4-2-1": (1, 4, 2, 1), "2-1-4-2": (2, 1, 4, 2)}
EPOCHS, SHORT = 8, 4  # of three steps
SITTING = "pretrain byol --data demo-tiny --batch-size 32 --size 20 --epochs 2"
PATIENCE = 60.0  # seconds


def together(count, action, output):
    """Do something in several processes.

    Args:
        count: of the processes.
        action: called with each process's number, from 0 on; returns an exit status.
        output: folder for what they print, a file for each.

    Returns:
        The exit status of each, and the seconds from the first end to the last.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = {}
    for rank in range(count):
        process = os.fork()
        if process == 0:
            status = 99
            try:
                for number in (1, 2):
                    file = output / f"{rank}-{number}"
                    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
                shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
                own = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0}
                where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                everything = {**shared, **own, **where, "TORCHELASTIC_RUN_ID": "tests"}
                if count > 1:
                    os.environ |= {key: str(one) for key, one in everything.items()}
                status = action(rank)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(status)
        started[process] = rank
    statuses, ends = {}, []
    deadline = time.monotonic() + PATIENCE * (1 + count)
    while started and time.monotonic() < deadline:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            statuses[started.pop(process)] = os.waitstatus_to_exitcode(status)
            ends.append(time.monotonic())
        else:
            time.sleep(0.02)
    for process in started:  # these hang
        os.kill(process, signal.SIGKILL)
    return [statuses.get(rank, "hangs") for rank in range(count)], ends[-1] - ends[0]


def train(folder, epochs, plans):
    """Losses and weights of methods, by the numbers of processes that train them.

    Args:
        folder: for runs and what is printed.
        epochs: in all.
        plans: a method's names by those of the plans.
    """
    for plan, names in plans.items():
        counts = PLANS[plan]
        for number, count in enumerate(counts, start=1):

            def action(rank, plan=plan, count=count, names=names, number=number):
                until = epochs * number // len(PLANS[plan])
                for name in names:
                    made = two_processes.train(
                        name, folder / plan, count, until, epochs
                    )
                    if rank == 0:
                        torch.save(made, folder / f"{plan}-{name}.pt")
                return 0

            output = folder / f"{plan}, {number}"
            output.mkdir()
            statuses, _ = together(count, action, output)
            said = [file.read_text("utf-8", "replace") for file in output.glob("*-2")]
            assert set(statuses) == {0}, (plan, statuses, "".join(said)[-3_000:])
    return {
        plan: {
            name: torch.load(folder / f"{plan}-{name}.pt", weights_only=True)
            for name in names
        }
        for plan, names in plans.items()
    }


def lose_one(folder, rank_lost=1, count=4):
    """Kill one of the processes of a command, and give the command again to two.

    Returns:
        What happened in both sittings.
    """

    class Killed(methods.METHODS["byol"]):
        def before_step(self, progress):
            super().before_step(progress)
            if progress > 0.5 and os.environ["RANK"] == str(rank_lost):
                os.kill(os.getpid(), signal.SIGKILL)

    def command(processes):
        def action(rank):
            kept = [f"--checkpoints={folder / 'runs'}", f"--devices={processes}"]
            sys.argv = ["helpers", *SITTING.split(), *kept]
            return __main__.main()

        return action

    sittings = {}
    usual = methods.METHODS["byol"]
    for processes, method in ((count, Killed), (2, usual)):
        output = folder / f"lost of {processes}"
        output.mkdir()
        methods.METHODS["byol"] = method
        statuses, seconds = together(processes, command(processes), output)
        said = [
            [(output / f"{rank}-{n}").read_text("utf-8", "replace") for n in (1, 2)]
            for rank in range(processes)
        ]
        sittings[processes] = {"statuses": statuses, "seconds": seconds, "said": said}
    methods.METHODS["byol"] = usual
    return sittings


def furthest(found):
    """The largest relative differences of the losses to those of one process."""
    differences = {}
    for plan in found.keys() - {"1"}:
        for name, made in found[plan].items():
            one = found["1"][name]["loss"]
            differences[plan, name] = ((made["loss"] - one) / one).abs().max().item()
    return differences


def main(folder, epochs, plans):
    """Train all, and lose a process of a run."""
    torch.set_num_threads(1)
    backbones.build = small.backbone
    hardware.precision = lambda: "32-true"
    os.environ |= {"STL_DATA_ROOT": str(folder / "data"), "OMP_NUM_THREADS": "1"}
    return {"train": train(folder, epochs, plans), "lost": lose_one(folder)}


if __name__ == "__main__":
    if len(sys.argv) > 1:  # of a test
        folder = pathlib.Path(sys.argv[1])
        plans = {"1": METHODS, "1-4-2-1": METHODS, "2-1-4-2": ("moco",)}
        torch.save(main(folder, SHORT, plans), folder / "results.pt")
    else:
        with tempfile.TemporaryDirectory() as folder:
            results = main(pathlib.Path(folder), EPOCHS, dict.fromkeys(PLANS, METHODS))
        for (plan, name), most in sorted(furthest(results["train"]).items()):
            print(f"{name} in {plan} process(es): losses differ by {most:.1e} at most")
