//! `cs_error_t`: what a call of the client libraries returns.

/// Result of a request, numbers as in corosync's `corotypes.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CsError {
    /// Success.
    Ok = 1,
    /// No daemon, connection lost, or anything without a number of its own.
    Library = 2,
    /// Unknown version of an interface.
    Version = 3,
    /// Not initialised.
    Init = 4,
    /// Time is over.
    Timeout = 5,
    /// Not now: queue full, or a membership change is under way.
    TryAgain = 6,
    /// A parameter makes no sense.
    InvalidParam = 7,
    /// No memory.
    NoMemory = 8,
    /// No such handle.
    BadHandle = 9,
    /// Something else is under way.
    Busy = 10,
    /// Not permitted.
    Access = 11,
    /// No such thing.
    NotExist = 12,
    /// Name too long, or not a name.
    NameTooLong = 13,
    /// Is there already.
    Exist = 14,
    /// No space left.
    NoSpace = 15,
    /// Interrupted by a membership change.
    Interrupt = 16,
    /// No such node.
    NameNotFound = 17,
    /// Out of resources.
    NoResources = 18,
    /// Not supported.
    NotSupported = 19,
    /// Bad operation.
    BadOperation = 20,
    /// The operation failed.
    FailedOperation = 21,
    /// The message does not fit the state, e.g. names an old ring.
    MessageError = 22,
    /// Queue full.
    QueueFull = 23,
    /// Queue not available.
    QueueNotAvailable = 24,
    /// Bad flags.
    BadFlags = 25,
    /// Larger than the protocol allows.
    TooBig = 26,
    /// End of an iteration.
    NoSections = 27,
    /// No such context.
    ContextNotFound = 28,
    /// Too many groups.
    TooManyGroups = 30,
    /// Security error.
    Security = 100,
}

impl CsError {
    /// Its number.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The error with this number; [`CsError::Library`] for a number without meaning.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        ALL.into_iter().find(|error| error.code() == code).unwrap_or(Self::Library)
    }

    /// What the libraries make of a negative errno in the handshake's reply.
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        use nix::errno::Errno;
        match Errno::from_raw(errno) {
            Errno::EBADF => Self::BadHandle,
            Errno::ENOMEM => Self::NoMemory,
            Errno::ENOMSG | Errno::ENOBUFS | Errno::ETIMEDOUT | Errno::EAGAIN => Self::TryAgain,
            Errno::EBADE => Self::FailedOperation,
            Errno::ETIME => Self::Timeout,
            Errno::EINVAL => Self::InvalidParam,
            Errno::EBUSY => Self::Busy,
            Errno::EACCES => Self::Access,
            Errno::EOVERFLOW => Self::NameTooLong,
            Errno::EEXIST => Self::Exist,
            Errno::ENOSPC => Self::NoSpace,
            Errno::EINTR => Self::Interrupt,
            Errno::ENOENT | Errno::ENODEV => Self::NotExist,
            Errno::ENOSYS | Errno::ENOTSUP => Self::NotSupported,
            Errno::EBADMSG => Self::MessageError,
            Errno::EMSGSIZE | Errno::E2BIG => Self::TooBig,
            _ => Self::Library,
        }
    }
}

impl std::fmt::Display for CsError {
    /// As corosync names it, with the number that its tools print.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Ok => "OK",
            Self::Library => "LIBRARY",
            Self::Version => "VERSION",
            Self::Init => "INIT",
            Self::Timeout => "TIMEOUT",
            Self::TryAgain => "TRY_AGAIN",
            Self::InvalidParam => "INVALID_PARAM",
            Self::NoMemory => "NO_MEMORY",
            Self::BadHandle => "BAD_HANDLE",
            Self::Busy => "BUSY",
            Self::Access => "ACCESS",
            Self::NotExist => "NOT_EXIST",
            Self::NameTooLong => "NAME_TOO_LONG",
            Self::Exist => "EXIST",
            Self::NoSpace => "NO_SPACE",
            Self::Interrupt => "INTERRUPT",
            Self::NameNotFound => "NAME_NOT_FOUND",
            Self::NoResources => "NO_RESOURCES",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::BadOperation => "BAD_OPERATION",
            Self::FailedOperation => "FAILED_OPERATION",
            Self::MessageError => "MESSAGE_ERROR",
            Self::QueueFull => "QUEUE_FULL",
            Self::QueueNotAvailable => "QUEUE_NOT_AVAILABLE",
            Self::BadFlags => "BAD_FLAGS",
            Self::TooBig => "TOO_BIG",
            Self::NoSections => "NO_SECTIONS",
            Self::ContextNotFound => "CONTEXT_NOT_FOUND",
            Self::TooManyGroups => "TOO_MANY_GROUPS",
            Self::Security => "SECURITY",
        };
        write!(f, "CS_ERR_{name} ({})", self.code())
    }
}

impl std::error::Error for CsError {}

const ALL: [CsError; 30] = [
    CsError::Ok,
    CsError::Library,
    CsError::Version,
    CsError::Init,
    CsError::Timeout,
    CsError::TryAgain,
    CsError::InvalidParam,
    CsError::NoMemory,
    CsError::BadHandle,
    CsError::Busy,
    CsError::Access,
    CsError::NotExist,
    CsError::NameTooLong,
    CsError::Exist,
    CsError::NoSpace,
    CsError::Interrupt,
    CsError::NameNotFound,
    CsError::NoResources,
    CsError::NotSupported,
    CsError::BadOperation,
    CsError::FailedOperation,
    CsError::MessageError,
    CsError::QueueFull,
    CsError::QueueNotAvailable,
    CsError::BadFlags,
    CsError::TooBig,
    CsError::NoSections,
    CsError::ContextNotFound,
    CsError::TooManyGroups,
    CsError::Security,
];
