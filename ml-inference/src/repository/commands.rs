//! Commands to the thread that loads models, and the time limit for their replies.
//!
//! The thread handles one command after the other, so a command waits for a load that is in progress. The sender gets a reply
//! within MODELS_LOAD_TIMEOUT; a command that was accepted is never dropped.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Commands that wait for the thread.
pub(super) const MOST_WAITING: usize = 16;

pub(super) type Reply = oneshot::Sender<Result<(), CommandError>>;

#[derive(Debug)]
pub(super) enum Command {
    /// Load the wanted versions of a model, rejected ones included.
    Load(String, Reply),
    /// Unload a model until it is loaded again.
    Unload(String, Reply),
    /// The registry has changed a model's directory, and no longer has these versions, where it is known which.
    Pulled(String, Option<BTreeSet<u64>>),
}

/// Error of a load or unload command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("there is no model `{model}` in MODELS_DIR")]
    NoModel { model: String },
    #[error("there is no model `{model}`, and no MODELS_DIR to load it from")]
    NoDirectory { model: String },
    #[error("`{model}` is part of the program and cannot be unloaded")]
    BuiltIn { model: String },
    #[error("failed to load `{model}`: {problem}")]
    Refused { model: String, problem: String },
    #[error("MODELS_DIR cannot be read: {problem}")]
    Unreadable { problem: String },
    #[error("{limit} load and unload requests are already waiting")]
    Busy { limit: usize },
    #[error("{limit} models are already unloaded, and no more can be")]
    TooManyUnloaded { limit: usize },
    #[error("`{model}` is not {} after {} seconds (MODELS_LOAD_TIMEOUT); the work goes on, and the index shows its outcome", .kind.done(), .limit.as_secs_f64())]
    Late {
        model: String,
        kind: CommandKind,
        limit: Duration,
    },
    #[error("the thread that loads models has ended")]
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    Load,
    Unload,
}

impl CommandKind {
    fn done(self) -> &'static str {
        match self {
            Self::Load => "loaded",
            Self::Unload => "unloaded",
        }
    }
}

/// Sender of commands to the thread.
#[derive(Debug, Clone)]
pub struct Commands {
    commands: SyncSender<Command>,
    /// Time limit for a reply.
    limit: Duration,
}

impl Commands {
    pub(super) fn new(limit: Duration) -> (Self, Receiver<Command>) {
        let (commands, taken) = sync_channel(MOST_WAITING);
        (Self { commands, limit }, taken)
    }

    /// Waits until the versions that are wanted of the model serve.
    pub async fn load(&self, model: &str) -> Result<(), CommandError> {
        self.ask(model, CommandKind::Load).await
    }

    /// Waits until no new request finds the model.
    pub async fn unload(&self, model: &str) -> Result<(), CommandError> {
        self.ask(model, CommandKind::Unload).await
    }

    /// Scans a model now that a version was pulled. `withdrawn` are its versions that the registry no longer has. Returns true if
    /// the command was accepted; if not, the next scan will find what was pulled.
    pub fn pulled(&self, model: &str, withdrawn: Option<BTreeSet<u64>>) -> bool {
        let command = Command::Pulled(model.to_owned(), withdrawn);
        self.commands.try_send(command).is_ok()
    }

    async fn ask(&self, model: &str, kind: CommandKind) -> Result<(), CommandError> {
        let (reply, replied) = oneshot::channel();
        let command = match kind {
            CommandKind::Load => Command::Load(model.to_owned(), reply),
            CommandKind::Unload => Command::Unload(model.to_owned(), reply),
        };
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => CommandError::Busy { limit: MOST_WAITING },
            TrySendError::Disconnected(_) => CommandError::Gone,
        })?;
        match timeout(self.limit, replied).await {
            Ok(answer) => answer.unwrap_or(Err(CommandError::Gone)),
            Err(_elapsed) => Err(CommandError::Late {
                model: model.to_owned(),
                kind,
                limit: self.limit,
            }),
        }
    }
}
