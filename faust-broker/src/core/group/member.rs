//! A member of a group.

use bytes::Bytes;

use crate::core::group::{JoinRequest, Protocol, Token};

/// A member of a group, from its first join until it leaves or its session expires.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i64,
    pub(crate) rebalance_timeout_ms: i64,
    /// Supported protocols, in order of preference.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// Time at which the session expires unless it is renewed.
    pub(crate) session_ends_ms: i64,
    /// Token of the pending join. The session of a member with a pending request does not expire.
    pub(crate) joining: Option<Token>,
    /// Token of the pending sync.
    pub(crate) syncing: Option<Token>,
}

impl Member {
    pub(crate) fn new(id: String, request: JoinRequest, now_ms: i64) -> Self {
        let session_timeout_ms = i64::from(request.session_timeout_ms);
        Self {
            id,
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms,
            rebalance_timeout_ms: i64::from(request.rebalance_timeout_ms).max(0),
            protocols: request.protocols,
            assignment: Bytes::new(),
            session_ends_ms: now_ms + session_timeout_ms,
            joining: None,
            syncing: None,
        }
    }

    pub(crate) fn update(&mut self, request: JoinRequest) {
        self.session_timeout_ms = i64::from(request.session_timeout_ms);
        self.rebalance_timeout_ms = i64::from(request.rebalance_timeout_ms).max(0);
        self.protocols = request.protocols;
        self.client_id = request.client_id;
        self.client_host = request.client_host;
    }

    pub(crate) fn is_alive(&self, now_ms: i64) -> bool {
        self.joining.is_some() || self.syncing.is_some() || now_ms < self.session_ends_ms
    }

    pub(crate) fn touch(&mut self, now_ms: i64) {
        self.session_ends_ms = now_ms + self.session_timeout_ms;
    }

    pub(crate) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }
}
