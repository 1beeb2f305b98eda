//! A Kubernetes API server in this process: objects by path, versions, server-side apply, and what goes wrong.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::service::{Answer, Reply, Request};

/// What an API server does wrong with a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is asked too much (429).
    Busy,
    /// It makes the change, and its answer is lost.
    DoneAndGone,
    /// Somebody else changed the object in between (409).
    Conflict,
}

/// As much of a Kubernetes API server as the driver uses.
#[derive(Default)]
pub struct Cluster {
    /// By path.
    pub objects: BTreeMap<String, Value>,
    version: u64,
    /// PATCH and DELETE that were made, in order.
    pub changes: Vec<String>,
    /// Of each PATCH that was made: the object's path and the generation that it carried.
    pub generations: Vec<(String, String)>,
    /// What goes wrong with the next changes, in order.
    pub troubles: Vec<Trouble>,
    /// Paths that are answered with 410 once.
    pub gone: Vec<String>,
}

impl Cluster {
    /// Answers a request.
    ///
    /// # Panics
    /// When the request is none that the driver makes.
    pub fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path.clone();
        let status = |code: u16, message: &str| {
            Answer::json(code, json!({"kind": "Status", "code": code, "message": message}))
        };
        if request.method == "GET" {
            if let Some(at) = self.gone.iter().position(|gone| *gone == path) {
                self.gone.remove(at);
                return Reply::Now(status(410, "gone"));
            }
            return Reply::Now(match self.objects.get(&path) {
                Some(object) => Answer::json(200, object.clone()),
                None => status(404, "not found"),
            });
        }
        let trouble = if self.troubles.is_empty() { None } else { Some(self.troubles.remove(0)) };
        match trouble {
            Some(Trouble::Busy) => {
                return Reply::Now(status(429, "too many requests").with("Retry-After", 1));
            }
            Some(Trouble::Conflict) => {
                // Somebody came between: the object has another version.
                self.version += 1;
                let version = self.version.to_string();
                if let Some(object) = self.objects.get_mut(&path) {
                    object["metadata"]["resourceVersion"] = version.into();
                }
                return Reply::Now(status(409, "the object has been modified"));
            }
            _ => {}
        }
        let body = request.body.clone().unwrap_or_default();
        let known = self.objects.get(&path).cloned();
        let asked = match request.method.as_str() {
            "PATCH" => body.pointer("/metadata/resourceVersion"),
            _ => body.pointer("/preconditions/resourceVersion"),
        };
        let current = known.as_ref().and_then(|k| k.pointer("/metadata/resourceVersion"));
        if asked.is_some() && asked != current {
            return Reply::Now(status(409, "the object has been modified"));
        }
        self.version += 1;
        self.changes.push(format!("{} {path}", request.method));
        let answer = match request.method.as_str() {
            "PATCH" => {
                assert_eq!(request.headers["content-type"], "application/apply-patch+yaml");
                let generation = &body["metadata"]["annotations"]["wiretable.io/generation"];
                let generation = generation.as_str().unwrap_or_default().to_owned();
                self.generations.push((path.clone(), generation));
                let mut object = known.unwrap_or(json!({}));
                merge(&mut object, &body);
                object["metadata"]["resourceVersion"] = self.version.to_string().into();
                self.objects.insert(path, object.clone());
                Answer::json(200, object)
            }
            "DELETE" => match self.objects.remove(&path) {
                Some(_) => status(200, "deleted"),
                None => status(404, "not found"),
            },
            other => panic!("{other}"),
        };
        if trouble == Some(Trouble::DoneAndGone) { Reply::Close } else { Reply::Now(answer) }
    }
}

/// As server-side apply merges what one manager says: objects field by field, lists as a whole.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (field, value) in from {
                merge(into.entry(field).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
