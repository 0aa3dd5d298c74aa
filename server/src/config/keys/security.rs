//! Keys of authentication and encryption.

use super::super::value::Kind::{self, Bool, Host, List, Path, Secret, Text};
use super::Effect::{Later, LaterMind, Never, Now};
use super::{INT_MAX, KeySpec, int, keys};

const KERBEROS: super::Effect = Never("Kerberos is out of scope");
const NO_TLS: super::Effect = LaterMind("this version does not listen for TLS clients");

pub(super) const AUTH: &[KeySpec] = keys! {
    "DigestAuthenticationProvider.superDigest" => Secret, "", Now,
        "The super user, `user:digest`, usually `super:base64(sha1(super:password))`.";
    "DigestAuthenticationProvider.enabled" => Bool, "true", Now,
        "Whether the scheme `digest` exists.";
    "DigestAuthenticationProvider.digestAlg" => Text, "SHA1", Now,
        "Hash of the scheme `digest`: MD5, SHA1, SHA-224 to SHA-512 or SHA3-224 to SHA3-512, as Java names them.";
    "IPAuthenticationProvider.usexforwardedfor" => Bool, "false", Later,
        "Take the address of an admin request from X-Forwarded-For.";
    "X509AuthenticationProvider.superUser" => Text, "", Later,
        "Certificate subject that is the super user.";
    "SASLAuthenticationProvider.superPassword" => Secret, "", Now,
        "Password of the SASL user `super`, in place of the one in the JAAS file, where that user must be.";
    "superUser" => Text, "", Now,
        "SASL user that is the super user.";
    "superUser.*" => Text, "", Now,
        "More SASL super users.";
    "authProvider.*" => Text, "", Now,
        "Java class of a further authentication scheme: of ZooKeeper's own, `org.apache.zookeeper.server.auth.SASLAuthenticationProvider` \
        (SASL ids in ACLs) and `…EnsembleAuthenticationProvider` (the scheme `ensemble`); others cannot be loaded.";
    "enforce.auth.enabled" => Bool, "false", Now,
        "Turn away clients that do not authenticate with one of `enforce.auth.schemes`.";
    "enforce.auth.schemes" => List, "", Now,
        "The schemes that `enforce.auth.enabled` accepts.";
    "sessionRequireClientSASLAuth" => Bool, "false", Now,
        "Turn away clients that do not authenticate with SASL (SessionClosedRequireSaslAuth, connection closed).";
    "allowSaslFailedClients" => Bool, "false", Now,
        "Keep clients whose SASL authentication failed.";
    "sasl.serverconfig" => Text, "Server", Now,
        "Section of the JAAS file that holds the users.";
    "java.security.auth.login.config" => Path, "", Now,
        "JAAS file with the SASL users: options `user_NAME=\"password\"` of the `DigestLoginModule`. The mechanism is DIGEST-MD5; GSSAPI (Kerberos) \
        is not supported.";
    "letAnySaslUserDoX" => Text, "", Now,
        "SASL id to which every SASL user is equal.";
    "kerberos.removeHostFromPrincipal" => Bool, "false", KERBEROS,
        "Drop the host from Kerberos principals.";
    "kerberos.removeRealmFromPrincipal" => Bool, "false", KERBEROS,
        "Drop the realm from Kerberos principals.";
    "kerberos.canonicalizeHostNames" => Bool, "false", KERBEROS,
        "Canonicalize peers' host names for Kerberos.";
    "kerberos.minReLoginTimeMs" => int(0, INT_MAX), "60000", KERBEROS,
        "Shortest time between Kerberos logins, in milliseconds.";
    "jaasLoginRenew" => int(0, INT_MAX), "", KERBEROS,
        "How often Kerberos logins are renewed, in milliseconds, as many guides write; ZooKeeper reads it no more.";
    "requireKerberosConfig" => Bool, "false", KERBEROS,
        "Fail where there is no Kerberos configuration.";
    "security.auth_to_local" => Text, "DEFAULT", KERBEROS,
        "Rules that map Kerberos principals to names.";
    "server.principal" => Text, "", KERBEROS,
        "Kerberos principal of the server.";
    "server.realm" => Text, "", KERBEROS,
        "Kerberos realm of the server.";
    "kinit" => Path, "/usr/bin/kinit", KERBEROS,
        "The program kinit.";
    "audit.enable" => Bool, "false", LaterMind("no audit log is written"),
        "Write an audit log.";
    "audit.impl.class" => Text, "", Later,
        "Java class that writes the audit log.";
};

/// The settings of one TLS context; clients (`ssl.`) and peers (`ssl.quorum.`) have the same.
macro_rules! tls_keys {
    ($($prefix:literal),*) => { keys! {
        "secureClientPort" => int(0, 65_535), "", NO_TLS,
            "Port for TLS clients. 0 picks a free one; without it there is none. Set alone, without `clientPort`, it is an error: nobody is served in plain text in its place.";
        "secureClientPortAddress" => Host, "", NO_TLS,
            "Address for TLS clients; without it, all.";
        "client.portUnification" => Bool, "false", NO_TLS,
            "Take plain and TLS clients on `clientPort`.";
        "client.certReload" => Bool, "false", Later,
            "Reload the certificates for clients when their files change.";
        "netty.server.outstandingHandshake.limit" => int(-1, INT_MAX), "-1", Later,
            "TLS handshakes of clients at one time. -1 is without limit.";
        "netty.server.earlyDropSecureConnectionHandshakes" => Bool, "false", Later,
            "Refuse TLS handshakes while the server is not serving.";
        "fips-mode" => Bool, "false", Never("FIPS mode is out of scope"),
            "Restrict cryptography to what FIPS allows.";
        "ssl.authProvider" => Text, "x509", Later,
            "Authentication scheme that certificates of clients are given to.";
        "ssl.sslProvider" => Text, "JDK", Never("RingKeeper has one TLS library"),
            "Netty's TLS library.";
        $(
        concat!($prefix, "protocol") => Text, "", Later,
            "TLS version to offer, TLSv1.3 or TLSv1.2.";
        concat!($prefix, "enabledProtocols") => List, "", Later,
            "TLS versions to accept.";
        concat!($prefix, "ciphersuites") => List, "", Later,
            "Cipher suites to accept.";
        concat!($prefix, "keyStore.location") => Path, "", Later,
            "File with the server's key and certificate.";
        concat!($prefix, "keyStore.password") => Secret, "", Later,
            "Password of the key store.";
        concat!($prefix, "keyStore.passwordPath") => Path, "", Later,
            "File that holds the password of the key store.";
        concat!($prefix, "keyStore.type") => Kind::Choice(&["JKS", "PEM", "PKCS12", "BCFKS"]), "", Later,
            "Format of the key store. Without it the file's ending decides; JKS and BCFKS are out of scope.";
        concat!($prefix, "trustStore.location") => Path, "", Later,
            "File with the certificates that are trusted.";
        concat!($prefix, "trustStore.password") => Secret, "", Later,
            "Password of the trust store.";
        concat!($prefix, "trustStore.passwordPath") => Path, "", Later,
            "File that holds the password of the trust store.";
        concat!($prefix, "trustStore.type") => Kind::Choice(&["JKS", "PEM", "PKCS12", "BCFKS"]), "", Later,
            "Format of the trust store. Without it the file's ending decides; JKS and BCFKS are out of scope.";
        concat!($prefix, "context.supplier.class") => Text, "", Never("Java classes cannot be loaded"),
            "Java class that makes the TLS context.";
        concat!($prefix, "hostnameVerification") => Bool, "true", Later,
            "Compare the peer's name with its certificate.";
        concat!($prefix, "clientHostnameVerification") => Bool, "", Later,
            "Compare the connecting side's name with its certificate.";
        concat!($prefix, "allowReverseDnsLookup") => Bool, "", Later,
            "Allow a reverse look-up of the address for that comparison.";
        concat!($prefix, "crl") => Bool, "false", Never("revocation lists are out of scope"),
            "Check certificates against revocation lists.";
        concat!($prefix, "ocsp") => Bool, "false", Never("OCSP is out of scope"),
            "Check certificates with OCSP.";
        concat!($prefix, "clientAuth") => Kind::Choice(&["none", "want", "need"]), "need", Later,
            "Whether the connecting side must show a certificate.";
        concat!($prefix, "handshakeDetectionTimeoutMillis") => int(1, INT_MAX), "5000", Later,
            "How long to wait for the first bytes that tell TLS from plain text, in milliseconds.";
        )*
    } };
}

pub(super) const TLS: &[KeySpec] = tls_keys!("ssl.", "ssl.quorum.");
