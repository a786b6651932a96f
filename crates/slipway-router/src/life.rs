//! Deadlines of connections without a timer for each request: a connection writes into a cell by
//! when it must have moved, and the worker looks at all cells ten times a second.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The deadline of one connection.
pub(crate) struct Life {
    deadline_ms: Cell<u64>,
    expired: Cell<bool>,
    /// Between two requests: may be closed at any time.
    idle: Cell<bool>,
    /// Of the connection's task, which stays the same.
    waker: RefCell<Option<Waker>>,
}

/// The deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired;

impl Life {
    /// From now (`now_ms`) on, there are `span` left.
    pub(crate) fn extend(&self, now_ms: u64, span: Duration) {
        self.expired.set(false);
        self.deadline_ms.set(now_ms + span.as_millis() as u64);
    }

    pub(crate) fn set_idle(&self, idle: bool) {
        self.idle.set(idle);
    }

    /// Waits for what `poll` waits for, until the deadline.
    pub(crate) async fn until<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Expired> {
        poll_fn(|cx| {
            if self.expired.get() {
                return Poll::Ready(Err(Expired));
            }
            if let Poll::Ready(value) = poll(cx) {
                return Poll::Ready(Ok(value));
            }
            let mut waker = self.waker.borrow_mut();
            if waker.is_none() {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn expire(&self) {
        self.expired.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The lives of all connections of a worker.
#[derive(Default)]
pub(crate) struct Lives {
    lives: RefCell<HashMap<u64, Rc<Life>>>,
    next: Cell<u64>,
}

/// Takes the life out when its connection ends.
pub(crate) struct Registration<'a> {
    lives: &'a Lives,
    key: u64,
    pub life: Rc<Life>,
}

impl Lives {
    pub(crate) fn register(&self) -> Registration<'_> {
        let key = self.next.get();
        self.next.set(key + 1);
        let life = Rc::new(Life {
            deadline_ms: Cell::new(u64::MAX),
            expired: Cell::new(false),
            idle: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.lives.borrow_mut().insert(key, Rc::clone(&life));
        Registration { lives: self, key, life }
    }

    pub(crate) fn count(&self) -> usize {
        self.lives.borrow().len()
    }

    /// Wakes those whose time is over.
    pub(crate) fn expire_late(&self, now_ms: u64) {
        self.lives
            .borrow()
            .values()
            .filter(|life| life.deadline_ms.get() < now_ms && !life.expired.get())
            .for_each(|life| life.expire());
    }

    /// Wakes those that are between two requests, to be closed.
    pub(crate) fn expire_idle(&self) {
        self.lives.borrow().values().filter(|life| life.idle.get()).for_each(|life| life.expire());
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.lives.lives.borrow_mut().remove(&self.key);
    }
}
