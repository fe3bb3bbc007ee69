"""A running `syncline serve`, and what asks it. Neither outlives the series that started it."""

import json
import subprocess
import threading
import urllib.error
import urllib.request

from stage import START_S, TOKEN, TOKEN_ENV, Failed, cpu_s, end, end_with_us, environment, run

ANSWER_S = 600  # `?wait=true` answers within ten minutes.


class Server:
    """One server over a database, and the token of an admin of its first tenant."""

    def __init__(self, tools, database, **more):
        self.database = database
        # One asker stands for many people here, so the limit of one token is out of the way.
        self.more = {"SYNCLINE_DATABASE_URL": database.url, "SYNCLINE_API_REQUESTS_PER_MINUTE": "1000000", TOKEN_ENV: TOKEN}
        self.log = open(database.home / "serve.log", "a")
        self.process = subprocess.Popen(
            [str(tools["syncline"]), "serve", "--listen", "127.0.0.1:0", "--json"],
            cwd=database.home,
            env={**environment(), **self.more, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            preexec_fn=end_with_us,
        )
        try:
            # It says where it listens, or ends and says why: nobody waits for ever.
            giving_up = threading.Timer(START_S, self.process.kill)
            giving_up.start()
            said = self.process.stdout.readline()
            giving_up.cancel()
            if not said:
                raise Failed(f"serve did not start: {(database.home / 'serve.log').read_text()[-800:]}")
            self.base = json.loads(said)["listening"]
            self.token = self.make_token(tools, "default")
        except BaseException:
            self.stop()
            raise

    def make_token(self, tools, tenant):
        """Makes a token of an admin. Its name is never used twice, because a server may be started again."""
        words = ["token", "create", "--tenant", tenant, "--name", f"bench-{self.process.pid}", "--role", "admin"]
        return run(tools, self.database.home, *words, more=self.more)["token"]

    def ask(self, method, path, body=None, token=None):
        """Asks for something that is not measured."""
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failed(f"{method} {path}: {error.code} {error.read()[:500]}") from error

    def add(self, name, sim, token=None):
        """Adds a source that reads all of a simulator, and returns its number."""
        new = {"provider": "github", "name": name, "baseUrl": sim.base, "credential": TOKEN}
        return self.ask("POST", "/api/v1/sources", new, token)["id"]

    def cpu_s(self):
        """Returns the CPU time of the server, and of its database where that is a process of its own."""
        return cpu_s(self.process.pid) + self.database.cpu_s()

    def stop(self):
        end(self.process, patience_s=15)
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Asker:
    """The program that asks at a fixed rate; `report` ends it, if it has not ended by itself."""

    def __init__(self, tools, server, asks, rate_per_s, count, warm=0):
        plan = {"base": server.base, "rate_per_s": rate_per_s, "count": count, "warm": warm, "asks": asks}
        self.process = subprocess.Popen(
            [str(tools["asker"])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_us
        )
        self.limit_s = (count + warm) / rate_per_s + 60
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()

    def wait(self):
        """Waits until all was asked and returns the report."""
        # A closed input tells it to stop, so the input stays open until it has ended.
        try:
            self.process.wait(self.limit_s)
        except subprocess.TimeoutExpired:
            raise Failed("the asker did not end") from None
        return self._read()

    def report(self):
        """Tells it to stop and returns the report."""
        self.process.stdin.close()
        return self._read()

    def _read(self):
        said = self.process.stdout.read()
        if self.process.wait(60) != 0:
            raise Failed(f"the asker ended with {self.process.returncode}")
        report = json.loads(said)
        if report["failures"]:
            raise Failed(f"not every answer was good: {report['failures']}")
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            end(self.process)


def ask(kind, path, server, follow=None, token=None):
    """Returns one thing to ask, as the asker reads it."""
    return {"kind": kind, "path": path, "token": token or server.token, "follow": follow}
