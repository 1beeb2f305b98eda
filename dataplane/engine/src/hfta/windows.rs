//! The open windows of an operator, in order, each with what the operator keeps for it.

use wt_catalog::Value;

use crate::window::WindowColumns;

/// Open windows. Mostly there is one: a few more with a tolerance, or while inputs lag behind each other.
pub(super) struct Windows<T> {
    open: Vec<(Box<[Value]>, T)>,
}

impl<T: Default> Windows<T> {
    pub(super) fn new() -> Self {
        Self { open: Vec::new() }
    }

    /// What is kept for the window of a group key (or tuple).
    pub(super) fn of(&mut self, columns: &WindowColumns, keys: &[Value]) -> &mut T {
        let found = self.open.binary_search_by(|(window, _)| columns.compare_window(window, keys));
        let index = match found {
            Ok(index) => index,
            Err(index) => {
                self.open.insert(index, (columns.window_of(keys), T::default()));
                index
            }
        };
        &mut self.open[index].1
    }

    /// What is kept for a window (as [`WindowColumns::window_of`] gives it), if it is open.
    pub(super) fn open(&mut self, columns: &WindowColumns, window: &[Value]) -> Option<&mut T> {
        let same = |(open, _): &(Box<[Value]>, T)| columns.compare_windows(open, window).is_eq();
        let index = self.open.iter().position(same)?;
        Some(&mut self.open[index].1)
    }

    /// Removes the windows that lie behind bounds; in window order, with what is kept for each.
    pub(super) fn take_behind(
        &mut self,
        columns: &WindowColumns,
        bounds: &[Option<Value>],
    ) -> Vec<(Box<[Value]>, T)> {
        let behind = |entry: &mut (Box<[Value]>, T)| columns.window_is_behind(&entry.0, bounds);
        self.open.extract_if(.., behind).collect()
    }

    /// Removes all windows, in order.
    pub(super) fn take_all(&mut self) -> Vec<(Box<[Value]>, T)> {
        std::mem::take(&mut self.open)
    }
}
