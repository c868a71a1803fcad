"""The Kafka used by the benchmarks, and helpers that run the benchmark programs."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# The systems of this framework: `ours-STORE` is this build, `base-STORE` an earlier one.
OURS, BASE = "ours-", "base-"
KAFKA_HOME = ROOT / ".kafka" / "bench"
PARTITIONS = 4


def build():
    subprocess.run(["cargo", "build", "--release", "--package", "faust-bench"], cwd=ROOT, check=True)


def kafka(*arguments, home=KAFKA_HOME):
    # A separate directory, so that a Kafka started by the user is not affected. The jars are shared.
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "FAUST_KAFKA_HOME": str(home), "FAUST_KAFKA_LIBS": str(ROOT / ".kafka" / "libs")}
    if arguments[:1] == ("up",) and "--fresh" in arguments:
        for marker in home.glob("filled-*.json"):
            marker.unlink()
    done = subprocess.run([ROOT / "scripts" / "kafka", *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def tool(*arguments):
    kafka("tool", *arguments)


def ask(program, *arguments):
    """Runs one of the benchmark programs and returns its output, parsed as JSON."""
    done = subprocess.run([TARGET / program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(arguments, environment):
    """Runs a system under test; returns its standard output and its resource usage."""
    log = KAFKA_HOME / "last-system.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            list(map(str, arguments)), env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL
        )
        with process.stdout:
            output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench/run: {arguments[0]} exited with {process.returncode}: see {log}")
    return output, usage


def pairs(stores, options):
    """Returns the systems of this framework: each store with this build and, with --base, with the earlier one."""
    return [kind + store for store in stores for kind in ((BASE, OURS) if options.base else (OURS,))]


def in_turn(systems, number):
    """Returns the systems in the order of a round: every other round is reversed, so that each system follows each neighbour."""
    return systems if number % 2 == 0 else systems[::-1]


def program(name, system, options):
    """Returns the program of the build that the system stands for, and the name of the system's store."""
    kind = BASE if system.startswith(BASE) else OURS
    return (options.base if kind == BASE else TARGET) / name, system.removeprefix(kind)


def once(name, events, make):
    """Returns the result of `make` for this number of events. With --keep, it can be the result of an earlier run."""
    marker = KAFKA_HOME / f"filled-{name}.json"
    if marker.exists():
        filled = json.loads(marker.read_text())
        if filled["events"] != events:
            raise SystemExit(f"bench/run: `{name}` contains a different number of events: run once without --keep")
        return filled["answer"]
    answer = make()
    marker.write_text(json.dumps({"events": events, "answer": answer}))
    return answer


def say(line):
    print(line, file=sys.stderr, flush=True)
