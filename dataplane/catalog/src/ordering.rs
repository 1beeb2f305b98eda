//! Ordering properties of stream attributes (Gigascope §2.1; gsql.md §6).

/// What is known of how an attribute changes from tuple to tuple of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Ordering {
    /// The same in every tuple.
    Constant,
    /// Each value is greater than the one before.
    StrictlyIncreasing,
    /// Never decreases.
    Increasing,
    /// Each value is less than the one before.
    StrictlyDecreasing,
    /// Never increases.
    Decreasing,
    /// Never more than this far behind its maximum, in units of the attribute.
    BandedIncreasing(u64),
    /// No value comes twice, in no known order (e.g. a hash of a strictly increasing attribute).
    NonRepeating,
    /// Increasing among the tuples that agree in the named attributes.
    IncreasingInGroup(Vec<String>),
    /// Nothing is known.
    #[default]
    Varying,
}

/// The four values of the manual's lattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basic {
    /// const
    Const,
    /// inc
    Inc,
    /// dec
    Dec,
    /// var
    Var,
}
