"""Deterministic clicks for the recordings: on and next to window boundaries, some of them late."""

import datetime

START = 1767225600000  # 2026-01-01T00:00:00Z, a boundary of every window of the lesson
BORDERS, STEP = 24, 10_000
# Offsets from a boundary. Faust's windows end 100 ms before it.
BESIDE = [-101, -100, -99, -50, -1, 0, 1]
COUNT = 200
PAGES = ["/", "/search", "/cart"]


def made(seed):
    """Returns clicks in sending order: (milliseconds, value)."""
    random = numbers(seed)
    times = [START + STEP * (1 + n % BORDERS) + BESIDE[n % len(BESIDE)] for n in range(120)]
    times += [START + next(random) % (BORDERS * STEP) for _ in range(COUNT - len(times))]
    # One in five is up to 50 s late, and is therefore sent after clicks of later windows.
    delays = [next(random) % 50_000 if next(random) % 5 == 0 else 0 for _ in times]
    order = sorted(range(COUNT), key=lambda n: (times[n] + delays[n], n))
    return [(times[n], click(times[n], next(random), next(random))) for n in order]


def click(time, who, number):
    return {
        "email": f"user{who % 100}@example.com",
        "timestamp": datetime.datetime.fromtimestamp(time / 1000, datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "uri": "https://shop.example" + PAGES[who // 100 % len(PAGES)],
        "number": number % 200,
    }


def numbers(state):
    """A linear congruential generator, which yields the same numbers in every language."""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33
