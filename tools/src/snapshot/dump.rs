//! `rkctl snapshot dump`: the znodes.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use super::source::{Acls, Source};
use super::walk::{Subtree, walk};
use super::znode::{Znode, acl_text, owner};
use crate::failure::Failure;

/// Prints the znodes from `top` down to `depth` levels below it, with their data where that is asked for.
///
/// # Errors
/// [`Failure`], once what lies before it is printed.
pub(crate) fn run(
    source: &Source,
    top: &str,
    depth: Option<usize>,
    with_data: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let acls = source.tables()?.acls;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if !json {
        writeln!(out, "{}", line_head(with_data))?;
    }
    let outcome = walk(source, Subtree { top, depth }, &mut |znode| {
        let data = if with_data { Some(znode.data()?) } else { None };
        if json {
            writeln!(out, "{}", znode.facts.json(&acls, data.as_ref().map(Option::as_deref)))?;
        } else {
            writeln!(out, "{}", line(znode, &acls, data.as_ref().map(Option::as_deref)))?;
        }
        Ok(())
    });
    // What was read before an error stands before its words.
    out.flush()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn line_head(with_data: bool) -> String {
    let data = if with_data { " DATA" } else { "" };
    format!(
        "{:>8} {:>7} {:>8} {:>8} {:>8} {:<18} {:<18} {:<18} PATH{data}",
        "BYTES", "VERSION", "CVERSION", "AVERSION", "CHILDREN", "MZXID", "OWNER", "ACL"
    )
}

fn line(znode: &Znode<'_>, acls: &Acls, data: Option<Option<&[u8]>>) -> String {
    let facts = &znode.facts;
    let children = facts.children.unwrap_or(0);
    let stat = facts.stat.to_stat(facts.data_len, children as usize);
    let data = match data {
        None => String::new(),
        Some(None) => " null".to_owned(),
        Some(Some(bytes)) => format!(" \"{}\"", bytes.escape_ascii()),
    };
    format!(
        "{:>8} {:>7} {:>8} {:>8} {:>8} {:<18} {:<18} {:<18} {}{data}",
        facts.data_len,
        stat.version,
        stat.cversion,
        stat.aversion,
        children,
        stat.mzxid.to_string(),
        owner(facts.stat.ephemeral_owner.kind()),
        acls.get(facts.acl).map_or_else(|| "missing".to_owned(), acl_text),
        facts.path.escape_debug(),
    )
}
