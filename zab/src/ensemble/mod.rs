//! Who is in the ensemble, and which of its servers are a quorum. Data, so that a reconfiguration is another value.
