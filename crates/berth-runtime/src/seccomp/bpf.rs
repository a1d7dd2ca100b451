//! From a profile to a classic BPF program: architecture, then binary search on the number, then arguments.
//!
//! Every piece of code here ends in `ret` on all its paths and jumps only forward within itself, so pieces are put
//! together by concatenation.

use super::profile::{Action, Condition, Operator, Profile, Rule};
use super::table::{Arch, Family, X32_BIT};
use berth_sys::seccomp::Instruction;
use std::collections::BTreeMap;

// BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K, BPF_RET|BPF_K, BPF_JMP with JA, JEQ, JGT, JGE (all |BPF_K).
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

type Code = Vec<Instruction>;

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, k }
}

fn ret(action: Action) -> Instruction {
    instruction(RETURN, action.0)
}

/// The program for `profile` on machines of `family`.
pub(super) fn generate(profile: &Profile<'_>, family: Family) -> Code {
    let mut code = vec![instruction(LOAD, ARCHITECTURE)];
    let mut tokens: Vec<_> = profile.architectures.iter().map(|a| a.token()).collect();
    tokens.dedup();
    for token in unique(tokens) {
        let mut section = vec![instruction(LOAD, NUMBER)];
        section.extend(search(&leaves(profile, family, token)));
        code.extend(branch(IF_EQUAL, token, section));
    }
    code.push(ret(Action::KILL));
    code
}

fn unique(tokens: Vec<u32>) -> Vec<u32> {
    let mut seen = Vec::new();
    tokens.into_iter().for_each(|t| {
        if !seen.contains(&t) {
            seen.push(t)
        }
    });
    seen
}

/// `body` if the condition holds, otherwise what follows it.
fn branch(condition: u16, k: u32, body: Code) -> Code {
    let mut code = vec![instruction(condition, k)];
    match u8::try_from(body.len()) {
        Ok(length) => code[0].jump_false = length,
        // Too far for a conditional jump's eight bits: over it with an unconditional one.
        Err(_) => {
            code[0].jump_false = 0;
            code[0].jump_true = 1;
            code.push(instruction(JUMP, body.len() as u32));
        }
    }
    code.extend(body);
    code
}

/// What happens from one number up to the next leaf's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    from: u32,
    code: Code,
}

/// All numbers, 0 to the last, as a sorted list without gaps.
fn leaves(profile: &Profile<'_>, family: Family, token: u32) -> Vec<Leaf> {
    let unknown = vec![ret(profile.unknown())];
    let mut leaves = Vec::new();
    for arch in family.architectures().iter().filter(|a| a.token() == token) {
        let start = if *arch == Arch::X32 { X32_BIT } else { 0 };
        if !profile.architectures.contains(arch) {
            push(&mut leaves, start, vec![ret(Action::KILL)]);
            continue;
        }
        let rules = by_number(profile, *arch);
        push(&mut leaves, start, vec![ret(profile.default)]);
        let mut after = start;
        for (number, rules) in rules {
            if number != after {
                // Arm has private calls far above the others: what lies between is as unknown as what is above.
                let gap = if number - after > 1000 { unknown.clone() } else { vec![ret(profile.default)] };
                push(&mut leaves, after, gap);
            }
            push(&mut leaves, number, decide(&rules, profile.default, arch.is_narrow()));
            after = number + 1;
        }
        push(&mut leaves, after, unknown.clone());
    }
    leaves
}

/// Appends a leaf, or widens the last one when both do the same; an empty one is replaced.
fn push(leaves: &mut Vec<Leaf>, from: u32, code: Code) {
    leaves.pop_if(|last| last.from == from);
    if leaves.last().is_none_or(|last| last.code != code) {
        leaves.push(Leaf { from, code });
    }
}

fn by_number<'p, 'a>(profile: &'p Profile<'a>, arch: Arch) -> BTreeMap<u32, Vec<&'p Rule<'a>>> {
    let mut rules: BTreeMap<u32, Vec<&Rule<'a>>> = BTreeMap::new();
    for rule in &profile.rules {
        if let Some(number) = arch.number(rule.name) {
            rules.entry(number).or_default().push(rule);
        }
    }
    rules
}

/// A balanced tree of comparisons; the number is in the accumulator.
fn search(leaves: &[Leaf]) -> Code {
    match leaves {
        [] => Vec::new(),
        [leaf] => leaf.code.clone(),
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let (low, upper) = (search(low), search(high));
            let mut code = vec![instruction(IF_GREATER_OR_EQUAL, high[0].from)];
            match u8::try_from(low.len()) {
                Ok(length) => code[0].jump_true = length,
                Err(_) => {
                    code[0].jump_false = 1;
                    code.push(instruction(JUMP, low.len() as u32));
                }
            }
            code.extend(low);
            code.extend(upper);
            code
        }
    }
}

/// The action for one call: an unconditional rule decides alone; otherwise the first whose conditions hold.
fn decide(rules: &[&Rule<'_>], default: Action, narrow: bool) -> Code {
    if let Some(rule) = rules.iter().find(|rule| rule.conditions.is_empty()) {
        return vec![ret(rule.action)];
    }
    let mut code: Code = rules.iter().flat_map(|rule| conditional(rule, narrow)).collect();
    code.push(ret(default));
    code
}

/// Where a test goes on.
#[derive(Clone, Copy)]
enum Target {
    /// The next instruction.
    Next,
    /// The condition holds: on to the next condition, or the action.
    Holds,
    /// It does not: on to the next rule.
    Fails,
}

struct Step {
    instruction: Instruction,
    if_true: Target,
    if_false: Target,
}

fn conditional(rule: &Rule<'_>, narrow: bool) -> Code {
    let tests: Vec<Vec<Step>> = rule.conditions.iter().map(|c| test(*c, narrow)).collect();
    let total: usize = tests.iter().map(Vec::len).sum();
    let mut code = Vec::new();
    let mut end_of_test = 0;
    for test in tests {
        end_of_test += test.len();
        for step in test {
            let next = code.len() + 1;
            let offset = |target| match target {
                Target::Next => 0,
                Target::Holds => end_of_test - next,
                // Past the action, which comes after all tests.
                Target::Fails => total + 1 - next,
            };
            let mut instruction = step.instruction;
            instruction.jump_true =
                u8::try_from(offset(step.if_true)).expect("six tests of eight instructions");
            instruction.jump_false =
                u8::try_from(offset(step.if_false)).expect("six tests of eight instructions");
            code.push(instruction);
        }
    }
    code.push(ret(rule.action));
    code
}

/// One condition, high word first. On narrow architectures there is only the low word.
fn test(condition: Condition, narrow: bool) -> Vec<Step> {
    use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual, NotEqual};
    use Target::{Fails, Holds, Next};
    // A negated operator is the operator with its exits exchanged.
    let (yes, no) = match condition.operator {
        NotEqual | Less | LessOrEqual => (Fails, Holds),
        _ => (Holds, Fails),
    };
    let mask = if let MaskedEqual(mask) = condition.operator { mask } else { u64::MAX };
    let (high_mask, low_mask) = halves(mask);
    let (high, low) = halves(condition.value);
    let low_offset = ARGUMENTS + 8 * condition.argument;
    let mut steps = Vec::new();
    if !narrow {
        steps.extend(load(low_offset + 4, high_mask));
        if matches!(condition.operator, Greater | GreaterOrEqual | Less | LessOrEqual) {
            steps.push(jump(IF_GREATER, high, yes, Next));
        }
        steps.push(jump(IF_EQUAL, high, Next, no));
    }
    steps.extend(load(low_offset, low_mask));
    let last = match condition.operator {
        Equal | NotEqual | MaskedEqual(_) => IF_EQUAL,
        Greater | LessOrEqual => IF_GREATER,
        GreaterOrEqual | Less => IF_GREATER_OR_EQUAL,
    };
    steps.push(jump(last, low, yes, no));
    steps
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

fn load(offset: u32, mask: u32) -> Vec<Step> {
    let mut steps = vec![jump(LOAD, offset, Target::Next, Target::Next)];
    if mask != u32::MAX {
        steps.push(jump(AND, mask, Target::Next, Target::Next));
    }
    steps
}

fn jump(code: u16, k: u32, if_true: Target, if_false: Target) -> Step {
    Step { instruction: instruction(code, k), if_true, if_false }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    pub(in super::super) fn run(program: &[Instruction], token: u32, number: u32, arguments: &[u64]) -> u32 {
        let mut data = vec![number, token, 0, 0];
        for index in 0..6 {
            let (high, low) = halves(arguments.get(index).copied().unwrap_or(0));
            data.extend([low, high]);
        }
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let i = program[at];
            let holds = match i.code {
                LOAD => {
                    accumulator = data[i.k as usize / 4];
                    false
                }
                AND => {
                    accumulator &= i.k;
                    false
                }
                RETURN => return i.k,
                JUMP => {
                    at += i.k as usize;
                    false
                }
                IF_EQUAL => accumulator == i.k,
                IF_GREATER => accumulator > i.k,
                IF_GREATER_OR_EQUAL => accumulator >= i.k,
                other => panic!("unknown instruction {other:#x}"),
            };
            at += 1 + usize::from(if holds { i.jump_true } else { i.jump_false });
        }
    }

    fn holds(operator: Operator, value: u64, argument: u64, narrow: bool) -> bool {
        let rule = Rule {
            name: "x",
            action: Action::ALLOW,
            conditions: vec![Condition { argument: 1, operator, value }],
        };
        run(&decide(&[&rule], Action::KILL, narrow), 0, 0, &[7, argument]) == Action::ALLOW.0
    }

    #[test]
    fn every_operator_on_both_words() {
        let big = 1 << 32;
        for value in [0, 5, big, big + 5] {
            for argument in [0, 4, 5, 6, big, big + 4, big + 5, big + 6, 2 * big] {
                for (operator, expected) in [
                    (Operator::Equal, argument == value),
                    (Operator::NotEqual, argument != value),
                    (Operator::Greater, argument > value),
                    (Operator::GreaterOrEqual, argument >= value),
                    (Operator::Less, argument < value),
                    (Operator::LessOrEqual, argument <= value),
                    (Operator::MaskedEqual(big | 1), argument & (big | 1) == value),
                ] {
                    assert_eq!(
                        holds(operator, value, argument, false),
                        expected,
                        "{argument} {operator:?} {value}"
                    );
                }
            }
        }
        assert!(holds(Operator::Equal, 5, 5, true) && !holds(Operator::Less, 5, 5, true));
    }

    #[test]
    fn all_conditions_of_a_rule_and_any_rule_of_a_call() {
        let is = |argument, value| Condition { argument, operator: Operator::Equal, value };
        let both = Rule { name: "x", action: Action::ALLOW, conditions: vec![is(0, 1), is(2, 3)] };
        let other = Rule { name: "x", action: Action::errno(9), conditions: vec![is(0, 2)] };
        let code = decide(&[&both, &other], Action::KILL, false);
        for (arguments, expected) in [
            ([1, 0, 3], Action::ALLOW),
            ([1, 0, 4], Action::KILL),
            ([2, 0, 3], Action::errno(9)),
            ([5, 0, 3], Action::KILL),
        ] {
            assert_eq!(run(&code, 0, 0, &arguments), expected.0, "{arguments:?}");
        }
    }
}
