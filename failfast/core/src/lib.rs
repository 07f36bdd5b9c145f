//! Failfast registry: units, deadlines, decisions, reasons; no I/O
