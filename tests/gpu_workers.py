"""A worker whose stages go wrong in every way, for the supervisor's test."""

import os
import time


def work(connection, note):
    """Do what the stages' names ask for; see ``benchmarks.gpu.supervisor``."""
    print("a worker prints", flush=True)
    connection.send(("ready",))
    while True:
        try:
            _, name, deadline, results = connection.recv()
        except EOFError:
            return
        row = {"stage": name, "process": os.getpid(), "note": note}
        row["before"] = [stage["name"] for stage in results["stages"]]
        row["budget"] = deadline - time.time()
        connection.send(("row", "seen", row))
        if name == "raises":
            connection.send(("failed", "it raised", True))
        elif name == "breaks":  # as a GPU after an illegal access
            connection.send(("failed", "it broke", False))
            return
        elif name == "dies":
            os._exit(1)
        elif name in ("hangs", "endless"):
            time.sleep(1_000)
        else:
            connection.send(("say", "a line"))
            connection.send(("done", "", True))
