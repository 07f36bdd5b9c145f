//! corosync.conf: syntax, schema, timing model
