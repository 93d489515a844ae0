"""Simulate many seeds, or replay one: `make simulate ARGS="--seeds 1000 --hours 1"`, `ARGS="--seed 17 --verbose"`.

The last line is the result as JSON. Exit code 1 if a seed violates an invariant.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from functools import partial

from medagent.testing.simulation.journal import Violation
from medagent.testing.simulation.run import Result, simulate

SHOWN_FAILURES = 3


def attempt(seed: int, hours: float) -> Result | tuple[int, str, str]:
    """One seed; its violation as (seed, invariant, text), since an exception is not to cross processes."""
    try:
        return simulate(seed, hours=hours)
    except Violation as violation:
        return seed, violation.invariant, str(violation)


def replay(seed: int, hours: float, *, verbose: bool) -> int:
    """One seed, with its log; returns the exit code."""
    try:
        result = simulate(seed, hours=hours, keep_log=verbose)
    except Violation as violation:
        print(violation)
        return 1
    for line in result.log:
        print(line)
    print(json.dumps({"seed": seed, "steps": result.steps, "messages": result.messages, "digest": result.digest}))
    return 0


def run_all(seeds: range, hours: float, jobs: int) -> int:
    """All seeds, over processes; returns the exit code."""
    start = shown = time.monotonic()
    failures: list[tuple[int, str, str]] = []
    done, seconds, messages, starts = 0, 0.0, 0, 0
    # spawned, not forked: nothing of this process may get into a simulation
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for outcome in pool.imap_unordered(partial(attempt, hours=hours), seeds, chunksize=4):
            done += 1
            if isinstance(outcome, Result):
                seconds, messages, starts = seconds + outcome.seconds, messages + outcome.messages, starts + outcome.starts
            else:
                failures.append(outcome)
                if len(failures) <= SHOWN_FAILURES:
                    print(outcome[2], file=sys.stderr)
            if time.monotonic() - shown > 5:
                shown = time.monotonic()
                print(f"{done} of {len(seeds)} seeds, {len(failures)} violations", file=sys.stderr)
    spent = time.monotonic() - start
    result = {
        "seeds": done,
        "from": seeds.start,
        "hours_per_seed": hours,
        "violations": [{"seed": seed, "invariant": invariant} for seed, invariant, _ in sorted(failures)],
        "virtual_hours": round(seconds / 3600, 2),
        "messages": messages,
        "agent_starts": starts,
        "seconds": round(spent, 1),
        "seeds_per_second": round(done / spent, 2),
    }
    print(json.dumps(result))
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (default: 0)")
    parser.add_argument("--seed", type=int, help="replay this one, and no other")
    parser.add_argument("--verbose", action="store_true", help="with --seed: print the whole event log")
    parser.add_argument("--hours", type=float, default=0.05, help="virtual time with faults, of each seed (default: 0.05)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return replay(arguments.seed, arguments.hours, verbose=arguments.verbose)
    return run_all(range(arguments.first, arguments.first + arguments.seeds), arguments.hours, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
