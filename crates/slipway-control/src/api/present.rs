//! Records → what the wire shows of them. Sealed values and hashes end here.

use slipway_api::wire::*;
use slipway_model::account::{Invitation, Member, SshKey, Token, User};
use slipway_model::deployment::{Deployment, DeploymentState};
use slipway_model::id::ReleaseNumber;
use slipway_model::instance::InstanceState;
use slipway_model::project::{HostClaim, HostState};
use slipway_model::push::{Build, BuildState, Push};
use slipway_model::release::{Origin, Release};

pub fn key(key: SshKey) -> KeyInfo {
    KeyInfo { fingerprint: key.fingerprint, label: key.label, created_at: key.created_at }
}

pub fn token(token: Token) -> TokenInfo {
    TokenInfo {
        id: token.id,
        label: token.label,
        tenant: token.scope.tenant,
        role_max: token.scope.role_max,
        created_at: token.created_at,
        expires_at: token.expires_at,
    }
}

pub fn user(user: User) -> UserInfo {
    UserInfo {
        name: user.name,
        operator: user.operator,
        disabled: user.disabled,
        created_at: user.created_at,
    }
}

pub fn member(member: Member) -> MemberInfo {
    MemberInfo { user: member.user, role: member.role, since: member.since }
}

pub fn invitation(invitation: Invitation) -> InvitationInfo {
    InvitationInfo {
        id: invitation.id,
        tenant: invitation.tenant,
        user: invitation.invitee,
        role: invitation.role,
        expires_at: invitation.expires_at,
    }
}

/// A push with its build, if a builder has taken it up.
pub fn build(push: Push, build: Option<Build>) -> BuildInfo {
    let (state, reason) = match build.as_ref().map(|build| &build.state) {
        None => ("queued", None),
        Some(BuildState::Running) => ("running", None),
        Some(BuildState::Succeeded { .. }) => ("succeeded", None),
        Some(BuildState::Failed { reason }) => ("failed", Some(reason.clone())),
        Some(BuildState::Cancelled { by }) => ("cancelled", Some(format!("cancelled by {by}"))),
    };
    BuildInfo {
        number: push.number,
        state: state.to_owned(),
        reason,
        commit: push.commit,
        subject: push.subject,
        by: push.by,
        received_at: push.received_at,
        ended_at: build.and_then(|build| build.ended_at),
    }
}

pub fn release(release: Release, live: Option<ReleaseNumber>) -> ReleaseInfo {
    let origin = match &release.origin {
        Origin::Build { number } => format!("build {number}"),
        Origin::Config => "config".to_owned(),
        Origin::Rollback { to } => format!("rollback to {to}"),
        Origin::Promotion { environment, release } => format!("{release} of {}", environment.environment),
        Origin::Image => "image".to_owned(),
        Origin::App { version } => format!("version {version}"),
    };
    ReleaseInfo {
        number: release.number,
        live: live == Some(release.number),
        origin,
        commit: release.commit,
        image: format!("{}@{}", release.image.repository, release.image.digest),
        services: release.services.into_keys().collect(),
        by: release.by,
        created_at: release.created_at,
    }
}

pub fn deployment(deployment: Deployment) -> DeploymentInfo {
    let ended = deployment.state.is_final();
    // The story is what is stored of a pause: the last line about one counts.
    let about_pauses = deployment.events.iter().rev().map(|event| event.text.as_str());
    let paused = about_pauses
        .filter(|_| !ended)
        .find(|text| text.starts_with("Paused") || *text == "Resumed")
        .filter(|text| *text != "Resumed")
        .map(str::to_owned);
    let (state, reason, tail) = match deployment.state {
        DeploymentState::ReleaseCommand { .. } => ("release-command", None, Vec::new()),
        DeploymentState::Rollout { .. } => ("rollout", None, Vec::new()),
        DeploymentState::Rollback { reason, tail, .. } => ("rollback", Some(reason), tail),
        DeploymentState::Live { .. } => ("live", None, Vec::new()),
        DeploymentState::Failed { reason, tail, .. } => ("failed", Some(reason), tail),
        DeploymentState::Superseded { by, .. } => {
            ("superseded", Some(format!("deployment {by} took over")), Vec::new())
        }
    };
    DeploymentInfo {
        number: deployment.number,
        from: deployment.from,
        to: deployment.to,
        request: deployment.request,
        state: state.to_owned(),
        ended,
        paused,
        reason,
        tail,
        events: deployment.events.into_iter().map(|event| event.text).collect(),
        by: deployment.by,
        created_at: deployment.created_at,
    }
}

/// A host name; tombstones are not shown.
pub fn domain(claim: HostClaim) -> Option<DomainInfo> {
    let (state, challenge) = match claim.state {
        HostState::Platform => ("platform", None),
        HostState::Unproven { challenge } => ("unproven", Some(challenge)),
        HostState::Proven => ("proven", None),
        HostState::Tombstone => return None,
    };
    Some(DomainInfo { host: claim.host, service: claim.service.service, state: state.to_owned(), challenge })
}

/// The state of an instance in one word, and why.
pub fn instance_state(state: Option<&InstanceState>) -> (String, Option<String>) {
    let (word, reason) = match state {
        None => ("waiting", None),
        Some(InstanceState::Preparing) => ("preparing", None),
        Some(InstanceState::Starting) => ("starting", None),
        Some(InstanceState::Healthy) => ("healthy", None),
        Some(InstanceState::Unhealthy { reason }) => ("unhealthy", Some(reason.clone())),
        Some(InstanceState::Stopping) => ("stopping", None),
        Some(InstanceState::Ended { exit }) => ("ended", Some(exit.reason.to_string())),
    };
    (word.to_owned(), reason)
}
