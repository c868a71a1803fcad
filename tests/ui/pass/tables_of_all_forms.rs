//! All forms of tables and hooks. Each remains a function that can be called.
#![deny(warnings)]

use faust::prelude::*;

const LOG: &str = "my-log";

#[record]
#[derive(Clone)]
pub struct Click {
    pub uri: String,
    pub at: i64,
}

fn start() -> u64 {
    7
}

#[agent(topic = "clicks")]
pub async fn stream(
    mut clicks: Stream<Click>,
    _counts: Table<String, u64>,
    #[table] _plain: Table<String, u64>,
    #[table(
        name = "sums",
        default = 10,
        help = "Sums per page",
        changelog_topic = "my-log",
        key_codec = "json",
        value_codec = "binary|json",
        partition_by_source
    )]
    _sums: Table<String, i64>,
    #[table(default = start(), changelog_topic = LOG)] _started: faust::Table<String, u64>,
    #[table(default = "none")] _last: Table<String, String>,
    #[table(default = Click { uri: String::new(), at: 0 })] _clicks: Table<String, Click>,
    #[table(window = tumbling("10s"), expires = "1h", relative_to = now)] _now: WindowedTable<String, i64>,
    #[table(window = tumbling("1ms"), expires = "0s", relative_to = stream)] _fine: WindowedTable<String, i64>,
    #[table(window = hopping("1m", "10s"), relative_to = field(Click::at))] _at: WindowedTable<String, i64>,
    #[table(name = "unused")] _: Table<u8, u8>,
) -> Result<()> {
    while let Some(_click) = clicks.next().await {}
    Ok(())
}

#[agent(topic = "clicks")]
async fn per_event(
    _counts: Table<String, u64>,
    click: Click,
    #[table(window = tumbling("10s"))] _sums: WindowedTable<String, i64>,
) -> Result<()> {
    drop(click);
    Ok(())
}

/// Publishes the total.
#[window_close(table = "_now")]
pub async fn closed(
    key: String,
    window: Window,
    total: i64,
    #[topic("totals")] out: Topic<String, i64>,
    _seen: Table<String, u64>,
) -> Result<()> {
    assert!(window.start() < window.end());
    out.send(&key, &total).await?;
    Ok(())
}

#[window_close(table = "_now")]
async fn taken_apart(_: String, _window: faust::Window, Click { uri, at }: Click) {
    println!("{uri} {at}");
}

#[window_late(table = "_now")]
async fn late(key: String, window: Window, event: LateEvent) -> std::io::Result<()> {
    println!("{key} {window} {}", event.offset());
    Ok(())
}

fn main() {
    let hooks = [<closed as faust::HookHandle>::DEF, <late as faust::HookHandle>::DEF];
    let window = Window::new(Timestamp(0), Timestamp(10));
    drop((hooks, late(String::new(), window, LateEvent::new(Timestamp(1), Timestamp(20)))));
    drop(taken_apart(String::new(), window, Click { uri: String::new(), at: 1 }));
}
