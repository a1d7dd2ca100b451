//! `--profile`: where the time of a build went, as a table and as a trace for Chrome's viewer.

use crate::format::human;
use crate::format::table::aligned;
use crate::terminal;
use berth_build::history::{BuildReport, StepOutcome, StepReport, chrome_trace};
use berth_oci::{AtPath, Result};
use std::fmt::Write as _;
use std::path::Path;

/// Shows it, and writes the trace where one is asked for.
pub(super) fn show(report: &BuildReport, trace: Option<&Path>) -> Result<()> {
    terminal::complain(table(report).trim_end());
    let Some(path) = trace else { return Ok(()) };
    let text = serde_json::to_string(&chrome_trace(report)).expect("a trace has string keys");
    std::fs::write(path, text).at(path)?;
    terminal::complain(format!("\nThe trace is in {}; open it with https://ui.perfetto.dev", path.display()));
    Ok(())
}

/// The steps in the order in which they began.
pub(super) fn table(report: &BuildReport) -> String {
    let mut steps: Vec<&StepReport> = report.steps.iter().filter(|step| step.operation != "FROM").collect();
    steps.sort_by_key(|step| (step.began_ms, step.number));
    let mut text = "STEP\tBEGAN\tTIME\tCPU\tBYTES\tWHAT\n".to_owned();
    for step in steps {
        let what = match step.outcome {
            StepOutcome::Cached => format!("cached, saved {}", seconds(step.cost_ms)),
            StepOutcome::Done => "done".to_owned(),
            StepOutcome::Failed => "failed".to_owned(),
            StepOutcome::Canceled => "canceled".to_owned(),
        };
        let cpu = step.cpu_ms.map(seconds).unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{cpu}\t{}\t{what}",
            human::ellipsis(&step.name, 60),
            seconds(step.began_ms),
            seconds(step.took_ms),
            human::size(step.bytes),
        );
    }
    let saved: u64 =
        report.steps.iter().filter(|step| step.outcome == StepOutcome::Cached).map(|step| step.cost_ms).sum();
    format!(
        "\n{}\nThe build took {}; the cache has saved {}.\n",
        aligned(&text).trim_end(),
        seconds(report.took_ms),
        seconds(saved)
    )
}

/// `1.25s`
pub(super) fn seconds(ms: u64) -> String {
    match ms {
        0..=99_999 => format!("{:.2}s", ms as f64 / 1000.0),
        _ => format!("{:.0}s", ms as f64 / 1000.0),
    }
}
