//! Keys that are rotated, and the audit that leaves with its own.

use std::{
    fs,
    io::Write,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use dromos_serve::Settings;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::life::Life;
use crate::support::Place;

/// Made up, as `openssl rand -base64 32` would print it.
const NEW_KEK: [u8; 32] = *b"marker-key-encryption-key-012345";

impl Life {
    /// A command, as a person runs it; all that it says may be read.
    fn run(&mut self, place: &Place, arguments: &[&str]) -> String {
        let ran = place.run(arguments);
        let what = format!("what `{}` says", arguments[..2].join(" "));
        self.search
            .read(what, format!("{}{}", ran.stdout, ran.stderr));
        ran.good()
    }

    /// New data keys; everything stored is encrypted again.
    pub fn rotate_data_keys(&mut self, place: &Place) {
        let gateway = self.gateway.clone();
        let rotate = ["keys", "rotate", "--wait", "--gateway-url", &gateway];
        let rotated = self.run(place, &rotate);
        assert!(rotated.contains("stored secrets encrypted again"));
        assert!(!rotated.contains(" 0 stored"), "{rotated}");
        self.run(place, &["keys", "status", "--gateway-url", &gateway]);
    }

    /// Puts another key-encryption key before the one that there is: both.
    pub fn add_key_encryption_key(&mut self, place: &Place) -> [String; 2] {
        let file = place.data("encryption.key");
        let before = fs::read_to_string(&file).unwrap().trim().to_owned();
        let new = STANDARD.encode(NEW_KEK);
        self.search.met_key("the new key-encryption key", &new);
        fs::write(&file, format!("{new}\n{before}\n")).unwrap();
        [new, before]
    }

    /// Wraps the data keys under the new key-encryption key.
    pub fn rotate_key_encryption_key(&mut self, place: &Place) {
        let gateway = self.gateway.clone();
        let rotate = ["keys", "rotate", "--kek", "--wait", "--gateway-url"];
        let rotated = self.run(place, &[&rotate[..], &[&gateway]].concat());
        assert!(rotated.contains("wrapped again"), "{rotated}");
        assert!(!rotated.contains(" 0 data keys"), "{rotated}");
    }

    /// Exports the audit while it is served.
    pub fn export_audit(&mut self, place: &Place) {
        let gateway = self.gateway.clone();
        let export = ["audit", "export", "--to", "audit.jsonl", "--gateway-url"];
        self.run(place, &[&export[..], &[&gateway]].concat());
        let exported = fs::read(place.path().join("audit.jsonl")).unwrap();
        self.search.read("the audit's export", exported);
    }

    /// `dromos-broker audit keys`, by the settings of the key provider `env`;
    /// then the audit is verified with them, and with the key-encryption key.
    /// What that command logs may be read; what it writes is secret.
    pub fn verify_audit(&mut self, place: &Place, keks: &[String; 2], database: Option<&str>) {
        let mut settings = vec![
            ("DATA_DIR", place.data("").display().to_string()),
            ("KEY_PROVIDER", "env".to_owned()),
            ("ENCRYPTION_KEY", keks[0].clone()),
            ("ENCRYPTION_KEY_PREVIOUS", keks[1].clone()),
        ];
        settings.extend(database.map(|url| ("DATABASE_URL", url.to_owned())));
        let log = Log::default();
        let keys = log.of(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let mut stdout = vec![];
            let settings = Settings::from_map(settings);
            let keys = dromos_broker::export_audit_keys(&settings, &mut stdout);
            assert!(runtime.block_on(keys).unwrap() > 0);
            String::from_utf8(stdout).unwrap()
        });
        self.search
            .read("the log of `audit keys`", log.0.lock().unwrap().clone());
        for line in keys.lines() {
            let key = line.split_once(' ').unwrap().1;
            self.search.met_key("an audit key", key);
        }
        fs::write(place.path().join("audit.keys"), keys).unwrap();

        let heads: Vec<String> = fs::read_dir(place.data("audit-heads"))
            .unwrap()
            .map(|file| file.unwrap().path().display().to_string())
            .collect();
        let heads = heads.iter().flat_map(|path| ["--heads", path]);
        let verify = ["audit", "verify", "audit.jsonl"];
        let verify: Vec<&str> = verify.into_iter().chain(heads).collect();
        for more in [&[][..], &["--audit-keys", "audit.keys"]] {
            let verified = self.run(place, &[&verify[..], more].concat());
            assert!(
                verified.contains("every row is as it was written"),
                "{verified}"
            );
        }
    }
}

/// What one thread logs, all of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("trace"))
            .with_writer(self.clone())
            .finish();
        let logged = || tracing::subscriber::with_default(subscriber, work);
        std::thread::scope(|scope| scope.spawn(logged).join().unwrap())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
