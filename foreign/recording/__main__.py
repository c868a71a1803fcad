"""Records each exercise on one partition and on four, and compares with what is right: `python -m recording`."""

import json
import pathlib
import sys

from suite import brokers

from . import clicks, oracle, programs

RECORDED = pathlib.Path(__file__).resolve().parents[1] / "recorded"
# By exercise: the seed of its clicks, the size and step of its windows, and the programs that do it.
EXERCISES = {
    "tables": (6, {}, ["tables"]),
    "tumbling_window": (7, {"size": 10_000, "step": 10_000}, ["tumbling_window", "tumbling_window_keyed"]),
    "hopping_window": (8, {"size": 60_000, "step": 10_000}, ["hopping_window", "hopping_window_keyed"]),
}


def main():
    unexplained = 0
    with brokers.kafka(None) as broker:
        for exercise, (seed, window, names) in EXERCISES.items():
            made = clicks.made(seed)
            messages = [(click["uri"], json.dumps(click), time) for time, click in made]
            write(f"{exercise}.input.jsonl", [input_line(time, click) for time, click in made])
            write(f"{exercise}.expected.txt", oracle.printed(made, **window))
            for name in names:
                for partitions in (1, 4):
                    lines, times = programs.run(name, broker, partitions, messages)
                    write(f"{name}.output.{partitions}.txt", lines)
                    unexplained += not compared(f"{name}, {partitions} partition(s)", lines, times, made, window)
    sys.exit(1 if unexplained else 0)


def input_line(time, click):
    return json.dumps({"timestamp_ms": time, "key": click["uri"], "value": click})


def write(name, lines):
    (RECORDED / name).write_text("".join(f"{line}\n" for line in lines))


def compared(title, lines, times, made, window):
    """Says how many lines are wrong; true when they are right for the times that the messages really had."""
    wrong = differences(lines, oracle.printed(made, **window))
    regrouped = made if times is None else with_times(made, times)
    left = differences(lines, oracle.printed(regrouped, **window))
    print(f"{title}: {wrong} of {len(lines)} lines differ; {left} by the times of the repartition topic", flush=True)
    return left == 0


def with_times(made, times):
    """The clicks with the times that their forwarded messages have; those of one page stay in order."""
    left = {uri: iter(of_uri) for uri, of_uri in times.items()}
    return [(next(left[click["uri"]]), click) for _, click in made]


def differences(lines, right):
    """Lines of pages compare page by page: their order among each other is nobody's, unless there is one partition."""
    return sum(ours != theirs for ours, theirs in zip(sorted(lines, key=uri), sorted(right, key=uri), strict=True))


def uri(line):
    return line.rsplit(": ", 1)[0]


main()
