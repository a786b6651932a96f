//! The requests that are on their way on one connection.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::{Answer, Call, Failure};
use crate::zookeeper::connection::Sender;
use crate::zookeeper::wire::{Malformed, Op, Request, Writer};

/// Requests without an answer yet. A server reads no more from anybody when it has a thousand.
const IN_FLIGHT_MAX: usize = 512;

/// Requests on their way. When it is dropped, what is left of them is lost.
pub(super) struct Flight {
    calls: VecDeque<(i32, Op, Answer)>,
    next_xid: i32,
    session: i64,
}

impl Flight {
    /// Nothing yet, on a connection of that session.
    pub(super) fn new(session: i64) -> Self {
        Self { calls: VecDeque::new(), next_xid: 1, session }
    }

    pub(super) fn has_room(&self) -> bool {
        self.calls.len() < IN_FLIGHT_MAX
    }

    pub(super) fn push(&mut self, sender: &mut Sender, call: Call) {
        let xid = self.next_xid;
        // Positive numbers only: the others mean something.
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        let mut message = Writer::default().int(xid).int(call.request.op as i32);
        message.0.extend(call.request.body);
        sender.push(&message.0);
        self.calls.push_back((xid, call.request.op, call.answer));
    }

    pub(super) fn push_close(&mut self, sender: &mut Sender) {
        let (answer, _) = oneshot::channel();
        self.push(sender, Call { request: Request { op: Op::Close, body: Vec::new() }, answer });
    }

    /// The request that an answer with that number is for. Answers come in the order of the requests.
    pub(super) fn answered(&mut self, xid: i32) -> Result<(Op, Answer), Malformed> {
        match self.calls.pop_front() {
            Some((expected, op, answer)) if expected == xid => Ok((op, answer)),
            Some(other) => {
                self.calls.push_front(other);
                Err(Malformed)
            }
            None => Err(Malformed),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        for (_, _, answer) in self.calls.drain(..) {
            let _ = answer.send(Err(Failure::Lost { session: self.session }));
        }
    }
}
