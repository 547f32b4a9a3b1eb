//! The journal while an answer waits in it.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use reqwest::StatusCode;

use super::{life::Life, places::look_into};
use crate::support::Place;

/// A session that holds what a commit needs, but no claim.
struct Held(Child);

impl Held {
    fn take(url: &str) -> Self {
        let mut psql = Command::new("psql")
            .args(["-qAt", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql comes with PostgreSQL: run `cargo xtask setup`");
        let lock = "begin; lock table events in exclusive mode; select 'locked';\n";
        let stdin = psql.stdin.as_mut().unwrap();
        stdin.write_all(lock.as_bytes()).unwrap();
        let mut line = String::new();
        let stdout = psql.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(psql)
    }

    fn let_go(mut self) {
        // Its session ends with its input.
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Life {
    /// A refresh whose commit has to wait: meanwhile its tokens are nowhere
    /// but in the journal, on disk.
    pub async fn journal(&mut self, place: &Place, database: &str, id: &str) {
        let folder = place.data("journal");
        let entries = || std::fs::read_dir(&folder).unwrap().count();
        eventually!("the journal is empty", { entries() == 0 });
        let held = Held::take(database);
        let url = format!("{}/v1/refresh/{id}", self.gateway);
        let refresh = self.http.post(url).bearer_auth(&self.key);
        let refresh = tokio::spawn(refresh.json(&serde_json::json!({})).send());
        eventually!("the answer is in the journal", { entries() > 0 });
        look_into(&mut self.search, &place.data(""), &super::KEY_FILES);
        held.let_go();
        let answer = refresh.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        self.token(id).await;
    }
}
