//! What all `inspect` commands share: an array of documents, a template over each, and the names that mean nothing.

use super::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::format::template::{Options, Template, Value};
use crate::terminal;
use berth_oci::Result;
use serde::Serialize;

/// Docker's code for a template that cannot be read.
const BAD_TEMPLATE: i32 = 64;

/// Shows the document that `get` finds for each name; names that mean nothing are complained about afterwards.
pub(crate) fn show<E: Into<Failure>>(
    context: &Context,
    names: &[String],
    format: Option<&str>,
    get: impl Fn(&str) -> Result<serde_json::Value, E>,
) -> Outcome {
    let template = match format {
        None | Some("" | "json") => None,
        Some(format) => {
            Some(Template::parse(format).map_err(|error| Failure::client(error).with_code(BAD_TEMPLATE))?)
        }
    };
    let mut documents = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match get(name) {
            Ok(document) => documents.push(document),
            Err(error) => failures.push(error.into()),
        }
    }
    match (template, format) {
        (Some(template), _) => rendered(&template, &documents)?,
        (None, Some("json")) => terminal::line(serde_json::Value::Array(documents).to_string())?,
        (None, _) => terminal::line(indented(&documents))?,
    }
    for failure in &failures {
        failure.report(context.settings.persona);
    }
    Ok(if failures.is_empty() { Exit::SUCCESS } else { Exit::FAILURE })
}

/// A line for each document; what came before a mistake is shown, as docker shows it.
fn rendered(template: &Template, documents: &[serde_json::Value]) -> Result<(), Failure> {
    for document in documents {
        match template.render(&Value::from_json(&whole(document)), Options::default()) {
            Ok(text) => terminal::line(text)?,
            Err(error) => {
                terminal::line("")?;
                return Err(Failure::client(error));
            }
        }
    }
    Ok(())
}

/// With what docker's JSON leaves out of a container and its templates still see: that there is no health.
fn whole(document: &serde_json::Value) -> std::borrow::Cow<'_, serde_json::Value> {
    match document.get("State") {
        Some(state) if state.get("Health").is_none() => {
            let mut whole = document.clone();
            whole["State"]["Health"] = serde_json::Value::Null;
            std::borrow::Cow::Owned(whole)
        }
        _ => std::borrow::Cow::Borrowed(document),
    }
}

/// Docker's indentation: four spaces.
fn indented(documents: &[serde_json::Value]) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    documents.serialize(&mut serializer).expect("JSON values always serialize");
    String::from_utf8(out).expect("JSON is UTF-8")
}
