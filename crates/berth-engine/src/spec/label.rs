//! Labels and annotations: `-l key=value`, `-l key`, and files of such lines.

use super::env::parse_key_value_lines;
use berth_oci::{Error, Result};

/// `key=value`; a key alone has the empty value.
///
/// # Errors
/// There is no key.
pub fn parse_label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key.trim().is_empty() {
        true => Err(Error::invalid(format!("invalid label '{text}': empty name"))),
        false => Ok((key.to_owned(), value.to_owned())),
    }
}

/// Reads a file of labels, with the rules of an environment file.
///
/// # Errors
/// As for [`parse_env_file`](super::parse_env_file).
pub fn parse_label_file(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let pairs = parse_key_value_lines(bytes)?.into_iter();
    Ok(pairs.map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// `key=value` of `--annotation` and `--sysctl`, where the value is not optional.
///
/// # Errors
/// There is no key or no `=`.
pub fn parse_pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("`{text}` should read name=value"))),
    }
}

/// `name=value` of `--sysctl`: only what has a namespace, so that no container changes its host.
///
/// # Errors
/// The name is not one that a container may set.
pub fn parse_sysctl(text: &str) -> Result<(String, String)> {
    let (name, value) =
        parse_pair(text).map_err(|_| Error::invalid(format!("sysctl '{text}' is not allowed")))?;
    let allowed = berth_runtime::is_of_ipc(&name) || name.starts_with("net.");
    match allowed && !name.contains(['/', '\0']) && !name.contains("..") {
        true => Ok((name, value)),
        false => Err(Error::invalid(format!("sysctl '{text}' is not allowed")).hint(
            "a container may set net.*, fs.mqueue.* and the kernel.msg*, kernel.sem and kernel.shm* values",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_sysctls() {
        let show = |pair: Result<(String, String)>| match pair {
            Ok((key, value)) => format!("{key}={value}"),
            Err(error) => error.to_string(),
        };
        for (text, expected) in
            [("a=b", "a=b"), ("a", "a="), ("a=b=c", "a=b=c"), ("=b", "invalid label '=b': empty name")]
        {
            assert_eq!(show(parse_label(text)), expected);
        }
        for (text, expected) in [
            ("net.ipv4.ip_forward=1", "net.ipv4.ip_forward=1"),
            ("kernel.shmmax=1", "kernel.shmmax=1"),
            ("kernel.panic=1", "sysctl 'kernel.panic=1' is not allowed"),
            ("net./../kernel=1", "sysctl 'net./../kernel=1' is not allowed"),
            ("net.x", "sysctl 'net.x' is not allowed"),
        ] {
            assert_eq!(show(parse_sysctl(text)), expected);
        }
        assert_eq!(
            parse_label_file(b"# c\na=b\nc\n").unwrap(),
            [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]
        );
    }
}
