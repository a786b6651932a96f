//! Join tokens: made by operators, used once by a machine, gone within the hour.

use slipway_link::join::JoinText;
use slipway_model::attribute::Attributes;
use slipway_model::cluster::JoinToken;
use slipway_model::id::JoinTokenId;
use slipway_model::limit::{JOIN_TOKEN_LIFE_MAX, JOIN_TOKENS_MAX};
use slipway_model::name::NodeName;
use slipway_model::unit::Span;
use slipway_store::Batch;

use crate::error::Error;
use crate::operator::{Operator, check_attributes};
use crate::secret;

/// A join token that has just been made, with what is shown this once.
#[derive(Clone)]
pub struct NewJoinToken {
    /// What is known of it from now on.
    pub token: JoinToken,
    /// What the machine joins with.
    pub text: JoinText,
}

impl Operator {
    /// Makes a token for one machine; with a node's name, for the machine that takes that name, even if
    /// there is such a node already, whose place it takes then. With `router`, it may have
    /// a router; with `attributes`, it has those, whatever it says.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a life of more than an hour or none, and for attributes that are none, [`Error::Limit`], [`Error::Store`].
    pub async fn create_join_token(
        &self,
        node: Option<&NodeName>,
        life: Span,
        router: bool,
        attributes: Option<Attributes>,
    ) -> Result<NewJoinToken, Error> {
        if life == Span::ZERO || life > JOIN_TOKEN_LIFE_MAX {
            return Err(Error::invalid(format!("a join token lasts for up to {JOIN_TOKEN_LIFE_MAX}")));
        }
        check_attributes(attributes.as_ref())?;
        let access = self.access();
        let now = access.now();
        let mut count = 0;
        for found in access.list::<JoinToken>("").await? {
            if found.record.expires_at > now {
                count += 1;
                continue;
            }
            // If somebody else has deleted it, it is gone all the same.
            access.commit(Batch::new().delete::<JoinToken>(&found.record.id, found.version)).await?;
        }
        if count >= JOIN_TOKENS_MAX {
            return Err(Error::Limit { what: "join tokens that have not expired", max: JOIN_TOKENS_MAX });
        }
        let id = JoinTokenId::from_random(rand::random());
        let authority = access.cluster_authority().await?;
        let text = JoinText::new(id.clone(), &authority.fingerprint(), rand::random());
        let token = JoinToken {
            id,
            secret_hash: secret::hash(text.reveal()),
            node: node.cloned(),
            router,
            attributes,
            created_by: self.user().clone(),
            created_at: now,
            expires_at: now.plus(life),
            used_by: None,
        };
        if !access.commit(Batch::new().create(&token)).await? {
            return Err(crate::access::too_busy());
        }
        tracing::info!(token.id = %token.id, node = ?token.node, by = %token.created_by, "join token made");
        Ok(NewJoinToken { token, text })
    }

    /// Tokens that have not expired, used ones too, the oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>, Error> {
        let now = self.access().now();
        let all = self.access().list::<JoinToken>("").await?.into_iter().map(|found| found.record);
        let mut tokens: Vec<_> = all.filter(|token| token.expires_at > now).collect();
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// Takes a token back; nobody can join with it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn revoke_join_token(&self, id: &JoinTokenId) -> Result<(), Error> {
        for _ in 0..crate::access::TRIES {
            let found = self.access().get::<JoinToken>(id).await?;
            let found = found.ok_or_else(|| Error::NotFound { what: format!("the join token {id}") })?;
            if self.access().commit(Batch::new().delete::<JoinToken>(id, found.version)).await? {
                tracing::info!(token.id = %id, by = %self.user(), "join token revoked");
                return Ok(());
            }
        }
        Err(crate::access::too_busy())
    }
}
