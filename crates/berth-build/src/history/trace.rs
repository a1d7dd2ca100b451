//! A build as a trace that Chrome's and Perfetto's viewers read (the "Trace Event Format", JSON array in an object).

use super::{BuildReport, StepOutcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Its steps as complete events, each stage a row of its own.
#[must_use]
pub fn chrome_trace(report: &BuildReport) -> Value {
    let mut rows: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for step in &report.steps {
        let next = rows.len() + 1;
        rows.entry((&step.platform, &step.stage)).or_insert(next);
    }
    let names = rows.iter().map(|((platform, stage), row)| {
        json!({
            "name": "thread_name", "ph": "M", "pid": 1, "tid": row,
            "args": {"name": format!("{stage} {platform}")},
        })
    });
    let title = json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": report.title()}});
    let steps = report.steps.iter().map(|step| {
        json!({
            "name": step.name, "cat": step.operation, "ph": "X", "pid": 1,
            "tid": rows[&(step.platform.as_str(), step.stage.as_str())],
            // Microseconds.
            "ts": step.began_ms * 1000, "dur": step.took_ms * 1000,
            "args": {
                "outcome": step.outcome, "cpu_ms": step.cpu_ms, "bytes": step.bytes, "key": step.key,
                "saved_ms": if step.outcome == StepOutcome::Cached { step.cost_ms } else { 0 },
                "because": step.reasons.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>(),
            },
        })
    });
    let events: Vec<Value> = std::iter::once(title).chain(names).chain(steps).collect();
    json!({
        "traceEvents": events, "displayTimeUnit": "ms",
        "otherData": {"build": report.id, "started": report.started.to_string(), "took_ms": report.took_ms},
    })
}

#[cfg(test)]
mod tests {
    use super::super::advice::tests::{report, step};
    use super::*;

    #[test]
    fn every_step_is_an_event_in_its_stages_row() {
        let steps = [step("a", 2, "RUN one", 10), step("b", 2, "RUN two", 20), step("a", 3, "RUN three", 30)];
        let trace = chrome_trace(&report(0, steps.to_vec()));
        let events = trace["traceEvents"].as_array().unwrap();
        let row = |name: &str| events.iter().find(|event| event["name"] == name).unwrap()["tid"].clone();
        assert_eq!(row("[a 2] RUN one"), row("[a 3] RUN three"));
        assert_ne!(row("[a 2] RUN one"), row("[b 2] RUN two"));
        let third = events.iter().find(|event| event["name"] == "[a 3] RUN three").unwrap();
        assert_eq!((third["ph"].as_str(), third["dur"].as_u64()), (Some("X"), Some(30_000_000)));
    }
}
