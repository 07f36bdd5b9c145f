//! Results of operations in words: those of the operator's log, and those of every generation of the raw logs.

/// Name of an agent's result, as the operator's log has it: Pacemaker's words up to 1.1.
pub(crate) fn of_result(rc: i32) -> &'static str {
    match rc {
        0 => "ok",
        1 => "unknown error",
        2 => "invalid parameter",
        3 => "unimplemented feature",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        7 => "not running",
        8 => "master",
        9 => "master (failed)",
        190 => "degraded",
        191 => "degraded (master)",
        _ => "unknown",
    }
}

/// An agent's result from its name, of any generation.
pub(crate) fn to_result(text: &str) -> Option<i32> {
    Some(match text {
        "ok" => 0,
        "unknown error" | "error" => 1,
        "invalid parameter" | "invalid argument" => 2,
        "unimplemented feature" => 3,
        "insufficient privileges" => 4,
        "not installed" => 5,
        "not configured" => 6,
        "not running" => 7,
        "master" | "promoted" => 8,
        "master (failed)" | "promoted (failed)" | "promoted with failure" => 9,
        "degraded" => 190,
        "degraded (master)" | "promoted (degraded)" | "promoted but degraded" => 191,
        "unknown" => 193,
        _ => return None,
    })
}

/// What the executor says where no agent's result counts, by number.
const STATUSES: [(i32, &str); 8] = [
    (3, "Not supported"),
    (4, "Error"),
    (5, "Hard error"),
    (6, "Fatal error"),
    (7, "Not installed"),
    (8, "Not connected"),
    (10, "No fence device"),
    (11, "Internal communication failure"),
];

/// Name of an executor's status.
pub(crate) fn of_status(status: i32) -> &'static str {
    STATUSES.iter().find(|(number, _)| *number == status).map_or("Error", |(_, name)| name)
}

/// An executor's status from its name, of any generation.
pub(crate) fn to_status(text: &str) -> Option<i32> {
    let older = [("NOT SUPPORTED", 3), ("HARD ERROR", 5), ("FATAL ERROR", 6), ("No executor connection", 8)];
    let known = STATUSES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    known.or_else(|| older.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, n)| *n))
}
