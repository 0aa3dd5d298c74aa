//! Raw entries become settings: each key once, of the kind that the table gives it.
//!
//! Owns duplicates (the last line of a file wins, as in `java.util.Properties`; the command line wins over the file),
//! unknown keys (a warning), bad values (an error) and the warnings that a key's function comes later. A key with a
//! bad value counts as not set afterwards, so that one mistake is reported once.

use std::collections::BTreeMap;

use super::diagnostics::{ConfigError, ConfigWarning, Origin};
use super::keys::{self, Effect, KeySpec};
use super::raw::{RawConfig, RawEntry};
use super::value::{Kind, Value};

/// What was set, by the name in the table.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, Setting>,
    /// Members of families by the name as written, `server.3` for instance.
    members: BTreeMap<String, Setting>,
}

/// One setting and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Of the kind that the table gives.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

impl Settings {
    /// Types the entries; problems go to `errors` and `warnings`.
    pub fn from_raw(raw: &RawConfig, errors: &mut Vec<ConfigError>, warnings: &mut Vec<ConfigWarning>) -> Self {
        let mut settings = Settings::default();
        let mut seen: BTreeMap<String, RawEntry> = BTreeMap::new();
        for entry in &raw.entries {
            let Some((spec, member)) = keys::find(&entry.key) else {
                warnings.push(ConfigWarning::UnknownKey {
                    origin: entry.origin.clone(),
                    key: entry.key.clone(),
                    suggestion: keys::suggest(&entry.key),
                });
                continue;
            };
            let name = full_name(spec, member);
            if let Some(hidden) = seen.insert(name, entry.clone())
                && hidden.value != entry.value
                && hidden.origin != Origin::BuiltIn
            {
                let (origin, key) = (hidden.origin, hidden.key);
                warnings.push(ConfigWarning::Overridden { origin, key, by: entry.origin.clone() });
            }
        }
        for entry in seen.into_values() {
            settings.add(entry, errors, warnings);
        }
        settings
    }

    fn add(&mut self, entry: RawEntry, errors: &mut Vec<ConfigError>, warnings: &mut Vec<ConfigWarning>) {
        let Some((spec, member)) = keys::find(&entry.key) else { return };
        let Some(value) = spec.kind.read(&entry.value) else {
            let value = if spec.kind == Kind::Secret { "(hidden)".into() } else { entry.value };
            let allowed = spec.kind.allowed();
            errors.push(ConfigError::BadValue { origin: entry.origin, key: entry.key, value, allowed });
            return;
        };
        if !spec.is_default(&value) {
            warnings.extend(effect_warning(spec.effect, &entry));
        }
        let name = full_name(spec, member);
        let setting = Setting { value, origin: entry.origin };
        if spec.is_family() {
            self.members.insert(name, setting);
        } else {
            self.values.insert(spec.name, setting);
        }
    }

    /// The value of a key: as set, or the table's default; `None` where it has neither.
    pub fn value(&self, name: &str) -> Option<Value> {
        let spec = known(name);
        let set = self.values.get(spec.name).map(|setting| setting.value.clone());
        set.or_else(|| if spec.default.is_empty() { None } else { spec.kind.read(spec.default) })
    }

    /// Where a key was set; `None` where it was not.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.values.get(known(name).name).map(|setting| &setting.origin)
    }

    /// Whether a key was set.
    pub fn is_set(&self, name: &str) -> bool {
        self.origin(name).is_some()
    }

    /// A whole number. Panics where the table gives the key another kind, no default, or a range wider than `T`:
    /// that would be a mistake in the table, which `every_key_resolves_at_both_ends_of_its_range` would show.
    pub fn int<T: TryFrom<i64>>(&self, name: &str) -> T {
        let number = self.int_if_any(name);
        assert!(number.is_some(), "{name} has no default in the table");
        number.unwrap_or_else(|| unreachable!())
    }

    /// As [`Settings::int`], for keys without a default; `auto` counts as none.
    pub fn int_if_any<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        match self.value(name)? {
            Value::Int(number) => {
                let fits = T::try_from(number).ok();
                assert!(fits.is_some(), "{name}={number} is allowed by the table and does not fit its field");
                fits
            }
            Value::Auto => None,
            other => wrong_kind(name, &other),
        }
    }

    /// A number with a fraction.
    pub fn float(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Float(number)) => number,
            other => wrong_kind(name, &other),
        }
    }

    /// A yes or no.
    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Bool(flag)) => flag,
            other => wrong_kind(name, &other),
        }
    }

    /// A text, a path, a host or a word.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            Value::Word(word) => Some(word.to_owned()),
            other => wrong_kind(name, &other),
        }
    }

    /// A list; empty where there is none.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(words)) => words,
            None => Vec::new(),
            other => wrong_kind(name, &other),
        }
    }

    /// The members of a family that were set: what follows the dot, the text, the place.
    pub fn family<'a>(&'a self, stem: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a Origin)> {
        self.members.iter().filter_map(move |(name, setting)| {
            let member = name.strip_prefix(stem)?.strip_prefix('.')?;
            match &setting.value {
                Value::Text(text) => Some((member, text.as_str(), &setting.origin)),
                _ => None,
            }
        })
    }

    /// What a member of an ensemble is told: each of its keys that comes later and differs from the default.
    pub(super) fn not_yet_in_ensembles(&self) -> impl Iterator<Item = ConfigWarning> {
        self.iter().filter_map(|(name, Setting { value, origin })| {
            let (spec, _) = keys::find(name)?;
            let Effect::EnsembleLater(until_then) = spec.effect else { return None };
            (!spec.is_default(value)).then(|| ConfigWarning::NotYetEffective {
                origin: origin.clone(),
                key: name.to_owned(),
                consequence: Some(until_then),
            })
        })
    }

    /// Everything that was set, by name: for `conf` and the admin server. Secrets stay wrapped.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        let plain = self.values.iter().map(|(name, setting)| (*name, setting));
        plain.chain(self.members.iter().map(|(name, setting)| (name.as_str(), setting)))
    }
}

fn full_name(spec: &KeySpec, member: &str) -> String {
    match spec.name.strip_suffix('*') {
        Some(stem) => format!("{stem}{member}"),
        None => spec.name.to_owned(),
    }
}

fn known(name: &str) -> &'static KeySpec {
    let spec = keys::all().find(|spec| spec.name == name);
    spec.unwrap_or_else(|| panic!("{name} does not stand in the table of keys"))
}

fn wrong_kind(name: &str, value: &dyn std::fmt::Debug) -> ! {
    panic!("the table gives {name} another kind than its field has: {value:?}")
}

fn effect_warning(effect: Effect, entry: &RawEntry) -> Option<ConfigWarning> {
    let (origin, key) = (entry.origin.clone(), entry.key.clone());
    match effect {
        Effect::Now | Effect::Ensemble | Effect::EnsembleLater(_) | Effect::EnsembleRefused => None,
        Effect::Later => Some(ConfigWarning::NotYetEffective { origin, key, consequence: None }),
        Effect::LaterMind(what) => Some(ConfigWarning::NotYetEffective { origin, key, consequence: Some(what) }),
        Effect::Never(reason) => Some(ConfigWarning::NoMeaning { origin, key, reason }),
    }
}
