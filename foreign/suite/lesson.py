"""The lesson's five examples process the messages of all clients, and all clients read their output."""

import json
from functools import partial

from . import ours, python_faust
from .clients import assert_same, placed
from .tools import FEEDERS, READERS, java, reader_ours

CLICKS = "com.udacity.streams.clickevents"
PARTITIONS = 4
EACH = 25


def checks(broker, programs):
    fed = []
    yield partial(feed, "clicks, send, Python Faust, " + ", ".join(FEEDERS), broker, programs, fed)
    yield partial(printed, "hello_world", broker, programs, fed)
    yield partial(printed, "deserialization", broker, programs, fed)
    for example, expected in OUTPUTS.items():
        yield partial(forwarded, example, expected, broker, programs, fed)


def click(n, who):
    """Returns a click. All clicks are different."""
    uri = f"https://shop.example/{'search/' * (n % 3)}{n % 7}"
    return {"email": f"{who}-{n}@example.com", "timestamp": f"2026-01-01T00:00:{n:02}Z", "uri": uri, "number": n * 37 % 200}


def feed(_, broker, programs, fed):
    """{0} send the clicks."""
    java(broker, "topics", "--create", "--topic", CLICKS, "--partitions", str(PARTITIONS))
    for feeder, feed_some in FEEDERS.items():
        made = [click(n, feeder.replace(" ", "-")) for n in range(EACH)]
        feed_some(broker, CLICKS, [(made["uri"], json.dumps(made)) for made in made])
        fed += made
    made = [click(n, "send") for n in range(EACH)]
    text = "".join(json.dumps(made) + "\n" for made in made)
    ours.run(programs["hello_world"], broker, "send", CLICKS, "-", "--key", "k", text=text)
    fed += made
    fed += python_faust.send(broker, CLICKS, [click(n, "faust") for n in range(EACH)])
    ours.run(programs["clicks"], broker, "7", "0", str(EACH))
    generated = [json.loads(value) for _, _, value in reader_of_values(programs)(broker, CLICKS, len(fed) + EACH)]
    mine = [made for made in generated if made["email"].startswith("user")]
    assert len(mine) == EACH, f"the generator made {len(mine)} clicks"
    fed += mine


def reader_of_values(programs):
    """Returns a reader that accepts messages without keys."""
    return reader_keyless(programs["hello_world"])


def reader_keyless(program):
    def read(broker, topic, count):
        output = ours.run(program, broker, "consume", topic, "--from-beginning", "-n", str(count), "--timeout", "60s")
        return [(0, "", line) for line in output.splitlines()]

    return read


def work(example, broker, programs):
    """Runs the example's worker until it has processed all messages."""
    output = ours.run(programs[example], broker, "worker", "--until-idle", "2s")
    lag = [line.split() for line in java(broker, "groups", "--describe", "--group", example).splitlines()]
    lag = {row[2]: row[5] for row in lag if row[:2] == [example, CLICKS]}
    assert lag == {str(partition): "0" for partition in range(PARTITIONS)}, f"{example} has committed: {lag}"
    return output


def printed(example, broker, programs, fed):
    """{0} prints every click."""
    output = work(example, broker, programs)
    decoder, clicks = json.JSONDecoder(), []
    rest = output[output.index("{"):] if "{" in output else ""
    while rest:
        value, end = decoder.raw_decode(rest)
        clicks.append(value)
        rest = rest[end:].lstrip()
    if example == "deserialization":
        assert '{\n  "email": ' in output, "the JSON is not indented"
    without = ({name: value for name, value in click.items() if name != "__faust"} for click in clicks)
    assert_same(example, map(canonical, without), map(canonical, fed))


def canonical(value):
    return json.dumps(value, sort_keys=True)


def sanitized(click):
    return {name: click[name] for name in ("timestamp", "uri", "number")}


def popular(click):
    return click if click["number"] >= 100 else None


def scored(click):
    return click | {"score": min(len(click["uri"]) + click["number"] // 10, 100)}


OUTPUTS = {"serialization": ("sanitized", sanitized), "filter": ("popular", popular), "processors": ("scored", scored)}


def forwarded(example, expected, broker, programs, fed):
    """{0} writes the expected messages, as read by every client."""
    topic, made_of = f"{CLICKS}.{expected[0]}", expected[1]
    work(example, broker, programs)
    wanted = [made for made in map(made_of, fed) if made]
    described = java(broker, "topics", "--describe", "--topic", topic)
    partitions = int(described.split("PartitionCount:")[1].split()[0])
    wanted = [(placed(made["uri"], partitions), made["uri"], canonical(made)) for made in wanted]
    readers = READERS | {"consume": reader_ours(programs[example])}
    for reader, read in readers.items():
        got = [(partition, key, canonical(json.loads(value))) for partition, key, value in read(broker, topic, len(wanted))]
        assert_same(f"{topic} read by {reader}", got, wanted)
