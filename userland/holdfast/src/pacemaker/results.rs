//! Results of Pacemaker's commands: exit statuses, and the codes that its functions return, by number, name and words.

/// What a command or one of its steps came to. The words are those of [`Self::text`], unless there are better ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) i32);

impl Code {
    pub(super) const ALREADY: Self = Self(-1004);
    pub(super) const MULTIPLE: Self = Self(-1006);
    pub(super) const UNDETERMINED: Self = Self(-1022);
    pub(super) const BEFORE_RANGE: Self = Self(-1023);
    pub(super) const AFTER_RANGE: Self = Self(-1025);
    pub(super) const DUPLICATE_ID: Self = Self(-1033);
    pub(super) const NXIO: Self = Self(6);
    pub(super) const INVAL: Self = Self(22);
    pub(super) const TIME: Self = Self(62);
    pub(super) const NOTUNIQ: Self = Self(76);
    pub(super) const NOTSUP: Self = Self(95);

    /// What it says.
    pub(super) fn text(self) -> String {
        describe(Family::Code, self.0).1
    }

    /// The exit status that it leads to.
    pub(super) fn exit(self) -> u8 {
        match self.0 {
            0 | -1024 => 0,
            -1017 => 106,
            -1013 => 103,
            -1016 | -1014 | -1032 => 78,
            -1003 => 2,
            13 => 4,
            9 | 22 | 14 | 38 | 75 | -1028 => 70,
            74 | 90 | 42 | 92 | 71 | 93 | 91 => 76,
            70 | 12 => 71,
            103 | 111 | 104 | 107 => 102,
            17 | -1004 => 108,
            5 | -1026 | -1029 | -1030 => 74,
            95 => 3,
            76 | -1006 | -1033 => 109,
            19 | 2 | 6 | -1005 | -1002 => 105,
            62 | 110 => 124,
            11 | 16 | -1021 => 113,
            -1023 => 111,
            -1025 => 110,
            -1022 => 112,
            -1027 => 66,
            _ => 1,
        }
    }
}

/// Kinds of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Exit statuses.
    Exit,
    /// What functions return: negative ones are Pacemaker's own, positive ones the system's.
    Code,
    /// The same before Pacemaker 2: own ones begin at 201.
    Legacy,
}

impl Family {
    /// All numbers of the kind that mean something.
    pub(super) fn numbers(self) -> Vec<i32> {
        let own: Vec<i32> = match self {
            Self::Exit => EXITS.iter().map(|e| e.0).collect(),
            Self::Code => (0..CODES.len()).rev().map(|at| -1001 - at as i32).collect(),
            Self::Legacy => Vec::new(),
        };
        if self == Self::Exit {
            return own;
        }
        let system = SYSTEM.iter().map(|s| s.0);
        let mut all: Vec<i32> = own.into_iter().chain([0]).chain(system).collect();
        if self == Self::Legacy {
            all.extend(LEGACY.iter().map(|l| l.0));
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Name and words of a number.
pub(super) fn describe(family: Family, number: i32) -> (String, String) {
    match family {
        Family::Exit => {
            let known = EXITS.iter().find(|e| e.0 == number);
            let words = match known {
                Some((_, _, words)) => words,
                None if (129..255).contains(&number) => "Interrupted by signal",
                None => "Unknown exit status",
            };
            (known.map_or("CRM_EX_UNKNOWN", |k| k.1).into(), words.into())
        }
        Family::Code => {
            let own = (-1001_i32)
                .checked_sub(number)
                .and_then(|at| usize::try_from(at).ok())
                .and_then(|at| CODES.get(at));
            if let Some((name, words)) = own {
                return ((*name).into(), (*words).into());
            }
            if number == 0 {
                return ("pcmk_rc_ok".into(), "OK".into());
            }
            let name = SYSTEM.iter().find(|s| s.0 == number).map_or("Unknown", |s| s.1);
            let words = if number < 0 { "Error".into() } else { system_words(number) };
            (name.into(), words)
        }
        Family::Legacy => {
            let Some(number) = number.checked_abs() else { return ("Unknown".into(), "Error".into()) };
            match LEGACY.iter().find(|l| l.0 == number) {
                Some((_, name, code)) => ((*name).into(), describe(Family::Code, *code).1),
                None => describe(Family::Code, number),
            }
        }
    }
}

/// What the system says of one of its error numbers.
fn system_words(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned()
}

/// What an exit status says.
pub(super) fn exit_text(status: u8) -> String {
    describe(Family::Exit, status.into()).1
}

const EXITS: &[(i32, &str, &str)] = &[
    (0, "CRM_EX_OK", "OK"),
    (1, "CRM_EX_ERROR", "Error occurred"),
    (2, "CRM_EX_INVALID_PARAM", "Invalid parameter"),
    (3, "CRM_EX_UNIMPLEMENT_FEATURE", "Unimplemented"),
    (4, "CRM_EX_INSUFFICIENT_PRIV", "Insufficient privileges"),
    (5, "CRM_EX_NOT_INSTALLED", "Not installed"),
    (6, "CRM_EX_NOT_CONFIGURED", "Not configured"),
    (7, "CRM_EX_NOT_RUNNING", "Not running"),
    (8, "CRM_EX_PROMOTED", "Promoted"),
    (9, "CRM_EX_FAILED_PROMOTED", "Failed in promoted role"),
    (64, "CRM_EX_USAGE", "Incorrect usage"),
    (65, "CRM_EX_DATAERR", "Invalid data given"),
    (66, "CRM_EX_NOINPUT", "Input file not available"),
    (67, "CRM_EX_NOUSER", "User does not exist"),
    (68, "CRM_EX_NOHOST", "Host does not exist"),
    (69, "CRM_EX_UNAVAILABLE", "Necessary service unavailable"),
    (70, "CRM_EX_SOFTWARE", "Internal software bug"),
    (71, "CRM_EX_OSERR", "Operating system error occurred"),
    (72, "CRM_EX_OSFILE", "System file not available"),
    (73, "CRM_EX_CANTCREAT", "Cannot create output file"),
    (74, "CRM_EX_IOERR", "I/O error occurred"),
    (75, "CRM_EX_TEMPFAIL", "Temporary failure, try again"),
    (76, "CRM_EX_PROTOCOL", "Protocol violated"),
    (77, "CRM_EX_NOPERM", "Insufficient privileges"),
    (78, "CRM_EX_CONFIG", "Invalid configuration"),
    (100, "CRM_EX_FATAL", "Fatal error occurred, will not respawn"),
    (101, "CRM_EX_PANIC", "System panic required"),
    (102, "CRM_EX_DISCONNECT", "Not connected"),
    (103, "CRM_EX_OLD", "Update was older than existing configuration"),
    (104, "CRM_EX_DIGEST", "Digest mismatch"),
    (105, "CRM_EX_NOSUCH", "No such object"),
    (106, "CRM_EX_QUORUM", "Quorum required"),
    (107, "CRM_EX_UNSAFE", "Operation not safe"),
    (108, "CRM_EX_EXISTS", "Requested item already exists"),
    (109, "CRM_EX_MULTIPLE", "Multiple items match request"),
    (110, "CRM_EX_EXPIRED", "Requested item has expired"),
    (111, "CRM_EX_NOT_YET_IN_EFFECT", "Requested item is not yet in effect"),
    (112, "CRM_EX_INDETERMINATE", "Could not determine status"),
    (113, "CRM_EX_UNSATISFIED", "Not applicable under current conditions"),
    (124, "CRM_EX_TIMEOUT", "Timeout occurred"),
    (190, "CRM_EX_DEGRADED", "Service is active but might fail soon"),
    (191, "CRM_EX_DEGRADED_PROMOTED", "Service is promoted but might fail soon"),
    (193, "CRM_EX_NONE", "No exit status available"),
];

/// From -1001 downwards.
const CODES: &[(&str, &str)] = &[
    ("pcmk_rc_error", "Error"),
    ("pcmk_rc_unknown_format", "Unknown output format"),
    ("pcmk_rc_bad_nvpair", "Bad name/value pair given"),
    ("pcmk_rc_already", "Already in requested state"),
    ("pcmk_rc_node_unknown", "Node not found"),
    ("pcmk_rc_multiple", "Resource active on multiple nodes"),
    ("pcmk_rc_cib_corrupt", "Could not parse on-disk configuration"),
    ("pcmk_rc_cib_save", "Could not save new configuration to disk"),
    ("pcmk_rc_cib_backup", "Could not archive previous configuration"),
    ("pcmk_rc_cib_modified", "On-disk configuration was manually modified"),
    ("pcmk_rc_diff_resync", "Application of update diff failed, requesting full refresh"),
    ("pcmk_rc_diff_failed", "Application of update diff failed"),
    ("pcmk_rc_old_data", "Update was older than existing configuration"),
    ("pcmk_rc_transform_failed", "Schema transform failed"),
    ("pcmk_rc_schema_unchanged", "Schema is already the latest available"),
    ("pcmk_rc_schema_validation", "Update does not conform to the configured schema"),
    ("pcmk_rc_no_quorum", "Operation requires quorum"),
    ("pcmk_rc_ipc_unauthorized", "IPC server is blocked by unauthorized process"),
    ("pcmk_rc_ipc_unresponsive", "IPC server is unresponsive"),
    ("pcmk_rc_ipc_pid_only", "IPC server process is active but not accepting connections"),
    ("pcmk_rc_op_unsatisfied", "Not applicable under current conditions"),
    ("pcmk_rc_undetermined", "Result undetermined"),
    ("pcmk_rc_before_range", "Result occurs before given range"),
    ("pcmk_rc_within_range", "Result occurs within given range"),
    ("pcmk_rc_after_range", "Result occurs after given range"),
    ("pcmk_rc_no_output", "Output message produced no output"),
    ("pcmk_rc_no_input", "Input file not available"),
    ("pcmk_rc_underflow", "Value too small to be stored in data type"),
    ("pcmk_rc_dot_error", "Error writing dot(1) file"),
    ("pcmk_rc_graph_error", "Error writing graph file"),
    ("pcmk_rc_invalid_transition", "Cluster simulation produced invalid transition"),
    ("pcmk_rc_unpack_error", "Unable to parse CIB XML"),
    ("pcmk_rc_duplicate_id", "Two or more XML elements have the same ID"),
];

/// Error numbers of the system that have a name in Pacemaker.
const SYSTEM: &[(i32, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (3, "ESRCH"),
    (4, "EINTR"),
    (5, "EIO"),
    (6, "ENXIO"),
    (7, "E2BIG"),
    (8, "ENOEXEC"),
    (9, "EBADF"),
    (10, "ECHILD"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (15, "ENOTBLK"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (26, "ETXTBSY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (29, "ESPIPE"),
    (30, "EROFS"),
    (31, "EMLINK"),
    (32, "EPIPE"),
    (33, "EDOM"),
    (34, "ERANGE"),
    (35, "EDEADLOCK"),
    (36, "ENAMETOOLONG"),
    (37, "ENOLCK"),
    (38, "ENOSYS"),
    (39, "ENOTEMPTY"),
    (40, "ELOOP"),
    (42, "ENOMSG"),
    (43, "EIDRM"),
    (44, "ECHRNG"),
    (45, "EL2NSYNC"),
    (46, "EL3HLT"),
    (47, "EL3RST"),
    (49, "EUNATCH"),
    (51, "EL2HLT"),
    (52, "EBADE"),
    (53, "EBADR"),
    (54, "EXFULL"),
    (56, "EBADRQC"),
    (57, "EBADSLT"),
    (60, "ENOSTR"),
    (61, "ENODATA"),
    (62, "ETIME"),
    (63, "ENOSR"),
    (64, "ENONET"),
    (65, "ENOPKG"),
    (66, "EREMOTE"),
    (67, "ENOLINK"),
    (70, "ECOMM"),
    (71, "EPROTO"),
    (72, "EMULTIHOP"),
    (74, "EBADMSG"),
    (75, "EOVERFLOW"),
    (76, "ENOTUNIQ"),
    (77, "EBADFD"),
    (78, "EREMCHG"),
    (79, "ELIBACC"),
    (80, "ELIBBAD"),
    (81, "ELIBSCN"),
    (82, "ELIBMAX"),
    (83, "ELIBEXEC"),
    (84, "EILSEQ"),
    (85, "ERESTART"),
    (86, "ESTRPIPE"),
    (87, "EUSERS"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (91, "EPROTOTYPE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (94, "ESOCKTNOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (96, "EPFNOSUPPORT"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (107, "ENOTCONN"),
    (108, "ESHUTDOWN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
    (116, "ESTALE"),
    (117, "EUCLEAN"),
    (120, "EISNAM"),
    (121, "EREMOTEIO"),
    (122, "EDQUOT"),
    (123, "ENOMEDIUM"),
    (124, "EMEDIUMTYPE"),
    (125, "ECANCELED"),
    (126, "ENOKEY"),
    (127, "EKEYEXPIRED"),
    (128, "EKEYREVOKED"),
    (129, "EKEYREJECTED"),
];

/// Numbers of old functions: number, name, and the code that it is now.
const LEGACY: &[(i32, &str, i32)] = &[
    (201, "pcmk_err_generic", -1001),
    (202, "pcmk_err_no_quorum", -1017),
    (203, "pcmk_err_schema_validation", -1016),
    (204, "pcmk_err_transform_failed", -1014),
    (205, "pcmk_err_old_data", -1013),
    (206, "pcmk_err_diff_failed", -1012),
    (207, "pcmk_err_diff_resync", -1011),
    (208, "pcmk_err_cib_modified", -1010),
    (209, "pcmk_err_cib_backup", -1009),
    (210, "pcmk_err_cib_save", -1008),
    (212, "pcmk_err_cib_corrupt", -1007),
    (213, "pcmk_err_multiple", -1006),
    (214, "pcmk_err_node_unknown", -1005),
    (215, "pcmk_err_already", -1004),
    (216, "pcmk_err_bad_nvpair", -1003),
    (217, "pcmk_err_unknown_format", -1002),
];
