//! An SFTP server of this process, which serves a folder.

#![allow(dead_code, reason = "each of those who include it uses a part of it")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use russh::keys::{HashAlg, PrivateKey, ssh_key};
use russh::server::{Auth, ChannelOpenHandle, Config, Msg, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode, Version,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The password of `me`.
pub const PASSWORD: &str = "s3cr3t-canary";

/// A server, and the folder that it serves.
pub struct Server {
    pub folder: TempDir,
    pub port: u16,
    /// That of its host key.
    pub fingerprint: String,
    pub does: Arc<Does>,
}

/// How it behaves.
#[derive(Default)]
pub struct Does {
    /// Lets in who has the password only if it is asked for in its own words.
    pub asks: AtomicBool,
    /// Answers no request to read.
    pub stalls: AtomicBool,
    /// Drops the connection at the next request to read.
    pub drops: AtomicBool,
    pub connections: AtomicUsize,
    /// How many files were opened.
    pub opened: AtomicUsize,
    /// The public keys that are let in.
    pub keys: Mutex<Vec<ssh_key::PublicKey>>,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = key(1);
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let config = Arc::new(Config {
            keys: vec![key],
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..Config::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let does = Arc::new(Does::default());
        let (root, behaves) = (folder.path().to_owned(), Arc::clone(&does));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (config, root, does) =
                    (Arc::clone(&config), root.clone(), Arc::clone(&behaves));
                does.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let session = Ssh { root, does, channels: HashMap::new() };
                    if let Ok(running) = russh::server::run_stream(config, stream, session).await {
                        let _ = running.await;
                    }
                });
            }
        });
        Self { folder, port, fingerprint, does }
    }

    /// A file that was changed an hour ago.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    }

    pub fn entry(&self, path: &str) -> String {
        format!("sftp://127.0.0.1:{}{path}", self.port)
    }

    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A key, the same for the same number.
pub fn key(number: u8) -> PrivateKey {
    PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[number; 32]))
}

/// A connection of SSH.
struct Ssh {
    root: PathBuf,
    does: Arc<Does>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl russh::server::Handler for Ssh {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let is_right =
            (user, password) == ("me", PASSWORD) && !self.does.asks.load(Ordering::SeqCst);
        Ok(if is_right { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if !self.does.asks.load(Ordering::SeqCst) {
            return Ok(Auth::reject());
        }
        let Some(mut answers) = response else {
            let prompts = vec![("What is it?".into(), false)].into();
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        let is_right = answers.next().is_some_and(|answer| answer == PASSWORD.as_bytes());
        Ok(if is_right { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let is_known = self.does.keys.lock().unwrap().contains(key.public_key);
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        assert_eq!(name, "sftp");
        let channel = self.channels.remove(&id).unwrap();
        session.channel_success(id)?;
        let handle = session.handle();
        let (root, does) = (self.root.clone(), Arc::clone(&self.does));
        let files =
            Files { root, does, listed: HashMap::new(), opened: HashMap::new(), ssh: (handle, id) };
        russh_sftp::server::run(channel.into_stream(), files).await;
        Ok(())
    }
}

/// A session of SFTP.
struct Files {
    root: PathBuf,
    does: Arc<Does>,
    listed: HashMap<String, Vec<File>>,
    opened: HashMap<String, std::fs::File>,
    ssh: (russh::server::Handle, ChannelId),
}

impl Files {
    /// Relative paths begin in the folder `home`.
    fn real(&self, path: &str) -> PathBuf {
        match path.strip_prefix('/') {
            Some(path) => self.root.join(path),
            None => self.root.join("home").join(path),
        }
    }
}

fn status(error: std::io::Error) -> StatusCode {
    match error.kind() {
        std::io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        std::io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        _ => StatusCode::Failure,
    }
}

impl russh_sftp::server::Handler for Files {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, StatusCode> {
        Ok(Version::new())
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusCode> {
        let real = self.real(&path).canonicalize().map_err(status)?;
        Ok(Name { id, files: vec![File::dummy(real.to_string_lossy())] })
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusCode> {
        let entries = std::fs::read_dir(self.real(&path)).map_err(status)?;
        let of = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.map_err(status)?;
            let metadata = entry.path().symlink_metadata().map_err(status)?;
            Ok(File::new(entry.file_name().to_string_lossy(), FileAttributes::from(&metadata)))
        };
        let mut files = entries.map(of).collect::<Result<Vec<_>, StatusCode>>()?;
        let this = self.root.metadata().map_err(status)?;
        files.extend([".", ".."].map(|name| File::new(name, FileAttributes::from(&this))));
        self.listed.insert(path.clone(), files);
        Ok(Handle { id, handle: path })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusCode> {
        let rest = self.listed.get_mut(&handle).ok_or(StatusCode::Failure)?;
        match rest.is_empty() {
            true => Err(StatusCode::Eof),
            // Two at a time.
            false => Ok(Name { id, files: rest.drain(..rest.len().min(2)).collect() }),
        }
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        let metadata = self.real(&path).metadata().map_err(status)?;
        Ok(Attrs { id, attrs: FileAttributes::from(&metadata) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusCode> {
        let metadata =
            self.opened.get(&handle).ok_or(StatusCode::Failure)?.metadata().map_err(status)?;
        Ok(Attrs { id, attrs: FileAttributes::from(&metadata) })
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        _: OpenFlags,
        _: FileAttributes,
    ) -> Result<Handle, StatusCode> {
        let file = std::fs::File::open(self.real(&path)).map_err(status)?;
        self.does.opened.fetch_add(1, Ordering::SeqCst);
        let handle = self.opened.len().to_string();
        self.opened.insert(handle.clone(), file);
        Ok(Handle { id, handle })
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        len: u32,
    ) -> Result<Data, StatusCode> {
        use std::os::unix::fs::FileExt;
        if self.does.stalls.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.does.drops.swap(false, Ordering::SeqCst) {
            let (ssh, _) = &self.ssh;
            let _ =
                ssh.disconnect(russh::Disconnect::ByApplication, "gone".into(), "en".into()).await;
        }
        let mut data = vec![0; len as usize];
        let file = self.opened.get(&handle).ok_or(StatusCode::Failure)?;
        let read = file.read_at(&mut data, offset).map_err(status)?;
        data.truncate(read);
        if data.is_empty() { Err(StatusCode::Eof) } else { Ok(Data { id, data }) }
    }

    async fn close(&mut self, id: u32, _: String) -> Result<Status, StatusCode> {
        Ok(Status {
            id,
            status_code: StatusCode::Ok,
            error_message: String::new(),
            language_tag: String::new(),
        })
    }
}
