//! A store on its own, and rows to put into it.

use std::sync::Arc;

use chrono::TimeDelta;
use dromos_broker::{
    domain::{
        Timestamp,
        ambient::Ambient,
        audit::{Action, Actor, AuditEvent},
        audit_chain::{AuditSigner, Mac},
        connection::{Connection, Status},
        consent::Consent,
        credential::NewCredential,
        id::{ConnectionId, ConsentId, DataKeyId, ProviderId, WorkspaceId},
        provider::Provider,
        sealed::Sealed,
    },
    store::{self, CompletedConsent, Completion, Store},
};
use serde_json::json;

use crate::{
    database::Database,
    world::{Db, TestClock, create_database},
};

pub const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

/// Signs with nothing, where no test looks at it.
struct Pencil;

impl AuditSigner for Pencil {
    fn key_id(&self) -> DataKeyId {
        DataKeyId(WORKSPACE.0)
    }

    fn sign(&self, _: uuid::Uuid, _: i64, _: &Mac, _: &AuditEvent) -> Mac {
        [0; 32]
    }
}

pub struct Shelf {
    pub store: Arc<dyn Store>,
    pub ambient: Ambient,
    pub clock: TestClock,
    pub url: String,
    _dir: tempfile::TempDir,
}

impl Shelf {
    /// A migrated, empty store.
    pub async fn new(db: Db) -> Self {
        let shelf = Self::unmigrated(db).await;
        shelf.store.migrate().await.expect("it migrates");
        shelf
    }

    pub async fn unmigrated(db: Db) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = match db {
            Db::Sqlite => dir.path().join("store.db").display().to_string(),
            Db::Postgres => create_database().await,
        };
        let clock = TestClock::new();
        let store = store::open(&url).await.expect("it opens");
        let ambient = Ambient {
            clock: Arc::new(clock.clone()),
            ..Ambient::system()
        };
        store.sign_audit_with(Arc::new(Pencil), ambient.clone());
        Self {
            store,
            ambient,
            clock,
            url,
            _dir: dir,
        }
    }

    /// Another broker's store, on the same database.
    pub async fn another(&self) -> Arc<dyn Store> {
        let store = store::open(&self.url).await.expect("it opens");
        store.sign_audit_with(Arc::new(Pencil), self.ambient.clone());
        store
    }

    pub async fn database(&self) -> Database {
        Database::open(&self.url).await
    }

    pub fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    pub fn event(&self) -> AuditEvent {
        let actor = Actor::Anonymous(WORKSPACE, "request-1");
        AuditEvent::new(&self.ambient, Action::CredentialRefreshed, actor)
    }

    pub fn provider_row(&self, name: &str) -> Provider {
        let definition = json!({
            "display_name": "", "category": "", "description": "", "api_base_url": "",
            "shared_redirect_uri": false,
            "strategy": { "type": "oauth2" },
            "oauth2": {
                "issuer": "https://login.example.com", "client_id": "c",
                "authorization_endpoint": "", "token_endpoint": "", "revocation_endpoint": "",
                "userinfo_endpoint": "", "device_authorization_endpoint": "",
                "token_endpoint_auth_method": "client_secret_basic",
                "grant_type": "authorization_code",
                "scopes": [], "scope_separator": " ", "pkce": true,
                "authorization_params": {}, "token_params": {}, "refresh_params": {},
                "token_request_format": "form", "expires_in_unit": "seconds",
                "default_expires_in": 0, "refresh_margin": 300,
            },
        });
        Provider {
            id: ProviderId(self.ambient.id()),
            workspace_id: WORKSPACE,
            name: name.to_owned(),
            definition: serde_json::from_value(definition).expect("a definition"),
            client_secret: Some(Sealed(vec![1, 2, 3])),
            secret_generation: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub async fn provider(&self, name: &str) -> Provider {
        let row = self.provider_row(name);
        let inserted = self.store.insert_provider(&row, self.event()).await;
        assert!(inserted.expect("the store answers"));
        row
    }

    pub fn connection_row(&self, provider: &Provider, user_id: &str) -> Connection {
        Connection {
            id: ConnectionId(self.ambient.id()),
            workspace_id: WORKSPACE,
            user_id: user_id.to_owned(),
            provider_id: provider.id,
            provider_name: provider.name.clone(),
            status: Status::Pending,
            reason: String::new(),
            scopes: vec!["openid".to_owned()],
            connection_config: [("subdomain".to_owned(), "acme".to_owned())].into(),
            metadata: [("note".to_owned(), "süß".to_owned())].into(),
            subject: None,
            consent_expires_at: self.now() + TimeDelta::seconds(600),
            expires_at: None,
            refreshable: false,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub fn consent_row(&self, connection: &Connection) -> Consent {
        Consent {
            id: ConsentId(self.ambient.id()),
            state_hash: self.ambient.bytes(),
            handle_hash: self.ambient.bytes(),
            workspace_id: WORKSPACE,
            connection_id: connection.id,
            provider_id: connection.provider_id,
            secrets: Sealed(vec![4, 5, 6]),
            return_url: "https://app.example.com/done".parse().expect("a URL"),
            scopes: vec!["openid".to_owned()],
            created_at: self.now(),
            expires_at: self.now() + TimeDelta::seconds(600),
            spent_at: None,
            require_confirmation: false,
        }
    }

    /// A PENDING connection and its open consent.
    pub async fn pending(&self, provider: &Provider, user_id: &str) -> (Connection, Consent) {
        let connection = self.connection_row(provider, user_id);
        let consent = self.consent_row(&connection);
        let inserted = self
            .store
            .insert_connection(&connection, &consent, self.event())
            .await;
        inserted.expect("the store answers");
        (connection, consent)
    }

    pub fn credential(&self, tag: u8) -> NewCredential {
        NewCredential {
            usage: Sealed(vec![tag, 1]),
            refresh: Some(Sealed(vec![tag, 2])),
            issued_at: self.now(),
            expires_at: Some(self.now() + TimeDelta::seconds(3600)),
            refresh_at: Some(self.now() + TimeDelta::seconds(3300)),
            due_at: Some(self.now() + TimeDelta::seconds(2880)),
            token_origin: "https://login.example.com".to_owned(),
        }
    }

    pub async fn complete(&self, consent: &Consent, generation: u32, tag: u8) -> Completion {
        let completed = CompletedConsent {
            workspace_id: WORKSPACE,
            connection_id: consent.connection_id,
            consent_id: consent.id,
            at: self.now(),
            generation,
            credential: self.credential(tag),
            scopes: vec!["openid".to_owned()],
            subject: Some("ada".to_owned()),
            confirmed: false,
        };
        let completion = self.store.complete_consent(completed, self.event()).await;
        completion.expect("the store answers")
    }

    /// An ACTIVE connection with a credential of generation 1.
    pub async fn active(&self, provider: &Provider, user_id: &str) -> Connection {
        let (connection, consent) = self.pending(provider, user_id).await;
        assert_eq!(self.complete(&consent, 0, 1).await, Completion::Done);
        connection
    }

    pub async fn status(&self, id: ConnectionId) -> Status {
        let found = self.store.connection(WORKSPACE, id).await;
        found.expect("the store answers").expect("a row").status
    }
}
