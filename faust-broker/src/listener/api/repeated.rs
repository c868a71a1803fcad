//! Topics that a request names more than once. As in Kafka, nothing is done for them.

use std::collections::BTreeSet;

use crate::core::{ErrorCode, Refusal};

/// The names that a request contains more than once.
pub(super) struct Repeated(BTreeSet<String>);

impl Repeated {
    /// Removes all but the first item of each name, and returns the names of the others.
    pub(super) fn remove<T>(items: &mut Vec<T>, name: impl Fn(&T) -> String) -> Self {
        let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        items.retain(|item| {
            let name = name(item);
            let is_first = seen.insert(name.clone());
            if !is_first {
                repeated.insert(name);
            }
            is_first
        });
        Self(repeated)
    }

    /// Checks that the request contains a name once.
    ///
    /// # Errors
    /// `InvalidRequest`.
    pub(super) fn check(&self, name: &str) -> Result<(), Refusal> {
        match self.0.contains(name) {
            true => {
                let text = format!("topic `{name}` occurs twice in one request: name it once");
                Err(Refusal::new(ErrorCode::InvalidRequest, text))
            }
            false => Ok(()),
        }
    }
}
