//! Dockerfile instructions that change an image's configuration: `import --change`.

use berth_oci::{Error, Result, RuntimeConfig};
use serde_json::json;

/// The configuration that these instructions make of an empty one.
pub(crate) fn apply(changes: &[String]) -> Result<RuntimeConfig> {
    let mut config = RuntimeConfig::default();
    apply_to(&mut config, changes)?;
    Ok(config)
}

/// Makes these instructions' changes to a configuration.
pub(crate) fn apply_to(config: &mut RuntimeConfig, changes: &[String]) -> Result<()> {
    changes.iter().try_for_each(|line| change(config, line.trim()))
}

fn change(config: &mut RuntimeConfig, line: &str) -> Result<()> {
    let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (instruction, rest) = (instruction.to_uppercase(), rest.trim());
    if !KNOWN.contains(&instruction.as_str()) {
        return Err(Error::invalid(format!("{instruction} is not a valid change command"))
            .hint(format!("these are: {}", KNOWN.join(", "))));
    }
    if rest.is_empty() && !matches!(instruction.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(Error::invalid(format!("{instruction} requires at least one argument")));
    }
    match instruction.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            for (name, value) in pairs(&instruction, rest)? {
                config.env.retain(|known| known.split('=').next() != Some(&name));
                config.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(&instruction, rest)?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config.exposed_ports.insert(exposed(port)?, json!({}));
            }
        }
        "VOLUME" => {
            let paths =
                json_list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config.volumes.extend(paths.into_iter().map(|path| (path, json!({}))));
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => {
            config.working_dir = match rest.starts_with('/') {
                true => rest.to_owned(),
                false => format!("{}/{rest}", config.working_dir.trim_end_matches('/')),
            }
        }
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        _ => config.on_build.get_or_insert_default().push(rest.to_owned()),
    }
    Ok(())
}

const KNOWN: &[&str] =
    &["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"];

/// The exec form is a JSON list; anything else is for the shell.
fn command(text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn json_list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn exposed(text: &str) -> Result<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let is_range = port.split('-').count() <= 2 && port.split('-').all(is_port);
    match is_range && matches!(protocol, "tcp" | "udp" | "sctp") {
        true => Ok(format!("{port}/{protocol}")),
        false => Err(Error::invalid(format!("invalid containerPort: {text}"))),
    }
}

/// `name=value name2="a b"`, or the old `name value`.
fn pairs(instruction: &str, text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text);
    let first = words.first().map_or("", String::as_str);
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if value.is_empty() {
            return Err(Error::invalid(format!("{instruction} must have two arguments")));
        }
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Error::invalid(format!(
                "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// Words with quotes and backslashes taken away.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut inside) = (String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => (quote, inside) = (Some(c), true),
            ('\\', None | Some('"')) => {
                word.extend(chars.next());
                inside = true;
            }
            (c, None) if c.is_whitespace() => {
                if inside {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            (c, _) => {
                word.push(c);
                inside = true;
            }
        }
    }
    if inside {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str]) -> String {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        match apply(&lines) {
            Ok(config) => {
                serde_json::to_string(&config).unwrap().replace("\"Entrypoint\":null,\"Cmd\":null", "-")
            }
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn instructions_change_the_config() {
        for (lines, expected) in [
            (&["CMD [\"a\",\"b\"]"][..], r#"{"Entrypoint":null,"Cmd":["a","b"]}"#),
            (&["CMD a b"], r#"{"Entrypoint":null,"Cmd":["/bin/sh","-c","a b"]}"#),
            (&["entrypoint [\"x\"]"], r#"{"Entrypoint":["x"],"Cmd":null}"#),
            (&["ENV A=1 B=\"x y\"", "ENV A=2", "ENV C d e"], r#"{"Env":["B=x y","A=2","C=d e"],-}"#),
            (&["LABEL a=b c='d e'"], r#"{-,"Labels":{"a":"b","c":"d e"}}"#),
            (&["EXPOSE 80 53/udp"], r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{}},-}"#),
            (&["VOLUME [\"/a\"]", "VOLUME /b /c"], r#"{-,"Volumes":{"/a":{},"/b":{},"/c":{}}}"#),
            (&["WORKDIR /a", "WORKDIR b", "USER u"], r#"{"User":"u",-,"WorkingDir":"/a/b"}"#),
            (&["STOPSIGNAL SIGINT", "ONBUILD RUN x"], r#"{-,"StopSignal":"SIGINT","OnBuild":["RUN x"]}"#),
            (&["FROM x"], "FROM is not a valid change command"),
            (&["ENV A"], "ENV must have two arguments"),
            (&["LABEL a=b c"], "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
            (&["EXPOSE 0"], "invalid containerPort: 0"),
            (&["USER"], "USER requires at least one argument"),
        ] {
            assert_eq!(check(lines), expected, "{lines:?}");
        }
    }
}
