//! Death on request: kills this very process at the N-th durable step, so that tests can look at what is left.
//!
//! Compiled always, because the binary that is tested should be the binary that ships; costs one relaxed load a
//! step while nothing is armed. Invariant: [`step`] never returns an error, it returns or the process is gone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

/// When to die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Only steps of this name count; every step where it is `None`.
    pub point: Option<String>,
    /// Which of them kills, from 1.
    pub count: u64,
}

impl std::str::FromStr for Plan {
    type Err = berth_oci::Error;

    /// `7` is the seventh step of all, `commit:2` the second of that name.
    fn from_str(text: &str) -> berth_oci::Result<Self> {
        let (point, count) = match text.rsplit_once(':') {
            Some((point, count)) => (Some(point.to_owned()), count),
            None => (None, text),
        };
        let count = count.parse().map_err(|_| {
            berth_oci::Error::invalid(format!("`{text}` is not a fault plan"))
                .hint("write N or POINT:N, for example commit:2")
        })?;
        Ok(Self { point, count })
    }
}

/// From now on, steps count.
pub fn arm(plan: Plan) {
    *PLAN.lock().expect("no thread panics with this lock") = Some(plan);
    ARMED.store(true, Ordering::Relaxed);
}

/// One durable step is about to happen.
pub fn step(point: &str) {
    if ARMED.load(Ordering::Relaxed) {
        count(point);
    }
}

fn count(point: &str) {
    let mut plan = PLAN.lock().expect("no thread panics with this lock");
    let Some(plan) = plan.as_mut().filter(|p| p.point.as_deref().is_none_or(|wanted| wanted == point)) else {
        return;
    };
    plan.count = plan.count.saturating_sub(1);
    if plan.count == 0 {
        // SIGKILL, as the kernel's out-of-memory killer would: no destructor runs, no lock is released by hand.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_count_or_a_point_and_a_count() {
        assert_eq!("7".parse::<Plan>().unwrap(), Plan { point: None, count: 7 });
        assert_eq!(
            "gc:commit:2".parse::<Plan>().unwrap(),
            Plan { point: Some("gc:commit".to_owned()), count: 2 }
        );
        assert!("commit".parse::<Plan>().is_err());
        assert!("commit:".parse::<Plan>().is_err());
    }
}
