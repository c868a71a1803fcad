"""What the commands that run other clients' own tests have in common: options, exclusions, brokers, processes and the report.

A command NAME has its exclusions in NAME.txt, and builds and logs below foreign/NAME of the target directory.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from suite import brokers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
KAFKA_VERSION = "4.3.0"
Result = collections.namedtuple("Result", "test outcome seconds detail", defaults=[""])
# The programs under test that run now, and whether they must end because the command ends.
RUNNING, ENDING = set(), threading.Event()


class Suite:
    """The options and exclusions of one command, and the results so far."""

    def __init__(self, name, doc, tests="names", short="less than two minutes", limit=900):
        """Parses the options. `tests` and `short` complete the help; `limit` is the default time limit of a test in seconds."""
        self.name = name
        parser = argparse.ArgumentParser(
            prog=f"foreign/{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("tests", nargs="*", metavar="TEST", help=f"the {tests} of the tests to run, also if they are excluded; default: all")
        parser.add_argument("--short", action="store_true", help=f"only a part of the tests, in {short} after the build")
        parser.add_argument("--excluded", action="store_true", help="run the excluded tests as well")
        parser.add_argument("--kafka", action="store_true", help=f"run on Apache Kafka {KAFKA_VERSION}, which scripts/kafka starts")
        parser.add_argument("--jobs", type=int, default=1, metavar="N", help="run N tests at a time (default 1)")
        parser.add_argument("--limit", type=float, default=limit, metavar="SECONDS", help=f"time limit of a test (default {limit})")
        self.options = parser.parse_args()
        # A command that is terminated ends its broker and its tests, as one that is interrupted does.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        self.excluded = self.exclusions()
        self.results = []
        self.home = target_directory() / "foreign" / name
        self.logs = self.home / "logs" / ("kafka" if self.options.kafka else "embedded")

    def exclusions(self):
        """Returns the reasons by the test's name. A suite of which nothing is excluded has no file."""
        reasons, file = {}, HERE / f"{self.name}.txt"
        for line in file.read_text().splitlines() if file.exists() else []:
            if line and not line.startswith("#"):
                test, _, reason = line.partition(" ")
                if not reason.strip():
                    self.fail(f"{self.name}.txt excludes {test} without a reason: add it to the line")
                reasons[test] = reason.strip()
        return reasons

    def fail(self, message):
        sys.exit(f"foreign/{self.name}: {message}")

    def choose(self, known, short):
        """Returns the tests to run. A name stands for the test and for its parts, which are separated by a slash."""
        named = []
        for name in self.options.tests:
            found = [test for test in sorted(known) if name in (test, test.partition("/")[0])]
            if not found:
                self.fail(f"there is no test {name} that needs a broker; the tests are {' '.join(sorted(known))}")
            named += found
        chosen = named or (short if self.options.short else sorted(known))
        if not named and not self.options.excluded:
            chosen = [name for name in chosen if name not in self.excluded]
        return chosen

    @contextlib.contextmanager
    def building(self):
        """Holds the lock of the build directory, so that two commands do not build at the same time."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.home

    def built(self, command, log, needs, **settings):
        """Runs a command of the build with its output appended to a log."""
        with log.open("a") as output:
            if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, **settings).returncode:
                self.fail(f"`{' '.join(map(str, command))}` failed: see {log}; it needs {needs}")

    @contextlib.contextmanager
    def broker(self, configs):
        """Starts the broker that the options name, with temporary data, and yields its address."""
        if self.options.kafka:
            start = brokers.kafka(None, configs)
        else:
            cargo("build", "-q", "-p", "faust-broker", "--example", "serve")
            start = brokers.embedded({"serve": target_directory() / "debug" / "examples" / "serve"}, configs)
        with start as address:
            yield address

    def log(self, test):
        """Returns the path of a test's log. Its directory exists, even if the target directory has been cleaned meanwhile."""
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{test.replace('/', '-')}.log"

    def run(self, command, log, **settings):
        """Runs a test program, and returns its exit status, or None if it has exceeded the time limit, and its time in seconds."""
        began = time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **settings
            )
            RUNNING.add(process)
            try:
                status = process.wait(0 if ENDING.is_set() else self.options.limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = None
            finally:
                RUNNING.discard(process)
        return status, time.monotonic() - began

    def late(self, log):
        return f"not finished within {self.options.limit:.0f} s: see {log}"

    def run_all(self, function, tests):
        """Calls a function, which returns results, with each test, several at a time. Prints and keeps the results."""
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            started = [pool.submit(function, test) for test in tests]
            try:
                for one in concurrent.futures.as_completed(started):
                    for result in one.result():
                        self.report(result)
            except BaseException:
                # The command is interrupted: nothing more is started, and what runs is ended.
                ENDING.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(RUNNING):
                    os.killpg(process.pid, signal.SIGKILL)
                raise

    def exclusion(self, test):
        """Returns the excluded test to which a test belongs: itself, or one of which it is a part."""
        return next((name for name in self.excluded if f"{test}/".startswith(f"{name}/")), None)

    def report(self, result):
        detail = f": {result.detail}" if result.detail else ""
        exclusion = self.exclusion(result.test)
        note = f" (excluded: {self.excluded[exclusion]})" if exclusion else ""
        print(f"{result.outcome:8} {result.test} ({result.seconds:.1f} s){detail}{note}", flush=True)
        self.results.append(result)

    def summary(self):
        """Prints the counts, and returns the exit status. A test of which the suite skips a part is a failure, too."""
        bad = {result.test for result in self.results if result.outcome != "passed"}
        failed = sorted(test for test in bad if not self.exclusion(test))
        excluded = {self.exclusion(result.test) for result in self.results} - {None}
        surprising = sorted(excluded - {self.exclusion(test) for test in bad})
        passed = sum(result.outcome == "passed" for result in self.results)
        print(f"{passed} passed, {len(failed)} failed, {len(self.excluded)} tests excluded")
        if surprising:
            advice = "on Apache Kafka" if self.options.kafka else f"remove them from {self.name}.txt"
            print(f"excluded, but passed: {' '.join(surprising)}: {advice}")
        if failed:
            print(f"failed: {' '.join(failed)}")
        return 1 if failed or not self.results else 0


def target_directory():
    return pathlib.Path(json.loads(cargo("metadata", "--format-version", "1", "--no-deps"))["target_directory"])


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
