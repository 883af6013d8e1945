//! Whether this process is alive and ready: the state of its roles, and of what they depend on.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;

/// How long a service may take to answer before the process is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Checks whether a service that roles depend on answers. The error is a message for operators.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What is known about the roles of a process. Clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    roles: BTreeMap<String, State>,
    checks: Vec<Check>,
    waiting: Option<String>,
}

enum State {
    Running,
    Stopped,
    Restarting(String),
    Dead(String),
}

impl Health {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, role: &str, state: State) {
        let running = f64::from(u8::from(matches!(state, State::Running)));
        metrics::gauge!("xmtp_indexer_role_running", "role" => role.to_owned()).set(running);
        self.known().roles.insert(role.to_owned(), state);
    }

    pub(crate) fn running(&self, role: &str) {
        self.set(role, State::Running);
    }

    pub(crate) fn stopped(&self, role: &str) {
        self.set(role, State::Stopped);
    }

    pub(crate) fn restarting(&self, role: &str, error: &anyhow::Error) {
        self.set(role, State::Restarting(format!("{error:#}")));
    }

    pub(crate) fn dead(&self, role: &str, error: &anyhow::Error) {
        self.set(role, State::Dead(format!("{error:#}")));
    }

    /// Sets what the start waits for; None when it no longer waits.
    pub fn waiting(&self, what: Option<String>) {
        self.known().waiting = what;
    }

    /// Adds a service without which the process is not ready.
    pub fn depends_on(&self, check: Check) {
        self.known().checks.push(check);
    }

    /// Whether every role runs or will be started again.
    ///
    /// # Errors
    /// A sentence about a role that has failed for good.
    pub fn alive(&self) -> Result<(), String> {
        let known = self.known();
        let dead = known.roles.iter().find_map(|(name, state)| match state {
            State::Dead(cause) => Some(format!("the role `{name}` failed for good: {cause}")),
            _ => None,
        });
        dead.map_or(Ok(()), Err)
    }

    /// Whether every role runs now.
    ///
    /// # Errors
    /// A sentence about a role that does not run, or about what the start waits for.
    pub fn ready(&self) -> Result<(), String> {
        self.alive()?;
        let known = self.known();
        if let Some(what) = &known.waiting {
            return Err(format!("waiting for {what}"));
        }
        if known.roles.is_empty() {
            return Err("no role runs yet".to_owned());
        }
        for (name, state) in &known.roles {
            match state {
                State::Restarting(cause) => {
                    return Err(format!("the role `{name}` is being restarted: {cause}"));
                }
                State::Stopped => return Err(format!("the role `{name}` was asked to stop")),
                State::Running | State::Dead(_) => {}
            }
        }
        Ok(())
    }

    /// The same, and whether the services answer that the roles depend on.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong.
    pub async fn ready_with_services(&self) -> Result<(), String> {
        self.ready()?;
        let checks = self.known().checks.clone();
        for check in checks {
            let answer = tokio::time::timeout(PATIENCE, check()).await;
            answer.unwrap_or_else(|_| Err("a service does not answer in time".to_owned()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("alive", &self.alive()).finish_non_exhaustive()
    }
}
