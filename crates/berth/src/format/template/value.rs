//! What a template sees: Go's values, as far as docker's data has them.
//!
//! Not here: how they print ([`super::print`]). Invariant: a [`Value`] is cheap to clone.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value inside a template.
#[derive(Clone)]
pub(crate) enum Value {
    /// What Go calls an invalid value: prints as `<no value>`.
    Missing,
    /// `nil`.
    Nil,
    /// A slice that is `nil`: nothing is in it, and it is `null` in JSON.
    NilList,
    /// A pointer that is `nil`.
    NilPointer,
    /// `true` or `false`.
    Bool(bool),
    /// Any integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(Rc<str>),
    /// A slice.
    List(Rc<Vec<Value>>),
    /// A map with free keys.
    Map(Rc<GoMap>),
    /// A struct: a fixed set of fields.
    Object(Rc<dyn Fields>),
}

/// A Go map with string keys.
#[derive(Clone, Default)]
pub(crate) struct GoMap {
    /// The entries, sorted as Go prints them.
    pub(crate) entries: BTreeMap<String, Value>,
    /// Whether it is a `map[string]string`, whose missing entries are empty text for `index`.
    pub(crate) of_text: bool,
}

/// Something with a fixed set of named fields, computed when asked.
pub(crate) trait Fields {
    /// Go's name of the type, for error messages; `None` for decoded JSON, where Go speaks of map entries.
    fn type_name(&self) -> Option<&str>;
    /// The field's value, if there is such a field.
    fn field(&self, name: &str) -> Option<Value>;
    /// All fields in the order of their JSON.
    fn names(&self) -> Vec<String>;
    /// The answer of the method `name` to `argument`, if there is such a method.
    fn call(&self, _name: &str, _argument: &str) -> Option<Value> {
        None
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    /// A list of texts.
    pub(crate) fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(Rc::new(items.into_iter().map(Value::from).collect()))
    }

    /// Go's name of the type.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Missing | Self::Nil | Self::NilPointer => "nil".to_owned(),
            Self::NilList => "[]string".to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Int(_) => "int".to_owned(),
            Self::Float(_) => "float64".to_owned(),
            Self::Text(_) => "string".to_owned(),
            Self::List(items) if items.iter().all(|item| item.as_text().is_some()) => "[]string".to_owned(),
            Self::List(_) => "[]interface {}".to_owned(),
            Self::Map(map) if map.of_text => "map[string]string".to_owned(),
            Self::Map(_) => "map[string]interface {}".to_owned(),
            Self::Object(object) => object.type_name().unwrap_or("map[string]interface {}").to_owned(),
        }
    }

    /// Go's idea of truth: anything but the zero value.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil | Self::NilList | Self::NilPointer => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Decoded JSON. Objects become structs (an unknown field is an error), except where `key` is one of
    /// docker's maps, in which an unknown entry is merely not there.
    pub(crate) fn from_json(json: &serde_json::Value) -> Self {
        Self::under("", json, &[])
    }

    /// A document that is no decoded JSON to docker, but one of its own Go types: the names of those by the key under
    /// which they stand, in lists and maps too; the document's own stands under none.
    pub(crate) fn typed(json: &serde_json::Value, types: Types) -> Self {
        Self::under("", json, types)
    }

    fn under(key: &str, json: &serde_json::Value, types: Types) -> Self {
        use serde_json::Value as Json;
        let is_map = TEXT_MAPS.contains(&key) || MAPS.contains(&key);
        match json {
            Json::Null if is_map => Self::map(key, &serde_json::Map::new(), types),
            Json::Null if LISTS.contains(&key) => Self::NilList,
            Json::Null if POINTERS.contains(&key) => Self::NilPointer,
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::from(text.as_str()),
            Json::Array(items) => {
                Self::List(Rc::new(items.iter().map(|item| Self::item(key, item, types)).collect()))
            }
            Json::Object(fields) if is_map => Self::map(key, fields, types),
            Json::Object(fields) => Self::object(type_under(key, types), fields, types),
        }
    }

    fn object(
        kind: Option<&'static str>,
        fields: &serde_json::Map<String, serde_json::Value>,
        types: Types,
    ) -> Self {
        let fields = fields.iter().map(|(k, v)| (k.clone(), Self::under(k, v, types))).collect();
        Self::Object(Rc::new(Decoded { fields, kind }))
    }

    /// What is in the list or map that stands under `key`.
    fn item(key: &str, json: &serde_json::Value, types: Types) -> Self {
        match json {
            serde_json::Value::Object(fields) => Self::object(type_under(key, types), fields, types),
            other => Self::under("", other, types),
        }
    }

    fn map(key: &str, fields: &serde_json::Map<String, serde_json::Value>, types: Types) -> Self {
        let entries = fields.iter().map(|(k, v)| (k.clone(), Self::item(key, v, types))).collect();
        Self::Map(Rc::new(GoMap { entries, of_text: TEXT_MAPS.contains(&key) }))
    }
}

/// Names of docker's Go types, each behind the key under which it stands.
pub(crate) type Types = &'static [(&'static str, &'static str)];

fn type_under(key: &str, types: Types) -> Option<&'static str> {
    types.iter().find(|(known, _)| *known == key).map(|(_, kind)| *kind)
}

/// Docker's `map[string]string` fields.
const TEXT_MAPS: [&str; 10] = [
    "Labels",
    "Options",
    "Annotations",
    "annotations",
    "DriverOpts",
    "Sysctls",
    "Tmpfs",
    "StorageOpt",
    "Details",
    "ConfigLabels",
];
/// Docker's maps of other things.
const MAPS: [&str; 9] = [
    "Ports",
    "Networks",
    "Volumes",
    "ExposedPorts",
    "PortBindings",
    "Containers",
    "Runtimes",
    "IndexConfigs",
    "Data",
];

/// Names of fields in Go, and in the JSON of the same type.
const GO_NAMES: [(&str, &str); 5] = [
    ("ID", "Id"),
    ("CPUCfsPeriod", "CpuCfsPeriod"),
    ("CPUCfsQuota", "CpuCfsQuota"),
    ("HTTPProxy", "HttpProxy"),
    ("HTTPSProxy", "HttpsProxy"),
];

/// Docker's slices that are `nil` where nothing was given.
const LISTS: [&str; 22] = [
    "Aliases",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceRequests",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "GroupAdd",
    "Links",
    "MaskedPaths",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "SecurityOpt",
    "Shell",
    "VolumesFrom",
];
/// Docker's pointers that may be `nil`.
const POINTERS: [&str; 6] =
    ["Health", "Healthcheck", "IPAMConfig", "MemorySwappiness", "OomKillDisable", "PidsLimit"];

/// A decoded JSON object.
struct Decoded {
    fields: Vec<(String, Value)>,
    /// Go's name of its type, where it has one.
    kind: Option<&'static str>,
}

impl Fields for Decoded {
    fn type_name(&self) -> Option<&str> {
        self.kind
    }

    /// Some of docker's Go types write a name in another way than their JSON; both are known.
    fn field(&self, name: &str) -> Option<Value> {
        let json = GO_NAMES.iter().find(|(go, _)| *go == name).map_or(name, |(_, json)| *json);
        self.fields.iter().find(|(key, _)| key == name || key == json).map(|(_, value)| value.clone())
    }

    fn names(&self) -> Vec<String> {
        self.fields.iter().map(|(key, _)| key.clone()).collect()
    }
}
