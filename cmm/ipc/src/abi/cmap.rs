//! CMAP: typed values under keys.

use super::{Build, CsError, Malformed, REPLY_HEADER, REQUEST_HEADER, View, open, open_reply};

/// Bytes of a key, NUL not counted.
pub const KEY_MAX: usize = 255;
/// Bytes of a key at least.
pub const KEY_MIN: usize = 3;
/// Bytes of a value, a string's NUL counted.
pub const VALUE_MAX: usize = 16_384;

/// Where an [`Event`] has its client handle (64 bits), the only part in which those of several trackers differ.
pub const CLIENT_HANDLE: usize = 24;

/// What to be told about, or what happened: bits and numbers of the same constants.
#[expect(missing_docs, reason = "named as in cmap.h")]
pub mod track {
    pub const DELETE: i32 = 1;
    pub const MODIFY: i32 = 2;
    pub const ADD: i32 = 4;
    /// The key is a prefix.
    pub const PREFIX: i32 = 8;
}

/// Which of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Configuration and run-time keys.
    Config,
    /// Statistics.
    Stats,
}

impl Map {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Config => 0,
            Self::Stats => 1,
        }
    }
}

/// Type of a value, numbers as in cmap.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "they say it")]
pub enum Kind {
    I8 = 1,
    U8 = 2,
    I16 = 3,
    U16 = 4,
    I32 = 5,
    U32 = 6,
    I64 = 7,
    U64 = 8,
    Float = 9,
    Double = 10,
    String = 11,
    Binary = 12,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(n: u8) -> Option<Self> {
        use Kind as K;
        [
            K::I8,
            K::U8,
            K::I16,
            K::U16,
            K::I32,
            K::U32,
            K::I64,
            K::U64,
            K::Float,
            K::Double,
            K::String,
            K::Binary,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == n)
    }

    /// Bytes of a value; none for strings and binaries, which vary.
    #[must_use]
    pub const fn width(self) -> Option<usize> {
        Some(match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::Float => 4,
            Self::I64 | Self::U64 | Self::Double => 8,
            Self::String | Self::Binary => return None,
        })
    }

    /// As corosync-cmapctl prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::Float => "flt",
            Self::Double => "dbl",
            Self::String => "str",
            Self::Binary => "bin",
        }
    }
}

/// A typed value, its bytes as they go over the wire: integers in host order, strings with one NUL at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Value {
    /// A value as a client sent it. A string ends at its first NUL or, sent without one, gets one.
    ///
    /// # Errors
    /// [`Malformed::Content`] for a length that does not fit the kind, or above [`VALUE_MAX`].
    pub fn new(kind: Kind, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = match kind {
            Kind::String => bytes.split(|b| *b == 0).next().unwrap_or_default(),
            _ => bytes,
        }
        .to_vec();
        if kind == Kind::String {
            bytes.push(0);
        }
        let fits = kind.width().map_or(bytes.len() <= VALUE_MAX, |width| bytes.len() == width);
        if fits { Ok(Self { kind, bytes }) } else { Err(Malformed::Content) }
    }

    /// An unsigned 8-bit integer.
    #[must_use]
    pub fn u8(v: u8) -> Self {
        Self { kind: Kind::U8, bytes: vec![v] }
    }

    /// An unsigned 16-bit integer.
    #[must_use]
    pub fn u16(v: u16) -> Self {
        Self { kind: Kind::U16, bytes: v.to_ne_bytes().to_vec() }
    }

    /// An unsigned 32-bit integer.
    #[must_use]
    pub fn u32(v: u32) -> Self {
        Self { kind: Kind::U32, bytes: v.to_ne_bytes().to_vec() }
    }

    /// A signed 32-bit integer.
    #[must_use]
    pub fn i32(v: i32) -> Self {
        Self { kind: Kind::I32, bytes: v.to_ne_bytes().to_vec() }
    }

    /// An unsigned 64-bit integer.
    #[must_use]
    pub fn u64(v: u64) -> Self {
        Self { kind: Kind::U64, bytes: v.to_ne_bytes().to_vec() }
    }

    /// A 32-bit floating-point number.
    #[must_use]
    pub fn float(v: f32) -> Self {
        Self { kind: Kind::Float, bytes: v.to_ne_bytes().to_vec() }
    }

    /// A string; what is beyond its first NUL or beyond [`VALUE_MAX`] is cut off.
    #[must_use]
    pub fn str(text: &str) -> Self {
        let text = text.split('\0').next().unwrap_or_default();
        let mut bytes = text.as_bytes()[..text.floor_char_boundary(VALUE_MAX - 1)].to_vec();
        bytes.push(0);
        Self { kind: Kind::String, bytes }
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Any integer, as one type wide enough.
    #[must_use]
    pub fn as_int(&self) -> Option<i128> {
        let b = &self.bytes[..];
        Some(match self.kind {
            Kind::I8 => i8::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::U8 => u8::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::I16 => i16::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::U16 => u16::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::I32 => i32::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::U32 => u32::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::I64 => i64::from_ne_bytes(b.try_into().ok()?).into(),
            Kind::U64 => u64::from_ne_bytes(b.try_into().ok()?).into(),
            _ => return None,
        })
    }

    /// Any integer that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_int().and_then(|n| u64::try_from(n).ok())
    }

    /// A 32-bit floating-point number.
    #[must_use]
    pub fn as_f32(&self) -> Option<f32> {
        let bytes = self.bytes.as_slice().try_into().ok()?;
        (self.kind == Kind::Float).then(|| f32::from_ne_bytes(bytes))
    }

    /// A string in UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match (self.kind, self.bytes.split_last()) {
            (Kind::String, Some((0, text))) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// This integer with `step` added, wrapping in its own width; none for what is no integer.
    #[must_use]
    pub fn adjusted(&self, step: i32) -> Option<Self> {
        let sum = self.as_int()? + i128::from(step);
        let bytes = sum.to_le_bytes();
        // Little-endian hosts only (holdfast-sys asserts it), so the low bytes are the wrapped value.
        bytes.get(..self.bytes.len()).map(|low| Self { kind: self.kind, bytes: low.to_vec() })
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind, &self.bytes[..]) {
            (Kind::Float, b) => write!(f, "{}", b.try_into().map_or(f32::NAN, f32::from_ne_bytes)),
            (Kind::Double, b) => write!(f, "{}", b.try_into().map_or(f64::NAN, f64::from_ne_bytes)),
            (Kind::String, b) => write!(f, "{}", String::from_utf8_lossy(b.strip_suffix(&[0]).unwrap_or(b))),
            (Kind::Binary, b) => write!(f, "{} bytes", b.len()),
            _ => write!(f, "{}", self.as_int().unwrap_or_default()),
        }
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields named as in cmap.h")]
pub enum Request<'a> {
    /// `cmap_set`. The kind is checked by [`Value::new`].
    Set { key: &'a [u8], kind: u8, value: &'a [u8] },
    /// `cmap_delete`.
    Delete { key: &'a [u8] },
    /// `cmap_get` with a buffer of this size; 0 asks for type and length only.
    Get { key: &'a [u8], buffer: u64 },
    /// `cmap_adjust_int`.
    Adjust { key: &'a [u8], step: i32 },
    /// `cmap_iter_init`.
    IterationInit { prefix: &'a [u8] },
    /// `cmap_iter_next`.
    IterationNext { handle: u64 },
    /// `cmap_iter_finalize`.
    IterationFinalize { handle: u64 },
    /// `cmap_track_add`.
    TrackAdd { key: &'a [u8], what: i32, client_handle: u64 },
    /// `cmap_track_delete`.
    TrackDelete { handle: u64 },
    /// What `cmap_initialize_map` asks.
    SelectMap { map: i32 },
}

impl<'a> Request<'a> {
    /// Checks and takes apart a request.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REQUEST_HEADER)?;
        let v = View(bytes);
        let key = || key(v, 16);
        Ok(match id {
            0 => Self::Set { key: key()?, kind: v.u8(288)?, value: v.bytes(296, v.length(280)?)? },
            1 => Self::Delete { key: key()? },
            2 => Self::Get { key: key()?, buffer: v.u64(280)? },
            3 => Self::Adjust { key: key()?, step: v.i32(280)? },
            4 => Self::IterationInit { prefix: key()? },
            5 => Self::IterationNext { handle: v.u64(16)? },
            6 => Self::IterationFinalize { handle: v.u64(16)? },
            7 => Self::TrackAdd { key: key()?, what: v.i32(280)?, client_handle: v.u64(288)? },
            8 => Self::TrackDelete { handle: v.u64(16)? },
            9 => Self::SelectMap { map: v.i32(16)? },
            id => return Err(Malformed::UnknownId(id)),
        })
    }

    /// The message.
    ///
    /// # Errors
    /// [`Malformed::Name`] for a key longer than [`KEY_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let keyed = |id, size, key: &[u8]| put_key(Build::request(id, size), 16, key);
        Ok(match self {
            Self::Set { key, kind, value } => keyed(0, 296 + value.len(), key)?
                .u64(280, value.len() as u64)
                .u8(288, *kind)
                .bytes(296, value),
            Self::Delete { key } => keyed(1, 280, key)?,
            Self::Get { key, buffer } => keyed(2, 288, key)?.u64(280, *buffer),
            Self::Adjust { key, step } => keyed(3, 288, key)?.i32(280, *step),
            Self::IterationInit { prefix } => keyed(4, 280, prefix)?,
            Self::IterationNext { handle } => Build::request(5, 24).u64(16, *handle),
            Self::IterationFinalize { handle } => Build::request(6, 24).u64(16, *handle),
            Self::TrackAdd { key, what, client_handle } => {
                keyed(7, 296, key)?.i32(280, *what).u64(288, *client_handle)
            }
            Self::TrackDelete { handle } => Build::request(8, 24).u64(16, *handle),
            Self::SelectMap { map } => Build::request(9, 24).i32(16, *map),
        }
        .done())
    }
}

pub(super) fn reply_shape(request: i32) -> Option<(i32, usize)> {
    Some(match request {
        0 => (0, 24),
        1 => (1, 24),
        2 => (2, GET_REPLY),
        3 => (3, 24),
        4 => (4, 32),
        5 => (5, 304),
        6 => (6, 24),
        7 => (7, 32),
        8 => (8, 32),
        9 => (10, 24),
        _ => return None,
    })
}

/// Reply to [`Request::Get`]: with the value, or with type and length only.
#[must_use]
pub fn get_reply(value: &Value, with_value: bool) -> Vec<u8> {
    let carried = if with_value { value.bytes() } else { &[] };
    Build::reply(2, GET_REPLY + carried.len(), CsError::Ok)
        .u64(24, value.bytes().len() as u64)
        .u8(32, value.kind() as u8)
        .bytes(GET_REPLY, carried)
        .done()
}

/// The value out of a reply to [`Request::Get`] with a large enough buffer.
///
/// # Errors
/// What the server answered.
pub fn get_from(reply: &[u8]) -> Result<Value, CsError> {
    let v = open_reply(reply)?;
    let kind = Kind::from_number(v.u8(32)?).ok_or(CsError::MessageError)?;
    Ok(Value::new(kind, v.bytes(GET_REPLY, v.length(24)?)?)?)
}

/// Reply to [`Request::IterationInit`] and, with its own id, to [`Request::TrackAdd`] and [`Request::TrackDelete`]: a
/// handle.
#[must_use]
pub fn handle_reply(reply_id: i32, handle: u64) -> Vec<u8> {
    Build::reply(reply_id, 32, CsError::Ok).u64(24, handle).done()
}

/// The handle out of such a reply.
///
/// # Errors
/// What the server answered.
pub fn handle_from(reply: &[u8]) -> Result<u64, CsError> {
    Ok(open_reply(reply)?.u64(24)?)
}

/// Reply to [`Request::IterationNext`].
///
/// # Errors
/// [`Malformed::Name`] for a key longer than [`KEY_MAX`].
pub fn iteration_item_reply(key: &[u8], value: &Value) -> Result<Vec<u8>, Malformed> {
    Ok(put_key(Build::reply(5, 304, CsError::Ok), 24, key)?
        .u64(288, value.bytes().len() as u64)
        .u8(296, value.kind() as u8)
        .done())
}

/// The key out of a reply to [`Request::IterationNext`].
///
/// # Errors
/// What the server answered; [`CsError::NoSections`] at the end.
pub fn iteration_item_from(reply: &[u8]) -> Result<String, CsError> {
    text(key(open_reply(reply)?, 24)?).map_err(CsError::from)
}

/// A tracked key changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// As given when tracking began.
    pub client_handle: u64,
    /// Which key.
    pub key: String,
    /// [`track::ADD`], [`track::MODIFY`] or [`track::DELETE`].
    pub what: i32,
    /// Its value now.
    pub new: Option<Value>,
    /// Its value before.
    pub old: Option<Value>,
}

impl Event {
    /// Checks and takes apart an event.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (id, bytes) = open(bytes, REPLY_HEADER)?;
        if id != 9 {
            return Err(Malformed::UnknownId(id));
        }
        let v = View(bytes);
        let (new_len, old_len) = (v.length(320)?, v.length(328)?);
        let value = |kind, at, len| match kind {
            0 => Ok(None),
            n => Value::new(Kind::from_number(n).ok_or(Malformed::Content)?, v.bytes(at, len)?).map(Some),
        };
        Ok(Self {
            client_handle: v.u64(CLIENT_HANDLE)?,
            key: text(key(v, 32)?)?,
            what: v.i32(296)?,
            new: value(v.u8(304)?, 336, new_len)?,
            old: value(v.u8(312)?, 336_usize.checked_add(new_len).ok_or(Malformed::Content)?, old_len)?,
        })
    }

    /// The message.
    ///
    /// # Errors
    /// [`Malformed::Name`] for a key longer than [`KEY_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let parts =
            |v: &Option<Value>| v.as_ref().map_or((0, Vec::new()), |v| (v.kind as u8, v.bytes.clone()));
        let ((new_kind, new), (old_kind, old)) = (parts(&self.new), parts(&self.old));
        let b = Build::event(9, 336 + new.len() + old.len()).u64(CLIENT_HANDLE, self.client_handle);
        Ok(put_key(b, 32, self.key.as_bytes())?
            .i32(296, self.what)
            .u8(304, new_kind)
            .u8(312, old_kind)
            .u64(320, new.len() as u64)
            .u64(328, old.len() as u64)
            .bytes(336, &new)
            .bytes(336 + new.len(), &old)
            .done())
    }
}

/// Whether clients may use this key: 3 to 255 characters out of letters, digits and `._-/:`.
#[must_use]
pub fn is_key(key: &[u8]) -> bool {
    (KEY_MIN..=KEY_MAX).contains(&key.len())
        && key.iter().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(b))
}

fn key(v: View<'_>, at: usize) -> Result<&[u8], Malformed> {
    let len = v.u16(at).map(usize::from)?;
    let field = v.bytes(at + 8, KEY_MAX + 1)?;
    if len > KEY_MAX { Err(Malformed::Name) } else { field.get(..len).ok_or(Malformed::Name) }
}

fn put_key(b: Build, at: usize, key: &[u8]) -> Result<Build, Malformed> {
    let len = u16::try_from(key.len()).map_err(|_| Malformed::Name)?;
    if key.len() > KEY_MAX { Err(Malformed::Name) } else { Ok(b.u16(at, len).bytes(at + 8, key)) }
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Content)
}

const GET_REPLY: usize = 40;
