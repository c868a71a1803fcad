"""Records each exercise with one and four partitions, and compares it with the expected output: `python -m recording`."""

import json
import pathlib
import sys

from suite import brokers

from . import clicks, oracle, programs

RECORDED = pathlib.Path(__file__).resolve().parents[1] / "recorded"
# For each exercise: the seed of its clicks, the size and step of its windows, and its programs.
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
    """Prints the number of differing lines; returns true if all lines are correct for the actual message timestamps."""
    wrong = differences(lines, oracle.printed(made, **window))
    regrouped = made if times is None else with_times(made, times)
    left = differences(lines, oracle.printed(regrouped, **window))
    print(f"{title}: {wrong} of {len(lines)} lines differ; {left} with the timestamps of the repartition topic", flush=True)
    return left == 0


def with_times(made, times):
    """Returns the clicks with the timestamps of their forwarded messages. The clicks of one page keep their order."""
    left = {uri: iter(of_uri) for uri, of_uri in times.items()}
    return [(next(left[click["uri"]]), click) for _, click in made]


def differences(lines, right):
    """Counts differing lines page by page: with several partitions, the order between pages is undefined."""
    return sum(ours != theirs for ours, theirs in zip(sorted(lines, key=uri), sorted(right, key=uri), strict=True))


def uri(line):
    return line.rsplit(": ", 1)[0]


main()
