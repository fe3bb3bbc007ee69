"""What a server costs those who look at it, what looking costs a sync, and what the ledger does: the series `status`,
`reads`, `idle` and `ledger`.

README.md beside it says what each measures.
"""

import os
import statistics
import time

from databases import BOTH, Sqlite
from serve import Asker, Server, ask
from stage import MIB, Failed, Sim, add_source, measure, spread, verdict

STATUS_GOAL_MS = 20
READS_GOAL = 1.1
GROWTH_GOAL = 1.2  # The issue names no number; a fifth is what two runs on a shared machine differ by.
LEDGER_GOAL = 1.05
FILL_S = 600  # Four times what the slower database takes.
SYNC_S = 120  # About ten times what 100,000 commits take on two cores.

# 1,000 sources of 12 tenants. One has nearly all, so that one look is at nearly all of them.
TENANTS, SOURCES, OF_OTHERS = 12, 1000, 5
# Each source syncs two repositories; with 24 copies of their partitions of branches and commits, and the listing, it has
# 101 partitions. To sync them all would take longer than all series together.
REPOSITORIES, COPIES = 2, 24
COPY = """
    insert into partitions (source_id, stream, key, args, title, listed_by_stream, listed_by_key, active, refresh_ms,
        last_synced_at, is_valid)
    with recursive copies (n) as (select 1 union all select n + 1 from copies where n < {copies})
    select source_id, stream, key || cast(100 + n as text), args, title, listed_by_stream, listed_by_key, active,
        refresh_ms, last_synced_at, is_valid
    from partitions cross join copies where stream in ('branches', 'commits')"""


def status(tools, work, options):
    """Asks for the status of 1,000 sources, while a sync writes as fast as it can."""
    tenants, sources, repositories = (3, 30, 2) if options.quick else (TENANTS, SOURCES, REPOSITORIES)
    count, rate = (40, 40) if options.quick else (1200, 20)
    world = (20, 5000) if options.quick else (40, 50_000)
    lines = [
        f"### Status of {sources:,} sources of {tenants} tenants, while a sync writes",
        "",
        f"{rate} requests a second, of each kind in turns; {count // 4:,} of each.",
        "",
        "| database | partitions | asked for | KiB | p50 ms | p99 ms | max ms | pages synced a second |",
        "|---|---|---|---|---|---|---|---|",
    ]
    worst = {}
    for database in BOTH:
        print(f"status: {sources} sources on {database.name}", flush=True)
        with database(work) as at:
            owners = fill(tools, at, tenants, sources, repositories)
            at.execute(COPY.format(copies=COPIES))
            at.settle()
            report, pages = look(tools, at, owners, world, count, rate)
            partitions = at.number("select count(*) from partitions")
        for kind, times in report["kinds"].items():
            kib = times["bytes"] / max(times["count"], 1) / 1024
            cells = [at.name, f"{partitions:,}", kind, f"{kib:.1f}", f"{times['p50_ms']:.1f}", f"{times['p99_ms']:.1f}"]
            lines.append("| " + " | ".join([*cells, f"{times['max_ms']:.1f}", f"{pages:.0f}"]) + " |")
        worst[at.name] = max(times["p99_ms"] for times in report["kinds"].values())
        print(f"  worst p99 {worst[at.name]:.1f} ms, {pages:.0f} pages/s, asker {report['behind_max_ms']:.1f} ms late at most")
    lines.append("")
    for name, p99 in worst.items():
        good = verdict(p99 <= STATUS_GOAL_MS, options)
        lines.append(f"* {name}: the worst p99 is {p99:.1f} ms (goal: at most {STATUS_GOAL_MS}; {good})")
    return lines


def fill(tools, database, tenants, sources, repositories):
    """Has the product itself add all sources and sync each of them once; returns the tenants' tokens."""
    begun = time.monotonic()
    with Sim(tools["syncline"], repositories, 1, 0) as sim, Server(tools, database, **ONE_TICK) as server:
        tokens = [server.token]
        for number in range(1, tenants):
            server.ask("POST", "/api/v1/tenants", {"name": f"tenant-{number}"})
            tokens.append(server.make_token(tools, f"tenant-{number}"))
        for number in range(sources):
            tenant = number % tenants if number < tenants * OF_OTHERS else 0
            server.add(f"source-{number:04}", sim, tokens[tenant])
        added = time.monotonic()
        while (done := database.number(SYNCED)) < sources:
            if time.monotonic() - added > FILL_S:
                raise Failed(f"{done} of {sources} sources were synced in {FILL_S} s")
            time.sleep(0.5)
    print(f"  filled in {time.monotonic() - begun:.0f} s, {time.monotonic() - added:.0f} of them syncing", flush=True)
    return tokens


# Every source is synced once when it is new, and then not for the rest of the run. Its repositories are known only then, so
# the tick of its timelines finds nothing to sync.
SYNCED = "select count(*) from standings where state = 'completed' and stream_group = 'commits'"
ONE_TICK = {"SYNC_INTERVAL_COMMITS": "24h", "SYNC_INTERVAL_TIMELINE": "24h"}


def look(tools, database, _owners, world, count, rate):
    """Looks while a new source is synced; returns the times, and how many pages a second the sync committed."""
    with Sim(tools["syncline"], *world, 0, behind=True) as sim, Server(tools, database, **ONE_TICK) as server:
        one = server.ask("GET", "/api/v1/sources")["sources"][0]["id"]
        asks = [
            ask("`/api/v1/status`, a page", "/api/v1/status", server),
            ask("`/api/v1/status`, all pages", "/api/v1/status?limit=500", server, follow="after"),
            ask("`/api/sync/status`", "/api/sync/status", server),
            ask("`/api/v1/sources/{source}/status`", f"/api/v1/sources/{one}/status", server),
        ]
        writer = server.add("writer", sim)
        pages = f"select coalesce(sum(pages), 0) from jobs where source_id = {writer}"
        begun = time.monotonic()
        while database.number(pages) < world[0]:
            if time.monotonic() - begun > 60:
                raise Failed("the sync that was to write did not begin")
            time.sleep(0.1)
        before, begun = database.number(pages), time.monotonic()
        with Asker(tools, server, asks, rate, count, warm=count // 40) as asker:
            report = asker.wait()
        committed, took = database.number(pages) - before, time.monotonic() - begun
        if database.number(f"select count(*) from syncs where source_id = {writer} and state = 'running'") != 1:
            raise Failed("the sync that was to write ended before the last look")
    return report, committed / took


# What 20 reads in a second are: people with a dashboard open, and a tool that fetches what landed.
def mixture(server, source, sync):
    """Returns twenty reads, as a second brings them."""
    reads = [
        (6, "status", "/api/v1/status"),
        (2, "loops", "/api/sync/status"),
        (2, "source", f"/api/v1/sources/{source}/status"),
        (2, "syncs", "/api/v1/syncs?limit=20"),
        (2, "sync", f"/api/v1/syncs/{sync}"),
        (2, "jobs", f"/api/v1/jobs?sync={sync}"),
        (2, "events", "/api/v1/events?after=0"),
        (2, "records", f"/api/v1/records/commits?source={source}"),
    ]
    return [ask(kind, path, server) for times, kind, path in reads for _ in range(times)]


def reads(tools, work, options):
    """Compares the CPU of a sync with and without 20 API reads a second beside it."""
    runs = options.given_runs or (1 if options.quick else 5)
    repositories, commits = options.world
    lines = [
        f"### 20 API reads a second beside a sync of {repositories} × {commits:,} commits, {runs} runs each, in turns",
        "",
        "| database | reads | CPU ms a page | CPU s | wall s | reads' p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    goals = []
    with Sim(tools["syncline"], repositories, commits, 0) as sim:
        for database in BOTH:
            print(f"reads: {repositories} x {commits} commits on {database.name}, {runs} runs each", flush=True)
            figures = {False: [], True: []}
            one_sync(tools, database, work, sim, False, quiet=True)
            for number in range(runs):
                for with_reads in [False, True] if number % 2 == 0 else [True, False]:
                    figures[with_reads].append(one_sync(tools, database, work, sim, with_reads))
            for with_reads, runs_of in figures.items():
                p99 = spread([it["p99"] for it in runs_of], ".1f") if with_reads else "–"
                cells = [database.name, "20 a second" if with_reads else "none"]
                cells += [spread([it["cpu"] / it["pages"] * 1000 for it in runs_of], ".2f")]
                cells += [spread([it[key] for it in runs_of], ".2f") for key in ("cpu", "wall")]
                lines.append("| " + " | ".join([*cells, p99]) + " |")
            cost = {it: statistics.median(run["cpu"] / run["pages"] for run in figures[it]) for it in figures}
            ratio = cost[True] / cost[False]
            good = verdict(ratio <= READS_GOAL, options)
            goals.append(f"* {database.name}: {ratio:.2f} × the CPU a page (goal: at most {READS_GOAL}; {good})")
            goals.append(locked_out(tools, database, work, sim, options))
    return [*lines, "", *goals]


def one_sync(tools, database, work, sim, with_reads, quiet=False):
    """Syncs a new source over a new database, with or without reads beside it."""
    with database(work) as at, Server(tools, at, SYNC_ENABLED="false") as server:
        source = server.add("bench", sim)
        os.sync()  # What the last run left to be written is not this run's burden.
        before, begun = server.cpu_s(), time.monotonic()
        sync = server.ask("POST", "/api/v1/syncs", {"source": source, "group": "commits"})["syncs"][0]["sync"]
        asker = Asker(tools, server, mixture(server, source, sync), 20, 20 * 600) if with_reads else None
        try:
            synced = until_closed(server, sync)
            wall, cpu = time.monotonic() - begun, server.cpu_s() - before
            report = asker.report() if asker else None
        finally:
            if asker:
                asker.__exit__()
    p99 = max(it["p99_ms"] for it in report["kinds"].values()) if report else 0.0
    if not quiet:
        beside = "20 reads/s" if with_reads else "no reads"
        print(f"  {beside:10} wall {wall:6.2f} s   cpu {cpu:6.2f} s   {synced['pages']} pages   p99 {p99:.1f} ms", flush=True)
    return {"wall": wall, "cpu": cpu, "pages": synced["pages"], "p99": p99}


def until_closed(server, sync):
    """Waits until a sync ended well, and returns it. It looks as rarely as the answer to `wait=true` does."""
    begun = time.monotonic()
    while (row := server.ask("GET", f"/api/v1/syncs/{sync}"))["state"] == "running":
        if time.monotonic() - begun > SYNC_S:
            raise Failed(f"the sync did not end in {SYNC_S} s")
        time.sleep(0.25)
    if row["state"] != "completed":
        raise Failed(f"the sync is {row['state']}: {row['errors'][:3]}")
    return row


def locked_out(tools, database, work, sim, options):
    """Asks while another process holds the lock that every writer needs: a read that needed it would never be answered."""
    count, rate = (20, 20) if options.quick else (600, 50)
    with database(work) as at, Server(tools, at, SYNC_ENABLED="false") as server:
        source = server.add("bench", sim)
        sync = server.ask("POST", "/api/v1/syncs", {"source": source, "group": "commits"})["syncs"][0]["sync"]
        until_closed(server, sync)
        free = at.lock_out()
        try:
            with Asker(tools, server, mixture(server, source, sync), rate, count) as asker:
                report = asker.wait()
        finally:
            free()
    p99 = max(it["p99_ms"] for it in report["kinds"].values())
    answered = sum(it["count"] for it in report["kinds"].values())
    good = verdict(answered == count, options)
    return (
        f"* {at.name}: while another process held the lock of all writers, {answered} of {count} reads were answered, "
        f"p99 {p99:.1f} ms (goal: all, because no reader needs that lock; {good})"
    )


def idle(tools, work, options):
    """Syncs again what has not changed, over 100, 1,000 and 10,000 repositories."""
    runs = options.given_runs or (1 if options.quick else 3)
    sizes = (10, 100) if options.quick else (100, 1000, 10_000)
    lines = [
        f"### A sync of nothing new, {runs} runs each",
        "",
        "| repositories | CPU s | CPU ms a repository | wall s | requests | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    costs = {}
    for size in sizes:
        print(f"idle: {size} repositories", flush=True)
        figures = []
        with Sim(tools["syncline"], size, 2, 0) as sim, Sqlite(work) as at:
            add_source(tools, sim, at.home)
            for number in range(runs + 1):
                run = cycle(tools, at.home, options)
                # The first one reads everything.
                if number > 0:
                    figures.append(run)
                    if run["said"]["rowsWritten"] != 0:
                        raise Failed(f"a sync of nothing new wrote {run['said']['rowsWritten']} rows")
        costs[size] = statistics.median(it["cpu"] for it in figures) / size * 1000
        cells = [f"{size:,}", spread([it["cpu"] for it in figures], ".2f")]
        cells += [spread([it["cpu"] / size * 1000 for it in figures], ".2f"), spread([it["wall"] for it in figures], ".2f")]
        cells += [spread([it["said"]["requests"] for it in figures], ",.0f")]
        cells += [spread([it["memory"] / MIB for it in figures], ".1f")]
        lines.append("| " + " | ".join(cells) + " |")
    *_, tenth, whole = sizes
    growth = costs[whole] / costs[tenth]
    good = verdict(growth <= GROWTH_GOAL, options)
    line = f"* a repository among {whole:,} costs {growth:.2f} × one among {tenth:,} (goal: at most {GROWTH_GOAL}; {good})"
    return [*lines, "", line]


def cycle(tools, folder, options, group="commits"):
    """Syncs a group once."""
    start = [tools["syncline"], "sync", "start", "--source", "bench", "--group", group, "--wait", "--json"]
    run = measure(start, folder, options.limit_s * 2, {"SYNCLINE_MANUAL_COOLDOWN": "timeline=0s"})
    if run["said"].get("errors"):
        raise Failed(f"the sync had errors: {run['said']['errors'][:3]}")
    print(
        f"  wall {run['wall']:7.2f} s   cpu {run['cpu']:6.2f} s   peak {run['memory'] / MIB:6.1f} MiB   "
        f"{run['said'].get('requests')} requests",
        flush=True,
    )
    return run


# What one of the largest repositories has.
ISSUES = 62_000
# 100 to a page, each page from the second on that the last one ended with, and a few to begin and to end with.
ISSUES_GOAL, NO_CHANGE_GOAL = 640, 3


def issues(tools, work, options):
    """Reads all issues and pull requests of one repository, and then what is new of them: nothing."""
    size = 620 if options.quick else ISSUES
    lines = [
        f"### A repository of {size:,} issues and pull requests",
        "",
        "| database | what | requests | rows | wall s | CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    print(f"issues: {size} issues", flush=True)
    with Sim(tools["syncline"], 1, 2, 0, issues=size) as sim, Sqlite(work) as at:
        add_source(tools, sim, at.home)
        cycle(tools, at.home, options)
        first = cycle(tools, at.home, options, "timeline")
        landed = at.number("select count(*) from github_issues")
        if landed != size:
            raise Failed(f"{landed} of {size} issues landed")

        def row(what, table, *streams):
            of = ", ".join(f"'{it}'" for it in streams)
            requests = at.number(f"select coalesce(sum(requests), 0) from jobs where stream in ({of})")
            rows = at.number(f"select count(*) from {table}")
            lines.append(f"| {at.name} | {what} | {requests:,} | {rows:,} | | | |")
            return requests

        lists = row("issues", "github_issues", "issues")
        row("pull requests", "github_pull_requests", "pull_requests")
        row("timelines of the newest thousand", "github_timeline_events", "timeline_events")
        second = cycle(tools, at.home, options, "timeline")
        for what, it in (("all of it", first), ("again, nothing new", second)):
            figures = f"{it['wall']:.1f} | {it['cpu']:.1f} | {it['memory'] / MIB:.1f}"
            told = f"{it['said']['requests']:,}" if it is second else ""
            lines.append(f"| {at.name} | {what} | {told} | | {figures} |")
        if broken := sim.violations():
            raise Failed(f"rules of the provider were broken: {broken[:3]}")
    good = verdict(lists <= ISSUES_GOAL, options)
    goals = [f"* the issues took {lists:,} requests (goal: at most {ISSUES_GOAL}; {good})"]
    again = second["said"]["requests"]
    good = verdict(again <= NO_CHANGE_GOAL, options)
    goals.append(f"* a pass without news took {again} requests (goal: at most {NO_CHANGE_GOAL}; {good})")
    return [*lines, "", *goals]


# As many requests as can be had for little CPU each: repositories of two commits, of which every answer is small and
# none is free.
LEDGER_SIZE = 2000
# A budget that no run spends, of an hour and of less than a minute: the ledger knows of hours only.
LEDGER_LIMITS = {True: "primary=100000000,window=3600", False: "primary=100000000,window=50"}


def ledger(tools, work, options):
    """Compares the CPU of a first sync whose budget is in the ledger with one whose budget is not."""
    runs = options.given_runs or (1 if options.quick else 7)
    size = 40 if options.quick else LEDGER_SIZE
    lines = [
        f"### The ledger: a first sync of {size:,} repositories of two commits, {runs} runs each, in turns",
        "",
        "| database | budget | CPU s | CPU ms a request | requests a second |",
        "|---|---|---|---|---|",
    ]
    goals = []
    with (
        Sim(tools["syncline"], size, 2, 0, limits=LEDGER_LIMITS[True]) as hours,
        Sim(tools["syncline"], size, 2, 0, limits=LEDGER_LIMITS[False]) as minutes,
    ):
        for database in BOTH:
            print(f"ledger: {size} repositories on {database.name}, {runs} runs each", flush=True)
            figures = {True: [], False: []}
            for number in range(runs + 1):
                for in_ledger in [False, True] if number % 2 == 0 else [True, False]:
                    sim = hours if in_ledger else minutes
                    run = one_first_sync(tools, database, work, sim, in_ledger, options)
                    # The first of each makes the simulator's pages.
                    if number > 0:
                        figures[in_ledger].append(run)
            for in_ledger, runs_of in figures.items():
                cells = [database.name, "in the ledger" if in_ledger else "of less than a minute"]
                cells += [spread([it["cpu"] for it in runs_of], ".2f")]
                cells += [spread([it["cpu"] / it["requests"] * 1000 for it in runs_of], ".3f")]
                cells += [spread([it["requests"] / it["wall"] for it in runs_of], ",.0f")]
                lines.append("| " + " | ".join(cells) + " |")
            cost = {it: statistics.median(run["cpu"] / run["requests"] for run in figures[it]) for it in figures}
            ratio, each_s = cost[True] / cost[False], (cost[True] - cost[False]) * 1000
            good = verdict(ratio <= LEDGER_GOAL, options)
            goals.append(
                f"* {database.name}: {ratio:.3f} × the CPU a request, which at 1,000 requests a second is "
                f"{each_s * 1000:+.0f} ms each second (goal: at most {LEDGER_GOAL} ×; {good})"
            )
    return [*lines, "", *goals]


def one_first_sync(tools, database, work, sim, in_ledger, options):
    """Syncs a new source over a new database; the CPU is the client's and the database's."""
    with database(work) as at:
        more = {"SYNCLINE_DATABASE_URL": at.url}
        add_source(tools, sim, at.home, more=more)
        os.sync()  # What the last run left to be written is not this run's burden.
        before = at.cpu_s()
        command = [tools["syncline"], "sync", "start", "--source", "bench", "--group", "commits", "--wait", "--json"]
        run = measure(command, at.home, options.limit_s * 2, more=more)
        cpu = run["cpu"] + at.cpu_s() - before
        known = at.number("select count(*) from budgets where own > 0")
    if run["said"].get("errors") or run["said"].get("state") != "completed":
        raise Failed(f"the sync did not complete: {run['said']}")
    if (known > 0) != in_ledger:
        raise Failed(f"the ledger was to be {'used' if in_ledger else 'left alone'}, and was not")
    requests = run["said"]["requests"]
    budget = "hour" if in_ledger else "minute"
    print(f"  {budget:6} wall {run['wall']:6.2f} s   cpu {cpu:6.2f} s   {requests} requests", flush=True)
    return {"cpu": cpu, "wall": run["wall"], "requests": requests}


SERIES = {"status": status, "reads": reads, "idle": idle, "issues": issues, "ledger": ledger}
