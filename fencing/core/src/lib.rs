//! Fencing: devices, topology, requests, history; no I/O
