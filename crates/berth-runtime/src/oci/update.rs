//! Other limits for a container that is there.
//!
//! Invariant: what is written down afterwards is what the kernel has.

use super::Runtime;
use super::create::cgroup_place;
use super::record::{Condition, read_spec};
use crate::cgroup::{Cgroup, CgroupPlan, Layout};
use crate::systemd::Manager;
use berth_oci::{AtPath, Error, Result};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};
use std::fs;

impl Runtime {
    /// Changes those limits of a container that `changes` (resources of the specification) sets to something: null and
    /// 0 leave a limit as it is. Devices stay as they are.
    pub fn update(&self, id: &str, changes: Value) -> Result<()> {
        let alive = [Condition::Created, Condition::Running, Condition::Paused];
        self.in_condition(id, &alive, "not running")?;
        let (place, mut record) = self.load(id)?;
        let mut spec = read_spec(&place.config())?;
        let mut linux = spec.linux().clone().unwrap_or_default();
        let resources = merged(linux.resources().as_ref(), changes)?;
        let (parent, name) = match &record.unit {
            Some(unit) => unit.place(),
            None => cgroup_place(&spec, id)?,
        };
        let plan = CgroupPlan::new(&Layout::detect()?, &parent, &name, &resources)?;
        if let Some(unit) = &record.unit {
            let writes: Vec<_> = plan.groups.iter().flat_map(|group| group.writes.clone()).collect();
            Manager::connect()?.change(unit, &writes)?;
        }
        let mut cgroup = record.cgroup.clone();
        record.cgroup = cgroup.with(&plan);
        if record.cgroup != cgroup {
            // Written down first: whoever clears up must know of what was made.
            record.write(&place)?;
            cgroup.extend(&plan)?;
        }
        Cgroup::change_limits(&plan)?;
        linux.set_resources(Some(resources));
        spec.set_linux(Some(linux));
        let text =
            serde_json::to_vec(&spec).map_err(|e| Error::internal("cannot write limits").caused_by(e))?;
        let temporary = place.path().join("config.json.tmp");
        fs::write(&temporary, text).at(&temporary)?;
        fs::rename(&temporary, place.config()).at(place.config())
    }
}

/// The limits there are, with those that are to change. All of them, because the kernel has files for two at once.
fn merged(before: Option<&LinuxResources>, mut changes: Value) -> Result<LinuxResources> {
    let Value::Object(fields) = &mut changes else {
        return Err(Error::invalid("these are no `linux.resources`"));
    };
    fields.shift_remove("devices");
    let mut all =
        serde_json::to_value(before).map_err(|e| Error::internal("cannot compare limits").caused_by(e))?;
    lay_over(&mut all, changes);
    if !all.is_object() {
        all = Value::Object(Map::new());
    }
    serde_json::from_value(all).map_err(|e| Error::invalid("these are no `linux.resources`").caused_by(e))
}

fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, Value::Object(over)) => {
            let mut fields = Value::Object(Map::new());
            lay_over(&mut fields, Value::Object(over));
            *under = fields;
        }
        (under, over) if over != 0 && over != "" => *under = over,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_set_changes_and_the_rest_stays() {
        let before: LinuxResources = serde_json::from_value(json!({
            "cpu": { "quota": 50_000, "period": 100_000, "cpus": "0" },
            "memory": { "limit": 64 },
            "devices": [{ "allow": false, "access": "rwm" }],
        }))
        .unwrap();
        let changes = json!({
            "cpu": { "quota": 20_000, "period": 0, "cpus": "", "mems": null },
            "memory": { "swap": -1 },
            "pids": { "limit": 7 },
            "blockIO": { "weight": 0 },
            "devices": [],
        });
        let after = merged(Some(&before), changes).unwrap();
        let cpu = after.cpu().as_ref().unwrap();
        assert_eq!(
            (cpu.quota(), cpu.period(), cpu.cpus().as_deref()),
            (Some(20_000), Some(100_000), Some("0"))
        );
        let memory = after.memory().as_ref().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64), Some(-1)));
        assert_eq!(after.pids().as_ref().map(|pids| pids.limit()), Some(7));
        assert_eq!(after.devices().as_ref().map(Vec::len), Some(1));
        assert!(merged(None, json!({ "cpu": { "quota": "much" } })).is_err());
        assert!(merged(None, json!([])).is_err());
    }
}
