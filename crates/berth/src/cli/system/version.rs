//! `berth version`: docker's two halves, which are one program here.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::template::Types;
use crate::settings::Persona;
use crate::terminal;
use serde_json::json;

/// Our version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit we were built from, where the build said so.
pub(crate) const BUILD: &str = match option_env!("BERTH_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "source",
};
/// The docker whose words we speak; programs that look for features parse it.
pub(crate) const DOCKER_VERSION: &str = "28.5.2";
/// The Docker Engine API that belongs to it.
const API_VERSION: &str = "1.51";

/// Docker's types of this document.
const TYPES: Types = &[
    ("", "system.versionInfo"),
    ("Client", "system.clientVersion"),
    ("Server", "*types.Version"),
    ("Components", "types.ComponentVersion"),
    ("Platform", "struct { Name string }"),
];

/// Show the version of berth.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let versions = versions(context.settings.persona);
        let text = match self.format.as_deref() {
            None | Some("") => plain(&versions),
            Some("json") => format!("{versions}\n"),
            Some(template) => return super::document::show(&versions, TYPES, "version", template),
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

fn versions(persona: Persona) -> serde_json::Value {
    let version = match persona {
        Persona::Berth => VERSION,
        Persona::Docker => DOCKER_VERSION,
    };
    let architecture = berth_oci::Platform::host().architecture;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    json!({
        "Client": {
            "Version": version, "ApiVersion": API_VERSION, "DefaultAPIVersion": API_VERSION, "GitCommit": BUILD,
            "GoVersion": "", "Os": "linux", "Arch": architecture, "BuildTime": "", "Context": "default",
        },
        "Server": {
            "Platform": {"Name": format!("berth {VERSION}")},
            "Components": [{
                "Name": "Engine", "Version": version,
                "Details": {
                    "ApiVersion": API_VERSION, "Arch": architecture, "BuildTime": "", "Experimental": "false",
                    "GitCommit": BUILD, "GoVersion": "", "KernelVersion": kernel, "MinAPIVersion": "1.24", "Os": "linux",
                },
            }],
            "Version": version, "ApiVersion": API_VERSION, "MinAPIVersion": "1.24", "GitCommit": BUILD,
            "GoVersion": "", "Os": "linux", "Arch": architecture, "KernelVersion": kernel, "BuildTime": "",
        },
    })
}

fn plain(versions: &serde_json::Value) -> String {
    let text = |half: &str, key: &str| versions[half][key].as_str().unwrap_or_default().to_owned();
    format!(
        "Client:\n Version:           {}\n API version:       {API_VERSION}\n Git commit:        {BUILD}\n \
         OS/Arch:           linux/{}\n Context:           default\n\n\
         Server: berth {VERSION}, in this program\n Engine:\n  Version:          {}\n  \
         API version:      {API_VERSION} (minimum version 1.24)\n  Git commit:       {BUILD}\n  \
         OS/Arch:          linux/{}\n  Kernel:           {}\n",
        text("Client", "Version"),
        text("Client", "Arch"),
        text("Server", "Version"),
        text("Server", "Arch"),
        text("Server", "KernelVersion"),
    )
}
