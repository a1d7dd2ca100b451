//! `berth buildx ls` and `inspect`: the one builder there is.
//!
//! Invariant: what is shown is what a build would find now.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::format::template::{Options, Template, Value};
use crate::terminal;
use berth_oci::{Error, Platform};
use serde_json::json;

/// What the builder is called.
const NAME: &str = "default";

/// List builder instances.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct LsArgs {
    /// Format the output
    #[arg(long, value_name = "string")]
    format: Option<String>,
}

/// Inspect current builder instance.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct InspectArgs {
    /// Ensure builder has booted before inspecting: it needs no booting
    #[arg(long)]
    bootstrap: bool,
    /// The builder
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// The platforms for which steps run here.
fn platforms() -> String {
    let known = ["amd64", "arm64", "386", "arm/v7", "riscv64", "ppc64le", "s390x", "mips64le", "loong64"];
    let mut all = vec![Platform::host()];
    for text in known {
        let platform: Option<Platform> = format!("linux/{text}").parse().ok();
        all.extend(platform.filter(|platform| *platform != all[0] && berth_engine::runs_here(platform)));
    }
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl LsArgs {
    /// Runs it.
    pub(crate) fn run(self, _context: &Context) -> Outcome {
        let (version, platforms) = (env!("CARGO_PKG_VERSION"), platforms());
        let text = match self.format.as_deref() {
            None | Some("table") => format!(
                "NAME/NODE     DRIVER/ENDPOINT   STATUS    BUILDKIT   PLATFORMS\n\
                 {NAME}*      berth                                  \n \
                 \\_ {NAME}    \\_ {NAME}        running   v{version}     {platforms}\n"
            ),
            Some("json") => format!(
                "{}\n",
                json!({ "Name": NAME, "Driver": "berth", "Current": true, "Platforms": platforms })
            ),
            Some(format) => {
                let data = json!({
                    "Name": NAME, "DriverEndpoint": "berth", "Status": "running", "Buildkit": format!("v{version}"),
                    "Platforms": platforms, "Current": true,
                });
                format!(
                    "{}\n",
                    Template::parse(format)?.render(&Value::from_json(&data), Options::default())?
                )
            }
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

impl InspectArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if let Some(name) = self.name.as_deref().filter(|name| *name != NAME) {
            return Err(Failure::client(Error::not_found(format!("no builder {name:?} found")).hint(
                "berth builds by itself, without builders to choose from: the one there is is called default",
            )));
        }
        let (version, platforms) = (env!("CARGO_PKG_VERSION"), platforms());
        let size: u64 = context.engine()?.store()?.steps()?.iter().map(|step| step.size).sum();
        terminal::print(format!(
            "Name:          {NAME}\nDriver:        berth\n\nNodes:\n\
             Name:             {NAME}\nEndpoint:         {NAME}\nStatus:           running\n\
             BuildKit version: v{version}\nPlatforms:        {platforms}\nCache:            {}\n",
            crate::format::human::size(size)
        ))?;
        Ok(Exit::SUCCESS)
    }
}
