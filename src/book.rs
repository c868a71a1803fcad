//! Compiles the code of the book together with the doc tests.

/// Makes each page the documentation of a struct, where rustdoc finds its code. Pages without code in Rust are left out.
macro_rules! pages {
    ($($name:ident: $page:literal),* $(,)?) => {
        $(#[doc = include_str!(concat!("../docs/src/", $page))] struct $name;)*
    };
}

pages! {
    FirstProgram: "lesson/01-first-program.md",
    Records: "lesson/02-records.md",
    Sending: "lesson/03-sending.md",
    Filtering: "lesson/04-filtering.md",
    Processors: "lesson/05-processors.md",
    Tables: "lesson/06-tables.md",
    TumblingWindows: "lesson/07-tumbling-windows.md",
    HoppingWindows: "lesson/08-hopping-windows.md",
    WordCount: "lesson/09-word-count.md",
    ClosedWindows: "lesson/10-closed-windows.md",
    Withdrawals: "lesson/11-withdrawals.md",
    EventTime: "concepts/event-time.md",
    Windows: "concepts/windows.md",
    Failure: "concepts/failure.md",
    Testing: "how-to/testing.md",
    Partitions: "how-to/partitions.md",
    Planning: "how-to/planning.md",
    BlockingCode: "how-to/blocking-code.md",
    Database: "how-to/database.md",
    ChangingRecords: "how-to/changing-records.md",
    EmbeddedWorker: "how-to/embedded-worker.md",
    PythonFaust: "coming-from/python-faust.md",
}
