//! Bind, order, split, explain: any text ends in a plan that explains itself or in messages.

use wt_plan::explain::{ExplainOptions, explain};

use crate::run::Setup;

pub(super) fn run(data: &[u8]) -> bool {
    let text = super::text_of(data);
    let setup = Setup {
        traces: vec![("eth0".to_owned(), Vec::new()), ("eth1".to_owned(), Vec::new())],
        params: ["p", "minlen"].iter().filter(|name| declares(&text, name)).map(given).collect(),
        sets: vec![("edge".to_owned(), vec!["eth0".to_owned(), "eth1".to_owned()])],
        ..Setup::default()
    };
    let mut planned = false;
    for finite in [true, false] {
        match setup.compile(super::catalog(), &text, finite) {
            Ok(compiled) => {
                planned = true;
                for (verbose, code) in [(false, false), (true, true)] {
                    let options = ExplainOptions { verbose, code };
                    assert!(!explain(&compiled, super::catalog(), options).is_empty());
                }
            }
            Err(rendered) => assert!(rendered.contains("error"), "{rendered}"),
        }
    }
    planned
}

/// A parameter is given when it seems to be declared, for one that is not is refused.
fn declares(text: &str, name: &str) -> bool {
    text.contains("PARAM") && text.contains(&format!("{name} uint"))
}

fn given(name: &&str) -> (String, String) {
    ((*name).to_owned(), "60".to_owned())
}
