//! `weft get`: shows the objects of the mesh and what is wrong with them.

use std::process::ExitCode;

use kube::api::DynamicObject;
use serde_json::{Value, json};
use weft_control_plane::source::Kind;
use weft_proto::api::{Finding, GetRequest, GetResponse, ObjectRef, Severity, StoredObject};

use super::{CommandError, CommandResult, Globals, NOT_FOUND, USAGE, apply, ask, block_on};
use crate::cluster::{Cluster, ClusterChoice, Target, policies, target};
use crate::output::yaml::to_yaml;
use crate::output::{Colour, Format, Table, coloured, print};

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;

/// Show objects, and what is wrong with them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft get                         all objects
  weft get virtualservices
  weft get vs reviews -o yaml
  weft get httproutes -A

Exit codes: 0 found; 4 not found.")]
pub struct Args {
    /// Kind as Kubernetes' users write it: virtualservice, vs, httproutes, svc …; all kinds when left out.
    kind: Option<String>,
    /// Name; all when left out.
    name: Option<String>,
    /// Form of the output; `yaml` gives the objects as they were written. Both `json` and `yaml` have the mistakes of
    /// objects and files under `findings`.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Runs it.
///
/// # Errors
/// When the control plane cannot be asked, or does not know the kind.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let name = args.name.clone().unwrap_or_default();
    let request = GetRequest {
        kind: args.kind.unwrap_or_default(),
        name: name.clone(),
        namespace: if globals.all_namespaces { String::new() } else { globals.local_namespace() },
    };
    let response = match target(globals)? {
        Target::Local(paths) => ask(&paths, |mut mesh| async move { Ok(mesh.get(request).await?.into_inner()) })?,
        Target::Cluster(choice) => block_on(of_cluster(request, &choice))?,
    };
    if response.objects.is_empty() && !name.is_empty() {
        let error = CommandError::new(NOT_FOUND, format!("`{name}` was not found"));
        if response.findings.is_empty() {
            return Err(error);
        }
        let why: String = response.findings.iter().map(apply::finding).collect();
        return Err(error.hint(format!("it is held back:\n{}", why.trim_end())));
    }
    match args.output {
        Format::Table => print(&table(&response))?,
        Format::Yaml => print(&yaml(&response))?,
        Format::Json => print(&Format::Json.render(&as_json(&response, !name.is_empty()), |_| String::new())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The objects as the API server has them, with what a control plane finds of them, if one can be asked.
async fn of_cluster(mut request: GetRequest, choice: &ClusterChoice) -> Result<GetResponse, CommandError> {
    let cluster = Cluster::connect(choice).await?;
    if !request.namespace.is_empty() {
        request.namespace.clone_from(&cluster.namespace);
    }
    let namespace = (!request.namespace.is_empty()).then_some(request.namespace.as_str());
    let name = (!request.name.is_empty()).then_some(request.name.as_str());
    let mut response = GetResponse::default();
    if request.kind.is_empty() {
        for kind in policies::kinds() {
            match cluster.policies(kind, namespace, name).await {
                Ok(found) => response.objects.extend(found.into_iter().map(stored)),
                // A cluster need not have them all.
                Err(error) if error.code == NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
    } else {
        let kind = Kind::find(&request.kind).map_err(|problem| CommandError::new(USAGE, problem))?;
        response.objects.extend(cluster.policies(kind, namespace, name).await?.into_iter().map(stored));
    }
    add_findings(&cluster, request, &mut response).await;
    Ok(response)
}

/// What the first control plane that answers finds of the objects, and of those that it holds back.
async fn add_findings(cluster: &Cluster, request: GetRequest, response: &mut GetResponse) {
    let Ok(replicas) = cluster.replicas().await else {
        eprintln!("weft: no control plane can be asked what it finds of the objects");
        return;
    };
    for mut replica in replicas {
        let Ok(answer) = replica.mesh.get(request.clone()).await else { continue };
        let answer = answer.into_inner();
        let all: Vec<Finding> = answer.objects.into_iter().flat_map(|object| object.findings).chain(answer.findings).collect();
        for finding in all {
            let same = |stored: &&mut StoredObject| match (&stored.object, &finding.object) {
                (Some(a), Some(b)) => (&a.kind, &a.namespace, &a.name) == (&b.kind, &b.namespace, &b.name),
                _ => false,
            };
            match response.objects.iter_mut().find(same) {
                Some(stored) => stored.findings.push(finding),
                None => response.findings.push(finding),
            }
        }
        return;
    }
}

/// An object of the API server, without what only its machinery needs.
fn stored(object: DynamicObject) -> StoredObject {
    let mut value = serde_json::to_value(&object).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let types = object.types.unwrap_or_default();
    let metadata = object.metadata;
    StoredObject {
        object: Some(ObjectRef {
            api_version: types.api_version,
            kind: types.kind,
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
        }),
        generation: metadata.generation.unwrap_or_default().unsigned_abs(),
        created: metadata.creation_timestamp.map(|time| time.0.to_string()).unwrap_or_default(),
        origin: "kubernetes".to_owned(),
        yaml: to_yaml(&value),
        json: value.to_string(),
        findings: Vec::new(),
    }
}

/// The objects as the user wrote them, comments included; those that `weft run` brought, which nobody wrote, in block
/// style. What is wrong with objects follows as a document of its own, which `weft apply` passes over.
fn yaml(response: &GetResponse) -> String {
    let document = |object: &StoredObject| match object.origin.as_str() {
        "run" => to_yaml(&parse(&object.json)),
        _ => object.yaml.clone(),
    };
    let mut documents: Vec<String> = response.objects.iter().map(document).collect();
    let findings = findings(response);
    if !findings.is_empty() {
        let list = json!({"apiVersion": "weft.mesh/v1alpha1", "kind": "FindingList", "findings": findings});
        documents.push(to_yaml(&list));
    }
    let documents: Vec<&str> = documents.iter().map(|document| document.trim_end()).collect();
    format!("{}\n", documents.join("\n---\n"))
}

/// One object as itself, with what is wrong with it in its status; several as a Kubernetes `List`.
fn as_json(response: &GetResponse, named: bool) -> Value {
    let mut items: Vec<Value> = response.objects.iter().map(|object| parse(&object.json)).collect();
    let findings = findings(response);
    if named && items.len() == 1 {
        let mut object = items.remove(0);
        if !findings.is_empty() {
            object["status"] = json!({"findings": findings});
        }
        return object;
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items, "findings": findings})
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// What is wrong with or worth knowing about the objects, and about those that are held back.
fn findings(response: &GetResponse) -> Vec<Value> {
    let of_objects = response.objects.iter().flat_map(|object| &object.findings);
    of_objects.chain(&response.findings).map(finding).collect()
}

/// For scripts. `lastGoodKept`: what the object or file held before the mistake is still in force.
fn finding(finding: &Finding) -> Value {
    let severity = match finding.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info | Severity::Unspecified => "info",
    };
    let object = finding.object.as_ref().map(|object| {
        json!({"apiVersion": object.api_version, "kind": object.kind, "namespace": object.namespace,
            "name": object.name})
    });
    json!({"severity": severity, "code": finding.code, "message": finding.message, "hint": finding.hint,
        "object": object, "field": finding.field, "file": finding.file, "line": finding.line,
        "column": finding.column, "lastGoodKept": finding.last_good_kept})
}

fn table(response: &GetResponse) -> String {
    let mut table = Table::new(&["NAMESPACE", "KIND", "NAME", "GENERATION", "FROM", "FINDINGS"]);
    let mut findings = String::new();
    for stored in &response.objects {
        let object = stored.object.clone().unwrap_or_default();
        let errors = stored.findings.iter().filter(|f| f.severity() == Severity::Error).count();
        let warnings = stored.findings.iter().filter(|f| f.severity() == Severity::Warning).count();
        let state = match (errors, warnings) {
            (0, 0) => coloured(Colour::Green, "none"),
            (0, n) => coloured(Colour::Yellow, &format!("{n} warning{}", if n == 1 { "" } else { "s" })),
            (n, _) => coloured(Colour::Red, &format!("{n} error{}", if n == 1 { "" } else { "s" })),
        };
        table.row([object.namespace, object.kind, object.name, stored.generation.to_string(), stored.origin.clone(), state]);
        findings.extend(stored.findings.iter().map(apply::finding));
    }
    findings.extend(response.findings.iter().map(apply::finding));
    if table.is_empty() && findings.is_empty() {
        return "no objects\n".to_owned();
    }
    let gap = if findings.is_empty() { "" } else { "\n" };
    format!("{}{gap}{findings}", table.render())
}
