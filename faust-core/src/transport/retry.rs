//! Retries of requests to the brokers, with reports of what is waited for (promise P7).

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout_at};

use super::outage::Outage;
use crate::error::TransportError;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Response time of a broker after which a pending attempt is reported.
const SILENCE: Duration = Duration::from_secs(2);
/// Time from a failed connection until a pending attempt is reported: another address or broker may answer meanwhile.
const GRACE: Duration = Duration::from_millis(500);
/// Interval of reports while the same is waited for.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// The retries of one caller. They continue while the errors are retriable.
///
/// A reason to wait is reported at once, and then every ten seconds while it stays the same.
pub struct Retries {
    report: Box<dyn Fn(&str) + Send + Sync>,
    deadline: Option<Instant>,
    outage: Option<Arc<Outage>>,
    reported: Reported,
}

impl Default for Retries {
    /// Creates retries that log warnings.
    fn default() -> Self {
        Self::new(|text| tracing::warn!("{text}"))
    }
}

impl Retries {
    /// Creates retries whose reports are passed to `report`.
    pub fn new(report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { report: Box::new(report), deadline: None, outage: None, reported: Reported::default() }
    }

    /// Limits the time for all attempts together.
    #[must_use]
    pub fn with_deadline(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// Sets another deadline, for the attempts that follow.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Adds the brokers' address and the cause of their unavailability to the reports.
    #[must_use]
    pub fn of(self, outage: Arc<Outage>) -> Self {
        Self { outage: Some(outage), ..self }
    }

    /// Repeats the attempt until it succeeds. `what` completes "waiting for ..".
    ///
    /// The attempt is no `AsyncFn`, because the future of `start()` would not be `Send` (rust#110338).
    ///
    /// # Errors
    /// Returns the first error that is not retriable; at the deadline, the last retriable one.
    pub async fn run<'a, T>(
        &mut self,
        what: &str,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        loop {
            match self.attempt(what, attempt()).await {
                Ok(value) => return Ok(value),
                Err(error) => self.after(what, error).await?,
            }
        }
    }

    /// Reports the error of a failed attempt and waits until the next attempt is due.
    ///
    /// # Errors
    /// Returns the error if it is not retriable, or if the deadline comes first.
    pub async fn after(&mut self, what: &str, error: TransportError) -> Result<(), TransportError> {
        let is_last = self.deadline.is_some_and(|deadline| Instant::now() + PAUSE >= deadline);
        if is_last || !error.is_retriable() {
            return Err(error);
        }
        let text = format!("waiting for {what}: {error}");
        match &self.outage {
            // A cause may change with each attempt, so it does not make the report another one.
            Some(outage) if outage.cause().is_some() => {
                let details = format!("{text}; {outage}{}", advice(outage));
                self.report_as(&text, &details);
            }
            _ => self.report(&text),
        }
        sleep(PAUSE).await;
        Ok(())
    }

    /// Reports a reason to wait, and waits until the next attempt is due.
    pub(crate) async fn pause(&mut self, text: &str) {
        self.report(text);
        sleep(PAUSE).await;
    }

    /// Reports a reason to wait, unless it was reported recently.
    pub(crate) fn report(&mut self, text: &str) {
        self.report_as(text, text);
    }

    /// Reports a reason with details, unless the same reason was reported recently.
    fn report_as(&mut self, reason: &str, text: &str) {
        if self.reported.is_due(reason, Instant::now()) {
            (self.report)(text);
        }
    }

    /// Awaits `future`, with the reports of a pending attempt of [`run`](Self::run), but regardless of the deadline.
    pub async fn watch<T>(&mut self, what: &str, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                () = silence(self.outage.clone()) => self.report_silence(what),
            }
        }
    }

    /// Reports that there is no answer, unless anything was reported recently: without a broker, it takes a while until a
    /// request fails, and its error is reported as well.
    pub(crate) fn report_silence(&mut self, what: &str) {
        if !self.reported.is_recent(Instant::now()) {
            let from = self.outage.as_ref().map_or_else(String::new, |of| format!(" from {of}{}", advice(of)));
            self.report_as(what, &format!("waiting for {what}: no answer yet{from}"));
        }
    }

    async fn attempt<T>(
        &mut self,
        what: &str,
        attempt: BoxFuture<'_, Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let deadline = self.deadline;
        let attempt = self.watch(what, attempt);
        match deadline {
            None => attempt.await,
            Some(deadline) => {
                let answer = timeout_at(deadline, attempt).await;
                answer.unwrap_or_else(|_| Err(TransportError::retriable("look-up", "no answer yet")))
            }
        }
    }
}

/// Waits until a pending attempt is to be reported: soon after a failed connection, as its cause is known then.
async fn silence(outage: Option<Arc<Outage>>) {
    let failed = async {
        match outage {
            Some(outage) => outage.failure().await,
            None => pending().await,
        }
        sleep(GRACE).await;
    };
    tokio::select! {
        () = sleep(SILENCE) => {}
        () = failed => {}
    }
}

/// Returns the advice for the reports of an outage, with a separator; empty if its cause is unknown.
fn advice(outage: &Outage) -> String {
    outage.advice().map_or_else(String::new, |advice| format!("; {advice}"))
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retries").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Awaits `future`, calling `report` whenever another `interval` has passed.
pub(crate) async fn with_progress<T>(
    future: impl Future<Output = T>,
    interval: Duration,
    mut report: impl FnMut(),
) -> T {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            value = &mut future => return value,
            () = sleep(interval) => report(),
        }
    }
}

/// The last report, with its time.
#[derive(Default)]
struct Reported(Option<(String, Instant)>);

impl Reported {
    /// Records the report and returns `true`, unless the last one has the same text and is recent.
    fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let is_repeated = self.0.as_ref().is_some_and(|(last, _)| last == text) && self.is_recent(now);
        if !is_repeated {
            self.0 = Some((text.to_owned(), now));
        }
        !is_repeated
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|(_, when)| now.duration_since(*when) < PROGRESS_INTERVAL)
    }
}

#[cfg(test)]
mod tests;
