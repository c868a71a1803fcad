"""The types of the arguments that the benchmark scripts share."""

import argparse
import pathlib


def workloads(known):
    """Returns a parser of a list of these workloads, separated by commas."""

    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown workload `{name}`; the workloads are {', '.join(known)}")
        return names

    return parse


def programs(text):
    """Parses the directory with the programs of an earlier build."""
    folder = pathlib.Path(text).resolve()
    for name in ("bench-ours", "bench-ours-tables"):
        if not (folder / name).is_file():
            raise argparse.ArgumentTypeError(f"`{folder / name}` does not exist; build it with `cargo build --release -p faust-bench`")
    return folder
