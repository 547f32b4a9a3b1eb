//! Sessions with a server that takes writes, and no others: after a failover
//! the pool is left by what leads to a closed or demoted server, without a
//! question to the server before each use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use diesel::{
    connection::{Instrumentation, InstrumentationEvent},
    result::{DatabaseErrorKind, Error},
};
use diesel_async::{
    AsyncConnection, AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod,
    },
};

use super::link::{Link, split_query};

/// What a URL says that does not say it itself. A server that went silent is
/// found out within seconds, and one that takes no writes is not connected to.
/// And one plan for each statement: all find their rows by keys, whatever the
/// values; a new plan for each execution would cost more than the execution.
const DEFAULTS: [(&str, &str); 7] = [
    ("connect_timeout", "5"),
    ("tcp_user_timeout", "10"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_retries", "3"),
    ("target_session_attrs", "read-write"),
    (
        "options",
        "-c%20statement_timeout%3D10s%20-c%20plan_cache_mode%3Dforce_generic_plan",
    ),
];

/// Makes the pool's sessions and judges them before each use.
pub(super) fn manager(link: Arc<Link>) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let refusals = Arc::new(AtomicU64::new(0));
    let mut config = ManagerConfig::default();
    config.custom_setup = Box::new(move |_| {
        let link = link.clone();
        let seen = refusals.load(Ordering::Relaxed);
        let refusals = refusals.clone();
        Box::pin(async move {
            let mut session = link.connect().await?;
            session.set_instrumentation(Watch { refusals, seen });
            Ok(session)
        })
    });
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|session| {
        let usable = is_usable(session);
        Box::pin(std::future::ready(if usable {
            Ok(())
        } else {
            Err(Error::BrokenTransactionManager)
        }))
    }));
    AsyncDieselConnectionManager::new_with_config("", config)
}

fn is_usable(session: &mut AsyncPgConnection) -> bool {
    !session.is_broken()
        && session
            .instrumentation()
            .downcast_ref::<Watch>()
            .is_some_and(Watch::is_current)
}

/// Sees a session's errors. One refused write (25006, as a primary answers
/// that was demoted with its connections kept) speaks for all sessions that
/// are as old: none of them is used again.
struct Watch {
    /// How many such refusals the pool has met.
    refusals: Arc<AtomicU64>,
    /// How many it had met when this session began.
    seen: u64,
}

impl Watch {
    fn is_current(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) == self.seen
    }
}

impl Instrumentation for Watch {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::FinishQuery {
            error: Some(Error::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)),
            ..
        } = event
        {
            // Only the first of them counts: the pool may be new by now.
            let _ = self.refusals.compare_exchange(
                self.seen,
                self.seen + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }
}

/// The URL with [`DEFAULTS`]. Text, not a parsed URL: one with several hosts
/// is none to the `url` crate.
pub(super) fn with_defaults(url: &str) -> String {
    let (base, query) = split_query(url);
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(str::to_owned)
        .collect();
    let own = parameters.len();
    for (name, value) in DEFAULTS {
        let is_set = parameters[..own].iter().any(|parameter| {
            parameter
                .split_once('=')
                .is_some_and(|(own, _)| own == name)
        });
        if !is_set {
            parameters.push(format!("{name}={value}"));
        }
    }
    format!("{base}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says_itself_stands() {
        let url = with_defaults("postgres://u:p@h/d?connect_timeout=1&options=-c%20a%3Db");
        assert!(url.starts_with("postgres://u:p@h/d?connect_timeout=1&options=-c%20a%3Db&"));
        assert_eq!(url.matches("connect_timeout").count(), 1, "{url}");
        assert_eq!(url.matches("options").count(), 1, "{url}");
        assert!(url.contains("&target_session_attrs=read-write"), "{url}");
    }

    #[test]
    fn several_hosts_get_the_same_bounds() {
        let url = with_defaults("postgres://u:p@a:5432,b:5433,c/d");
        assert!(url.starts_with("postgres://u:p@a:5432,b:5433,c/d?connect_timeout=5&"));
        assert!(
            url.contains("&options=-c%20statement_timeout%3D10s%20-c%20"),
            "{url}"
        );
    }

    #[test]
    fn one_refused_write_speaks_for_every_session_as_old() {
        let refusals = Arc::new(AtomicU64::new(0));
        let watch = |seen| Watch {
            refusals: refusals.clone(),
            seen,
        };
        let (mut first, mut second) = (watch(0), watch(0));
        let refusal = Error::DatabaseError(
            DatabaseErrorKind::ReadOnlyTransaction,
            Box::new("cannot execute INSERT in a read-only transaction".to_owned()),
        );
        refuse(&mut first, &refusal);
        assert!(!first.is_current() && !second.is_current());
        let new = watch(refusals.load(Ordering::Relaxed));
        assert!(new.is_current());
        refuse(&mut second, &refusal);
        assert!(
            new.is_current(),
            "a late refusal says nothing of the new ones"
        );
    }

    fn refuse(watch: &mut Watch, error: &Error) {
        let query = diesel::sql_query("insert");
        let query = diesel::debug_query::<diesel::pg::Pg, _>(&query);
        watch.on_connection_event(InstrumentationEvent::finish_query(&query, Some(error)));
    }
}
