//! The error of a test that ends with `?`: it has the driver print the timeline, as a panic does.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

thread_local! {
    /// Set once an error has become a [`TestError`], until a driver is dropped.
    static IS_FAILING: Cell<bool> = const { Cell::new(false) };
}

/// The result of a test that uses `?`.
///
/// A driver can notice a panic, but not that the test returns an error. The conversion to [`TestError`] notes it.
///
/// # Examples
/// ```
/// use faust::{App, testing::{TestDriver, TestResult, examples::double}};
///
/// // In your project, a function with `#[test]`.
/// fn main() -> TestResult {
///     let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
///     driver.start_worker()?;
///     driver.send("numbers", &"a".to_owned(), &21)?;
///     driver.run_until_idle();
///     let (_, doubled) = driver.read::<String, i64>("doubled")?.pop().ok_or("nothing was sent")?;
///     assert_eq!(doubled, 42);
///     Ok(())
/// }
/// ```
pub type TestResult<T = ()> = Result<T, TestError>;

/// An error that ends a test, of any type. When `?` converts an error to it, the driver of the test prints its timeline once it
/// is dropped: the next one that is dropped on this thread.
///
/// It is no [`std::error::Error`] itself, as otherwise `?` could not convert from all of them. Its `Debug`, which the test harness
/// prints, is the text of the error and of its sources.
pub struct TestError(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TestError {
    fn from(error: E) -> Self {
        IS_FAILING.set(true);
        Self(error.into())
    }
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        f.write_str(&text)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let next = error.to_string();
            // The text of many errors contains that of their sources.
            if !text.contains(&next) {
                write!(f, ": {next}")?;
                text = next;
            }
            source = error.source();
        }
        Ok(())
    }
}

/// Returns whether the test of this thread fails: it panics, or ends with a [`TestError`].
pub(super) fn is_failing() -> bool {
    IS_FAILING.take() || std::thread::panicking()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_noted_until_a_driver_is_dropped_and_shown_with_its_sources() {
        assert!(!is_failing());
        let missing = std::io::Error::other("the disk is away");
        let error = TestError::from(crate::error::TransportError::retriable("read of `t`", &missing));
        assert!(is_failing() && !is_failing());
        let text = format!("{error:?}");
        assert!(text.starts_with(&error.to_string()) && text.matches("the disk is away").count() == 1, "{text}");
        assert_eq!(format!("{:?}", TestError::from("a text")), "a text");
    }
}
