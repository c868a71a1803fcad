"""A program of Python Faust: `send BROKER TOPIC`, `worker BROKER SOURCE ANSWERS DIRECTORY`, `show BROKER TOPIC DIRECTORY`."""

import asyncio
import json
import sys

import faust

MODE, BROKER = sys.argv[1:3]


class ClickEvent(faust.Record, validation=True):
    """The lesson's click."""

    email: str
    timestamp: str
    uri: str
    number: int


def app(name="theirs", **settings):
    return faust.App(name, broker=f"kafka://{BROKER}", store="memory://", topic_partitions=4, web_enabled=False, **settings)


async def send(topic):
    theirs = app()
    clicks = theirs.topic(topic, key_type=str, value_type=ClickEvent)
    await theirs.producer.start()
    for line in sys.stdin:
        click = ClickEvent.from_data(json.loads(line))
        await (await clicks.send(key=click.uri, value=click))
    await theirs.producer.stop()


def work(source, answers, directory):
    theirs = app(datadir=directory)
    answers = theirs.topic(answers, key_type=str, value_type=ClickEvent)

    @theirs.agent(theirs.topic(source, key_type=str, value_type=ClickEvent))
    async def answer(clicks):
        async for click in clicks:
            await answers.send(key=click.uri, value=click)

    sys.argv[1:] = ["worker", "--without-web", "-l", "info"]
    theirs.main()


def show(topic, directory):
    theirs = app("theirs-show", datadir=directory)

    @theirs.agent(theirs.topic(topic, key_type=str, value_type=int))
    async def show_items(sums):
        async for page, total in sums.items():
            print(json.dumps({"page": page, "total": total}), flush=True)

    sys.argv[1:] = ["worker", "--without-web", "-l", "warn"]
    theirs.main()


if MODE == "send":
    asyncio.run(send(sys.argv[3]))
elif MODE == "show":
    show(*sys.argv[3:5])
else:
    work(*sys.argv[3:6])
