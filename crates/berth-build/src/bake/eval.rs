//! Evaluating expressions: variables when they are asked for, functions, templates, `for`.
//!
//! Values are JSON's. Invariant: cycles are errors, and every evaluation takes a bounded number of steps and makes
//! values of bounded size.

use super::Lookup;
use super::definitions::{Attribute, Block, Definitions, Expr, Function, Variable};
use super::entries::text;
use super::functions;
use berth_oci::{Error, Result};
use hcl_edit::expr::{BinaryOperator, Expression, ForExpr, ObjectKey, TraversalOperator, UnaryOperator};
use hcl_edit::template::{Directive, Element, Template};
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Variables of a `for`, a function or a matrix.
pub(super) type Locals = BTreeMap<String, Value>;

/// How many expressions a whole set of files may evaluate.
const STEPS: usize = 200_000;
/// How large a value may get, in bytes of JSON or near to it.
pub(super) const SIZE: usize = 1 << 20;
/// How deep calls of functions may go.
const DEPTH: usize = 32;
/// How many targets a matrix may make.
const CELLS: usize = 1024;

pub(super) struct Evaluator<'a> {
    definitions: &'a Definitions,
    lookup: Lookup<'a>,
    known: RefCell<BTreeMap<String, Value>>,
    /// What is being evaluated, to see cycles.
    open: RefCell<Vec<String>>,
    steps: Cell<usize>,
}

type Outcome = std::result::Result<Value, String>;

impl<'a> Evaluator<'a> {
    pub(super) fn new(definitions: &'a Definitions, lookup: Lookup<'a>) -> Self {
        Self { definitions, lookup, known: RefCell::default(), open: RefCell::default(), steps: Cell::new(0) }
    }

    /// Evaluates all variables, and what they are validated by.
    pub(super) fn check_variables(&self) -> Result<()> {
        for global in &self.definitions.globals {
            self.variable(&global.name).map_err(|message| global.fault(message))?;
        }
        for variable in &self.definitions.variables {
            let value =
                self.variable(&variable.name).map_err(|message| match variable.attributes.first() {
                    Some(attribute) => attribute.fault(message),
                    None => Error::invalid(message),
                })?;
            self.validate(variable, &value)?;
        }
        Ok(())
    }

    fn validate(&self, variable: &Variable, value: &Value) -> Result<()> {
        for validation in &variable.validations {
            let find = |name: &str| validation.iter().find(|attribute| attribute.name == name);
            let Some(condition) = find("condition") else {
                return Err(Error::invalid(format!(
                    "the validation of variable {:?} has no condition",
                    variable.name
                )));
            };
            if self.attribute(condition, &Locals::new())? == Value::Bool(true) {
                continue;
            }
            let message = match find("error_message") {
                Some(message) => text(&self.attribute(message, &Locals::new())?).unwrap_or_default(),
                None => format!("{value} is not allowed"),
            };
            return Err(
                condition.fault(format!("Validation failed for variable {}; {message}", variable.name))
            );
        }
        Ok(())
    }

    /// The value of an attribute.
    pub(super) fn attribute(&self, attribute: &Attribute, locals: &Locals) -> Result<Value> {
        self.expr(&attribute.expr, locals).map_err(|message| attribute.fault(message))
    }

    /// The variables of each cell of a target's matrix; one cell without variables if it has none.
    pub(super) fn matrix(&self, block: &Block) -> Result<Vec<Locals>> {
        let Some(attribute) = block.attribute("matrix") else { return Ok(vec![Locals::new()]) };
        if block.attribute("name").is_none() {
            return Err(attribute.fault("matrix requires name"));
        }
        let Value::Object(axes) = self.attribute(attribute, &Locals::new())? else {
            return Err(attribute.fault("matrix must be a map"));
        };
        let mut cells = vec![Locals::new()];
        for (name, values) in axes {
            let Value::Array(values) = values else {
                return Err(attribute.fault("matrix values must be a list"));
            };
            if cells.len().saturating_mul(values.len()) > CELLS {
                return Err(attribute.fault(format!("matrix makes more than {CELLS} targets")));
            }
            cells = values
                .iter()
                .flat_map(|value| {
                    cells.iter().map(|cell| {
                        let mut cell = cell.clone();
                        cell.insert(name.clone(), value.clone());
                        cell
                    })
                })
                .collect();
        }
        Ok(cells)
    }

    pub(super) fn expr(&self, expr: &Expr, locals: &Locals) -> Outcome {
        match expr {
            Expr::Hcl(expression) => self.evaluate(expression, locals),
            Expr::Json(value) => self.json(value, locals),
        }
    }

    /// Strings in JSON are templates.
    fn json(&self, value: &Value, locals: &Locals) -> Outcome {
        match value {
            Value::String(text) if text.contains("${") || text.contains("%{") => {
                let template: Template =
                    text.parse().map_err(|e: hcl_edit::parser::Error| e.message().to_owned())?;
                self.template(&template, locals)
            }
            Value::Array(list) => list.iter().map(|value| self.json(value, locals)).collect(),
            Value::Object(map) => {
                let pair = |(name, value): (&String, &Value)| Ok((name.clone(), self.json(value, locals)?));
                map.iter().map(pair).collect::<std::result::Result<Map<_, _>, String>>().map(Value::Object)
            }
            other => Ok(other.clone()),
        }
    }

    /// Takes a step, and gives up when there were too many.
    fn step(&self) -> std::result::Result<(), String> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS {
            Err("the files take too many steps to evaluate".to_owned())
        } else {
            Ok(())
        }
    }

    fn evaluate(&self, expression: &Expression, locals: &Locals) -> Outcome {
        self.step()?;
        match expression {
            Expression::Null(_) => Ok(Value::Null),
            Expression::Bool(truth) => Ok(Value::Bool(*truth.value())),
            Expression::Number(number) => number
                .value()
                .as_f64()
                .map(functions::number)
                .ok_or_else(|| "the number is too large".to_owned()),
            Expression::String(text) => Ok(Value::String(text.value().clone())),
            Expression::Array(array) => array.iter().map(|e| self.evaluate(e, locals)).collect(),
            Expression::Object(object) => {
                let mut map = Map::new();
                for (key, value) in object.iter() {
                    let key = match key {
                        ObjectKey::Ident(name) => name.as_str().to_owned(),
                        ObjectKey::Expression(expression) => text(&self.evaluate(expression, locals)?)?,
                    };
                    map.insert(key, self.evaluate(value.expr(), locals)?);
                }
                Ok(Value::Object(map))
            }
            Expression::StringTemplate(template) => {
                self.elements(&template.iter().collect::<Vec<_>>(), locals)
            }
            Expression::HeredocTemplate(heredoc) => {
                let mut heredoc = heredoc.clone();
                heredoc.dedent();
                self.template(&heredoc.template, locals)
            }
            Expression::Parenthesis(inner) => self.evaluate(inner.inner(), locals),
            Expression::Variable(name) => match locals.get(name.as_str()) {
                Some(value) => Ok(value.clone()),
                None => self.variable(name.as_str()),
            },
            Expression::Conditional(conditional) => {
                let condition = truth(&self.evaluate(&conditional.cond_expr, locals)?)?;
                let chosen = if condition { &conditional.true_expr } else { &conditional.false_expr };
                self.evaluate(chosen, locals)
            }
            Expression::FuncCall(call) => {
                if !call.name.namespace.is_empty() {
                    return Err(format!("there is no function {}", call.name.name.as_str()));
                }
                let arguments: Vec<&Expression> = call.args.iter().collect();
                self.call(call.name.name.as_str(), &arguments, call.args.expand_final(), locals)
            }
            Expression::Traversal(traversal) => {
                let operators: Vec<&TraversalOperator> =
                    traversal.operators.iter().map(|operator| operator.value()).collect();
                match &traversal.expr {
                    Expression::Variable(name)
                        if matches!(name.as_str(), "target" | "group")
                            && !locals.contains_key(name.as_str()) =>
                    {
                        self.block_value(name.as_str(), &operators, locals)
                    }
                    expression => self.traverse(self.evaluate(expression, locals)?, &operators, locals),
                }
            }
            Expression::UnaryOp(operation) => {
                let value = self.evaluate(&operation.expr, locals)?;
                match *operation.operator.value() {
                    UnaryOperator::Neg => Ok(functions::number(-functions::as_number(&value)?)),
                    UnaryOperator::Not => Ok(Value::Bool(!truth(&value)?)),
                }
            }
            Expression::BinaryOp(operation) => {
                let operator = *operation.operator.value();
                self.binary(operator, &operation.lhs_expr, &operation.rhs_expr, locals)
            }
            Expression::ForExpr(each) => self.for_each(each, locals),
        }
    }

    fn binary(
        &self,
        operator: BinaryOperator,
        left: &Expression,
        right: &Expression,
        locals: &Locals,
    ) -> Outcome {
        use BinaryOperator as Op;
        let (left, right) = (self.evaluate(left, locals)?, self.evaluate(right, locals)?);
        let numbers = || Ok::<_, String>((functions::as_number(&left)?, functions::as_number(&right)?));
        let compared =
            |accept: fn(f64, f64) -> bool| numbers().map(|(left, right)| Value::Bool(accept(left, right)));
        match operator {
            Op::Eq => Ok(Value::Bool(functions::equal(&left, &right))),
            Op::NotEq => Ok(Value::Bool(!functions::equal(&left, &right))),
            Op::And => Ok(Value::Bool(truth(&left)? && truth(&right)?)),
            Op::Or => Ok(Value::Bool(truth(&left)? || truth(&right)?)),
            Op::Less => compared(|a, b| a < b),
            Op::LessEq => compared(|a, b| a <= b),
            Op::Greater => compared(|a, b| a > b),
            Op::GreaterEq => compared(|a, b| a >= b),
            Op::Plus => numbers().map(|(a, b)| functions::number(a + b)),
            Op::Minus => numbers().map(|(a, b)| functions::number(a - b)),
            Op::Mul => numbers().map(|(a, b)| functions::number(a * b)),
            Op::Div => functions::divided(numbers()?),
            Op::Mod => functions::remainder(numbers()?),
        }
    }

    /// The value of a variable: `--var` and the environment before its default, if the file declares it.
    fn variable(&self, name: &str) -> Outcome {
        if let Some(value) = self.known.borrow().get(name) {
            return Ok(value.clone());
        }
        let value = self.guarded(name, "variable", || self.fresh_variable(name))?;
        self.known.borrow_mut().insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// Runs `work` unless it is already running.
    fn guarded(&self, name: &str, what: &str, work: impl FnOnce() -> Outcome) -> Outcome {
        if self.open.borrow().iter().any(|open| open == name) {
            return Err(format!("{what} cycle not allowed for {name}"));
        }
        if self.open.borrow().len() > DEPTH * 4 {
            return Err(format!("{what} {name} is defined through too many others"));
        }
        self.open.borrow_mut().push(name.to_owned());
        let result = work();
        self.open.borrow_mut().pop();
        result
    }

    fn fresh_variable(&self, name: &str) -> Outcome {
        let none = Locals::new();
        if let Some(variable) = self.definitions.variables.iter().find(|known| known.name == name) {
            let find = |key: &str| variable.attributes.iter().find(|attribute| attribute.name == key);
            if let Some(other) = variable
                .attributes
                .iter()
                .find(|a| !matches!(a.name.as_str(), "default" | "description" | "type"))
            {
                return Err(format!("a variable has no attribute {:?}", other.name));
            }
            let default = find("default").map(|a| self.expr(&a.expr, &none)).transpose()?;
            let kind = find("type").map(|a| functions::type_name(&a.expr)).transpose()?;
            return match ((self.lookup)(name), kind) {
                (Some(given), kind) => {
                    functions::from_environment(name, &given, kind.as_deref(), default.as_ref())
                }
                // What nobody gave a value is an empty string, unless it has a type.
                (None, None) => Ok(default.unwrap_or(Value::String(String::new()))),
                (None, Some(kind)) => functions::checked(name, default.unwrap_or(Value::Null), &kind),
            };
        }
        if let Some(global) = self.definitions.globals.iter().find(|known| known.name == name) {
            return self.expr(&global.expr, &none);
        }
        // The two that bake itself sets come through the look-up, too.
        match (self.lookup)(name).filter(|_| name.starts_with("BAKE_")) {
            Some(value) => Ok(Value::String(value)),
            None => Err(format!("undefined variable {name:?}")),
        }
    }

    /// `target.NAME.ATTRIBUTE`: what another block says.
    fn block_value(&self, kind: &str, operators: &[&TraversalOperator], locals: &Locals) -> Outcome {
        let mut names = Vec::new();
        for operator in operators.iter().take(2) {
            names.push(match operator {
                TraversalOperator::GetAttr(name) => name.as_str().to_owned(),
                TraversalOperator::Index(index) => text(&self.evaluate(index, locals)?)?,
                _ => return Err(format!("{kind} needs a name behind it")),
            });
        }
        let [label, attribute] = names.as_slice() else {
            return Err(format!("{kind} needs a name and an attribute behind it"));
        };
        let mut blocks = self.definitions.blocks.iter().rev().filter(|b| b.kind == kind && b.label == *label);
        let Some(found) = blocks.find_map(|block| block.attribute(attribute)) else {
            return Err(format!("there is no {kind}.{label}.{attribute}"));
        };
        let key = format!("{kind}.{label}.{attribute}");
        let value = self.guarded(&key, kind, || self.expr(&found.expr, &Locals::new()))?;
        self.traverse(value, &operators[2..], locals)
    }

    fn traverse(&self, value: Value, operators: &[&TraversalOperator], locals: &Locals) -> Outcome {
        let Some((first, rest)) = operators.split_first() else { return Ok(value) };
        self.step()?;
        let next = match first {
            TraversalOperator::GetAttr(name) => functions::element(&value, &Value::from(name.as_str()))?,
            TraversalOperator::Index(index) => functions::element(&value, &self.evaluate(index, locals)?)?,
            TraversalOperator::LegacyIndex(index) => {
                functions::element(&value, &Value::from(*index.value()))?
            }
            TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                let list = match value {
                    Value::Array(list) => list,
                    Value::Null => Vec::new(),
                    other => vec![other],
                };
                return list.into_iter().map(|value| self.traverse(value, rest, locals)).collect();
            }
        };
        self.traverse(next, rest, locals)
    }

    fn for_each(&self, each: &ForExpr, locals: &Locals) -> Outcome {
        let collection = self.evaluate(&each.intro.collection_expr, locals)?;
        let key_name = each.intro.key_var.as_ref().map(|name| name.as_str());
        let mut list = Vec::new();
        let mut map: Map<String, Value> = Map::new();
        let mut inner = locals.clone();
        for (key, value) in items(collection)? {
            if let Some(name) = key_name {
                inner.insert(name.to_owned(), key);
            }
            inner.insert(each.intro.value_var.as_str().to_owned(), value);
            let is_wanted = match &each.cond {
                Some(condition) => truth(&self.evaluate(&condition.expr, &inner)?)?,
                None => true,
            };
            if !is_wanted {
                continue;
            }
            let value = self.evaluate(&each.value_expr, &inner)?;
            let Some(key) = &each.key_expr else {
                list.push(value);
                continue;
            };
            let key = text(&self.evaluate(key, &inner)?)?;
            match (each.grouping, map.get_mut(&key)) {
                (false, None) => drop(map.insert(key, value)),
                (false, Some(_)) => return Err(format!("two items have the key {key:?}")),
                (true, Some(Value::Array(group))) => group.push(value),
                (true, _) => drop(map.insert(key, Value::Array(vec![value]))),
            }
        }
        Ok(if each.key_expr.is_some() { Value::Object(map) } else { Value::Array(list) })
    }

    /// A function of the file, or a built-in one.
    fn call(&self, name: &str, arguments: &[&Expression], expands: bool, locals: &Locals) -> Outcome {
        // These two look at whether an argument can be evaluated at all.
        match name {
            "try" => {
                let mut last = Err("try needs an argument".to_owned());
                for argument in arguments {
                    last = self.evaluate(argument, locals);
                    if last.is_ok() {
                        break;
                    }
                }
                return last;
            }
            "can" => {
                let results = arguments.iter().map(|argument| self.evaluate(argument, locals));
                return Ok(Value::Bool(results.into_iter().all(|result| result.is_ok())));
            }
            _ => {}
        }
        let mut values: Vec<Value> = arguments
            .iter()
            .map(|argument| self.evaluate(argument, locals))
            .collect::<std::result::Result<_, _>>()?;
        if expands {
            match values.pop() {
                Some(Value::Array(last)) => values.extend(last),
                _ => return Err(format!("what `...` expands in {name} must be a list")),
            }
        }
        match self.definitions.functions.iter().find(|function| function.name == name) {
            Some(function) => self.call_own(function, values),
            None => functions::call(name, &values),
        }
    }

    fn call_own(&self, function: &Function, values: Vec<Value>) -> Outcome {
        let name = &function.name;
        let mut values = values.into_iter();
        let mut locals = Locals::new();
        for param in &function.params {
            let value =
                values.next().ok_or_else(|| format!("{name} needs {} arguments", function.params.len()))?;
            locals.insert(param.clone(), value);
        }
        match &function.variadic {
            Some(rest) => drop(locals.insert(rest.clone(), values.collect())),
            None if values.next().is_some() => {
                return Err(format!("{name} takes {} arguments, more are given", function.params.len()));
            }
            None => {}
        }
        self.guarded(&format!("{name}()"), "function", || self.expr(&function.result.expr, &locals))
    }

    fn template(&self, template: &Template, locals: &Locals) -> Outcome {
        self.elements(&template.iter().collect::<Vec<_>>(), locals)
    }

    /// Literals, interpolations and directives, put together; a lone interpolation keeps its type.
    fn elements(&self, elements: &[&Element], locals: &Locals) -> Outcome {
        if let [Element::Interpolation(only)] = elements {
            return self.evaluate(&only.expr, locals);
        }
        let mut result = String::new();
        for (index, element) in elements.iter().enumerate() {
            match element {
                Element::Literal(literal) => {
                    let before = index.checked_sub(1).map(|i| elements[i]);
                    result.push_str(stripped(literal.value(), before, elements.get(index + 1).copied()));
                }
                Element::Interpolation(part) => {
                    let value = self.evaluate(&part.expr, locals)?;
                    result.push_str(
                        &text(&value).map_err(|_| "only strings can be put into a template".to_owned())?,
                    );
                }
                Element::Directive(directive) => result.push_str(&self.directive(directive, locals)?),
            }
            if result.len() > SIZE {
                return Err("the string would be larger than 1 MiB".to_owned());
            }
        }
        Ok(Value::String(result))
    }

    fn directive(&self, directive: &Directive, locals: &Locals) -> std::result::Result<String, String> {
        let shown = |value: Value| text(&value).map_err(|_| "a directive gives strings only".to_owned());
        match directive {
            Directive::If(choice) => {
                if truth(&self.evaluate(&choice.if_expr.cond_expr, locals)?)? {
                    return shown(self.template(&choice.if_expr.template, locals)?);
                }
                match &choice.else_expr {
                    Some(other) => shown(self.template(&other.template, locals)?),
                    None => Ok(String::new()),
                }
            }
            Directive::For(each) => {
                let each = &each.for_expr;
                let mut result = String::new();
                let mut inner = locals.clone();
                for (key, value) in items(self.evaluate(&each.collection_expr, locals)?)? {
                    if let Some(name) = &each.key_var {
                        inner.insert(name.as_str().to_owned(), key);
                    }
                    inner.insert(each.value_var.as_str().to_owned(), value);
                    result.push_str(&shown(self.template(&each.template, &inner)?)?);
                    if result.len() > SIZE {
                        return Err("the string would be larger than 1 MiB".to_owned());
                    }
                }
                Ok(result)
            }
        }
    }
}

/// A literal without the blanks that `~` in its neighbours takes away.
fn stripped<'t>(literal: &'t str, before: Option<&Element>, after: Option<&Element>) -> &'t str {
    let mut text = literal;
    if matches!(before, Some(Element::Interpolation(i)) if i.strip.strip_end()) {
        text = text.trim_start();
    }
    if matches!(after, Some(Element::Interpolation(i)) if i.strip.strip_start()) {
        text = text.trim_end();
    }
    text
}

/// What `for` goes through: keys (or numbers) and values.
fn items(collection: Value) -> std::result::Result<Vec<(Value, Value)>, String> {
    match collection {
        Value::Array(list) => Ok(list.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect()),
        Value::Object(map) => Ok(map.into_iter().map(|(key, value)| (Value::String(key), value)).collect()),
        _ => Err("only lists and maps can be gone through".to_owned()),
    }
}

/// `true`, also as a string, as HCL converts.
fn truth(value: &Value) -> std::result::Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text == "true" || text == "1" => Ok(true),
        Value::String(text) if text == "false" || text == "0" => Ok(false),
        _ => Err("Incorrect condition type; a bool is required".to_owned()),
    }
}
