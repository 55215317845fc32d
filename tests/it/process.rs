//! Real processes of kasparro: started on a test's database and jobs folder, watched line by line,
//! and killed when they go out of scope.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::app::TestApp;

/// Long enough for a busy machine and a take-over; a test that needs it has failed.
const TIMEOUT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running kasparro.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    errors: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

/// What a kasparro that ended has said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A command of kasparro on the app's database and jobs folder, in a folder without settings.
pub fn kasparro(app: &TestApp, arguments: &[&str]) -> Command {
    let folder = app.path("working-folder");
    std::fs::create_dir_all(&folder).expect("a folder to work in");
    let mut command = program();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KASPARRO_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("DATABASE_URL", app.database.url())
        .env("KASPARRO_JOBS_DIR", app.folder.path())
        .current_dir(folder);
    command
}

/// kasparro, which minds the end of its terminal. A test run that is started by `nohup`, say, ignores
/// SIGHUP, and what it starts would inherit that.
fn program() -> Command {
    let kasparro = env!("CARGO_BIN_EXE_kasparro");
    if !ignores_hangups() {
        return Command::new(kasparro);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", kasparro]);
    command
}

/// Whether this process ignores SIGHUP, the lowest bit of the mask, see proc(5).
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// An address that nobody listens on.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// Runs a command of kasparro to its end.
pub async fn call(app: &TestApp, arguments: &[&str]) -> Ended {
    Process::start(kasparro(app, arguments)).ended().await
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let waited = tokio::time::timeout(TIMEOUT, waiting).await;
    waited.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start_as_is(command)
    }

    /// With the standard output that the command has.
    pub fn start_with_output(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self::start_as_is(command)
    }

    /// With the standard error that the command has.
    pub fn start_with_errors(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_as_is(command)
    }

    /// In a person's terminal of so many columns; what is said, on either channel, is its output.
    pub fn start_on_terminal(mut command: Command, columns: u16) -> Self {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        command.env("TERM", "xterm");
        command.stdout(slave.try_clone().expect("a channel")).stderr(slave);
        let mut process = Self::start_as_is(command);
        process.readers.push(collect(std::fs::File::from(master), &process.output));
        process
    }

    fn start_as_is(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        // A group of its own, so that whatever it started can be ended with it.
        command.process_group(0);
        let mut child = command.spawn().expect("kasparro starts");
        let (output, errors) = (Arc::default(), Arc::default());
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|channel| collect(channel, &output)));
        readers.extend(child.stderr.take().map(|channel| collect(channel, &errors)));
        Self { child, output, errors, readers }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has said `text`, on either channel.
    pub async fn says(&mut self, text: &str) {
        let (output, errors) = (self.output.clone(), self.errors.clone());
        let said = || [&output, &errors].iter().any(|c| c.lock().unwrap().contains(text));
        let waiting = async {
            while !said() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return Some(status);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            None
        };
        let waited = tokio::time::timeout(TIMEOUT, waiting).await;
        if !matches!(waited, Ok(None)) {
            for reader in self.readers.drain(..) {
                // A process that lives on keeps its channels open.
                if waited.is_ok() {
                    let _ = reader.join();
                }
            }
            assert!(said(), "{text:?} was not said ({waited:?}):\n{}", self.said());
        }
    }

    /// Everything that was said so far, for the message of a failed test.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.output.lock().unwrap(), self.errors.lock().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process is ours");
    }

    /// What a terminal does on Ctrl-C: the signal goes to everybody in the foreground.
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).expect("the processes are ours");
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process number"))
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Waits until the process ends by itself.
    pub async fn ended(mut self) -> Ended {
        let waiting = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(TIMEOUT, waiting).await;
        let status = waited.unwrap_or_else(|_| panic!("it does not end:\n{}", self.said()));
        for reader in self.readers.drain(..) {
            reader.join().expect("what was said is collected");
        }
        let (stdout, stderr) =
            (self.output.lock().unwrap().clone(), self.errors.lock().unwrap().clone());
        Ended { status, stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    #[track_caller]
    pub fn code(&self, expected: i32) -> &Self {
        assert_eq!(self.status.code(), Some(expected), "{self:#?}");
        self
    }

    /// That each of the texts was said on standard error.
    #[track_caller]
    pub fn complains(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing in\n{}", self.stderr);
        }
        self
    }

    /// That each of the texts was said on standard output.
    #[track_caller]
    pub fn prints(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.stdout.contains(text), "{text:?} is missing in\n{}", self.stdout);
        }
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

fn collect(
    channel: impl Read + Send + 'static,
    into: &Arc<Mutex<String>>,
) -> std::thread::JoinHandle<()> {
    let into = into.clone();
    std::thread::spawn(move || {
        let mut channel = BufReader::new(channel);
        let mut line = Vec::new();
        while matches!(channel.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
