//! The simulator on the protocol core: seeds, scenarios, and proof that the harness finds bugs.
