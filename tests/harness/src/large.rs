//! A cluster with hundreds of resources: what takes how long, and many changes of its configuration at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{Cib, Cluster, Options, node_name};

/// A cluster whose resources all run.
pub struct Large {
    /// The cluster.
    pub cluster: Cluster,
    resources: usize,
    /// From the first daemon's start to the last resource's.
    pub started: Duration,
}

impl Large {
    /// Starts so many resources on so many nodes, without fencing and with monitors an hour apart.
    ///
    /// # Errors
    /// When a daemon cannot be started.
    pub fn start(name: &str, nodes: u32, resources: usize) -> Result<Self> {
        let cib = (0..resources).fold(Cib::new(), |cib, i| cib.resource(&resource(i)));
        let cluster = Cluster::new(name, Options { nodes, ..Options::default() }, &cib)?;
        let begin = Instant::now();
        cluster.boot_all()?;
        let large = Self { cluster, resources, started: Duration::ZERO };
        large.wait("all run", |places| places.iter().sum::<usize>() == resources);
        Ok(Self { started: begin.elapsed(), ..large })
    }

    /// How many resources run on each node.
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        self.cluster.all().iter().map(|node| self.cluster.recorded_services(*node).len()).collect()
    }

    fn wait(&self, what: &str, check: impl Fn(&[usize]) -> bool) -> Duration {
        let begin = Instant::now();
        let mut before = Vec::new();
        self.cluster.wait_for(what, || {
            let places = self.places();
            if places != before {
                println!("{:8.2} {what}: {places:?}", begin.elapsed().as_secs_f64());
            }
            let over = check(&places);
            before = places;
            over.then_some(())
        });
        begin.elapsed()
    }

    fn type_in(&self, node: u32, args: &[&str]) -> Result<()> {
        let holdfast = crate::bin_dir()?.join("holdfast");
        let out = self.cluster.exec(node, &holdfast.to_string_lossy(), args)?;
        ensure!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    }

    /// Until all that runs on a node runs elsewhere after it was put in standby.
    ///
    /// # Errors
    /// When that is refused.
    pub fn empty(&self, node: u32) -> Result<Duration> {
        let begin = Instant::now();
        self.type_in(node, &["crm_standby", "-N", &node_name(node), "-v", "on"])?;
        let at = node as usize - 1;
        self.wait("moved", |places| places[at] == 0 && places.iter().sum::<usize>() == self.resources);
        Ok(begin.elapsed())
    }

    /// Until nothing runs after everything was told to stop.
    ///
    /// # Errors
    /// When that is refused.
    pub fn stop(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.type_in(1, &["crm_attribute", "-t", "crm_config", "-n", "stop-all-resources", "-v", "true"])?;
        self.wait("stopped", |places| places.iter().sum::<usize>() == 0);
        Ok(begin.elapsed())
    }

    /// So many changes of the configuration over each of some connections at once, each answered before the next. How long it
    /// took.
    ///
    /// # Errors
    /// When one of them is refused.
    pub fn change(&self, node: u32, connections: u32, each: u32) -> Result<Duration> {
        let args = [connections, each, u32::try_from(self.resources)?].map(|n| n.to_string());
        let args: Vec<&str> = ["-c", CHANGES].into_iter().chain(args.iter().map(String::as_str)).collect();
        let out = self.cluster.exec(node, "python3", &args)?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
        let seconds = said.trim().parse().with_context(|| format!("what the changes took: {said}"))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// The configuration as a node has it.
    ///
    /// # Errors
    /// When it does not say.
    pub fn configuration(&self, node: u32) -> Result<String> {
        let holdfast = crate::bin_dir()?.join("holdfast");
        let args = ["cibadmin", "-Q", "-o", "configuration"];
        let out = self.cluster.exec(node, &holdfast.to_string_lossy(), &args)?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8(out.stdout)?)
    }
}

fn resource(i: usize) -> String {
    let op = |name: &str, interval: &str| {
        format!("<op id=\"r{i}-{name}\" name=\"{name}\" interval=\"{interval}\" timeout=\"120s\"/>")
    };
    format!(
        "<primitive id=\"r{i}\" class=\"ocf\" provider=\"harness\" type=\"record\">\
         <meta_attributes id=\"r{i}-meta\"><nvpair id=\"r{i}-note\" name=\"note\" value=\"0\"/></meta_attributes>\
         <operations>{}{}{}</operations></primitive>\n",
        op("start", "0"),
        op("stop", "0"),
        op("monitor", "1h")
    )
}

/// CONNECTIONS CHANGES RESOURCES: each sets a meta attribute of one resource that nobody acts on.
const CHANGES: &str = r#"
import json, os, socket, sys, threading, time
connections, each, resources = map(int, sys.argv[1:])
wrong = []
def client(number):
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.path.join(os.environ.get("HOLDFAST_RUN_DIR") or "/run/holdfast", "rgmd.sock"))
    answers = s.makefile()
    for change in range(each):
        r = (number * each + change) % resources
        xml = f'<primitive id="r{r}"><meta_attributes id="r{r}-meta"><nvpair id="r{r}-note" name="note" value="{number}.{change}"/></meta_attributes></primitive>'
        operation = {"kind": "modify", "section": "resources", "xml": xml}
        s.sendall((json.dumps({"cmd": "cib-do", "operation": operation}) + "\n").encode())
        answer = json.loads(answers.readline())
        if "error" in answer:
            return wrong.append(answer)
begin = time.monotonic()
threads = [threading.Thread(target=client, args=(n,)) for n in range(connections)]
for t in threads: t.start()
for t in threads: t.join()
if wrong: sys.exit(str(wrong[:3]))
print(time.monotonic() - begin)
"#;
