"""The brokers used by the checks. Each is started here and used by nothing else."""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KAFKA = ROOT / "scripts" / "kafka"
HOME = pathlib.Path(os.environ.get("FAUST_KAFKA_HOME", ROOT / ".kafka"))
LIBS = pathlib.Path(os.environ.get("FAUST_KAFKA_LIBS", HOME / "libs"))


@contextlib.contextmanager
def embedded(programs, configs=None):
    """Runs the embedded broker with these configs on a temporary directory, as a separate process."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        process = subprocess.Popen([programs["serve"], str(port), directory, *settings(configs)], stdout=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield f"127.0.0.1:{port}"
            if process.poll() is not None:
                raise RuntimeError(f"the embedded broker exited with {process.returncode}")
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def kafka(_, configs=None):
    """Runs an Apache Kafka with these configs, temporary data and the existing jars."""
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, FAUST_KAFKA_HOME=home, FAUST_KAFKA_LIBS=str(LIBS))
        given = [argument for setting in settings(configs) for argument in ("--set", setting)]
        try:
            up = subprocess.run([KAFKA, "up", *given], env=environment, stdout=subprocess.PIPE, text=True, check=True)
            yield up.stdout.strip()
        finally:
            subprocess.run([KAFKA, "down"], env=environment, check=False)


def settings(configs):
    return [f"{name}={value}" for name, value in (configs or {}).items()]


def fetch_jars():
    """Downloads the console tools, which are also needed for the embedded broker, if Kafka has never been started here."""
    if not any(LIBS.glob("kafka-tools-*.jar")):
        environment = dict(os.environ, FAUST_KAFKA_LIBS=str(LIBS))
        subprocess.run([KAFKA, "up"], env=environment, stdout=subprocess.DEVNULL, check=True)
        subprocess.run([KAFKA, "down"], env=environment, check=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def wait_for_port(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
