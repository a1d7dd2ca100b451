//! `RUN` and its flags.
//!
//! Not here: mounts, which have a room of their own. Invariant: network, security and devices are final here; no
//! variable changes what a step may do.

use super::ast::{Device, Network, Run, Security};
use super::csv;
use super::error::Fault;
use super::flags::Kind;
use super::instruction::Request;
use super::mount::{MountFlag, boolean};
use super::operand::Token;
use super::suggest::nearest;

pub(super) fn run(request: &Request<'_>) -> Result<Run, Fault> {
    let flags = request.flags(&[
        ("mount", Kind::List),
        ("network", Kind::Text),
        ("security", Kind::Text),
        ("device", Kind::List),
    ])?;
    let place =
        |fault: Fault, token: &Token, name: &str| fault.at(token.at, name.len() + 3 + token.text.len());
    let mounts = flags.all("mount").map(|token| {
        MountFlag::read(&token.text, request.escape).map_err(|fault| place(fault, token, "mount"))
    });
    let devices =
        flags.all("device").map(|token| device(&token.text).map_err(|fault| place(fault, token, "device")));
    let network = match flags.text("network") {
        None => Network::Default,
        Some(token) => network(&token.text).map_err(|fault| place(fault, token, "network"))?,
    };
    let security = match flags.text("security") {
        None => Security::Sandbox,
        Some(token) => security(&token.text).map_err(|fault| place(fault, token, "security"))?,
    };
    Ok(Run {
        mounts: mounts.collect::<Result<_, _>>()?,
        devices: devices.collect::<Result<_, _>>()?,
        network,
        security,
        line: request.command_line(&request.parts.rest)?,
        heredocs: request.statement.heredocs.clone(),
    })
}

fn network(text: &str) -> Result<Network, Fault> {
    match text {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        _ => Err(Fault::new(format!("invalid network mode {text:?}")).suggest(nearest(
            text,
            ["default", "none", "host"],
            false,
        ))),
    }
}

fn security(text: &str) -> Result<Security, Fault> {
    match text {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        _ => Err(Fault::new(format!("security {text:?} is not valid")).suggest(nearest(
            text,
            ["sandbox", "insecure"],
            false,
        ))),
    }
}

/// `vendor/class=name[,required[=bool]]`, or with the key `name`.
pub(super) fn device(text: &str) -> Result<Device, Fault> {
    let fields =
        csv::fields(text).map_err(|why| Fault::new(format!("failed to parse csv devices: {why}")))?;
    let mut device = Device { name: String::new(), required: false };
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => device.required = boolean("required", value).map_err(Fault::new)?,
            ("name", Some(value)) if device.name.is_empty() => device.name = value.to_owned(),
            ("name", Some(_)) => {
                return Err(Fault::new(format!("device name already set to {}", device.name)));
            }
            _ if device.name.is_empty() => device.name.clone_from(field),
            (_, None) => {
                return Err(Fault::new(format!("invalid field '{field}' must be a key=value pair")));
            }
            (key, Some(_)) => {
                return Err(Fault::new(format!("unexpected key '{key}' in '{field}'")).suggest(nearest(
                    key,
                    ["name", "required"],
                    false,
                )));
            }
        }
    }
    Ok(device)
}
