//! What must be there before any record: the root, which says whose it is, and the nodes below it
//! that everything else is below.
//!
//! The root's own node names the cluster. It is authenticated as records are, so a server with another
//! master key, and a second cluster that was pointed at the same root by mistake, are refused before
//! they have read or written anything else.

use serde::{Deserialize, Serialize};
use slipway_model::id::ClusterId;

use super::election::LeaderNode;
use super::layout::Layout;
use super::session::Client;
use super::wire::{Code, NodeChange, Reader, Request, Stat};
use crate::error::Error;

/// How the nodes below the root are arranged.
const FORMAT: u32 = 2;

/// What the root's own node is sealed as; records' keys begin with a slash.
const ROOT: &str = "root";

/// What the root says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Root {
    format: u32,
    pub(crate) cluster: ClusterId,
    /// The records are still being moved in from an embedded store.
    #[serde(default)]
    pub(crate) moving: bool,
}

impl Root {
    /// What a root says that is made now.
    pub(super) fn new(cluster: ClusterId, moving: bool) -> Self {
        Self { format: FORMAT, cluster, moving }
    }

    fn encode(&self, layout: &Layout) -> Vec<u8> {
        layout.root_seal().close_for_ever(ROOT, serde_json::json!(self).to_string().as_bytes())
    }

    fn decode(layout: &Layout, payload: &[u8]) -> Result<Self, Error> {
        let foreign = |why: String| Error::Foreign { root: layout.root().to_owned(), why };
        let json = layout.root_seal().open_for_ever(ROOT, payload).map_err(|why| foreign(why.to_owned()))?;
        let root: Self = serde_json::from_slice(json)
            .map_err(|error| foreign(format!("something else keeps its own in it ({error})")))?;
        if root.format != FORMAT {
            let why = format!("it has format {}, and this program knows format {FORMAT}", root.format);
            return Err(foreign(why));
        }
        Ok(root)
    }
}

/// What the root says, if it is there and says something.
pub(super) async fn look(client: &Client, layout: &Layout) -> Result<Option<Root>, Error> {
    match found(client, layout).await? {
        Some((payload, _)) if !payload.is_empty() => Root::decode(layout, &payload).map(Some),
        _ => Ok(None),
    }
}

/// Makes the root if it is not there, with what `new` says; gives back what it says.
pub(super) async fn root(client: &Client, layout: &Layout, new: &Root) -> Result<Root, Error> {
    let path = layout.root();
    loop {
        let change = match found(client, layout).await? {
            Some((payload, _)) if !payload.is_empty() => return Root::decode(layout, &payload),
            Some((_, stat)) if stat.children > 0 => {
                let why = "there are nodes below it, and it does not say what they are".to_owned();
                return Err(Error::Foreign { root: path.to_owned(), why });
            }
            // Somebody has made room for us, with an access list perhaps.
            Some((_, stat)) => {
                NodeChange::Set { path: path.to_owned(), data: new.encode(layout), version: stat.version }
            }
            None => {
                above(client, layout).await?;
                layout.create(path.to_owned(), new.encode(layout))
            }
        };
        match client.ask(Request::change(&change)).await? {
            // Another server has made it in the meantime.
            Err(Code::NODE_EXISTS | Code::BAD_VERSION) => {}
            answer => drop(client.accept(answer)?),
        }
    }
}

/// What is in the root's own node.
async fn found(client: &Client, layout: &Layout) -> Result<Option<(Vec<u8>, Stat)>, Error> {
    let path = layout.root();
    // What another server may have made right now.
    let mut answers = client.ask_all(&[Request::sync(path), Request::data(path)]).await?;
    let answer = answers.swap_remove(1);
    if answer == Err(Code::NO_NODE) {
        return Ok(None);
    }
    let body = client.accept(answer)?;
    let mut reader = Reader(&body);
    let found = reader.buffer().and_then(|payload| Ok((payload.to_vec(), reader.stat()?)));
    found.map(Some).map_err(|error| client.error(&error.into()))
}

/// Makes the levels above the root that are not there.
async fn above(client: &Client, layout: &Layout) -> Result<(), Error> {
    let path = layout.root();
    for (at, _) in path.match_indices('/').skip(1) {
        let level = &path[..at];
        // Where it is there, we may not be allowed to make anything beside it.
        if client.stat(client.ask(Request::exists(level, false)).await?)?.is_some() {
            continue;
        }
        let answer = client.ask(Request::change(&layout.create(level.to_owned(), Vec::new()))).await?;
        if answer != Err(Code::NODE_EXISTS) {
            client.accept(answer)?;
        }
    }
    Ok(())
}

/// Makes the nodes below the root, as far as they are not there.
pub(super) async fn below(client: &Client, layout: &Layout, leader: &LeaderNode) -> Result<(), Error> {
    let nodes = layout.foundation(&leader.encode(layout, 0));
    if let Some(NodeChange::Create { path, .. }) = nodes.last()
        && client.stat(client.ask(Request::exists(path, false)).await?)?.is_some()
    {
        return Ok(());
    }
    let requests: Vec<Request> = nodes.iter().map(Request::change).collect();
    for answer in client.ask_all(&requests).await? {
        if answer != Err(Code::NODE_EXISTS) {
            client.accept(answer)?;
        }
    }
    Ok(())
}

/// Changes what the root says.
pub(super) async fn change(client: &Client, layout: &Layout, to: &Root) -> Result<(), Error> {
    let path = layout.root().to_owned();
    let set = NodeChange::Set { path, data: to.encode(layout), version: -1 };
    client.accept(client.ask(Request::change(&set)).await?)?;
    Ok(())
}
