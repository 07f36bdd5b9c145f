//! Results of operations in words, as Pacemaker names them.

/// Name of an agent's result (OCF numbers and Pacemaker's own above 189).
#[must_use]
pub(crate) fn text(rc: i32) -> &'static str {
    match rc {
        0 => "ok",
        1 => "error",
        2 => "invalid parameter",
        3 => "unimplemented feature",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        7 => "not running",
        8 => "promoted",
        9 => "promoted (failed)",
        190 => "degraded",
        191 => "promoted (degraded)",
        192 => "not supported",
        193 => "unknown",
        198 => "OCF_TIMEOUT",
        _ => "unknown",
    }
}
