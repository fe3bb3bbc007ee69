"""What the series have in common: the programs, the simulator, and how a process is measured.

Whatever it starts it ends in any case. It needs nothing but Python, and PostgreSQL's server where a series asks for one.
"""

import ctypes
import json
import os
import re
import signal
import statistics
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
TOKEN_ENV, TOKEN = "BENCH_TOKEN", "bench"
MIB = 1024  # The kernel counts memory in KiB.
START_S = 120  # A world of a million commits has to be made before the simulator answers.
POLL_S = 0.02  # How often a client's memory is looked at.


class Failed(Exception):
    """Something that makes the figures worthless."""


class Sim:
    """One simulator: in a process of its own, so that its memory and CPU are never the client's. With `behind` it takes
    what CPU the others leave, because a provider does not share the cores of whoever asks it. Only the series of issues
    has any: all others measure repositories, branches and commits."""

    def __init__(self, syncline, repos, commits, latency_ms, behind=False, limits="primary=0", issues=0):
        command = [syncline, "sim", "--seed", "1", "--repos", repos, "--commits", commits, "--repo-issues", issues]
        command += ["--limits", f"{limits},concurrent=100", "--latency-ms", latency_ms, "--listen", "127.0.0.1:0", "--json"]
        first = step_behind if behind else end_with_us
        self.process = subprocess.Popen(
            [str(it) for it in command], stdout=subprocess.PIPE, text=True, env=environment(), preexec_fn=first
        )
        try:
            self.base = self._base()
        except BaseException:
            self.stop()
            raise

    def _base(self):
        found = []

        def read():
            for line in self.process.stdout:
                match = re.search(r"http://[^\s\"]+/github", line)
                if match and not found:
                    found.append(match.group(0))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        deadline = time.monotonic() + START_S
        while not found and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(POLL_S)
        if not found:
            raise Failed("the simulator printed no GitHub address")
        return found[0]

    def cpu_s(self):
        """Returns the CPU time that it has used so far."""
        return cpu_s(self.process.pid)

    def violations(self):
        """Returns the rules that its report says were broken."""
        with urllib.request.urlopen(self.base.removesuffix("/github") + "/__sim/report", timeout=10) as answer:
            return json.load(answer).get("violations") or []

    def stop(self):
        end(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def end_with_us():
    """Has the kernel end this child when we are killed so hard that nothing of ours can."""
    death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(death_signal, signal.SIGTERM)


def step_behind():
    """The same, for a child that gets the CPU which others leave."""
    end_with_us()
    os.nice(19)


def environment():
    """Returns an environment that configures nothing by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SYNCLINE_", "RUST_"))}
    return {**kept, TOKEN_ENV: TOKEN, "NO_COLOR": "1"}


def own_peak_kib():
    return peak_kib(os.getpid())


def peak_kib(pid):
    """Returns the most memory that a process has had so far (VmHWM); 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"VmHWM:\s+(\d+)", text)
    return int(match.group(1)) if match else 0


def measure(command, folder, limit_s, more=None):
    """Runs a client to its end and returns its JSON, wall and CPU seconds, and peak memory in KiB."""
    floor = own_peak_kib()
    given = {**environment(), **(more or {})}
    with open(folder / "out", "w+") as out, open(folder / "err", "w+") as err:
        begun = time.monotonic()
        child = subprocess.Popen(
            [str(it) for it in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=given
        )
        peak, ended = [0], threading.Event()

        def watch():
            while not ended.wait(POLL_S):
                peak[0] = max(peak[0], peak_kib(child.pid))
                if time.monotonic() - begun > limit_s:
                    os.kill(child.pid, signal.SIGKILL)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        finally:
            ended.set()
        wall = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
        out.seek(0)
        err.seek(0)
        text, complaint = out.read(), err.read()
    if child.returncode != 0:
        raise Failed(f"{Path(command[0]).name} ended with {child.returncode} after {wall:.0f} s: {(complaint or text)[-800:]}")
    # Before it becomes the client, a child counts as large as we are; above that the kernel's own figure is exact.
    memory = usage.ru_maxrss if usage.ru_maxrss > floor else peak[0]
    cpu = usage.ru_utime + usage.ru_stime
    return {"said": json.loads(text), "wall": wall, "cpu": cpu, "memory": memory}


def end(process, patience_s=5):
    """Ends a process of ours: politely, and else at once."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_s(pid, with_ended=False):
    """Returns the CPU time that a process has used so far, and that of its ended children where asked for."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(stat[11]) + int(stat[12]) + (int(stat[13]) + int(stat[14]) if with_ended else 0)
    return ticks / os.sysconf("SC_CLK_TCK")


def run(tools, folder, *words, more=None):
    """Runs a command of syncline that is no part of what is measured, and returns its JSON."""
    command = [str(tools["syncline"]), *[str(it) for it in words], "--json"]
    given = {**environment(), **(more or {})}
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failed(f"syncline {' '.join(command[1:3])} ended with {done.returncode}: {done.stderr or done.stdout}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def add_source(tools, sim, folder, more=None):
    """Adds the source `bench` that reads all of a simulator."""
    add = ["source", "add", "github", "--name", "bench", "--base-url", sim.base, "--token-env", TOKEN_ENV]
    run(tools, folder, *add, more=more)


def verdict(good, options):
    """Says whether a goal is met; a smoke test is too small to tell."""
    return "not judged" if options.quick else "met" if good else "missed"


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
