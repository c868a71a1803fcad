//! Restarts of the broker: members go on where they were.

use super::*;
use crate::core::storage::MemoryStorage;

/// Restarts the broker from its changes, as from a journal that was shortened.
fn restart(scene: &mut Scene) {
    let changes = scene.broker.snapshot();
    scene.broker = BrokerCore::restore(quick(), Box::new(MemoryStorage), changes).unwrap();
    assert_eq!(scene.broker.snapshot(), scene.broker.snapshot());
}

#[test]
fn members_go_on_without_a_rebalance() {
    let mut scene = Scene::new();
    let (mut a, mut b) = pair(&mut scene);
    let before = scene.group();
    restart(&mut scene);
    assert_eq!(scene.group(), before);
    for client in [&mut a, &mut b] {
        let owned = client.owned.clone();
        scene.beat(client);
        assert_eq!((client.epoch, &client.owned), (2, &owned));
    }
    assert_eq!(scene.group(), before);
    scene.broker.create_partitions("t", 8, false).unwrap();
    restart(&mut scene);
    scene.beat(&mut b);
    assert_eq!(scene.group().epoch, 3, "a change before the restart is not forgotten");
}

#[test]
fn a_hand_over_goes_on() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (Client::fixed("a", "i1"), Client::fixed("b", "i2"));
    scene.join(&mut a);
    scene.join(&mut b);
    scene.beat(&mut a);
    restart(&mut scene);
    scene.beat(&mut b);
    assert_eq!(b.partitions(), Vec::<i32>::new(), "its partitions have not been given up");
    scene.beat(&mut a);
    restart(&mut scene);
    scene.beat(&mut b);
    assert_eq!((a.partitions(), b.partitions()), (vec![0, 1, 2], vec![3, 4, 5]));
    let other = scene.send(Client::fixed("c", "i2").full());
    assert_eq!(other, Err(ErrorCode::UnreleasedInstanceId));
}

#[test]
fn sessions_and_rebalance_timeouts_begin_anew() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (Client::ranged("a"), Client::ranged("b"));
    scene.join(&mut a);
    scene.join(&mut b);
    scene.beat(&mut a);
    restart(&mut scene);
    scene.pass(10 * SESSION_MS);
    assert_eq!(scene.group().members.len(), 2);
    scene.beat(&mut b);
    scene.pass(i64::from(REBALANCE_MS));
    assert_eq!(scene.group().members.len(), 1, "the first has not given up partitions");
    scene.beat(&mut b);
    assert_eq!(b.owned.len(), 6);
    scene.pass(SESSION_MS);
    assert_eq!(scene.group().members.len(), 0);
}
