//! Failfast on a node: watchdog driver, panic path, client of the failfast socket
