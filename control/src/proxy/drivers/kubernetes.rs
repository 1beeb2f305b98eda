//! Drives Kubernetes: workloads (`workload`, a Deployment) and the nodes of the paper's tables (`node`, a Pod), by the API server's own JSON.
//!
//! A target is the URL of an API server, plain HTTP: that of a `kubectl proxy` beside this program, which has the certificates and the credentials. It must begin with one of
//! `[kubernetes] allow`.
//!
//! | kind | name | body |
//! |---|---|---|
//! | `workload` | `NAMESPACE/NAME` | `{"replicas": 3, "image": …}`: what is not said is left to others |
//! | `node` | the node's name | `{"pod": …}`: a Pod in `[kubernetes] namespace` of `[kubernetes] image`, labelled with it |
//!
//! Objects are changed by server-side apply (PATCH with `fieldManager=wiretable`): fields that others own stay theirs. The generation is an annotation of the object,
//! read before it is changed; `resourceVersion` makes the change fail when somebody came between. What is deleted keeps no generation: an older command that comes after that
//! is undone by the full check.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Method;

use super::web::{self, Answer, Call};
use crate::proxy::driver::{Command, DeviceError, Done, Driver, Seen};

const GENERATION: &str = "wiretable.io/generation";
const POD: &str = "wiretable.io/pod";
const APPLY: &str = "application/apply-patch+yaml";

/// `[kubernetes]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// What targets begin with; there are none when this is empty.
    pub allow: Vec<String>,
    /// The namespace of nodes.
    pub namespace: String,
    /// What nodes run.
    pub image: String,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            namespace: "default".to_owned(),
            image: "registry.k8s.io/pause:3.10".to_owned(),
        }
    }
}

/// Speaks with API servers.
pub struct Kubernetes {
    config: KubernetesConfig,
    agent: Agent,
}

/// An object's place, and the object that a body asks for.
struct Place {
    url: String,
    kind: &'static str,
    version: &'static str,
    name: String,
}

/// Names of Kubernetes' objects (RFC 1123 label).
fn label(text: &str) -> Result<&str, DeviceError> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = !text.is_empty() && text.len() <= 63 && text.bytes().all(is_plain);
    match is_label && !text.starts_with('-') && !text.ends_with('-') {
        true => Ok(text),
        false => Err(DeviceError::never(format!(
            "`{text}` is no name in Kubernetes: up to 63 small letters, digits and -"
        ))),
    }
}

impl Kubernetes {
    /// Calls what the configuration allows.
    pub fn new(config: KubernetesConfig) -> Self {
        Self { config, agent: web::agent() }
    }

    fn place(&self, target: &str, kind: &str, name: &str) -> Result<Place, DeviceError> {
        let base = web::allowed(target, &self.config.allow, "kubernetes")?;
        match kind {
            "workload" => {
                let (namespace, name) = name.split_once('/').ok_or_else(|| {
                    DeviceError::never(format!("`{name}` is no workload: write NAMESPACE/NAME"))
                })?;
                let (namespace, name) = (label(namespace)?, label(name)?.to_owned());
                let url = format!("{base}/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
                Ok(Place { url, kind: "Deployment", version: "apps/v1", name })
            }
            "node" => {
                let (namespace, name) = (label(&self.config.namespace)?, label(name)?.to_owned());
                let url = format!("{base}/api/v1/namespaces/{namespace}/pods/{name}");
                Ok(Place { url, kind: "Pod", version: "v1", name })
            }
            other => Err(DeviceError::never(format!(
                "Kubernetes has no `{other}` here; it has workload and node"
            ))),
        }
    }

    fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<(&str, &Value)>,
        timeout: Duration,
    ) -> Result<Answer, DeviceError> {
        let headers = [("Content-Type", body.map_or("", |(kind, _)| kind))];
        let headers = if body.is_some() { &headers[..] } else { &[] };
        let body = body.map(|(_, body)| body);
        web::call(&self.agent, &Call { method, url, headers, body, timeout })
    }

    /// The object as it is; nothing when it is not there, or on its way out.
    fn get(&self, place: &Place, timeout: Duration) -> Result<Option<Value>, DeviceError> {
        let answer = self.call(Method::GET, &place.url, None, timeout)?;
        match answer.status {
            404 | 410 => Ok(None),
            _ if answer.is_done() => match answer.body {
                Some(object) if object.pointer("/metadata/deletionTimestamp").is_some() => Ok(None),
                Some(object) => Ok(Some(object)),
                None => Err(DeviceError::later("the API server answers something else than JSON")),
            },
            _ => Err(answer.error(&format!("GET {}", place.url))),
        }
    }

    fn put(
        &self,
        place: &Place,
        command: &Command,
        body: &Value,
        known: Option<&Value>,
        timeout: Duration,
    ) -> Result<Value, DeviceError> {
        let mut object = match place.kind {
            "Deployment" => deployment(&place.name, body)?,
            _ => self.pod(&place.name, body)?,
        };
        object["apiVersion"] = place.version.into();
        object["kind"] = place.kind.into();
        object["metadata"]["name"] = place.name.as_str().into();
        object["metadata"]["annotations"] = json!({GENERATION: command.generation.to_string()});
        if let Some(version) = known.and_then(|known| known.pointer("/metadata/resourceVersion")) {
            object["metadata"]["resourceVersion"] = version.clone();
        }
        let url = format!("{}?fieldManager=wiretable&force=true", place.url);
        let answer = self.call(Method::PATCH, &url, Some((APPLY, &object)), timeout)?;
        match answer.is_done() {
            true => Ok(answer.body.unwrap_or(object)),
            false => Err(answer.error(&format!("PATCH {}", place.url))),
        }
    }

    fn delete(&self, place: &Place, known: &Value, timeout: Duration) -> Result<(), DeviceError> {
        let version = known.pointer("/metadata/resourceVersion").cloned().unwrap_or(Value::Null);
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"resourceVersion": version},
        });
        let json = "application/json";
        let answer = self.call(Method::DELETE, &place.url, Some((json, &options)), timeout)?;
        match answer.status {
            404 | 410 => Ok(()),
            _ if answer.is_done() => Ok(()),
            _ => Err(answer.error(&format!("DELETE {}", place.url))),
        }
    }

    fn pod(&self, name: &str, body: &Value) -> Result<Value, DeviceError> {
        let pod = body.get("pod").and_then(Value::as_str).ok_or_else(|| {
            DeviceError::never(format!("node `{name}` has no pod: write {{\"pod\": …}}"))
        })?;
        Ok(json!({
            "metadata": {"labels": {POD: label(pod)?, "app.kubernetes.io/managed-by": "wiretable"}},
            "spec": {"containers": [{"name": "node", "image": self.config.image}]},
        }))
    }
}

fn deployment(name: &str, body: &Value) -> Result<Value, DeviceError> {
    let replicas = body.get("replicas");
    if replicas.is_some_and(|r| r.as_u64().is_none_or(|r| r > 10_000)) {
        return Err(DeviceError::never(format!(
            "workload `{name}`: `replicas` is no number up to 10000"
        )));
    }
    let mut spec = json!({});
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.clone();
    }
    if let Some(image) = body.get("image").and_then(Value::as_str) {
        let labels = json!({"app": name});
        spec["selector"] = json!({"matchLabels": labels});
        spec["template"] = json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": name, "image": image}]},
        });
    }
    Ok(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "wiretable"}}, "spec": spec}))
}

fn generation(object: &Value) -> u64 {
    let annotations = object.pointer("/metadata/annotations");
    let text = annotations.and_then(|all| all.get(GENERATION)).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An object in the words of a body.
fn observed(kind: &str, object: &Value) -> Value {
    match kind {
        "workload" => {
            let ready = object.pointer("/status/readyReplicas").cloned().unwrap_or(json!(0));
            let mut seen = json!({"replicas": object.pointer("/spec/replicas"), "ready": ready});
            let image = "/spec/template/spec/containers/0/image";
            if let Some(image) = object.pointer(image) {
                seen["image"] = image.clone();
            }
            seen
        }
        _ => {
            let labels = object.pointer("/metadata/labels");
            let pod = labels.and_then(|labels| labels.get(POD)).cloned();
            json!({"pod": pod, "phase": object.pointer("/status/phase")})
        }
    }
}

impl Driver for Kubernetes {
    fn apply(&self, command: &Command, timeout: Duration) -> Result<Done, DeviceError> {
        let place = self.place(&command.target, &command.kind, &command.name)?;
        // Two calls at most, and the answer has to come in time.
        let timeout = timeout / 2;
        let known = self.get(&place, timeout)?;
        let is_new = known.as_ref().is_none_or(|known| generation(known) < command.generation);
        let object = match (&command.body, known) {
            (_, Some(known)) if !is_new => Some(known),
            (Some(body), known) => {
                Some(self.put(&place, command, body, known.as_ref(), timeout)?)
            }
            (None, Some(known)) => {
                self.delete(&place, &known, timeout)?;
                None
            }
            (None, None) => None,
        };
        Ok(Done { is_new, observed: object.map(|object| observed(&command.kind, &object)) })
    }

    fn observe(
        &self,
        target: &str,
        kind: &str,
        name: &str,
        timeout: Duration,
    ) -> Result<Seen, DeviceError> {
        let object = self.get(&self.place(target, kind, name)?, timeout)?;
        Ok(Seen {
            kind: kind.to_owned(),
            name: name.to_owned(),
            generation: object.as_ref().map_or(0, generation),
            observed: object.map(|object| observed(kind, &object)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bodies_are_checked_before_anybody_is_asked() {
        let config =
            KubernetesConfig { allow: vec!["http://127.0.0.1:8001".into()], ..Default::default() };
        let kubernetes = Kubernetes::new(config);
        let at = |kind: &str, name: &str| {
            kubernetes.place("http://127.0.0.1:8001", kind, name).ok().map(|place| place.url)
        };
        assert_eq!(
            at("workload", "prod/web").as_deref(),
            Some("http://127.0.0.1:8001/apis/apps/v1/namespaces/prod/deployments/web")
        );
        assert_eq!(
            at("node", "node-4").as_deref(),
            Some("http://127.0.0.1:8001/api/v1/namespaces/default/pods/node-4")
        );
        for (kind, name) in
            [("workload", "web"), ("workload", "prod/../x"), ("node", "Node_4"), ("secret", "a")]
        {
            assert_eq!(at(kind, name), None, "{kind} {name}");
        }
        assert!(kubernetes.place("http://127.0.0.1:8002", "node", "a").is_err());
        assert!(deployment("web", &json!({"replicas": -1})).is_err());
        assert!(kubernetes.pod("a", &json!({})).is_err());
    }

    #[test]
    fn what_is_not_said_is_left_to_others() {
        let scaled = deployment("web", &json!({"replicas": 3})).unwrap();
        assert_eq!(scaled["spec"], json!({"replicas": 3}));
        let object =
            json!({"metadata": {"annotations": {GENERATION: "12"}}, "spec": {"replicas": 3}});
        assert_eq!(generation(&object), 12);
        assert_eq!(observed("workload", &object), json!({"replicas": 3, "ready": 0}));
    }
}
