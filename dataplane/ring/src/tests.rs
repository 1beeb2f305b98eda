use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_full_ring_gives_the_item_back_and_counts_it() {
    let (mut sender, mut receiver) = ring::<u32, ()>(1, 2);
    // Two items in the slot, two gathered.
    for item in 0..4 {
        sender.push(item).unwrap();
    }
    assert_eq!(sender.push(4), Err(4));
    assert_eq!(sender.push_token(()), Err(()));
    assert!(sender.is_full());
    assert_eq!(sender.counters(), Counters { items: 2, batches: 1, tokens: 0, full: 2 });
    assert_eq!(receiver.pop(), Some(Entry::Batch(vec![0, 1])));
    sender.push(4).unwrap();
    assert_eq!(receiver.pop(), Some(Entry::Batch(vec![2, 3])));
    assert!(sender.flush());
    assert_eq!(receiver.pop(), Some(Entry::Batch(vec![4])));
    assert_eq!(receiver.pop(), None);
}

#[test]
fn batches_go_round() {
    let (mut sender, mut receiver) = ring::<u64, ()>(4, 8);
    let mut buffers = std::collections::HashSet::new();
    for item in 0..8 * 100 {
        sender.push(item).unwrap();
        if let Some(Entry::Batch(batch)) = receiver.pop() {
            buffers.insert(batch.as_ptr());
            receiver.recycle(batch);
        }
    }
    assert_eq!(sender.counters().batches, 100);
    assert!(buffers.len() <= 2, "{} buffers for 100 batches", buffers.len());
}

#[test]
fn either_end_sees_the_other_go() {
    let (mut sender, mut receiver) = ring::<u32, ()>(4, 1);
    sender.push(1).unwrap();
    drop(sender);
    assert!(receiver.is_abandoned());
    assert_eq!(receiver.pop(), Some(Entry::Batch(vec![1])));
    let (sender, receiver) = ring::<u32, ()>(4, 1);
    drop(receiver);
    assert!(sender.is_abandoned());
}

/// Items and tokens of one thread arrive at the other once and in order, whatever the sizes, with both sides asleep now and then.
#[test]
fn order_holds_between_threads() {
    for (slots, batch) in [(1, 1), (2, 3), (16, 64)] {
        const ITEMS: u64 = 20_000;
        let (mut sender, mut receiver) = ring::<u64, u64>(slots, batch);
        let (filled, emptied) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
        sender.wake(Arc::clone(&filled));
        receiver.wake(Arc::clone(&emptied));
        let waits = Duration::from_secs(10);
        let producer = thread::spawn(move || {
            for item in 0..ITEMS {
                while sender.push(item).is_err() {
                    emptied.wait(waits, || !sender.is_full());
                }
                if item % 1000 == 999 {
                    while sender.push_token(item).is_err() {
                        emptied.wait(waits, || !sender.is_full());
                    }
                }
            }
            sender.counters()
        });
        let (mut next, mut tokens) = (0, 0);
        while next < ITEMS || tokens < ITEMS / 1000 {
            match receiver.pop() {
                Some(Entry::Batch(items)) => {
                    for item in &items {
                        assert_eq!(*item, next);
                        next += 1;
                    }
                    receiver.recycle(items);
                }
                Some(Entry::Token(token)) => {
                    assert_eq!(token + 1, next);
                    tokens += 1;
                }
                None => filled.wait(waits, || !receiver.is_empty()),
            }
        }
        let counters = producer.join().unwrap();
        assert_eq!((counters.items, counters.tokens), (ITEMS, ITEMS / 1000));
    }
}

#[test]
fn a_sleeper_wakes_by_the_clock_too() {
    let signal = Signal::new();
    let begin = Instant::now();
    signal.wait(Duration::from_millis(5), || false);
    assert!(begin.elapsed() >= Duration::from_millis(5));
    // What is ready is not slept for.
    signal.wait(Duration::from_secs(3600), || true);
}
