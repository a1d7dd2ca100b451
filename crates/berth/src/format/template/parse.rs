//! Tokens into a tree, with the checks Go makes before it runs a template: functions and variables must exist.
//!
//! Invariant: every node knows where it stands in the text and prints as Go prints it, for error messages.

use super::functions;
use super::lex::{Kind, Token, tokens};
use super::print::quoted;
use super::value::Value;
use super::{Fault, MAX_DEPTH};
use std::collections::HashMap;
use std::fmt;

/// A list of nodes.
pub(super) type List = Vec<Node>;

/// One piece of a template.
#[derive(Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    Range(Branch),
    With(Branch),
    Template { at: usize, name: String, argument: Option<Pipeline> },
    Break,
    Continue,
}

/// `if`, `range` and `with`.
#[derive(Clone)]
pub(super) struct Branch {
    pub(super) condition: Pipeline,
    pub(super) then: List,
    pub(super) otherwise: List,
}

/// `$x := a | b c`.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or a value with its arguments.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Operand>,
}

/// One word of a command.
#[derive(Clone)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) what: What,
}

/// What a word is.
#[derive(Clone)]
pub(super) enum What {
    Dot,
    Literal { value: Value, source: String },
    Nil,
    Field(Vec<String>),
    Variable(Vec<String>),
    Function(String),
    Chain(Box<Operand>, Vec<String>),
    Pipeline(Pipeline),
}

/// A parsed text: its own nodes, and those it defines by name.
pub(super) struct Tree {
    pub(super) root: List,
    pub(super) defined: HashMap<String, List>,
}

/// Parses a whole template.
pub(super) fn parse(text: &str) -> Result<Tree, Fault> {
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
        variables: vec!["$".to_owned()],
        defined: HashMap::new(),
        depth: 0,
        loops: 0,
    };
    let (root, end) = parser.list()?;
    match end {
        End::Eof => Ok(Tree { root, defined: parser.defined }),
        end => Err(parser.fault(format!("unexpected {end}"))),
    }
}

/// How a list ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Eof,
    Keyword,
    Else,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Eof => "EOF",
            End::Keyword => "{{end}}",
            End::Else => "{{else}}",
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    defined: HashMap<String, List>,
    depth: usize,
    loops: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take_if(&mut self, kind: Kind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.take())
    }

    fn skip_space(&mut self) {
        while self.take_if(Kind::Space).is_some() {}
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at_line(self.text, self.peek().at, message)
    }

    fn unexpected(&self, context: &str) -> Fault {
        let token = self.peek();
        match token.kind {
            Kind::End => self.fault("unexpected EOF"),
            Kind::Word if is_keyword(&token.text) => {
                self.fault(format!("unexpected <{}> in {context}", token.text))
            }
            _ => self.fault(format!("unexpected {} in {context}", quoted(&token.text))),
        }
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.fault("the template nests too deeply")),
            false => Ok(()),
        }
    }

    /// Nodes up to `{{end}}`, `{{else` or the end; the caller consumes what is behind `else`.
    fn list(&mut self) -> Result<(List, End), Fault> {
        self.deeper()?;
        let mut nodes = List::new();
        let end = loop {
            let token = self.take();
            match token.kind {
                Kind::End => break End::Eof,
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Open => {
                    self.skip_space();
                    match self.action(&mut nodes)? {
                        Some(end) => break end,
                        None => continue,
                    }
                }
                _ => return Err(self.fault(format!("unexpected {}", quoted(&token.text)))),
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn action(&mut self, nodes: &mut List) -> Result<Option<End>, Fault> {
        let token = self.peek().clone();
        let keyword = if token.kind == Kind::Word { token.text.as_str() } else { "" };
        match keyword {
            "end" => {
                self.take();
                self.close("end")?;
                return Ok(Some(End::Keyword));
            }
            "else" => {
                self.take();
                return Ok(Some(End::Else));
            }
            "if" | "with" | "range" => {
                self.take();
                let branch = self.branch(keyword)?;
                nodes.push(match keyword {
                    "if" => Node::If(branch),
                    "with" => Node::With(branch),
                    _ => Node::Range(branch),
                });
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.fault(format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                }
                self.take();
                self.close(keyword)?;
                nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
            }
            "define" => self.define()?,
            "template" | "block" => {
                self.take();
                nodes.push(self.template(keyword)?);
            }
            _ => {
                let pipeline = self.pipeline("command", Kind::Close)?;
                nodes.push(Node::Action(pipeline));
            }
        }
        Ok(None)
    }

    fn close(&mut self, context: &str) -> Result<(), Fault> {
        self.skip_space();
        match self.take_if(Kind::Close) {
            Some(_) => Ok(()),
            None => Err(self.unexpected(context)),
        }
    }

    fn branch(&mut self, keyword: &str) -> Result<Branch, Fault> {
        let scope = self.variables.len();
        let condition = self.pipeline(keyword, Kind::Close)?;
        self.loops += usize::from(keyword == "range");
        let (then, end) = self.list()?;
        let otherwise = match end {
            End::Eof => return Err(self.fault("unexpected EOF")),
            End::Keyword => List::new(),
            End::Else => self.otherwise(keyword)?,
        };
        self.loops -= usize::from(keyword == "range");
        self.variables.truncate(scope);
        Ok(Branch { condition, then, otherwise })
    }

    /// What is behind `{{else`: a plain list, or `if`/`with` again, which shares our `{{end}}`.
    fn otherwise(&mut self, keyword: &str) -> Result<List, Fault> {
        self.skip_space();
        let again = self.peek().clone();
        if again.kind == Kind::Word && again.text == keyword && keyword != "range" {
            self.take();
            let branch = self.branch(keyword)?;
            return Ok(vec![if keyword == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, End::Keyword) => Ok(nodes),
            (_, End::Else) => Err(self.fault("expected end; found {{else}}")),
            (_, End::Eof) => Err(self.fault("unexpected EOF")),
        }
    }

    fn name(&mut self, context: &str) -> Result<(usize, String), Fault> {
        self.skip_space();
        let token = self.take();
        match (token.kind, unquote(&token.text)) {
            (Kind::Quoted | Kind::Raw, Some(name)) => Ok((token.at, name)),
            _ => {
                self.next -= 1;
                Err(self.unexpected(context))
            }
        }
    }

    fn define(&mut self) -> Result<(), Fault> {
        self.take();
        let (_, name) = self.name("define clause")?;
        self.close("define clause")?;
        let body = self.body()?;
        self.defined.insert(name, body);
        Ok(())
    }

    /// A list with variables of its own, up to its `{{end}}`.
    fn body(&mut self) -> Result<List, Fault> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, end) = self.list()?;
        self.variables = outer;
        match end {
            End::Keyword => Ok(nodes),
            end => Err(self.fault(format!("unexpected {end}"))),
        }
    }

    fn template(&mut self, keyword: &str) -> Result<Node, Fault> {
        let (at, name) = self.name(if keyword == "block" { "block clause" } else { "template clause" })?;
        self.skip_space();
        let argument = match self.take_if(Kind::Close) {
            Some(_) => None,
            None => Some(self.pipeline("template clause", Kind::Close)?),
        };
        if keyword == "block" {
            let body = self.body()?;
            self.defined.entry(name.clone()).or_insert(body);
        }
        Ok(Node::Template { at, name, argument })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipeline, Fault> {
        self.deeper()?;
        self.skip_space();
        let (variables, assigns) = self.declaration(context)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            if self.peek().kind == end {
                break;
            }
            commands.push(self.command(end)?);
            if self.take_if(Kind::Pipe).is_some() {
                self.skip_space();
                if self.peek().kind == end {
                    return Err(self.fault(format!("missing value for {context}")));
                }
            }
        }
        self.take();
        self.depth -= 1;
        if commands.is_empty() {
            return Err(self.fault(format!("missing value for {context}")));
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            if !matches!(
                command.words[0].what,
                What::Function(_) | What::Field(_) | What::Variable(_) | What::Chain(..)
            ) {
                return Err(self.fault(format!("non executable command in pipeline stage {}", index + 1)));
            }
        }
        Ok(Pipeline { variables, assigns, commands })
    }

    /// `$x :=`, `$x =`, or in a range `$i, $x :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), Fault> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(variable) = self.take_if(Kind::Variable) {
            names.push(variable.text);
            self.skip_space();
            if let Some(sign) = self.take_if(Kind::Declare).or_else(|| self.take_if(Kind::Assign)) {
                let assigns = sign.kind == Kind::Assign;
                match assigns {
                    true => names.iter().try_for_each(|name| self.known(name))?,
                    false => self.variables.extend(names.iter().cloned()),
                }
                return Ok((names, assigns));
            }
            if context != "range" || names.len() == 2 || self.take_if(Kind::Comma).is_none() {
                break;
            }
            self.skip_space();
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn known(&self, variable: &str) -> Result<(), Fault> {
        match self.variables.iter().any(|name| name == variable) {
            true => Ok(()),
            false => Err(self.fault(format!("undefined variable {}", quoted(variable)))),
        }
    }

    fn command(&mut self, end: Kind) -> Result<Command, Fault> {
        let at = self.peek().at;
        let mut words = Vec::new();
        loop {
            self.skip_space();
            let kind = self.peek().kind;
            if kind == end || kind == Kind::Pipe {
                break;
            }
            words.push(self.operand()?);
            let kind = self.peek().kind;
            if kind != Kind::Space && kind != end && kind != Kind::Pipe {
                return Err(self.unexpected("operand"));
            }
        }
        match words.is_empty() {
            true => Err(self.fault("empty command")),
            false => Ok(Command { at, words }),
        }
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        let token = self.take();
        let at = token.at;
        let what = self.term(token)?;
        // Go gives a chain the position of its second part; so does its column in messages.
        let chain_at = self.peek().at;
        let mut more = Vec::new();
        while let Some(field) = self.take_if(Kind::Field) {
            more.push(field.text[1..].to_owned());
        }
        if more.is_empty() {
            return Ok(Operand { at, what });
        }
        let what = match what {
            What::Field(path) => What::Field([path, more].concat()),
            What::Variable(path) => What::Variable([path, more].concat()),
            What::Literal { .. } | What::Nil => {
                return Err(self.fault(format!("unexpected . after term {}", quoted(&what.to_string()))));
            }
            what => What::Chain(Box::new(Operand { at, what }), more),
        };
        Ok(Operand { at: chain_at, what })
    }

    fn term(&mut self, token: Token) -> Result<What, Fault> {
        let literal = |value| What::Literal { value, source: token.text.clone() };
        Ok(match token.kind {
            Kind::Dot => What::Dot,
            Kind::Nil => What::Nil,
            Kind::Field => What::Field(vec![token.text[1..].to_owned()]),
            Kind::Variable => {
                self.known(&token.text)?;
                What::Variable(vec![token.text])
            }
            Kind::Bool => literal(Value::Bool(token.text == "true")),
            Kind::Number => literal(number(&token.text).unwrap_or(Value::Nil)),
            Kind::Char => {
                let inner = unquote(&token.text).filter(|text| text.chars().count() == 1);
                let Some(c) = inner.and_then(|text| text.chars().next()) else {
                    return Err(self.fault(format!("malformed character constant: {}", token.text)));
                };
                literal(Value::Int(c as i64))
            }
            Kind::Quoted | Kind::Raw => match unquote(&token.text) {
                Some(text) => literal(Value::from(text)),
                None => return Err(self.fault("invalid syntax")),
            },
            Kind::Word if functions::exists(&token.text) => What::Function(token.text),
            Kind::Word if !is_keyword(&token.text) => {
                return Err(self.fault(format!("function {} not defined", quoted(&token.text))));
            }
            Kind::LeftParen => What::Pipeline(self.pipeline("parenthesized pipeline", Kind::RightParen)?),
            _ => {
                self.next -= 1;
                return Err(self.unexpected("operand"));
            }
        })
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" | "break" | "continue"
    )
}

/// A number as Go writes it; `None` if it is none.
pub(super) fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let plain = digits.replace('_', "");
    let radix = match plain.get(..2).map(str::to_lowercase).as_deref() {
        Some("0x") => Some((16, 2)),
        Some("0b") => Some((2, 2)),
        Some("0o") => Some((8, 2)),
        Some(octal) if octal.starts_with('0') && plain.bytes().all(|b| b.is_ascii_digit()) => Some((8, 1)),
        _ => None,
    };
    let integer = match radix {
        Some((radix, skip)) => i64::from_str_radix(&plain[skip..], radix).ok(),
        None => plain.parse().ok(),
    };
    match integer {
        Some(value) => Some(Value::Int(if negative { -value } else { value })),
        None if plain.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)) => {
            plain.parse().ok().map(|value: f64| Value::Float(if negative { -value } else { value }))
        }
        None => None,
    }
}

/// `strconv.Unquote` for all three kinds of quotes.
fn unquote(source: &str) -> Option<String> {
    let inner = source.get(1..source.len().checked_sub(1)?)?;
    if source.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let mut code = |length: usize, radix: u32| -> Option<u32> {
            let digits = rest.get(..length)?;
            rest = &rest[length..];
            u32::from_str_radix(digits, radix).ok()
        };
        let character = match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' => '\\',
            '"' if source.starts_with('"') => '"',
            '\'' if source.starts_with('\'') => '\'',
            'x' => {
                bytes.push(u8::try_from(code(2, 16)?).ok()?);
                continue;
            }
            'u' => char::from_u32(code(4, 16)?)?,
            'U' => char::from_u32(code(8, 16)?)?,
            _ => return None,
        };
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dot => f.write_str("."),
            Self::Nil => f.write_str("nil"),
            Self::Literal { source, .. } => f.write_str(source),
            Self::Field(path) => path.iter().try_for_each(|name| write!(f, ".{name}")),
            Self::Variable(path) => f.write_str(&path.join(".")),
            Self::Function(name) => f.write_str(name),
            Self::Pipeline(pipeline) => write!(f, "({pipeline})"),
            Self::Chain(base, path) => {
                write!(f, "{}", base.what)?;
                path.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.words.iter().map(|word| word.what.to_string()).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        let commands: Vec<String> = self.commands.iter().map(Command::to_string).collect();
        f.write_str(&commands.join(" | "))
    }
}
