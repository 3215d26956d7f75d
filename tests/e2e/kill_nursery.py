"""Imports everything once, then forks a training for every line on stdin, which holds a plan as JSON.

Prints the pid when the child has been forked and its wait status when it has ended; the test kills it in between.
"""

import json
import os
import sys

from unsay.config.decode import decode
from unsay.errors import UnsayError
from unsay.models.lm import LM
from unsay.runs.run import Run
from unsay.testing import facts


def work(job):
    plan = decode(job)
    with Run.start(plan) as run:
        lm = LM.load(plan.model)
        plan.method.unlearn(lm, facts(), run).save(run.path("model"))


def child(job):
    """A training from plan to saved folder, in a process of its own."""
    try:
        work(job)
    except UnsayError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = child(json.loads(line))
            finally:
                os._exit(code)
        sys.stdout.write(f"pid {pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"status {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
