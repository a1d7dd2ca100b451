//! What `--explain` says at the end: what the ignore file does, which paths of the context are large, and what the
//! builds before this one teach.

use crate::format::human;
use crate::terminal;
use berth_build::history::{BuildReport, advise};
use berth_build::{BuildRequest, Survey, survey};
use berth_oci::Result;
use berth_store::Store;
use std::fmt::Write as _;

/// So many builds are looked at.
const BUILDS: usize = 50;

/// Shows it.
pub(super) fn show(request: &BuildRequest, report: &BuildReport, store: &Store) -> Result<()> {
    let mut text = String::new();
    if let Some(survey) = survey(&request.context)? {
        context(&mut text, &survey);
    }
    text.push_str(&advice(store, &report.project)?);
    terminal::complain(text.trim_end());
    Ok(())
}

fn context(text: &mut String, survey: &Survey) {
    let files = |count: u64, bytes: u64| format!("{count} files, {}", human::size(bytes));
    let _ = writeln!(text, "\nContext: {}", files(survey.files, survey.bytes));
    if survey.rules.is_empty() {
        let _ = writeln!(text, "Nothing is left out: there is no ignore file, or it is empty.");
    } else {
        let _ = writeln!(text, "Left out: {}", files(survey.ignored_files, survey.ignored_bytes));
        for rule in &survey.rules {
            let what = match (rule.exception, rule.files) {
                (true, 0) => "brings nothing back".to_owned(),
                (true, count) => format!("brings back {}", files(count, rule.bytes)),
                (false, 0) => "leaves nothing out".to_owned(),
                (false, count) => format!("leaves out {}", files(count, rule.bytes)),
            };
            let _ = writeln!(text, "  line {}: {} {what}", rule.line, rule.pattern);
        }
    }
    if !survey.largest.is_empty() {
        let _ = writeln!(text, "Largest paths of the context:");
        for (path, bytes) in &survey.largest {
            let _ = writeln!(text, "  {:>9}  {path}", human::size(*bytes));
        }
    }
}

/// What the builds of a project teach, one line each.
pub(super) fn advice(store: &Store, project: &str) -> Result<String> {
    let rows = store.builds(Some(project), BUILDS)?;
    let builds: Vec<BuildReport> = rows.iter().filter_map(|row| BuildReport::parse(&row.document)).collect();
    let mut text = String::new();
    for advice in advise(&builds) {
        let _ = writeln!(text, "ADVICE: {}", advice.text);
    }
    Ok(text)
}
