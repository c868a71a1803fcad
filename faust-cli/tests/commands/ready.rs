//! The option `--ready-file` of the command `worker`.

use std::time::{Duration, Instant};

use crate::harness::Shop;

#[test]
fn the_ready_file_exists_while_the_worker_is_ready() {
    let shop = Shop::new();
    let file = shop.directory.path().join("ready");
    // As a killed worker has left it.
    std::fs::write(&file, "").unwrap();
    let options = ["--ready-file", "ready"];
    // The line is printed once the worker has started, before it is assigned its partitions.
    let (worker, _log) = shop.worker(&options, "it is for one machine");
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the worker does not become ready");
        std::thread::yield_now();
    }
    worker.interrupt();
    assert!(!file.exists(), "the worker has ended");
    assert!(shop.fails(1, &["worker", "--ready-file", "missing/ready"]).contains("no directory `missing`"));
}
