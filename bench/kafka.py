"""The Kafka that benchmarks run on, and the programs beside it."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
KAFKA_HOME = ROOT / ".kafka" / "bench"
PARTITIONS = 4


def build():
    subprocess.run(["cargo", "build", "--release", "--package", "faust-bench"], cwd=ROOT, check=True)


def kafka(*arguments, home=KAFKA_HOME):
    # Its own folder, so that a Kafka that a person runs is left alone; the jars are shared.
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
    """Runs one of the programs, which answers in JSON."""
    done = subprocess.run([TARGET / program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(arguments, environment):
    """Runs a system under test: what it wrote to standard output, and what it used."""
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
        raise SystemExit(f"bench/run: {arguments[0]} ended with {process.returncode}: see {log}")
    return output, usage


def once(name, events, make):
    """What `make` answered when it was done for so many events; with --keep it may have been an earlier run's."""
    marker = KAFKA_HOME / f"filled-{name}.json"
    if marker.exists():
        filled = json.loads(marker.read_text())
        if filled["events"] != events:
            raise SystemExit(f"bench/run: `{name}` holds another number of events: run without --keep once")
        return filled["answer"]
    answer = make()
    marker.write_text(json.dumps({"events": events, "answer": answer}))
    return answer


def say(line):
    print(line, file=sys.stderr, flush=True)
