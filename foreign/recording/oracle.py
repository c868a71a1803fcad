"""What is right, straight from the definitions and with no state: each line is a sum over all clicks up to its own."""


def printed(clicks, size=None, step=None):
    """The lines for clicks of (milliseconds, value), in order; a table without a size is one of plain sums."""
    return [line(clicks[: n + 1], size, step) for n in range(len(clicks))]


def line(so_far, size, step):
    time, click = so_far[-1]
    # The window that began last of those that the click is in.
    start = None if size is None else time - time % step
    numbers = [
        other["number"]
        for at, other in so_far
        if other["uri"] == click["uri"] and (start is None or start <= at < start + size)
    ]
    return f"{click['uri']}: {sum(numbers)}"
