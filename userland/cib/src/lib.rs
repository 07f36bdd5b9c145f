//! Pacemaker's CIB: tree, parser with positions, digests
