//! Tables whose declaration has changed since their changelogs were written.

use std::cell::Cell;
use std::time::Duration;

use faust::__private::{AgentCx, AgentDef, AgentFuture, ArgSpec, TableDecl, WindowDecl, arg};
use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use faust::{AgentHandle, Error, Window, WindowSpec};

thread_local! {
    /// The windows of the table in the program that is started next.
    static WINDOWS: Cell<WindowSpec> = Cell::new(tumbling(60));
}

/// Sums the numbers of each window.
#[allow(non_camel_case_types)]
struct summing;

impl AgentHandle for summing {
    const DEF: AgentDef = AgentDef::new("summing", &["in"], |cx: &mut AgentCx<'_>| -> Result<AgentFuture, Error> {
        static NUMBERS: ArgSpec = ArgSpec::new("numbers");
        let table = TableDecl { window: Some(WindowDecl::Of(WINDOWS.get())), ..TableDecl::new() };
        let table: &'static ArgSpec = Box::leak(Box::new(ArgSpec::new("sums").with_table(table)));
        let mut numbers: Stream<i64, String> = arg(cx, &NUMBERS)?;
        let sums: WindowedTable<String, i64> = arg(cx, table)?;
        Ok(Box::pin(async move {
            while let Some(event) = numbers.next_event().await {
                sums.update(event.key(), |sum| *sum += event.value());
            }
            Ok(())
        }))
    });
}

fn tumbling(secs: u64) -> WindowSpec {
    WindowSpec::tumbling(Duration::from_secs(secs)).unwrap()
}

struct Scene {
    driver: TestDriver,
    worker: WorkerId,
    at: Timestamp,
    _directory: tempfile::TempDir,
}

/// Stores, and whether the disk is lost before the changed program starts.
const STORES: [(&str, bool); 5] =
    [("memory://", false), ("sled://", false), ("sled://", true), ("fjall://", false), ("fjall://", true)];

impl Scene {
    /// Runs a program with windows of a minute.
    fn new(store: &str) -> Self {
        WINDOWS.set(tumbling(60));
        let directory = tempfile::tempdir().unwrap();
        let app = App::new("changed").only::<summing>().setting("topic_partitions", 1).setting("store", store);
        let mut driver = TestDriver::new(app.setting("datadir", directory.path().display().to_string())).unwrap();
        let worker = driver.start_worker().unwrap();
        let at = driver.now();
        let mut scene = Self { driver, worker, at, _directory: directory };
        scene.send(3);
        scene.driver.commit();
        scene
    }

    fn send(&mut self, number: i64) {
        let at = self.at;
        self.driver.send_with("in", &"a".to_owned(), &number, |message| message.timestamp(at)).unwrap();
        self.driver.run_until_idle();
    }

    /// Starts a program with other windows, and returns the error that it ends with.
    fn change(&mut self, windows: WindowSpec, loses_disk: bool) -> Option<String> {
        self.driver.crash(self.worker);
        if loses_disk {
            self.driver.lose_disk(self.worker).unwrap();
        }
        WINDOWS.set(windows);
        self.driver.advance(Duration::from_secs(60));
        self.worker = self.driver.start_worker().unwrap();
        self.driver.advance(Duration::from_secs(5));
        self.driver.ended(self.worker).map(|ended| ended.unwrap_err().to_string())
    }

    fn sum(&self, window: Window) -> Option<i64> {
        self.driver.windowed_table::<String, i64>("sums").unwrap().find("a", window)
    }
}

fn expect_refused(windows: WindowSpec, shown: &str, (store, loses_disk): (&str, bool)) {
    let error = Scene::new(store).change(windows, loses_disk).unwrap_or_else(|| panic!("{store} accepts {shown}"));
    let expected = format!("holds windows `tumbling 1m`, but the program declares windows `{shown}`");
    assert!(error.starts_with("table `sums`, partition 0: ") && error.contains(&expected), "{store}: {error}");
    assert!(error.contains("revert the declaration") && error.contains("`version`"), "{error}");
}

#[test]
fn other_windows_are_refused_with_and_without_a_store() {
    for store in STORES {
        expect_refused(tumbling(10), "tumbling 10s", store);
    }
    let hopping = WindowSpec::hopping(Duration::from_secs(60), Duration::from_secs(10)).unwrap();
    expect_refused(tumbling(3600), "tumbling 1h", STORES[0]);
    expect_refused(hopping, "hopping 1m by 10s", STORES[0]);
}

#[test]
fn windows_that_are_kept_for_another_time_are_the_same() {
    for (store, loses_disk) in STORES {
        let mut scene = Scene::new(store);
        let windows = tumbling(60).with_expires(Duration::from_secs(48 * 3600)).unwrap();
        assert_eq!(scene.change(windows, loses_disk), None, "{store}");
        scene.send(4);
        assert_eq!(scene.sum(windows.current(scene.at)), Some(7), "{store}, disk lost: {loses_disk}");
    }
}

#[agent(topic = "declared-control")]
async fn reads_control(_number: i64) {}

/// An app must not write into a topic of its user.
#[test]
fn the_control_topic_is_no_topic_of_an_agent() {
    let error = TestDriver::new(App::new("declared").only::<reads_control>()).unwrap().start_worker().unwrap_err();
    assert!(error.to_string().contains("topic `declared-control` is the app's control topic"), "{error}");
}
