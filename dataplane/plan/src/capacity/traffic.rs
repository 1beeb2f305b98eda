//! What is assumed or counted of the traffic: sizes, rates, and how many tuples pass each node.

use std::fmt;

use crate::physical::{PhysicalPlan, StreamRef};

/// What is assumed when nothing has been counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Mean length of a packet on the wire, bytes.
    pub packet_bytes: f64,
    /// Packets that come in a window, or in the whole input where there is none.
    pub window_packets: f64,
    /// Distinct groups of a window, where the plan does not know better.
    pub groups: f64,
    /// Share of the packets that have what a query asks for and pass its quals; `None`: by rules.
    pub matched: Option<f64>,
}

impl Default for Traffic {
    fn default() -> Self {
        // The mean of the Internet mix of sizes that the bench generates is 354; links carry more.
        Self { packet_bytes: 512.0, window_packets: 1e6, groups: 1e4, matched: None }
    }
}

/// Tuples through an LFTA, per packet of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LftaFlow {
    /// In packets that have the headers the query asks for.
    pub present: f64,
    /// Qualified.
    pub matched: f64,
    /// Sent on, those that the reader's quals reject included.
    pub sent: f64,
    /// Groups kept at a time, not per packet.
    pub kept: f64,
}

/// Tuples through an operator, per packet of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeFlow {
    /// Taken in.
    pub input: f64,
    /// … and qualified.
    pub taken: f64,
    /// Groups made.
    pub groups: f64,
    /// Sent on.
    pub output: f64,
    /// Groups, rows or tuples kept at a time, not per packet.
    pub kept: f64,
}

/// Tuples through every node of a plan. All numbers are per packet of the batch, whatever its interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flows {
    /// Mean length of a packet on the wire, bytes.
    pub wire_bytes: f64,
    /// Mean captured length, bytes.
    pub captured_bytes: f64,
    /// By interface: its share of the packets.
    pub shares: Vec<f64>,
    /// By interface and query.
    pub lftas: Vec<Vec<LftaFlow>>,
    /// By operator.
    pub nodes: Vec<NodeFlow>,
}

impl Flows {
    /// Tuples of a stream.
    pub fn of(&self, stream: StreamRef) -> f64 {
        match stream {
            StreamRef::Lfta { interface, query } => {
                let queries = self.lftas.get(interface as usize);
                queries.and_then(|q| q.get(query as usize)).map_or(0.0, |flow| flow.sent)
            }
            StreamRef::Hfta(node) => self.nodes.get(node as usize).map_or(0.0, |flow| flow.output),
        }
    }

    /// Of the right shape for a plan.
    pub fn fits(&self, plan: &PhysicalPlan) -> bool {
        self.shares.len() == plan.interfaces.len()
            && self.lftas.len() == plan.interfaces.len()
            && self.nodes.len() == plan.nodes.len()
            && plan
                .interfaces
                .iter()
                .zip(&self.lftas)
                .all(|(i, l)| i.program.queries.len() == l.len())
    }
}

/// How fast packets come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Packets per second.
    Packets(f64),
    /// Bits per second, counted by the packets' lengths.
    Bits(f64),
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a rate; write for example 10Mpps, 250kpps or 40Gbit/s{limit}")]
pub struct RateError {
    given: String,
    limit: &'static str,
}

/// A petabit per second and as many packets: beyond any link.
const RATE_MAX: f64 = 1e15;

impl Rate {
    /// Packets per second, of packets of so many bytes.
    pub fn packets_per_second(self, packet_bytes: f64) -> f64 {
        match self {
            Rate::Packets(rate) => rate,
            Rate::Bits(rate) => rate / (8.0 * packet_bytes),
        }
    }
}

impl std::str::FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let refused = |limit| RateError { given: text.to_owned(), limit };
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| refused(""))?;
        let unit = unit.trim_start();
        let bits = ["bit/s", "bps", "bits/s"].iter().find_map(|u| unit.strip_suffix(u));
        let packets = ["pps", "packets/s", "p/s"].iter().find_map(|u| unit.strip_suffix(u));
        let (scale, is_bits) = match (bits, packets) {
            // `pps` does not end in `bps`, so at most one is there.
            (Some(scale), _) => (scale, true),
            (None, Some(scale)) => (scale, false),
            (None, None) => return Err(refused("")),
        };
        let factor = match scale.trim_end() {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            _ => return Err(refused("")),
        };
        let rate = number * factor;
        match rate {
            rate if rate <= 0.0 => Err(refused("; it is above 0")),
            rate if rate > RATE_MAX => Err(refused("; no link is faster than 1000 Tbit/s")),
            rate if is_bits => Ok(Rate::Bits(rate)),
            rate => Ok(Rate::Packets(rate)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Packets(rate) => f.write_str(&scaled(*rate, "pps")),
            Rate::Bits(rate) => f.write_str(&scaled(*rate, "bit/s")),
        }
    }
}

/// A number with the decimal unit that leaves at least one digit before the point: `12.5 Mpps`.
pub fn scaled(value: f64, unit: &str) -> String {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (factor, prefix) =
        prefixes.into_iter().find(|(factor, _)| value >= *factor).unwrap_or((1.0, ""));
    let number = value / factor;
    // Three significant digits.
    let places = if number >= 99.95 {
        0
    } else if number >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{number:.places$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_people_write_them() {
        for (text, rate) in [
            ("10Mpps", Rate::Packets(1e7)),
            ("2.5Mpps", Rate::Packets(2.5e6)),
            ("800 kpps", Rate::Packets(8e5)),
            ("1pps", Rate::Packets(1.0)),
            ("40Gbit/s", Rate::Bits(4e10)),
            ("100Gbps", Rate::Bits(1e11)),
            ("1.5 Mpackets/s", Rate::Packets(1.5e6)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for text in [
            "",
            "10",
            "10M",
            "Mpps",
            "-1pps",
            "0pps",
            "1Xpps",
            "1.2.3Mpps",
            "nanpps",
            "1e9pps",
            "99999Tbit/s",
            "fast",
        ] {
            let refused = text.parse::<Rate>().unwrap_err().to_string();
            assert!(refused.contains("is not a rate"), "{refused}");
        }
    }

    #[test]
    fn rates_print_as_they_are_read() {
        for text in ["10 Mpps", "2.5 Mpps", "800 kpps", "1 pps", "40 Gbit/s", "123 Mpps"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!(scaled(1_234_567.0, "pps"), "1.23 Mpps");
    }

    #[test]
    fn bits_are_those_of_the_packets() {
        assert_eq!(Rate::Bits(8e9).packets_per_second(1000.0), 1e6);
        assert_eq!(Rate::Packets(5.0).packets_per_second(1000.0), 5.0);
    }
}
