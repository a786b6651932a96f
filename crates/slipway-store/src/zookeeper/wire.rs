//! ZooKeeper's messages: big-endian numbers, and texts and buffers with their length before them.
//! Only what this backend says and hears.

use std::fmt;

/// One message that a server sends us. It has no limit for its answers; a list of 100,000 names has
/// a few MB.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 20;

/// One request. A server drops the connection at 1,048,575 bytes, without a word (F7).
pub(super) const REQUEST_BYTES_MAX: usize = 1_000_000;

pub(super) const XID_EVENT: i32 = -1;
pub(super) const XID_PING: i32 = -2;
pub(super) const XID_AUTH: i32 = -4;

/// What a server can be asked for, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Op {
    Create = 1,
    Delete = 2,
    Exists = 3,
    GetData = 4,
    SetData = 5,
    GetChildren = 8,
    Sync = 9,
    Ping = 11,
    Check = 13,
    Multi = 14,
    RemoveWatches = 18,
    MultiRead = 22,
    Auth = 100,
    AddWatch = 106,
    Close = -11,
}

/// A server's refusal, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) i32);

impl Code {
    pub(super) const OK: Self = Self(0);
    pub(super) const NO_NODE: Self = Self(-101);
    pub(super) const BAD_VERSION: Self = Self(-103);
    pub(super) const NODE_EXISTS: Self = Self(-110);
    pub(super) const NOT_EMPTY: Self = Self(-111);
    pub(super) const SESSION_EXPIRED: Self = Self(-112);
    pub(super) const AUTH_FAILED: Self = Self(-115);
    pub(super) const SESSION_MOVED: Self = Self(-118);
    /// In a `multi`: another of its operations failed.
    const OTHER_FAILED: Self = Self(-2);

    /// True when something is not as it was when we looked.
    pub(super) fn is_outdated(self) -> bool {
        [Self::NO_NODE, Self::BAD_VERSION, Self::NODE_EXISTS, Self::NOT_EMPTY].contains(&self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            -4 => "connection lost",
            -5 => "the server could not read the request",
            -6 => "the server does not know such a request",
            -101 => "no such node",
            -102 => "not permitted by the node's access list",
            -103 => "the node's version is another",
            -110 => "the node exists",
            -111 => "the node has children",
            -112 => "the session has expired",
            -114 => "the access list is not valid",
            -115 => "authentication failed",
            -118 => "the session has moved to another server",
            -119 => "the server cannot write at the moment",
            -125 => "the quota is used up",
            -127 => "the server has too much to do",
            other => return write!(f, "error {other}"),
        };
        f.write_str(text)
    }
}

/// What a server says about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// The transaction that changed its content last.
    pub(super) mzxid: i64,
    /// Counts changes of its content, from 0 when it was made.
    pub(super) version: i32,
    pub(super) data_length: i32,
    pub(super) children: i32,
}

/// A message that could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a message that is cut short or too long")]
pub(super) struct Malformed;

/// Who may do what with a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// The sum of read 1, write 2, create 4, delete 8 and admin 16.
    pub permissions: i32,
    /// `world`, `auth`, `digest`, `ip`, `x509` or `sasl`.
    pub scheme: String,
    /// Whom, in words of the scheme.
    pub id: String,
}

impl Acl {
    /// Everybody who reaches the servers may do everything.
    pub fn open() -> Self {
        Self { permissions: 31, scheme: "world".to_owned(), id: "anyone".to_owned() }
    }

    /// Whoever made the node, as the session has proved who it is, may do everything.
    pub fn creator() -> Self {
        Self { permissions: 31, scheme: "auth".to_owned(), id: String::new() }
    }
}

/// Builds a message.
#[derive(Debug, Default, Clone)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn bool(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    pub(super) fn buffer(self, value: &[u8]) -> Self {
        // What is longer is refused before it is sent.
        let mut this = self.int(i32::try_from(value.len()).unwrap_or(i32::MAX));
        this.0.extend_from_slice(value);
        this
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.buffer(value.as_bytes())
    }

    fn acl(self, acl: &[Acl]) -> Self {
        let count = i32::try_from(acl.len()).unwrap_or(i32::MAX);
        acl.iter().fold(self.int(count), |this, entry| {
            this.int(entry.permissions).text(&entry.scheme).text(&entry.id)
        })
    }
}

/// Takes a message apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        self.take().map(i64::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        self.take::<1>().map(|[byte]| byte != 0)
    }

    pub(super) fn buffer(&mut self) -> Result<&'a [u8], Malformed> {
        // -1 is a buffer that is not there.
        let length = usize::try_from(self.int()?.max(0)).map_err(|_| Malformed)?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.buffer()?).map_err(|_| Malformed)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        let count = self.int()?.max(0);
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    pub(super) fn stat(&mut self) -> Result<Stat, Malformed> {
        let _created = self.long()?;
        let mzxid = self.long()?;
        let _times = (self.long()?, self.long()?);
        let version = self.int()?;
        let _child_and_acl_versions = (self.int()?, self.int()?);
        let _owner = self.long()?;
        let (data_length, children) = (self.int()?, self.int()?);
        let _children_changed = self.long()?;
        Ok(Stat { mzxid, version, data_length, children })
    }
}

/// A request without the number that tells its answer.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) op: Op,
    pub(super) body: Vec<u8>,
}

impl Request {
    fn new(op: Op, body: Writer) -> Self {
        Self { op, body: body.0 }
    }

    pub(super) fn exists(path: &str, watch: bool) -> Self {
        Self::new(Op::Exists, Writer::default().text(path).bool(watch))
    }

    pub(super) fn data(path: &str) -> Self {
        Self::new(Op::GetData, Writer::default().text(path).bool(false))
    }

    /// The same, and tells once when it changes or goes.
    pub(super) fn data_watched(path: &str) -> Self {
        Self::new(Op::GetData, Writer::default().text(path).bool(true))
    }

    pub(super) fn children(path: &str) -> Self {
        Self::new(Op::GetChildren, Writer::default().text(path).bool(false))
    }

    /// Many reads in one request, none of which fails for the sake of another. A server has much less to do
    /// for them than for as many requests.
    pub(super) fn reads<'a>(what: Read, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let reads = paths.into_iter().fold(Writer::default(), |body, path| {
            body.int(what as i32).bool(false).int(-1).text(path).bool(false)
        });
        Self::new(Op::MultiRead, reads.int(-1).bool(true).int(-1))
    }

    /// Brings this session's server up to what the leader knew.
    pub(super) fn sync(path: &str) -> Self {
        Self::new(Op::Sync, Writer::default().text(path))
    }

    /// Watches a node and all below it, until the connection ends.
    pub(super) fn watch_below(path: &str) -> Self {
        const RECURSIVE: i32 = 1;
        Self::new(Op::AddWatch, Writer::default().text(path).int(RECURSIVE))
    }

    pub(super) fn remove_watches(path: &str) -> Self {
        const ANY: i32 = 3;
        Self::new(Op::RemoveWatches, Writer::default().text(path).int(ANY))
    }

    pub(super) fn change(change: &NodeChange) -> Self {
        let (op, body) = change.encode(Writer::default());
        Self::new(op, body)
    }

    /// Changes that are made all together or not at all.
    pub(super) fn multi(changes: &[NodeChange]) -> Self {
        let mut body = Writer::default();
        for change in changes {
            body = body.int(change.op() as i32).bool(false).int(-1);
            body = change.encode(body).1;
        }
        Self::new(Op::Multi, body.int(-1).bool(true).int(-1))
    }
}

/// What can be read with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Read {
    Data = Op::GetData as i32,
    Children = Op::GetChildren as i32,
}

/// What one of many reads was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Data { payload: &'a [u8], stat: Stat },
    Children(Vec<String>),
    Refused(Code),
}

/// The answers to [`Request::reads`], in the order of the questions.
pub(super) fn reads_found(body: &[u8]) -> Result<Vec<Found<'_>>, Malformed> {
    let mut reader = Reader(body);
    let mut found = Vec::new();
    loop {
        let (op, done, _error) = (reader.int()?, reader.bool()?, reader.int()?);
        if done {
            return Ok(found);
        }
        found.push(match op {
            op if op == Read::Data as i32 => Found::Data { payload: reader.buffer()?, stat: reader.stat()? },
            op if op == Read::Children as i32 => Found::Children(reader.texts()?),
            -1 => Found::Refused(Code(reader.int()?)),
            _ => return Err(Malformed),
        });
    }
}

/// A change of one node, or a demand on it. A `version` of -1 is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeChange {
    Create { path: String, data: Vec<u8>, acl: Vec<Acl>, life: Life },
    Set { path: String, data: Vec<u8>, version: i32 },
    Delete { path: String, version: i32 },
    Check { path: String, version: i32 },
}

/// How long a node stays, and who ends its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Life {
    Persistent = 0,
    /// As long as the session.
    Ephemeral = 1,
    /// As long as the session; the server puts a rising number at the end of its name.
    EphemeralNumbered = 3,
}

impl NodeChange {
    fn op(&self) -> Op {
        match self {
            Self::Create { .. } => Op::Create,
            Self::Set { .. } => Op::SetData,
            Self::Delete { .. } => Op::Delete,
            Self::Check { .. } => Op::Check,
        }
    }

    fn encode(&self, to: Writer) -> (Op, Writer) {
        let body = match self {
            Self::Create { path, data, acl, life } => to.text(path).buffer(data).acl(acl).int(*life as i32),
            Self::Set { path, data, version } => to.text(path).buffer(data).int(*version),
            Self::Delete { path, version } | Self::Check { path, version } => to.text(path).int(*version),
        };
        (self.op(), body)
    }
}

/// Why a `multi` was refused: the code of its first failed operation. `Ok` when it was not.
pub(super) fn multi_verdict(body: &[u8]) -> Result<Result<(), Code>, Malformed> {
    let mut reader = Reader(body);
    let mut verdict = Ok(());
    loop {
        let (op, done, _error) = (reader.int()?, reader.bool()?, reader.int()?);
        if done {
            return Ok(verdict);
        }
        if op == Op::Create as i32 {
            reader.text()?;
        } else if op == Op::SetData as i32 {
            reader.stat()?;
        } else if op == -1 {
            let code = Code(reader.int()?);
            if verdict.is_ok() && code != Code::OK && code != Code::OTHER_FAILED {
                verdict = Err(code);
            }
        }
    }
}
