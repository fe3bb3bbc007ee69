"""The two databases that the series about a server run on. Each is made empty and removed with what is in it.

`home` is a folder for what stands beside a database: the key, and what the server says.
"""

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

from stage import Failed, cpu_s


class Sqlite:
    """A file in a folder of its own."""

    name = "SQLite"

    def __init__(self, work):
        self.home = Path(tempfile.mkdtemp(prefix="sqlite-", dir=work))
        self.file = self.home / "syncline.db"
        self.url = f"sqlite://{self.file}"

    def cpu_s(self):
        """Returns the CPU time of the database alone: it is a part of the server's process."""
        return 0.0

    def settle(self):
        """Does what time would do."""

    def execute(self, sql):
        self._asked(lambda conn: conn.executescript(f"begin; {sql}; commit"))

    def number(self, sql):
        return self._asked(lambda conn: conn.execute(sql).fetchone()[0])

    def lock_out(self):
        """Takes the one lock that every writer needs, and returns what gives it back."""
        conn = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        conn.execute("pragma busy_timeout = 20000")
        conn.execute("begin immediate")

        def free():
            conn.execute("rollback")
            conn.close()

        return free

    def _asked(self, ask):
        conn = sqlite3.connect(self.file)
        try:
            return ask(conn)
        finally:
            conn.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home, ignore_errors=True)


class Postgres:
    """A cluster of our own, as initdb makes it: fsync, synchronous_commit and full_page_writes are on, and nothing is
    tuned. Its files stand beside the build, so that what is durable reaches a disk; only its socket is in /tmp, because
    the path of a socket has to be short."""

    name = "PostgreSQL"

    def __init__(self, work):
        self.bin = self._bin()
        self.home = Path(tempfile.mkdtemp(prefix="home-", dir=work))
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=work))
        self.socket = Path(tempfile.mkdtemp(prefix="syncline-pg-"))
        try:
            if os.getuid() == 0:
                # The server refuses to run as root, so it runs as the user that came with its package.
                owner = pwd.getpwnam("postgres")
                for each in (self.folder, self.socket):
                    os.chown(each, owner.pw_uid, owner.pw_gid)
                os.chmod(work, 0o711)
            self._do("initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
            with open(self.folder / "data" / "postgresql.conf", "a") as conf:
                conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.socket}'\n")
            self._do("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "-t", "60", "start")
            self._psql("create database syncline", "postgres")
        except BaseException:
            self.__exit__()
            raise
        self.url = f"postgres://postgres@{str(self.socket).replace('/', '%2F')}/syncline"

    @staticmethod
    def _bin():
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda it: float(it.parent.parent.name))
        plain = shutil.which("pg_ctl")
        if not found and not plain:
            raise Failed("PostgreSQL's server is missing; `./dev setup` installs it")
        return (found[-1] if found else Path(plain).resolve()).parent

    def _as_owner(self, *command):
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        return [*as_postgres, *[str(it) for it in command]]

    def _do(self, program, *words):
        command = self._as_owner(self.bin / program, *words)
        # Its output is not read through a pipe: the server would keep that open.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=120)
            if done.returncode != 0:
                said.seek(0)
                raise Failed(f"{program} ended with {done.returncode}: {said.read()[-500:]}")

    def _command(self, database="syncline"):
        words = ["-h", self.socket, "-U", "postgres", "-d", database, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return self._as_owner(self.bin / "psql", *words)

    def _psql(self, sql, database="syncline"):
        command = self._command(database)
        done = subprocess.run(command, cwd="/", input=sql, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise Failed(f"psql ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout

    def cpu_s(self):
        """Returns the CPU time of the server's processes, those that ended included."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        total = cpu_s(first, with_ended=True)
        for child in children:
            try:
                total += cpu_s(int(child))
            except OSError:
                pass  # It ended just now; its time is its parent's by the next look.
        return total

    def settle(self):
        """Does what the server's own housekeeping would do within minutes."""
        self._psql("vacuum analyze")

    def execute(self, sql):
        self._psql(sql)

    def number(self, sql):
        return int(self._psql(f"{sql};").split()[-1])

    def lock_out(self):
        """Takes a lock on every table that lets plain reads pass and nothing else, and returns what gives it back."""
        tables = "select format('lock table %I in exclusive mode', tablename) from pg_tables where schemaname = 'public'"
        holder = subprocess.Popen(
            self._command(), cwd="/", text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        giving_up = threading.Timer(60, holder.kill)
        giving_up.start()
        holder.stdin.write(f"begin;\n{tables}\n\\gexec\nselect 'locked';\n")
        holder.stdin.flush()
        said = holder.stdout.readline().strip()
        if said != "locked":
            giving_up.cancel()
            holder.kill()
            raise Failed(f"the tables could not be locked: {said}")

        def free():
            holder.communicate("rollback;\n", timeout=30)
            giving_up.cancel()

        return free

    def __enter__(self):
        return self

    def __exit__(self, *_):
        data = self.folder / "data"
        if (data / "postmaster.pid").exists():
            stop = self._as_owner(self.bin / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
            subprocess.run(stop, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        for each in (self.folder, self.socket, self.home):
            shutil.rmtree(each, ignore_errors=True)


BOTH = [Sqlite, Postgres]
