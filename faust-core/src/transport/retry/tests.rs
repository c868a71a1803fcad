//! Tests of the retries: their reports, their end, and their deadline.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;

#[test]
fn a_reason_is_due_at_once_and_again_after_the_interval() {
    let (mut reported, start) = (Reported::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(!reported.is_recent(start));
    let due = [("a", 0, true), ("a", 9, false), ("b", 9, true), ("b", 18, false), ("b", 19, true), ("a", 20, true)];
    for (text, seconds, expected) in due {
        assert_eq!(reported.is_due(text, at(seconds)), expected, "{text} after {seconds} s");
    }
    assert!(reported.is_recent(at(29)) && !reported.is_recent(at(30)));
}

/// With the clock of tokio paused, a sleep ends at once if nothing else is to be done.
#[cfg(feature = "testing")]
mod timed {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt;
    use futures_util::future::{pending, ready};

    use super::*;

    /// The reports of retries, each with its time.
    type Reports = Arc<Mutex<Vec<(u128, String)>>>;

    /// Retries whose reports are recorded with their times in seconds.
    fn recorded() -> (Retries, Reports) {
        recorded_in(Duration::from_secs(1))
    }

    fn recorded_in_millis() -> (Retries, Reports) {
        recorded_in(Duration::from_millis(1))
    }

    fn recorded_in(unit: Duration) -> (Retries, Reports) {
        let (reports, start) = (Reports::default(), Instant::now());
        let record = Arc::clone(&reports);
        let time = move || start.elapsed().as_millis() / unit.as_millis();
        let report = move |text: &str| record.lock().unwrap().push((time(), text.to_owned()));
        (Retries::new(report), reports)
    }

    fn away() -> TransportError {
        TransportError::retriable("look-up", "no route")
    }

    #[tokio::test(start_paused = true)]
    async fn a_retriable_error_is_retried_and_reported_every_ten_seconds() {
        let ((mut retries, reports), tries) = (recorded(), AtomicUsize::new(0));
        let attempt = || match tries.fetch_add(1, Ordering::Relaxed) {
            0..50 => ready(Err(away())).boxed(),
            tries => ready(Ok(tries)).boxed(),
        };
        assert_eq!(retries.run("the broker", attempt).await.unwrap(), 50);
        let text = "waiting for the broker: look-up: no route".to_owned();
        assert_eq!(*reports.lock().unwrap(), [(0, text.clone()), (10, text.clone()), (20, text)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_error_ends_the_retries() {
        let (mut retries, reports) = recorded();
        let attempt = || ready(Err::<(), _>(TransportError::fatal("commit", "unknown group"))).boxed();
        assert_eq!(retries.run("the broker", attempt).await.unwrap_err().to_string(), "commit: unknown group");
        assert_eq!(*reports.lock().unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_attempt_is_reported_and_ended_by_the_deadline() {
        let (retries, reports) = recorded();
        let mut retries = retries.with_deadline(Some(Instant::now() + Duration::from_secs(15)));
        let attempt = || pending::<Result<(), _>>().boxed();
        let error = retries.run("the broker", attempt).await.unwrap_err();
        assert_eq!((error.is_retriable(), error.to_string()), (true, "look-up: no answer yet".to_owned()));
        let text = "waiting for the broker: no answer yet".to_owned();
        assert_eq!(*reports.lock().unwrap(), [(2, text.clone()), (12, text)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_returned_at_the_deadline() {
        let (retries, _) = recorded();
        let mut retries = retries.with_deadline(Some(Instant::now() + Duration::from_secs(3)));
        let error = retries.run("the broker", || ready(Err::<(), _>(away())).boxed()).await.unwrap_err();
        assert_eq!(error.to_string(), "look-up: no route");
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_and_the_cause_are_reported_and_a_new_cause_alone_is_no_reason_to() {
        let (retries, reports) = recorded();
        let (outage, tries) = (Arc::new(Outage::new("a:1")), AtomicUsize::new(0));
        let causes = Arc::clone(&outage);
        let attempt = || {
            let tries = tries.fetch_add(1, Ordering::Relaxed);
            causes.failed(&format!("a:1/bootstrap: refused {}", tries % 2));
            if tries < 24 { ready(Err::<(), _>(away())).boxed() } else { pending().boxed() }
        };
        let deadline = Instant::now() + Duration::from_secs(25);
        retries.of(outage).with_deadline(Some(deadline)).run("the broker", attempt).await.unwrap_err();
        let advice = "start the broker, or set `broker` (FAUST_BROKER=host:port) to the address of another";
        let away = |cause| format!("waiting for the broker: look-up: no route; a:1: refused {cause}; {advice}");
        let silent = format!("waiting for the broker: no answer yet from a:1: refused 0; {advice}");
        assert_eq!(*reports.lock().unwrap(), [(0, away(0)), (10, away(0)), (20, silent)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_connection_is_reported_before_the_time_for_an_answer_is_over() {
        let (retries, reports) = recorded_in_millis();
        let outage = Arc::new(Outage::new("a:1"));
        let fails = async {
            sleep(Duration::from_millis(20)).await;
            outage.failed("a:1/bootstrap: refused");
            sleep(Duration::from_secs(1)).await;
        };
        retries.of(Arc::clone(&outage)).watch("the broker", fails).await;
        let reports = reports.lock().unwrap().clone();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].0 == 520 && reports[0].1.contains("a:1: refused; start the broker"), "{reports:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_fails_before_another_succeeds_is_not_reported() {
        let (retries, reports) = recorded_in_millis();
        let outage = Arc::new(Outage::new("localhost:1"));
        outage.failed("localhost:1/bootstrap: Connect to ipv6#[::1]:1 failed: Connection refused");
        retries.of(outage).watch("the broker", sleep(Duration::from_millis(400))).await;
        assert_eq!(*reports.lock().unwrap(), []);
    }
}
