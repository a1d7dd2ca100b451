//! `top`: the processes of a container, as the host's `ps` tells of them.
//!
//! Invariant: only processes in the container's control group are shown; where it has none (without root), only those in
//! its PID namespace, or started by its first process.

use super::Container;
use crate::engine::Engine;
use berth_oci::{AtPath, Context, Error, Result};
use berth_runtime::OfProcess;
use std::collections::HashSet;
use std::fs;
use std::process::Command;

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// What the columns are called.
    pub titles: Vec<String>,
    /// A row for each process.
    pub processes: Vec<Vec<String>>,
}

impl Engine {
    /// The processes of a running container; `arguments` are ps(1)'s, `-ef` where there are none.
    ///
    /// # Errors
    /// `Conflict`: it does not run; ps is not there, does not take the arguments, or does not tell numbers.
    pub fn top(&self, container: &Container, arguments: &[String]) -> Result<Top> {
        let pid = container.state.as_ref().filter(|_| container.is_running()).and_then(|state| state.pid);
        let Some(pid) = pid else {
            return Err(Error::conflict(format!("container {} is not running", container.id)));
        };
        let usual = ["-ef".to_owned()];
        let arguments = if arguments.is_empty() { &usual[..] } else { arguments };
        let output = Command::new("ps").args(arguments).output().context(|| "cannot run `ps`")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::invalid(format!("ps: {}", said.lines().next().unwrap_or_default())));
        }
        table(&String::from_utf8_lossy(&output.stdout), &processes(pid, &container.id)?)
    }
}

/// The rows about these processes. The last column has blanks.
fn table(text: &str, wanted: &HashSet<i32>) -> Result<Top> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let number = titles.iter().position(|title| title == "PID").ok_or_else(|| {
        Error::invalid("Couldn't find PID field in ps output").hint("the columns must have pid: -o pid,comm")
    })?;
    let mut processes = Vec::new();
    for line in lines {
        let row = columns(line, titles.len());
        let pid = row.get(number).and_then(|text| text.parse().ok());
        if pid.is_some_and(|pid| wanted.contains(&pid)) {
            processes.push(row);
        }
    }
    Ok(Top { titles, processes })
}

fn columns(line: &str, count: usize) -> Vec<String> {
    let mut rest = line.trim_start();
    let mut columns = Vec::with_capacity(count);
    while columns.len() + 1 < count && !rest.is_empty() {
        let (column, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        columns.push(column.to_owned());
        rest = more.trim_start();
    }
    columns.push(rest.trim_end().to_owned());
    columns
}

/// Every process of the container `id`, whose first is `init`.
fn processes(init: i32, id: &str) -> Result<HashSet<i32>> {
    let path = format!("/proc/{init}/cgroup");
    let text = fs::read_to_string(&path).of_process(&path)?;
    let is_own = |line: &&str| line.rsplit('/').next().is_some_and(|last| last.contains(id));
    if let Some(group) = text.lines().find(is_own) {
        let below = format!("{group}/");
        return running(|pid| {
            // It may have ended by now.
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.lines().any(|line| line == group || line.starts_with(&below))
        });
    }
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(init);
    let own = fs::read_link("/proc/self/ns/pid").ok();
    match theirs.is_some() && theirs != own {
        true => running(|pid| namespace(pid) == theirs),
        false => running(|pid| descends(pid, init)),
    }
}

/// The processes that are what is wanted.
fn running(is_wanted: impl Fn(i32) -> bool) -> Result<HashSet<i32>> {
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc").at("/proc")? {
        let name = entry.at("/proc")?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse().ok()).filter(|pid| is_wanted(*pid)));
    }
    Ok(found)
}

/// Whether `pid` is `ancestor`, or was started by it, or by something that was.
fn descends(mut pid: i32, ancestor: i32) -> bool {
    while pid > 1 && pid != ancestor {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        pid = parent.unwrap_or(0);
    }
    pid == ancestor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_ps() {
        let text = "UID          PID    PPID  C STIME TTY          TIME CMD\n\
                    root           1       0  0 04:00 ?        00:00:01 /sbin/init  with blanks\n\
                    root          77       1  0 04:00 ?        00:00:00 sleep 1000\n";
        let top = table(text, &[77].into()).unwrap();
        assert_eq!(top.titles.len(), 8);
        assert_eq!(top.processes, [["root", "77", "1", "0", "04:00", "?", "00:00:00", "sleep 1000"]]);
        assert_eq!(table(text, &[1].into()).unwrap().processes[0][7], "/sbin/init  with blanks");
        assert_eq!(
            table("COMMAND\nsh\n", &[1].into()).unwrap_err().to_string(),
            "Couldn't find PID field in ps output"
        );
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(processes(own, "no group is called so").unwrap().contains(&own));
        assert!(descends(own, own) && !descends(1, own));
    }
}
