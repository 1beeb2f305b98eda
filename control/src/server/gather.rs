//! Work that comes from many requests at the same time and goes to the database at once: while some of it is under way the rest gathers, and
//! then goes together. What comes alone goes at once.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pieces that wait for a group; whoever brings more waits as well.
const WAITING_MAX: usize = 256;
/// A group that takes longer than this does not hold up the next one.
const PATIENCE: Duration = Duration::from_millis(20);
/// Groups under way at most.
const GROUPS_MAX: usize = 4;

/// Where pieces of work gather. It ends with its last owner.
pub(super) struct Gather<T>(mpsc::Sender<T>);

impl<T: Send + 'static> Gather<T> {
    /// Has `work` done for groups, each of which weighs at most `weight_max`, or is one piece.
    pub(super) fn new<F>(
        weight_max: usize,
        weight: fn(&T) -> usize,
        work: impl Fn(Vec<T>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, mut waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let mut under_way = JoinSet::new();
            let mut next = None;
            loop {
                let first = match next.take() {
                    Some(first) => first,
                    None => match waiting.recv().await {
                        Some(first) => first,
                        None => break,
                    },
                };
                let mut total = weight(&first);
                let mut group = vec![first];
                while let Ok(piece) = waiting.try_recv() {
                    total += weight(&piece);
                    if total > weight_max {
                        next = Some(piece);
                        break;
                    }
                    group.push(piece);
                }
                under_way.spawn(work(group));
                // A group that broke off has dropped what its pieces were to be answered with, and so they hear of it.
                let _ = tokio::time::timeout(PATIENCE, under_way.join_next()).await;
                while under_way.len() >= GROUPS_MAX {
                    let _ = under_way.join_next().await;
                }
            }
            while under_way.join_next().await.is_some() {}
        });
        Self(sender)
    }

    /// Adds a piece. False when nothing is worked at any more.
    pub(super) async fn add(&self, piece: T) -> bool {
        self.0.send(piece).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn what_comes_meanwhile_goes_together() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let groups = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&groups);
        runtime.block_on(async {
            let (done, mut ended) = mpsc::channel(100);
            let gather = Gather::new(
                5,
                |_: &u32| 1,
                move |group: Vec<u32>| {
                    let (seen, done) = (Arc::clone(&seen), done.clone());
                    async move {
                        // The first one is under way while the others come.
                        tokio::task::yield_now().await;
                        let count = group.len();
                        seen.lock().unwrap().push(group);
                        for _ in 0..count {
                            done.send(()).await.unwrap();
                        }
                    }
                },
            );
            assert!(gather.add(0).await);
            tokio::task::yield_now().await;
            for piece in 1..=7 {
                assert!(gather.add(piece).await);
            }
            for _ in 0..8 {
                ended.recv().await.unwrap();
            }
        });
        let groups = groups.lock().unwrap();
        assert_eq!(groups.concat(), (0..=7).collect::<Vec<_>>(), "each once, in order");
        assert!(groups.iter().all(|group| group.len() <= 5), "{groups:?}");
        assert!(groups.len() <= 4, "{groups:?}");
    }
}
