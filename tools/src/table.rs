//! Tables for people: plain columns, numbers to the right, which any terminal and `grep` can take.

use comfy_table::{CellAlignment, Table, presets};

/// A table with these heads; a head that begins with `>` is of a column of numbers.
pub(crate) fn with_heads(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads.iter().map(|head| head.trim_start_matches('>')));
    for (column, head) in table.column_iter_mut().zip(heads) {
        column.set_padding((0, 2));
        if head.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints it under a title, without blanks at the ends of lines.
pub(crate) fn print(out: &mut dyn std::io::Write, title: &str, table: &Table) -> std::io::Result<()> {
    if !title.is_empty() {
        writeln!(out, "\n{title}")?;
    }
    writeln!(out, "{}", table.trim_fmt())
}
