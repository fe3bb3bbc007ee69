"""What claiming and completing a job costs: the series `queue`. README.md beside it says what it measures."""

import json
import statistics
import subprocess

from databases import BOTH
from stage import Failed, spread, verdict

GOAL = 0.7
WORKERS = (1, 4, 16, 32)
FALL = 0.9  # Two runs on a shared machine differ by less than a tenth.
LIMIT_S = 300


def queue(tools, work, options):
    """Claims and completes jobs by the store and by a bare loop, in turns, with 1 to 32 workers."""
    jobs, runs = (400, 1) if options.quick else (2000, options.given_runs or 3)
    lines = [
        f"### Claim and complete {jobs:,} jobs, {runs} runs each, in turns",
        "",
        "| database | workers | store jobs/s | bare jobs/s | ratio |",
        "|---|---|---|---|---|",
    ]
    judged = []
    for database in BOTH:
        before = 0.0
        for workers in WORKERS:
            print(f"queue: {workers} workers on {database.name}", flush=True)
            rates = {"store": [], "bare": []}
            for number in range(runs):
                order = ["store", "bare"] if number % 2 == 0 else ["bare", "store"]
                for by in order:
                    # A new database for each run: what the last one left behind is not this one's burden.
                    with database(work) as at:
                        rates[by].append(one(tools, at, by, workers, jobs))
            ratio = statistics.median(rates["store"]) / statistics.median(rates["bare"])
            cells = [database.name, str(workers), *(spread(rates[by], ",.0f") for by in ("store", "bare")), f"{ratio:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
            rate = statistics.median(rates["store"])
            judged.append((database.name, workers, ratio, rate >= before * FALL))
            before = max(before, rate)
    lines.append("")
    for name in dict.fromkeys(it[0] for it in judged):
        of = [it for it in judged if it[0] == name]
        least = min(it[2] for it in of)
        rises = all(it[3] for it in of)
        lines.append(f"* {name}: at least {least:.2f} × the bare loop (goal: {GOAL}; {verdict(least >= GOAL, options)})")
        lines.append(f"* {name}: not fewer with more workers ({verdict(rises, options)})")
    return lines


def one(tools, at, by, workers, jobs):
    """Returns the jobs a second of one run."""
    command = [str(tools["queue"]), at.url, by, str(workers), str(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise Failed(f"queue ended with {done.returncode}: {done.stderr[-500:]}")
    left = at.number("select count(*) from jobs where state <> 'completed'")
    if left:
        raise Failed(f"{left} jobs are not completed")
    rate = json.loads(done.stdout)["jobs_per_s"]
    print(f"  {by:6} {rate:9,.0f} jobs/s", flush=True)
    return rate


SERIES = {"queue": queue}
