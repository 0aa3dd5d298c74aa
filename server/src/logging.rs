//! The log: levels by module, as text or JSON, to stderr.
//!
//! Owns the choice of levels (`--log-level`, else `RINGKEEPER_LOG`, else `info`) and the installation of the one
//! subscriber of the process. Fails on a specification that does not parse, and when a subscriber is already
//! installed; it never falls back to another level silently.
#![forbid(unsafe_code)]

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The environment variable that holds the levels where `--log-level` is absent.
pub const LEVEL_VARIABLE: &str = "RINGKEEPER_LOG";
/// The levels where neither says anything.
const LEVEL_DEFAULT: &str = "info";

/// How log records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The specification of levels does not parse.
    #[error(
        "{place}: `{spec}` is not a log level specification ({error}); write a level (error, warn, info, debug, \
             trace) or levels by module, as in `info,ringkeeper_server::config=debug`"
    )]
    BadLevels {
        /// The option or the variable.
        place: &'static str,
        /// As written.
        spec: String,
        /// What the parser says.
        error: ParseError,
    },
    /// The process has a subscriber already.
    #[error("the log is already set up: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Installs the log of the process. `levels` is `--log-level`.
pub fn init(levels: Option<&str>, format: LogFormat) -> Result<(), LogError> {
    let filter = filter(levels, std::env::var(LEVEL_VARIABLE).ok().as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colors = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colors).finish().try_init()?;
        }
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).finish().try_init()?,
    }
    Ok(())
}

/// The levels of the option, else of the variable, else the default. A bare word that is no level would name a
/// module for `EnvFilter`, and switch the log off but for it: a typing error such as `inof` is refused instead.
fn filter(option: Option<&str>, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let given = option.map(|spec| ("--log-level", spec)).or(variable.map(|spec| (LEVEL_VARIABLE, spec)));
    let (place, spec) = given.filter(|(_, spec)| !spec.trim().is_empty()).unwrap_or(("default", LEVEL_DEFAULT));
    let bad = |error| LogError::BadLevels { place, spec: spec.to_owned(), error };
    for part in spec.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if part.chars().all(|c| c.is_ascii_alphanumeric()) {
            let level: Result<tracing::level_filters::LevelFilter, _> = part.parse();
            level.map_err(|error| bad(error.into()))?;
        }
    }
    EnvFilter::builder().parse(spec).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_wins_over_the_variable_and_the_variable_over_the_default() {
        let text = |option, variable| filter(option, variable).expect("valid levels").to_string();
        assert_eq!(text(Some("debug"), Some("error")), "debug");
        assert_eq!(text(None, Some("error")), "error");
        assert_eq!(text(None, Some("")), "info");
        assert_eq!(text(None, None), "info");
        let by_module = text(Some("warn,ringkeeper_server::config=trace"), None);
        assert!(by_module.contains("ringkeeper_server::config=trace") && by_module.contains("warn"), "{by_module}");
    }

    #[test]
    fn a_typing_error_is_refused_and_named() {
        for spec in ["inof", "info,a=verbose", "a=b=c"] {
            let error = filter(Some(spec), None).expect_err(spec).to_string();
            assert!(error.contains("--log-level") && error.contains(spec), "{error}");
        }
        assert!(filter(None, Some("inof")).expect_err("bad").to_string().contains(LEVEL_VARIABLE));
    }
}
