//! The in-process transport of the test driver.
