//! User items with the names of standard and framework items: the expansions use absolute paths, so nothing collides.
#![allow(non_camel_case_types, unused)]

mod faust_core {}
mod core {}
mod std {}
mod serde {}

struct Ok;
struct Err;
struct Some;
struct Box;
struct Result;
struct Clone;
#[::faust::record]
struct D(i64);
struct cx;
struct event;
struct running;
struct value;
struct read;
struct argument_0;
struct Window;
struct LateEvent;

#[::faust::record(key = from, timestamp = out)]
struct Click {
    #[field(len = 1..=9)]
    from: ::std::string::String,
    #[field(default = 3, range = 1..)]
    out: i64,
    #[field(check = accept)]
    d: D,
}

fn accept(_: &D) -> ::std::result::Result<(), ::std::string::String> {
    ::std::result::Result::Ok(())
}

#[::faust::agent(topic = "clicks")]
async fn stream(mut clicks: ::faust::Stream<Click>, #[topic("out")] pages: ::faust::Topic<::std::string::String, Click>) {
    while let ::std::option::Option::Some(_) = clicks.next().await {}
}

#[::faust::agent(topic = "clicks", sink = "out")]
async fn per_event(click: Click, #[topic("out")] pages: ::faust::Topic<::std::string::String, Click>) -> u8 {
    1
}

#[::faust::agent(topic = "clicks")]
async fn tables(
    mut clicks: ::faust::Stream<Click>,
    #[table(window = tumbling("1s"), default = 7, relative_to = field(Click::out))]
    sums: ::faust::WindowedTable<::std::string::String, i64>,
) {
    while let ::std::option::Option::Some(_) = clicks.next().await {}
}

#[::faust::window_close(table = "sums")]
async fn closed(
    key: ::std::string::String,
    window: ::faust::Window,
    total: i64,
    #[topic("out")] pages: ::faust::Topic<::std::string::String, Click>,
) {
}

#[::faust::window_late(table = "sums")]
async fn late(key: ::std::string::String, window: ::faust::Window, late: ::faust::LateEvent) {}

fn main() {}
