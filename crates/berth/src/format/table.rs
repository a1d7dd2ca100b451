//! Listings: docker's columns, its `--format` (a template, `table …`, `json`), and the spacing of Go's tabwriter.
//!
//! Invariant: a listing is written in one piece; an error in a row leaves nothing on stdout.

use super::template::{Fields, Options, Template, Value};
use berth_oci::{Error, Result};
use std::rc::Rc;

/// A column: the template field, its title, and the value in a row.
pub(crate) struct Column<T: 'static> {
    /// The field's name in templates.
    pub(crate) name: &'static str,
    /// The title in a table; empty for fields that tables do not show.
    pub(crate) title: &'static str,
    /// The value.
    pub(crate) value: fn(&T) -> Value,
}

/// Go's name of a row of docker's list of containers.
pub(crate) const CONTAINERS: &str = "*formatter.ContainerContext";

/// What a listing can show.
pub(crate) struct Listing<T: 'static> {
    /// Go's name of the row type, for error messages: `*formatter.imageContext`.
    pub(crate) type_name: &'static str,
    /// All fields.
    pub(crate) columns: &'static [Column<T>],
    /// `.Label "name"`: the value of one label, empty where there is none.
    pub(crate) label: Option<fn(&T, &str) -> String>,
}

/// How the user wants to see it.
pub(crate) enum Style {
    /// A table with these columns (a docker template with tabs, without `table`).
    Table(String),
    /// A template for each row.
    Raw(String),
}

impl Style {
    /// `--format`'s value, or docker's default table where there is none.
    pub(crate) fn new(format: Option<&str>, default: &str) -> Self {
        let unescaped = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        match format {
            None | Some("" | "table") => Self::Table(default.to_owned()),
            Some("json") => Self::Raw("{{json .}}".to_owned()),
            Some(format) => match format.strip_prefix("table ") {
                Some(columns) => Self::Table(unescaped(columns.trim())),
                None => Self::Raw(unescaped(format)),
            },
        }
    }
}

impl<T: 'static> Listing<T> {
    /// The whole text for `rows`.
    ///
    /// # Errors
    /// The template is wrong.
    pub(crate) fn render(&self, rows: impl IntoIterator<Item = T>, style: &Style) -> Result<String> {
        let (text, is_table) = match style {
            Style::Table(text) => (text, true),
            Style::Raw(text) => (text, false),
        };
        let template =
            Template::parse(text).map_err(|error| self.reworded(error, "failed to parse template"))?;
        let mut out = String::new();
        for row in rows {
            let row = Value::Object(Rc::new(Row { item: row, listing: self.clone_static() }));
            let written = template.render_to(&mut out, &row, Options::default());
            written.map_err(|error| self.reworded(error, "failed to execute template"))?;
            out.push('\n');
        }
        match is_table {
            true => {
                let header =
                    template.render(&self.header(), Options { header: true, ..Options::default() })?;
                Ok(aligned(&format!("{header}\n{out}")))
            }
            false => Ok(out),
        }
    }

    /// Docker's list of containers, which looks at the template before the others do, has other words before Go's.
    fn reworded(&self, error: Error, words: &str) -> Error {
        match error.message().strip_prefix("template parsing error") {
            Some(said) if self.type_name == CONTAINERS => Error::invalid(format!("{words}{said}")),
            _ => error,
        }
    }

    fn clone_static(&self) -> Listing<T> {
        Listing { type_name: self.type_name, columns: self.columns, label: self.label }
    }

    fn header(&self) -> Value {
        let titled = self.columns.iter().filter(|column| !column.title.is_empty());
        let entries = titled.map(|column| (column.name.to_owned(), column.title.into())).collect();
        Value::Map(Rc::new(super::template::GoMap { entries, of_text: false }))
    }
}

struct Row<T: 'static> {
    item: T,
    listing: Listing<T>,
}

impl<T> Fields for Row<T> {
    fn type_name(&self) -> Option<&str> {
        Some(self.listing.type_name)
    }

    fn field(&self, name: &str) -> Option<Value> {
        let column = self.listing.columns.iter().find(|column| column.name == name)?;
        Some((column.value)(&self.item))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let label = self.listing.label.filter(|_| name == "Label")?;
        Some(label(&self.item, argument).into())
    }

    /// Docker marshals a row from a map: sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.listing.columns.iter().map(|column| column.name.to_owned()).collect();
        names.sort();
        names
    }
}

/// What docker gives its tabwriter: cells at least ten wide with three spaces between them.
const DOCKER: Spacing = Spacing { least: 10, padding: 3 };

/// How wide cells are.
#[derive(Clone, Copy)]
pub(crate) struct Spacing {
    /// A cell's least width, padding included.
    pub(crate) least: usize,
    /// The spaces behind the widest text.
    pub(crate) padding: usize,
}

/// Lines with tabs between the cells, aligned as docker aligns its tables.
pub(crate) fn aligned(text: &str) -> String {
    aligned_with(text, DOCKER)
}

/// The same with other spacing.
pub(crate) fn aligned_with(text: &str, spacing: Spacing) -> String {
    let mut cells = Vec::with_capacity(text.len() / 8);
    let ends: Vec<usize> = text
        .split('\n')
        .map(|line| {
            cells.extend(line.split('\t').map(Cell::new));
            cells.len()
        })
        .collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let lines: Vec<&[Cell<'_>]> = starts.zip(&ends).map(|(start, end)| &cells[start..*end]).collect();
    let mut out = String::with_capacity(text.len() * 2);
    format(&lines, &mut Vec::new(), spacing, &mut out);
    // The text ends with a newline, so the last "line" is empty.
    out.pop();
    out
}

/// A text and how many characters it has.
struct Cell<'a> {
    text: &'a str,
    width: usize,
}

impl<'a> Cell<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, width: text.chars().count() }
    }
}

/// Go's algorithm: a column is a run of lines that all have a cell there which a tab ends.
fn format(lines: &[&[Cell<'_>]], widths: &mut Vec<usize>, spacing: Spacing, out: &mut String) {
    let column = widths.len();
    let in_column = |line: &[Cell<'_>]| column + 1 < line.len();
    let mut start = 0;
    while start < lines.len() {
        if !in_column(lines[start]) {
            write_line(lines[start], widths, out);
            start += 1;
            continue;
        }
        let end = lines[start..].iter().position(|line| !in_column(line)).map_or(lines.len(), |n| start + n);
        let widest = lines[start..end].iter().map(|line| line[column].width + spacing.padding).max();
        widths.push(widest.unwrap_or(0).max(spacing.least));
        format(&lines[start..end], widths, spacing, out);
        widths.pop();
        start = end;
    }
}

fn write_line(cells: &[Cell<'_>], widths: &[usize], out: &mut String) {
    const SPACES: &str = "                                ";
    for (index, cell) in cells.iter().enumerate() {
        out.push_str(cell.text);
        let mut missing = widths.get(index).map_or(0, |width| width.saturating_sub(cell.width));
        while missing > 0 {
            let spaces = &SPACES[..missing.min(SPACES.len())];
            out.push_str(spaces);
            missing -= spaces.len();
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing<(&str, i64)> = Listing {
        type_name: "*formatter.rowContext",
        columns: &[
            Column { name: "Name", title: "NAME", value: |row| row.0.into() },
            Column { name: "Size", title: "SIZE", value: |row| Value::Int(row.1) },
            Column { name: "Secret", title: "", value: |_| "x".into() },
        ],
        label: Some(|row, name| format!("{name} of {}", row.0)),
    };

    fn render(format: Option<&str>) -> String {
        let style = Style::new(format, "{{.Name}}\t{{.Size}}");
        LISTING.render(vec![("a", 1), ("a-long-name", 22)], &style).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn listings_look_as_dockers() {
        for (format, expected) in [
            (None, "NAME          SIZE\na             1\na-long-name   22\n"),
            (
                Some("table {{.Size}}\\t{{upper .Name}}"),
                "SIZE      NAME\n1         A\n22        A-LONG-NAME\n",
            ),
            (
                Some("table {{.Secret}}\t{{.Name}}"),
                "<no value>   NAME\nx            a\nx            a-long-name\n",
            ),
            (Some("{{.Label \"x\"}}"), "x of a\nx of a-long-name\n"),
            (
                Some("table {{.Label \"org.my-label\"}}\t{{.Size}}"),
                "my label                      SIZE\norg.my-label of a             1\norg.my-label of a-long-name   22\n",
            ),
            (Some("{{.Name}}\\n"), "a\n\na-long-name\n\n"),
            (
                Some("json"),
                "{\"Name\":\"a\",\"Secret\":\"x\",\"Size\":1}\n{\"Name\":\"a-long-name\",\"Secret\":\"x\",\"Size\":22}\n",
            ),
            (
                Some("{{.Bad}}"),
                "template parsing error: template: :1:2: executing \"\" at <.Bad>: can't evaluate field Bad in type *formatter.rowContext",
            ),
        ] {
            assert_eq!(render(format), expected, "{format:?}");
        }
    }

    #[test]
    fn a_column_ends_where_a_line_lacks_it() {
        assert_eq!(aligned("a\tb\nlong long long\nc\td\n"), "a         b\nlong long long\nc         d\n");
        assert_eq!(aligned("é\t1\naaaaaaaaaaa\t2\n"), "é             1\naaaaaaaaaaa   2\n");
    }
}
