//! `rkctl log dump`.

use std::io::{BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use super::filter::Filter;
use super::source::{AtEnd, Found, Go, Source, Visit};
use super::txn;
use crate::failure::Failure;

/// Prints the txns of each source that the filter takes.
///
/// # Errors
/// [`Failure`], once what lies before it is printed.
pub(crate) fn run(sources: &[Source], filter: &Filter, follow: bool, json: bool) -> Result<ExitCode, Failure> {
    if follow && sources.len() > 1 {
        return Err(Failure::Refused("--follow takes one log".to_owned()));
    }
    let mut dump = Dump { filter, json, out: BufWriter::new(std::io::stdout().lock()) };
    if !json {
        writeln!(dump.out, "{}", txn::line_head())?;
    }
    let at_end = if follow { AtEnd::Wait } else { AtEnd::Stop };
    let outcome = sources.iter().try_for_each(|source| source.read(filter.after(), at_end, &mut dump));
    // What was read before an error stands before its words.
    dump.out.flush()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

struct Dump<'f> {
    filter: &'f Filter,
    json: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Visit for Dump<'_> {
    fn txn(&mut self, found: &Found<'_>) -> Result<Go, Failure> {
        if self.filter.ends_before(found.zxid) {
            return Ok(Go::Stop);
        }
        let record = found.decode()?;
        if self.filter.takes(&record) {
            if self.json {
                writeln!(self.out, "{}", txn::to_json(found, &record))?;
            } else {
                writeln!(self.out, "{}", txn::line(found, &record))?;
            }
        }
        Ok(Go::On)
    }

    fn caught_up(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}
