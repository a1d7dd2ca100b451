//! A profile as the generator wants it, from the runtime specification's form.

use super::table::{Arch, Family};
use berth_oci::{Error, Result};
use oci_spec::runtime::{
    Arch as SpecArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

/// What the kernel does with a call; the value a filter returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(pub(super) u32);

impl Action {
    pub(super) const ALLOW: Self = Self(libc::SECCOMP_RET_ALLOW);
    pub(super) const KILL: Self = Self(libc::SECCOMP_RET_KILL_PROCESS);

    pub(super) const fn errno(number: i32) -> Self {
        Self(libc::SECCOMP_RET_ERRNO | number as u32 & libc::SECCOMP_RET_DATA)
    }

    fn is_errno(self) -> bool {
        self.0 & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO
    }
}

/// A profile for one family of machines.
#[derive(Clone, Debug)]
pub(super) struct Profile<'a> {
    pub(super) default: Action,
    pub(super) architectures: Vec<Arch>,
    pub(super) rules: Vec<Rule<'a>>,
}

impl Profile<'_> {
    /// What a call gets that is newer than every call the profile's author knew: "not implemented" lets a program
    /// fall back to the older call, where "not permitted" makes it give up. Only for profiles that refuse politely.
    pub(super) fn unknown(&self) -> Action {
        if self.default.is_errno() { Action::errno(libc::ENOSYS) } else { self.default }
    }
}

/// One call (by name), one action, under conditions that must all hold.
#[derive(Clone, Debug)]
pub(super) struct Rule<'a> {
    pub(super) name: &'a str,
    pub(super) action: Action,
    pub(super) conditions: Vec<Condition>,
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    /// Under this mask.
    MaskedEqual(u64),
}

impl<'a> Profile<'a> {
    /// The rules of a runtime specification; names no architecture has are passed over, as they are by docker.
    pub(super) fn from_spec(spec: &'a LinuxSeccomp, family: Family) -> Result<Self> {
        let default_errno = spec.default_errno_ret().unwrap_or(libc::EPERM as u32);
        let mut rules = Vec::new();
        for syscall in spec.syscalls().iter().flatten() {
            let action = action(syscall.action(), syscall.errno_ret().unwrap_or(default_errno));
            let conditions = syscall.args().iter().flatten().map(condition).collect::<Result<Vec<_>>>()?;
            let names = syscall.names().iter();
            rules.extend(names.map(|name| Rule { name, action, conditions: conditions.clone() }));
        }
        Ok(Self {
            default: action(spec.default_action(), default_errno),
            architectures: architectures(spec, family)?,
            rules,
        })
    }
}

impl Profile<'_> {
    /// The same in the specification's words, for profiles that allow or refuse.
    pub(super) fn to_spec(&self) -> Result<LinuxSeccomp> {
        let (default, errno) = in_words(self.default);
        let architectures = self.architectures.iter().map(|arch| arch.in_specification()).collect::<Vec<_>>();
        let calls = self.rules.chunk_by(|a, b| (a.action, &a.conditions) == (b.action, &b.conditions));
        let mut builder = LinuxSeccompBuilder::default()
            .default_action(default)
            .architectures(architectures)
            .syscalls(calls.map(calls_to_spec).collect::<Result<Vec<_>>>()?);
        if let Some(errno) = errno {
            builder = builder.default_errno_ret(errno);
        }
        builder.build().map_err(incomplete)
    }
}

/// Calls that have the same done to them under the same conditions.
fn calls_to_spec(rules: &[Rule<'_>]) -> Result<LinuxSyscall> {
    let (action, errno) = in_words(rules[0].action);
    let arguments =
        rules[0].conditions.iter().map(|condition| condition.to_spec()).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = rules.iter().map(|rule| rule.name.to_owned()).collect();
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if !arguments.is_empty() {
        builder = builder.args(arguments);
    }
    if let Some(errno) = errno {
        builder = builder.errno_ret(errno);
    }
    builder.build().map_err(incomplete)
}

fn in_words(action: Action) -> (LinuxSeccompAction, Option<u32>) {
    match action {
        Action::ALLOW => (LinuxSeccompAction::ScmpActAllow, None),
        action if action.is_errno() => {
            (LinuxSeccompAction::ScmpActErrno, Some(action.0 & libc::SECCOMP_RET_DATA))
        }
        _ => (LinuxSeccompAction::ScmpActKillProcess, None),
    }
}

fn incomplete(error: oci_spec::OciSpecError) -> Error {
    Error::internal(format!("the seccomp profile is incomplete: {error}"))
}

impl Condition {
    fn to_spec(self) -> Result<LinuxSeccompArg> {
        let (operator, value, second) = match self.operator {
            Operator::Equal => (LinuxSeccompOperator::ScmpCmpEq, self.value, None),
            Operator::NotEqual => (LinuxSeccompOperator::ScmpCmpNe, self.value, None),
            Operator::Greater => (LinuxSeccompOperator::ScmpCmpGt, self.value, None),
            Operator::GreaterOrEqual => (LinuxSeccompOperator::ScmpCmpGe, self.value, None),
            Operator::Less => (LinuxSeccompOperator::ScmpCmpLt, self.value, None),
            Operator::LessOrEqual => (LinuxSeccompOperator::ScmpCmpLe, self.value, None),
            Operator::MaskedEqual(mask) => (LinuxSeccompOperator::ScmpCmpMaskedEq, mask, Some(self.value)),
        };
        let mut builder =
            LinuxSeccompArgBuilder::default().index(self.argument as usize).value(value).op(operator);
        if let Some(second) = second {
            builder = builder.value_two(second);
        }
        builder.build().map_err(incomplete)
    }
}

fn architectures(spec: &LinuxSeccomp, family: Family) -> Result<Vec<Arch>> {
    let native = family.architectures()[0];
    let mut wanted = vec![native];
    for arch in spec.architectures().iter().flatten() {
        let arch = match arch {
            SpecArch::ScmpArchX86_64 => Arch::X86_64,
            SpecArch::ScmpArchX86 => Arch::I386,
            SpecArch::ScmpArchX32 => Arch::X32,
            SpecArch::ScmpArchAarch64 => Arch::Aarch64,
            SpecArch::ScmpArchArm => Arch::Arm,
            // Of another family of machines: it cannot run here.
            _ => continue,
        };
        if family.architectures().contains(&arch) && !wanted.contains(&arch) {
            wanted.push(arch);
        }
    }
    Ok(wanted)
}

fn action(action: LinuxSeccompAction, errno: u32) -> Action {
    match action {
        LinuxSeccompAction::ScmpActAllow => Action::ALLOW,
        LinuxSeccompAction::ScmpActErrno => Action::errno(errno.cast_signed()),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Action(libc::SECCOMP_RET_KILL_THREAD)
        }
        LinuxSeccompAction::ScmpActKillProcess => Action::KILL,
        LinuxSeccompAction::ScmpActTrap => Action(libc::SECCOMP_RET_TRAP),
        LinuxSeccompAction::ScmpActLog => Action(libc::SECCOMP_RET_LOG),
        LinuxSeccompAction::ScmpActTrace => Action(libc::SECCOMP_RET_TRACE | errno & libc::SECCOMP_RET_DATA),
        LinuxSeccompAction::ScmpActNotify => Action(libc::SECCOMP_RET_USER_NOTIF),
    }
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition> {
    let argument = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
    let argument =
        argument.ok_or_else(|| Error::invalid(format!("a system call has no argument {}", arg.index())))?;
    let (operator, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => (Operator::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpNe => (Operator::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Operator::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Operator::GreaterOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Operator::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Operator::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (Operator::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    Ok(Condition { argument, operator, value })
}
