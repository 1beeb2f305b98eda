//! Work that comes from many requests at the same time and goes to the database at once: while some of it is under way the rest gathers, and
//! then goes together. What comes alone goes at once. Once as much has gathered as is under way it goes as well: the disk writes for the one group while
//! the processor works for the other.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Pieces that wait for a group; whoever brings more waits as well.
const WAITING_MAX: usize = 256;
/// A group that takes longer than this does not hold up the next one.
const PATIENCE: Duration = Duration::from_millis(20);
/// Groups under way at most; beyond [`OVERLAPPING_MAX`] only next to such that take long.
const GROUPS_MAX: usize = 4;
/// Groups under way at most, of those that take their time.
const OVERLAPPING_MAX: usize = 2;

/// Where pieces of work gather. It ends with its last owner.
pub(super) struct Gather<T>(mpsc::Sender<T>);

/// Groups that are worked at: how many pieces each has.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    pieces: HashMap<task::Id, usize>,
}

impl UnderWay {
    fn start(&mut self, pieces: usize, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.pieces.insert(id, pieces);
    }

    /// Waits until one has ended, well or not: one that broke off has dropped what its pieces were to be answered with, and so they hear of it.
    async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.pieces.remove(&id);
    }

    /// Whether a group of so many pieces goes now; `is_late` when the youngest takes long.
    fn lets(&self, waiting: usize, is_late: bool) -> bool {
        let groups = self.pieces.len();
        let is_as_many = waiting > 0 && waiting >= self.pieces.values().sum();
        groups == 0 || (groups < OVERLAPPING_MAX && is_as_many) || (groups < GROUPS_MAX && is_late)
    }
}

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
            let mut under_way = UnderWay::default();
            let mut gathered = VecDeque::new();
            let mut has_owner = true;
            let mut late = Instant::now();
            loop {
                while gathered.len() < WAITING_MAX
                    && let Ok(piece) = waiting.try_recv()
                {
                    gathered.push_back(piece);
                }
                let is_late = Instant::now() >= late;
                if !gathered.is_empty() && under_way.lets(gathered.len(), is_late) {
                    let group = take(&mut gathered, weight_max, weight);
                    under_way.start(group.len(), work(group));
                    late = Instant::now() + PATIENCE;
                    continue;
                }
                if !has_owner && gathered.is_empty() && under_way.pieces.is_empty() {
                    break;
                }
                let has_room = has_owner && gathered.len() < WAITING_MAX;
                tokio::select! {
                    piece = waiting.recv(), if has_room => match piece {
                        Some(piece) => gathered.push_back(piece),
                        None => has_owner = false,
                    },
                    () = under_way.ended(), if !under_way.pieces.is_empty() => {}
                    () = sleep_until(late), if !is_late && !gathered.is_empty() => {}
                }
            }
        });
        Self(sender)
    }

    /// Adds a piece. False when nothing is worked at any more.
    pub(super) async fn add(&self, piece: T) -> bool {
        self.0.send(piece).await.is_ok()
    }
}

/// The first pieces, up to a weight; one at least.
fn take<T>(gathered: &mut VecDeque<T>, weight_max: usize, weight: fn(&T) -> usize) -> Vec<T> {
    let mut total = 0;
    let fits = |piece: &&T| {
        total += weight(piece);
        total <= weight_max
    };
    let count = gathered.iter().take_while(fits).count().max(1);
    gathered.drain(..count.min(gathered.len())).collect()
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
