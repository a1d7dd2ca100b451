//! A document about this program and its machine, shown with a template: docker's is one of its Go types.

use crate::exit::{Exit, Failure, Outcome};
use crate::format::template::{Options, Template, Types, Value};
use crate::terminal;
use berth_oci::Error;

/// What docker ends with where the text is no template.
const NO_TEMPLATE: i32 = 64;

/// Prints it; `name` is what docker calls the template. What came before a mistake is printed, too.
pub(super) fn show(
    document: &serde_json::Value,
    types: Types,
    name: &'static str,
    template: &str,
) -> Outcome {
    let template = Template::named(name, template).map_err(|e| Failure::client(e).with_code(NO_TEMPLATE))?;
    let mut out = String::new();
    let executed = template.execute(&mut out, &Value::typed(document, types), Options::default());
    terminal::line(out)?;
    executed.map_err(|words| Failure::client(Error::invalid(words)))?;
    Ok(Exit::SUCCESS)
}
