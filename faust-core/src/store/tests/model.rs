//! Model test: a store behaves like a sorted map, also when it is reopened.

use proptest::prelude::*;

use super::*;
use crate::store::port::Write;

#[derive(Clone, Debug)]
enum Step {
    Write(BTreeMap<Vec<u8>, Option<Vec<u8>>>),
    Reopen,
    Destroy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Short keys of few distinct bytes, so that steps affect the same keys; fjall's adapter treats zeros specially.
    let key = prop::collection::vec(prop::sample::select(vec![0_u8, 1, 127, 255]), 0..4);
    let value = prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        1 => Just(Some(vec![9; 200_000])),
        3 => Just(None),
    ];
    let write = prop::collection::btree_map(key, value, 0..12).prop_map(Step::Write);
    prop::collection::vec(prop_oneof![12 => write, 3 => Just(Step::Reopen), 1 => Just(Step::Destroy)], 1..24)
}

/// Returns the number of cases, from `FAUST_TEST_CASES` as in the other suites.
fn cases() -> u32 {
    std::env::var("FAUST_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Law: contents and mark are those of a sorted map after the same steps.
    #[test]
    fn a_store_is_a_sorted_map(steps in steps()) {
        on_each_engine(|kind| {
            let dir = tempfile::tempdir().unwrap();
            let mut set = open_set(kind, dir.path());
            let (mut model, mut mark) = (Contents::new(), None);
            for (number, step) in steps.iter().enumerate() {
                let store = set.open(&counts()).unwrap();
                match step {
                    Step::Write(changes) => {
                        let entries: Vec<Write<'_>> = changes.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
                        mark = Some(number.to_string().into_bytes());
                        store.write(&entries, mark.as_deref()).and_then(|()| store.sync()).unwrap();
                        for (key, value) in changes {
                            match value {
                                Some(value) => model.insert(key.clone(), value.clone()),
                                None => model.remove(key),
                            };
                        }
                    }
                    Step::Reopen => {
                        drop(store);
                        drop(set);
                        set = open_set(kind, dir.path());
                    }
                    Step::Destroy => {
                        set.destroy(&counts()).unwrap();
                        (model, mark) = (Contents::new(), None);
                    }
                }
                let store = set.open(&counts()).unwrap();
                assert_eq!(contents(&*store), model, "{kind} after step {number}");
                assert_eq!(store.mark().unwrap(), mark);
                for (key, value) in model.iter().take(3) {
                    assert_eq!(store.get(key).unwrap().as_deref(), Some(&**value));
                }
            }
            assert_eq!(set.set_aside(), 0);
        });
    }
}
