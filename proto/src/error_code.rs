//! ZooKeeper's error codes (`KeeperException.Code`, 3.9).

use std::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// An error code of a reply header or of an operation inside a multi.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $value,)* }

        impl ErrorCode {
            /// Every code, in ZooKeeper's order.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code with this number, if ZooKeeper has one.
            #[must_use]
            pub const fn from_wire(value: i32) -> Option<ErrorCode> {
                match value { $($value => Some(ErrorCode::$name),)* _ => None }
            }

            /// The name as ZooKeeper's users know it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($name),)* }
            }
        }
    };
}

error_codes! {
    /// No error.
    Ok = 0,
    /// The server could not do it, for a reason of its own (a full disk, say).
    SystemError = -1,
    /// A later operation of a failed multi.
    RuntimeInconsistency = -2,
    /// Data that contradict each other were found.
    DataInconsistency = -3,
    /// Made by clients: the connection was lost.
    ConnectionLoss = -4,
    /// The request could not be decoded.
    MarshallingError = -5,
    /// This server does not know the operation.
    Unimplemented = -6,
    /// Made by clients: it took too long.
    OperationTimeout = -7,
    /// A path or argument breaks the rules.
    BadArguments = -8,
    /// The session is not known.
    UnknownSession = -12,
    /// Reconfig: no quorum of the new configuration is connected.
    NewConfigNoQuorum = -13,
    /// Reconfig: another one is under way.
    ReconfigInProgress = -14,
    /// Never sent: everything below is the client's doing.
    ApiError = -100,
    /// The znode does not exist.
    NoNode = -101,
    /// The ACL does not allow it.
    NoAuth = -102,
    /// The version is not the one expected.
    BadVersion = -103,
    /// Ephemeral znodes have no children.
    NoChildrenForEphemerals = -108,
    /// The znode exists.
    NodeExists = -110,
    /// The znode has children.
    NotEmpty = -111,
    /// The session has expired.
    SessionExpired = -112,
    /// Made by clients: a callback that cannot be used.
    InvalidCallback = -113,
    /// The ACL is empty or malformed.
    InvalidAcl = -114,
    /// Authentication failed.
    AuthFailed = -115,
    /// The session has moved to another connection.
    SessionMoved = -118,
    /// A read-only server was asked to write.
    NotReadOnly = -119,
    /// A local session cannot own ephemerals.
    EphemeralOnLocalSession = -120,
    /// There is no such watch.
    NoWatcher = -121,
    /// Made by clients: the request timed out.
    RequestTimeout = -122,
    /// Reconfig is not enabled.
    ReconfigDisabled = -123,
    /// The session was closed for want of SASL authentication.
    SessionClosedRequireSaslAuth = -124,
    /// The quota does not allow it.
    QuotaExceeded = -125,
    /// The request waited too long in a throttled server.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// As it stands on the wire.
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.to_wire())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire_and_no_other_number_is_one() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.to_wire()), Some(*code));
        }
        assert_eq!(ErrorCode::ALL.len(), 32);
        assert_eq!(ErrorCode::from_wire(-126), None);
        assert_eq!(ErrorCode::from_wire(1), None);
    }
}
