//! The wiretable command.
fn main() {}
