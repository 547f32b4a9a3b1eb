//! Where a test may end a broker, as a power cut would.

use std::sync::Arc;

macro_rules! failpoints {
    ($($(#[$doc:meta])* $point:ident => $name:literal;)*) => {
        /// A moment at which losing the process would hurt.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failpoint { $($(#[$doc])* $point,)* }

        impl Failpoint {
            /// All of them, in the order in which they are met.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }
        }
    };
}

failpoints! {
    /// The refresh lease is taken; nothing was sent.
    RefreshClaimed => "refresh-claimed";
    /// The provider has answered a refresh.
    RefreshAnswered => "refresh-answered";
    /// The answer is on disk, not yet synced.
    JournalWritten => "journal-written";
    /// The answer is in the journal.
    RefreshJournalled => "refresh-journalled";
    /// The new credential is sealed; its transaction begins.
    RefreshSealed => "refresh-sealed";
    /// The new credential is in the database; the journal still has it.
    RefreshCommitted => "refresh-committed";
    /// The consent is spent; its code was not sent.
    ConsentSpent => "consent-spent";
    /// The provider has answered the code's exchange.
    ConsentAnswered => "consent-answered";
    /// The answer is in the journal.
    ConsentJournalled => "consent-journalled";
    /// The id_token is verified and the credential sealed; its transaction begins.
    ConsentSealed => "consent-sealed";
    /// The credential is in the database; the journal still has it.
    ConsentCommitted => "consent-committed";
}

type Mishap = Arc<dyn Fn(Failpoint) + Send + Sync>;

/// What happens at each point: nothing, unless a test that wires a broker
/// itself says otherwise. No setting reaches this.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Mishap>);

impl Failpoints {
    /// Calls this at each point.
    pub fn calling(mishap: impl Fn(Failpoint) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(mishap)))
    }

    /// A point is reached.
    pub fn hit(&self, point: Failpoint) {
        if let Some(mishap) = &self.0 {
            mishap(point);
        }
    }
}
