//! `--check` and `--call`: what a Dockerfile says, without building it.
//!
//! Not here: the rules (`berth_build::check`). Invariant: nothing is pulled and nothing runs; a base image that is not
//! here is not blamed for what nobody knows.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::Persona;
use crate::terminal;
use berth_build::BuildRequest;
use berth_build::check::{BaseImage, Facts, Listing, Report, check, outline, targets};
use berth_build::dockerfile::{Inputs, SyntaxError, did_you_mean, nearest, parse};
use berth_engine::Engine;
use berth_oci::{Error, Platform};
use std::str::FromStr;

/// `--call METHOD[,format=json]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

const METHODS: [(&str, Method); 5] = [
    ("build", Method::Build),
    ("check", Method::Check),
    ("lint", Method::Check),
    ("outline", Method::Outline),
    ("targets", Method::Targets),
];

impl Call {
    /// `--check`.
    pub(super) const CHECK: Self = Self { method: Method::Check, json: false };

    /// Whether it is a build after all.
    pub(super) fn is_build(self) -> bool {
        self.method == Method::Build
    }

    /// Answers from the Dockerfile alone.
    pub(super) fn run(self, request: &BuildRequest, context: &Context) -> Outcome {
        let platform = request.platforms[0].clone();
        match self.method {
            Method::Build => Ok(Exit::SUCCESS),
            Method::Check => {
                let report = report(request, &platform, context.engine()?, request.target.is_none());
                self.show_report(&report, context.settings.persona)
            }
            Method::Outline | Method::Targets => {
                let file =
                    parse(&request.dockerfile_name, &request.dockerfile).map_err(|error| violated(&error))?;
                let listing = match self.method {
                    Method::Targets => targets(&file),
                    _ => outline(&file, &inputs(request, &platform)).map_err(|error| violated(&error))?,
                };
                self.show(&listing)
            }
        }
    }

    fn show_report(self, report: &Report, persona: Persona) -> Outcome {
        if self.json {
            let text = serde_json::to_string_pretty(&report.json()).expect("text has a JSON form");
            terminal::line(text)?;
        } else {
            terminal::print(report.text())?;
        }
        if let Some(text) = report.error_text().filter(|_| !self.json) {
            let frame = if persona == Persona::Docker { "ERROR: " } else { "" };
            terminal::complain(format!("\n{frame}{}", text.trim_end()));
        }
        Ok(if report.is_bad() { Exit::FAILURE } else { Exit::SUCCESS })
    }

    fn show(self, listing: &Listing) -> Outcome {
        if self.json {
            let text = serde_json::to_string_pretty(&listing.json).expect("text has a JSON form");
            terminal::line(text)?;
        } else {
            terminal::print(&listing.text)?;
        }
        Ok(Exit::SUCCESS)
    }
}

impl FromStr for Call {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut fields = text.split(',');
        let name = fields.next().unwrap_or_default();
        let name = name.strip_prefix("method=").unwrap_or(name);
        let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) else {
            let suggestion = nearest(name, METHODS.iter().map(|(known, _)| *known), false);
            return Err(Error::invalid(format!(
                "unknown method {name:?}{}",
                did_you_mean(suggestion.as_deref())
            ))
            .hint("there are build, check, outline and targets"));
        };
        let mut call = Self { method: *method, json: false };
        for field in fields {
            match field {
                "format=json" => call.json = true,
                "format=text" | "format=" => call.json = false,
                _ => {
                    return Err(Error::invalid(format!("unknown field {field:?} in {text:?}"))
                        .hint("write --call=check,format=json"));
                }
            }
        }
        Ok(call)
    }
}

/// A mistake of the Dockerfile: its lines now, its sentence as the answer.
pub(super) fn violated(error: &SyntaxError) -> Failure {
    let excerpt = error.excerpt();
    if !excerpt.is_empty() {
        terminal::complain(excerpt.trim_end());
    }
    Failure::client(Error::invalid(format!("failed to solve: {error}")))
}

fn inputs(request: &BuildRequest, platform: &Platform) -> Inputs {
    Inputs {
        build_args: request.args.clone(),
        build_platform: Platform::host(),
        target_platform: platform.clone(),
        target: request.target.clone(),
    }
}

/// What is wrong with the Dockerfile, as far as it can be seen here and now.
pub(super) fn report(
    request: &BuildRequest,
    platform: &Platform,
    engine: &Engine,
    all_stages: bool,
) -> Report {
    let base = |name: &str, platform: &Platform| -> Option<BaseImage> {
        let found = engine.inspect_image(name, Some(platform));
        let found = found.or_else(|_| engine.inspect_image(name, None)).ok()?;
        let (config, size) = (found.image?.config, Some(found.record.size));
        Some(BaseImage {
            platform: Some(config.platform()),
            env: config.config.env,
            shell: config.config.shell.unwrap_or_default(),
            size,
        })
    };
    let facts = Facts {
        inputs: inputs(request, platform),
        ignore: request.context.ignore.as_deref(),
        base: &base,
        all_stages,
    };
    check(&request.dockerfile_name, &request.dockerfile, &facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_names_and_forms() {
        for (text, method, json) in [
            ("check", Method::Check, false),
            ("lint,format=json", Method::Check, true),
            ("outline,format=text", Method::Outline, false),
            ("method=targets", Method::Targets, false),
            ("build", Method::Build, false),
        ] {
            assert_eq!(text.parse::<Call>().expect(text), Call { method, json }, "{text}");
        }
        let error = "chekc".parse::<Call>().expect_err("no method").to_string();
        assert_eq!(error, "unknown method \"chekc\" (did you mean check?)");
        assert!("check,foo=1".parse::<Call>().is_err());
    }
}
