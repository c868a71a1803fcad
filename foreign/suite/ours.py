"""The programs of this project: the lesson's examples and the broker, built by cargo and run like a user would."""

import json
import os
import subprocess
import tempfile

from .brokers import ROOT, fetch_jars

EXAMPLES = ["clicks", "deserialization", "filter", "hello_world", "processors", "serialization", "tables"]


def build():
    """Builds the programs; returns their paths by name."""
    fetch_jars()
    wanted = [argument for name in EXAMPLES for argument in ("--example", name)]
    return built("-p", "faust-streams", *wanted) | built("-p", "faust-broker", "--example", "serve")


def built(*arguments):
    command = ["cargo", "build", "--quiet", "--message-format=json-render-diagnostics", *arguments]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}


def run(program, broker, *arguments, text=None):
    """Runs a program on a broker until it exits; returns its standard output."""
    with tempfile.TemporaryDirectory() as directory:
        environment = dict(os.environ, FAUST_BROKER=broker, FAUST_DATADIR=directory, FAUST_TOPIC_PARTITIONS="4")
        command = [program, *arguments]
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{command} exited with {done.returncode}:\n{done.stderr}")
        return done.stdout
