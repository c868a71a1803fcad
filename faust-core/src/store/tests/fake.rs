//! A store in memory, for tests of the tables on top of it.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;

/// A store in memory that records the number of entries of each visit, and can be made to fail.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) contents: Mutex<Contents>,
    pub(crate) visits: Mutex<Vec<usize>>,
    /// The error of all calls while it is set.
    pub(crate) failing: Mutex<Option<StoreErrorKind>>,
}

impl FakeStore {
    pub(crate) fn of(contents: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Arc<Self> {
        Arc::new(Self { contents: Mutex::new(contents.into_iter().collect()), ..Self::default() })
    }

    fn check(&self) -> Result<(), StoreError> {
        let error = |kind| StoreError::new(kind, "the store".to_owned(), "a test".to_owned());
        self.failing.lock().unwrap().map_or(Ok(()), |kind| Err(error(kind)))
    }
}

impl Store for FakeStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.check()?;
        Ok(self.contents.lock().unwrap().get(key).map(|value| Bytes::copy_from_slice(value)))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.check()?;
        let mut visits = 0;
        for (key, value) in self.contents.lock().unwrap().range::<[u8], _>((from, to)) {
            visits += 1;
            if !each(key, value) {
                break;
            }
        }
        self.visits.lock().unwrap().push(visits);
        Ok(())
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.check().map(|()| None)
    }

    fn write(&self, entries: &[Write<'_>], _: Option<&[u8]>) -> Result<(), StoreError> {
        self.check()?;
        let mut contents = self.contents.lock().unwrap();
        for (key, value) in entries {
            match value {
                Some(value) => contents.insert(key.to_vec(), value.to_vec()),
                None => contents.remove(*key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.check()
    }
}
