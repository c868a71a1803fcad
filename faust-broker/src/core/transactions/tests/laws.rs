//! The law of transactions: what consumers of committed records receive.

use super::*;

/// A step of a random history. Numbers select the producer and the partition.
#[derive(Debug, Clone, Copy)]
enum Move {
    Send(usize, i32),
    Plain(i32),
    End(usize, Outcome),
    EndAndRenew(usize, Outcome),
    Restart(usize),
    TimeOut,
    Compact(i32),
}

fn moves() -> impl Strategy<Value = Move> {
    let outcome = || prop_oneof![3 => Just(Outcome::Commit), 1 => Just(Outcome::Abort)];
    prop_oneof![
        12 => (0usize..3, 0..2).prop_map(|(who, at)| Move::Send(who, at)),
        2 => (0..2).prop_map(Move::Plain),
        3 => (0usize..3, outcome()).prop_map(|(who, outcome)| Move::End(who, outcome)),
        3 => (0usize..3, outcome()).prop_map(|(who, outcome)| Move::EndAndRenew(who, outcome)),
        1 => (0usize..3).prop_map(Move::Restart),
        1 => Just(Move::TimeOut),
        2 => (0..2).prop_map(Move::Compact),
    ]
}

/// The records that the history has written: a model without markers.
#[derive(Default)]
struct Written {
    /// Text, partition and producer of each record in the order of the log; the producer of a decided one is `None`.
    records: Vec<(String, i32, Option<usize>)>,
}

impl Written {
    fn decide(&mut self, who: usize, outcome: Outcome) {
        self.records.retain(|(_, _, of)| outcome == Outcome::Commit || *of != Some(who));
        self.records.iter_mut().filter(|(_, _, of)| *of == Some(who)).for_each(|(_, _, of)| *of = None);
    }

    /// Returns the records before the first undecided one.
    fn committed(&self, partition: i32) -> Vec<String> {
        let there = self.records.iter().filter(|(_, at, _)| *at == partition);
        there.take_while(|(_, _, of)| of.is_none()).map(|(text, _, _)| text.clone()).collect()
    }
}

proptest! {
    /// Law: a consumer of committed records receives, in order, exactly the records that no transaction holds or whose
    /// transaction was committed, up to the first one of an open transaction, however large its responses are. Compaction of
    /// a topic without equal keys changes nothing.
    #[test]
    fn consumers_receive_what_was_committed(
        history in proptest::collection::vec(moves(), 1..120),
        max_bytes in prop_oneof![Just(1usize), Just(300), Just(100_000)],
    ) {
        const IDS: [&str; 3] = ["a", "b", "c"];
        let mut scene = Scene::new();
        let mut clients = IDS.map(|id| scene.init(id));
        let mut written = Written::default();
        for (number, step) in history.into_iter().enumerate() {
            scene.now_ms += 10;
            let text = format!("{number}");
            match step {
                Move::Send(who, at) => {
                    if scene.add(&clients[who], at) == Err(ErrorCode::ProducerFenced) {
                        clients[who] = scene.init(IDS[who]);
                        continue;
                    }
                    scene.send(&mut clients[who], "compacted", at, &text).unwrap();
                    written.records.push((text, at, Some(who)));
                }
                Move::Plain(at) => {
                    let plain = batch(ProducerIdentity { id: -1, epoch: -1 }, -1, &text);
                    scene.broker.append("compacted", at, &plain, scene.now_ms).unwrap();
                    written.records.push((text, at, None));
                }
                Move::End(who, outcome) => {
                    if scene.end(&clients[who], outcome).is_ok() {
                        written.decide(who, outcome);
                    }
                }
                Move::EndAndRenew(who, outcome) => {
                    if scene.end_and_renew(&mut clients[who], outcome).is_ok() {
                        written.decide(who, outcome);
                    }
                }
                Move::Restart(who) => {
                    clients[who] = scene.init(IDS[who]);
                    written.decide(who, Outcome::Abort);
                }
                Move::TimeOut => {
                    scene.now_ms += i64::from(TIMEOUT_MS);
                    scene.broker.tick(scene.now_ms);
                    (0..3).for_each(|who| written.decide(who, Outcome::Abort));
                }
                Move::Compact(at) => scene.broker.compact_now("compacted", at, scene.now_ms).unwrap(),
            }
            for at in 0..2 {
                prop_assert_eq!(consume(&scene.broker, "compacted", at, max_bytes), written.committed(at), "step {}", number);
            }
        }
    }
}
