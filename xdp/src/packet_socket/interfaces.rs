//! The interfaces of this host, as the calling thread's network namespace has them.

/// Names of all interfaces, sorted.
pub fn names() -> Vec<String> {
    // Unlike sysfs this follows the namespace of the thread, whatever is mounted.
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback() {
        assert!(names().contains(&"lo".to_owned()));
    }
}
