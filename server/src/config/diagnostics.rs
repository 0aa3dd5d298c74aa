//! What the configuration has to say to the operator: errors, warnings, and the place each speaks of.
//!
//! Every message names the place (file and line, or the option), the key, the value and what is allowed. Values of
//! secret keys never appear. Errors are collected, so that one start shows all of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    File {
        /// The file as the operator named it.
        path: Arc<Path>,
        /// The first line of the logical line.
        line: u32,
    },
    /// A command-line option, `-D` or `--data-dir` for instance, or the environment's `JVMFLAGS`.
    Option(&'static str),
    /// What holds when no configuration file is given.
    BuiltIn,
}

impl Origin {
    /// Where to sort what is said about this place: by line, options and defaults last.
    fn rank(&self) -> u32 {
        match self {
            Origin::File { line, .. } => *line,
            Origin::Option(_) | Origin::BuiltIn => u32::MAX,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Option(name) if name.starts_with('-') => write!(f, "command line {name}"),
            Origin::Option(name) => write!(f, "environment {name}"),
            Origin::BuiltIn => f.write_str("defaults"),
        }
    }
}

/// One reason why the server cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that must be read cannot be.
    #[error("{}: cannot read the {what}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it is: "configuration file", …
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// A file is larger than any configuration is.
    #[error("{}: the {what} has more than {bytes_max} bytes; is this the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// The limit.
        bytes_max: u64,
    },
    /// A `\u` escape that Java rejects as well.
    #[error("{origin}: `{escape}` is not an escape; write \\u and four hexadecimal digits, or \\\\ for a backslash")]
    BadEscape {
        /// The line.
        origin: Origin,
        /// The escape as written.
        escape: String,
    },
    /// A value that the key does not allow.
    #[error("{origin}: {key}: `{value}` is not allowed; {key} takes {allowed}")]
    BadValue {
        /// The line.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The value as written; `(hidden)` for secrets.
        value: String,
        /// What would be right, as a noun phrase.
        allowed: String,
    },
    /// A key that the file at hand may not hold, or a combination that makes no sense.
    #[error("{origin}: {key}: {reason}")]
    Conflict {
        /// The line.
        origin: Origin,
        /// The key.
        key: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Something needed is not set at all.
    #[error("{what} is not set: {remedy}")]
    Missing {
        /// The key or file.
        what: String,
        /// What to write.
        remedy: String,
    },
    /// `<dataDir>/myid` does not hold a server id.
    #[error("{}: `{content}` is not a server id; the first line must be a whole number from 1 to 255", path.display())]
    BadMyId {
        /// The file.
        path: PathBuf,
        /// Its first line, shortened.
        content: String,
    },
    /// The JAAS file is none.
    #[error(transparent)]
    Jaas(#[from] crate::jaas::JaasError),
    /// `-D` without `key=value`.
    #[error("command line -D: `{text}` is not of the form key=value")]
    BadProperty {
        /// As written.
        text: String,
    },
}

impl ConfigError {
    /// The same error at another place: a line that stands in no file was read as one.
    pub(crate) fn moved_to(mut self, place: &Origin) -> ConfigError {
        if let ConfigError::BadEscape { origin, .. } = &mut self {
            *origin = place.clone();
        }
        self
    }

    /// For sorting by place; what has none comes last.
    pub(super) fn rank(&self) -> u32 {
        match self {
            ConfigError::BadEscape { origin, .. }
            | ConfigError::BadValue { origin, .. }
            | ConfigError::Conflict { origin, .. } => origin.rank(),
            _ => u32::MAX,
        }
    }
}

/// All errors of one configuration; never empty.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} error{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that the operator should know, with which the server starts all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigWarning {
    /// Neither ZooKeeper nor RingKeeper knows the key.
    UnknownKey {
        /// The line.
        origin: Origin,
        /// The key as written.
        key: String,
        /// A known key that looks like it.
        suggestion: Option<String>,
    },
    /// The key is known, its function comes in a later version.
    NotYetEffective {
        /// The line.
        origin: Origin,
        /// The key as written.
        key: String,
        /// What follows from that, where it is more than a missing convenience.
        consequence: Option<&'static str>,
    },
    /// The key tunes something that RingKeeper does not have and does not need.
    NoMeaning {
        /// The line.
        origin: Origin,
        /// The key as written.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// One setting hides another.
    Overridden {
        /// The line that has no effect.
        origin: Origin,
        /// Its key.
        key: String,
        /// The line that holds.
        by: Origin,
    },
    /// A variable of the environment that nobody knows.
    UnknownVariable {
        /// Its name.
        name: String,
        /// A known variable that looks like it.
        suggestion: Option<String>,
    },
    /// Variables of the environment from which a file would have been made that is there already.
    VoidVariables {
        /// Their names.
        names: String,
        /// The file.
        file: PathBuf,
    },
    /// Any other advice.
    Advice {
        /// The line.
        origin: Origin,
        /// The key.
        key: String,
        /// What is done with it, and what to write instead.
        text: String,
    },
}

impl ConfigWarning {
    /// For sorting by place; what has none comes last.
    pub(super) fn rank(&self) -> u32 {
        match self {
            ConfigWarning::UnknownKey { origin, .. }
            | ConfigWarning::NotYetEffective { origin, .. }
            | ConfigWarning::NoMeaning { origin, .. }
            | ConfigWarning::Overridden { origin, .. }
            | ConfigWarning::Advice { origin, .. } => origin.rank(),
            ConfigWarning::UnknownVariable { .. } | ConfigWarning::VoidVariables { .. } => u32::MAX,
        }
    }
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigWarning::UnknownKey { origin, key, suggestion: Some(like) } => {
                write!(f, "{origin}: unknown key `{key}` is ignored; did you mean `{like}`?")
            }
            ConfigWarning::UnknownKey { origin, key, suggestion: None } => {
                write!(f, "{origin}: unknown key `{key}` is ignored")
            }
            ConfigWarning::NotYetEffective { origin, key, consequence: Some(consequence) } => {
                write!(f, "{origin}: {key}: accepted, not yet effective: {consequence}")
            }
            ConfigWarning::NotYetEffective { origin, key, consequence: None } => {
                write!(f, "{origin}: {key}: accepted, not yet effective")
            }
            ConfigWarning::NoMeaning { origin, key, reason } => write!(f, "{origin}: {key}: ignored: {reason}"),
            ConfigWarning::Overridden { origin, key, by } => {
                write!(f, "{origin}: {key}: has no effect, because {by} sets it as well")
            }
            ConfigWarning::UnknownVariable { name, suggestion } => {
                write!(f, "environment: unknown variable `{name}` is ignored")?;
                suggestion.as_ref().map_or(Ok(()), |like| write!(f, "; did you mean `{like}`?"))
            }
            ConfigWarning::VoidVariables { names, file } => {
                let file = file.display();
                write!(f, "environment: {names}: no effect, because {file} exists and holds; remove it to go by them")
            }
            ConfigWarning::Advice { origin, key, text } => write!(f, "{origin}: {key}: {text}"),
        }
    }
}
