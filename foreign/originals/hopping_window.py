"""Exercise 8: sums the clicks on each page in windows of a minute that start every ten seconds."""

from datetime import timedelta

import faust


class ClickEvent(faust.Record):
    email: str
    timestamp: str
    uri: str
    number: int


app = faust.App("exercise8", broker="kafka://localhost:9092", store="memory://")
clickevents_topic = app.topic("com.udacity.streams.clickevents", value_type=ClickEvent)
uri_summary_table = app.Table("uri_summary", default=int).hopping(size=timedelta(minutes=1), step=timedelta(seconds=10))


@app.agent(clickevents_topic)
async def clickevent(clickevents):
    async for ce in clickevents.group_by(ClickEvent.uri):
        uri_summary_table[ce.uri] += ce.number
        print(f"{ce.uri}: {uri_summary_table[ce.uri].current()}")


if __name__ == "__main__":
    app.main()
