"""Exercise 7 without its `group_by`: the topic is already keyed by page, and its messages keep their timestamps."""

from datetime import timedelta

import faust


class ClickEvent(faust.Record):
    email: str
    timestamp: str
    uri: str
    number: int


app = faust.App("exercise7", broker="kafka://localhost:9092", store="memory://")
clickevents_topic = app.topic("com.udacity.streams.clickevents", value_type=ClickEvent)
uri_summary_table = app.Table("uri_summary", default=int).tumbling(timedelta(seconds=10))


@app.agent(clickevents_topic)
async def clickevent(clickevents):
    async for ce in clickevents:
        uri_summary_table[ce.uri] += ce.number
        print(f"{ce.uri}: {uri_summary_table[ce.uri].current()}")


if __name__ == "__main__":
    app.main()
