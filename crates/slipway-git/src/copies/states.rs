//! The line of states of one repository in the shared storage: read, and gone on with.

use slipway_storage::{Closed, Error as StorageError};

use super::state::{STATE_BYTES_MAX, name_of, number_of};
use super::{Copies, Copy, Known, State, TRIES_MAX, folder, overtaken, random, storage};
use crate::error::Error;

/// Old states that one writer clears away at a time. There is one, unless somebody was killed.
const CLEARED_MAX: usize = 100;

impl Copies {
    /// Makes a state the newest, after the one with that number. `None` when another has been faster.
    pub(super) async fn store(
        &self,
        copy: &Copy,
        number: u64,
        state: &State,
    ) -> Result<Option<Known>, Error> {
        let failed = |source| storage("move refs of", copy, source);
        let restored = Some(self.storage.identity().restored);
        let (number_of_next, next) =
            (number + 1, State { epoch: self.epoch, restored, mark: random(), ..state.clone() });
        let text = serde_json::to_vec(&next).unwrap_or_default();
        if text.len() > STATE_BYTES_MAX {
            return Err(failed(StorageError::TooBig("the list of its refs".into(), STATE_BYTES_MAX as u64)));
        }
        let (folder, name) = (folder(copy, "states"), name_of(number_of_next));
        let closed = self.storage.close(&folder, &name, &text).map_err(failed)?;
        let next =
            Known { number: number_of_next, code: closed.code.clone(), bytes: text.len(), state: next };
        let is_ours = match self.storage.place().create(&folder, &name, closed.bytes.clone()).await {
            Ok(true) => true,
            // The answer to an earlier try of the same request may have been lost.
            Ok(false) => self.is_there(&folder, &name, &closed).await.map_err(failed)?,
            Err(error) if error.is_worth_a_retry() => {
                self.is_there(&folder, &name, &closed).await.map_err(failed)? || return Err(failed(error))
            }
            Err(error) => return Err(failed(error)),
        };
        let numbers = self.numbers(&folder).await.map_err(failed)?;
        if numbers.last() != Some(&next.number) {
            if is_ours {
                // Nobody reads it: it is not the newest.
                self.storage.place().delete(&folder, &name).await.map_err(failed)?;
            }
            return Ok(None);
        }
        if !is_ours {
            return Ok(None);
        }
        for old in numbers.iter().filter(|old| **old < number).take(CLEARED_MAX) {
            // The next one tries again.
            let _left = self.storage.place().delete(&folder, &name_of(*old)).await;
        }
        Ok(Some(next))
    }

    async fn is_there(&self, folder: &str, name: &str, closed: &Closed) -> Result<bool, StorageError> {
        let found = self.storage.get(folder, name, STATE_BYTES_MAX).await?;
        Ok(found.is_some_and(|(_, code)| code == closed.code))
    }

    /// The newest state, if there is any.
    pub(super) async fn newest(&self, copy: &Copy) -> Result<Option<Known>, Error> {
        let failed = |source| storage("read the refs of", copy, source);
        let folder = folder(copy, "states");
        for _ in 0..TRIES_MAX {
            let Some(number) = self.numbers(&folder).await.map_err(failed)?.pop() else { return Ok(None) };
            let name = name_of(number);
            let found = self.storage.get(&folder, &name, STATE_BYTES_MAX).await.map_err(failed)?;
            // Deleted meanwhile: then there is a newer one.
            let Some((text, code)) = found else { continue };
            let state = serde_json::from_slice(&text).map_err(|_| Error::Damaged {
                project: copy.project.clone(),
                object: format!("{folder}/{name}"),
                place: self.storage.place().to_string(),
                what: "is damaged",
            })?;
            return Ok(Some(Known { number, code, bytes: text.len(), state }));
        }
        Err(overtaken(copy))
    }

    async fn numbers(&self, folder: &str) -> Result<Vec<u64>, StorageError> {
        let names = self.storage.place().list(folder).await?;
        let mut numbers: Vec<_> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}
