#!/usr/bin/env python3
"""Compares `syncline` with the ideal client, and its memory at two sizes. README.md beside it says what is measured.

It starts one simulator per series and stops it in any case. It needs nothing but Python and cargo.
"""

import argparse
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import claims
import faces
from stage import MIB, ROOT, TARGET, TOKEN, Failed, Sim, add_source, measure, spread, verdict

RESULTS = ROOT / "bench" / "results.md"


def run_ideal(tools, sim, folder, limit_s):
    command = [tools["ideal"], "--base", sim.base, "--database", folder / "syncline.db", "--token", TOKEN]
    return measure(command, folder, limit_s)


def run_syncline(tools, sim, folder, limit_s):
    """Adds the source, which is set-up, and measures the sync alone."""
    add_source(tools, sim, folder)
    figures = measure([tools["syncline"], "sync", "start", "--source", "bench", "--group", "commits", "--wait", "--json"], folder, limit_s)
    if figures["said"].get("errors"):
        raise Failed(f"the sync had errors: {figures['said']['errors']}")
    return figures


# The series that measure something else than a sync.
OTHERS = {**faces.SERIES, **claims.SERIES}

CLIENTS = {"ideal": run_ideal, "syncline": run_syncline}


def one_run(name, tools, sim, work, limit_s):
    """Runs a client in a fresh folder and returns its figures and the folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=work))
    os.sync()  # What the last run left to be written is not this run's burden.
    before = sim.cpu_s()
    figures = CLIENTS[name](tools, sim, folder, limit_s)
    figures["sim_cpu"] = sim.cpu_s() - before
    figures["requests"] = figures["said"].get("requests")
    print(
        f"  {name:9} wall {figures['wall']:7.2f} s   cpu {figures['cpu']:6.2f} s   peak {figures['memory'] / MIB:6.1f} MiB   "
        f"sim {figures['sim_cpu']:6.2f} s   {figures['requests']} requests",
        flush=True,
    )
    return figures, folder


# What both databases must agree on, byte for byte: keys, then values. When something was seen is each one's own.
SAME = {
    "commits": (
        "source_id repository_id sha",
        "message author_name author_email author_login authored_at committer_name committer_email committed_at "
        "jira_key jira_keys url raw landing_hash deleted_at",
    ),
    "commit_parents": ("source_id repository_id sha position", "parent_sha"),
    "branches": ("source_id repository_id name", "head_sha protected raw landing_hash deleted_at"),
}


def check_same(ideal, syncline, expected):
    """Fails unless both folders hold the same rows, and as many commits as the world has."""
    check_counts([ideal, syncline], expected)
    database = sqlite3.connect(ideal / "syncline.db")
    try:
        database.execute("attach ? as other", (str(syncline / "syncline.db"),))
        for table, (keys, values) in SAME.items():
            counts = [database.execute(f"select count(*) from {at}.{table}").fetchone()[0] for at in ("main", "other")]
            on = " and ".join(f"a.{key} = b.{key}" for key in keys.split())
            differs = " or ".join(f"a.{value} is not b.{value}" for value in values.split())
            sql = f"select count(*) from main.{table} a left join other.{table} b on {on} where b.source_id is null or {differs}"
            different = database.execute(sql).fetchone()[0]
            if different or counts[0] != counts[1]:
                raise Failed(f"{table}: ideal has {counts[0]} rows, syncline {counts[1]}; {different} of ideal's are not the same")
    finally:
        database.close()


def check_counts(folders, expected):
    """Fails unless each folder holds as many commits as the world has, all different."""
    for folder in folders:
        database = sqlite3.connect(folder / "syncline.db")
        counts = database.execute("select count(*), count(distinct repository_id || sha) from commits").fetchone()
        database.close()
        if counts != (expected, expected):
            raise Failed(f"{folder.name}: {counts[0]} commits landed, {counts[1]} different; the world has {expected}")


def speed(tools, work, options, latency_ms):
    """Alternates the two clients over one simulator."""
    repos, commits = options.world
    print(f"{repos} repositories x {commits} commits, {latency_ms} ms latency, {options.runs} runs each", flush=True)
    figures = {"ideal": [], "syncline": []}
    with Sim(tools["syncline"], repos, commits, latency_ms) as sim:
        folder = Path(tempfile.mkdtemp(prefix="warm-", dir=work))
        run_ideal(tools, sim, folder, options.limit_s)
        shutil.rmtree(folder)
        for number in range(options.runs):
            folders = {}
            # Whoever goes second finds the machine as the other left it, so they swap.
            order = ["ideal", "syncline"] if number % 2 == 0 else ["syncline", "ideal"]
            for name in order:
                run, folders[name] = one_run(name, tools, sim, work, options.limit_s)
                figures[name].append(run)
            # Every row of every column is compared once; it takes as long as a run.
            if number == 0:
                check_same(folders["ideal"], folders["syncline"], repos * commits)
            else:
                check_counts(folders.values(), repos * commits)
            for folder in folders.values():
                shutil.rmtree(folder)
        violations = sim.violations()
    if violations:
        raise Failed(f"the simulator saw violations: {violations}")
    return speed_table(figures, latency_ms, options)


def speed_table(figures, latency_ms, options):
    repos, commits = options.world
    medians = {name: {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu")} for name, runs in figures.items()}
    lines = [
        f"### {repos} × {commits:,} commits at {latency_ms} ms, {options.runs} runs each, in turns",
        "",
        "| client | wall s | CPU s | peak MiB | requests | simulator's CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in figures.items():
        cells = [
            name,
            spread([run["wall"] for run in runs], ".2f"),
            spread([run["cpu"] for run in runs], ".2f"),
            spread([run["memory"] / MIB for run in runs], ".1f"),
            spread([run["requests"] or 0 for run in runs], ".0f"),
            spread([run["sim_cpu"] for run in runs], ".2f"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    goals = {"wall": 1.3, "cpu": 1.3} if latency_ms == 0 else {"wall": 1.1}
    lines.append("")
    for key, goal in goals.items():
        ratio = medians["syncline"][key] / medians["ideal"][key]
        lines.append(f"* {key}: {ratio:.2f} × the ideal client (goal: at most {goal}; {verdict(ratio <= goal, options)})")
    return lines


def memory(tools, work, options):
    """Runs syncline once over a world and once over one ten times as large."""
    repos, commits = options.world
    peaks, lines = [], ["### Memory of syncline", "", "| commits | peak MiB | wall s | CPU s |", "|---|---|---|---|"]
    for each in (commits, commits * 10):
        print(f"memory: {repos} repositories x {each} commits", flush=True)
        with Sim(tools["syncline"], repos, each, 0) as sim:
            run, folder = one_run("syncline", tools, sim, work, options.limit_s * 10)
            check_counts([folder], repos * each)
            shutil.rmtree(folder)
        peaks.append(run["memory"])
        lines.append(f"| {repos * each:,} | {run['memory'] / MIB:.1f} | {run['wall']:.1f} | {run['cpu']:.1f} |")
    ratio = peaks[1] / peaks[0]
    flat = verdict(0.9 <= ratio <= 1.1, options)
    small = verdict(max(peaks) <= 60 * MIB, options)
    lines += ["", f"* ten times the commits take {ratio:.2f} × the memory (goal: 0.9 to 1.1; {flat})"]
    lines += [f"* peak: {max(peaks) / MIB:.1f} MiB (goal: at most 60; {small})"]
    return lines


def series(name, tools, work, options):
    """Runs one series and returns its part of the results."""
    if name in OTHERS:
        return OTHERS[name](tools, work, options)
    return memory(tools, work, options) if name == "memory" else speed(tools, work, options, int(name))


def tools():
    """Returns the programs, built if they are missing."""
    found = {name: TARGET / "release" / name for name in ("syncline", "ideal", "asker", "queue")}
    if not all(path.exists() for path in found.values()):
        build = ["cargo", "build", "--release", "--locked", "-p", "app", "-p", "bench"]
        subprocess.run(build, cwd=ROOT, check=True, timeout=1800)
    return found


def arguments():
    parser = argparse.ArgumentParser(description="Measures syncline, and compares it with the ideal client.")
    parser.add_argument("--quick", action="store_true", help="a small world and one run each: a smoke test, no figures")
    known = ["0", "50", "memory", *OTHERS]
    series_help = "which series: 0, 50 (ms of latency), memory, " + ", ".join(OTHERS)
    parser.add_argument("--series", default=",".join(known), help=series_help)
    parser.add_argument("--runs", type=int, help="runs of each client in a series (default: 7; reads: 5, idle and queue: 3)")
    parser.add_argument("--write", action="store_true", help="write the tables to bench/results.md")
    options = parser.parse_args()
    options.series = options.series.split(",")
    if unknown := [it for it in options.series if it not in known]:
        parser.error(f"--series: {unknown[0]} is unknown; known are {', '.join(known)}")
    options.given_runs = options.runs
    options.world = (3, 500) if options.quick else (20, 5000)
    options.runs = options.runs or (1 if options.quick else 7)
    options.limit_s = 120  # About ten times what 100,000 commits take on two cores.
    return options


def main():
    options = arguments()
    # A request to end takes the same way out as an error, so that the simulator and the folders go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    programs = tools()
    TARGET.mkdir(parents=True, exist_ok=True)
    tables = []
    # Beside the build and not in /tmp, which may be memory: what is durable has to reach a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=TARGET) as work:
        for name in options.series:
            lines = series(name, programs, work, options)
            print("\n".join(["", *lines, ""]), flush=True)
            tables += ["", *lines]
    if options.write:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
        head = ["# Results", "", f"Made by `./dev bench --write` at {commit or 'no commit'} on {os.cpu_count()} cores, which the simulator shares; {rustc}."]
        head += ["Median (lowest–highest). What is measured: [README.md](README.md)."]
        RESULTS.write_text("\n".join([*head, *tables, ""]))
        print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
