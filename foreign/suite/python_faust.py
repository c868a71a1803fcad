"""Python Faust and Faust for Rust read each other's messages."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from functools import partial

from . import ours
from .clients import assert_same
from .tools import PATIENCE, completed, java, reader_ours

APP = pathlib.Path(__file__).with_name("python_faust_app.py")


def checks(broker, programs):
    yield partial(theirs_has_metadata, broker, programs)
    yield partial(their_agent_reads_ours, broker, programs)


def send(broker, topic, clicks):
    """Sends clicks as Python Faust's records; returns the clicks."""
    text = "".join(json.dumps(click) + "\n" for click in clicks)
    command = [sys.executable, str(APP), "send", broker, topic]
    completed(command, text)
    return clicks


def theirs_has_metadata(broker, programs):
    """Python Faust's records, which contain its metadata, are read by Faust for Rust."""
    topic = "foreign.theirs"
    java(broker, "topics", "--create", "--topic", topic, "--partitions", "1")
    click = {"email": "a@b.c", "timestamp": "t", "uri": "u", "number": 7}
    send(broker, topic, [click])
    [(_, key, value)] = reader_ours(programs["hello_world"])(broker, topic, 1)
    assert key == "u" and json.loads(value).pop("__faust"), f"{key}: {value} has no Python Faust metadata"


def their_agent_reads_ours(broker, programs):
    """Python Faust's agent reads the output of our filter, and its answers are read by Faust for Rust."""
    source, answers = "com.udacity.streams.clickevents.popular", "foreign.answers"
    java(broker, "topics", "--create", "--topic", answers, "--partitions", "4")
    read = ours.run(programs["filter"], broker, "consume", source, "--from-beginning", "--timeout", "3s")
    expected = [json.loads(line) for line in read.splitlines()]
    assert expected, "the filter has sent nothing"
    with tempfile.TemporaryDirectory() as directory, open(os.path.join(directory, "log"), "w+") as log:
        command = [sys.executable, str(APP), "worker", broker, source, answers, directory]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            got = answers_read(broker, programs, answers, len(expected), process)
        except Exception as error:
            log.seek(0)
            raise RuntimeError(f"{error}; output of Python Faust:\n{log.read()[-3000:]}") from error
        finally:
            # A clean shutdown of Python Faust is not part of this check.
            process.kill()
            process.wait()
    got = [{name: value for name, value in answer.items() if name != "__faust"} for answer in got]
    canonical = partial(json.dumps, sort_keys=True)
    assert_same("messages read by Python Faust", map(canonical, got), map(canonical, expected))


def answers_read(broker, programs, topic, count, process):
    deadline = time.monotonic() + PATIENCE
    while True:
        output = ours.run(programs["filter"], broker, "consume", topic, "--from-beginning", "--timeout", "2s")
        answers = [json.loads(line) for line in output.splitlines()]
        if len(answers) >= count:
            return answers
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{len(answers)} of {count} answers")


def shown(broker, topic, count):
    """Returns the first `count` keys and numbers of a topic, as received by an agent of Python Faust."""
    with tempfile.TemporaryDirectory() as directory, open(os.path.join(directory, "log"), "w+") as log:
        command = [sys.executable, str(APP), "show", broker, topic, directory]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                log.seek(0)
                text = log.read()
                # Faust adds a prefix to the output of a worker.
                items = [json.loads(line) for line in re.findall(r'{"page": .*?}', text)]
                if len(items) >= count:
                    return [(item["page"], item["total"]) for item in items]
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{len(items)} of {count} items; output of Python Faust:\n{text[-3000:]}")
                time.sleep(0.2)
        finally:
            # A clean shutdown of Python Faust is not part of this check.
            process.kill()
            process.wait()
