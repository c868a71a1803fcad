"""W2, W4 and W6: counts in tables, measured inside the processes with the same meter."""

import json
import os
import shutil
import statistics
import time

from kafka import BASE, KAFKA_HOME, OURS, PARTITIONS, TARGET, ask, in_turn, measure, once, pairs, program, say

STORES = ("memory", "sled", "fjall")
# The systems of W5: this build under one guarantee and the other.
AT_LEAST, EXACTLY = "least-", "exact-"
GUARANTEES = {AT_LEAST: "at_least_once", EXACTLY: "exactly_once"}
MILLION = 1_000_000


def count(workload, bootstrap, options):
    size, what = {
        "W2-1k": ("1k", "keyed"), "W2-100k": ("100k", "keyed"), "W2-1M": ("1M", "keyed"), "W4-tumbling": ("1k", "tumbling"),
        "W5-1k": ("1k", "keyed"), "W5-100k": ("100k", "keyed"),
    }[workload]  # fmt: skip
    # Twice as many events, so that the run covers several commits of the store.
    events = options.events * (2 if workload == "W2-1M" else 1)
    topic, expected = filled(bootstrap, size, events)

    def one(system, number):
        if system == "loop":
            return answer([TARGET / "bench-loop-tables", bootstrap, what, topic, events])
        run = name(workload, number)
        try:
            measured = ours(bootstrap, run, system, options, [what, topic, events])
            measured["tally"] = ask("bench-keyed", bootstrap, "tally", f"bench-{run}-counts-changelog", what)
        finally:
            clean(bootstrap, run)
        return measured

    def told(measured):
        stored = f", {events / measured['sustained_s']:,.0f} sustained" if "sustained_s" in measured else ""
        return f"{events / measured['processed_s']:,.0f} events/s{stored}"

    def row(measured):
        yield "events_per_s", round(events / median(measured, "processed_s"))
        if "sustained_s" in measured[0]:
            yield "sustained_per_s", round(events / median(measured, "sustained_s"))
        yield "cpu_s_per_million", round(median(measured, "cpu_s") / events * MILLION, 3)
        yield "max_stall_ms", round(median(measured, "max_stall_ms"), 1)

    both = [kind + store for store in STORES for kind in (AT_LEAST, EXACTLY)]
    systems = ("loop", *(both if workload.startswith("W5") else pairs(STORES, options)))
    return alternate(workload, options.rounds, systems, one, told, row, expected[what])


def restore(workload, bootstrap, options):
    # Half as many events as in the other workloads: each of the million keys occurs twice.
    events = options.events // 2
    topic, expected = filled(bootstrap, "restored", events)
    # Each build restores a changelog of its own: an earlier one may not understand the records of this one, and discards them.
    kinds = (BASE, OURS) if options.base else (OURS,)
    runs = {kind: once(f"restore-{kind}run", events, lambda kind=kind: changelog(bootstrap, topic, events, kind, options))["run"] for kind in kinds}

    def one(system, _):
        if system == "loop":
            return answer([TARGET / "bench-loop-tables", bootstrap, "restore", f"bench-{runs[OURS]}-counts-changelog"])
        try:
            run = runs[BASE if system.startswith(BASE) else OURS]
            return ours(bootstrap, run, system, options, ["restore", topic])
        finally:
            forget_data()

    def told(measured):
        stored = f", caught up after {measured['caught_up_s']:.1f} s" if "caught_up_s" in measured else ""
        return f"{measured['records'] / measured['readable_s']:,.0f} records/s{stored}"

    def row(measured):
        records = median(measured, "records")
        yield "records_per_s", round(records / median(measured, "readable_s"))
        if "caught_up_s" in measured[0]:
            yield "caught_up_s", round(median(measured, "caught_up_s"), 2)
            yield "sustained_per_s", round(records / median(measured, "caught_up_s"))
        yield "records", round(records)
        yield "cpu_s_per_million", round(median(measured, "cpu_s") / records * MILLION, 3)

    # All systems must have read the same records.
    systems = ("loop", *pairs(STORES[1:], options))
    return alternate(workload, options.rounds, systems, one, told, row, expected["keyed"], same="records")


def alternate(workload, rounds, systems, one, told, row, expected, same=None):
    """Runs the rounds of the systems alternately; returns a row of medians for each system."""
    measured = {system: [] for system in systems}
    for number in range(rounds):
        for system in in_turn(systems, number):
            latest = one(system, number)
            measured[system].append(latest)
            wrong = "" if latest["tally"] == expected else f"; WRONG: {latest['tally']}, expected {expected}"
            say(f"{workload} {system} round {number + 1}: {told(latest)}, {latest['cpu_s']:.1f} CPU s{wrong}")
    reference = measured["loop"][0]

    def correct(each):
        return each["tally"] == expected == reference["tally"] and (same is None or each[same] == reference[same])

    return [
        {
            "workload": workload,
            "system": system,
            **dict(row(of_system)),
            "peak_rss_mb": round(median(of_system, "peak_rss_mb"), 1),
            "correct": all(correct(each) for each in of_system),
            "rounds": [dict(row([each])) for each in of_system],
        }
        for system, of_system in measured.items()
    ]


def median(measured, field):
    return statistics.median(each[field] for each in measured)


def ours(bootstrap, run, system, options, command):
    guarantee = {}
    for kind, name in GUARANTEES.items():
        if system.startswith(kind):
            system, guarantee = OURS + system.removeprefix(kind), {"FAUST_PROCESSING_GUARANTEE": name}
    path, store = program("bench-ours-tables", system, options)
    return answer([path, *command], {**environment(bootstrap, run, store), **guarantee})


def environment(bootstrap, run, store):
    """Returns the environment of this framework's program."""
    return {
        **os.environ,
        "FAUST_BROKER": f"kafka://{bootstrap}",
        "FAUST_DATADIR": str(data()),
        "FAUST_STORE": f"{store}://",
        "FAUST_PROCESSING_GUARANTEE": GUARANTEES[AT_LEAST],
        "BENCH_RUN": run,
    }


def answer(command, environment=None):
    return json.loads(measure(command, environment or {})[0])


def filled(bootstrap, size, events):
    """Returns a topic filled with clicks keyed by page, and the expected tallies of their counts."""
    topic = f"bench.keyed-{size}"
    turns = min(MILLION, max(events // 2, 1)), "in-turn"
    keys, order = {"1k": (1000, "uniform"), "100k": (100_000, "uniform"), "1M": turns, "restored": turns}[size]

    def fill():
        say(f"filling `{topic}` with {events:,} events over {keys:,} keys")
        # The events have old timestamps on purpose, so retention is disabled.
        ask("bench-keyed", bootstrap, "create", topic, PARTITIONS, "retention.ms=-1")
        return ask("bench-keyed", bootstrap, "fill", topic, events, keys, order)

    return topic, once(topic, events, fill)


def changelog(bootstrap, topic, events, kind, options):
    """Runs a worker of a build that writes the changelog to restore, and commits all offsets."""
    run = name("restore", 0)
    say(f"writing the changelog of {events:,} events")
    try:
        ours(bootstrap, run, f"{kind}memory", options, ["keyed", topic, events])
    finally:
        forget_data()
    return {"run": run}


def name(workload, number):
    return f"{workload}-{number}-{time.time_ns()}"


def clean(bootstrap, run):
    """Deletes the local data and the topics of a run, so that disk usage does not grow from round to round."""
    forget_data()
    ask("bench-keyed", bootstrap, "delete", f"bench-{run}-")


def data():
    return KAFKA_HOME / "ours-data"


def forget_data():
    shutil.rmtree(data(), ignore_errors=True)
