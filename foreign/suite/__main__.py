"""Runs every check on every broker and counts the results: `python -m suite [embedded] [kafka]`."""

import sys
import time
import traceback

from . import admin, brokers, clients, console, lesson, ours, python_faust, streams, tables, transactions

PARTS = [clients, console, admin, lesson, python_faust, tables, transactions, streams]


def main(names):
    unknown = set(names) - {"embedded", "kafka"}
    if unknown:
        sys.exit(f"foreign/run: the brokers are embedded and kafka, not {', '.join(sorted(unknown))}")
    programs = ours.build()
    passed, failed = 0, 0
    for name, start in [("embedded", brokers.embedded), ("kafka", brokers.kafka)]:
        if names and name not in names:
            continue
        with start(programs) as broker:
            for check in [check for part in PARTS for check in part.checks(broker, programs)]:
                began = time.monotonic()
                ok = passes(check)
                passed, failed = passed + ok, failed + (not ok)
                mark = "ok" if ok else "FAILED"
                print(f"{mark:6} {name}: {title(check)} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)


def passes(check):
    try:
        check()
    except Exception:  # a failed check must not prevent the others
        traceback.print_exc()
        return False
    return True


def title(check):
    """Returns the name of a check: its function's docstring, formatted with the bound arguments."""
    doc = check.func.__doc__.strip().rstrip(".")
    return doc.format(*check.args)


main(sys.argv[1:])
