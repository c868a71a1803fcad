"""The expected output, computed from the definitions without state: each line is a sum over all clicks up to its own."""


def printed(clicks, size=None, step=None):
    """Returns the lines for clicks of (milliseconds, value), in order. Without a size, the sums are not windowed."""
    return [line(clicks[: n + 1], size, step) for n in range(len(clicks))]


def line(so_far, size, step):
    time, click = so_far[-1]
    # The latest window that contains the click.
    start = None if size is None else time - time % step
    numbers = [
        other["number"]
        for at, other in so_far
        if other["uri"] == click["uri"] and (start is None or start <= at < start + size)
    ]
    return f"{click['uri']}: {sum(numbers)}"
