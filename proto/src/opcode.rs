//! The operation codes of request headers and txn headers (`ZooDefs.OpCode`, 3.9).

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// An operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $value,)* }

        impl OpCode {
            /// Every operation.
            pub const ALL: &[OpCode] = &[$(OpCode::$name,)*];

            /// The operation with this number, if ZooKeeper has one.
            #[must_use]
            pub const fn from_wire(value: i32) -> Option<OpCode> {
                match value { $($value => Some(OpCode::$name),)* _ => None }
            }

            /// ZooKeeper's name for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(OpCode::$name => stringify!($name),)* }
            }
        }
    };
}

opcodes! {
    /// Server to client only: a watch event. Invalid from a client.
    Notification = 0,
    /// Create a znode, answered with its path.
    Create = 1,
    /// Delete a znode.
    Delete = 2,
    /// Stat of a znode, with an optional watch.
    Exists = 3,
    /// Data and Stat, with an optional watch.
    GetData = 4,
    /// Replace the data.
    SetData = 5,
    /// The ACL and the Stat.
    GetAcl = 6,
    /// Replace the ACL.
    SetAcl = 7,
    /// Names of the children, with an optional watch.
    GetChildren = 8,
    /// Flush the pipe between leader and this server.
    Sync = 9,
    /// Keep the session alive.
    Ping = 11,
    /// Names of the children and the Stat, with an optional watch.
    GetChildren2 = 12,
    /// Inside a multi: fail unless the version matches.
    Check = 13,
    /// Several writes, all or none.
    Multi = 14,
    /// Create a znode, answered with path and Stat.
    Create2 = 15,
    /// Change the membership of the ensemble.
    Reconfig = 16,
    /// Is there such a watch?
    CheckWatches = 17,
    /// Remove a watch.
    RemoveWatches = 18,
    /// Create a container.
    CreateContainer = 19,
    /// Internal: remove an empty container or an expired TTL znode.
    DeleteContainer = 20,
    /// Create a znode with a time to live.
    CreateTtl = 21,
    /// Several reads, each with its own result.
    MultiRead = 22,
    /// Authenticate the connection.
    Auth = 100,
    /// Restore watches after a reconnect.
    SetWatches = 101,
    /// A step of a SASL exchange.
    Sasl = 102,
    /// The session's own ephemerals below a prefix.
    GetEphemerals = 103,
    /// Count of all descendants.
    GetAllChildrenNumber = 104,
    /// Restore watches, persistent ones too.
    SetWatches2 = 105,
    /// Add a persistent or persistent-recursive watch.
    AddWatch = 106,
    /// The identities of the connection.
    WhoAmI = 107,
    /// Txn only: a session begins.
    CreateSession = -10,
    /// End the session.
    CloseSession = -11,
    /// Txn only: a write that failed.
    Error = -1,
}

impl OpCode {
    /// As it stands on the wire.
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        self as i32
    }

    /// Does the operation change the tree or the sessions, and so need a txn?
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::DeleteContainer
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Multi
                | OpCode::Reconfig
                | OpCode::CreateSession
                | OpCode::CloseSession
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_survives_the_wire_and_gaps_are_unknown() {
        for op in OpCode::ALL {
            assert_eq!(OpCode::from_wire(op.to_wire()), Some(*op));
        }
        for unknown in [10, 23, 99, 108, -2, i32::MAX, i32::MIN] {
            assert_eq!(OpCode::from_wire(unknown), None);
        }
    }
}
