//! Documents as others write them: what the specification says must only be warned about is left out of them, and words
//! that the crate of the specification spells in its own way are read as the specification has them.
//!
//! Invariant: a document that the crate knows all words of is read once, and as it is.

use berth_oci::{Error, Result};
use oci_spec::runtime::{Capability, LinuxSchedulerFlag};
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

/// Reads a document of the specification, `what`, which has a process under this pointer.
///
/// # Errors
/// It is none.
pub fn understand<T: DeserializeOwned>(text: Vec<u8>, process: &str, what: &str) -> Result<Understood<T>> {
    let refused = |error| Error::invalid(format!("{what} cannot be understood")).caused_by(error);
    let error = match serde_json::from_slice(&text) {
        Ok(document) => return Ok(Understood { document, text, warnings: Vec::new() }),
        Err(error) => error,
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(&text) else { return Err(refused(error)) };
    let under = |field| format!("{process}/{field}");
    let unknown = value.pointer_mut(&under("capabilities")).map(remove_unknown).unwrap_or_default();
    let text = if unknown.is_empty() { text } else { serde_json::to_vec(&value).map_err(refused)? };
    let renamed = value.pointer_mut(&under("scheduler/flags")).is_some_and(rename_flags);
    if unknown.is_empty() && !renamed {
        return Err(refused(error));
    }
    let document = serde_json::from_value(value).map_err(refused)?;
    let warnings =
        unknown.iter().map(|name| format!("there is no capability `{name}`: it is left out")).collect();
    Ok(Understood { document, text, warnings })
}

/// The scheduler's flags that oci-spec 0.10 has under other names than the specification.
const FLAGS: [(&str, LinuxSchedulerFlag); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", LinuxSchedulerFlag::SchedResetOnFork),
    ("SCHED_FLAG_DL_OVERRUN", LinuxSchedulerFlag::SchedFlagDLOverrun),
];

/// Gives the scheduler's flags the names that are read; answers whether any has another one now.
fn rename_flags(flags: &mut Value) -> bool {
    let mut renamed = false;
    for flag in flags.as_array_mut().into_iter().flatten() {
        let known = FLAGS.iter().find(|(name, _)| flag.as_str() == Some(name));
        if let Some(name) = known.and_then(|(_, known)| serde_json::to_value(known).ok()) {
            *flag = name;
            renamed = true;
        }
    }
    renamed
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
    use oci_spec::runtime::{Process, Spec};

    #[test]
    fn unknown_capabilities_are_left_out_and_other_mistakes_are_not() {
        let spec = |process: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.0.2","process":{{"cwd":"/","args":["a"],"user":{{"uid":0,"gid":0}},{process}}}}}"#
            );
            understand::<Spec>(text.into_bytes(), "/process", "x").map_err(|e| e.to_string())
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

    #[test]
    fn flags_of_the_scheduler_have_the_names_of_the_specification() {
        use LinuxSchedulerFlag as Flag;
        for (name, expected) in [
            ("SCHED_FLAG_RESET_ON_FORK", Some(Flag::SchedResetOnFork)),
            ("SCHED_FLAG_RECLAIM", Some(Flag::SchedFlagReclaim)),
            ("SCHED_FLAG_DL_OVERRUN", Some(Flag::SchedFlagDLOverrun)),
            ("SCHED_FLAG_KEEP_POLICY", Some(Flag::SchedFlagKeepPolicy)),
            ("SCHED_FLAG_KEEP_PARAMS", Some(Flag::SchedFlagKeepParams)),
            ("SCHED_FLAG_UTIL_CLAMP_MIN", Some(Flag::SchedFlagUtilClampMin)),
            ("SCHED_FLAG_UTIL_CLAMP_MAX", Some(Flag::SchedFlagUtilClampMax)),
            ("SCHED_FLAG_MAGIC", None),
        ] {
            let text = format!(
                r#"{{"cwd":"/","user":{{"uid":0,"gid":0}},"scheduler":{{"policy":"SCHED_OTHER","flags":["{name}"]}}}}"#
            );
            let process = understand::<Process>(text.clone().into_bytes(), "", "x");
            let flags = process.as_ref().ok().and_then(|p| p.document.scheduler().as_ref()?.flags().clone());
            assert_eq!(flags, expected.map(|flag| vec![flag]), "{name}: {process:?}");
            assert!(process.is_err() || process.is_ok_and(|p| p.text == text.as_bytes()), "{name}");
        }
    }
}
