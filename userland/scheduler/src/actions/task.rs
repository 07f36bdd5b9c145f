//! Names of what is done, as numbers.

use indexmap::IndexSet;

/// What an action does. The common ones have fixed numbers; others are in [`Tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Task(u16);

macro_rules! tasks {
    ($($constant:ident = $name:literal),* $(,)?) => {
        tasks!(@numbers 0u16; $($constant)*);
        const NAMES: &[&str] = &[$($name),*];
    };
    (@numbers $number:expr; $constant:ident $($rest:ident)*) => {
        impl Task { pub(crate) const $constant: Self = Self($number); }
        tasks!(@numbers $number + 1; $($rest)*);
    };
    (@numbers $number:expr;) => {};
}

tasks! {
    START = "start",
    RUNNING = "running",
    STOP = "stop",
    STOPPED = "stopped",
    PROMOTE = "promote",
    PROMOTED = "promoted",
    DEMOTE = "demote",
    DEMOTED = "demoted",
    MONITOR = "monitor",
    MIGRATE_TO = "migrate_to",
    MIGRATE_FROM = "migrate_from",
    NOTIFY = "notify",
    NOTIFIED = "notified",
    CANCEL = "cancel",
    DELETE = "delete",
    LRM_DELETE = "lrm_delete",
    RELOAD_AGENT = "reload-agent",
    CLEAR_FAILCOUNT = "clear_failcount",
    STONITH = "stonith",
    SHUTDOWN = "do_shutdown",
    PROBE_AGAIN = "probe_again",
}

impl Task {
    /// What shows that all of a collective have done this: `running` for `start`.
    pub(crate) fn completion(self) -> Option<Self> {
        match self {
            Self::START | Self::RUNNING => Some(Self::RUNNING),
            Self::STOP | Self::STOPPED => Some(Self::STOPPED),
            Self::PROMOTE | Self::PROMOTED => Some(Self::PROMOTED),
            Self::DEMOTE | Self::DEMOTED => Some(Self::DEMOTED),
            Self::NOTIFY | Self::NOTIFIED => Some(Self::NOTIFIED),
            _ => None,
        }
    }

    /// What parts do for this: `start` for `running`.
    pub(crate) fn of_parts(self) -> Self {
        match self {
            Self::RUNNING => Self::START,
            Self::STOPPED => Self::STOP,
            Self::PROMOTED => Self::PROMOTE,
            Self::DEMOTED => Self::DEMOTE,
            Self::NOTIFIED => Self::NOTIFY,
            task => task,
        }
    }

    /// What undoes this.
    pub(crate) fn inverse(self) -> Option<Self> {
        match self {
            Self::START => Some(Self::STOP),
            Self::STOP => Some(Self::START),
            Self::PROMOTE => Some(Self::DEMOTE),
            Self::DEMOTE => Some(Self::PROMOTE),
            Self::PROMOTED => Some(Self::DEMOTED),
            Self::DEMOTED => Some(Self::PROMOTED),
            Self::RUNNING => Some(Self::STOPPED),
            Self::STOPPED => Some(Self::RUNNING),
            _ => None,
        }
    }
}

/// All names that occur.
#[derive(Debug)]
pub(crate) struct Tasks(IndexSet<String>);

impl Default for Tasks {
    fn default() -> Self {
        Self(NAMES.iter().map(|n| (*n).to_owned()).collect())
    }
}

impl Tasks {
    /// The number of a name, given now if it is new. Beyond 65,535 different names all others count as one.
    pub(crate) fn task(&mut self, name: &str) -> Task {
        if let Some(known) = self.0.get_index_of(name) {
            return Task(known as u16);
        }
        if self.0.len() >= usize::from(u16::MAX) {
            return Task(u16::MAX - 1);
        }
        Task(self.0.insert_full(name.to_owned()).0 as u16)
    }

    pub(crate) fn known(&self, name: &str) -> Option<Task> {
        self.0.get_index_of(name).map(|at| Task(at as u16))
    }

    pub(crate) fn name(&self, task: Task) -> &str {
        &self.0[usize::from(task.0)]
    }
}
