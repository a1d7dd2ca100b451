//! `berth events`: what happens, past and present.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::template::{Fields, GoMap, Options, Template, Value};
use crate::format::time;
use crate::terminal;
use berth_oci::Result;
use berth_runtime::log::Woken;
use berth_runtime::{Happened, JournalReader};
use jiff::Timestamp;
use std::rc::Rc;

/// Get real time events.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format output using a Go template, or 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

const FILTERS: &[&str] = &["container", "event", "image", "label", "network", "scope", "type", "volume"];

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let now = Timestamp::now();
        let moment = |text: &Option<String>| {
            text.as_deref().filter(|t| !t.is_empty()).map(|t| time::parse_moment(t, now)).transpose()
        };
        let (since, until) = (moment(&self.since).client()?, moment(&self.until).client()?);
        let template = match self.format.as_deref() {
            None | Some("") => None,
            Some("json") => Some(Template::parse("{{json .}}").client()?),
            Some(format) => Some(Template::parse(format).client()?),
        };
        let filters = Filters::new(&self.filter, FILTERS)?;
        let mut journal = context.engine()?.events()?;
        if since.is_none() {
            journal.skip_to_end()?;
        }
        let show = Show { filters, template, since, until };
        follow(&mut journal, &show).map(|()| Exit::SUCCESS).client()
    }
}

/// Which events are shown, and how.
struct Show {
    filters: Filters,
    template: Option<Template>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn follow(journal: &mut JournalReader, show: &Show) -> Result<()> {
    loop {
        while let Some(happened) = journal.next_event()? {
            if show.until.is_some_and(|until| happened.time > until) {
                return Ok(());
            }
            if show.since.is_none_or(|since| happened.time >= since) && fits(&happened, &show.filters) {
                terminal::line(text(happened, show.template.as_ref())?)?;
            }
        }
        if journal.wait(None, show.until)? == Woken::Late {
            return Ok(());
        }
    }
}

fn text(happened: Happened, template: Option<&Template>) -> Result<String> {
    match template {
        None => Ok(sentence(&happened)),
        Some(template) => template.render(&Value::Object(Rc::new(Message(happened))), Options::default()),
    }
}

/// `2026-11-24T03:00:15.633798919Z container create 8d2e… (image=busybox, name=web)`
fn sentence(happened: &Happened) -> String {
    let attributes = happened.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    let attributes = attributes.collect::<Vec<_>>().join(", ");
    let time = time::local_rfc3339_nano(happened.time);
    let (kind, action, id) = (&happened.kind, &happened.action, &happened.id);
    match attributes.is_empty() {
        true => format!("{time} {kind} {action} {id}"),
        false => format!("{time} {kind} {action} {id} ({attributes})"),
    }
}

/// All keys must fit, of each one of its values.
fn fits(happened: &Happened, filters: &Filters) -> bool {
    let any = |key: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.values(key);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let name = happened.attributes.get("name").map_or("", String::as_str);
    let is = |kind: &str, wanted: &str| {
        let begins = |text: &str| !wanted.is_empty() && text.starts_with(wanted);
        happened.kind == kind && (begins(&happened.id) || begins(name))
    };
    let action = happened.action.split(':').next().unwrap_or_default();
    any("event", &|wanted| wanted == happened.action || wanted == action)
        && any("type", &|wanted| wanted == happened.kind)
        && any("scope", &|wanted| wanted == "local")
        && any("container", &|wanted| is("container", wanted))
        && any("network", &|wanted| is("network", wanted))
        && any("volume", &|wanted| is("volume", wanted))
        && any("image", &|wanted| is_image(happened, wanted))
        && filters.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => happened.attributes.get(key).is_some_and(|found| found == value),
            None => happened.attributes.contains_key(wanted),
        })
}

/// An image's own events, and those of the containers made from it; with or without its tag.
fn is_image(happened: &Happened, wanted: &str) -> bool {
    let key = if happened.kind == "image" { "name" } else { "image" };
    let name = happened.attributes.get(key).map_or("", String::as_str);
    let familiar = name.rsplit_once(':').map_or(name, |(familiar, _)| familiar);
    happened.id == wanted || name == wanted || familiar == wanted
}

/// Docker's `events.Message`, under the names of its JSON and of its Go fields.
struct Message(Happened);

impl Message {
    /// The fields of before there were other things than containers.
    fn has_old_fields(&self) -> bool {
        matches!(self.0.kind.as_str(), "container" | "image")
    }
}

impl Fields for Message {
    fn type_name(&self) -> Option<&str> {
        Some("events.Message")
    }

    fn field(&self, name: &str) -> Option<Value> {
        let happened = &self.0;
        let old = |text: &str| if self.has_old_fields() { text } else { "" }.into();
        Some(match name {
            "status" | "Status" => old(&happened.action),
            "id" | "ID" => old(&happened.id),
            "from" | "From" => match happened.kind.as_str() {
                "container" => happened.attributes.get("image").map_or("", String::as_str).into(),
                _ => "".into(),
            },
            "Type" => happened.kind.as_str().into(),
            "Action" => happened.action.as_str().into(),
            "Actor" => Value::Object(Rc::new(Actor(happened.clone()))),
            "scope" | "Scope" => "local".into(),
            "time" | "Time" => Value::Int(happened.time.as_second()),
            "timeNano" | "TimeNano" => {
                Value::Int(i64::try_from(happened.time.as_nanosecond()).unwrap_or(i64::MAX))
            }
            _ => return None,
        })
    }

    fn names(&self) -> Vec<String> {
        let old: &[&str] = match self.0.kind.as_str() {
            "container" => &["status", "id", "from"],
            "image" => &["status", "id"],
            _ => &[],
        };
        let all = old.iter().chain(&["Type", "Action", "Actor", "scope", "time", "timeNano"]);
        all.map(|name| (*name).to_owned()).collect()
    }
}

/// To whom it happened.
struct Actor(Happened);

impl Fields for Actor {
    fn type_name(&self) -> Option<&str> {
        Some("events.Actor")
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "ID" => Some(self.0.id.as_str().into()),
            "Attributes" => {
                let entries = self.0.attributes.iter();
                let entries = entries.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
                Some(Value::Map(Rc::new(GoMap { entries, of_text: true })))
            }
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["ID".to_owned(), "Attributes".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(kind: &str, action: &str, attributes: &[(&str, &str)]) -> Happened {
        Happened {
            time: "2026-11-24T03:00:15.5Z".parse().unwrap(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: "8d2e".to_owned(),
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn events_are_shown_as_docker_shows_them() {
        let event = || happened("container", "die", &[("image", "busybox:1"), ("name", "web")]);
        for (format, expected) in [
            (
                "{{.Status}} {{.ID}} {{.From}} {{.Actor.Attributes.name}} {{.Time}}",
                "die 8d2e busybox:1 web 1795489215",
            ),
            (
                "{{json .}}",
                "{\"status\":\"die\",\"id\":\"8d2e\",\"from\":\"busybox:1\",\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"8d2e\",\"Attributes\":{\"image\":\"busybox:1\",\"name\":\"web\"}},\"scope\":\"local\",\"time\":1795489215,\"timeNano\":1795489215500000000}",
            ),
        ] {
            let template = Template::parse(format).unwrap();
            assert_eq!(text(event(), Some(&template)).unwrap(), expected);
        }
        assert!(sentence(&event()).ends_with(" container die 8d2e (image=busybox:1, name=web)"));
    }

    #[test]
    fn every_filter_can_say_no() {
        let web =
            happened("container", "exec_create: ls", &[("image", "busybox:1"), ("name", "web"), ("a", "b")]);
        let image = happened("image", "tag", &[("name", "busybox:2")]);
        for (event, filter, expected) in [
            (&web, "event=exec_create", true),
            (&web, "event=exec_create: ls", true),
            (&web, "event=exec", false),
            (&web, "type=container", true),
            (&web, "type=image", false),
            (&web, "container=web", true),
            (&web, "container=8d", true),
            (&web, "container=db", false),
            (&image, "container=8d", false),
            (&web, "image=busybox", true),
            (&web, "image=busybox:1", true),
            (&web, "image=busybox:2", false),
            (&image, "image=busybox", true),
            (&web, "label=a", true),
            (&web, "label=a=c", false),
            (&web, "scope=swarm", false),
            (&image, "network=8d", false),
        ] {
            let filters = Filters::new(&[filters::parse(filter).unwrap()], FILTERS).unwrap();
            assert_eq!(fits(event, &filters), expected, "{filter}");
        }
    }
}
