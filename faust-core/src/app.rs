//! The app: a set of agents with its settings, from which workers and clients are started.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::agent::{AgentEntry, AgentHandle, AgentOptions, HookEntry, Selection};
use crate::client::Client;
use crate::config::{FailurePolicy, Layers, Origin, Resolved, Settings};
use crate::error::Error;
use crate::local::{Connection, HostKind, WorkerDir};
use crate::plan::planner::{self, Planned};
use crate::plan::{Plan, ensure_topics};
use crate::stage::HookHandle;
#[cfg(feature = "testing")]
use crate::stage::observer::StageObserver;
use crate::store::{self, StoreSet};
use crate::transport::Transport;
use crate::transport::kafka::KafkaTransport;
use crate::worker::{Parts, Worker, WorkerOptions, unseen_log};
use crate::{agent, codec};

/// A checked set of agents with its settings. Workers run an app.
#[derive(Debug)]
pub struct App {
    resolved: Resolved,
    agents: Vec<AgentEntry>,
    hooks: Vec<HookEntry>,
}

/// A builder of an [`App`].
#[derive(Debug)]
#[must_use]
pub struct AppBuilder {
    id: String,
    layers: Layers,
    selection: Selection,
}

/// Description of an agent of an app.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AgentInfo {
    /// The agent's name.
    pub name: String,
    /// The topics it reads.
    pub topics: Vec<String>,
    /// The topics that its values are sent to.
    pub sinks: Vec<String>,
    /// The first paragraph of its doc comment.
    pub help: &'static str,
    /// Source file of its definition.
    pub file: &'static str,
    /// Line of its definition.
    pub line: u32,
}

impl App {
    /// Returns a builder of an app with every agent and hook that is linked into the program.
    ///
    /// The id is the consumer group and the prefix of the names of the app's own topics: it must not change.
    /// [`AppBuilder::only`] names the agents instead.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use faust::prelude::*;
    ///
    /// #[agent(topic = "clicks")]
    /// async fn count(_clicks: Stream<String>) {}
    ///
    /// #[agent(topic = "orders")]
    /// async fn bill(_orders: Stream<String>) {}
    ///
    /// let app = App::new("shop").build()?;
    /// let names: Vec<_> = app.agents().into_iter().map(|agent| agent.name).collect();
    /// assert_eq!(names, ["bill", "count"]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    #[allow(
        clippy::new_ret_no_self,
        reason = "an app is created by its builder, and `App::new(..).main()` is the usual entry point"
    )]
    pub fn new(id: impl Into<String>) -> AppBuilder {
        AppBuilder { id: id.into(), layers: Layers::default(), selection: Selection::default() }
    }

    /// Returns the app's id.
    pub fn id(&self) -> &str {
        &self.resolved.settings.id
    }

    /// Returns the effective settings.
    pub fn settings(&self) -> &Settings {
        &self.resolved.settings
    }

    /// Returns the effective settings, and the layer that each comes from.
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// Returns the agents, sorted by name.
    pub fn agents(&self) -> Vec<AgentInfo> {
        let owned = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect();
        let info = |agent: &AgentEntry| AgentInfo {
            name: agent.name.to_string(),
            topics: owned(&agent.topics),
            sinks: owned(&agent.sinks),
            help: agent.def.help,
            file: agent.def.file,
            line: agent.def.line,
        };
        self.agents.iter().map(info).collect()
    }

    /// Runs every agent up to its stream and returns the topology. Needs no broker; partition counts are unknown.
    ///
    /// # Errors
    /// Reports all faults of the agents and of the topology.
    pub async fn plan(&self) -> Result<Plan, Error> {
        self.planned().await?.complete()
    }

    /// Returns the topology like [`plan`](Self::plan), without the agents that failed before they read their streams; and the
    /// reason for each of these.
    ///
    /// # Errors
    /// Reports all faults of the agents and of the topology, or the agents that failed if the others do not work without them.
    pub async fn partial_plan(&self) -> Result<(Plan, Vec<String>), Error> {
        let Planned { plan, failures } = self.planned().await?;
        match plan {
            Some(plan) => Ok((plan, failures)),
            None => Err(Error::setup(failures)),
        }
    }

    async fn planned(&self) -> Result<Planned, Error> {
        planner::plan(&self.settings().group(), &self.agents, &self.hooks, self.settings().plan_timeout).await
    }

    /// Returns the plan of all agents. Agents that fail before they read their streams are tried again, as while the worker
    /// runs; with the policy `stop`, `agent_max_attempts` times.
    async fn plan_patiently(&self) -> Result<Plan, Error> {
        let settings = self.settings();
        let stops = |agent: &AgentEntry| agent.on_failure.unwrap_or(settings.agent_failure) == FailurePolicy::Stop;
        let stops = self.agents.iter().any(stops);
        let mut pause = settings.agent_backoff_min;
        let mut attempts = 1;
        loop {
            let planned = self.planned().await?;
            if planned.failures.is_empty() || (stops && attempts >= settings.agent_max_attempts) {
                return planned.complete();
            }
            planned.failures.iter().for_each(|why| tracing::error!("{why}; trying again in {pause:?}"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(settings.agent_backoff_max);
            attempts += 1;
        }
    }

    /// Starts a worker in this process, which joins the app's consumer group. [`Worker::ready`] waits for its first
    /// assignment.
    ///
    /// If the broker is unavailable, this waits for it. An agent that fails before it reads its stream is tried again, unless
    /// its failures are to stop the worker (setting `agent_failure`). If no broker is configured, the worker uses the embedded
    /// broker (feature `embedded`).
    ///
    /// The worker logs with the crate `tracing`. A program without a subscriber shows nothing of that: add one at its start,
    /// such as `tracing_subscriber::fmt::init()`.
    ///
    /// # Errors
    /// Fails if the topology has faults, if existing topics do not fit it, or if the broker permanently rejects a
    /// request.
    pub async fn start(&self) -> Result<Worker, Error> {
        self.start_with(WorkerOptions::default()).await
    }

    /// Starts a worker like [`start`](Self::start), with options.
    ///
    /// # Errors
    /// Fails in the same cases as [`start`](Self::start).
    pub async fn start_with(&self, options: WorkerOptions) -> Result<Worker, Error> {
        let settings = self.settings();
        unseen_log::mention_once();
        // First, so that a fault of an agent is reported without starting a broker.
        let plan = self.plan_patiently().await?;
        let connection = Connection::host(settings, HostKind::Worker).await?;
        let directory = WorkerDir::take(&settings.datadir)?;
        let name = settings.worker_name.clone().map_or_else(|| directory.worker_name(), Ok)?;
        let stores = self.stores(&plan, directory.path()).await?;
        let mut kafka = connection.kafka(settings);
        // A client id of the user's is sent unchanged: quotas may name it.
        kafka.worker_name =
            Some(name.clone()).filter(|_| self.resolved().origin("broker_client_id") == &Origin::Default);
        let name = (name, RandomState::new().hash_one(()));
        let transport: Arc<dyn Transport> = Arc::new(KafkaTransport::new(kafka));
        let home = Some((connection, directory));
        let settings = settings.clone();
        Worker::start(Parts { settings, plan, transport, stores, home, name, options, observer: None }).await
    }

    /// Starts a worker on a given transport, with an observer of its stages, for the test driver.
    #[cfg(feature = "testing")]
    pub(crate) async fn start_on(
        &self,
        transport: Arc<dyn Transport>,
        stores: Option<Arc<dyn StoreSet>>,
        name: (String, u64),
        observer: Arc<dyn StageObserver>,
    ) -> Result<Worker, Error> {
        let plan = self.plan().await?;
        let (settings, options, observer) = (self.settings().clone(), WorkerOptions::default(), Some(observer));
        Worker::start(Parts { settings, plan, transport, stores, home: None, name, options, observer }).await
    }

    /// Opens the stores of the worker's tables; `None` for an app without tables.
    async fn stores(&self, plan: &Plan, directory: &std::path::Path) -> Result<Option<Arc<dyn StoreSet>>, Error> {
        if plan.tables().next().is_none() {
            return Ok(None);
        }
        let Settings { version, store: kind, .. } = *self.settings();
        let directory = store::directory(directory, version, kind);
        let opened = tokio::task::spawn_blocking(move || store::open(kind, &directory)).await;
        let opened = opened.map_err(|error| Error::LocalState(format!("cannot open the stores: {error}")))?;
        opened.map_err(|error| Error::LocalState(error.to_string()))
    }

    /// Connects to the app's broker, to send and read without a worker. If the broker is unavailable, this waits for it, and
    /// reports this at once and every ten seconds: in the log, or on standard error if the program has no subscriber of
    /// `tracing`. `tokio::time::timeout` limits the wait.
    ///
    /// # Errors
    /// Fails if no broker is configured and no embedded broker of this app is running, or if the broker permanently rejects
    /// the connection.
    pub async fn client(&self) -> Result<Client, Error> {
        Client::connect(self.settings()).await
    }

    /// Creates the app's missing topics and checks the existing ones, as a worker does when it starts.
    ///
    /// # Errors
    /// Fails in the same cases as [`start`](Self::start).
    pub async fn declare(&self, client: &Client) -> Result<Plan, Error> {
        let mut plan = self.plan().await?;
        ensure_topics(&mut plan, &**client.transport(), self.settings()).await?;
        Ok(plan)
    }
}

impl AppBuilder {
    /// Returns the app's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Turns the discovery of agents off and adds the agent `A`. Can be called again, for further agents.
    ///
    /// Hooks are discovered in the modules of the app's agents and their submodules. A hook that is discovered in this
    /// way is left out if no agent of the app takes its table; [`hook`](Self::hook) adds a hook of another module.
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[agent(topic = "clicks")]
    /// async fn count(_clicks: Stream<String>) {}
    ///
    /// #[agent(topic = "orders")]
    /// async fn bill(_orders: Stream<String>) {}
    ///
    /// #[agent(topic = "orders")]
    /// async fn ship(_orders: Stream<String>) {}
    ///
    /// let app = App::new("shop").only::<bill>().only::<ship>().build()?;
    /// let names: Vec<_> = app.agents().into_iter().map(|agent| agent.name).collect();
    /// assert_eq!(names, ["bill", "ship"], "without `count`, which is linked as well");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn only<A: AgentHandle>(mut self) -> Self {
        self.selection.only(A::DEF);
        self
    }

    /// Adds the agent `A`, if the app does not discover it anyway.
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[agent(topic = "clicks")]
    /// async fn count(_clicks: Stream<String>) {}
    ///
    /// let app = App::new("shop").discover_in(module_path!());
    /// assert_eq!(app.agent::<count>().build()?.agents().len(), 1, "`count` is discovered, and still one agent");
    ///
    /// let app = App::new("shop").discover_in("shop::orders");
    /// assert_eq!(app.agent::<count>().build()?.agents()[0].name, "count");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn agent<A: AgentHandle>(mut self) -> Self {
        self.selection.agent(A::DEF);
        self
    }

    /// Adds a variant of the agent `A`, with another name, other topics or other sinks.
    ///
    /// The variants of an agent replace the agent itself, even if it is discovered or added by [`only`](Self::only) or
    /// [`agent`](Self::agent). `agent_with::<A>(|agent| agent)` keeps it beside them. Each variant needs its own name.
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[agent(topic = "clicks")]
    /// async fn count(_clicks: Stream<String>) {}
    ///
    /// let mut app = App::new("shop").only::<count>();
    /// for city in ["oslo", "rome"] {
    ///     app = app.agent_with::<count>(|agent| agent.name(format!("count-{city}")).topic(format!("clicks.{city}")));
    /// }
    /// let agents: Vec<_> = app.build()?.agents().into_iter().map(|agent| (agent.name, agent.topics.concat())).collect();
    /// let [oslo, rome] = &agents[..] else { panic!("{agents:?}") };
    /// assert_eq!(*oslo, ("count-oslo".to_owned(), "clicks.oslo".to_owned()));
    /// assert_eq!(*rome, ("count-rome".to_owned(), "clicks.rome".to_owned()));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn agent_with<A: AgentHandle>(mut self, change: impl FnOnce(AgentOptions) -> AgentOptions) -> Self {
        self.selection.variant(AgentEntry::new(A::DEF).with(change));
        self
    }

    /// Adds a function of `#[window_close]` or `#[window_late]`. It replaces a discovered hook of the same table and
    /// kind.
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[agent(topic = "clicks")]
    /// async fn count(
    ///     mut clicks: Stream<String>,
    ///     #[table(name = "views", window = tumbling("1m"))] _views: WindowedTable<String, u64>,
    /// ) {
    ///     clicks.next().await;
    /// }
    ///
    /// #[window_close(table = "views")]
    /// async fn print(_uri: String, _window: Window, _views: u64) {}
    ///
    /// mod reports {
    ///     use faust::prelude::*;
    ///
    ///     #[window_close(table = "views")]
    ///     pub async fn publish(_uri: String, _window: Window, _views: u64) {}
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let app = App::new("shop").only::<count>().hook::<reports::publish>().build()?;
    /// let plan = app.plan().await?;
    /// let hooks: Vec<_> = plan.tables().flat_map(|table| table.hooks()).collect();
    /// assert_eq!(hooks, ["publish"], "instead of `print`, which is in the module of `count`");
    /// # Ok(())
    /// # }
    /// ```
    pub fn hook<H: HookHandle>(mut self) -> Self {
        self.selection.hook(H::DEF);
        self
    }

    /// Limits discovery to the agents and hooks of one module and its submodules, for tests:
    /// `discover_in(module_path!())`. Has no effect together with [`only`](Self::only).
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[agent(topic = "clicks")]
    /// async fn count(_clicks: Stream<String>) {}
    ///
    /// let app = App::new("shop").discover_in(module_path!()).build()?;
    /// assert_eq!(app.agents()[0].name, "count");
    /// assert_eq!(app.agents().len(), 1);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn discover_in(mut self, module: &'static str) -> Self {
        self.selection.discover_in(module);
        self
    }

    /// Sets a setting in the program. The file, the environment and the command line take precedence over it.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.layers.builder(name, value);
        self
    }

    /// Returns the layers of settings, for code that reads files, environments and command lines.
    pub fn layers_mut(&mut self) -> &mut Layers {
        &mut self.layers
    }

    /// Applies the environment (`FAUST_..`) and `faust.toml`. The command line does this automatically.
    pub fn from_process(mut self) -> Self {
        self.layers.process();
        self
    }

    /// Connects to the app's broker, which must be running, without agents: for programs that only send or read.
    ///
    /// # Errors
    /// Fails if the settings are invalid, or if no broker is configured and no embedded broker of this app is running.
    pub async fn client(self) -> Result<Client, Error> {
        let resolved = self.layers.resolve(&self.id).map_err(Error::Setup)?;
        Client::connect(&resolved.settings).await
    }

    /// Checks the settings, agents, codecs and records, and creates the app.
    ///
    /// # Errors
    /// Reports all faults together.
    pub fn build(self) -> Result<App, Error> {
        let Self { id, layers, selection } = self;
        let (agents, hooks) = selection.select();
        let (agents, mut faults) = agent::check(agents);
        faults.extend(codec::faults());
        match layers.resolve(&id) {
            Ok(resolved) if faults.is_empty() => Ok(App { resolved, agents, hooks }),
            Ok(_) => Err(Error::setup(faults)),
            Err(settings) => Err(Error::setup(settings.faults().iter().cloned().chain(faults).collect())),
        }
    }
}
