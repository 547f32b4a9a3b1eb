//! A proxy before PostgreSQL that counts the statements that pass.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// How often each statement was executed, by its text.
pub type Statements = BTreeMap<String, u64>;

/// A proxy that listens; dropping it ends it.
pub struct CountingProxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    counted: Arc<Mutex<Statements>>,
    accepting: JoinHandle<()>,
}

impl Drop for CountingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CountingProxy {
    /// Listens for what speaks to the server at `address`, in clear.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(address: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let counted = Arc::new(Mutex::new(Statements::new()));
        let counting = counted.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, counting) = (address.clone(), counting.clone());
                // An end that goes away ends the other; nobody else cares.
                tokio::spawn(async move { relay(client, &address, &counting).await });
            }
        });
        Ok(Self {
            port,
            counted,
            accepting,
        })
    }

    /// What was executed since the last time that this was asked.
    #[must_use]
    pub fn take(&self) -> Statements {
        std::mem::take(&mut *lock(&self.counted))
    }
}

async fn relay(
    client: TcpStream,
    address: &str,
    counted: &Mutex<Statements>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut reader = Reader::default();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let size = from_client.read(&mut chunk).await?;
        if size == 0 {
            break;
        }
        // Counted before it is passed on: who has an answer finds its count.
        for statement in reader.read(&chunk[..size]) {
            *lock(counted).entry(statement).or_default() += 1;
        }
        to_server.write_all(&chunk[..size]).await?;
    }
    to_server.shutdown().await?;
    let _ = back.await;
    Ok(())
}

/// Understands what a client says (PostgreSQL's protocol, version 3): a start
/// packet without a type, then messages of a type byte, a length and a body.
#[derive(Default)]
struct Reader {
    pending: Vec<u8>,
    started: bool,
    prepared: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
}

impl Reader {
    /// The statements that these bytes complete the execution of.
    fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(bytes);
        let mut executed = Vec::new();
        loop {
            let head = usize::from(self.started);
            let Some(length) = self.pending.get(head..head + 4) else {
                return executed;
            };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if length < 4 || self.pending.len() < head + length {
                return executed;
            }
            let message: Vec<u8> = self.pending.drain(..head + length).collect();
            if self.started {
                executed.extend(self.message(message[0], &message[5..]));
            }
            self.started = true;
        }
    }

    fn message(&mut self, kind: u8, body: &[u8]) -> Option<String> {
        let mut texts = body.split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        match kind {
            b'P' => {
                let (name, sql) = (text(), text());
                let sql = String::from_utf8_lossy(sql).into_owned();
                self.prepared.insert(name.to_vec(), sql);
                None
            }
            b'B' => {
                let (portal, name) = (text(), text());
                let sql = self.prepared.get(name)?.clone();
                self.portals.insert(portal.to_vec(), sql);
                None
            }
            b'E' => self.portals.get(text()).cloned(),
            b'Q' => Some(String::from_utf8_lossy(text()).into_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() + 4) as u32;
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn executions_are_counted_however_the_bytes_are_cut() {
        let conversation = [
            &message(0, b"\0\x03\0\0user\0x\0\0")[1..],
            &message(b'P', b"s0\0SELECT 1\0\0\0"),
            &message(b'B', b"\0s0\0\0\0\0\0\0\0"),
            &message(b'E', b"\0\0\0\0\0"),
            &message(b'S', b""),
            &message(b'B', b"\0s0\0\0\0\0\0\0\0"),
            &message(b'E', b"\0\0\0\0\0"),
            &message(b'Q', b"COMMIT\0"),
        ]
        .concat();
        for cut in [1, 3, 7, conversation.len()] {
            let mut reader = Reader::default();
            let executed: Vec<String> = conversation
                .chunks(cut)
                .flat_map(|chunk| reader.read(chunk))
                .collect();
            assert_eq!(executed, ["SELECT 1", "SELECT 1", "COMMIT"], "{cut}");
        }
    }
}
