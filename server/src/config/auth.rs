//! The configuration's rules of authentication: which schemes there are, who may log in with SASL, who must.
//!
//! Owns what ZooKeeper 3.9.5 has in `ProviderRegistry`, `AuthenticationHelper`, `ServerCnxnFactory.configureSaslLogin` and `QuorumPeerConfig`.
//! Reads the JAAS file; touches nothing else. Where Java would start and silently do without (an unknown provider, a missing section), there
//! is a warning; where it would not start, an error.

use std::path::Path;

use engine::auth::{AuthRules, HashName};
use engine::sasl::SaslUsers;

use super::resolve::Resolver;
use super::value::{Secret, Value};
use super::{ConfigError, ConfigWarning, read_file};
use crate::jaas::{Jaas, LoginModule};

const JAAS_FILE: &str = "java.security.auth.login.config";
const SASL_SECTION: &str = "sasl.serverconfig";
/// Java's package of the providers.
const PROVIDERS: &str = "org.apache.zookeeper.server.auth.";
/// The one login module that is supported, as Java names its class.
const DIGEST_MODULE: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";
/// What the options begin with that hold a user's password.
const USER_PREFIX: &str = "user_";

impl Resolver<'_> {
    pub(super) fn auth(&mut self) -> AuthRules {
        let any = self.settings.bool("DigestAuthenticationProvider.enabled");
        let mut rules = AuthRules {
            digest: any.then_some(()).and_then(|()| self.digest_hash()),
            super_digest: self.super_digest().map(|secret| secret.expose().to_owned()),
            sasl_any: self.settings.text("letAnySaslUserDoX"),
            sasl_users: self.sasl_users(),
            sasl_super_users: self.sasl_super_users(),
            sasl_failed_stay: self.settings.bool("allowSaslFailedClients"),
            skip_acl: self.settings.bool("skipACL"),
            ..AuthRules::default()
        };
        self.add_providers(&mut rules);
        rules.required = self.required_schemes(&rules);
        if rules.skip_acl {
            self.advise("skipACL", "every client may do everything, whatever the ACLs say");
        }
        rules
    }

    fn digest_hash(&mut self) -> Option<HashName> {
        const KEY: &str = "DigestAuthenticationProvider.digestAlg";
        let name = self.settings.text(KEY).unwrap_or_default();
        let hash = HashName::parse(&name);
        if hash.is_none() {
            self.conflict(
                KEY,
                format!(
                    "`{name}` is no hash that RingKeeper has; SHA-256 is one, MD5, SHA-1, SHA-2 and SHA-3 the families"
                ),
            );
        }
        hash
    }

    fn super_digest(&mut self) -> Option<Secret> {
        const KEY: &str = "DigestAuthenticationProvider.superDigest";
        let Some(Value::Secret(digest)) = self.settings.value(KEY) else { return None };
        // Any user will do: ZooKeeper compares the whole text with that of a client's user and password.
        let parts = digest.expose().split_once(':');
        let well_formed = parts.is_some_and(|(user, hash)| !user.is_empty() && !hash.is_empty());
        if !well_formed {
            self.conflict(KEY, "must be user:digest, where digest is base64(sha1(user:password))");
            return None;
        }
        Some(digest)
    }

    fn sasl_super_users(&self) -> Vec<String> {
        let more = self.settings.family("superUser").map(|(_, user, _)| user.to_owned());
        self.settings.text("superUser").into_iter().chain(more).collect()
    }

    /// Every `authProvider.N` that names one of ZooKeeper's own providers adds its scheme.
    fn add_providers(&mut self, rules: &mut AuthRules) {
        let settings = self.settings;
        for (member, class, origin) in settings.family("authProvider") {
            match class.strip_prefix(PROVIDERS) {
                Some("SASLAuthenticationProvider") => rules.sasl_acls = true,
                Some("EnsembleAuthenticationProvider") => {
                    rules.ensemble_names = Some(self.settings.list("ensembleAuthName"))
                }
                Some("DigestAuthenticationProvider") if rules.digest.is_none() => rules.digest = self.digest_hash(),
                Some("IPAuthenticationProvider" | "DigestAuthenticationProvider") => {}
                own => {
                    let why = match own {
                        Some("X509AuthenticationProvider") => "the scheme x509 comes later, with TLS",
                        _ => "RingKeeper cannot run Java classes",
                    };
                    self.warnings.push(ConfigWarning::Advice {
                        origin: origin.clone(),
                        key: format!("authProvider.{member}"),
                        text: format!("{class} is not loaded: {why}"),
                    });
                }
            }
        }
        if rules.ensemble_names.is_none() && self.settings.is_set("ensembleAuthName") {
            let text = format!("has no effect without a line authProvider.1={PROVIDERS}EnsembleAuthenticationProvider");
            self.advise("ensembleAuthName", text);
        }
    }

    fn required_schemes(&mut self, rules: &AuthRules) -> Vec<String> {
        let (sasl, enforce, schemes_key) =
            ("sessionRequireClientSASLAuth", "enforce.auth.enabled", "enforce.auth.schemes");
        let (key, schemes) = if self.settings.bool(sasl) {
            (sasl, vec!["sasl".to_owned()])
        } else if self.settings.bool(enforce) {
            (enforce, self.settings.list(schemes_key))
        } else {
            return Vec::new();
        };
        if schemes.is_empty() {
            self.conflict(enforce, format!("needs {schemes_key}, a list of schemes, sasl for instance"));
        }
        for scheme in schemes.iter().filter(|scheme| !rules.has_scheme(scheme)) {
            let remedy = match scheme.as_str() {
                "sasl" => format!("add a line authProvider.1={PROVIDERS}SASLAuthenticationProvider"),
                _ => "there is no such scheme on this server".into(),
            };
            self.conflict(key, format!("clients would have to authenticate with `{scheme}`: {remedy}"));
        }
        if schemes.iter().any(|scheme| scheme == "sasl") && rules.sasl_users.is_none() && self.errors.is_empty() {
            self.advise(key, format!("no client can log in: {JAAS_FILE} names no file with a section of users"));
        }
        schemes
    }

    /// The users of the JAAS file's section; `None` where there is none.
    fn sasl_users(&mut self) -> Option<SaslUsers> {
        let written = self.settings.text(JAAS_FILE)?;
        // Java takes a URL as well, and `==` after the key for "this file alone".
        let plain = written.strip_prefix('=').unwrap_or(&written);
        let path = Path::new(plain.strip_prefix("file://").or_else(|| plain.strip_prefix("file:")).unwrap_or(plain));
        let bytes = read_file(path, "JAAS file").map_err(|error| self.errors.push(error)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let jaas = Jaas::parse(path, &text).map_err(|error| self.errors.push(ConfigError::Jaas(error))).ok()?;
        let section = self.settings.text(SASL_SECTION).unwrap_or_default();
        let Some(modules) = jaas.sections.get(&section).filter(|modules| !modules.is_empty()) else {
            let names: Vec<&str> = jaas.sections.keys().map(String::as_str).collect();
            let text =
                format!("{} has no section `{section}` ({}): no client can log in", path.display(), names.join(", "));
            self.advise(JAAS_FILE, text);
            return None;
        };
        self.check_modules(path, modules);
        let options = modules.iter().flat_map(|module| &module.options);
        let mut users: Vec<(&str, &str)> =
            options.filter_map(|(key, value)| Some((key.strip_prefix(USER_PREFIX)?, value.expose()))).collect();
        // ZooKeeper makes a realm of what follows an @; without Kerberos there is none.
        if users.iter().any(|(name, _)| name.contains('@')) {
            self.conflict(
                JAAS_FILE,
                "a user's name has an @ in it, which makes it a Kerberos principal; Kerberos is not supported",
            );
        }
        let super_password = match self.settings.value("SASLAuthenticationProvider.superPassword") {
            Some(Value::Secret(password)) => Some(password),
            _ => None,
        };
        // As in ZooKeeper it replaces the password of a user who must be in the file.
        if let (Some(password), Some((_, old))) = (&super_password, users.iter_mut().find(|(name, _)| *name == "super"))
        {
            *old = password.expose();
        }
        Some(SaslUsers::new(users))
    }

    fn check_modules(&mut self, path: &Path, modules: &[LoginModule]) {
        for LoginModule { class, line, .. } in modules.iter().filter(|module| module.class != DIGEST_MODULE) {
            let what = if class.contains("Krb5") {
                "Kerberos (GSSAPI) is not supported"
            } else {
                "this login module is not supported"
            };
            let reason = format!("{}:{line}: {class}: {what}; {DIGEST_MODULE} is", path.display());
            self.conflict(JAAS_FILE, reason);
        }
    }
}
