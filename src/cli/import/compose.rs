//! Compose templates as written: version 1 with services at the top, versions 2 and 3 below `services`; labels as maps
//! and as lists.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Keys beside services at the top of a file of version 1.
const NO_SERVICES: [&str; 6] = ["version", "name", "networks", "volumes", "configs", "secrets"];
/// Labels by which nothing that runs changes: they may differ between the templates of a release.
const NOT_COMPARED: [&str; 1] = ["aliyun.routing.coexist"];

/// A service of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// By name; of a service and of its `deploy`.
    pub labels: BTreeMap<String, String>,
    /// `links`: services of the same template that this one calls.
    pub links: Vec<String>,
    /// `depends_on`: services of the same template that start before it.
    pub starts_after: Vec<String>,
    /// `external_links`: names, or services of other templates.
    pub external_links: Vec<String>,
    /// Ports that the container listens at, by `expose` and `ports`.
    pub ports: Vec<u16>,
    /// Containers, by `deploy.replicas` or `scale`.
    pub replicas: Option<String>,
    /// Whether it stands for something outside, which no template starts.
    pub is_external: bool,
    /// Everything, in one form, to compare with another template.
    configuration: Map<String, Value>,
}

impl Declared {
    /// The keys in which this one differs from another.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (&self.configuration, &other.configuration);
        let mut keys: Vec<_> = ours.keys().chain(theirs.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).cloned().collect()
    }
}

/// Reads a template: its services by name.
///
/// # Errors
/// It is no YAML, or no template.
pub fn parse(text: &str) -> Result<BTreeMap<String, Declared>, String> {
    let root: Value = serde_saphyr::from_str(text).map_err(|error| {
        // The rest is about the library.
        let words = error.to_string().replace(", set DuplicateKeyPolicy in Options if acceptable", "");
        words.strip_prefix("error: ").unwrap_or(&words).to_owned()
    })?;
    let Value::Object(mut root) = root else {
        return Err("it is no compose template: a map of services is expected".to_owned());
    };
    let services = match root.remove("services") {
        Some(Value::Object(services)) => services,
        Some(_) => return Err("`services` must be a map of services".to_owned()),
        None => {
            root.retain(|name, _| !NO_SERVICES.contains(&name.as_str()) && !name.starts_with("x-"));
            root
        }
    };
    if services.is_empty() {
        return Err("it has no services".to_owned());
    }
    services.into_iter().map(|(name, value)| Ok((name.clone(), service(&name, value)?))).collect()
}

fn service(name: &str, value: Value) -> Result<Declared, String> {
    let Value::Object(mut keys) = value else {
        return Err(format!("service {name:?} must be a map: is the indentation lost?"));
    };
    let mut labels = BTreeMap::new();
    if let Some(found) = keys.get_mut("labels") {
        labels.extend(pairs(name, "labels", found, ':')?);
        *found = map(labels.iter().filter(|(label, _)| !NOT_COMPARED.contains(&label.as_str())));
    }
    if let Some(found) = keys.get_mut("environment") {
        *found = map(pairs(name, "environment", found, '=')?.iter());
    }
    let deploy = keys.get("deploy");
    if let Some(found) = deploy.and_then(|deploy| deploy.get("labels")) {
        labels.extend(pairs(name, "deploy.labels", found, ':')?);
    }
    let replicas = deploy.and_then(|deploy| deploy.get("replicas")).or(keys.get("scale")).map(text);
    // Without any label but those that are not compared, it is as if there were none.
    keys.retain(|_, value| !value.as_object().is_some_and(Map::is_empty) && !value.is_null());
    Ok(Declared {
        links: names(keys.get("links")),
        starts_after: names(keys.get("depends_on")),
        external_links: names(keys.get("external_links")),
        ports: [ports(keys.get("expose")), ports(keys.get("ports"))].concat(),
        is_external: keys.contains_key("external"),
        labels,
        replicas,
        configuration: keys,
    })
}

/// A scalar as it was written, more or less.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn map<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Value {
    pairs.map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect::<Map<_, _>>().into()
}

/// A map, or a list of `NAME=VALUE`, or of `NAME: VALUE` as some write it in one text.
fn pairs(
    service: &str,
    key: &str,
    value: &Value,
    other_mark: char,
) -> Result<BTreeMap<String, String>, String> {
    let item = |item: &Value| match item {
        Value::Object(entry) => entry.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        scalar => {
            let line = text(scalar);
            let split = line.split_once('=').or_else(|| line.split_once(other_mark));
            let (name, value) = split.unwrap_or((&line, ""));
            vec![(name.trim().to_owned(), value.trim().to_owned())]
        }
    };
    match value {
        Value::Object(entries) => {
            Ok(entries.iter().map(|(name, value)| (name.clone(), text(value))).collect())
        }
        Value::Array(items) => Ok(items.iter().flat_map(item).collect()),
        Value::Null => Ok(BTreeMap::new()),
        _ => Err(format!("`{key}` of service {service:?} must be a map or a list")),
    }
}

/// The names of a list, without aliases, or of a map.
fn names(value: Option<&Value>) -> Vec<String> {
    let name = |text: String| text.split(':').next().unwrap_or_default().trim().to_owned();
    match value {
        Some(Value::Array(items)) => items.iter().map(text).map(name).collect(),
        Some(Value::Object(entries)) => entries.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The container's side of ports: `80`, `"8080:80"`, `"127.0.0.1:8080:80/tcp"`, `{ target: 80 }`.
fn ports(value: Option<&Value>) -> Vec<u16> {
    let Some(Value::Array(items)) = value else { return Vec::new() };
    let written = items.iter().map(|item| text(item.get("target").unwrap_or(item)));
    let own = written.filter_map(|text| {
        let (port, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        let port = port.rsplit(':').next().unwrap_or_default();
        if protocol == "tcp" { port.parse().ok() } else { None }
    });
    own.collect()
}
