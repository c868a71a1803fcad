"""W1: the filter, timed by the broker's timestamps."""

import functools
import json
import statistics
import time

from kafka import KAFKA_HOME, OURS, PARTITIONS, TARGET, ask, in_turn, measure, once, pairs, program, say, tool

INPUT, OUTPUT = "bench.clicks", "bench.popular"


def run(workload, bootstrap, options):
    expected = once(INPUT, options.events, lambda: fill(bootstrap, options.events))
    systems = {
        "rdkafka": lambda _: ([TARGET / "bench-limit", bootstrap, INPUT, OUTPUT], {}),
        **{system: functools.partial(ours, bootstrap, system, "at_least_once", options) for system in pairs(["memory"], options)},
        "exact-memory": functools.partial(ours, bootstrap, OURS + "memory", "exactly_once", options),
    }
    rounds = {system: [] for system in systems}
    for number in range(options.rounds):
        for system, command in in_turn(list(systems.items()), number):
            measured = timed(bootstrap, options.events, *command(f"{number}-{time.time_ns()}"))
            rounds[system].append(measured)
            say(f"{workload} {system} round {number + 1}: {measured['events_per_s']:,.0f} events/s, {measured['cpu']:.2f} CPU s/M")
    reference = rounds["rdkafka"][0]["sum"]
    return [row(workload, system, measured, expected, reference) for system, measured in rounds.items()]


def ours(bootstrap, system, guarantee, options, run):
    path, _ = program("bench-ours", system, options)
    data = KAFKA_HOME / "ours-data"
    # Each round uses its own consumer group, so that it reads from the start.
    environment = {
        "FAUST_BROKER": f"kafka://{bootstrap}", "FAUST_DATADIR": str(data), "BENCH_RUN": run, "FAUST_PROCESSING_GUARANTEE": guarantee,
    }  # fmt: skip
    return [path, "worker", "--until-idle", "2s"], environment


def fill(bootstrap, events):
    for topic in (INPUT, OUTPUT):
        tool("topics", "--create", "--if-not-exists", "--topic", topic, "--partitions", str(PARTITIONS),
             "--config", "message.timestamp.type=LogAppendTime")  # fmt: skip
    if any(ask("bench-topics", bootstrap, "ends", INPUT)):
        raise SystemExit(f"bench/run: `{INPUT}` is only partly filled: run once without --keep")
    say(f"filling `{INPUT}` with {events:,} events")
    return ask("bench-topics", bootstrap, "fill", INPUT, events)


def timed(bootstrap, events, arguments, environment):
    before = ask("bench-topics", bootstrap, "ends", OUTPUT)
    _, usage = measure(arguments, environment)
    total = ask("bench-topics", bootstrap, "sum", OUTPUT, json.dumps(before))
    seconds = (total.pop("last_ms") - total.pop("first_ms")) / 1000
    return {
        "events_per_s": events / seconds if seconds > 0 else 0.0,
        "cpu": (usage.ru_utime + usage.ru_stime) / events * 1e6,
        "rss": usage.ru_maxrss / 1024,
        "sum": total,
    }


def row(workload, system, measured, expected, reference):
    def correct(total):
        return {key: total[key] for key in expected} == expected and total == reference

    def median(name):
        return statistics.median(each[name] for each in measured)

    return {
        "workload": workload,
        "system": system,
        "events_per_s": round(median("events_per_s")),
        "cpu_s_per_million": round(median("cpu"), 3),
        "peak_rss_mb": round(median("rss"), 1),
        "correct": all(correct(each["sum"]) for each in measured),
        "rounds": [{"events_per_s": each["events_per_s"], "cpu_s_per_million": each["cpu"]} for each in measured],
    }
