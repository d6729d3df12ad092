"""Kills trainings, fills disks and takes mirrors away; prints a table of what held.

    python -m tests.torture --kills 500

Every method trains a small network, in as many sittings as it is killed. At the end
its state must be that of a run that nothing happened to, bit for bit. All sittings are
forks of one process, so that none has to import torch again: POSIX systems only.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import mmap
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (0, 1)]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "training"))

import small  # noqa: E402
import test_pretraining  # noqa: E402
import torch  # noqa: E402

from helpers import methods  # noqa: E402
from helpers.models import backbones, weight_files  # noqa: E402
from helpers.training import (  # noqa: E402
    checkpoints,
    pretraining,
    settings,
    signals,
    watch,
)

EPOCHS = 6  # of 3 steps
SAVE_SECONDS = 0.2  # between two states within an epoch
PATIENCE = 1_200  # seconds that a sitting may take, on a busy machine
# Calls that touch files, and which of their arguments is a file that they write.
OPERATIONS = (
    (torch, "save", 1),
    (shutil, "copyfile", 1),
    (pathlib.Path, "write_bytes", 0),
    (pathlib.Path, "write_text", 0),
    (pathlib.Path, "unlink", None),
    (os, "replace", None),
    (os, "fsync", None),
)
KILLED, TERMINATED = -signal.SIGKILL, 128 + signal.SIGTERM
KINDS = (
    "SIGKILL at a random instant",
    "SIGKILL before, in or after a file operation",
    "SIGTERM at a random instant",
    "disk full, over quota or failing, then well again",
    "mirror full, over quota or failing",
    "mirror gone, and back",
)


class Case:
    """A run that is tortured: its method, its folders, and where it has got to."""

    def __init__(self, root: pathlib.Path, name: str, seed: int) -> None:
        changes = {"epochs": EPOCHS, "seed": seed, "hidden_dim": 64}
        self.settings = settings.configure(name, **small.SETTINGS | changes)
        self.root, self.log = root, root / "output"
        self.here, self.drive = root / "here", root / "drive"
        self.name = self.settings.run_name(DATASET)
        # Seconds of finished steps that are not saved; whether the mirror was seen.
        self.shared = mmap.mmap(-1, 9)
        root.mkdir(parents=True)

    def train(self) -> None:
        """Train in this process, saving often."""
        pretraining.pretrain(
            self.settings,
            DATASET,
            folder=self.here,
            mirror=self.drive,
            save_minutes=SAVE_SECONDS / 60,
        )

    @property
    def unsaved(self) -> float:
        """Seconds of training, in finished steps, that would be lost now."""
        return struct.unpack("d", self.shared[:8])[0]

    def count(self) -> None:
        """In the process that trains: keep that number up to date."""
        after_step, save = watch.Watch.after_step, watch.Watch.save
        train_epoch, since = pretraining.train_epoch, time.monotonic()
        begin_with_mirror = checkpoints.Store.begin

        def looked(*args, **kwargs):
            begin_with_mirror(*args, **kwargs)
            self.shared[8] = 1

        checkpoints.Store.begin = looked

        def begin(*args):
            nonlocal since
            since = time.monotonic()
            return train_epoch(*args)

        def step(watching):
            nonlocal since
            now = time.monotonic()
            self.shared[:8] = struct.pack("d", self.unsaved + now - since)
            since = now
            return after_step(watching)

        def saved(watching, action):
            nonlocal since
            save(watching, action)
            self.shared[:8], since = bytes(8), time.monotonic()

        pretraining.train_epoch = begin
        watch.Watch.after_step, watch.Watch.save = step, saved

    def sit(self, prepare=lambda: None, meanwhile=lambda process: None) -> int:
        """Train in a process of its own until it ends; its exit status.

        Args:
            prepare: called in that process before.
            meanwhile: called in this one with the number of that process.
        """
        self.shared[:] = bytes(9)
        process = os.fork()
        if process == 0:
            status = 99
            try:
                output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(output, 1), os.dup2(output, 2)
                self.count()
                prepare()
                with signals.handled(signals.stop_at_once):
                    self.train()
                status = 0
            except KeyboardInterrupt as stopped:
                print(stopped)
                status = getattr(stopped, "status", 130)
            except OSError as error:
                print(error)
                status = 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        meanwhile(process)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return 98  # hung

    def faults(self) -> list[str]:
        """What is wrong with the files as they lie there."""
        found = []
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            store = checkpoints.Store(self.here / self.name, self.drive / self.name)
            store.load_state()
            found += [str(warning.message) for warning in warned]
        for file in self.root.glob(f"*/{self.name}/{weight_files.BACKBONE_FILE}"):
            with contextlib.suppress(FileNotFoundError):
                weight_files.load_backbone(file)
        return found

    def faults_at_the_end(self, whole: dict) -> list[str]:
        """What is wrong with a finished run, beside the state of an untouched one."""
        found = self.faults()
        state = checkpoints.Store(self.here / self.name).load_state()
        try:
            test_pretraining.assert_same(state, whole)
        except AssertionError as error:
            found.append(f"another state: {str(error)[:80]}")
        strays = [*self.root.glob("*/*/.[0-9]*-*"), *self.root.glob("*/*/*.tmp")]
        found += [f"left behind: {file.name}" for file in strays]
        table = self.here / self.name / "logs" / "metrics.csv"
        rows = len(table.read_text().splitlines()) - 1
        if rows != EPOCHS:
            found.append(f"{rows} rows in metrics.csv")
        return found


def strike(when: int, hit) -> None:
    """Call ``hit`` in place of every file operation from the when-th on."""
    count = 0

    def wrap(owner, name, written):
        real = getattr(owner, name)

        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            file = None if written is None else pathlib.Path(args[written])
            if count < when:
                return real(*args, **kwargs)
            return hit(lambda: real(*args, **kwargs), file, args)

        setattr(owner, name, wrapped)

    for operation in OPERATIONS:
        wrap(*operation)


def cut(file: pathlib.Path | None, dice: random.Random) -> None:
    """Leave a part of a file, as a write does that is interrupted."""
    if file is not None and file.is_file():
        os.truncate(file, int(dice.random() * file.stat().st_size))


def killing(dice: random.Random):
    """A hit that ends the process before, in or after the operation."""
    moment = dice.choice(("before", "in", "after"))

    def hit(real, file, args):
        if moment != "before":
            real()
        if moment == "in":
            cut(file, dice)
        os.kill(os.getpid(), signal.SIGKILL)

    return hit


def failing(place: pathlib.Path, dice: random.Random):
    """A hit that lets every write below a folder fail half-way."""
    number, text = dice.choice(
        [
            (28, "No space left on device"),
            (122, "Disk quota exceeded"),
            (5, "Input/output error"),
        ]
    )
    renames = dice.random() < 0.5

    def hit(real, file, args):
        below = any(str(place) in str(one) for one in args)
        if below and (file is not None or (renames and len(args) == 2)):
            if file is not None:
                real()
                cut(file, dice)
            raise OSError(number, text)
        return real()

    return hit


class Torture:
    """All that is done to the runs, counted."""

    def __init__(self, root: pathlib.Path, seed: int) -> None:
        self.root, self.dice = root, random.Random(seed)
        self.tried, self.broke = collections.Counter(), collections.Counter()
        self.said: list[str] = []
        self.lost, self.whole, self.cases = 0.0, 0, 0

    def blame(self, kind: str, case: Case, faults: list[str]) -> None:
        if faults:
            self.broke[kind] += 1
            self.said.append(f"{case.settings.method}, {kind}: {'; '.join(faults)}")

    def once(self, case: Case, kind: str) -> bool:
        """Do something to a run; whether the run is finished."""
        dice = self.dice
        number = KINDS.index(kind)
        pause = dice.uniform(0, self.longest)

        def later(process):
            time.sleep(pause)
            if number == 0:
                self.lost = max(self.lost, case.unsaved)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL if number == 0 else signal.SIGTERM)

        def without_mirror(process):
            gone, began = case.drive.with_name("unmounted"), time.monotonic()
            # One that is not there at the start is made: nobody can know better.
            while not case.shared[8] and time.monotonic() - began < PATIENCE:
                time.sleep(0.005)
            time.sleep(pause)
            if case.drive.is_dir():
                case.drive.rename(gone)
            time.sleep(dice.uniform(0, 1))
            if gone.is_dir() and not case.drive.exists():
                gone.rename(case.drive)

        when = dice.randrange(1, 40)
        status = {
            0: lambda: case.sit(meanwhile=later),
            1: lambda: case.sit(lambda: strike(when, killing(dice))),
            2: lambda: case.sit(meanwhile=later),
            3: lambda: case.sit(lambda: strike(when, failing(case.here, dice))),
            4: lambda: case.sit(lambda: strike(when, failing(case.drive, dice))),
            5: lambda: case.sit(meanwhile=without_mirror),
        }[number]()
        expected = ({KILLED}, {KILLED}, {TERMINATED, -signal.SIGTERM}, {1}, (), ())
        happened = number >= 4 or status != 0
        self.tried[kind] += happened
        faults = case.faults()
        if status not in {0, *expected[number]}:
            last = case.log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            faults.append(f"exit status {status}: {' '.join(last)[:200]}")
        if case.drive.with_name("unmounted").exists():
            faults.append("the mirror was made again where it had been")
            shutil.rmtree(case.drive.with_name("unmounted"))
        self.blame(kind, case, faults)
        return status == 0

    def torture(self, name: str, kills: int, until: float) -> None:
        """Torture runs of a method until it has been struck so often, or time is up."""
        before = self.tried.total()
        while self.tried.total() - before < kills and time.monotonic() < until:
            seed = self.cases
            self.cases += 1
            whole = Case(self.root / f"{name}-{seed}-whole", name, seed)
            begun = time.monotonic()
            assert whole.sit() == 0, whole.log.read_text()
            self.longest = time.monotonic() - begun
            state = checkpoints.Store(whole.here / whole.name).load_state()
            case = Case(self.root / f"{name}-{seed}", name, seed)
            weights = (4, 6, 2, 2, 1, 1)
            while self.tried.total() - before < kills:
                (kind,) = self.dice.choices(KINDS, weights)
                if self.once(case, kind) or time.monotonic() > until:
                    break
            faults = [] if case.sit() == 0 else [case.log.read_text()[-200:]]
            faults += case.faults_at_the_end(state)
            self.blame(f"a whole run of {name}", case, faults)
            self.whole += not faults
            for one in (whole, case):
                shutil.rmtree(one.root)

    def table(self) -> str:
        """What was tried, what held and what broke, in Markdown."""
        lines = ["| what | tried | held | broke |", "|---|---|---|---|"]
        for kind in KINDS:
            tried, broke = self.tried[kind], self.broke[kind]
            lines.append(f"| {kind} | {tried} | {tried - broke} | {broke} |")
        total, broke = self.tried.total(), sum(self.broke[kind] for kind in KINDS)
        lines.append(f"| all | {total} | {total - broke} | {broke} |")
        lines.append(
            f"| runs at their end: same state bit for bit, nothing left behind | "
            f"{self.cases} | {self.whole} | {self.cases - self.whole} |"
        )
        lines.append("")
        lines.append(
            f"Most training lost at a SIGKILL: {self.lost:.2f} s, where a state is "
            f"saved every {SAVE_SECONDS} s."
        )
        return "\n".join([*lines, *self.said])


DATASET = small.dataset()


def main() -> int:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=list(methods.METHODS))
    args = parser.parse_args()
    torch.set_num_threads(1)  # a fork of a process with more may hang
    backbones.build = small.backbone
    begun, share = time.monotonic(), 60 * args.minutes / len(args.methods)
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(pathlib.Path(folder), args.seed)
        try:
            for number, name in enumerate(args.methods, start=1):
                goal = args.kills * number // len(args.methods)
                until = begun + share * number
                torture.torture(name, goal - torture.tried.total(), until)
                print(f"{name}: {torture.tried.total()} of {args.kills}", flush=True)
        finally:  # also of what was tried before an error or Ctrl-C
            print(torture.table(), flush=True)
    return int(bool(torture.broke))


if __name__ == "__main__":
    sys.exit(main())
