# SPDX-License-Identifier: Apache-2.0
"""Work in several processes, each with a node of its own: most of a trial's time is one CPU's, in the verifier."""

import multiprocessing
import os
import random
import signal
import time
import traceback

SEED = 20261127
END = 0  # no task is begun after this (time.monotonic()); 0: all are done


def _begin(begin, tries=3):
    """On a busy machine a pod may take too long to come up."""
    for _ in range(tries - 1):
        try:
            return begin()
        except Exception:
            traceback.print_exc()
    return begin()


def _serve(begin, work, tasks, results):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ground = None
    try:
        while (task := tasks.get()) is not None and not (END and time.monotonic() > END):
            try:
                ground = ground or _begin(begin)
                for result in work(ground, task):
                    results.put(("result", result))
            except Exception:
                results.put(("trouble", f"{task}: {traceback.format_exc()}"))
                # Whatever it is that the node has come to: the next task gets another one.
                ground, old = None, ground
                if old:
                    old.close()
    finally:
        if ground:
            ground.close()
        results.put(("end", os.getpid()))


def share(jobs, begin, work, tasks, trouble):
    """
    Yields what work(begin(), task) yields for all tasks, in no order, or for as many as there was time for: they are
    shuffled, by a fixed seed. begin()'s value is closed in the end. A task that raises is told to trouble(text).
    """
    random.Random(SEED).shuffle(tasks)
    context = multiprocessing.get_context("fork")
    pending, results = context.Queue(), context.Queue()
    for task in [*tasks, *[None] * jobs]:
        pending.put(task)
    processes = [context.Process(target=_serve, args=(begin, work, pending, results))
                 for _ in range(jobs)]
    for process in processes:
        process.start()
    running = jobs
    while running:
        kind, value = results.get()
        if kind == "result":
            yield value
        elif kind == "trouble":
            trouble(value)
        else:
            running -= 1
    for process in processes:
        process.join()
