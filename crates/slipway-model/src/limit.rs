//! Every bound in one place, with the reason for its value (`robustness.md` section 7). A tenant's
//! quota may be lower than these; nothing is higher.

use crate::unit::{Bytes, Span};

/// `slipway.yaml`: more than anybody writes by hand, little enough to parse before authorising.
pub const MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Nesting of `slipway.yaml`: our schema needs six.
pub const MANIFEST_DEPTH_MAX: usize = 20;

/// A pack sent by a push. The knob is `git.push_bytes_max`.
pub const PUSH_BYTES_MAX: Bytes = Bytes::gibi(1);
/// Files in a pushed tree; Heroku's largest public examples have a third of it.
pub const TREE_FILES_MAX: usize = 100_000;
/// Bytes in a pushed tree once checked out.
pub const TREE_BYTES_MAX: Bytes = Bytes::gibi(1);
/// One path in a tree, in bytes: Linux's own `PATH_MAX`.
pub const TREE_PATH_BYTES_MAX: usize = 4096;
/// Directories below one another in a tree.
pub const TREE_DEPTH_MAX: usize = 64;
/// Push options in one push, and bytes of each.
pub const PUSH_OPTIONS_MAX: usize = 16;
/// Bytes of one push option.
pub const PUSH_OPTION_BYTES_MAX: usize = 256;
/// Pushes waiting for one environment; the next is refused at once instead of hanging.
pub const PUSH_QUEUE_MAX: usize = 16;

/// Wall time of a build (Heroku's limit, and its users' expectation).
pub const BUILD_TIME_MAX: Span = Span::from_secs(15 * 60);
/// Memory of a build sandbox.
pub const BUILD_MEMORY: Bytes = Bytes::gibi(2);
/// Disk that a build may fill, source and dependencies included.
pub const BUILD_DISK: Bytes = Bytes::gibi(2);
/// Processes and threads of a build. `make -j` and npm need hundreds, a fork bomb thousands.
pub const BUILD_PIDS: u32 = 1024;
/// Output of a build that is kept; what follows is counted, not stored.
pub const BUILD_LOG_BYTES_MAX: Bytes = Bytes::mebi(16);
/// One line of output that a pusher is shown; longer lines are cut and say so.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Unpacked size of what a build produces.
pub const SLUG_BYTES_MAX: Bytes = Bytes::gibi(1);

/// Processes and threads of an instance.
pub const INSTANCE_PIDS: u32 = 256;
/// Open files of an instance.
pub const INSTANCE_FILES: u64 = 4096;
/// Ports of the node that lead to one instance. Whatever reads what people ask for refuses more, and the
/// agent again: what is accepted can be started.
pub const INSTANCE_PORTS_MAX: usize = 100;
/// Files fetched for an instance before it starts, one after the other.
pub const INSTANCE_FETCHES_MAX: usize = 100;
/// Volumes of an instance: each is a loop device of the node's.
pub const INSTANCE_VOLUMES_MAX: usize = 16;
/// Health checks of an instance: each is a task of the agent's.
pub const INSTANCE_CHECKS_MAX: usize = 16;
/// Log bytes kept on the node for one instance, in two rotated files.
pub const INSTANCE_LOG_BYTES_MAX: Bytes = Bytes::mebi(10);
/// Lines of a dead instance's output that are kept with the deployment or the instance's end.
pub const CRASH_TAIL_LINES: usize = 30;
/// Bytes of each of those lines. They get into one record, where a byte may take six, and the record has
/// [`RECORD_BYTES_MAX`] for all that it says.
pub const CRASH_TAIL_LINE_BYTES_MAX: usize = 1 << 10;
/// Copies of one service.
pub const INSTANCES_MAX: u32 = 500;
/// Copies of all services of an environment. Their assignments are one record of some 180 bytes each,
/// and during a rollout there are two of each: 1,400 fit into [`RECORD_BYTES_MAX`].
pub const INSTANCES_OF_ENVIRONMENT_MAX: u32 = 500;

/// One record in the store: ZooKeeper holds 1 MiB at most and drops the connection beyond (F7),
/// records are meant to be small, so this is the hard stop (`design.md` section 4).
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// Releases kept per environment, so that a rollback always finds its image (S8).
pub const RELEASES_KEPT: usize = 50;
/// Config variables of one environment.
pub const CONFIG_VARS_MAX: usize = 512;
/// All config values of one environment together; they travel in one record.
pub const CONFIG_BYTES_MAX: usize = 64 << 10;

/// Body of an API request.
pub const API_BODY_BYTES_MAX: usize = 1 << 20;
/// Sessions, tokens and invitations end by themselves.
pub const TOKEN_LIFE_DEFAULT: Span = Span::from_secs(90 * 86_400);
/// How long an invitation can be accepted.
pub const INVITATION_LIFE: Span = Span::from_secs(7 * 86_400);

/// Highest index of a tenant: the user ids of the next one would reach the end of 32 bits.
pub const TENANT_INDEX_MAX: u32 = 61_438;
/// Tenants that one user has made; operators have no such limit.
pub const TENANTS_PER_USER_MAX: usize = 20;
/// Projects of one tenant.
pub const PROJECTS_MAX: usize = 500;
/// Environments of one project. All of a project is deleted in one batch.
pub const ENVIRONMENTS_MAX: usize = 20;
/// Own domains of one environment.
pub const DOMAINS_MAX: usize = 50;
/// Services of one environment whose scale is set.
pub const SCALED_SERVICES_MAX: usize = 50;
/// Members of one tenant, and invitations that wait.
pub const MEMBERS_MAX: usize = 500;
/// SSH keys of one user.
pub const KEYS_PER_USER_MAX: usize = 50;
/// Tokens of one user that have not expired. A login makes one.
pub const TOKENS_PER_USER_MAX: usize = 200;
/// Longest life of a token.
pub const TOKEN_LIFE_MAX: Span = Span::from_secs(366 * 86_400);
/// An unproven claim of a domain stands this long; then another tenant may claim it.
pub const DOMAIN_PROOF_TIME: Span = Span::from_secs(86_400);
/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password: more than any pass phrase, little enough to hash (N12).
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Requests of one environment that wait for the leader: releases, runs.
pub const REQUESTS_MAX: usize = 100;
/// Longest life of a join token (`robustness.md` section 7).
pub const JOIN_TOKEN_LIFE_MAX: Span = Span::from_secs(3600);
/// Join tokens that have not expired: a whole cluster of a thousand nodes joins in an hour.
pub const JOIN_TOKENS_MAX: usize = 2000;
/// Certificates of one node that count. A node whose disk is full gets a new one with each try and
/// keeps the old.
pub const NODE_CERTIFICATES_MAX: usize = 4;
/// Servers of one cluster: whom nodes are told of and dial. More than any cluster has.
pub const SERVERS_MAX: usize = 32;
