//! Which devices a container may use: rules, as v1 files want them and as an eBPF program for v2.

use super::plan::Write;
use berth_oci::{Error, Result};
use berth_sys::bpf::Instruction;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// A rule; the last one that fits decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    allow: bool,
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    All,
    Block,
    Character,
}

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// Nothing, then what the specification says, then what every container may: making nodes (using one is another
/// matter) and the harmless devices and terminals that every `/dev` has.
pub(super) fn rules(spec: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    let nothing = Rule { allow: false, kind: Kind::All, major: None, minor: None, access: ALL };
    let mut rules = vec![nothing];
    for rule in spec {
        rules.push(parse(rule)?);
    }
    rules.extend(always());
    Ok(rules)
}

fn always() -> Vec<Rule> {
    let node = |kind| Rule { allow: true, kind, major: None, minor: None, access: MKNOD };
    let device =
        |major, minor| Rule { allow: true, kind: Kind::Character, major: Some(major), minor, access: ALL };
    // null zero full random urandom, tty console ptmx, and every pseudo-terminal.
    let mut rules = vec![node(Kind::Character), node(Kind::Block)];
    rules.extend([3, 5, 7, 8, 9].map(|minor| device(1, Some(minor))));
    rules.extend([0, 1, 2].map(|minor| device(5, Some(minor))));
    rules.push(device(136, None));
    rules
}

fn parse(rule: &LinuxDeviceCgroup) -> Result<Rule> {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => Kind::All,
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Kind::Character,
        LinuxDeviceType::P => return Err(Error::invalid("a device rule cannot be about a FIFO")),
    };
    // "a" in the kernel's files is everything, whatever else the line says; keep that meaning here.
    let number = |value: Option<i64>| match value {
        Some(number) if number >= 0 && kind != Kind::All => u32::try_from(number).map(Some),
        _ => Ok(None),
    };
    let numbers = |_| Error::invalid("a device rule has a number beyond 32 bits");
    Ok(Rule {
        allow: rule.allow(),
        kind,
        major: number(rule.major()).map_err(numbers)?,
        minor: number(rule.minor()).map_err(numbers)?,
        access: if kind == Kind::All { ALL } else { access(rule.access().as_deref().unwrap_or("rwm"))? },
    })
}

fn access(text: &str) -> Result<u8> {
    text.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        other => Err(Error::invalid(format!("`{other}` in the device access `{text}` is none of r, w, m"))),
    })
}

impl Rule {
    fn fits_everything(&self) -> bool {
        self.kind == Kind::All && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    /// As a line for `devices.allow` or `devices.deny`.
    pub(super) fn v1_write(&self) -> Write {
        let file = if self.allow { "devices.allow" } else { "devices.deny" };
        let number = |n: Option<u32>| n.map_or("*".into(), |n| n.to_string());
        let kind = match self.kind {
            Kind::All => return Write::new(file, "a"),
            Kind::Block => 'b',
            Kind::Character => 'c',
        };
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, l)| *l).collect();
        Write::new(file, format_args!("{kind} {}:{} {access}", number(self.major), number(self.minor)))
    }
}

// The registers of the program: what it decides, scratch, and the request taken apart.
const DECISION: u8 = 0;
const SCRATCH: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const JUMP_IF_REGISTERS_DIFFER: u8 = 0x5d;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | (from << 4), offset, immediate }
}

/// The rules as a program: the last rule is tried first, the first that fits decides, nothing fits: no.
pub(super) fn program(rules: &[Rule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }, in register 1 on entry.
    let mut program = vec![
        instruction(LOAD_WORD, TYPE, 1, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, TYPE, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND, TYPE, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, 1, 4, 0),
        instruction(LOAD_WORD, MINOR, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(rule_program(rule));
        if rule.fits_everything() {
            // The kernel refuses a program with instructions that nothing reaches.
            return program;
        }
    }
    program.extend(decide(false));
    program
}

fn decide(allow: bool) -> [Instruction; 2] {
    [instruction(MOVE, DECISION, 0, 0, allow.into()), instruction(EXIT, 0, 0, 0, 0)]
}

fn rule_program(rule: &Rule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    let mut differs = |register, value: u32| {
        tests.push(instruction(JUMP_IF_NOT_EQUAL, register, 0, 0, value.cast_signed()));
    };
    match rule.kind {
        Kind::All => {}
        Kind::Block => differs(TYPE, 1),
        Kind::Character => differs(TYPE, 2),
    }
    rule.major.into_iter().for_each(|major| differs(MAJOR, major));
    rule.minor.into_iter().for_each(|minor| differs(MINOR, minor));
    if rule.access != ALL {
        tests.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        tests.push(instruction(AND, SCRATCH, 0, 0, rule.access.into()));
        // Allowed is what is wholly within the rule; denied what touches it.
        tests.push(if rule.allow {
            instruction(JUMP_IF_REGISTERS_DIFFER, SCRATCH, ACCESS, 0, 0)
        } else {
            instruction(JUMP_IF_EQUAL, SCRATCH, 0, 0, 0)
        });
    }
    tests.extend(decide(rule.allow));
    let end = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if [JUMP_IF_EQUAL, JUMP_IF_NOT_EQUAL, JUMP_IF_REGISTERS_DIFFER].contains(&test.code) {
            test.offset = i16::try_from(end - at - 1).expect("a rule has at most nine instructions");
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    fn allow(kind: LinuxDeviceType, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
        let builder = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind);
        builder.major(major).minor(minor).access(access).build().unwrap()
    }

    #[test]
    fn rules_as_v1_lines() {
        let spec = [allow(LinuxDeviceType::B, 8, -1, "r"), allow(LinuxDeviceType::C, 10, 200, "rw")];
        let rules = rules(&spec).unwrap();
        let lines: Vec<_> =
            rules.iter().map(|r| r.v1_write()).map(|w| format!("{} {}", w.file, w.value)).collect();
        assert_eq!(
            lines[..5],
            [
                "devices.deny a",
                "devices.allow b 8:* r",
                "devices.allow c 10:200 rw",
                "devices.allow c *:* m",
                "devices.allow b *:* m"
            ]
        );
    }

    /// Runs the program as the kernel would.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 6];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let mut jump = false;
            match i.code {
                LOAD_WORD => registers[to] = context[i.offset as usize / 4].into(),
                MOVE => registers[to] = i.immediate as u64,
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= i.immediate as u64,
                SHIFT_RIGHT => registers[to] >>= i.immediate,
                JUMP_IF_EQUAL => jump = registers[to] == i.immediate as u64,
                JUMP_IF_NOT_EQUAL => jump = registers[to] != i.immediate as u64,
                JUMP_IF_REGISTERS_DIFFER => jump = registers[to] != registers[from],
                EXIT => return registers[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
            at += 1 + if jump { i.offset as usize } else { 0 };
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let program = program(&rules(&[allow(LinuxDeviceType::B, 8, 0, "r")]).unwrap());
        let (block, character) = (1, 2);
        for (kind, access, major, minor, expected) in [
            (character, READ | WRITE, 1, 3, true),
            (character, READ, 1, 1, false),
            (character, READ | WRITE, 136, 7, true),
            (block, READ, 8, 0, true),
            (block, READ | WRITE, 8, 0, false),
            (block, READ, 8, 1, false),
            (block, MKNOD, 8, 1, true),
            (character, MKNOD | READ, 1, 1, false),
        ] {
            let got = run(&program, kind, access.into(), major, minor);
            assert_eq!(got, expected, "{kind} {access} {major}:{minor}");
        }
    }
}
