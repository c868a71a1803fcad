//! The agents and hooks of an app: discovered ones, and those that the app names.

use std::time::Duration;

use faust::prelude::*;
use faust::testing::{START, TestDriver};
use faust::{AppBuilder, Error};

/// An agent with the hooks of its table.
mod pages {
    use super::*;

    #[agent(topic = "clicks")]
    pub(super) async fn count(
        mut clicks: Stream<i64, String>,
        #[table(window = tumbling("10ms"), expires = "0s")] views: WindowedTable<String, i64>,
    ) {
        while let Some(click) = clicks.next_event().await {
            views.update(click.key(), |sum| *sum += click.value());
        }
    }

    #[window_close(table = "views")]
    pub(super) async fn closed(
        page: String,
        _window: Window,
        sum: i64,
        #[topic("closed")] out: Topic<String, i64>,
    ) -> Result<()> {
        out.send(&page, &sum).await?;
        Ok(())
    }

    mod below {
        use super::*;

        #[window_late(table = "views")]
        async fn late(
            page: String,
            _window: Window,
            event: LateEvent,
            #[topic("late")] out: Topic<String, i64>,
        ) -> Result<()> {
            out.send(&page, &event.offset().0).await?;
            Ok(())
        }
    }

    #[agent(topic = "clicks")]
    pub(super) async fn copy(
        mut clicks: Stream<i64, String>,
        #[topic("copied")] out: Topic<String, i64>,
    ) -> Result<()> {
        while let Some(click) = clicks.next_event().await {
            out.send(click.key(), click.value()).await?;
        }
        Ok(())
    }
}

/// Hooks outside the module of the agents.
mod reports {
    use super::*;

    #[window_close(table = "views")]
    pub(super) async fn publish(
        page: String,
        _window: Window,
        sum: i64,
        #[topic("published")] out: Topic<String, i64>,
    ) -> Result<()> {
        out.send(&page, &(sum * 100)).await?;
        Ok(())
    }

    #[window_close(table = "orders")]
    pub(super) async fn for_no_table(_page: String, _window: Window, _sum: i64) {}
}

/// Runs the app over two windows and a late event, and returns the values in each topic that exists.
fn run<const N: usize>(app: AppBuilder, topics: [&str; N]) -> [Option<Vec<i64>>; N] {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    driver.start_worker().unwrap();
    for (value, time) in [(1, 0), (2, 5), (4, 10), (8, 0)] {
        let time = Timestamp(START.0 + time);
        driver.send_with("clicks", &"a".to_owned(), &value, |message| message.timestamp(time)).unwrap();
        driver.run_until_idle();
    }
    driver.advance(Duration::from_secs(10));
    topics.map(|topic| {
        let messages = driver.read::<String, i64>(topic).ok()?;
        Some(messages.into_iter().map(|(_, value)| value).collect())
    })
}

fn values<const N: usize>(values: [i64; N]) -> Option<Vec<i64>> {
    Some(values.into())
}

#[test]
fn only_runs_its_agent_with_the_hooks_of_its_module() {
    let app = App::new("selection").only::<pages::count>();
    // The first window is closed with 1 + 2, and the event at offset 3 is late.
    assert_eq!(run(app, ["closed", "late", "published", "copied"]), [values([3]), values([3]), None, None]);
}

#[test]
fn only_leaves_out_the_hooks_of_tables_that_no_agent_takes() {
    let app = App::new("selection").only::<pages::copy>();
    assert_eq!(run(app, ["copied", "closed", "late"]), [values([1, 2, 4, 8]), None, None]);
}

#[test]
fn a_named_hook_replaces_the_discovered_one() {
    let app = App::new("selection").only::<pages::count>().hook::<reports::publish>();
    assert_eq!(run(app, ["closed", "late", "published"]), [None, values([3]), values([300])]);
    let app = App::new("selection").discover_in("driver::selection::pages").hook::<reports::publish>();
    assert_eq!(run(app, ["closed", "late", "published"]), [None, values([3]), values([300])]);
}

#[test]
fn a_hook_that_is_named_and_discovered_is_called_once() {
    let app = App::new("selection").only::<pages::count>().hook::<pages::closed>();
    assert_eq!(run(app, ["closed"]), [values([3])]);
}

#[test]
fn a_hook_of_no_table_is_a_fault_unless_only_has_found_it() {
    let fault = |app: AppBuilder| {
        let mut driver = TestDriver::new(app).unwrap();
        let Err(Error::Setup(faults)) = driver.start_worker() else { panic!("the app has no fault") };
        faults.faults().to_vec()
    };
    let is_reported = |app| {
        let faults = fault(app);
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        let text = "is for table `orders`, which no agent uses; known tables: `views`";
        assert!(fault.starts_with("hook `for_no_table` (") && fault.ends_with(text), "{fault}");
    };
    is_reported(App::new("selection").only::<pages::count>().hook::<reports::for_no_table>());
    let discovered = App::new("selection").discover_in(module_path!());
    // `publish` and `closed` are for the same windows, so one of them is named.
    is_reported(discovered.hook::<pages::closed>());
}
