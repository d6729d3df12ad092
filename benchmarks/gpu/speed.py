"""Stages that measure speed: eager and compiled steps, lightly's pipeline, a profile.

A step's profile and the check for waiting need no change of the loop: it calls ``bar``
after every step, and these bars do more than show progress.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import profiler
from torch.autograd import DeviceType

from benchmarks import measuring, throughput
from benchmarks.gpu import plan, project
from benchmarks.gpu.worker import Bench

FIRST = "simclr"  # the method that everything is measured with; the others in part
SHOWN = 12  # rows of a profile


def speed(bench: Bench) -> None:
    """Eager steps, the bare step, waiting, lightly's pipeline, and a profile."""
    sizes = bench.asked.sizes
    (side, stem), *_ = sizes.views
    batch = sizes.speed_batches[0]
    each = [(v, b) for v in sizes.views for b in sizes.speed_batches]
    eager = functools.partial(attempt, bench, 6, steps, mode="eager")
    for (wide, kind), count in each:
        eager(method=FIRST, side=wide, stem=kind, batch=count)
    attempt(bench, 4, waiting, method=FIRST, side=side, stem=stem, batch=batch)
    for method in plan.METHODS:
        if method != FIRST:
            eager(method=method, side=side, stem=stem, batch=batch)
            attempt(bench, 4, waiting, method=method, side=side, stem=stem, batch=batch)
    # Workers are forked, which the profiler's threads may not survive: it comes last.
    for wide, kind in sizes.views:
        if not attempt(
            bench, 8, lightly, method=FIRST, side=wide, stem=kind, batch=batch
        ):
            break  # workers that hang once would do so again
    for count in (batch, sizes.speed_batches[-1]):
        attempt(bench, 8, profile, method=FIRST, side=side, stem=stem, batch=count)


def compiled(bench: Bench) -> None:
    """Compiled steps, with CUDA graphs and without; each compiles for half a minute."""
    sizes = bench.asked.sizes
    small, large = sizes.speed_batches[0], sizes.speed_batches[-1]
    jobs = [(mode, n) for n in (small, large) for mode in ("compiled", "CUDA graphs")]
    for side, stem in sizes.views[:1] if bench.asked.rehearse else sizes.views:
        for mode, batch in jobs:
            what = {"method": FIRST, "side": side, "stem": stem, "batch": batch}
            attempt(bench, 25, steps, mode=mode, **what)


def attempt(bench: Bench, needed: float, job: Callable, **what: Any) -> bool:
    """Do a job if the stage has so many seconds for it; an error becomes its row.

    Returns:
        Whether it was done.
    """
    title = f"{job.__name__}, " + ", ".join(str(value) for value in what.values())
    if not bench.asked.rehearse and bench.left < needed:
        bench.report("left_out", job=title)
        return False
    done = True
    try:
        job(bench, **what)
    except Exception as error:  # out of memory, or a mode that this torch cannot do
        done = False
        text = traceback.format_exc(limit=-3)
        bench.report("errors", job=title, error=repr(error)[:300], traceback=text)
        bench.say(f"{title}: {type(error).__name__}")
    project.tidy()
    return done


def session(bench: Bench, method: str, side: int, stem: str, batch: int) -> Any:
    """A run of this size before its first step, on the run's own images."""
    changes = dict(bench.asked.sizes.changes) | {"image_size": side, "stem": stem}
    changes |= {"image_size_schedule": (), "batch_size": batch, "compile": "off"}
    chosen = project.configure(method, "long", learning_rate=1e-3, **changes)
    return project.start(chosen, project.load(bench.asked.data))


def steps(
    bench: Bench, *, method: str, side: int, stem: str, batch: int, mode: str
) -> None:
    """Images a second of the loop and of the bare step, in turns."""
    sizes, dataset = bench.asked.sizes, project.load(bench.asked.data)
    run = session(bench, method, side, stem, batch)
    if mode != "eager":
        how = {"mode": "reduce-overhead"} if mode == "CUDA graphs" else {}
        if sizes.compiler:
            how = {"backend": sizes.compiler}
        project.compile_method(run, **how)
    started = time.perf_counter()
    measuring.train(run, 2)
    first = time.perf_counter() - started
    ours, bare = functools.partial(measuring.train, run), project.bare(run)
    count = measuring.steps_lasting(sizes.seconds, ours, batch)
    bare(2)
    measuring.forget_peak()
    turns = {"ours": lambda: ours(count), "bare": lambda: bare(count)}
    rates = measuring.in_turns(turns, sizes.rounds)
    rate = statistics.median(rates["ours"])
    flops = project.gigaflops(run, dataset)
    peak = throughput.peak()
    row = {
        "method": method,
        "side": side,
        "stem": stem,
        "batch": batch,
        "mode": mode,
        "ours": rate,
        "bare": statistics.median(rates["bare"]),
        "of_bare": measuring.ratio(rates["ours"], rates["bare"]),
        "gigaflops": flops,
        "tflops": rate * flops / 1e3,
        "of_peak": rate * flops / 1e3 / peak if peak else None,
        "peak_memory_gb": measuring.peak_memory(),
        "first_steps_seconds": first,
    }
    bench.report("speed", **row)
    bench.say(
        f"{method}, {side} px, {stem}, batch {batch}, {mode}: {rate:,.0f} images/s, "
        f"{row['of_bare']:.2f} of the bare step, {row['tflops']:.3g} TFLOP/s"
    )


def lightly(bench: Bench, *, method: str, side: int, stem: str, batch: int) -> None:
    """Images a second of lightly's pipeline with every core, over one epoch."""
    sizes, dataset = bench.asked.sizes, project.load(bench.asked.data)
    run = session(bench, method, side, stem, batch)
    count = 1 if bench.asked.rehearse else run.steps
    rate = project.lightly(run, dataset, count, sizes.workers)
    row = {"method": method, "side": side, "stem": stem, "batch": batch}
    bench.report("speed", **row, mode="lightly, all cores", ours=rate)
    bench.say(f"lightly, {method}, {side} px, {stem}: {rate:,.0f} images/s")


def waiting(bench: Bench, *, method: str, side: int, stem: str, batch: int) -> None:
    """Does the CPU ever wait for the GPU between two steps of the loop?"""
    run = session(bench, method, side, stem, batch)
    measuring.train(run, 2)
    count = min(bench.asked.sizes.watched, run.steps)
    row = {"method": method, "batch": batch, "steps": count - 2}
    if not on_gpu():
        bench.report("waiting", **row, result="not checked: there is no GPU")
        measuring.train(run, count, Bar({}))  # the rehearsal is of the bar
        return
    switch = torch.cuda.set_sync_debug_mode
    # The first step of an epoch sends its numbers, and the end reads the losses.
    bar = Bar({1: lambda: switch("error"), count - 1: lambda: switch("default")})
    try:
        measuring.train(run, count, bar)
        result = "no waiting"
    except RuntimeError as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{pathlib.Path(f.filename).name}:{f.lineno}" for f in frames]
        result = f"waits after step {bar.count}: {' > '.join(where[-4:])}: {error}"
    finally:
        switch("default")
    bench.report("waiting", **row, result=result)
    bench.say(f"waiting, {method}: {result[:100]}")


class Bar:
    """A progress bar that shows nothing and calls a function after certain steps."""

    def __init__(self, after: dict[int, Callable[[], Any]]) -> None:
        """Take the functions, by the number of steps done."""
        self.after, self.count = after, 0

    def update(self) -> None:
        """A step is done."""
        self.count += 1
        self.after.get(self.count, int)()


def profile(bench: Bench, *, method: str, side: int, stem: str, batch: int) -> None:
    """What a step consists of, on the GPU and on the CPU, and how long the GPU idles.

    The profiler slows the CPU down, so that the share of time in which the GPU has
    nothing to do is that of the kernels' sum in a step that was timed without it.
    """
    run = session(bench, method, side, stem, batch)
    measuring.train(run, 2)
    count = bench.asked.sizes.profiled
    timed = min(bench.asked.sizes.watched, run.steps)
    step = batch / measuring.train(run, timed)  # seconds
    kinds = [profiler.ProfilerActivity.CPU]
    kinds += [profiler.ProfilerActivity.CUDA] if on_gpu() else []
    with profiler.profile(activities=kinds) as found:
        measuring.train(run, count)
    # Ranges that a program names, such as an optimizer's step, contain other events.
    events = [e for e in found.key_averages() if not e.is_user_annotation]
    on_cpu = [e for e in events if e.device_type == DeviceType.CPU]
    kernels = [e for e in events if e.device_type == DeviceType.CUDA]
    busy = sum(e.self_device_time_total for e in kernels) / 1e6 / count
    what = {"method": method, "side": side, "stem": stem, "batch": batch}
    for where, some, spent in (
        ("GPU", kernels, lambda e: e.self_device_time_total),
        ("CPU", on_cpu, lambda e: e.self_cpu_time_total),
    ):
        whole = sum(map(spent, some))
        for event in sorted(some, key=spent, reverse=True)[:SHOWN]:
            bench.report(
                "profile",
                **what,
                where=where,
                name=event.key[:90],
                calls=event.count / count,
                milliseconds=spent(event) / 1e3 / count,
                share=spent(event) / whole,
            )
    bench.report(
        "steps",
        **what,
        milliseconds=1e3 * step,
        gpu_milliseconds=1e3 * busy if kernels else None,
        gpu_idle=max(0.0, 1 - busy / step) if kernels else None,
        kernels=sum(e.count for e in kernels) / count if kernels else None,
        cpu_operations=sum(e.count for e in on_cpu) / count,
    )


def on_gpu() -> bool:
    """Whether there is a GPU to wait for and to look into."""
    return torch.cuda.is_available()
