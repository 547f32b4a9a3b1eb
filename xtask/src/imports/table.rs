//! The architecture's table "may import", as data, and what it forbids.

use std::path::Path;

use super::scan::UsedPath;

/// What one crate may import.
#[derive(Debug)]
pub struct CrateRule {
    /// Its folder in the repository.
    pub folder: &'static str,
    /// How code names it.
    name: &'static str,
    /// Which of our crates it may name.
    crates: &'static [&'static str],
    /// What its top-level modules may import besides; empty: no rule inside.
    modules: &'static [ModuleRule],
    /// Foreign crates that only some of the modules may name; a name also
    /// stands for its family, as tonic for tonic_web. Where there are such,
    /// every top-level module needs a rule.
    fenced: &'static [&'static str],
    /// Whether it is a service, which makes `tonic::Status` in one file.
    is_service: bool,
}

/// What one top-level module of a crate may import.
#[derive(Debug)]
struct ModuleRule {
    name: &'static str,
    /// Which of its siblings it may name.
    siblings: Siblings,
    /// Which of our crates it may name, beyond the crate's own.
    crates: &'static [&'static str],
    /// Which of the fenced foreign crates it may name.
    foreign: &'static [&'static str],
}

#[derive(Debug)]
enum Siblings {
    All,
    Only(&'static [&'static str]),
}
use Siblings::{All, Only};

/// Our crates, as code names them.
const OURS: &[&str] = &[
    "dromos_proto",
    "transcode",
    "dromos_audit",
    "dromos_strategy",
    "dromos_simulator",
    "dromos_serve",
    "dromos_broker",
    "dromos_gateway",
    "dromos_bridge",
    "dromos_cli",
    "dromos_bench",
    "xtask",
];

const STORAGE: &[&str] = &[
    "diesel",
    "diesel_async",
    "diesel_migrations",
    "libsqlite3_sys",
    "tokio_postgres",
];
const WIRE: &[&str] = &["tonic", "prost", "axum"];
/// Both.
const FENCED: &[&str] = &[
    "diesel",
    "diesel_async",
    "diesel_migrations",
    "libsqlite3_sys",
    "tokio_postgres",
    "tonic",
    "prost",
    "axum",
    "redis",
];

const NOTHING: &[&str] = &[];
const EDGE: &[&str] = &["dromos_proto", "dromos_serve", "transcode", "dromos_audit"];

const fn plain(
    folder: &'static str,
    name: &'static str,
    crates: &'static [&'static str],
) -> CrateRule {
    CrateRule {
        folder,
        name,
        crates,
        modules: &[],
        fenced: NOTHING,
        is_service: false,
    }
}

const fn module(
    name: &'static str,
    siblings: Siblings,
    crates: &'static [&'static str],
    foreign: &'static [&'static str],
) -> ModuleRule {
    ModuleRule {
        name,
        siblings,
        crates,
        foreign,
    }
}

/// The table.
pub const CRATES: &[CrateRule] = &[
    plain("proto", "dromos_proto", NOTHING),
    plain("transcode", "transcode", NOTHING),
    plain("audit", "dromos_audit", NOTHING),
    plain("strategy", "dromos_strategy", NOTHING),
    plain("simulator", "dromos_simulator", NOTHING),
    plain("xtask", "xtask", NOTHING),
    // It runs the services as programs, from outside; of the broker it takes
    // the vault and the store, to fill a database, and a broker of its own,
    // whose audit keeps nothing.
    plain(
        "bench",
        "dromos_bench",
        &[
            "dromos_proto",
            "dromos_simulator",
            "dromos_broker",
            "dromos_serve",
        ],
    ),
    CrateRule {
        is_service: true,
        ..plain("serve", "dromos_serve", &["transcode"])
    },
    CrateRule {
        folder: "broker",
        name: "dromos_broker",
        // The binary reads the settings and starts the log; the modules' own
        // rules are below.
        crates: &["dromos_serve"],
        modules: &[
            module("domain", Only(NOTHING), NOTHING, NOTHING),
            module("cache", Only(&["domain"]), NOTHING, &["redis"]),
            module("egress", Only(&["domain", "cache"]), NOTHING, NOTHING),
            module("grant", Only(&["domain", "egress"]), NOTHING, NOTHING),
            // It signs the audit's rows and heads.
            module("vault", Only(&["domain"]), &["dromos_audit"], NOTHING),
            module("store", Only(&["domain"]), NOTHING, STORAGE),
            module("journal", Only(&["domain"]), NOTHING, NOTHING),
            module(
                "flow",
                Only(&[
                    "domain", "grant", "vault", "egress", "cache", "store", "journal",
                ]),
                &["dromos_strategy", "dromos_audit"],
                NOTHING,
            ),
            module("rpc", Only(&["flow", "domain"]), EDGE, WIRE),
            module("http", Only(&["flow", "domain"]), EDGE, WIRE),
            module(
                "app",
                All,
                &[
                    "dromos_proto",
                    "dromos_serve",
                    "transcode",
                    "dromos_strategy",
                    "dromos_audit",
                ],
                WIRE,
            ),
        ],
        fenced: FENCED,
        is_service: true,
    },
    CrateRule {
        is_service: true,
        ..plain(
            "gateway",
            "dromos_gateway",
            &[
                "dromos_proto",
                "transcode",
                "dromos_strategy",
                "dromos_serve",
            ],
        )
    },
    plain(
        "bridge",
        "dromos_bridge",
        &["dromos_proto", "transcode", "dromos_strategy"],
    ),
    CrateRule {
        folder: "cli",
        name: "dromos_cli",
        crates: &[
            "dromos_proto",
            "transcode",
            "dromos_strategy",
            "dromos_serve",
            "dromos_bridge",
            "dromos_audit",
        ],
        modules: &[
            module(
                "up",
                All,
                &["dromos_broker", "dromos_gateway", "dromos_simulator"],
                FENCED,
            ),
            module("simulator", All, &["dromos_simulator"], NOTHING),
            module(
                "demo",
                All,
                &["dromos_broker", "dromos_gateway", "dromos_simulator"],
                FENCED,
            ),
        ],
        fenced: NOTHING,
        is_service: false,
    },
];

/// The functions that make a `tonic::Status`.
const STATUS_CONSTRUCTORS: &[&str] = &[
    "new",
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
    "from_error",
    "with_details",
    "with_metadata",
    "with_details_and_metadata",
    "with_error_details",
    "with_error_details_vec",
    "with_error_details_and_metadata",
];

impl CrateRule {
    /// What is wrong with a path that a module of this crate uses.
    pub fn complaints(&self, file: &Path, module: &[String], used: &UsedPath) -> Vec<String> {
        let mut complaints = Vec::new();
        if !used.leads_somewhere() {
            return complaints;
        }
        if let Some(sibling) = self.sibling(module, used) {
            complaints.extend(self.about_sibling(module, &sibling));
        } else {
            complaints.extend(self.about_crate(module, used));
        }
        complaints.extend(self.about_status(file, used));
        complaints
    }

    /// What is wrong with a file being there at all.
    pub fn complaint_about_module(&self, module: &[String]) -> Option<String> {
        let top = module.first()?;
        (!self.fenced.is_empty() && self.rule_of(module).is_none()).then(|| {
            format!(
                "xtask/src/imports/table.rs has no rule for the module {top} of {}",
                self.folder
            )
        })
    }

    fn rule_of(&self, module: &[String]) -> Option<&ModuleRule> {
        let top = module.first()?;
        self.modules.iter().find(|rule| rule.name == top.as_str())
    }

    /// The top-level module of this crate that the path leads to.
    fn sibling(&self, module: &[String], used: &UsedPath) -> Option<String> {
        let mut here = [module, &used.inside].concat();
        let mut rest = used.segments.iter().map(String::as_str).peekable();
        match rest.next()? {
            "crate" => here.clear(),
            own if own == self.name => here.clear(),
            "self" => {}
            "super" => {
                here.pop();
                while rest.next_if_eq(&"super").is_some() {
                    here.pop();
                }
            }
            _ => return None,
        }
        here.extend(rest.map(str::to_owned));
        // The root itself is nobody's sibling: reported as such below.
        Some(here.into_iter().next().unwrap_or_default())
    }

    fn about_sibling(&self, module: &[String], sibling: &str) -> Option<String> {
        let rule = self.rule_of(module)?;
        let Only(allowed) = rule.siblings else {
            return None;
        };
        let is_allowed = sibling == rule.name || allowed.contains(&sibling);
        (!is_allowed).then(|| {
            let sibling = if sibling.is_empty() {
                "the crate's root"
            } else {
                sibling
            };
            format!(
                "{} may import {}, not {sibling}",
                rule.name,
                listed(allowed)
            )
        })
    }

    fn about_crate(&self, module: &[String], used: &UsedPath) -> Option<String> {
        let name = used.segments.first()?.as_str();
        let rule = self.rule_of(module);
        let who = rule.map_or(self.name, |rule| rule.name);
        if OURS.contains(&name) {
            let besides = rule.map_or(NOTHING, |rule| rule.crates);
            // Where modules have rules, the root only declares them.
            let is_allowed = self.crates.contains(&name) || besides.contains(&name);
            return (!is_allowed).then(|| {
                let allowed: Vec<&str> = self.crates.iter().chain(besides).copied().collect();
                format!(
                    "{who} may import {} of our crates, not {name}",
                    listed(&allowed)
                )
            });
        }
        let is_fenced = fenced(name, self.fenced);
        let allowed = rule.map_or(NOTHING, |rule| rule.foreign);
        (is_fenced && !fenced(name, allowed)).then(|| format!("{who} may not know {name}"))
    }

    fn about_status(&self, file: &Path, used: &UsedPath) -> Option<String> {
        let [.., kind, constructor] = &used.segments[..] else {
            return None;
        };
        let is_home = file
            .file_stem()
            .is_some_and(|stem| stem == "status" || stem == "error");
        (self.is_service
            && !is_home
            && kind == "Status"
            && STATUS_CONSTRUCTORS.contains(&constructor.as_str()))
        .then(|| {
            format!(
                "Status::{constructor} belongs in the service's status.rs, the one table of errors"
            )
        })
    }
}

/// Whether a crate, or the family it belongs to by name, is listed.
fn fenced(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| {
        name.strip_prefix(entry)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
