//! Who was granted what: authorization requests, codes, grants and their tokens. No HTTP, no clock of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use crate::Behaviour;
use crate::ambient::random_token;
use crate::keys::s256;

/// How long an authorization code can be redeemed.
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// A valid authorization request.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationRequest {
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) scope: Vec<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) code_challenge: Option<String>,
}

struct Code {
    request: AuthorizationRequest,
    subject: String,
    expires_at: SystemTime,
    /// The grant that this code became. A second use ends it.
    spent_on: Option<GrantId>,
    spent: bool,
}

/// A grant, and with it the family of refresh tokens that descends from it.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) subject: String,
    pub(crate) scope: Vec<String>,
    pub(crate) nonce: Option<String>,
    generation: u64,
    revoked: bool,
}

type GrantId = usize;

struct AccessToken {
    grant: GrantId,
    scope: Vec<String>,
    generation: u64,
    expires_at: SystemTime,
    revoked: bool,
}

struct RefreshToken {
    grant: GrantId,
    expires_at: Option<SystemTime>,
    spent_at: Option<SystemTime>,
}

/// What a token request yields.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) scope: Vec<String>,
    pub(crate) grant: Grant,
}

/// What a valid access token stands for.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) subject: String,
    pub(crate) scope: Vec<String>,
    /// 1 for the first access token of a grant, one more with each refresh.
    pub(crate) generation: u64,
}

/// Why a grant is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `invalid_grant`, with a description.
    Grant(&'static str),
    /// `invalid_scope`, with a description.
    Scope(&'static str),
}

/// Tallies for [`crate::Counts`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) issued: u64,
    pub(crate) refreshes: u64,
    pub(crate) refresh_reuses: u64,
    pub(crate) revoked: u64,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pending: HashMap<String, AuthorizationRequest>,
    codes: HashMap<String, Code>,
    grants: Vec<Grant>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: BTreeMap<String, RefreshToken>,
    tally: Tally,
}

impl Ledger {
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Keeps a request while the user decides, and names it.
    pub(crate) fn await_decision(&mut self, request: AuthorizationRequest) -> String {
        let handle = random_token("request");
        self.pending.insert(handle.clone(), request);
        handle
    }

    /// The request of that name, once.
    pub(crate) fn decide(&mut self, handle: &str) -> Option<AuthorizationRequest> {
        self.pending.remove(handle)
    }

    /// A code for a request that `subject` approved (RFC 6749 §4.1.2).
    pub(crate) fn approve(
        &mut self,
        request: AuthorizationRequest,
        subject: &str,
        now: SystemTime,
    ) -> String {
        let code = random_token("code");
        let expires_at = now + CODE_LIFETIME;
        let subject = subject.to_owned();
        self.codes.insert(
            code.clone(),
            Code {
                request,
                subject,
                expires_at,
                spent_on: None,
                spent: false,
            },
        );
        code
    }

    /// Exchanges a code (RFC 6749 §4.1.3, RFC 7636 §4.6). A failed try spends it too.
    pub(crate) fn redeem(
        &mut self,
        code: &str,
        redirect_uri: Option<&str>,
        code_verifier: Option<&str>,
        behaviour: &Behaviour,
        now: SystemTime,
    ) -> Result<Issued, Refusal> {
        let code = self
            .codes
            .get_mut(code)
            .ok_or(Refusal::Grant("the code is unknown"))?;
        if code.spent {
            if let Some(grant) = code.spent_on {
                self.grants[grant].revoked = true;
            }
            return Err(Refusal::Grant("the code was used before"));
        }
        code.spent = true;
        if now >= code.expires_at {
            return Err(Refusal::Grant("the code has expired"));
        }
        if redirect_uri != Some(code.request.redirect_uri.as_str()) {
            return Err(Refusal::Grant(
                "redirect_uri is not the one of the authorization request",
            ));
        }
        match (&code.request.code_challenge, code_verifier) {
            (Some(challenge), Some(verifier))
                if is_verifier(verifier) && s256(verifier) == *challenge => {}
            (None, None) => {}
            (Some(_), _) => {
                return Err(Refusal::Grant(
                    "code_verifier does not match code_challenge",
                ));
            }
            // A verifier without a challenge is a downgrade (RFC 9700 §2.1.1).
            (None, Some(_)) => {
                return Err(Refusal::Grant("code_verifier without a code_challenge"));
            }
        }
        let grant = Grant {
            subject: code.subject.clone(),
            scope: code.request.scope.clone(),
            nonce: code.request.nonce.clone(),
            generation: 0,
            revoked: false,
        };
        let scope = grant.scope.clone();
        let id = self.grants.len();
        code.spent_on = Some(id);
        self.grants.push(grant);
        let refresh_token = behaviour
            .issue_refresh_token
            .then(|| self.new_refresh_token(id, behaviour, now));
        Ok(self.issue(id, scope, refresh_token, behaviour, now))
    }

    /// Uses a refresh token (RFC 6749 §6), with rotation and reuse detection (RFC 9700 §4.14.2).
    pub(crate) fn refresh(
        &mut self,
        refresh_token: &str,
        scope: Option<Vec<String>>,
        behaviour: &Behaviour,
        now: SystemTime,
    ) -> Result<Issued, Refusal> {
        let known = self
            .refresh_tokens
            .get_mut(refresh_token)
            .ok_or(Refusal::Grant("the refresh token is unknown"))?;
        let id = known.grant;
        if self.grants[id].revoked {
            return Err(Refusal::Grant("the grant was revoked"));
        }
        if known.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return Err(Refusal::Grant("the refresh token has expired"));
        }
        let reuse_interval = Duration::from_secs(behaviour.refresh_reuse_interval);
        if known
            .spent_at
            .is_some_and(|spent_at| now >= spent_at + reuse_interval)
        {
            self.tally.refresh_reuses += 1;
            self.grants[id].revoked |= behaviour.revoke_family_on_reuse;
            return Err(Refusal::Grant("the refresh token was used before"));
        }
        let granted = &self.grants[id].scope;
        let scope = scope.unwrap_or_else(|| granted.clone());
        if scope.iter().any(|wanted| !granted.contains(wanted)) {
            return Err(Refusal::Scope("the scope exceeds what was granted"));
        }
        let refresh_token = if behaviour.omit_refresh_token_on_refresh {
            None
        } else if behaviour.rotate_refresh_tokens {
            known.spent_at.get_or_insert(now);
            Some(self.new_refresh_token(id, behaviour, now))
        } else {
            Some(refresh_token.to_owned())
        };
        self.tally.refreshes += 1;
        Ok(self.issue(id, scope, refresh_token, behaviour, now))
    }

    /// A grant to the client itself (RFC 6749 §4.4), which gets no refresh token.
    pub(crate) fn grant_to_client(
        &mut self,
        client_id: &str,
        scope: Vec<String>,
        behaviour: &Behaviour,
        now: SystemTime,
    ) -> Issued {
        let subject = client_id.to_owned();
        self.grants.push(Grant {
            subject,
            scope: scope.clone(),
            nonce: None,
            generation: 0,
            revoked: false,
        });
        self.issue(self.grants.len() - 1, scope, None, behaviour, now)
    }

    fn new_refresh_token(
        &mut self,
        grant: GrantId,
        behaviour: &Behaviour,
        now: SystemTime,
    ) -> String {
        let token = random_token("refresh");
        let expires_at = behaviour
            .refresh_token_expires_in
            .map(|seconds| now + Duration::from_secs(seconds));
        self.refresh_tokens.insert(
            token.clone(),
            RefreshToken {
                grant,
                expires_at,
                spent_at: None,
            },
        );
        token
    }

    fn issue(
        &mut self,
        id: GrantId,
        scope: Vec<String>,
        refresh_token: Option<String>,
        behaviour: &Behaviour,
        now: SystemTime,
    ) -> Issued {
        let grant = &mut self.grants[id];
        grant.generation += 1;
        self.tally.issued += 1;
        let access_token = random_token("access");
        let token = AccessToken {
            grant: id,
            scope: scope.clone(),
            generation: grant.generation,
            expires_at: now + Duration::from_secs(behaviour.expires_in.seconds),
            revoked: false,
        };
        self.access_tokens.insert(access_token.clone(), token);
        Issued {
            access_token,
            refresh_token,
            scope,
            grant: grant.clone(),
        }
    }

    /// What an access token stands for, if it is still good.
    pub(crate) fn access(&self, access_token: &str, now: SystemTime) -> Option<Access> {
        let token = self.access_tokens.get(access_token)?;
        let grant = &self.grants[token.grant];
        let good = !token.revoked && !grant.revoked && now < token.expires_at;
        good.then(|| Access {
            subject: grant.subject.clone(),
            scope: token.scope.clone(),
            generation: token.generation,
        })
    }

    /// Revokes a token for a client (RFC 7009 §2.1): a refresh token takes its whole grant along, an access token only itself.
    pub(crate) fn revoke(&mut self, token: &str) {
        if let Some(refresh) = self.refresh_tokens.get(token) {
            self.grants[refresh.grant].revoked = true;
        } else if let Some(access) = self.access_tokens.get_mut(token) {
            access.revoked = true;
        } else {
            return;
        }
        self.tally.revoked += 1;
    }

    /// Every code and token that was ever issued.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let codes = self.codes.keys();
        let tokens = self.access_tokens.keys().chain(self.refresh_tokens.keys());
        codes.chain(tokens).cloned().collect()
    }

    /// Whether a token was issued here and has been revoked, itself or with its grant.
    pub(crate) fn is_revoked(&self, token: &str) -> bool {
        let access = self
            .access_tokens
            .get(token)
            .map(|access| access.revoked || self.grants[access.grant].revoked);
        let refresh = || {
            self.refresh_tokens
                .get(token)
                .map(|refresh| self.grants[refresh.grant].revoked)
        };
        access.or_else(refresh).unwrap_or(false)
    }

    /// The user withdraws every consent.
    pub(crate) fn revoke_subject(&mut self, subject: &str) {
        for grant in self
            .grants
            .iter_mut()
            .filter(|grant| grant.subject == subject)
        {
            grant.revoked = true;
        }
    }
}

/// The grammar of a `code_verifier` (RFC 7636 §4.1).
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}
