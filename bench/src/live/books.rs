//! The books that `wiretable … --ledger` prints, read back and checked.

use std::collections::HashMap;

/// A line of a table: numbers by column, and two of the same name in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    numbers: Vec<(String, u64)>,
}

impl Line {
    fn get(&self, column: &str) -> u64 {
        self.numbers.iter().find(|(name, _)| name == column).map_or(0, |(_, n)| *n)
    }

    fn sum(&self, columns: &[&str]) -> u64 {
        columns.iter().map(|column| self.get(column)).sum()
    }
}

/// Books of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    tables: HashMap<&'static str, Vec<Line>>,
}

/// First words of the tables.
const TABLES: [&str; 8] =
    ["packets", "live", "sockets", "queries", "shed", "operators", "results", "writer"];

/// What became of the packets, in numbers that a report needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets that the kernel had for it, of all interfaces.
    pub seen: u64,
    /// Packets that queries saw.
    pub records: u64,
    /// Packets that the kernel dropped.
    pub dropped: u64,
    /// Packets that a program in the driver saw and gave to sockets that had no room; the receiving interface counts them as its drops, too.
    pub undelivered: u64,
    /// Tuples and packets lost on the way out of the driver, of all queries.
    pub lost: u64,
    /// Tuples given up because rows were taken too slowly.
    pub shed: u64,
    /// Partial groups that had to leave for others.
    pub ejected: u64,
    /// Tuples that matched.
    pub matched: u64,
}

impl Books {
    /// Reads the tables among a program's words.
    pub fn read(text: &str) -> Self {
        let mut tables: HashMap<&'static str, Vec<Line>> = HashMap::new();
        let mut table: Option<(&'static str, Vec<String>)> = None;
        for line in text.lines() {
            let cells: Vec<&str> =
                line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            let head = TABLES.into_iter().find(|head| cells.first() == Some(head));
            if let Some(head) = head.filter(|_| cells.len() > 1 && cells[1].parse::<u64>().is_err())
            {
                table = Some((head, cells[1..].iter().map(|cell| (*cell).to_owned()).collect()));
                continue;
            }
            let Some((head, columns)) = &table else { continue };
            let numbers: Vec<u64> = cells.iter().skip(1).flat_map(|cell| cell.parse()).collect();
            if numbers.len() != columns.len() {
                continue;
            }
            let numbers = columns.iter().cloned().zip(numbers).collect();
            tables.entry(head).or_default().push(Line { name: cells[0].to_owned(), numbers });
        }
        Self { tables }
    }

    fn lines(&self, table: &str) -> &[Line] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }

    /// The sums.
    pub fn summary(&self) -> Summary {
        let sum = |table, column| self.sum(table, column);
        Summary {
            seen: sum("live", "seen"),
            records: sum("packets", "records"),
            dropped: sum("live", "kernel dropped"),
            undelivered: sum("sockets", "no frame") + sum("sockets", "ring full"),
            lost: sum("shed", "lost"),
            shed: sum("shed", "shed"),
            ejected: sum("queries", "ejected"),
            matched: sum("queries", "matched"),
        }
    }

    /// Tuples of a query's part next to the packets: of the first whose name holds `part`, by column of the table `queries` or `shed`.
    pub fn of_query(&self, part: &str, column: &str) -> Option<u64> {
        let tables = ["queries", "shed"].map(|table| self.lines(table));
        let mut lines = tables.into_iter().flatten().filter(|line| line.name.contains(part));
        lines.find_map(|line| Some(line.numbers.iter().find(|(name, _)| name == column)?.1))
    }

    /// The sum of a column over all lines of a table, e.g. `redirected` of `sockets`, `written` of `writer`.
    pub fn sum(&self, table: &str, column: &str) -> u64 {
        self.lines(table).iter().map(|line| line.get(column)).sum()
    }

    /// Whether every equation holds, of packets and of tuples; the first that does not, in words.
    ///
    /// # Errors
    /// Why they do not balance, or that there are none.
    pub fn check(&self) -> Result<(), String> {
        let mut checked = 0;
        let mut require = |line: &Line, left: &str, l: u64, right: &str, r: u64| {
            checked += 1;
            match l == r {
                true => Ok(()),
                false => Err(format!("{}: {left} is {l}, {right} is {r}", line.name)),
            }
        };
        for line in self.lines("packets") {
            let (records, processed) = (line.get("records"), line.get("processed"));
            require(line, "records", records, "processed", processed)?;
        }
        for line in self.lines("live") {
            let right = ["records", "unread", "kernel dropped"];
            require(line, "seen", line.get("seen"), "records + …", line.sum(&right))?;
        }
        for line in self.lines("sockets") {
            let right = ["received", "no frame", "ring full"];
            let redirected = line.get("redirected");
            require(line, "redirected", redirected, "received + …", line.sum(&right))?;
        }
        for line in self.lines("queries") {
            let lost = self.lines("shed").iter().find(|shed| shed.name == line.name);
            let lost = lost.map_or(0, |shed| shed.get("lost"));
            let right = line.sum(&["matched", "filtered", "absent", "failed", "late"]) + lost;
            require(line, "offered", line.get("offered"), "matched + …", right)?;
            let right = line.sum(&["output", "held", "merged"]);
            require(line, "matched", line.get("matched"), "output + held + merged", right)?;
        }
        for line in self.lines("shed") {
            let right = line.sum(&["arrived", "shed"]);
            require(line, "sent", line.get("sent"), "arrived + shed", right)?;
        }
        for line in self.lines("operators") {
            let right =
                ["out", "held", "late", "merged", "filtered", "absent", "failed", "limited"];
            let left = line.sum(&["in", "expanded"]);
            require(line, "in + expanded", left, "out + …", line.sum(&right))?;
        }
        for line in self.lines("writer") {
            let right = ["written", "filtered", "lost (buffer)", "lost (disk)"];
            require(line, "captured", line.get("captured"), "written + …", line.sum(&right))?;
        }
        match checked {
            0 => Err("no books were printed".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
wiretable: 3 packets were dropped by the kernel, as its ring was full
packets  records  wire bytes  captured bytes  processed  malformed  too deep  unknown link  truncated  damaged files
near         239       41162           41162        239          0         0             0          0              0
live  seen  records  unread  kernel dropped  restamped  ring full  gaps  gap ms
near   242      239       0               3          0          0     0       0
sockets  redirected  received  no frame  ring full  under way
near             20        18         2          0          0
queries             offered  matched  filtered  absent  failed  late  merged  ejected  output  held
_fta_http @ near        239      220        14       0       0     0     217        2       3     0
shed                lost  sent  arrived  shed
_fta_http @ near       5     3        2     1
operators            in  expanded  filtered  absent  failed  late  merged  limited  out  held
http (aggregate)      2         0         0       0       0     0       1        0    1     0
results  rows  unsent
http        1       0
";

    #[test]
    fn books_are_read_and_checked() {
        let books = Books::read(TEXT);
        assert_eq!(books.check(), Ok(()));
        let expected = Summary {
            seen: 242,
            records: 239,
            dropped: 3,
            undelivered: 2,
            lost: 5,
            shed: 1,
            ejected: 2,
            matched: 220,
        };
        assert_eq!(books.summary(), expected);
        assert_eq!(books.of_query("http", "lost"), Some(5));
        assert_eq!(books.of_query("dns", "lost"), None);
    }

    #[test]
    fn books_that_do_not_balance_are_named() {
        for (from, to, named) in [
            ("near   242", "near   243", "near: seen is 243"),
            ("20        18 ", "20        19 ", "near: redirected is 20"),
            ("      220 ", "      221 ", "_fta_http @ near: offered is 239"),
            ("       5     3 ", "       5     4 ", "sent is 4, arrived + shed is 3"),
            ("http (aggregate)      2", "http (aggregate)      3", "in + expanded is 3"),
        ] {
            let said = Books::read(&TEXT.replace(from, to)).check().unwrap_err();
            assert!(said.contains(named), "{said}");
        }
        assert!(Books::read("nothing").check().is_err());
    }
}
