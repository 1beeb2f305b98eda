//! Bind, order, split, explain: any text ends in a plan that explains itself or in messages.

use wt_plan::explain::{ExplainOptions, explain};

use crate::run::Setup;

pub(super) fn run(data: &[u8]) {
    let text = super::text_of(data);
    let setup = Setup {
        traces: vec![("eth0".to_owned(), Vec::new()), ("eth1".to_owned(), Vec::new())],
        params: vec![("p".to_owned(), "7".to_owned()), ("minlen".to_owned(), "60".to_owned())],
        sets: vec![("edge".to_owned(), vec!["eth0".to_owned(), "eth1".to_owned()])],
        ..Setup::default()
    };
    for finite in [true, false] {
        match setup.compile(super::catalog(), &text, finite) {
            Ok(compiled) => {
                for (verbose, code) in [(false, false), (true, true)] {
                    let options = ExplainOptions { verbose, code };
                    assert!(!explain(&compiled, super::catalog(), options).is_empty());
                }
            }
            Err(rendered) => assert!(rendered.contains("error"), "{rendered}"),
        }
    }
}
