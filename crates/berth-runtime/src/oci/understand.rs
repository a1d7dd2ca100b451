//! Documents as others write them: what the specification says must only be warned about is left out of them.
//!
//! Invariant: a document that we know all words of is read once, and as it is.

use berth_oci::{Error, Result};
use oci_spec::runtime::Capability;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A document, and what was left out of it.
#[derive(Debug)]
pub struct Understood<T> {
    /// What it says.
    pub document: T,
    /// Its text, without what was left out.
    pub text: Vec<u8>,
    /// What was left out, for the user.
    pub warnings: Vec<String>,
}

/// Reads a document of the specification, `what`, which has a process's capabilities under this pointer.
///
/// # Errors
/// It is none.
pub fn understand<T: DeserializeOwned>(
    text: Vec<u8>,
    capabilities: &str,
    what: &str,
) -> Result<Understood<T>> {
    let refused = |error| Error::invalid(format!("{what} cannot be understood")).caused_by(error);
    let error = match serde_json::from_slice(&text) {
        Ok(document) => return Ok(Understood { document, text, warnings: Vec::new() }),
        Err(error) => error,
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(&text) else { return Err(refused(error)) };
    let unknown = value.pointer_mut(capabilities).map(remove_unknown).unwrap_or_default();
    if unknown.is_empty() {
        return Err(refused(error));
    }
    let text = serde_json::to_vec(&value).map_err(refused)?;
    let document = serde_json::from_value(value).map_err(refused)?;
    let warnings =
        unknown.iter().map(|name| format!("there is no capability `{name}`: it is left out")).collect();
    Ok(Understood { document, text, warnings })
}

/// Takes the names that nobody knows out of every set.
fn remove_unknown(sets: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for set in sets.as_object_mut().into_iter().flat_map(|sets| sets.values_mut()) {
        let Some(names) = set.as_array_mut() else { continue };
        names.retain(|name| {
            let is_known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if let (false, Some(name)) = (is_known, name.as_str()) {
                unknown.push(name.to_owned());
            }
            is_known || !name.is_string()
        });
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn unknown_capabilities_are_left_out_and_other_mistakes_are_not() {
        let spec = |process: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.0.2","process":{{"cwd":"/","args":["a"],"user":{{"uid":0,"gid":0}},{process}}}}}"#
            );
            understand::<Spec>(text.into_bytes(), "/process/capabilities", "x").map_err(|e| e.to_string())
        };
        let sets = |names: &str| format!(r#""capabilities":{{"bounding":[{names}],"effective":[{names}]}}"#);
        let known = spec(&sets(r#""CAP_KILL""#)).unwrap();
        assert!(known.warnings.is_empty());
        let partly = spec(&sets(r#""CAP_KILL","CAP_MAGIC","NONE""#)).unwrap();
        assert_eq!(partly.warnings.len(), 2, "{:?}", partly.warnings);
        let process = partly.document.process().clone().unwrap();
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
        assert!(!String::from_utf8(partly.text).unwrap().contains("MAGIC"));
        assert!(spec(&sets("7")).is_err());
        assert!(spec(r#""terminal":"yes""#).is_err());
    }
}
